"""Clients by the hundred, each of which knows the process that it is with."""

import os
import re
import signal
import socket
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from ..cli.running import PATIENCE

APP: Final = """
import os
from contextlib import AsyncExitStack, asynccontextmanager
from uuid import uuid4

from fastapi import FastAPI

from hubbub import Hub, Identity

hub, other = Hub(), Hub()


@asynccontextmanager
async def lifespan(app):
    async with AsyncExitStack() as stack:
        for each in (hub, other):
            await stack.enter_async_context(each.lifespan())
        yield


app = FastAPI(lifespan=lifespan)
app.include_router(hub.router)
app.include_router(other.router, prefix="/other")


@hub.on_connect
async def who(request) -> Identity:
    return Identity(client_id=f"{os.getpid()}-{uuid4()}")


@app.get("/process")
async def process() -> int:
    return os.getpid()
"""
"""An app whose hubs keep to their own worker, and name clients after its process."""

_REQUEST: Final = (
    b"GET %s HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)


class Client:
    """A WebSocket that says nothing."""

    def __init__(self, port: int, path: str = "/ws") -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
        self._socket.sendall(_REQUEST % path.encode())
        self._heard = b""

    def greeted(self) -> str:
        """The client id, when it has been given one."""
        while (found := re.search(rb'"client_id":"([^"]+)"', self._heard)) is None:
            self._listen()
        return found[1].decode()

    @property
    def process(self) -> int:
        """The process that it is with."""
        return int(self.greeted().partition("-")[0])

    def has_heard(self, text: bytes) -> bool:
        """Whether it has been sent this by now."""
        self._socket.setblocking(False)
        with suppress(BlockingIOError):
            self._heard += self._socket.recv(65536)
        self._socket.settimeout(PATIENCE)
        return text in self._heard

    def close_code(self) -> int | None:
        """Wait for the end, and leave. The code that it was closed with; None where it just ended."""
        found = None
        with suppress(EOFError, ConnectionError):
            while (found := re.search(rb"\x88[\x02-\x7d](..)", self._heard, re.DOTALL)) is None:
                self._listen()
        self.close()
        return int.from_bytes(found[1]) if found else None

    def _listen(self) -> None:
        heard = self._socket.recv(65536)
        if not heard:
            raise EOFError
        self._heard += heard

    def close(self) -> None:
        """Leave without a word."""
        self._socket.close()


@contextmanager
def crowd(port: int, size: int, path: str = "/ws") -> Iterator[list[Client]]:
    """So many clients, all greeted; those that still are there leave at the end."""
    clients: list[Client] = []
    try:
        clients.extend(Client(port, path) for _ in range(size))
        for client in clients:
            client.greeted()
        yield clients
    finally:
        for client in clients:
            client.close()


def by_process(clients: Iterable[Client]) -> Counter[int]:
    """How many of them are with which process."""
    return Counter(client.process for client in clients)


def is_there(process: int) -> bool:
    """Whether a process has not ended."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    # One that nobody has reaped yet has ended all the same.
    with suppress(OSError):
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return True


def kill(process: int) -> None:
    """End it at once, with no chance to do anything more."""
    os.kill(process, signal.SIGKILL)
