"""Joining and leaving: permission, position, what was missed, then live, and nothing left behind."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hubbub.core.codes import CloseReason
from hubbub.core.messages import (
    CommandId,
    Kind,
    Position,
    Publication,
    Removed,
    Subscribed,
    Unsubscribed,
)
from hubbub.core.stream import merge, missed
from hubbub.hub.connection import Connection
from hubbub.hub.hooks import to_json

if TYPE_CHECKING:
    from hubbub.hub.hub import Hub


class Membership:
    """Puts connections into channels and takes them out."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._taps: dict[str, list[list[Publication]]] = {}

    def tap(self, publication: Publication) -> None:
        """A publication arrives live: whoever is reading the channel's history must not miss it."""
        for buffer in self._taps.get(publication.channel, ()):
            buffer.append(publication)

    async def join(
        self, connection: Connection, id: CommandId, channel: str, recover: Position | None
    ) -> None:
        """Join, then be told of it, then be given what was missed, then live.

        Raises `Refuse` where a hook says no and `BrokerUnavailable` where the broker does not answer; then
        nothing has changed.
        """
        hub, session = self._hub, connection.session
        if channel in session.channels:
            # Joining twice is joining once: the answer tells where the channel stands.
            has_history = hub.namespaces.of(channel).has_history
            position = (await hub.broker.history(channel, limit=0)).position if has_history else None
            connection.send(Subscribed(id, channel, position, None if recover is None else False))
            return
        session.channels.add(channel)
        try:
            if hub.hooks.subscribe:
                await hub.hooks.allow(hub.hooks.subscribe, connection.describe(), channel)
            await hub.interest.hold(channel)
            try:
                if hub.namespaces.of(channel).has_history:
                    await self._join_with_history(connection, id, channel, recover)
                elif connection.open:
                    hub.registry.join(connection, channel)
                    recovered = None if recover is None else False
                    connection.send(Subscribed(id, channel, recovered=recovered))
            finally:
                hub.interest.let_go(channel)
        except BaseException:
            session.channels.discard(channel)
            raise
        if connection.open:
            await self._arrived(connection, channel)
        if not connection.open:
            # It vanished somewhere above, perhaps while presence was written.
            await self._departed(connection, channel)

    async def _join_with_history(
        self, connection: Connection, id: CommandId, channel: str, recover: Position | None
    ) -> None:
        """Read the history while live publications gather, merge the two, and go live without a gap.

        There is no `await` between the merge and the registration, so nothing arrives in between.
        """
        hub = self._hub
        buffer: list[Publication] = []
        self._taps.setdefault(channel, []).append(buffer)
        try:
            page = await hub.broker.history(channel, since=recover, limit=0 if recover is None else -1)
        finally:
            taps = self._taps[channel]
            taps.remove(buffer)
            if not taps:
                del self._taps[channel]
        if not connection.open:
            return
        found = None if recover is None else missed(page.publications, recover, page.position)
        start = page.position if found is None or recover is None else recover
        rest = merge(found or [], buffer, start.offset)
        if rest is None:
            # A live publication was lost on the way while the history was read: start over from the top.
            found, start, rest = None, Position(page.position.epoch, buffer[-1].offset), []
        hub.registry.join(connection, channel)
        connection.send(Subscribed(id, channel, start, None if recover is None else found is not None))
        for publication in rest:
            connection.send(publication)

    async def leave(self, connection: Connection, id: CommandId, channel: str) -> None:
        """Leave, as asked; idempotent."""
        was_member = self._forget(connection, channel)
        connection.send(Unsubscribed(id, channel))
        if was_member:
            await self._departed(connection, channel)

    async def remove(self, connection: Connection, channel: str, reason: CloseReason) -> None:
        """Take a connection out of a channel and tell it."""
        if self._forget(connection, channel):
            connection.send(Removed(channel, reason))
            await self._departed(connection, channel)

    def forget_all(self, connection: Connection) -> list[str]:
        """The connection is gone: take it out of everything, now. Returns the groups it was in."""
        return [channel for channel in list(connection.session.channels) if self._forget(connection, channel)]

    async def departed_all(self, connection: Connection, channels: list[str]) -> None:
        """Let presence and the other members know; the connection is long gone."""
        for channel in channels:
            await self._departed(connection, channel)

    def _forget(self, connection: Connection, channel: str) -> bool:
        connection.session.channels.discard(channel)
        audience = self._hub.registry.audience(channel)
        if audience is None or connection not in audience.members:
            return False
        if self._hub.registry.leave(connection, channel):
            self._hub.interest.release(channel)
        return True

    async def _arrived(self, connection: Connection, channel: str) -> None:
        hub = self._hub
        namespace = hub.namespaces.of(channel)
        if namespace.presence:
            await hub.presence_store.add(channel, connection.id, connection.as_member())
        if namespace.join_leave:
            await hub.publish_raw(channel, to_json(connection.as_member()), kind=Kind.JOINED)

    async def _departed(self, connection: Connection, channel: str) -> None:
        hub = self._hub
        namespace = hub.namespaces.of(channel)
        if namespace.presence:
            await hub.presence_store.remove(channel, connection.id)
        if namespace.join_leave:
            await hub.publish_raw(channel, to_json(connection.as_member()), kind=Kind.LEFT)
        found = hub.hooks.unsubscribe.find(channel)
        if found is not None:
            hook, fields = found
            await hub.hooks.call(lambda: hook(connection.describe(), **fields))
