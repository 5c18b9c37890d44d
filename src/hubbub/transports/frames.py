"""WebSocket frames as this server sends them: RFC 6455 §5.2, unmasked, whole, ready to be shared."""

import zlib
from collections.abc import Iterator
from typing import Final

from hubbub.core.messages import Message
from hubbub.protocols.base import WireProtocol

TEXT: Final = 0x1
BINARY: Final = 0x2
_FIN: Final = 0x80
RSV1: Final = 0x40
_CONTROL: Final = 0x8

WHOLE_TEXT: Final = _FIN | TEXT
WHOLE_BINARY: Final = _FIN | BINARY
WHOLE: Final = frozenset({WHOLE_TEXT, WHOLE_BINARY})
"""First bytes of the frames that are a message each, and not deflated."""
MASKED: Final = 0x80

PING: Final = bytes((_FIN | 0x9, 0))
"""A ping without data: whoever reads it answers by itself."""

COMPRESS_FROM: Final = 64
"""Bytes below which deflate cannot win."""


def data_frame(first: int, payload: bytes) -> bytes:
    """One unfragmented data frame; `first` is opcode and reserved bits."""
    size = len(payload)
    if size < 126:
        header = bytes((_FIN | first, size))
    elif size < 65536:
        header = bytes((_FIN | first, 126)) + size.to_bytes(2)
    else:
        header = bytes((_FIN | first, 127)) + size.to_bytes(8)
    return header + payload


def bounds(data: bytes, at: int) -> tuple[int, int]:
    """Where the payload of the frame that begins at `at` begins and ends.

    Both lie behind the end of `data` where not even the header is there yet.
    """
    size = len(data)
    if at + 2 > size:
        return at + 2, at + 2
    length = data[at + 1] & 0x7F
    body = at + 2
    if length >= 126:
        width = 2 if length == 126 else 8
        body += width
        if body > size:
            return body, body
        length = int.from_bytes(data[body - width : body])
    if data[at + 1] & MASKED:
        body += 4
    return body, body + length


def split(data: bytes) -> Iterator[bytes]:
    """The payloads of the data frames in `data`, which holds whole frames made here; control frames go."""
    at = 0
    while at < len(data):
        opcode, size = data[at] & 0xF, data[at + 1]
        at += 2
        if size >= 126:
            width = 2 if size == 126 else 8
            size = int.from_bytes(data[at : at + width])
            at += width
        if not opcode & _CONTROL:
            yield data[at : at + size]
        at += size


class WebSocketFormat:
    """Messages of one protocol in WebSocket frames, deflated where `window_bits` is above 0.

    Every message is deflated by itself (RFC 7692 §7.1.1, no context takeover), so that one compressed frame
    serves everybody who negotiated the same window, and no connection keeps a context.
    """

    __slots__ = ("_encode", "_opcode", "probe", "transport", "window_bits")

    def __init__(self, protocol: WireProtocol, window_bits: int) -> None:
        self._encode = protocol.encode
        self._opcode = BINARY if protocol.binary else TEXT
        self.window_bits = window_bits
        self.probe = PING
        self.transport = "websocket"

    def frame(self, message: Message) -> bytes:
        """The frame of one message."""
        payload = self._encode(message)
        if self.window_bits and len(payload) >= COMPRESS_FROM:
            deflated = deflate(payload, self.window_bits)
            if len(deflated) < len(payload):
                return data_frame(RSV1 | self._opcode, deflated)
        return data_frame(self._opcode, payload)


def deflate(payload: bytes, window_bits: int) -> bytes:
    """A message's payload as permessage-deflate has it: RFC 7692 §7.2.1."""
    compressor = zlib.compressobj(wbits=-window_bits, memLevel=5)
    return (compressor.compress(payload) + compressor.flush(zlib.Z_SYNC_FLUSH)).removesuffix(
        b"\x00\x00\xff\xff"
    )


_formats: dict[tuple[str, int], WebSocketFormat] = {}


def websocket_format(protocol: WireProtocol, window_bits: int = 0) -> WebSocketFormat:
    """The one format for this protocol and window: connections that share it share their frames."""
    format = _formats.get((protocol.name, window_bits))
    if format is None:
        format = _formats[protocol.name, window_bits] = WebSocketFormat(protocol, window_bits)
    return format
