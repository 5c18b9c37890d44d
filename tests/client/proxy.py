"""A TCP proxy on the client's own event loop, which does to connections what trains and laptops do."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

CHUNK = 65536


class Link:
    """One connection through the proxy."""

    def __init__(self, inward: asyncio.StreamWriter, outward: asyncio.StreamWriter) -> None:
        self._writers = inward, outward

    def cut(self) -> None:
        """Both ends find the connection gone, with what was on its way."""
        for writer in self._writers:
            writer.transport.abort()


class Proxy:
    """Passes everything on, until it is told otherwise. All of it counts for new connections too.

    delay: seconds to hold back each piece that the server sends.
    split: draws how many bytes go in each piece, None for as they come.
    truncate: bytes of the server's that still go through; then its connection is cut, and this is None again.
    """

    def __init__(self, port: int) -> None:
        self.port = 0
        self.links: list[Link] = []
        self.connections = 0
        self.delay = 0.0
        self.split: Callable[[], int] | None = None
        self.truncate: int | None = None
        self._target = port
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._refusing = False
        self._tasks: set[asyncio.Task[Any]] = set()

    @property
    def url(self) -> str:
        """What a client is given."""
        return f"ws://127.0.0.1:{self.port}"

    def aim(self, port: int) -> None:
        """Have new connections go to another server."""
        self._target = port

    def cut(self) -> None:
        """Cut all connections."""
        for link in self.links:
            link.cut()
        self.links.clear()

    def stall(self) -> None:
        """Let nothing through, either way, though the connections stand."""
        self._flowing.clear()

    def refuse(self) -> None:
        """Drop new connections as they come."""
        self._refusing = True

    def heal(self) -> None:
        """Let everything through again."""
        self.delay, self.split, self.truncate = 0.0, None, None
        self._refusing = False
        self._flowing.set()

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Proxy"]:
        """Listen on a free port."""
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            self.cut()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self.connections += 1
        with contextlib.suppress(asyncio.CancelledError):  # the end of the proxy
            await self._serve(reader, writer)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        to_server = None
        try:
            if not self._refusing:
                from_server, to_server = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            pass
        finally:
            if to_server is None:
                writer.transport.abort()
        if to_server is None:
            return
        link = Link(writer, to_server)
        self.links.append(link)
        try:
            async with asyncio.TaskGroup() as ways:
                ways.create_task(self._pass_on(reader, to_server))
                ways.create_task(self._deliver(from_server, writer, link))
        except* (OSError, EOFError):
            pass
        finally:
            for end in (writer, to_server):
                end.close()
                with contextlib.suppress(OSError):
                    await end.wait_closed()
            if link in self.links:
                self.links.remove(link)

    async def _pass_on(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while data := await source.read(CHUNK):
            await self._flowing.wait()
            sink.write(data)
            await sink.drain()
        raise EOFError

    async def _deliver(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, link: Link) -> None:
        while data := await source.read(CHUNK):
            if self.delay:
                await asyncio.sleep(self.delay)
            while data:
                await self._flowing.wait()
                size = len(data) if self.split is None else self.split()
                piece, data = data[:size], data[size:]
                if self.truncate is not None:
                    piece = piece[: self.truncate]
                    self.truncate -= len(piece)
                sink.write(piece)
                await sink.drain()
                if self.truncate == 0:
                    self.truncate = None
                    raise EOFError
                if self.split is not None:
                    await asyncio.sleep(0)
        raise EOFError
