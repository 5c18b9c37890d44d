"""A line between a reader and its server that breaks again and again."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Relay:
    """Passes on what two ends of a TCP connection say, until so many bytes have come from the server.

    address: where it listens. lines: how many connections there have been.
    """

    def __init__(self, target: str, breaks_after: int) -> None:
        self._target = target
        self._breaks_after = breaks_after
        self.address = ""
        self.lines = 0

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One line, from its beginning to its end, which comes at once and without a word."""
        self.lines += 1
        host, _, port = self._target.rpartition(":")
        far_reader, far_writer = await asyncio.open_connection(host, int(port))
        ways = {
            asyncio.create_task(self._pass_on(reader, far_writer)),
            asyncio.create_task(self._pass_on(far_reader, writer, self._breaks_after)),
        }
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            writer.transport.abort()
            far_writer.transport.abort()
            await asyncio.wait(ways)

    @staticmethod
    async def _pass_on(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter, limit: int = 2**20
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(limit):
                writer.write(data)
                await writer.drain()
                limit -= len(data)


@asynccontextmanager
async def relay(target: str, *, breaks_after: int) -> AsyncIterator[Relay]:
    """A way to a server on which every connection breaks after so many bytes of what the server says."""
    relay = Relay(target, breaks_after)
    listener = await asyncio.start_server(relay.carry, "127.0.0.1", 0)
    host, port = listener.sockets[0].getsockname()
    relay.address = f"{host}:{port}"
    try:
        yield relay
    finally:
        listener.close()
