"""Who is heard now and who waits: clients that say little at once, those that say much by turns.

Theory of operation. Reading is where a client can make the server work: what it sends in one piece may be
thousands of frames, and there may be thousands of such clients. So only a short piece of a connection that
has said little in this second is heard at once. Anything else waits, and its connection stands in a queue: in
the first one where it is among its first reads of a second, in the second one else. Each queue gets a short
share of every turn of the event loop, and gives each connection a shorter one; the rest of the turn belongs
to everything else. Of who waits nothing more is read. A server that is not busy has long turns by at once,
so that nobody notices; in one that is, those wait who send most.
"""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from time import perf_counter
from typing import Final

FREE_READS: Final = 10
"""Reads of a connection in a second with which it is among those that say little."""
SLICE: Final = 128
"""Bytes that a connection takes in before it looks at the clock; so short a piece is heard at once."""
LONGEST_SLICE: Final = 1024
"""The same in the middle of something long."""
MOST: Final = 16 * 1024
"""Bytes that are read off a socket at a time, and so the most that waits of a connection."""
SHARE: Final = 0.0005
"""Seconds of a turn of the event loop that a queue has."""
AT_ONCE: Final = 0.0002
"""Seconds of which a connection has at a time."""
HEARD: Final = 32
"""Pieces that are heard at once before those who wait have their share."""
STARTS: Final = 2
"""Connections of a queue that may start something in a turn that goes on after it."""


class Turns:
    """Shares the event loop's time among those who send much."""

    def __init__(self) -> None:
        self.buffer = bytearray(MOST)
        """What every connection reads into: who does takes it out at once."""
        self._few: deque[ByTurns] = deque()
        self._many: deque[ByTurns] = deque()
        self._going = False
        self._heard = 0

    def has_room(self) -> bool:
        """Whether one more may be heard at once."""
        self._heard += 1
        return self._heard <= HEARD

    def wait(self, connection: ByTurns, *, much: bool) -> None:
        """Have a connection's turn come, as one that says much or as one that does not."""
        (self._many if much else self._few).append(connection)
        if not self._going:
            self._going = True
            asyncio.get_running_loop().call_soon(self._go_round)

    def _go_round(self) -> None:
        self._heard = 0
        for queue in (self._few, self._many):
            now = perf_counter()
            end, starts = now + SHARE, 0
            while queue and now < end and starts < STARTS:
                starts += queue.popleft().speak(now + AT_ONCE)
                now = perf_counter()
        self._going = bool(self._few or self._many)
        if self._going:
            asyncio.get_running_loop().call_soon(self._go_round)


class ByTurns(asyncio.BufferedProtocol):
    """A connection that takes in what comes when it may: see the theory of operation."""

    __slots__ = ("_held", "_in_turn", "_reads", "_second", "_transport", "_turns", "_unheard")

    def __init__(self, transport: asyncio.Transport, turns: Turns) -> None:
        self._transport = transport
        self._turns = turns
        self._held = False  # whoever takes things in wants nothing more for now
        self._unheard = b""  # what was read and waits
        self._in_turn = False
        self._reads = 0  # in this second
        self._second = 0.0

    def hear(self, data: bytes) -> bool:
        """Take something in; whether anything came of it yet."""
        raise NotImplementedError

    def get_buffer(self, sizehint: int) -> bytearray:
        return self._turns.buffer

    def buffer_updated(self, nbytes: int) -> None:
        data = bytes(memoryview(self._turns.buffer)[:nbytes])
        now = perf_counter()
        if now - self._second >= 1:
            self._second, self._reads = now, 0
        self._reads += 1
        little = nbytes <= SLICE and self._reads <= FREE_READS and not self._unheard and not self._held
        if little and self._turns.has_room():
            self.hear(data)
        else:
            self._unheard += data
            self._wait()

    def speak(self, until: float) -> bool:
        """Take in of what waits until then; whether something was started that goes on after it."""
        if not self._transport.is_closing() and self._has_gone():
            self._transport.abort()
        self._in_turn = True  # whatever happens meanwhile, what is left is seen to here
        data, at, size = self._unheard, 0, SLICE
        while at < len(data) and not self._held and not self._transport.is_closing():
            came = self.hear(data[at : at + size])
            at += size
            size = SLICE if came else min(2 * size, LONGEST_SLICE)
            if perf_counter() >= until:
                self._reads = max(self._reads, FREE_READS + 1)
                break
        self._in_turn = False
        self._unheard = b"" if self._transport.is_closing() else data[at:]
        if not self._held:
            self._go_on()
        return self._held

    def _has_gone(self) -> bool:
        """Whether the client has reset the connection, of which nobody hears while nothing is read."""
        file = self._transport.get_extra_info("socket")
        try:
            return file is None or file.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) != 0
        except OSError:
            return True

    def forget(self) -> None:
        """Nothing that waits is of interest any more."""
        self._unheard = b""

    def pause_reading(self) -> None:
        """Take nothing more off the socket."""
        self._held = True
        if not self._transport.is_closing():
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Go on reading."""
        self._held = False
        if not self._in_turn:
            self._go_on()

    def _go_on(self) -> None:
        """Take in what waits when its turn comes, or else what comes next."""
        if self._unheard:
            self._wait()
        elif not self._transport.is_closing():
            self._transport.resume_reading()

    def _wait(self) -> None:
        if not self._in_turn and not self._held:
            self._in_turn = True
            self._turns.wait(self, much=self._reads > FREE_READS)
        if len(self._unheard) > SLICE and not self._transport.is_closing():
            self._transport.pause_reading()
