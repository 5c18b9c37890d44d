"""What a token says, once it is verified."""

from collections.abc import Mapping
from typing import Any, Protocol

import msgspec

from hubbub.core.grants import Grants


class BadToken(Exception):
    """A token that proves nothing; the sentence says why, in words that may be shown to its bearer."""

    def __init__(self, sentence: str, *, expired: bool = False) -> None:
        super().__init__(sentence)
        self.expired = expired
        """Whether it was good once: a fresh one of the same kind will do."""


class AuthUnavailable(Exception):
    """Nobody can say now what a token is worth: keys or an introspection endpoint cannot be reached."""


class Claims(msgspec.Struct, frozen=True, kw_only=True):
    """A verified token.

    subject: claim `sub`, the user. client_id: claim `client_id`, "" where there is none. groups: to be joined
    by the server. grants: from claim `channels` and from scopes; None where the token speaks of no channels,
    which leaves them to the namespaces. channel: the one group that a token for `join_group` is for.
    expires_at, issued_at: seconds since the epoch. token_id: claim `jti`. api: methods of the server API that
    it opens. scopes: claim `scope` or `scp`.
    """

    subject: str = ""
    client_id: str = ""
    groups: tuple[str, ...] = ()
    grants: Grants | None = None
    channel: str = ""
    info: Any = None
    expires_at: float | None = None
    issued_at: float | None = None
    token_id: str = ""
    api: frozenset[str] = frozenset()
    scopes: tuple[str, ...] = ()
    raw: Mapping[str, Any] = msgspec.field(default_factory=dict)


class Verifier(Protocol):
    """Tells what a token is worth."""

    async def start(self) -> None:
        """Get ready, in the running event loop; where keys cannot be fetched yet, they are fetched later."""

    async def stop(self) -> None:
        """Let go of everything; idempotent."""

    async def verify(self, token: str) -> Claims:
        """The claims of a token. Raises `BadToken` and `AuthUnavailable`.

        Called in a task of its own, unless the class has a true `taskless`: then nothing in here may ask for
        its task, as `asyncio.timeout` does.
        """
