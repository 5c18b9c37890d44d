"""The WebSocket transport for any ASGI server: one writer task a connection, the same semantics.

What it cannot have: the peer's WebSocket pongs (the server keeps them to itself), so a client must answer the
`ping` message or send anything else now and then; and writes joined into one, since ASGI sends one message at
a time.
"""

import asyncio
import contextlib

from fastapi import WebSocket, WebSocketDisconnect
from starlette.responses import PlainTextResponse

from hubbub.brokers.base import BrokerUnavailable
from hubbub.core import codes
from hubbub.core.codes import CloseReason
from hubbub.hub import Hub, Refuse
from hubbub.hub.connection import Connection
from hubbub.protocols.base import choose
from hubbub.transports.frames import split, websocket_format
from hubbub.transports.handshake import (
    asgi_request,
    more_headers,
    origin_allowed,
    origin_refusal,
)
from hubbub.transports.queued import QueuedTransport


class AsgiTransport(QueuedTransport):
    """One WebSocket behind ASGI's `receive` and `send`."""

    def __init__(self, websocket: WebSocket, *, binary: bool) -> None:
        super().__init__()
        self._websocket = websocket
        self._binary = binary
        self._may_read = asyncio.Event()
        self._may_read.set()

    def write(self, data: bytes) -> None:
        """Queue ready frames for the writer."""
        self._put(data)
        self._announce()

    def close(self, code: int, reason: str) -> None:
        """Close once everything queued is out."""
        if self._closing is None:
            self._closing = CloseReason(code, reason)
            self._wake.set()
            self._may_read.set()

    def pause_reading(self) -> None:
        """Receive nothing more."""
        self._may_read.clear()

    def resume_reading(self) -> None:
        """Go on receiving."""
        self._may_read.set()

    async def run(self, connection: Connection, close_timeout: float) -> None:
        """Read and write until either side ends it."""
        self.connection = connection
        writer = asyncio.create_task(self._write())
        reader = asyncio.create_task(self._read(connection))
        try:
            await asyncio.wait({writer, reader}, return_when=asyncio.FIRST_COMPLETED)
            if writer.done() and not reader.done():
                # We said good-bye: the client has a while to answer.
                await asyncio.wait({reader}, timeout=close_timeout)
        finally:
            connection.lost(self._peer_closed(reader))
            for task in (writer, reader):
                task.cancel()
            await asyncio.wait({writer, reader})

    @staticmethod
    def _peer_closed(reader: "asyncio.Task[CloseReason]") -> CloseReason:
        if reader.done() and not reader.cancelled() and reader.exception() is None:
            return reader.result()
        return codes.ABNORMAL

    async def _read(self, connection: Connection) -> CloseReason:
        while True:
            await self._may_read.wait()
            message = await self._websocket.receive()
            if message["type"] == "websocket.disconnect":
                return CloseReason(message.get("code") or 1005, message.get("reason") or "")
            text, data = message.get("text"), message.get("bytes")
            try:
                payload = text.encode() if text is not None else data or b""
            except UnicodeEncodeError:
                connection.close(codes.INVALID_UTF8)
                continue
            if len(payload) > connection.hub.options.max_message_bytes:
                connection.close(codes.MESSAGE_TOO_BIG)
            else:
                connection.receive(payload, binary=text is None)

    async def _write(self) -> None:
        # Whatever the server raises for a client that is gone, the reader learns of it too.
        with contextlib.suppress(WebSocketDisconnect, RuntimeError, OSError):
            while True:
                while self._queue:
                    data = self._queue.popleft()
                    for payload in split(data):
                        if self._binary:
                            await self._websocket.send_bytes(payload)
                        else:
                            await self._websocket.send_text(payload.decode())
                    self._drained(len(data))
                if self._closing is not None:
                    await self._websocket.close(self._closing.code, self._closing.reason)
                    return
                self._wake.clear()
                await self._wake.wait()


async def serve_websocket(hub: Hub, websocket: WebSocket, client_id: str | None) -> None:
    """One WebSocket of an ASGI app, from handshake to end."""
    request = asgi_request(hub, websocket, client_id)
    origin = request.headers.get("origin")
    if not origin_allowed(origin, request.headers.get("host"), hub.options):
        hub.metrics.refused.inc()
        await _deny(websocket, 403, origin_refusal(origin))
        return
    try:
        async with asyncio.timeout(hub.options.handshake_timeout):
            admission = await hub.connections.admit(request)
    except Refuse as exc:
        await _deny(websocket, exc.status, f"{exc.reason}\n", exc.retry_after)
        return
    except (TimeoutError, BrokerUnavailable):
        await _deny(websocket, 503, "try again later\n")
        return
    protocol, named = choose(websocket.scope.get("subprotocols", ()))
    try:
        await websocket.accept(named)
    except BaseException:
        hub.connections.withdraw(admission)
        raise
    transport = AsgiTransport(websocket, binary=protocol.binary)
    connection = hub.connections.attach(transport, protocol, websocket_format(protocol), admission)
    await transport.run(connection, hub.options.close_timeout)


async def _deny(websocket: WebSocket, status: int, text: str, retry_after: float | None = None) -> None:
    """Answer the handshake with an HTTP error, where the server can; else by closing it, which is a 403."""
    if "websocket.http.response" in websocket.scope.get("extensions", {}):
        more = more_headers(status, retry_after)
        await websocket.send_denial_response(PlainTextResponse(text, status, more))
    else:
        await websocket.close()
