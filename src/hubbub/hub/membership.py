"""Joining and leaving: permission, position, what was missed, then live, and nothing left behind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from hubbub.core.codes import CloseReason
from hubbub.core.messages import (
    CommandId,
    Kind,
    Position,
    Removed,
    Subscribed,
    Unsubscribed,
)
from hubbub.core.session import Stage
from hubbub.hub.approach import Approach
from hubbub.hub.background import quietly
from hubbub.hub.connection import Connection
from hubbub.hub.hooks import to_json

if TYPE_CHECKING:
    from hubbub.hub.hub import Hub


class Membership:
    """Puts connections into channels and takes them out.

    One connection's joins and leaves happen one after another, whether the client or the server asks for them
    and also when the connection ends in the middle. So each ends as it must, and what follows a membership
    (presence, the other members, hooks) sees its beginning before its end, and both or neither.
    """

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._turns: dict[Connection, asyncio.Lock] = {}

    async def join(
        self,
        connection: Connection,
        id: CommandId,
        channel: str,
        recover: Position | None = None,
        *,
        ask: bool = True,
    ) -> None:
        """Join, then be told of it, then be given what was missed, then live.

        With `ask`, hooks may say no. Raises `Refuse` where one does and `BrokerUnavailable` where the broker
        does not answer; then nothing has changed.
        """
        hooks = self._hub.hooks
        if ask and hooks.subscribe and channel not in connection.session.channels:
            # Before the turn, since a hook may itself act on this client.
            await hooks.allow(hooks.subscribe, connection.describe(), channel)
        async with self._turn(connection):
            if channel in connection.session.channels:
                await self._join_again(connection, id, channel, recover)
                return
            if not connection.open:
                return
            connection.session.channels[channel] = Stage.JOINING
            try:
                await self._enter(connection, id, channel, recover)
            finally:
                if connection.session.channels.get(channel) is Stage.JOINING:
                    del connection.session.channels[channel]
            if channel in connection.session.channels:
                await quietly(self._arrived(connection, channel), "announcing a member")

    async def leave(self, connection: Connection, id: CommandId, channel: str) -> None:
        """Leave, as asked; idempotent."""
        async with self._turn(connection):
            stage = self._forget(connection, channel)
            connection.send(Unsubscribed(id, channel))
            if stage is not None:
                await self._departed(connection, channel, stage)

    async def remove(self, connection: Connection, channel: str, reason: CloseReason) -> None:
        """Take a connection out of a channel and tell it."""
        async with self._turn(connection):
            stage = self._forget(connection, channel)
            if stage is not None:
                connection.send(Removed(channel, reason))
                await self._departed(connection, channel, stage)

    def forget_all(self, connection: Connection) -> dict[str, Stage]:
        """The connection is gone: take it out of everything, now. Returns the groups it was in."""
        was_in: dict[str, Stage] = {}
        for channel in list(connection.session.channels):
            stage = self._forget(connection, channel)
            if stage is not None:
                was_in[channel] = stage
        return was_in

    async def departed_all(self, connection: Connection, was_in: dict[str, Stage]) -> None:
        """Let presence, the other members and hooks know; the connection is long gone."""
        async with self._turn(connection):
            for channel, stage in was_in.items():
                await self._departed(connection, channel, stage)

    @asynccontextmanager
    async def _turn(self, connection: Connection) -> AsyncIterator[None]:
        """One at a time for each connection; who waits comes in the order of asking."""
        lock = self._turns.setdefault(connection, asyncio.Lock())
        try:
            async with lock:
                yield
        finally:
            if not lock.locked() and not getattr(lock, "_waiters", None):
                self._turns.pop(connection, None)

    async def _join_again(
        self, connection: Connection, id: CommandId, channel: str, recover: Position | None
    ) -> None:
        """Joining twice is joining once: the answer tells where the channel stands."""
        position = None
        if self._hub.namespaces.of(channel).has_history:
            position = (await self._hub.broker.history(channel, limit=0)).position
        connection.send(Subscribed(id, channel, position, None if recover is None else False))

    async def _enter(
        self, connection: Connection, id: CommandId, channel: str, recover: Position | None
    ) -> None:
        hub = self._hub
        await hub.interest.hold(channel)
        try:
            if hub.namespaces.of(channel).has_history:
                await self._enter_with_history(connection, id, channel, recover)
            elif connection.open:
                hub.registry.join(connection, channel)
                connection.session.channels[channel] = Stage.IN
                connection.send(Subscribed(id, channel, recovered=None if recover is None else False))
        finally:
            hub.interest.let_go(channel)

    async def _enter_with_history(
        self, connection: Connection, id: CommandId, channel: str, recover: Position | None
    ) -> None:
        """Join without a gap and without a duplicate; see `Approach`."""
        hub = self._hub
        approach = Approach(hub, channel, recover)
        try:
            await approach.read()
            if not connection.open:
                return
            start = approach.start()
            hub.registry.join(connection, channel, start.known.offset, start.known.epoch)
            hub.continuity.begin(channel, start.known)
        finally:
            approach.close()
        connection.session.channels[channel] = Stage.IN
        connection.send_all([Subscribed(id, channel, start.position, start.recovered), *start.missed])

    def _forget(self, connection: Connection, channel: str) -> Stage | None:
        """Take a connection out of a channel; returns how far it had come, None where it was not in."""
        stage = connection.session.channels.get(channel)
        if stage is None or stage is Stage.JOINING:
            return None  # a join under way clears up after itself
        del connection.session.channels[channel]
        self._hub.part(connection, channel)
        return stage

    async def _arrived(self, connection: Connection, channel: str) -> None:
        hub = self._hub
        namespace = hub.namespaces.of(channel)
        if namespace.presence:
            await hub.attendance.add(channel, connection)
        if namespace.join_leave and channel in connection.session.channels:
            connection.session.channels[channel] = Stage.ANNOUNCED
            await hub.publish_raw(channel, to_json(connection.as_member()), kind=Kind.JOINED)

    async def _departed(self, connection: Connection, channel: str, stage: Stage) -> None:
        """Let the world know. Each part by itself: what fails is logged and keeps none of the others."""
        hub = self._hub
        if hub.namespaces.of(channel).presence:
            await quietly(hub.attendance.remove(channel, connection), "removing a presence entry")
        if stage is Stage.ANNOUNCED:
            left = hub.publish_raw(channel, to_json(connection.as_member()), kind=Kind.LEFT)
            await quietly(left, "announcing a departure")
        # By itself, since a hook may itself act on this client, whose turn this is.
        told = hub.hooks.tell(hub.hooks.unsubscribe, connection.describe(), channel)
        hub.spawn(quietly(told, "an unsubscribe hook"))
