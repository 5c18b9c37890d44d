"""The transport for server-sent events: a stream over plain HTTP that only listens, under any ASGI server.

Its first words are said for it: the groups of its address and the positions of its last event's id make the
`connect` of a client that speaks first, and from there it is a connection like any other. The answer's status
is known once the first group is joined or all of them were refused.
"""

import asyncio
import contextlib
import random
from collections import deque
from collections.abc import Iterator, Mapping
from functools import cache
from http import HTTPStatus
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qsl

from msgspec import structs
from starlette.requests import HTTPConnection
from starlette.responses import PlainTextResponse
from starlette.types import Message, Receive, Scope, Send

from hubbub.brokers.base import BrokerUnavailable
from hubbub.core import codes
from hubbub.core.channels import BadName, check_group
from hubbub.core.codes import CloseReason
from hubbub.core.messages import Hello, Position
from hubbub.hub import Hub, Refuse
from hubbub.hub.connection import Connection
from hubbub.protocols.base import protocol
from hubbub.transports.events import OWN, Bookmark, EventFormat, Refusal, read_id
from hubbub.transports.handshake import (
    asgi_request,
    more_headers,
    origin_allowed,
    origin_refusal,
)
from hubbub.transports.queued import QueuedTransport

SOONEST, LATEST = 500, 3000
"""Milliseconds after which a stream comes back, drawn for each: so not all come in the same moment."""
NOWHERE: Final = Position("", 0)
"""A position in no history: what cannot be read is answered as what cannot be recovered."""

_HEADERS: Final = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),  # a proxy hands on what comes, when it comes
)
_STATUS: Final = {
    codes.UNAUTHORIZED.code: 401,
    codes.TOKEN_EXPIRED.code: 401,
    codes.INTERNAL.code: 503,
    codes.TOO_MANY_REQUESTS.code: 503,
    codes.CONCURRENT.code: 503,
    codes.LIMIT_EXCEEDED.code: 429,
    codes.BAD_REQUEST.code: 400,
}
"""What an error is as an HTTP status; any other is a 403."""


class Wanted(NamedTuple):
    """What a request asks for: groups, in their order, and the id of the last event; empty for none."""

    groups: list[str]
    last_id: str


class EventTransport(QueuedTransport):
    """One stream behind ASGI's `receive` and `send`."""

    def __init__(self, hub: Hub, receive: Receive, send: Send) -> None:
        super().__init__()
        self._hub = hub
        self._receive = receive
        self._send = send
        self._joined = self._answered = self._gone = False
        self._refusals: list[Refusal] = []
        self._patience: asyncio.TimerHandle | None = None
        self._task = asyncio.current_task()
        self._bookmark = Bookmark()

    # What a hub needs of a transport.

    def write(self, data: bytes) -> None:
        """Queue events for the stream, each with its id."""
        for event in _format().events(data):
            if event.moves:
                self._bookmark.move(event.moves)
                id = self._bookmark.id
                self._put(b"id: %b\n%b" % (id, event.text) if id else event.text)
            else:
                self._put(event.text)
            if event.type == "ping" and self.connection is not None:
                # Nobody answers on a stream: that it could be asked is its sign of life.
                self.connection.last_seen = self._hub.now()
            elif event.type == "group_joined":
                self._joined = True
            elif event.refusal is not None:
                self._refusals.append(event.refusal)
        self._announce()

    def close(self, code: int, reason: str) -> None:
        """End the stream once everything queued is out; at once where it does not get out."""
        if self._closing is None:
            self._closing = CloseReason(code, reason)
            loop = asyncio.get_running_loop()
            self._patience = loop.call_later(self._hub.options.close_timeout, self._give_up)
            self._wake.set()

    def pause_reading(self) -> None:
        """Its first words are being worked on; there are no others."""

    def resume_reading(self) -> None:
        """Its first words are done."""
        self._answered = True
        self._wake.set()

    # The stream.

    async def run(self, connection: Connection, hello: Hello, headers: Mapping[str, str]) -> None:
        """Join, answer, and stream until either side ends it."""
        self.connection = connection
        for name, at in (hello.recover | hello.groups).items():
            if at is not None:
                # Until it is told otherwise it has come no further, whatever is told before that.
                self._bookmark.put(name, at.epoch, at.offset)
        watcher = asyncio.create_task(self._watch(connection))
        try:
            with contextlib.suppress(OSError, RuntimeError), _told_of_the_end(self._receive, connection):
                connection.apply(connection.session.receive(hello))
                while not (self._joined or self._answered or self._closing or self._gone):
                    await self._woken()
                refusal = self._refusal(connection, hello)
                if refusal is not None:
                    connection.lost(codes.NORMAL)
                    await self._refuse(refusal, headers)
                elif not self._gone:
                    await self._stream(headers)
        except asyncio.CancelledError:
            if self._patience is None or not self._gone:
                raise
        finally:
            connection.lost(codes.ABNORMAL)
            if self._patience is not None:
                self._patience.cancel()
            watcher.cancel()
            await asyncio.wait({watcher})

    def _refusal(self, connection: Connection, hello: Hello) -> Refuse | None:
        """Why there is no stream, where none of what was asked for is to be had."""
        if self._joined or self._gone:
            return None
        reason = self._closing
        if reason is not None:
            status = 401 if reason.code == codes.INVALID_TOKEN.code else 503 if reason.reconnect else 403
            return Refuse(reason.reason, status=status)
        whole = [refusal for refusal in self._refusals if not refusal.group]
        refused = {refusal.group for refusal in self._refusals}
        if not whole:
            if not hello.groups or not refused >= hello.groups.keys():
                return None
            if any(refusal.temporary for refusal in self._refusals):
                return None  # a stream that ends comes back, and an `EventSource` that is refused does not
        first = (whole or self._refusals)[0]
        return Refuse(
            "\n".join(refusal.sentence for refusal in whole or self._refusals),
            status=_STATUS.get(first.code, 403),
            code=first.code,
            retry_after=1.0 if first.temporary else None,
        )

    async def _refuse(self, refusal: Refuse, headers: Mapping[str, str]) -> None:
        await _answer(self._send, refusal.status, f"{refusal.reason}\n", headers, refusal.retry_after)

    async def _stream(self, headers: Mapping[str, str]) -> None:
        more = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()]
        await self._send({"type": "http.response.start", "status": 200, "headers": [*_HEADERS, *more]})
        await self._body(b"retry: %d\n\n" % random.randint(SOONEST, LATEST))  # noqa: S311 - it is no secret
        while not self._gone:
            if self._queue:
                data, self._queue = b"".join(self._queue), deque()
                await self._body(data)
                self._drained(len(data))
            elif self._closing is not None:
                await self._send({"type": "http.response.body", "body": b"", "more_body": False})
                return
            elif self._answered and any(refusal.temporary for refusal in self._refusals):
                # Nobody can ask again on a stream: it comes back as a whole, and loses nothing by it.
                assert self.connection is not None
                self.connection.close(codes.SERVER_ERROR)
            else:
                await self._woken()

    async def _body(self, data: bytes) -> None:
        await self._send({"type": "http.response.body", "body": data, "more_body": True})

    async def _woken(self) -> None:
        self._wake.clear()
        await self._wake.wait()

    async def _watch(self, connection: Connection) -> None:
        """Notice at once that the client is gone."""
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._gone = True
        connection.lost(codes.ABNORMAL)
        self._wake.set()

    def _give_up(self) -> None:
        """The client does not read even the end of it."""
        self._gone = True
        socket = getattr(getattr(self._receive, "__self__", None), "transport", None)
        if socket is not None:
            socket.abort()
        elif self._task is not None:
            self._task.cancel()


@contextlib.contextmanager
def _told_of_the_end(receive: Receive, connection: Connection) -> Iterator[None]:
    """Within it, a stream ends when uvicorn stops, which waits for answers to end and tells them nothing."""
    transport: Any = getattr(getattr(receive, "__self__", None), "transport", None)
    http: Any = transport.get_protocol() if hasattr(transport, "get_protocol") else None
    if not hasattr(http, "shutdown"):
        yield
        return
    stop = http.shutdown

    def shutdown() -> None:
        connection.close(codes.SHUTDOWN)
        stop()

    http.shutdown = shutdown
    try:
        yield
    finally:
        del http.shutdown  # and the class's own is back


@cache
def _format() -> EventFormat:
    """The one format of all streams."""
    return EventFormat(protocol("hubbub.v1"))


async def serve_events(hub: Hub, scope: Scope, receive: Receive, send: Send, client_id: str | None) -> None:
    """One stream of an ASGI app, from its request to its end."""
    request = HTTPConnection(scope)
    knock = structs.replace(asgi_request(hub, request, client_id), transport="sse")
    origin = knock.headers.get("origin")
    if not origin_allowed(origin, knock.headers.get("host"), hub.options):
        hub.metrics.refused.inc()
        await _answer(send, 403, origin_refusal(origin), {})
        return
    allowed = _cross_origin(origin, hub)
    try:
        asked = wanted(request.url.query, knock.headers, hub.options.limits.groups)
        await _expect_no_body(receive)
        async with asyncio.timeout(hub.options.handshake_timeout):
            admission = await hub.connections.admit(knock, speaks_first=True)
    except BadName as exc:
        await _answer(send, 400, f"{exc}\n", allowed)
        return
    except Refuse as exc:
        await _answer(send, exc.status, f"{exc.reason}\n", allowed, exc.retry_after)
        return
    except (TimeoutError, BrokerUnavailable):
        await _answer(send, 503, "try again later\n", allowed)
        return
    transport = EventTransport(hub, receive, send)
    granted = admission.identity.groups if admission.identity is not None else ()
    connection = hub.connections.attach(transport, protocol("hubbub.v1"), _format(), admission)
    await transport.run(connection, hello(asked, granted), allowed)


def wanted(query: str, headers: Mapping[str, str], most: int) -> Wanted:
    """What a request asks for. Raises `BadName`."""
    groups: dict[str, None] = {}
    last_id = headers.get("last-event-id", "")
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name == "groups":
            groups |= dict.fromkeys(group for group in value.split(",") if group)
        elif name == "group":  # one whose name may hold a comma
            groups[value] = None
        elif name == "last_event_id" and not last_id:
            last_id = value
    for group in groups:
        check_group(group, "a name in `groups`")
    if len(groups) > most:
        raise BadName(f"a connection joins at most {most} groups; name fewer")
    return Wanted(list(groups), last_id)


def hello(asked: Wanted, granted: tuple[str, ...]) -> Hello:
    """The first words of a stream; `granted` are groups that it is put into without asking."""
    groups: dict[str, Position | None] = dict.fromkeys(asked.groups)
    if not asked.last_id:
        return Hello(None, {}, groups)
    try:
        known = read_id(asked.last_id, {*OWN, *groups, *granted})
    except ValueError:
        known = dict.fromkeys((*OWN, *groups, *granted), NOWHERE)
    groups |= {name: known[name] for name in (*groups, *granted) if name in known}
    return Hello(None, {name: known[name] for name in OWN if name in known}, groups)


async def _expect_no_body(receive: Receive) -> None:
    """Have the request complete. Raises `Refuse` for one that has anything to say besides."""
    first: Message = await receive()
    if first["type"] == "http.request" and (first.get("body") or first.get("more_body")):
        raise Refuse("a request for a stream has no body", status=400)


def _cross_origin(origin: str | None, hub: Hub) -> dict[str, str]:
    """What lets a page of an allowed origin read the stream, and send its cookies where it was named."""
    if origin is None:
        return {}
    if "*" in hub.options.allowed_origins and origin not in hub.options.allowed_origins:
        return {"Access-Control-Allow-Origin": "*"}
    return {
        "Access-Control-Allow-Origin": origin,
        "Access-Control-Allow-Credentials": "true",
        "Vary": "Origin",
    }


async def _answer(
    send: Send, status: int, text: str, headers: Mapping[str, str], retry_after: float | None = None
) -> None:
    """Answer in place of a stream."""
    more = {"Cache-Control": "no-store", **headers, **more_headers(status, retry_after)}
    answer = PlainTextResponse(text, HTTPStatus(status) if status in set(HTTPStatus) else status, more)

    async def nothing() -> Message:
        raise AssertionError("an answer reads nothing")

    await answer({"type": "http"}, nothing, send)
