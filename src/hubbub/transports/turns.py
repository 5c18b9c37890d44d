"""Who is heard now and who waits: clients that say little at once, those that say much by turns.

Theory of operation. Reading is where a client can make the server work: what it sends in one piece may be
thousands of frames, and there may be thousands of such clients. So only a short piece of a connection that
has said little in this second is heard at once, and of those so many in a turn of the event loop. Anything
else waits, and its connection stands in one of three queues: with a short piece, with a long one, or as one
that has said much. Each queue gets a short share of every turn, and gives each connection a shorter one; the
rest of the turn belongs to everything else. Of who waits nothing more is read. A server that is not busy is
through with the queues at once, so that nobody notices; in one that is, those wait who send most.
"""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from time import perf_counter
from typing import Final, NamedTuple

FREE_READS: Final = 10
"""Reads of a connection in a second with which it is among those that say little."""
SLICE: Final = 128
"""Bytes that a connection takes in before it looks at the clock; so short a piece is heard at once."""
LONGEST_SLICE: Final = 1024
"""The same in the middle of something long."""
MOST: Final = 16 * 1024
"""Bytes that are read off a socket at a time, and so the most that waits of a connection."""
AT_ONCE: Final = 0.00015
"""Seconds that a connection has at a time."""
HEARD: Final = 32
"""Short pieces that are heard at once before those who wait have their share."""
ROUND: Final = 64
"""Turns in which all who wait are looked after once."""


class Queue(NamedTuple):
    """Connections that wait, and their share of a turn."""

    waiting: deque[ByTurns]
    seconds: float
    starts: int
    """Connections that may start something which goes on after their turn."""


class Turns:
    """Shares the event loop's time among those who send much."""

    def __init__(self) -> None:
        self.buffer = bytearray(MOST)
        """What every connection reads into: who does takes it out at once."""
        self._short = Queue(deque(), 0.003, HEARD)
        self._long = Queue(deque(), 0.0006, 4)
        self._much = Queue(deque(), 0.0003, 2)
        self._going = False
        self._heard = 0
        self._swept = 0

    def has_room(self) -> bool:
        """Whether one more may be heard at once."""
        self._heard += 1
        return self._heard <= HEARD

    def wait(self, connection: ByTurns, size: int, *, much: bool) -> None:
        """Have a connection's turn come: with so many bytes, or as one that has said much."""
        queue = self._much if much else self._short if size <= SLICE else self._long
        queue.waiting.append(connection)
        if not self._going:
            self._going = True
            asyncio.get_running_loop().call_soon(self._go_round)

    def _go_round(self) -> None:
        self._heard = 0
        self._sweep(self._much.waiting)
        for waiting, seconds, most in (self._short, self._long, self._much):
            now = perf_counter()
            end, starts = now + seconds, 0
            while waiting and now < end and starts < most:
                starts += waiting.popleft().speak(now + AT_ONCE)
                now = perf_counter()
        self._going = bool(self._short.waiting or self._long.waiting or self._much.waiting)
        if self._going:
            asyncio.get_running_loop().call_soon(self._go_round)

    def _sweep(self, queue: deque[ByTurns]) -> None:
        """Look after those who may have gone while they wait: a long queue would be full of them."""
        for _ in range(len(queue) // ROUND):
            self._swept = (self._swept + 1) % len(queue)
            queue[self._swept].look()


class _Gone(asyncio.Transport):
    """In place of the transport of a connection that is over."""

    def is_closing(self) -> bool:
        return True

    def close(self) -> None: ...

    def abort(self) -> None: ...

    def write(self, data: object) -> None: ...

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def get_write_buffer_size(self) -> int:
        return 0


_GONE: Final = _Gone()


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
        self.look()
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
        self._go_on()
        return self._held

    def look(self) -> None:
        """End it if its client has reset the connection: nobody hears of that while nothing is read."""
        if self._transport.is_closing():
            return
        file = self._transport.get_extra_info("socket")
        try:
            gone = file is None or file.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) != 0
        except OSError:
            gone = True
        if gone:
            self._transport.abort()

    def part(self) -> None:
        """The connection is over."""
        self._unheard = b""
        self._transport = _GONE  # uvloop's holds on to a protocol that reads into a buffer

    def pause_reading(self) -> None:
        """Take nothing more off the socket."""
        self._held = True
        if not self._transport.is_closing():
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Go on reading."""
        if not self._held:
            return
        self._held = False
        if not self._in_turn:
            # What the last command has published goes out next turn: it comes before what is read then.
            asyncio.get_running_loop().call_soon(self._go_on)

    def _go_on(self) -> None:
        """Take in what waits when its turn comes, or else what comes next."""
        if self._held:
            return
        if self._unheard:
            self._wait()
        elif not self._transport.is_closing():
            self._transport.resume_reading()

    def _wait(self) -> None:
        if not self._in_turn and not self._held:
            self._in_turn = True
            self._turns.wait(self, len(self._unheard), much=self._reads > FREE_READS)
        if len(self._unheard) > SLICE and not self._transport.is_closing():
            self._transport.pause_reading()
