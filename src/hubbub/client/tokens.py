"""Where a client's token comes from, text or a function that is asked for one, and how it stays fresh."""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from hubbub.client.backoff import Backoff
from hubbub.client.errors import BadTokenError, ClientError, ConnectError, LostCallError
from hubbub.client.wire import Message

if TYPE_CHECKING:
    from hubbub.client.calls import Calls
    from hubbub.client.connection import Connection

logger = logging.getLogger(__name__)

TokenSource: TypeAlias = Callable[[], str | Awaitable[str]]
"""Called for a token before each attempt to connect, and for each refresh."""

LEAST: Final = 0.2
"""Seconds between two refreshes, whatever the server says about how long a token lasts."""
A_DAY: Final = 86_400.0


class Tokens:
    """Gets tokens, and remembers of them what tells them apart: which was given last, and which refused."""

    def __init__(self, source: str | TokenSource | None, timeout: float) -> None:
        self._source = source
        self._timeout = timeout
        self._given: int | None = None
        self._refused: int | None = None

    async def obtain(self) -> str | None:
        """The token of this moment; raises `ConnectError` where its source fails, or takes too long."""
        token = await self._obtain()
        self._given = hash(token)
        return token

    async def _obtain(self) -> str | None:
        source = self._source
        if not callable(source):
            return source
        try:
            async with asyncio.timeout(self._timeout) as time:
                given = source()
                given = given if isinstance(given, str) else await given
                check_token(given)
        except asyncio.CancelledError as exc:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            raise ConnectError("No token could be had: its source was cancelled from inside.") from exc
        except Exception as exc:  # whatever it is, the next attempt may fare better
            if time.expired():
                raise ConnectError(f"No token could be had within {self._timeout:g} seconds.") from exc
            raise ConnectError(f"No token could be had: {type(exc).__name__}: {exc}.") from exc
        if not given:
            raise ConnectError("No token could be had: its source gave an empty one.")
        return given

    def accepted(self) -> None:
        """The server has let the client in."""
        self._refused = None

    @property
    def has_another(self) -> bool:
        """After a refusal: whether to ask for one more, which a source gets one chance to have."""
        refused, self._refused = self._refused, self._given
        return callable(self._source) and self._given != refused

    @property
    def can_change(self) -> bool:
        """Whether another can be had at all."""
        return callable(self._source)

    async def keep_fresh(
        self,
        connection: "Connection",
        greeting: Message,
        calls: "Calls",
        backoff: Backoff,
        call_timeout: float,
    ) -> None:
        """Bring another token in time, again and again, until it is cancelled or there is no need."""
        lasts = lasts_for(greeting)
        failures, least = 0, 0.0
        while lasts is not None:
            if not failures:
                await asyncio.sleep(max(least, lasts * random.uniform(0.75, 0.9)))  # noqa: S311 - no secret
            least = LEAST
            try:
                answer = await _refresh(connection, await self._obtain(), calls, call_timeout)
            except (ClientError, TimeoutError) as exc:
                if isinstance(exc, LostCallError):
                    return
                delay = backoff.delay(failures)
                failures += 1
                logger.warning("The token was not refreshed (%s); trying again in %.1f s.", exc, delay)
                await asyncio.sleep(delay)
            else:
                failures, lasts = 0, lasts_for(answer)


async def _refresh(connection: "Connection", token: str | None, calls: "Calls", timeout: float) -> Message:
    id, future = calls.open()
    try:
        async with asyncio.timeout(timeout):
            await connection.send({"type": "refresh", "id": id, "token": token})
            return await future
    finally:
        calls.forget(id)


def lasts_for(message: Message) -> float | None:
    """For how long a token is good, as a greeting or a `refreshed` says; a day at most."""
    said: Any = message.get("expires_in")
    if isinstance(said, bool) or not isinstance(said, int | float) or not said >= 0:
        return None
    return float(min(said, A_DAY))


def check_token(token: str) -> None:
    """Raise `BadTokenError` for a token that no header can carry."""
    if not (token.isascii() and token.isprintable()) or " " in token:
        raise BadTokenError("The token holds a character that no HTTP header can carry.")
