"""A WebSocket that hands out whole messages as fast as they can be cut out of what arrives.

Theory of operation. The websockets library does the handshake, TLS, proxies, control frames and the close;
its `recv()` costs a queue, a future and a timer for each message, which is most of what a busy client would
do. So `Socket` takes over the inbound bytes once the handshake is over: frames that hold a whole message,
which is what a Hubbub server sends (spec: *Frames and compression*), are cut out in one loop, and every other
frame is fed to the library, whole. So the library's parser always stands between two frames.
"""

import asyncio
from collections.abc import Callable
from typing import Any, Final

from websockets.asyncio.client import ClientConnection
from websockets.frames import DATA_OPCODES, Frame, Opcode
from websockets.protocol import Event, State

WHOLE: Final = frozenset({0x81, 0x82})
"""The first byte of a frame that is a whole message of text, or of bytes."""
END_OF_HEAD: Final = b"\r\n\r\n"

Receive = Callable[[bytes, bool], None]
"""Called with each message, and whether it is text."""


class Socket(ClientConnection):
    """One WebSocket connection. Set `receive` and `lost` before anything can arrive."""

    receive: Receive | None = None
    """Hears of each message, until it is None again: then what arrives is passed over."""
    lost: Callable[[], None] | None = None
    """Hears of the end."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.heard_at = self.loop.time()
        """When something came last."""
        self._head: bytes | None = b""  # of the HTTP answer, as much as may hold the start of its end
        self._chunks: list[bytes] = []  # a frame that has not come whole yet, or what waits while held
        self._size = 0
        self._needed = 0
        self._held = False
        self._broken = False  # the library has seen part of a frame: all that follows is its
        self._parts: list[bytes] = []
        self._is_text = True
        self._early: list[tuple[bytes, bool]] = []

    # Reading.

    def data_received(self, data: bytes) -> None:
        """What has arrived."""
        self.heard_at = self.loop.time()
        if self._head is not None:
            data = self._after_the_head(data)
        if not data:
            return
        self._chunks.append(data)
        self._size += len(data)
        if self._size >= self._needed and not self._held:
            self._cut()

    def _after_the_head(self, data: bytes) -> bytes:
        """Feed the HTTP answer to the library; what follows it is ours."""
        assert self._head is not None
        seen = self._head + data
        end = seen.find(END_OF_HEAD)
        if end < 0:
            self._head = seen[-3:]
            super().data_received(data)
            return b""
        end += len(END_OF_HEAD) - len(self._head)
        self._head = None
        super().data_received(data[:end])
        if self.protocol.state is State.CONNECTING or self.protocol.handshake_exc is not None:
            self._broken = True
        return data[end:]

    def _cut(self) -> None:
        """Hand out every message that has come whole."""
        data = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
        at, size = 0, len(data)
        self._needed = 0
        receive = self.receive
        most = self.protocol.max_message_size or size
        while not self._held and not self._broken:
            start = at + 2
            if start > size:
                break
            length = data[at + 1]
            if length == 126:
                start += 2
                if start > size:
                    break
                length = data[at + 2] << 8 | data[at + 3]
            elif length == 127:
                start += 8
                if start > size:
                    break
                length = int.from_bytes(data[at + 2 : start], "big")
            elif length > 127:  # masked: the library says what it thinks of that
                self._break(data[at:])
                at = size
                break
            if length > most:
                self._break(data[at:])
                at = size
                break
            end = start + length
            if end > size:
                self._needed = end - at
                break
            first = data[at]
            if first in WHOLE and not self._parts:
                if receive is not None:
                    receive(data[start:end], first == 0x81)
                    receive = self.receive  # whoever was told may have heard enough
                elif self.lost is None:
                    self._keep_early(data[start:end], first == 0x81)
            else:
                super().data_received(data[at:end])
            at = end
        rest = data[at:] if at else data
        if self._broken and rest:
            super().data_received(rest)
            rest = b""
        self._chunks = [rest] if rest else []
        self._size = len(rest)

    def _break(self, rest: bytes) -> None:
        self._broken = True
        super().data_received(rest)

    def _keep_early(self, payload: bytes, text: bool) -> None:
        if len(self._early) < 16:
            self._early.append((payload, text))

    def process_event(self, event: Event) -> None:
        """Put the fragments together that the library has seen to; the rest is its own."""
        if not isinstance(event, Frame) or event.opcode not in DATA_OPCODES:
            super().process_event(event)
            return
        self._put_together(event)

    def _put_together(self, frame: Frame) -> None:
        if frame.opcode is not Opcode.CONT:
            self._is_text = frame.opcode is Opcode.TEXT
        self._parts.append(bytes(frame.data))
        if frame.fin:
            payload, self._parts = b"".join(self._parts), []
            if self.receive is not None:
                self.receive(payload, self._is_text)
            elif self.lost is None:
                self._keep_early(payload, self._is_text)

    def listen(self, receive: Receive, lost: Callable[[], None]) -> None:
        """Hear of every message from now on, and of what came with the handshake's answer."""
        self.receive, self.lost = receive, lost
        early, self._early = self._early, []
        for payload, text in early:
            receive(payload, text)
        if self.protocol.state is State.CLOSED:
            self.loop.call_soon(lost)

    async def shut(self, in_time: float) -> None:
        """Close with the closing handshake, or without it when time is over; leaves no task behind.

        A cancellation is time that is over.
        """
        self.go_on()
        closing = asyncio.create_task(self.close(), name="hubbub client: closing")
        try:
            await asyncio.wait({closing}, timeout=in_time)
        finally:
            if not closing.done():  # the other side takes nothing, not even a close frame
                self.transport.abort()
                await asyncio.wait({closing}, timeout=in_time)

    def connection_lost(self, exc: Exception | None) -> None:
        """The end: what still waited goes before it."""
        if self._held:
            self._held = False
            if self._chunks and self.receive is not None:
                self._cut()
        super().connection_lost(exc)
        if self.lost is not None:
            self.lost()

    # Holding back.

    def hold(self) -> None:
        """Read nothing more, and hand out nothing more of what was read."""
        if not self._held:
            self._held = True
            self.transport.pause_reading()

    def go_on(self) -> None:
        """Read again."""
        if not self._held:
            return
        self._held = False
        # Not here and now: who makes room is in the middle of taking a message.
        if not self.loop.is_closed():
            self.loop.call_soon_threadsafe(self._go_on)  # a loop can be collected in any thread

    def _go_on(self) -> None:
        if self._held:
            return
        if self._chunks:
            self._cut()
        if not self._held and not self.transport.is_closing():
            self.transport.resume_reading()
