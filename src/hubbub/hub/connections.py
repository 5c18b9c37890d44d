"""The connections of this node: who is let in, greeted, watched, and gone."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from itertools import count
from typing import TYPE_CHECKING, Any

from hubbub.core import codes
from hubbub.core.channels import BadName, check_client_id, check_name
from hubbub.core.departures import Departures
from hubbub.core.heartbeat import Heartbeat, Verdict
from hubbub.core.messages import (
    ALL,
    AreYouThere,
    Connect,
    Connected,
    Kind,
    TimedOut,
    client_channel,
    user_channel,
)
from hubbub.hub.background import quietly
from hubbub.hub.connection import Connection
from hubbub.hub.hooks import ConnectRequest, Identity, Refuse, to_json
from hubbub.hub.ports import Format, Transport
from hubbub.protocols.base import WireProtocol

if TYPE_CHECKING:
    from hubbub.hub.hub import Hub


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
        for connection in self.of():
            connection.close(codes.SHUTDOWN)

    async def admit(self, request: ConnectRequest) -> Identity:
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
        admitted = Identity(user=identity.user, client_id=client_id, info=identity.info)
        # Before the client is told that it is connected, it can be reached.
        held: list[str] = []
        try:
            for channel in _channels_of(admitted):
                await self._hub.interest.hold(channel)
                held.append(channel)
        except BaseException:
            for channel in held:
                self._hub.interest.let_go(channel)
            raise
        return admitted

    def withdraw(self, identity: Identity) -> None:
        """A client that was admitted did not come in after all."""
        for channel in _channels_of(identity):
            self._hub.interest.let_go(channel)

    def attach(
        self,
        transport: Transport,
        protocol: WireProtocol,
        format: Format,
        identity: Identity,
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
            info=identity.info,
        )
        client_id = identity.client_id or ""
        connection.session.receive(Connect(client_id, identity.user))
        self._heartbeat.watch(connection, self._hub.now())
        self._hub.metrics.opened()
        greeting = Connected(client_id, self._hub.timestamp(), self._count)
        self._hub.metrics.replied(greeting)
        connection.write(preface + format.frame(greeting))
        for channel in self._own_channels(connection):
            self._hub.registry.join(connection, channel)
        self.withdraw(identity)
        if not self._open:
            connection.close(codes.SHUTDOWN)  # it was at the door when the others were sent away
        return connection

    def detach(self, connection: Connection) -> None:
        """A connection has ended: whatever it held is let go of, now; the rest of the world hears later."""
        self._count -= 1
        self._heartbeat.forget(connection)
        reason = connection.closed_with or codes.ABNORMAL
        self._hub.metrics.closed(reason.code)
        groups = self._hub.membership.forget_all(connection)
        for channel in self._own_channels(connection):
            if self._hub.registry.leave(connection, channel):
                self._hub.interest.release(channel)
        session = connection.session
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

    def _own_channels(self, connection: Connection) -> Iterable[str]:
        yield ALL
        yield client_channel(connection.session.client_id)
        if connection.session.user:
            yield user_channel(connection.session.user)

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
        if not self._count:
            self._departures.clear()
        departed = self._departures.take(now) if self._departures else None
        if departed is not None:
            hub.spawn(quietly(self._announce(*departed), "announcing departures"))

    async def _announce(self, ids: list[str], unnamed: int) -> None:
        hub = self._hub
        data: dict[str, Any] = {
            "event": "client_disconnected",
            "client_id": ids[0],
            "timestamp": hub.timestamp(),
        }
        if len(ids) > 1 or unnamed:
            data |= {"client_ids": ids, "unnamed": unnamed}
        await hub.publish_raw(ALL, to_json(data), kind=Kind.SYSTEM)


def _channels_of(identity: Identity) -> list[str]:
    """The channels that are a client's own."""
    channels = [client_channel(identity.client_id or "")]
    return [*channels, user_channel(identity.user)] if identity.user else channels
