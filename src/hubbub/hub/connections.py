"""The connections of this node: who is let in, greeted, watched, and gone."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from itertools import count
from typing import TYPE_CHECKING, Any, Final

from hubbub.brokers.base import BrokerUnavailable
from hubbub.core import codes
from hubbub.core.codes import CloseReason
from hubbub.core.departures import Departures
from hubbub.core.heartbeat import Heartbeat, Verdict
from hubbub.core.messages import (
    ALL,
    AreYouThere,
    CommandId,
    Connect,
    Connected,
    Hello,
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
from hubbub.hub.expiry import remaining
from hubbub.hub.hooks import ConnectRequest, Identity, Refuse, to_json
from hubbub.hub.ports import Format, Transport
from hubbub.protocols.base import WireProtocol

if TYPE_CHECKING:
    from hubbub.hub.hub import Hub


FIRST: Final = ("connect", "first")
"""The query parameter of a client that speaks first: nothing is sent to it before its `connect`."""


_LIMIT_OF: Final = {
    codes.MESSAGE_TOO_BIG.code: "max_message_bytes",
    codes.SLOW.code: "outbox_bytes",
    codes.STALE.code: "handshake_timeout",
}
"""The limits that close a connection, by what it is closed with."""


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
            if client.startswith(
                f"{self._hub.node_id}-"
            ):  # a client may call itself what another's is called
                found = [*found, *(c for c in registry.members(ALL) if c.id == client)]
            return [c for c in found if not user or c.session.user == user]
        return registry.members(user_channel(user) if user else ALL)

    @property
    def arriving(self) -> Collection[Admission]:
        """Those who are let in and not greeted yet."""
        return self._arriving

    def let_in(self) -> None:
        """Admit clients from now on."""
        self._open = True

    def send_away(self) -> None:
        """Close every connection, with a code that lets clients come back, and admit no more."""
        self._open = False
        self.disconnect("", "", codes.SHUTDOWN)

    async def admit(self, request: ConnectRequest, *, speaks_first: bool | None = None) -> Admission:
        """Decide on a client at the door. Raises `Refuse`, with the HTTP status to answer.

        It says by itself whether it speaks first; with `speaks_first` its transport has its first words
        already, and no token will be among them.
        """
        if not self._open or not self._hub.is_running:
            raise Refuse("the hub is not running; come back", status=503, retry_after=1.0)
        try:
            await self._hub.gate.enter(request.address)
        except Refuse:
            self._hub.metrics.refused.inc()
            raise
        asked = request.query.get(FIRST[0]) == FIRST[1]
        admission = Admission(
            self._hub, request, speaks_first=asked if speaks_first is None else speaks_first
        )
        self._arriving.add(admission)
        try:
            token = self._hub.gate.token_of(request)
            brings_token = admission.speaks_first and speaks_first is None and self._hub.auth is not None
            if token or not brings_token:
                await self._identify(admission, token)
                if not admission.speaks_first:
                    await admission.approach({})
        except BrokerUnavailable as exc:
            self.withdraw(admission)
            self._hub.metrics.refused.inc()
            raise Refuse("the broker does not answer; come back", status=503, retry_after=1.0) from exc
        except BaseException as exc:
            self.withdraw(admission)
            if isinstance(exc, Refuse):
                self._hub.metrics.refused.inc()
            raise
        return admission

    async def _identify(self, admission: Admission, token: str) -> None:
        """Find out who it is, and have it reached from then on: before it is told that it is connected.

        Raises `Refuse` and `BrokerUnavailable`.
        """
        await admission.hold(await self._hub.gate.identify(admission.request, token))

    def withdraw(self, admission: Admission) -> None:
        """A client that was admitted did not come in after all; idempotent."""
        if admission in self._arriving:
            self._arriving.discard(admission)
            admission.release()
            self._hub.gate.leave(admission.request.address)

    def _settle(self, admission: Admission) -> None:
        """A client that was admitted is a connection, or was one for a while."""
        self._arriving.discard(admission)
        admission.release()

    def attach(
        self,
        transport: Transport,
        protocol: WireProtocol,
        format: Format,
        admission: Admission,
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
            address=admission.request.address,
            identity=admission.identity or Identity(),
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
        if admission.is_revoked:
            reason = codes.INVALID_TOKEN
        if reason is not None:
            connection.close(reason)
        return connection

    async def welcome(self, connection: Connection, hello: Hello) -> bool:
        """A client that speaks first has spoken: greet it, and give it what it missed.

        Returns False where it has vanished. Raises `Refuse` and `BrokerUnavailable`; then it may speak again.
        """
        admission = self._silent.get(connection)
        if admission is None:
            return False
        admission.stop_waiting()
        try:
            if admission.identity is None:
                await self._identify(admission, hello.token)
            await admission.approach(hello.recover)
        except (BrokerUnavailable, Refuse) as exc:
            if connection in self._silent:
                # What is no fault of the client's costs it no time, and lets it come back.
                ours = isinstance(exc, Refuse) and exc.status >= 500
                reason = codes.SERVER_ERROR if ours else codes.STALE
                admission.wait(connection, reason, anew=isinstance(exc, BrokerUnavailable))
            else:
                admission.release()
            raise
        if admission.is_revoked:
            connection.close(codes.INVALID_TOKEN)
        if self._silent.pop(connection, None) is None:
            admission.release()
            return False
        self._greet(connection, admission, id=hello.id, asked=hello.recover.keys())
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
        identity = connection.identity = admission.identity or Identity()
        client_id = identity.client_id or ""
        self._heartbeat.watch(connection, hub.now())
        hub.expiry.watch(connection)
        connection.session.receive(Connect(client_id, identity.user))
        starts = admission.starts()
        positions: dict[str, Position] = {}
        recovered = dict.fromkeys(asked, False)
        for channel in admission.channels:
            start = starts.get(channel)
            if start is None:
                hub.registry.join(connection, channel)
                continue
            hub.registry.join(connection, channel, start.known.offset, start.known.epoch)
            hub.continuity.begin(channel, start.known)
            positions[shown_name(channel)] = start.position
            if start.recovered is not None:
                recovered[shown_name(channel)] = start.recovered
        greeting = Connected(
            client_id,
            hub.timestamp(),
            hub.total_connections,
            id,
            positions or None,
            recovered or None,
            remaining(identity),
        )
        hub.metrics.replied(greeting)
        connection.write(preface + connection.format.frame(greeting))
        self._settle(admission)
        for start in starts.values():
            connection.send_all(start.missed)
        hub.users.came(connection)
        for hook in hub.hooks.connected:
            call = hub.hooks.call(lambda hook=hook: hook(connection.describe()))  # type: ignore[misc]
            hub.spawn(quietly(call, "a connected hook"))
        if identity.groups and not admission.speaks_first:
            hub.spawn(quietly(self.join_all(connection, identity.groups), "joining a client's groups"))

    async def join_all(self, connection: Connection, groups: Iterable[str]) -> None:
        """Put a connection into groups that its identity names."""
        try:
            for group in groups:
                await self._hub.membership.join(connection, None, group, ask=False)
        except BrokerUnavailable:
            connection.close(codes.SERVER_ERROR)  # it comes back, and is put where it belongs

    def detach(self, connection: Connection) -> None:
        """A connection has ended: whatever it held is let go of, now; the rest of the world hears later."""
        self._count -= 1
        self._hub.gate.leave(connection.address)
        self._heartbeat.forget(connection)
        self._hub.expiry.forget(connection)
        reason = connection.closed_with or codes.ABNORMAL
        self._hub.metrics.closed(reason.code)
        if reason.code in _LIMIT_OF:
            self._hub.metrics.limited(_LIMIT_OF[reason.code])
        admission = self._silent.pop(connection, None)
        if admission is not None:
            self._settle(admission)
            return  # nobody has heard of it
        groups = self._hub.membership.forget_all(connection)
        session = connection.session
        for channel in own_channels(session.client_id, session.user):
            self._hub.part(connection, channel)
        self._hub.users.went(connection)
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
            await self._hub.membership.join(connection, None, channel, ask=False, stays=True)

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
                "transport": connection.format.transport,
                "protocol": "msgpack" if connection.protocol.binary else "json",
                "node": self._hub.node_id,
            }
            for connection in self.of(client=client, user=user)
        }
