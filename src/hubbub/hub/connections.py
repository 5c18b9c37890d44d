"""The connections of this node: who is let in, greeted, watched, and gone."""

from __future__ import annotations

import uuid
from collections.abc import Collection
from itertools import count
from typing import TYPE_CHECKING, Any, Final

from hubbub.brokers.base import BrokerUnavailable
from hubbub.core import codes
from hubbub.core.channels import BadName, check_client_id, check_name
from hubbub.core.codes import CloseReason
from hubbub.core.departures import Departures
from hubbub.core.heartbeat import Heartbeat, Verdict
from hubbub.core.messages import (
    ALL,
    AreYouThere,
    CommandId,
    Connect,
    Connected,
    Kind,
    Position,
    TimedOut,
    client_channel,
    shown_name,
    user_channel,
)
from hubbub.hub.admission import Admission, own_channels
from hubbub.hub.background import quietly
from hubbub.hub.connection import Connection
from hubbub.hub.hooks import ConnectRequest, Identity, Refuse, to_json
from hubbub.hub.ports import Format, Transport
from hubbub.protocols.base import WireProtocol

if TYPE_CHECKING:
    from hubbub.hub.hub import Hub


FIRST: Final = ("connect", "first")
"""The query parameter of a client that speaks first: nothing is sent to it before its `connect`."""


class Connections:
    """Transports bring clients here: first to `admit` and, when the handshake is answered, to `attach`."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._open = True
        self._count = 0
        self._numbers = count(1)
        self._heartbeat: Heartbeat[Connection] = Heartbeat(
            hub.options.idle_timeout, hub.options.grace_timeout
        )
        self._arriving: set[Admission] = set()
        """Those who are let in and not greeted yet."""
        self._silent: dict[Connection, Admission] = {}
        """Of these, those who speak first: nothing is sent to them before their `connect`."""
        self._departures = Departures(lambda client_id: client_channel(client_id) in hub.registry)

    def __len__(self) -> int:
        return self._count

    @property
    def resolution(self) -> float:
        """Seconds between two calls of `look_after`."""
        return self._heartbeat.resolution

    def of(self, *, client: str = "", user: str = "") -> list[Connection]:
        """The connections of one client (or the one of that connection id), of one user, or all."""
        registry = self._hub.registry
        if client:
            found = registry.members(client_channel(client))
            found = found or [c for c in registry.members(ALL) if c.id == client]
            return [c for c in found if not user or c.session.user == user]
        return registry.members(user_channel(user) if user else ALL)

    def let_in(self) -> None:
        """Admit clients from now on."""
        self._open = True

    def send_away(self) -> None:
        """Close every connection, with a code that lets clients come back, and admit no more."""
        self._open = False
        self.disconnect("", "", codes.SHUTDOWN)

    async def admit(self, request: ConnectRequest) -> Admission:
        """Decide on a client at the door. Raises `Refuse`, with the HTTP status to answer."""
        if not self._open or not self._hub.is_running:
            raise Refuse("the hub is not running; come back", status=503)
        try:
            if request.client_id is not None:
                check_client_id(request.client_id)
            identity = await self._hub.hooks.identify(request) if self._hub.hooks.connect else Identity()
            client_id = identity.client_id or request.client_id or str(uuid.uuid4())
            check_client_id(client_id)
            if identity.user:
                check_name(identity.user, "user")
        except BadName as exc:
            self._hub.metrics.refused.inc()
            raise Refuse(str(exc), status=400, code=codes.BAD_REQUEST.code) from exc
        except Refuse:
            self._hub.metrics.refused.inc()
            raise
        named = Identity(user=identity.user, client_id=client_id, info=identity.info)
        admission = Admission(self._hub, named, speaks_first=request.query.get(FIRST[0]) == FIRST[1])
        self._arriving.add(admission)
        # Before the client is told that it is connected, it can be reached.
        try:
            await admission.hold()
            if not admission.speaks_first:
                await admission.approach({})
        except BrokerUnavailable as exc:
            self.withdraw(admission)
            self._hub.metrics.refused.inc()
            raise Refuse("the broker does not answer; come back", status=503) from exc
        except BaseException:
            self.withdraw(admission)
            raise
        return admission

    def withdraw(self, admission: Admission) -> None:
        """A client that was admitted did not come in after all, or is in by now; idempotent."""
        self._arriving.discard(admission)
        admission.release()

    def attach(
        self,
        transport: Transport,
        protocol: WireProtocol,
        format: Format,
        admission: Admission,
        address: str = "",
        preface: bytes = b"",
    ) -> Connection:
        """A client that was admitted is in: greet it and listen to it.

        `preface` goes out in front of the greeting, in the same write.
        """
        self._count += 1
        connection = Connection(
            self._hub,
            transport,
            protocol,
            format,
            number=next(self._numbers),
            address=address,
            info=admission.identity.info,
        )
        self._hub.metrics.opened()
        if admission.speaks_first:
            admission.connection = connection
            self._silent[connection] = admission
            admission.wait(connection, codes.STALE)
            if preface:
                connection.write(preface)
        else:
            self._greet(connection, admission, preface)
        # It was at the door when others were sent away or, just now, the hub stopped.
        reason = admission.turned_away or (None if self._open else codes.SHUTDOWN)
        if reason is not None:
            connection.close(reason)
        return connection

    async def welcome(self, connection: Connection, id: CommandId, recover: dict[str, Position]) -> bool:
        """A client that speaks first has spoken: greet it, and give it what it missed.

        Returns False where it has vanished. Raises `BrokerUnavailable`; then it may speak again.
        """
        admission = self._silent.get(connection)
        if admission is None:
            return False
        admission.stop_waiting()
        try:
            await admission.approach(recover)
        except BrokerUnavailable:
            if connection in self._silent:
                admission.wait(connection, codes.STALE)
            raise
        if self._silent.pop(connection, None) is None:
            return False
        self._greet(connection, admission, id=id, asked=recover.keys())
        return connection.open

    def _greet(
        self,
        connection: Connection,
        admission: Admission,
        preface: bytes = b"",
        *,
        id: CommandId = None,
        asked: Collection[str] = (),
    ) -> None:
        hub = self._hub
        self._heartbeat.watch(connection, hub.now())
        connection.session.receive(Connect(admission.client_id, admission.identity.user))
        starts = admission.starts()
        for channel in admission.channels:
            start = starts.get(channel)
            if start is None:
                hub.registry.join(connection, channel)
            else:
                hub.registry.join(connection, channel, start.known.offset, start.known.epoch)
                hub.continuity.begin(channel, start.known)
        positions = {shown_name(channel): start.position for channel, start in starts.items()}
        recovered = {
            shown_name(c): start.recovered for c, start in starts.items() if start.recovered is not None
        }
        recovered |= {name: False for name in asked if name not in recovered}
        greeting = Connected(
            admission.client_id,
            hub.timestamp(),
            hub.total_connections,
            id,
            positions or None,
            recovered or None,
        )
        hub.metrics.replied(greeting)
        connection.write(preface + connection.format.frame(greeting))
        self.withdraw(admission)
        for start in starts.values():
            connection.send_all(start.missed)

    def detach(self, connection: Connection) -> None:
        """A connection has ended: whatever it held is let go of, now; the rest of the world hears later."""
        self._count -= 1
        self._heartbeat.forget(connection)
        reason = connection.closed_with or codes.ABNORMAL
        self._hub.metrics.closed(reason.code)
        admission = self._silent.pop(connection, None)
        if admission is not None:
            self.withdraw(admission)
            return  # nobody has heard of it
        groups = self._hub.membership.forget_all(connection)
        session = connection.session
        for channel in own_channels(session.client_id, session.user):
            self._hub.part(connection, channel)
        if (
            self._hub.options.announce_disconnects
            and client_channel(session.client_id) not in self._hub.registry
        ):
            self._departures.add(session.client_id)
        if groups:
            self._hub.spawn(self._hub.membership.departed_all(connection, groups))
        for hook in self._hub.hooks.disconnect:
            call = self._hub.hooks.call(lambda hook=hook: hook(connection.describe()))  # type: ignore[misc]
            self._hub.spawn(quietly(call, "a disconnect hook"))

    def look_after(self, now: float) -> None:
        """What happens by the clock: signs of life are asked for, departures announced."""
        hub = self._hub
        for connection, verdict in self._heartbeat.due(now):
            if verdict is Verdict.ASK:
                question = AreYouThere(hub.timestamp())
                hub.metrics.replied(question)
                connection.send_frame(connection.format.frame(question) + connection.format.probe)
            else:
                silent = hub.options.idle_timeout + hub.options.grace_timeout
                connection.send(TimedOut(f"no sign of life for {silent:g} seconds"))
                connection.close(codes.NO_SIGN_OF_LIFE)
        if not self._count and not hub.cluster.peers:
            self._departures.clear()  # nobody is there to be told
        departed = self._departures.take(now) if self._departures else None
        if departed is not None:
            hub.spawn(quietly(self._announce(*departed), "announcing departures"))

    async def _announce(self, ids: list[str], unnamed: int) -> None:
        """Tell everybody who is gone: of these, those that no other node has a connection of."""
        hub = self._hub
        by_channel = {client_channel(client_id): client_id for client_id in ids}
        try:
            await hub.interest.settled()
            ids = [by_channel[channel] for channel in await hub.broker.deserted(by_channel)]
            if not ids and not unnamed:
                return
            data: dict[str, Any] = {
                "event": "client_disconnected",
                "client_id": ids[0] if ids else "",
                "timestamp": hub.timestamp(),
            }
            if len(ids) > 1 or unnamed:
                data |= {"client_ids": ids, "unnamed": unnamed}
            await hub.publish_raw(ALL, to_json(data), kind=Kind.SYSTEM)
        except BrokerUnavailable:
            for client_id in ids:
                self._departures.add(client_id)  # they are told when it is back

    # Acting on clients of this node.

    def disconnect(self, client: str, user: str, reason: CloseReason) -> int:
        """Close every connection of a client, of a user, or all; returns how many.

        Who is not greeted yet is among them.
        """
        found = self.of(client=client, user=user)
        for admission in [a for a in self._arriving if a.is_of(client, user)]:
            if admission.connection is None:
                admission.turned_away = reason
            else:
                found = [*found, admission.connection]
        for connection in found:
            connection.close(reason)
        return len(found)

    async def subscribe(self, channel: str, client: str, user: str) -> None:
        """Put every connection of a client or a user into a channel; each is told by `group_joined`."""
        for connection in self.of(client=client, user=user):
            await self._hub.membership.join(connection, None, channel, ask=False)

    async def unsubscribe(self, channel: str, client: str, user: str) -> None:
        """Take every connection of a client or a user out of a channel; each is told by `group_removed`."""
        for connection in self.of(client=client, user=user):
            await self._hub.membership.remove(connection, channel, codes.REMOVED_BY_SERVER)

    def users(self) -> int:
        """How many different users are connected."""
        return len({connection.session.user for connection in self.of()} - {""})

    def describe(self, client: str, user: str) -> dict[str, dict[str, Any]]:
        """The connections of a client, of a user, or all, by connection id."""
        return {
            connection.id: {
                "client_id": connection.session.client_id,
                "user": connection.session.user,
                "channels": sorted(connection.session.channels),
                "address": connection.address,
                "transport": "websocket",
                "protocol": "json",
                "node": self._hub.node_id,
            }
            for connection in self.of(client=client, user=user)
        }
