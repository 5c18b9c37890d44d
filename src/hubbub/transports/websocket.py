"""The fast WebSocket transport: the asyncio protocol is the connection, and fan-outs write straight to it.

It plugs into uvicorn's `ws` option, which hands over the bytes of an upgrade request and the socket with it.
Requests for paths that are no hub's go on to uvicorn's own class. The `websockets` library's sans-I/O
`ServerProtocol` does handshake, parsing, ping, close and inbound deflate; outbound data frames are ours.
"""

import asyncio
import logging
from http import HTTPStatus
from typing import Any, Final, cast
from urllib.parse import unquote

from uvicorn.config import Config
from uvicorn.protocols.utils import get_remote_addr
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState
from websockets.exceptions import InvalidState
from websockets.extensions.permessage_deflate import PerMessageDeflate, ServerPerMessageDeflateFactory
from websockets.frames import Frame, Opcode
from websockets.http11 import Request, Response
from websockets.protocol import State
from websockets.server import ServerProtocol

from hubbub.core import codes
from hubbub.core.codes import CloseReason
from hubbub.hub import Hub, Identity, Options, Refuse
from hubbub.hub.connection import Connection
from hubbub.protocols.base import WireProtocol, choose
from hubbub.transports.frames import websocket_format
from hubbub.transports.handshake import Doors, client_address, connect_request, origin_allowed, origin_refusal

# Its INFO lines, two a connection, would be what a busy server mostly does.
_library_log = logging.getLogger("hubbub.websockets")
_library_log.setLevel(logging.WARNING)

MAX_REASON_BYTES: Final = 123  # RFC 6455 §5.5: a control frame carries 125, two of them are the code
_DEFLATE: Final = [
    ServerPerMessageDeflateFactory(
        server_no_context_takeover=True,
        client_no_context_takeover=True,
        server_max_window_bits=12,
        client_max_window_bits=12,
        compress_settings={"memLevel": 5},
    )
]


class WebSocketTransport(asyncio.Protocol):
    """One WebSocket, from its upgrade request to its end."""

    __slots__ = (
        "_app_state",
        "_binary",
        "_close_timer",
        "_config",
        "_connection",
        "_doors",
        "_message",
        "_message_binary",
        "_options",
        "_server_state",
        "_transport",
        "_ws",
        "write",
    )

    def __init__(
        self, config: Config, server_state: ServerState, app_state: dict[str, Any], *, doors: Doors
    ) -> None:
        self._config: Config | None = config
        self._server_state = server_state
        self._app_state: dict[str, Any] | None = app_state
        self._doors: Doors | None = doors
        self._options: Options
        self._transport: asyncio.Transport
        self._ws: ServerProtocol | None = None
        self._connection: Connection | None = None
        self._binary = False
        self._message: bytearray | None = None  # of a fragmented message, what came so far
        self._message_binary = False
        self._close_timer: asyncio.TimerHandle | None = None

    # From the event loop.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass
        self.write = self._transport.write

    def data_received(self, data: bytes) -> None:
        if self._ws is None:
            self._knock(data)
            return
        self._ws.receive_data(data)
        self._handle_events(self._ws)

    def pause_writing(self) -> None:
        if self._connection is not None:
            self._connection.pause_writing()

    def resume_writing(self) -> None:
        if self._connection is not None:
            self._connection.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self._server_state.connections.discard(self)
        if self._close_timer is not None:
            self._close_timer.cancel()
            self._close_timer = None
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.lost(codes.ABNORMAL)
        if self._ws is not None:
            self._ws.state = State.CLOSED

    # From uvicorn.

    def shutdown(self) -> None:
        """The server stops."""
        if self._connection is not None:
            self._connection.close(codes.SHUTDOWN)
        else:
            self._transport.close()

    # The handshake.

    def _knock(self, head: bytes) -> None:
        """The upgrade request: find its hub, or leave it to uvicorn's own class."""
        assert self._config is not None
        assert self._app_state is not None
        assert self._doors is not None
        target = head.split(b" ", 2)[1].decode("latin-1")
        found = self._doors.find(unquote(target.partition("?")[0]))
        if found is None:
            stock = WebSocketsSansIOProtocol(self._config, self._server_state, self._app_state)
            stock.connection_made(self._transport)
            stock.data_received(head)
            # uvicorn is about to make this object the transport's protocol; the next turn corrects it.
            asyncio.get_running_loop().call_soon(self._transport.set_protocol, stock)
            return
        hub, client_id = found
        self._config = self._app_state = self._doors = None
        self._options = hub.options
        self._server_state.connections.add(self)  # type: ignore[arg-type]
        self._ws = ws = ServerProtocol(
            extensions=_DEFLATE if hub.options.compression else None,
            max_size=hub.options.max_message_bytes,
            logger=_library_log,
        )
        ws.receive_data(head)
        for event in ws.events_received():
            if isinstance(event, Request):
                self._answer(ws, hub, client_id, event)
        if ws.parser_exc is not None or ws.handshake_exc is not None:
            self._flush(ws)
            self._transport.close()

    def _answer(self, ws: ServerProtocol, hub: Hub, client_id: str | None, request: Request) -> None:
        response = ws.accept(request)
        headers = {name.lower(): value for name, value in request.headers.raw_items()}
        if response.status_code != HTTPStatus.SWITCHING_PROTOCOLS:
            self._reject(ws, response)
        elif not origin_allowed(headers.get("origin"), headers.get("host"), hub.options):
            hub.metrics.refused.inc()
            self._reject(ws, ws.reject(HTTPStatus.FORBIDDEN, origin_refusal(headers.get("origin"))))
        else:
            peer = get_remote_addr(self._transport)
            address = client_address(
                peer[0] if peer else "", request.headers.get_all("x-forwarded-for"), hub.options
            )
            offered = [name.strip() for name in headers.get("sec-websocket-protocol", "").split(",")]
            protocol, named = choose(offered)
            if named is not None:
                response.headers["Sec-WebSocket-Protocol"] = named
            self.pause_reading()
            knocking = connect_request(client_id, request.path, headers, address)
            hub.spawn(self._enter(ws, hub, protocol, response, knocking))

    async def _enter(
        self, ws: ServerProtocol, hub: Hub, protocol: WireProtocol, response: Response, knocking: Any
    ) -> None:
        """Ask the hub, answer the handshake, and be a connection."""
        try:
            async with asyncio.timeout(hub.options.handshake_timeout):
                identity = await hub.admit(knocking)
        except Refuse as exc:
            self._reject(ws, ws.reject(exc.status, f"{exc.reason}\n"))
            return
        except Exception:
            logging.getLogger("hubbub").exception("letting a client in failed")
            self._reject(ws, ws.reject(HTTPStatus.SERVICE_UNAVAILABLE, "try again later\n"))
            return
        if self._transport.is_closing():
            hub.withdraw(identity)
            return
        self._open(ws, hub, protocol, response, identity, knocking.address)

    def _open(
        self,
        ws: ServerProtocol,
        hub: Hub,
        protocol: WireProtocol,
        response: Response,
        identity: Identity,
        address: str,
    ) -> None:
        ws.send_response(response)
        self._flush(ws)
        window_bits = 0
        for extension in ws.extensions:
            if isinstance(extension, PerMessageDeflate):
                # zlib has no raw window of 8 bits; plain frames are legal whatever was negotiated.
                window_bits = extension.local_max_window_bits if extension.local_max_window_bits > 8 else 0
        self._binary = protocol.binary
        self._connection = hub.attach(
            self, protocol, websocket_format(protocol, window_bits), identity, address
        )
        self.resume_reading()

    def _reject(self, ws: ServerProtocol, response: Response) -> None:
        """Answer the handshake with an HTTP error, and close."""
        if not self._transport.is_closing():
            ws.send_response(response)
            self._flush(ws)
            self._transport.close()

    # What comes in.

    def _handle_events(self, ws: ServerProtocol) -> None:
        for event in ws.events_received():
            if self._connection is None:
                break
            assert isinstance(event, Frame)
            match event.opcode:
                case Opcode.TEXT | Opcode.BINARY if event.fin:
                    self._receive(bytes(event.data), binary=event.opcode is Opcode.BINARY)
                case Opcode.TEXT | Opcode.BINARY:
                    self._connection.seen()
                    self._message = bytearray(event.data)
                    self._message_binary = event.opcode is Opcode.BINARY
                case Opcode.CONT:
                    assert self._message is not None
                    self._message += event.data
                    if event.fin:
                        message, self._message = bytes(self._message), None
                        self._receive(message, binary=self._message_binary)
                    else:
                        self._connection.seen()
                case Opcode.PING | Opcode.PONG:
                    self._connection.seen()
                case Opcode.CLOSE:
                    pass
        connection = self._connection
        if connection is not None and connection.slow and ws.state is State.OPEN:
            # Pongs for a client that does not read would pile up: RFC 6455 §5.5.3 lets us answer the latest.
            ws.data_to_send()
        else:
            self._flush(ws)
        if ws.parser_exc is not None or ws.close_rcvd is not None:
            self._ended(ws)

    def _receive(self, payload: bytes, *, binary: bool) -> None:
        """One whole message."""
        assert self._connection is not None
        if binary is not self._binary:
            self._connection.close(codes.UNSUPPORTED_DATA)
        elif not binary and not payload.isascii() and not _is_utf8(payload):
            self._connection.close(codes.INVALID_UTF8)
        else:
            self._connection.receive(payload)

    def _ended(self, ws: ServerProtocol) -> None:
        """The peer closed, or broke the protocol; the close frame is written."""
        close = ws.close_rcvd or ws.close_sent
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.lost(CloseReason(close.code, close.reason) if close else codes.ABNORMAL)
        self._transport.close()

    # What goes out: the contract of a transport.

    def close(self, code: int, reason: str) -> None:
        """Send a close frame, and give the client a while to answer it."""
        ws = self._ws
        if ws is None or self._transport.is_closing():
            return
        try:
            ws.send_close(code, reason.encode()[:MAX_REASON_BYTES].decode(errors="ignore"))
        except InvalidState:
            return
        self._flush(ws)
        self.resume_reading()
        loop = asyncio.get_running_loop()
        self._close_timer = loop.call_later(self._options.close_timeout, self._transport.abort)

    def pause_reading(self) -> None:
        """Take nothing more off the socket."""
        if not self._transport.is_closing():
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Go on reading."""
        if not self._transport.is_closing():
            self._transport.resume_reading()

    def _flush(self, ws: ServerProtocol) -> None:
        data = b"".join(ws.data_to_send())
        if data and not self._transport.is_closing():
            self._transport.write(data)


def _is_utf8(payload: bytes) -> bool:
    try:
        payload.decode()
    except UnicodeDecodeError:
        return False
    return True
