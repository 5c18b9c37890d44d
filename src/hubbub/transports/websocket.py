"""The fast WebSocket transport: the asyncio protocol is the connection, and fan-outs write straight to it.

`hubbub.transports.http` takes over a socket when its upgrade request is for a hub. The `websockets`
library's sans-I/O `ServerProtocol` checks the handshake and does parsing, ping, close and inbound deflate;
outbound data frames are ours.

Theory of operation of a write. On a plain socket a frame goes to the kernel at once by `os.write`: that is
0.8 µs of 15 less than the event loop's own buffered write. Only what the kernel does not take goes through
the loop's buffer; as long as anything is in there the connection counts as slow, so nothing overtakes it. A
file descriptor must never be written to after it is closed, since its number may then be another client's:
event loops close it after `connection_lost` returns, and from the first word of an end on `_fd` is -1.
"""

import asyncio
import logging
import os
from collections import deque
from collections.abc import Callable
from http import HTTPStatus
from typing import Final

from uvicorn.server import ServerState
from websockets.datastructures import Headers
from websockets.exceptions import InvalidHandshake, InvalidState
from websockets.extensions.permessage_deflate import PerMessageDeflate, ServerPerMessageDeflateFactory
from websockets.frames import Frame, Opcode, apply_mask  # type: ignore[attr-defined] # fast where it can be
from websockets.http11 import Request, Response
from websockets.protocol import OPEN
from websockets.server import ServerProtocol

from hubbub.core import codes
from hubbub.core.codes import CloseReason
from hubbub.hub import ConnectRequest, Hub, Refuse
from hubbub.hub.connection import Connection
from hubbub.protocols.base import WireProtocol, choose
from hubbub.transports.frames import MASKED, WHOLE, WHOLE_BINARY, bounds, websocket_format
from hubbub.transports.handshake import (
    Head,
    accept_key_of,
    client_address,
    connect_request,
    origin_allowed,
    origin_refusal,
    refusal,
    switching_protocols,
)
from hubbub.transports.turns import ByTurns, Turns

logger = logging.getLogger("hubbub.websocket")
# Its INFO lines, two a connection, would be what a busy server mostly does.
_library_log = logging.getLogger("hubbub.websocket.library")
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


class _Protocol(ServerProtocol):
    """The library's, but for one thing: a client may close between the fragments of a message."""

    def recv_frame(self, frame: Frame) -> None:
        if frame.opcode is Opcode.CLOSE:
            # RFC 6455 §5.4: control frames may be injected in the middle of a fragmented message.
            self.current_size = None
        super().recv_frame(frame)


class WebSocketTransport(ByTurns):
    """One WebSocket, from its upgrade request to its end."""

    __slots__ = (
        "_close_timer",
        "_connection",
        "_fd",
        "_hub",
        "_library",
        "_message",
        "_message_binary",
        "_partial",
        "_server_state",
        "write",
    )

    def __init__(
        self, hub: Hub, transport: asyncio.Transport, server_state: ServerState, turns: Turns
    ) -> None:
        super().__init__(transport, turns)
        self._hub = hub
        self._server_state = server_state
        self._library: _Protocol | None = None
        self._partial = b""  # of a frame, what came so far
        self._connection: Connection | None = None
        self._message: bytearray | None = None  # of a fragmented message, what came so far
        self._message_binary = False
        self._close_timer: asyncio.TimerHandle | None = None
        self._fd = -1
        self.write: Callable[[bytes], None] = transport.write
        server_state.connections.add(self)  # type: ignore[arg-type]

    @property
    def _ws(self) -> _Protocol:
        """The library's side of the connection, made when something is met that is left to it."""
        if self._library is None:
            self._library = _Protocol(
                extensions=_DEFLATE if self._hub.options.compression else None,
                # The request's head was parsed already, frames come next.
                state=OPEN,
                max_size=self._hub.options.max_message_bytes,
                logger=_library_log,
            )
        return self._library

    # From the event loop.

    def pause_writing(self) -> None:
        if self._connection is not None:
            self._connection.pause_writing()

    def resume_writing(self) -> None:
        if self._connection is not None:
            self._connection.resume_writing()

    def eof_received(self) -> None:
        self._fd = -1

    def connection_lost(self, exc: Exception | None) -> None:
        self._fd = -1
        self._server_state.connections.discard(self)
        if self._close_timer is not None:
            self._close_timer.cancel()
            self._close_timer = None
        self.part()
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.lost(codes.ABNORMAL)
        # These hold this object, or each other: without them it goes at once, with no work for the collector.
        self.write = _nowhere
        library, self._library = self._library, None
        if library is not None:
            library.parser.close()
            del library.parser
            library.parser_exc = None  # its traceback holds the frames it went through

    # From uvicorn.

    def shutdown(self) -> None:
        """The server stops."""
        if self._connection is not None:
            self._connection.close(codes.SHUTDOWN)
        else:
            self._end()

    # The handshake.

    def knock(self, head: Head, client_id: str | None, peer: str) -> None:
        """An upgrade request for this hub: check it, ask the hub, answer."""
        hub = self._hub
        headers = dict(head.headers)
        key, extensions = accept_key_of(head, headers), None
        if not key or hub.options.compression:
            request = Request(head.target, Headers(head.headers), head.method, head.version)
            try:
                key, extensions, _ = self._ws.process_request(request)
            except InvalidHandshake:
                answer = self._ws.accept(request)  # says the same again, as an HTTP response
                answer.headers["Sec-WebSocket-Version"] = "13"  # RFC 6455 §4.2.2, for who asked for another
                self._reject(answer)
                return
        if not origin_allowed(headers.get("origin"), headers.get("host"), hub.options):
            hub.metrics.refused.inc()
            sentence = origin_refusal(headers.get("origin"))
            self._reject(refusal(HTTPStatus.FORBIDDEN, sentence))
        else:
            forwarded = [value for name, value in head.headers if name == "x-forwarded-for"]
            address = client_address(peer, forwarded, hub.options) if forwarded else peer
            offered = headers.get("sec-websocket-protocol", "")
            protocol, named = choose(name.strip() for name in offered.split(","))
            response = switching_protocols(key, extensions, named)
            asked = connect_request(client_id, head.target, headers, address)
            entering = hub.begin(self._enter(protocol, response, asked))
            if entering is not None:
                self.pause_reading()
                deadline = hub.later(hub.options.handshake_timeout, entering.cancel)
                entering.add_done_callback(lambda _: deadline.cancel())

    async def _enter(self, protocol: WireProtocol, response: bytes, request: ConnectRequest) -> None:
        """Ask the hub, answer the handshake, and be a connection."""
        hub = self._hub
        try:
            admission = await hub.connections.admit(request)
        except asyncio.CancelledError:
            self._reject(refusal(HTTPStatus.SERVICE_UNAVAILABLE, "try again later\n"))
            raise
        except Refuse as exc:
            self._reject(refusal(exc.status, f"{exc.reason}\n", exc.retry_after))
            return
        except Exception:
            logger.exception("letting a client in failed")
            self._reject(refusal(HTTPStatus.SERVICE_UNAVAILABLE, "try again later\n"))
            return
        if self._transport.is_closing():
            hub.connections.withdraw(admission)
            return
        window_bits = 0
        for extension in self._library.extensions if self._library is not None else ():
            if isinstance(extension, PerMessageDeflate):
                # zlib has no raw window of 8 bits; plain frames are legal whatever was negotiated.
                window_bits = extension.local_max_window_bits if extension.local_max_window_bits > 8 else 0
        self._write_directly()
        self._connection = hub.connections.attach(
            self,
            protocol,
            websocket_format(protocol, window_bits),
            admission,
            preface=response,
        )
        self.resume_reading()

    def _reject(self, response: Response) -> None:
        """Answer the handshake with an HTTP error, and close."""
        if not self._transport.is_closing():
            self._transport.write(response.serialize())
            self._end()

    # What comes in.

    def hear(self, data: bytes) -> bool:
        if self._partial:
            data, self._partial = self._partial + data, b""
        at, came, size = 0, False, len(data)
        while at < size:
            body, end = bounds(data, at)
            if end > size and end - body <= self._hub.options.max_message_bytes:
                self._partial = data[at:]  # the library is given whole frames, and those that are too large
                break
            first = data[at]
            simple = first in WHOLE and data[at + 1] & MASKED and self._message is None
            if simple and end <= size and self._connection is not None:
                payload = apply_mask(data[body:end], data[body - 4 : body])
                self._receive(payload, binary=first == WHOLE_BINARY)
                came = True
            else:
                self._ws.receive_data(data[at:end])
                came = self._handle_events(self._ws) or came
            at = end
        return came

    def _handle_events(self, ws: ServerProtocol) -> bool:
        # A pong for each ping, in order, and at the end a close frame: answers to what came, to be given
        # where it came, between the answers to messages.
        answers = deque(ws.data_to_send())
        events = ws.events_received()
        for event in events:
            if self._connection is None:
                break
            assert isinstance(event, Frame)
            match event.opcode:
                case Opcode.TEXT | Opcode.BINARY if event.fin:
                    self._receive(bytes(event.data), binary=event.opcode is Opcode.BINARY)
                case Opcode.TEXT | Opcode.BINARY:
                    self._connection.seen(len(event.data))
                    self._message = bytearray(event.data)
                    self._message_binary = event.opcode is Opcode.BINARY
                case Opcode.CONT:
                    assert self._message is not None
                    self._message += event.data
                    if event.fin:
                        message, self._message = bytes(self._message), None
                        self._receive(message, binary=self._message_binary)
                    else:
                        self._connection.seen(len(event.data))
                case Opcode.PING:
                    self._connection.seen(len(event.data))
                    pong = answers.popleft()
                    # Pongs for a client that does not read would pile up; RFC 6455 §5.5.3 lets us answer
                    # the latest of several pings alone.
                    if self._connection.open and not self._connection.slow:
                        self.write(pong)
                case Opcode.PONG:
                    self._connection.seen(len(event.data))
                case Opcode.CLOSE:
                    pass
        self._send(b"".join(answers))
        if ws.parser_exc is not None or ws.close_rcvd is not None:
            self._ended(ws)
        return bool(events)

    def _receive(self, payload: bytes, *, binary: bool) -> None:
        """One whole message."""
        assert self._connection is not None
        if not binary and not payload.isascii() and not _is_utf8(payload):
            self._connection.close(codes.INVALID_UTF8)
        else:
            self._connection.receive(payload, binary=binary)

    def _ended(self, ws: ServerProtocol) -> None:
        """The peer closed, or broke the protocol; the close frame is written."""
        close = ws.close_rcvd or ws.close_sent
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.lost(CloseReason(close.code, close.reason) if close else codes.ABNORMAL)
        self._end()

    # What goes out: the contract of a transport.

    def close(self, code: int, reason: str) -> None:
        """Send a close frame, and give the client a while to answer it."""
        if self._transport.is_closing():
            return
        try:
            self._ws.send_close(code, reason.encode()[:MAX_REASON_BYTES].decode(errors="ignore"))
        except InvalidState:
            return
        self._flush()
        self.resume_reading()
        loop = asyncio.get_running_loop()
        self._close_timer = loop.call_later(self._hub.options.close_timeout, self._abort)

    def _flush(self) -> None:
        """Write what the library has to say."""
        self._send(b"".join(self._ws.data_to_send()))

    def _send(self, data: bytes) -> None:
        if not data or self._transport.is_closing():
            return
        if self._connection is not None and self._connection.slow:
            self._transport.write(data)  # behind what waits in the loop's buffer
        else:
            self.write(data)

    def _end(self) -> None:
        """Close the socket once everything is out."""
        self._fd = -1
        self._transport.close()

    def _abort(self) -> None:
        """Close the socket now."""
        self._fd = -1
        self._transport.abort()

    def _write_directly(self) -> None:
        """Write past the event loop's buffer from here on, where the socket is a plain one."""
        if self._transport.get_extra_info("sslcontext") is not None or os.name != "posix":
            return
        self._fd = self._transport.get_extra_info("socket").fileno()
        self.write = self._write_now
        # Anything that the loop has to buffer makes the connection slow.
        self._transport.set_write_buffer_limits(high=0, low=0)

    def _write_now(self, data: bytes) -> None:
        try:
            sent = os.write(self._fd, data)
        except BlockingIOError:
            sent = 0
        except OSError:
            return  # the peer is gone, or we have ended; the event loop will say so
        if sent != len(data):
            self._write_rest(data[sent:])

    def _write_rest(self, data: bytes) -> None:
        """The kernel's buffer is full: the event loop writes the rest, and until then we are slow."""
        self.pause_writing()
        self._transport.write(data)
        asyncio.get_running_loop().call_soon(self._resume_unless_waiting)

    def _resume_unless_waiting(self) -> None:
        # Where the loop could write it all at once it never reports back-pressure, nor its end.
        if not self._transport.is_closing() and self._transport.get_write_buffer_size() == 0:
            self.resume_writing()


def _nowhere(data: bytes) -> None:
    """Where a connection that is over writes to."""


def _is_utf8(payload: bytes) -> bool:
    try:
        payload.decode()
    except UnicodeDecodeError:
        return False
    return True
