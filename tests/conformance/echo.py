"""The server under test: an echo on a free loopback port, in a thread with an event loop of its own."""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from threading import Thread
from typing import Any

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

HOST = "127.0.0.1"

# What the server under test is called in the record, and the distributions whose versions it names.
SUBJECT = "an echo over the websockets library"
DISTRIBUTIONS = ("websockets",)


# --- The server itself: all that changes when another transport is put under test. -------------------------


@asynccontextmanager
async def _listening(compression: bool) -> AsyncIterator[int]:
    """Serve the echo for the length of the block and yield its port.

    Each message goes back as it came, text as text. Section 9 sends 16 MiB messages, and 4 MiB in 65,536
    fragments: the server must set no lower limit.
    """
    deflate = "deflate" if compression else None
    async with serve(_echo, HOST, 0, compression=deflate, max_size=None, ping_interval=None) as server:
        yield next(iter(server.sockets)).getsockname()[1]


async def _echo(connection: ServerConnection) -> None:
    # The cases break the protocol on purpose; that ends the connection and is no news for the log.
    with suppress(ConnectionClosed):
        async for message in connection:
            await connection.send(message)


# --- The thread around it. ---------------------------------------------------------------------------------


@contextmanager
def start_echo(compression: bool) -> Iterator[str]:
    """Run the echo for the length of the block and yield its ws URL."""
    loop = asyncio.new_event_loop()
    thread = Thread(target=loop.run_forever, name="conformance-echo", daemon=True)
    thread.start()

    def wait_for(step: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(step, loop).result()

    servers = AsyncExitStack()
    try:
        port = wait_for(servers.enter_async_context(_listening(compression)))
        try:
            yield f"ws://{HOST}:{port}"
        finally:
            wait_for(servers.aclose())
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
