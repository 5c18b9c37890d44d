"""Tells the application when a group gets its first member, on any node, and when it has lost its last."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from hubbub.brokers.base import BrokerUnavailable

if TYPE_CHECKING:
    from hubbub.hub.hub import Hub

logger = logging.getLogger("hubbub.occupancy")

PAUSE: Final = 0.5
"""Seconds till a broker that did not answer is asked again."""


class Occupancy:
    """Asks the broker about groups that have become occupied or deserted here; it tells one node of each.

    A group that is left and joined again in between has not changed. What a node that was killed has left is
    told when the group is next joined and left.
    """

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._changed: dict[str, None] = {}
        self._work: asyncio.Task[None] | None = None

    def look(self, channel: str) -> None:
        """A group has its first member on this node, or has lost its last."""
        hooks = self._hub.hooks
        if channel[0] == "$" or not (hooks.occupied or hooks.vacated):
            return
        self._changed[channel] = None
        if self._work is None:
            self._work = asyncio.get_running_loop().create_task(self._tell())

    async def stop(self) -> None:
        """Tell what is known, for a moment, and no more; idempotent."""
        if self._work is not None:
            await asyncio.wait([self._work], timeout=PAUSE)
            self._work.cancel()
            await asyncio.wait([self._work])
        self._changed.clear()

    async def _tell(self) -> None:
        try:
            while self._changed:
                await self._hub.interest.settled()
                channel = next(iter(self._changed))
                try:
                    change = await self._hub.broker.occupancy(channel)
                except BrokerUnavailable:
                    await asyncio.sleep(PAUSE)
                    continue
                self._changed.pop(channel, None)
                if change:
                    await self._call(channel, occupied=change > 0)
        finally:
            self._work = None

    async def _call(self, channel: str, *, occupied: bool) -> None:
        hooks = self._hub.hooks
        for hook in hooks.occupied if occupied else hooks.vacated:
            try:
                await hooks.call(lambda hook=hook: hook(channel))  # type: ignore[misc]
            except Exception:
                logger.exception("a hook about %r failed", channel)
