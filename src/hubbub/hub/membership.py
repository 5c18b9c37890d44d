"""Joining and leaving: permission, position, what was missed, then live, and nothing left behind."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from hubbub.core import codes
from hubbub.core.codes import CloseReason
from hubbub.core.grants import Action
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
from hubbub.hub.hooks import Refuse, to_json

if TYPE_CHECKING:
    from hubbub.hub.hub import Hub


class _Turn:
    """A connection's turn, as a context; who waits for one comes in the order of asking."""

    __slots__ = ("_connection", "_waiting")

    def __init__(
        self, waiting: dict[Connection, deque[asyncio.Future[None]]], connection: Connection
    ) -> None:
        self._waiting = waiting
        self._connection = connection

    async def __aenter__(self) -> None:
        queue = self._waiting.get(self._connection)
        if queue is None:  # nobody has it
            self._waiting[self._connection] = deque()
            return
        turn = asyncio.get_running_loop().create_future()
        queue.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():  # it had come already
                self._pass_on()
            raise

    async def __aexit__(self, *_: object) -> None:
        self._pass_on()

    def _pass_on(self) -> None:
        queue = self._waiting[self._connection]
        while queue:
            turn = queue.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        del self._waiting[self._connection]


class Membership:
    """Puts connections into channels and takes them out.

    One connection's joins and leaves happen one after another, whether the client or the server asks for them
    and also when the connection ends in the middle. So each ends as it must, and what follows a membership
    (presence, the other members, hooks) sees its beginning before its end, and both or neither.
    """

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._waiting: dict[Connection, deque[asyncio.Future[None]]] = {}
        """Who has a turn, with those that wait for it."""

    async def join(
        self,
        connection: Connection,
        id: CommandId,
        channel: str,
        recover: Position | None = None,
        *,
        ask: bool = True,
        token: str = "",
        stays: bool = False,
    ) -> None:
        """Join, then be told of it, then be given what was missed, then live.

        With `ask`, it has to be permitted, by a token for this channel where there is one, and hooks may say
        no. With `stays`, or by such a token, it is a matter apart from what the client was granted. Raises
        `Refuse`, and `BrokerUnavailable` where it does not answer; then nothing has changed.
        """
        identity, asked = connection.identity, not ask
        if ask and channel not in connection.session.channels:
            # Before the turn, since a hook may itself act on this client.
            if token or self._hub.hooks.subscribe:
                stays = await self._ask(connection, channel, token)
            else:
                self._permit(connection, channel)
            asked = True
        async with self._turn(connection):
            if channel in connection.session.channels:
                await self._join_again(connection, id, channel, recover)
                return
            if not connection.open:
                return
            if not asked:
                raise Refuse("you were just taken out of the group; ask again", code=codes.CONCURRENT.code)
            if ask and not stays and connection.identity is not identity:
                self._permit(connection, channel)  # it was asked for another one
            connection.session.channels[channel] = Stage.JOINING
            if stays:
                connection.granted |= {channel}
            try:
                await self._enter(connection, id, channel, recover)
            finally:
                if connection.session.channels.get(channel) is Stage.JOINING:
                    del connection.session.channels[channel]
                    connection.granted -= {channel}
            if channel in connection.session.channels:
                if self._hub.registry.count(channel) == 1:
                    self._hub.occupancy.look(channel)
                await quietly(self._arrived(connection, channel), "announcing a member")

    async def _ask(self, connection: Connection, channel: str, token: str) -> bool:
        """Whether a connection may join, and whether that is by a token for this channel. Raises `Refuse`."""
        hub = self._hub
        if channel in connection.identity.groups:
            return False  # the server puts it there in any case
        by_token = bool(token) and hub.auth is not None
        if by_token:
            claims = await hub.gate.verify(token)
            if claims.channel != channel:
                raise Refuse("the token is for another group")
            if claims.subject != connection.session.user:
                raise Refuse("the token is another user's")
            hub.permits.check_closed(connection, channel)
        else:
            self._permit(connection, channel)
        if hub.hooks.subscribe:
            await hub.hooks.allow(hub.hooks.subscribe, connection.describe(), channel)
        return by_token

    def _permit(self, connection: Connection, channel: str) -> None:
        """Raise `Refuse` where nothing that the client was granted lets it in."""
        if channel not in connection.identity.groups:
            self._hub.permits.check(connection, Action.JOIN, channel)

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

    def _turn(self, connection: Connection) -> _Turn:
        """One at a time for each connection; who waits comes in the order of asking."""
        return _Turn(self._waiting, connection)

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
        if not hub.interest.take_hold(channel):
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
        permitted = recover is None or hub.permits.may_recover(connection, channel)
        approach = Approach(hub, channel, recover if permitted else None)
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
        recovered = start.recovered if permitted else False
        connection.send_all([Subscribed(id, channel, start.position, recovered), *start.missed])

    def _forget(self, connection: Connection, channel: str) -> Stage | None:
        """Take a connection out of a channel; returns how far it had come, None where it was not in."""
        stage = connection.session.channels.get(channel)
        if stage is None or stage is Stage.JOINING:
            return None  # a join under way clears up after itself
        del connection.session.channels[channel]
        connection.granted -= {channel}
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
