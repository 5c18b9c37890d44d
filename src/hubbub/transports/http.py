"""uvicorn's HTTP protocol, with a short way for WebSockets of a hub and a deadline for request heads."""

import asyncio
from typing import Any, Final
from urllib.parse import unquote

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from websockets.datastructures import Headers
from websockets.http11 import Request

from hubbub.transports.handshake import Doors
from hubbub.transports.websocket import WebSocketTransport

MAX_HEAD_BYTES: Final = 64 * 1024


class HubHttpProtocol(HttpToolsProtocol):
    """Hands the socket to a hub when it is asked for; everything else is uvicorn's own affair.

    An upgrade request is parsed once and passes no ASGI app; uvicorn's `ws` option has the head written out
    and parsed anew. Requests for other paths go on to uvicorn's own WebSocket class, so an app's own routes
    go on working.

    Closes a connection whose request head takes too long (408) or grows too large (431).

    The deadline runs from the connection's first moment and anew from each later request's first byte;
    between requests uvicorn's own keep-alive timer runs.
    """

    doors: Doors
    """Which hub stands behind which path."""
    head_timeout: float = 10.0
    """Seconds for a request head."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._head_bytes = 0
        self._deadline: asyncio.TimerHandle | None = None
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._head_done()
        super().connection_lost(exc)

    def handle_websocket_upgrade(self) -> None:
        self._head_done()
        target = self.url.decode("latin-1")
        found = self.doors.find(unquote(target.partition("?")[0]))
        if found is None:
            super().handle_websocket_upgrade()
            return
        hub, client_id = found
        self.connections.discard(self)
        headers = Headers((name.decode("latin-1"), value.decode("latin-1")) for name, value in self.headers)
        method = self.parser.get_method().decode("latin-1")
        version = f"HTTP/{self.parser.get_http_version()}"
        # The parser holds on to this object; without it both go now, not at some collection.
        self.parser = None  # type: ignore[assignment]
        websocket = WebSocketTransport(hub, self.transport, self.server_state)
        self.transport.set_protocol(websocket)
        websocket.knock(
            Request(target, headers, method, version), client_id, self.client[0] if self.client else ""
        )

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._head_bytes = 0
        self._expect_head()

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        self._count(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        super().on_header(name, value)
        self._count(len(name) + len(value))

    def on_headers_complete(self) -> None:
        self._head_done()
        super().on_headers_complete()

    def _expect_head(self) -> None:
        if self._deadline is None:
            self._deadline = self.loop.call_later(self.head_timeout, self._too_slow)

    def _head_done(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _count(self, size: int) -> None:
        self._head_bytes += size
        if self._head_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
            self._refuse(b"431 Request Header Fields Too Large", b"the request head is too large\n")

    def _too_slow(self) -> None:
        self._deadline = None
        if not self.transport.is_closing():
            self._refuse(b"408 Request Timeout", b"the request head took too long\n")

    def _refuse(self, status: bytes, text: bytes) -> None:
        self.transport.write(
            b"HTTP/1.1 " + status + b"\r\ncontent-type: text/plain\r\ncontent-length: %d\r\n"
            b"connection: close\r\n\r\n" % len(text) + text
        )
        self.transport.close()


def http_protocol(doors: Doors, head_timeout: float) -> type[Any]:
    """The protocol class for uvicorn's `http` option."""
    return type("HubHttpProtocol", (HubHttpProtocol,), {"doors": doors, "head_timeout": head_timeout})
