"""uvicorn's HTTP protocol, with a short way for WebSockets of a hub and bounds on what requests may take."""

import asyncio
from typing import Final
from urllib.parse import unquote

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from hubbub.transports.handshake import Doors, Head
from hubbub.transports.turns import Turns
from hubbub.transports.websocket import WebSocketTransport

LEAST_PACE: Final = 500
"""Bytes a second that the body of a request has to come in with, on average of each head timeout."""


class HubHttpProtocol(HttpToolsProtocol):
    """Hands the socket to a hub when it is asked for; everything else is uvicorn's own affair.

    An upgrade request is parsed once and passes no ASGI app; uvicorn's `ws` option has the head written out
    and parsed anew. Requests for other paths go on to uvicorn's own WebSocket class, so an app's own routes
    go on working.

    Closes a connection whose request head takes too long (408) or grows too large (431), and one whose
    request body comes in too slowly (408).

    The deadline runs from the connection's first moment and anew from each later request's first byte;
    between requests uvicorn's own keep-alive timer runs.
    """

    doors: Doors
    """Which hub stands behind which path."""
    turns: Turns
    """Where clients wait that send much."""
    head_timeout: float = 10.0
    """Seconds for a request head."""
    max_head_bytes: int = 16 * 1024
    """Bytes of a request head."""
    head_due: float | None = None
    """When the first request's head has to be there, by the event loop's clock, where that runs already."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._in_head = False
        self._head_bytes = 0
        self._unparsed_bytes = 0
        self._body_bytes = 0
        self._deadline: asyncio.TimerHandle | None = None
        self._expect_head(self.head_due)

    def connection_lost(self, exc: Exception | None) -> None:
        self._expect_nothing()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        scope = self.scope
        super().data_received(data)
        # The parser gathers a header whole before it hands it over: what is still in there counts too.
        if self._in_head and self.scope is scope and not self.transport.is_closing():
            self._unparsed_bytes += len(data)
            self._check_size(self._unparsed_bytes)

    def handle_websocket_upgrade(self) -> None:
        self._expect_nothing()
        if self.transport.is_closing():
            return
        target = self.url.decode("latin-1")
        found = self.doors.find(unquote(target.partition("?")[0]))
        if found is None:
            super().handle_websocket_upgrade()
            return
        hub, client_id = found
        self.connections.discard(self)
        headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in self.headers]
        method = self.parser.get_method().decode("latin-1")
        version = f"HTTP/{self.parser.get_http_version()}"
        # The parser holds on to this object; without it both go now, not at some collection.
        self.parser = None  # type: ignore[assignment]
        websocket = WebSocketTransport(hub, self.transport, self.server_state, self.turns)
        self.transport.set_protocol(websocket)
        peer = self.client[0] if self.client else ""
        websocket.knock(Head(method, target, version, headers), client_id, peer)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._head_bytes = self._unparsed_bytes = 0
        self._expect_head()

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        self._count(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        super().on_header(name, value)
        self._count(len(name) + len(value))

    def on_headers_complete(self) -> None:
        if self.transport.is_closing():
            return  # it was refused: nothing that came with it is done
        self._expect_body()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        if not self.transport.is_closing():
            self._body_bytes += len(body)
            super().on_body(body)

    def on_message_complete(self) -> None:
        self._expect_nothing()
        if not self.transport.is_closing():
            super().on_message_complete()

    def _expect_head(self, due: float | None = None) -> None:
        if not self._in_head:
            self._expect_nothing()
            self._in_head = True
            due = self.loop.time() + self.head_timeout if due is None else due
            self._deadline = self.loop.call_at(due, self._look_at_pace)

    def _expect_body(self) -> None:
        self._expect_nothing()
        self._body_bytes = 0
        self._deadline = self.loop.call_later(self.head_timeout, self._look_at_pace)

    def _expect_nothing(self) -> None:
        self._in_head = False
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _look_at_pace(self) -> None:
        if self.transport.is_closing():
            return
        if self.flow.read_paused:  # it is the app that takes its time
            self._deadline = self.loop.call_later(self.head_timeout, self._look_at_pace)
        elif self._in_head:
            self._too_slow(b"head")
        elif self._body_bytes < LEAST_PACE * self.head_timeout:
            self._too_slow(b"body")
        else:
            self._expect_body()

    def _count(self, size: int) -> None:
        self._head_bytes += size
        self._check_size(self._head_bytes)

    def _check_size(self, size: int) -> None:
        if size > self.max_head_bytes and not self.transport.is_closing():
            self.doors.limited("max_head_bytes")
            self._refuse(b"431 Request Header Fields Too Large", b"the request head is too large\n")

    def _too_slow(self, part: bytes) -> None:
        self._deadline = None
        self.doors.limited("handshake_timeout")
        cycle = self.cycle
        if cycle is not None and cycle.response_started and not cycle.response_complete:
            self.transport.close()  # in the middle of an answer there is no room for another
        else:
            self._refuse(b"408 Request Timeout", b"the request %b took too long\n" % part)

    def _refuse(self, status: bytes, text: bytes) -> None:
        self.transport.write(
            b"HTTP/1.1 " + status + b"\r\ncontent-type: text/plain\r\ncontent-length: %d\r\n"
            b"connection: close\r\n\r\n" % len(text) + text
        )
        self.transport.close()
