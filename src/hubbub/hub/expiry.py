"""Tokens run out while their connections are open: clients bring a fresh one in time, or are closed."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from hubbub.brokers.base import BrokerUnavailable
from hubbub.core import codes
from hubbub.core.codes import CloseReason
from hubbub.core.grants import Action
from hubbub.core.messages import BadCommand, CommandId, Refreshed
from hubbub.hub.background import quietly
from hubbub.hub.connection import Connection
from hubbub.hub.gate import refreshed
from hubbub.hub.hooks import Identity, Refuse, joined

if TYPE_CHECKING:
    from hubbub.hub.hub import Hub


ASK_AGAIN: Final = 5.0
"""Seconds between two questions to a refresh hook that did not answer."""


class Expiry:
    """Watches the tokens of connections, by the second: no timer for each of them."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._due: dict[int, set[Connection]] = {}
        self._at: dict[Connection, int] = {}

    def watch(self, connection: Connection) -> None:
        """Look at a connection again when its token has expired; anew where it has another one."""
        self.forget(connection)
        if connection.identity.expires_at is not None:
            self._lay(connection, connection.identity.expires_at)

    def forget(self, connection: Connection) -> None:
        """Watch a connection no longer; idempotent."""
        at = self._at.pop(connection, None)
        if at is not None:
            due = self._due[at]
            due.discard(connection)
            if not due:
                del self._due[at]

    def look_after(self) -> None:
        """Have tokens renewed that have expired, and close who had its time of grace."""
        if not self._at:
            return
        now = time.time()
        for at in [at for at in self._due if at <= now]:
            for connection in list(self._due[at]):
                self.forget(connection)
                self._expired(connection, now)

    def check(self, connection: Connection) -> None:
        """Raise `Refuse` where a connection's token has expired and no fresh one came."""
        expires_at = connection.identity.expires_at
        if expires_at is not None and expires_at <= time.time():
            raise Refuse(
                "the token has expired; send a fresh one with `refresh`", code=codes.TOKEN_EXPIRED.code
            )

    def _expired(self, connection: Connection, now: float) -> None:
        expires_at = connection.identity.expires_at
        if expires_at is None:
            return
        end = expires_at + self._hub.options.expiry_grace
        if now >= end:
            connection.close(codes.EXPIRED_TOKEN)
            return
        if not self._hub.hooks.refresh:
            self._lay(connection, end)
        else:
            self._lay(connection, min(end, now + ASK_AGAIN))  # it may be out of reach for a moment
            self._hub.spawn(quietly(self._ask(connection), "a refresh hook"))

    def _lay(self, connection: Connection, moment: float) -> None:
        at = int(moment) + 1
        self._at[connection] = at
        self._due.setdefault(at, set()).add(connection)

    async def _ask(self, connection: Connection) -> None:
        """Have the application prolong an identity."""
        for hook in self._hub.hooks.refresh:
            try:
                identity = await self._hub.hooks.call(lambda hook=hook: hook(connection.describe()))  # type: ignore[misc]
            except Refuse as exc:
                if exc.status < 500:  # a no; where it could not be asked, the grace decides
                    connection.close(codes.EXPIRED_TOKEN)
                    return
                continue
            if isinstance(identity, Identity):
                known = connection.identity
                if identity.user not in ("", known.user):
                    connection.close(codes.EXPIRED_TOKEN)  # whose it was it is no longer
                    return
                said = replace(identity, client_id=known.client_id)
                await self.renew(connection, replace(joined(known, said), expires_at=said.expires_at))
                return

    async def refresh(self, connection: Connection, id: CommandId, token: str) -> None:
        """A client brings a fresh token. Raises `Refuse`; then the earlier one counts."""
        if self._hub.auth is None:
            raise BadCommand("connections do not expire here", id, error=codes.NOT_AVAILABLE)
        claims = await self._hub.gate.verify(token)
        identity = refreshed(claims, connection.identity)
        said = connection.identity.by_hook
        if said is not None:
            ends = [at for at in (identity.expires_at, said.expires_at) if at is not None]
            identity = replace(joined(identity, said), expires_at=min(ends, default=None), by_hook=said)
        await self.renew(connection, identity)
        connection.send(Refreshed(id, remaining(identity)))

    async def renew(self, connection: Connection, identity: Identity) -> None:
        """What a connection may do is another matter now: it leaves what it may not be in."""
        connection.identity = identity
        if not connection.open:
            return
        self.watch(connection)
        for channel in list(connection.session.channels):
            if channel in identity.groups or channel in connection.granted:
                continue
            try:
                self._hub.permits.check(connection, Action.JOIN, channel)
            except Refuse:
                await self._hub.membership.remove(connection, channel, _NOT_GRANTED)
        for channel in identity.groups:
            if channel not in connection.session.channels:
                try:
                    await self._hub.membership.join(connection, None, channel, ask=False)
                except BrokerUnavailable:
                    connection.close(codes.SERVER_ERROR)  # it comes back, and is put where it belongs
                    return


def remaining(identity: Identity) -> int | None:
    """Whole seconds until an identity expires; None where it does not."""
    return None if identity.expires_at is None else max(0, int(identity.expires_at - time.time()))


_NOT_GRANTED = CloseReason(codes.REMOVED_BY_SERVER.code, "no longer granted")
