"""Keeps presence true: this node's entries live on, and what could not be said is said later."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Iterable
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from hubbub.brokers.base import BrokerUnavailable
from hubbub.core.messages import user_channel
from hubbub.hub.connection import Connection

if TYPE_CHECKING:
    from hubbub.hub.hub import Hub

logger = logging.getLogger("hubbub.presence")

BATCH: Final = 500
"""Channels that are refreshed in one go."""
PAUSE: Final = 0.5
"""Seconds till presence that did not answer is told again."""


class Attendance:
    """Who of this node is in which channel, as presence should have it."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._untrue: dict[str, None] = {}
        """Channels of which presence may say something wrong."""
        self._all = False  # whether everything is to be refreshed
        self._next = float("-inf")
        self._work: asyncio.Task[None] | None = None

    def add(self, channel: str, connection: Connection) -> Coroutine[Any, Any, None]:
        """A connection came in."""
        return self._say(channel, connection, present=True)

    def remove(self, channel: str, connection: Connection) -> Coroutine[Any, Any, None]:
        """A connection went away."""
        return self._say(channel, connection, present=False)

    async def _say(self, channel: str, connection: Connection, *, present: bool) -> None:
        store = self._hub.presence_store
        try:
            if present:
                known = await store.add(channel, connection.id, connection.as_member())
                if not known and self._hub.registry.count(channel) > 1:
                    self._untrue[channel] = None  # the entries of the others are gone
                    self._begin()
            else:
                await store.remove(channel, connection.id)
        except BrokerUnavailable as exc:
            if not self._untrue:  # of a crowd, one line
                logger.warning("presence of %r could not be told, and will be later: %s", channel, exc)
            self._untrue[channel] = None
            self._begin()

    def look_after(self, now: float) -> None:
        """Refresh everything in time."""
        interval = self._hub.presence_store.refresh_interval
        if self._next == float("-inf"):
            self._next = now + interval
        if now >= self._next:
            self._next = now + interval
            self._all = True
            self._begin()

    def doubt(self, channels: Iterable[str]) -> None:
        """Presence may have lost what was said of these: say it all again."""
        self._untrue |= dict.fromkeys(c for c in channels if self._is_kept(c))
        self._begin()

    async def stop(self) -> None:
        """Say nothing more."""
        if self._work is not None:
            self._work.cancel()
            await asyncio.wait([self._work])
            self._work = None
        self._untrue.clear()

    def _begin(self) -> None:
        if self._work is None or self._work.done():
            self._work = asyncio.get_running_loop().create_task(self._put_right())

    async def _put_right(self) -> None:
        hub = self._hub
        while self._untrue or self._all:
            try:
                if self._all:
                    self._all = False  # whether everything is to be refreshed
                    await self._refresh_all()
                while self._untrue:
                    channel = next(iter(self._untrue))
                    members = {c.id: c.as_member() for c in hub.registry.members(channel)}
                    await hub.presence_store.replace(channel, members)
                    self._untrue.pop(channel, None)
            except BrokerUnavailable:
                self._all = True
                await asyncio.sleep(PAUSE)

    def _is_kept(self, channel: str) -> bool:
        """Whether presence knows who is in a channel: in groups, and where users are counted."""
        if channel[0] != "$":
            return self._hub.namespaces.of(channel).presence
        return channel.startswith(user_channel("")) and self._hub.options.connections_per_user > 0

    async def _refresh_all(self) -> None:
        hub = self._hub
        channels = iter([c for c, _ in hub.registry.channels() if self._is_kept(c)])
        while batch := list(islice(channels, BATCH)):
            self._untrue |= dict.fromkeys(await hub.presence_store.refresh(batch))
