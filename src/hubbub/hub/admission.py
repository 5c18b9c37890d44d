"""A client between the door and its greeting: it can be reached already, and is told nothing yet."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from hubbub.core.codes import CloseReason
from hubbub.core.messages import ALL, Position, client_channel, shown_name, user_channel
from hubbub.hub.approach import TRIES, Approach, Start
from hubbub.hub.hooks import ConnectRequest, Identity

if TYPE_CHECKING:
    from hubbub.hub.connection import Connection
    from hubbub.hub.hub import Hub
    from hubbub.hub.revocations import Revocation


class Admission:
    """A client that was let in and is not greeted yet.

    Whoever holds it calls `Connections.attach` or `Connections.withdraw`, once.
    """

    __slots__ = (
        "_approaches",
        "_deadline",
        "_held",
        "_hub",
        "_patience",
        "channels",
        "connection",
        "identity",
        "request",
        "revoked",
        "speaks_first",
        "turned_away",
    )

    def __init__(self, hub: Hub, request: ConnectRequest, *, speaks_first: bool) -> None:
        self._hub = hub
        self._held: list[str] = []
        self._approaches: dict[str, Approach] = {}
        self._patience: asyncio.TimerHandle | None = None
        self._deadline = hub.now() + hub.options.handshake_timeout
        self.request = request
        self.identity: Identity | None = None
        """Who it is; None for one whose token is to come with its first words."""
        self.speaks_first = speaks_first
        self.channels: list[str] = []
        """What is its own."""
        self.connection: Connection | None = None
        """Where the handshake is answered and the client has not spoken yet."""
        self.turned_away: CloseReason | None = None
        """Why it is to be closed as soon as there is something to close."""
        self.revoked: list[Revocation] = []
        """What was revoked since it came."""

    @property
    def is_revoked(self) -> bool:
        """Whether its token was good when it was looked at, and is no longer."""
        identity = self.identity
        return identity is not None and any(revocation.ends(identity) for revocation in self.revoked)

    def is_of(self, client: str, user: str) -> bool:
        """Whether it is of this client (or connection id) and of this user; empty for any."""
        own = self.connection.id if self.connection is not None else ""
        named, of_user = (self.identity.client_id, self.identity.user) if self.identity else ("", "")
        return client in ("", named, own) and user in ("", of_user)

    async def hold(self, identity: Identity) -> None:
        """Know who it is, and have what is published for it come to this node. Raises `BrokerUnavailable`."""
        self.identity = identity
        self.channels = own_channels(identity.client_id or "", identity.user)
        try:
            for channel in self.channels:
                if not self._hub.interest.take_hold(channel):
                    await self._hub.interest.hold(channel)
                self._held.append(channel)
        except BaseException:
            self._let_go()
            self.identity = None  # it may say again who it is
            raise

    async def approach(self, recover: dict[str, Position]) -> None:
        """Find out where what is the client's own stands, and what it missed of it; again after a failure.

        Raises `BrokerUnavailable`.
        """
        self._forget()
        for channel in self.channels:  # all before the first is read, so that `release` finds them
            if self._hub.namespaces.of(channel).has_history:
                position = recover.get(shown_name(channel))
                self._approaches[channel] = Approach(self._hub, channel, position)
        try:
            for _ in range(TRIES):
                unsound = [approach for approach in self._approaches.values() if not approach.sound]
                if not unsound:
                    return
                for approach in unsound:  # while one is read, another may be overtaken
                    await approach.read()
        except BaseException:
            self._forget()
            raise

    def starts(self) -> dict[str, Start]:
        """Where the client begins, by channel with history; valid until the next `await`."""
        return {channel: approach.start() for channel, approach in self._approaches.items()}

    def wait(self, connection: Connection, reason: CloseReason, *, anew: bool = False) -> None:
        """The client has to speak within the handshake timeout, or is closed; `anew` grants it once more."""
        now = self._hub.now()
        if anew:
            self._deadline = now + self._hub.options.handshake_timeout
        self._patience = self._hub.later(max(0.0, self._deadline - now), connection.close, reason)

    def stop_waiting(self) -> None:
        """The client has spoken, or is gone; idempotent."""
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def release(self) -> None:
        """The client is in by now, or does not come in after all; idempotent."""
        self.stop_waiting()
        self._forget()
        self._let_go()

    def _let_go(self) -> None:
        held, self._held = self._held, []
        for channel in held:
            self._hub.interest.let_go(channel)

    def _forget(self) -> None:
        for approach in self._approaches.values():
            approach.close()
        self._approaches = {}


def own_channels(client_id: str, user: str) -> list[str]:
    """The channels that are a client's own, without joining them."""
    channels = [ALL, client_channel(client_id)]
    return [*channels, user_channel(user)] if user else channels
