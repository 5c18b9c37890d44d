"""Where a client's token comes from: text, or a function that is asked for one."""

from collections.abc import Awaitable, Callable
from typing import TypeAlias

from hubbub.client.errors import BadTokenError, ConnectError

TokenSource: TypeAlias = Callable[[], str | Awaitable[str]]
"""Called for a token before each attempt to connect, and for each refresh."""


async def obtain(token: str | TokenSource | None) -> str | None:
    """The token of this moment; raises `ConnectError` where its source fails."""
    if not callable(token):
        return token
    try:
        given = token()
        given = given if isinstance(given, str) else await given
        check_token(given)
    except Exception as exc:  # whatever it is, the next attempt may fare better
        raise ConnectError(f"No token could be had: {type(exc).__name__}: {exc}.") from exc
    if not given:
        raise ConnectError("No token could be had: its source gave an empty one.")
    return given


def check_token(token: str) -> None:
    """Raise `BadTokenError` for a token that no header can carry."""
    if not (token.isascii() and token.isprintable()) or " " in token:
        raise BadTokenError("The token holds a character that no HTTP header can carry.")
