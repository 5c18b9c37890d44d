"""The line between a reader and its server, which a test can cut."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

CHUNK: Final = 4096


class Relay:
    """Passes on what two ends of a TCP connection say, until it is cut.

    address: where it listens. lines: how many connections there have been.
    """

    def __init__(self, target: str, cut_after: int | None) -> None:
        self._target = target
        self._cut_after = cut_after
        self._whole = asyncio.Event()
        self._whole.set()
        self._ends: set[asyncio.StreamWriter] = set()
        self.address = ""
        self.lines = 0

    def cut(self) -> None:
        """End every line at once, without a word; new ones get no answer until `mend`."""
        self._whole.clear()
        self._abort(*self._ends)

    def mend(self) -> None:
        """Let new lines through again."""
        self._whole.set()

    async def connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One line, from its beginning to its end."""
        self.lines += 1
        await self._whole.wait()
        host, _, port = self._target.rpartition(":")
        far_reader, far_writer = await asyncio.open_connection(host, int(port))
        ends = {writer, far_writer}
        self._ends |= ends
        ways = {
            asyncio.create_task(self._pass_on(reader, far_writer, None)),
            asyncio.create_task(self._pass_on(far_reader, writer, self._cut_after)),
        }
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._abort(*ends)
            self._ends -= ends
            await asyncio.wait(ways)

    @staticmethod
    async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, limit: int | None) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(CHUNK if limit is None else min(CHUNK, limit)):
                writer.write(data)
                await writer.drain()
                if limit is not None:
                    limit -= len(data)
                    if limit == 0:
                        return

    @staticmethod
    def _abort(*ends: asyncio.StreamWriter) -> None:
        for end in ends:
            end.transport.abort()


@asynccontextmanager
async def relay(target: str, *, cut_after: int | None = None) -> AsyncIterator[Relay]:
    """A line to a server; with `cut_after` it breaks by itself when so many bytes have come from there."""
    relay = Relay(target, cut_after)
    listener = await asyncio.start_server(relay.connect, "127.0.0.1", 0)
    host, port = listener.sockets[0].getsockname()
    relay.address = f"{host}:{port}"
    try:
        yield relay
    finally:
        listener.close()
        relay.cut()
