"""Opaque tokens, which mean something to their issuer alone: it is asked (RFC 7662) and answers are kept.

A flood of tokens is held off by bounds: one question at a time about the same token, few at once in all, and
those who would wait too long are told so. Tokens that are nothing are remembered apart from those that are
something, so that a flood of them has none of the others forgotten.
"""

import asyncio
import hashlib
import re
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final, Generic, TypeVar
from urllib.parse import quote_plus

import httpx

from hubbub.auth.claims import AuthUnavailable, BadToken, Claims
from hubbub.auth.fetching import PATIENCE, CannotFetch, fetch, new_client
from hubbub.auth.reading import Rules
from hubbub.auth.tokens import MOST_BYTES

MOST_KEPT: Final = 10_000
"""Answers of each kind that are kept."""
KEEP_GOOD: Final = 60.0
KEEP_BAD: Final = 10.0
"""Seconds that an answer is kept; a good one never past the token's end."""
AT_ONCE: Final = 16
"""Questions under way at most."""
MOST_WAITING: Final = 1000
"""Tokens that wait for an answer at most."""

_FORM: Final = re.compile(r"[A-Za-z0-9._~+/-]+=*")
T = TypeVar("T")


class _Kept(Generic[T]):
    """Answers by token, the least recently used go first."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._entries: OrderedDict[bytes, tuple[T, float]] = OrderedDict()

    def get(self, digest: bytes, now: float) -> T | None:
        entry = self._entries.get(digest)
        if entry is None:
            return None
        if now >= entry[1]:
            del self._entries[digest]
            return None
        self._entries.move_to_end(digest)
        return entry[0]

    def put(self, digest: bytes, answer: T, until: float) -> None:
        self._entries[digest] = (answer, until)
        self._entries.move_to_end(digest)
        if len(self._entries) > self._most:
            self._entries.popitem(last=False)


class Introspection:
    """Asks an authorization server what tokens are worth."""

    def __init__(
        self,
        locate: Callable[[], Awaitable[str]],
        client: str,
        secret: str,
        rules: Rules,
        *,
        clock: Callable[[], float] = time.time,
        patience: float = PATIENCE,
        at_once: int = AT_ONCE,
        most_kept: int = MOST_KEPT,
        most_waiting: int = MOST_WAITING,
    ) -> None:
        """`locate` tells the address to ask at; it raises `CannotFetch`."""
        self._locate = locate
        # RFC 6749 §2.3.1: form-encoded before they are put into the header.
        self._auth = (quote_plus(client), quote_plus(secret))
        self._rules = rules
        self._clock = clock
        self._patience = patience
        self._at_once = at_once
        self._most_waiting = most_waiting
        self._good: _Kept[Claims] = _Kept(most_kept)
        self._bad: _Kept[str] = _Kept(most_kept)
        self._asking: dict[bytes, asyncio.Task[Claims]] = {}
        self._turns = asyncio.Semaphore(at_once)
        self._http: httpx.AsyncClient | None = None

    async def start(self) -> None:
        """Get ready, in the running event loop."""
        self._asking = {}
        self._turns = asyncio.Semaphore(self._at_once)
        self._http = new_client(self._at_once)

    async def stop(self) -> None:
        """Give up what is being asked."""
        tasks, self._asking = list(self._asking.values()), {}
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        http, self._http = self._http, None
        if http is not None:
            await http.aclose()

    async def verify(self, token: str) -> Claims:
        """The claims of a token. Raises `BadToken` and `AuthUnavailable`."""
        if len(token) > MOST_BYTES:
            raise BadToken(f"the token is longer than {MOST_BYTES} bytes")
        if not _FORM.fullmatch(token):
            raise BadToken("the token holds characters that no token has")
        # By its hash: nobody who reads our memory finds tokens that are still good.
        digest = hashlib.sha256(token.encode()).digest()
        now = self._clock()
        if (claims := self._good.get(digest, now)) is not None:
            return claims
        if (sentence := self._bad.get(digest, now)) is not None:
            raise BadToken(sentence)
        task = self._asking.get(digest)
        if task is None or task.get_loop() is not asyncio.get_running_loop():
            if len(self._asking) >= self._most_waiting:
                raise AuthUnavailable("too many tokens are waiting for an answer about them")
            task = self._asking[digest] = asyncio.get_running_loop().create_task(self._ask(token, digest))
            task.add_done_callback(_retrieve)
        await asyncio.wait([task])  # one who gives up takes nobody along
        if task.cancelled():
            raise AuthUnavailable("nobody is asked about tokens any more")
        return task.result()

    async def _ask(self, token: str, digest: bytes) -> Claims:
        try:
            claims = await self._answer(token)
        except BadToken as exc:
            self._bad.put(digest, str(exc), self._clock() + KEEP_BAD)
            raise
        finally:
            if self._asking.get(digest) is asyncio.current_task():
                del self._asking[digest]
        until = self._clock() + KEEP_GOOD
        self._good.put(digest, claims, until if claims.expires_at is None else min(until, claims.expires_at))
        return claims

    async def _answer(self, token: str) -> Claims:
        form = {"token": token, "token_type_hint": "access_token"}
        try:
            async with asyncio.timeout(self._patience), self._turns:
                url = await self._locate()
                document = await fetch(url, self._http, form=form, auth=self._auth, patience=self._patience)
        except TimeoutError as exc:
            raise AuthUnavailable(f"no answer about a token within {self._patience:g} seconds") from exc
        except CannotFetch as exc:
            raise AuthUnavailable(f"nobody answers about a token: {exc}") from exc
        said = document.content
        if said.get("active") is not True:
            raise BadToken("the token is not active")
        return self._rules.read({name: v for name, v in said.items() if v is not None}, self._clock())


def _retrieve(task: asyncio.Task[Claims]) -> None:
    """Take note of how it ended, where all who asked have given up."""
    with suppress(asyncio.CancelledError):
        task.exception()
