"""Who is heard now and who waits."""

import asyncio
import socket
import struct
import time
from collections.abc import Coroutine
from typing import Any

from hubbub.transports.turns import (
    FREE_READS,
    HEARD,
    LONGEST_SLICE,
    MOST,
    ROUND,
    SLICE,
    ByTurns,
    Turns,
)

from ..hub.inprocess import until
from .serving import DEADLINE


class Scripted(ByTurns):
    """A connection that remembers what it heard; every piece takes a while, and some start something."""

    def __init__(self, transport: asyncio.Transport, turns: Turns, log: list[Any], name: str = "") -> None:
        super().__init__(transport, turns)
        self.name = name
        self.log = log
        self.heard = b""
        self.pieces: list[int] = []
        self.takes = 0.0
        self.starts = False
        self.message = 10
        """Bytes after which something comes of them."""

    def hear(self, data: bytes) -> bool:
        end = time.perf_counter() + self.takes
        while time.perf_counter() < end:
            pass
        before = len(self.heard) // self.message
        self.heard += data
        self.pieces.append(len(data))
        self.log.append(self.name)
        if self.starts:
            self.pause_reading()
        return len(self.heard) // self.message > before

    def say(self, data: bytes) -> None:
        """As if it had been read off the socket."""
        while data:
            self._turns.buffer[: len(data[:MOST])] = data[:MOST]
            self.buffer_updated(len(data[:MOST]))
            data = data[MOST:]


class Line(asyncio.Transport):
    """A transport that remembers whether it is read from; its client is there until it `resets`."""

    def __init__(self) -> None:
        super().__init__()
        self.near, self.far = socket.socketpair()
        self.reading = True
        self.closing = False

    def over_tcp(self) -> socket.socket:
        """Have a real connection instead of a pair; returns its other end."""
        self.near.close()
        with socket.create_server(("127.0.0.1", 0)) as server:
            far = socket.create_connection(server.getsockname())
            self.near, _ = server.accept()
        return far

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self.near if name == "socket" else default

    def is_closing(self) -> bool:
        return self.closing

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def abort(self) -> None:
        self.closing = True


class Room:
    """Connections that share an event loop."""

    def __init__(self) -> None:
        self.turns = Turns()
        self.log: list[str] = []
        self.lines: list[Line] = []

    def enter(self, name: str) -> tuple[Scripted, Line]:
        line = Line()
        self.lines.append(line)
        return Scripted(line, self.turns, self.log, name), line


def run(scenario: Coroutine[Any, Any, None], room: Room) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(DEADLINE):
            await scenario

    try:
        asyncio.run(bounded())
    finally:
        for line in room.lines:
            line.near.close()
            line.far.close()


def test_who_says_little_is_heard_at_once() -> None:
    """Short pieces, a few in a second; the next wait a turn, and come in order."""
    room = Room()

    async def scenario() -> None:
        one, line = room.enter("one")
        for number in range(FREE_READS):
            one.say(b"%d" % number)
            assert len(one.heard) == number + 1
        one.say(b"x" * 5)
        one.say(b"y" * 5)
        assert one.heard == b"0123456789"
        await asyncio.sleep(0)
        assert one.heard == b"0123456789xxxxxyyyyy"
        assert line.reading

    run(scenario(), room)


def test_who_says_much_does_not_hold_up_who_says_little() -> None:
    """Between its pieces others are heard, and nothing more is read of it until it has been heard."""
    room = Room()

    async def scenario() -> None:
        much, line = room.enter("much")
        little, _ = room.enter("little")
        much.takes = 0.0002
        much.say(b"x" * MOST)
        assert not much.heard
        assert not line.reading
        for _ in range(FREE_READS):
            await asyncio.sleep(0)
            little.say(b"!")
        await until(lambda: len(much.heard) == MOST)
        assert room.log.index("little") < len(much.pieces) / 4
        assert much.heard == b"x" * MOST
        await asyncio.sleep(0)
        assert line.reading

    run(scenario(), room)


def test_those_who_say_much_take_turns() -> None:
    """Newcomers have as much of each turn as those who were heard before and have more to say."""
    room = Room()

    async def scenario() -> None:
        crowd = [room.enter(str(number))[0] for number in range(20)]
        for each in crowd:
            each.takes = 0.001
            each.say(b"x" * 5 * SLICE)
        await until(lambda: all(len(each.heard) == 5 * SLICE for each in crowd))
        assert set(room.log[:40]) == {str(number) for number in range(20)}

    run(scenario(), room)


def test_a_crowd_of_short_words_is_spread_over_turns() -> None:
    """Even of those who say little, only so many are heard before others have their share."""
    room = Room()

    async def scenario() -> None:
        crowd = [room.enter("")[0] for _ in range(2 * HEARD)]
        for each in crowd:
            each.say(b"x")
        assert len(room.log) == HEARD
        await until(lambda: len(room.log) == 2 * HEARD)

    run(scenario(), room)


def test_what_goes_on_after_its_turn_counts() -> None:
    """In one turn only so many start something; each waits, unread, until that is done."""
    room = Room()

    async def scenario() -> None:
        crowd = [room.enter(str(number)) for number in range(10)]
        for each, _ in crowd:
            each.starts = True
            each.say(b"x" * 3 * SLICE)
        await asyncio.sleep(0)
        assert 0 < len(room.log) <= 4
        await until(lambda: len(room.log) == 10)
        await asyncio.sleep(0)
        assert len(room.log) == 10
        for each, line in crowd:
            assert len(each.heard) == SLICE
            each.starts = False
            each.resume_reading()
            assert not line.reading
        await until(lambda: all(len(each.heard) == 3 * SLICE for each, _ in crowd))
        await asyncio.sleep(0)
        assert all(line.reading for _, line in crowd)

    run(scenario(), room)


def test_long_messages_are_taken_in_longer_pieces() -> None:
    """As long as nothing comes of them; then short ones again."""
    room = Room()

    async def scenario() -> None:
        one, _ = room.enter("one")
        one.message = 8000
        one.say(b"x" * MOST)
        await until(lambda: len(one.heard) == MOST)
        assert max(one.pieces) == LONGEST_SLICE
        assert len(one.pieces) < 40
        assert one.pieces.count(SLICE) >= 2

    run(scenario(), room)


def test_what_came_before_a_close_is_not_heard() -> None:
    """Neither of a connection that is over, nor of one that its client has reset."""
    room = Room()

    async def scenario() -> None:
        over, line = room.enter("over")
        over.say(b"x" * 1000)
        line.closing = True
        reset, other = room.enter("reset")
        far = other.over_tcp()
        reset.say(b"x" * 1000)
        far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        far.close()
        for _ in range(5):
            await asyncio.sleep(0)
        assert not room.log
        assert other.closing

    run(scenario(), room)


def test_who_has_gone_while_waiting_is_found_before_its_turn() -> None:
    """In a long queue, too: what it had to say is let go of."""
    room = Room()

    async def scenario() -> None:
        crowd = [room.enter("")[0] for _ in range(2 * ROUND)]
        last, line = room.enter("last")
        far = line.over_tcp()
        for each in (*crowd, last):
            each.takes = 0.0002
            each.message = 1
            for _ in range(FREE_READS + 1):
                each.say(b"x" * 4 * SLICE)
        far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        far.close()
        await until(lambda: line.closing)
        assert "last" not in room.log
        assert len(room.log) < len(crowd) * 4 * FREE_READS / 2

    run(scenario(), room)
