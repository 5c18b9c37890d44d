"""Posts JSON to the backend: signed, bounded in time and size, and alone with what it was given.

Theory of operation. Each call under way has a lane: an HTTP transport with one connection, which is kept for
the next call to the same URL. (httpx's pool looks at all its connections for every call: with 32 of them at
work some calls took over a second, where a lane takes 0.7 ms of the processor.) A transport follows no
redirect, keeps no cookie (those of one client's answer would go out with another's call), and asks no
environment for a proxy.
"""

import asyncio
import base64
import ssl
import time
from collections import deque
from collections.abc import Iterable
from typing import Final
from urllib.parse import unquote

import httpx

from hubbub import __version__
from hubbub.webhooks.metrics import Outcome
from hubbub.webhooks.signing import HEADER, sign

IDLE: Final = 4.0
"""Seconds that an unused connection is kept: less than the 5 after which common servers close it."""

CONNECT_SHARE: Final = 0.9
"""Of the time for a call, what connecting may take."""

ILL: Final = frozenset({429, 502, 503, 504})
"""Statuses that speak of the backend. Any other may be about this one call, and whoever causes it must not be
able to have the calls of others turned away."""

Header = tuple[bytes, bytes]


class NoAnswer(Exception):
    """A call without a usable answer; the sentence says why.

    ill: whether that speaks of the backend and not of this one call. status: of the answer, 0 without one.
    """

    def __init__(self, outcome: Outcome, sentence: str, *, ill: bool = False, status: int = 0) -> None:
        super().__init__(sentence)
        self.outcome = outcome
        self.ill = ill
        self.status = status


class _Lane:
    """One connection to one URL."""

    __slots__ = ("transport", "used")

    def __init__(self, context: ssl.SSLContext) -> None:
        self.transport = httpx.AsyncHTTPTransport(
            verify=context,
            trust_env=False,
            limits=httpx.Limits(max_connections=1, max_keepalive_connections=1, keepalive_expiry=IDLE),
        )
        self.used = 0.0


class Poster:
    """What one hub's webhooks go out by. How many at once is for the gates to say."""

    def __init__(self, secrets: tuple[str, ...], max_answer_bytes: int) -> None:
        self._secrets = secrets
        self._most = max_answer_bytes
        self._context: ssl.SSLContext | None = None
        self._free: dict[str, deque[_Lane]] = {}

    async def start(self) -> None:
        """Get ready, in the running event loop."""
        # Reading certificates takes tens of milliseconds. SSL_CERT_FILE, where it is set, names them.
        self._context = await asyncio.to_thread(httpx.create_ssl_context)

    async def stop(self) -> None:
        """Close every connection; idempotent."""
        self._context = None
        lanes = [lane for free in self._free.values() for lane in free]
        self._free.clear()
        for lane in lanes:
            await lane.transport.aclose()

    async def post(self, url: str, body: bytes, headers: Iterable[Header] = (), *, timeout: float) -> bytes:
        """The body of the answer, where its status is 200 to 299. Raises `NoAnswer`, in time."""
        if self._context is None:
            raise NoAnswer(Outcome.UNREACHABLE, "the hub is not running")
        request = self._request(url, body, headers, timeout)
        free = self._free.setdefault(url, deque())
        lane = free.pop() if free else _Lane(self._context)
        try:
            async with asyncio.timeout(timeout):
                answer = await lane.transport.handle_async_request(request)
                try:
                    result = await self._read(answer)
                finally:
                    await answer.aclose()
        except BaseException as exc:
            await lane.transport.aclose()
            match exc:
                case TimeoutError() | httpx.TimeoutException():
                    why = f"no answer within {timeout:.3g} seconds"
                    raise NoAnswer(Outcome.TIMEOUT, why, ill=True) from exc
                case httpx.LocalProtocolError():
                    # Of our own making, and perhaps of one client's: a header that cannot be passed on.
                    raise NoAnswer(Outcome.UNREACHABLE, str(exc)) from exc
                case NoAnswer():
                    raise
                case Exception():  # of a connection that breaks off, the libraries have many kinds
                    why = str(exc) or type(exc).__name__
                    raise NoAnswer(Outcome.UNREACHABLE, why, ill=True) from exc
            raise
        await self._keep(free, lane)
        return result

    def _request(self, url: str, body: bytes, headers: Iterable[Header], timeout: float) -> httpx.Request:
        sent = {
            b"user-agent": f"hubbub/{__version__}".encode(),
            b"accept": b"application/json",
            b"content-type": b"application/json",
            # What is unpacked has no bound that could be seen beforehand.
            b"accept-encoding": b"identity",
        } | dict(headers)
        target = httpx.URL(url)
        if target.userinfo:
            userinfo = unquote(target.userinfo.decode()).encode()
            sent[b"authorization"] = b"Basic " + base64.b64encode(userinfo)
        if self._secrets:
            sent[HEADER.lower().encode()] = sign(self._secrets, body, int(time.time())).encode()
        # The transport closes a socket when this passes, and not when it is cancelled in a TLS handshake.
        patience = {"timeout": {"connect": CONNECT_SHARE * timeout}}
        return httpx.Request("POST", target, content=body, headers=list(sent.items()), extensions=patience)

    async def _keep(self, free: deque[_Lane], lane: _Lane) -> None:
        """Keep a lane for the next call, and let go of one that has not been needed for long."""
        now = time.monotonic()
        lane.used = now
        if self._context is None:
            await lane.transport.aclose()
            return
        free.append(lane)
        if now - free[0].used > IDLE:
            await free.popleft().transport.aclose()

    async def _read(self, answer: httpx.Response) -> bytes:
        status = answer.status_code
        if not 200 <= status < 300:
            raise NoAnswer(
                Outcome.STATUS, f"it was answered with status {status}", ill=status in ILL, status=status
            )
        if answer.headers.get("content-encoding", "identity").lower() != "identity":
            raise NoAnswer(
                Outcome.GARBAGE, "the answer is compressed, which was not asked for", status=status
            )
        body = bytearray()
        async for chunk in answer.aiter_raw():
            body += chunk
            if len(body) > self._most:
                raise NoAnswer(
                    Outcome.TOO_LARGE, f"the answer is larger than {self._most} bytes", status=status
                )
        return bytes(body)
