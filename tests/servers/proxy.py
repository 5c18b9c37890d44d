"""A TCP proxy before a server, which does to connections what networks do."""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar

import hiredis

from .ports import free_port
from .running import Running
from .valkey import HOST

T = TypeVar("T")

_UnderWay = asyncio.Queue[tuple[float, bytes]]
"""What goes in one direction, each piece with the time when it is due; an empty one is the end."""

_SUBSCRIBING: Final = {"SUBSCRIBE", "PSUBSCRIBE", "SSUBSCRIBE"}
_CHUNK: Final = 65536
_WAITING: Final = 64
"""Chunks on their way in one direction until no more is read."""
_PATIENCE: Final = 10.0


class Link:
    """One client's connection through the proxy."""

    def __init__(self) -> None:
        self.commands: set[str] = set()
        """The names of the commands that the client has sent, in capitals."""
        self.black_holed = False
        """Whether nothing gets through any more, either way, though the connection stands."""
        self._reader = hiredis.Reader()

    def heard(self, data: bytes) -> None:
        """Take note of what the client sends."""
        self._reader.feed(data)
        while (command := self._reader.gets()) is not False:
            self.commands.add(command[0].decode().upper())


Which = Callable[[Link], bool]
"""Chooses connections."""


def everyone(link: Link) -> bool:
    """All connections."""
    return True


def subscribers(link: Link) -> bool:
    """The connections that have subscribed to a channel, so that Pub/Sub fails while commands work."""
    return bool(link.commands & _SUBSCRIBING)


class Proxy(Running):
    """Passes everything on between clients and a server, until it is told otherwise.

    It runs in a thread of its own; each method returns when it has taken effect.
    """

    def __init__(self, port: int, host: str = HOST) -> None:
        self.port = free_port()
        self._target = (host, port)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name=f"proxy on {self.port}", daemon=True)
        self._listener: asyncio.Server | None = None
        self._links: dict[Link, asyncio.Task[None]] = {}
        self._swallowed: Which | None = None
        self._delay = 0.0

    def start(self) -> None:
        """Let connections in."""
        self._thread.start()
        self.accept()

    @property
    def url(self) -> str:
        """Where it listens, as a broker's URL."""
        return f"redis://{HOST}:{self.port}"

    def count(self, which: Which = everyone) -> int:
        """How many such connections there are."""

        async def counted() -> int:
            return sum(map(which, self._links))

        return self._do(counted())

    def cut(self, which: Which = everyone) -> int:
        """Close such connections on both sides, with what is on its way lost; returns how many."""
        return self._do(self._cut(which))

    def refuse(self) -> None:
        """Refuse new connections; those that are there go on."""
        self._do(self._refuse())

    def accept(self) -> None:
        """Accept new connections, as it does from the start."""
        self._do(self._accept())

    def black_hole(self, which: Which = everyone) -> None:
        """Swallow what is sent over such connections, either way, without closing them.

        Also over new ones, and over those that become such by what they send. One that is black-holed stays
        so, also after `heal`, until its client gives it up: what it has missed would not come again.
        """
        self._do(self._black_hole(which))

    def delay(self, seconds: float) -> None:
        """From now on hold everything back for so long, in each direction."""

        async def delayed() -> None:
            self._delay = seconds

        self._do(delayed())

    def heal(self) -> None:
        """Black-hole no other connection, hold nothing back, and accept new connections."""
        self._do(self._heal())

    def close(self) -> None:
        """Close every connection, and end."""
        self._do(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_PATIENCE)
        assert not self._thread.is_alive(), "the proxy did not end"

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(_PATIENCE)

    def _run(self) -> None:
        with contextlib.closing(self._loop):
            self._loop.run_forever()

    # What follows runs in the event loop of the thread.

    async def _accept(self) -> None:
        if self._listener is None:
            self._listener = await asyncio.start_server(self._connected, HOST, self.port, backlog=1024)

    async def _refuse(self) -> None:
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    async def _cut(self, which: Which) -> int:
        tasks = [task for link, task in self._links.items() if which(link)]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        # An aborted connection is closed a turn later.
        await asyncio.sleep(0)
        return len(tasks)

    async def _close(self) -> None:
        await self._refuse()
        await self._cut(everyone)

    async def _black_hole(self, which: Which) -> None:
        self._swallowed = which
        for link in self._links:
            self._judge(link)

    async def _heal(self) -> None:
        self._swallowed = None
        self._delay = 0.0
        await self._accept()

    def _judge(self, link: Link) -> None:
        if self._swallowed is not None and self._swallowed(link):
            link.black_holed = True

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = Link()
        self._judge(link)
        task = self._links[link] = self._loop.create_task(self._serve(link, reader, writer))

        def ended(_: asyncio.Task[None]) -> None:
            # For one that was cut, maybe before it began; others have been closed in good order.
            writer.transport.abort()
            del self._links[link]

        task.add_done_callback(ended)

    async def _serve(self, link: Link, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            from_server, to_server = await asyncio.open_connection(*self._target)
        except OSError:
            return
        try:
            async with asyncio.TaskGroup() as group:
                for source, sink, from_client in ((reader, to_server, True), (from_server, writer, False)):
                    under_way: _UnderWay = asyncio.Queue(_WAITING)
                    group.create_task(self._receive(link, source, under_way, from_client=from_client))
                    group.create_task(self._deliver(link, under_way, sink, from_client=from_client))
        except* (EOFError, OSError):
            for end in (writer, to_server):
                end.close()
            for end in (writer, to_server):
                with contextlib.suppress(OSError):
                    await end.wait_closed()
        finally:
            to_server.transport.abort()

    async def _receive(
        self, link: Link, source: asyncio.StreamReader, under_way: _UnderWay, *, from_client: bool
    ) -> None:
        data = b"something"
        while data:
            try:
                data = await source.read(_CHUNK)
            except OSError:
                data = b""
            if from_client and data:
                link.heard(data)
                self._judge(link)
            await under_way.put((self._loop.time() + self._delay, data))

    async def _deliver(
        self, link: Link, under_way: _UnderWay, sink: asyncio.StreamWriter, *, from_client: bool
    ) -> None:
        while True:
            due, data = await under_way.get()
            await asyncio.sleep(due - self._loop.time())
            # The client's end is one thing that counts also in a black hole.
            if not data and (from_client or not link.black_holed):
                raise EOFError
            if not link.black_holed:
                sink.write(data)
                await sink.drain()
