"""A server that does what a test tells it to, over a real socket, and what its tests share."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar
from urllib.parse import unquote

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from hubbub.client import Backoff, Message, WebSocketClient

T = TypeVar("T")

AT_ONCE = Backoff(draw=lambda: 0.0)
"""Come back without a delay."""


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run one scenario on a fresh event loop; one that hangs fails."""
    return asyncio.run(asyncio.wait_for(coroutine, timeout=10))


async def until(condition: Callable[[], object]) -> None:
    """Wait for a condition that no message announces."""
    while not condition():  # noqa: ASYNC110 - a socket's fate sets no event
        await asyncio.sleep(0.001)


def client_tasks() -> list[str]:
    """The tasks that clients have left running."""
    return [task.get_name() for task in asyncio.all_tasks() if task.get_name().startswith("hubbub client")]


class Heard:
    """A handler that remembers what it heard, and can be waited for."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self._arrivals: asyncio.Queue[Message] = asyncio.Queue()

    def __call__(self, message: Message) -> None:
        self.messages.append(message)
        self._arrivals.put_nowait(message)

    async def next(self, message_type: str | None = None) -> Message:
        """The next message of this type; others that come first are passed over."""
        while True:
            message = await self._arrivals.get()
            if message_type in (None, message["type"]):
                return message

    @property
    def types(self) -> list[str]:
        """The types of all that was heard, in order."""
        return [message["type"] for message in self.messages]


class Peer:
    """The server's end of one connection."""

    def __init__(self, socket: ServerConnection) -> None:
        self._socket = socket
        request = socket.request
        assert request is not None
        self.path, _, self.query = request.path.partition("?")
        self.headers = request.headers
        self.hello: Message = {}
        """What the client said first, once it was heard."""

    @property
    def client_id(self) -> str:
        """The client id in the path, or the one this server makes."""
        _, _, name = self.path.partition("/ws/")
        return unquote(name) or "made-by-the-server"

    async def say(self, message_type: str, **fields: object) -> None:
        """Send one message."""
        await self._socket.send(json.dumps({"type": message_type, **fields}))

    async def say_raw(self, frame: str | bytes) -> None:
        """Send one frame as it is."""
        await self._socket.send(frame)

    async def greet(self) -> None:
        """Hear the client's `connect` and establish the connection."""
        self.hello = await self.hear()
        assert self.hello["type"] == "connect"
        await self.say(
            "connection_established",
            id=self.hello["id"],
            client_id=self.client_id,
            timestamp="2026-01-01T00:00:00+00:00",
            total_connections=1,
        )

    async def hear(self) -> Message:
        """The next message from the client."""
        message: Message = json.loads(await self._socket.recv())
        return message

    async def hang_up(self, code: int, reason: str = "") -> None:
        """Close with a close frame."""
        await self._socket.close(code, reason)

    def cut(self) -> None:
        """Let the connection die without a word."""
        self._socket.transport.abort()

    def stop_reading(self) -> None:
        """Take nothing more from the socket."""
        self._socket.transport.pause_reading()

    async def gone(self) -> int | None:
        """Wait for the client to close, and return its close code."""
        try:
            while True:
                await self._socket.recv()
        except ConnectionClosed:
            return self._socket.close_code


class ScriptedServer:
    """Greets who connects, unless told otherwise, and leaves the rest to the test."""

    def __init__(self) -> None:
        self.greets = True
        self.answers: list[Response] = []
        """HTTP answers to give to the next handshakes, in place of a WebSocket."""
        self.connections = 0
        self._peers: asyncio.Queue[Peer] = asyncio.Queue()
        self._server: Server

    @property
    def port(self) -> int:
        """Where it listens."""
        port: int = next(iter(self._server.sockets)).getsockname()[1]
        return port

    @property
    def url(self) -> str:
        """What a client is given."""
        return f"ws://127.0.0.1:{self.port}"

    async def peer(self) -> Peer:
        """The next connection."""
        return await self._peers.get()

    def refuse(self, status: int, body: str = "", **headers: str) -> None:
        """Answer the next handshake with this HTTP status."""
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        fields["Content-Length"] = str(len(body.encode()))
        self.answers.append(Response(status, "Because", Headers(fields), body.encode()))

    def _process_request(self, socket: ServerConnection, request: Request) -> Response | None:
        return self.answers.pop(0) if self.answers else None

    async def _handle(self, socket: ServerConnection) -> None:
        self.connections += 1
        peer = Peer(socket)
        if self.greets:
            await peer.greet()
        self._peers.put_nowait(peer)
        await socket.wait_closed()

    @asynccontextmanager
    async def running(self, port: int, tls: ssl.SSLContext | None) -> AsyncIterator["ScriptedServer"]:
        """Listen on this port, or on a free one."""
        async with serve(
            self._handle,
            "127.0.0.1",
            port,
            ssl=tls,
            process_request=self._process_request,
            compression=None,
            ping_interval=None,
            close_timeout=1,
        ) as self._server:
            yield self


@asynccontextmanager
async def scripted_server(
    *, greets: bool = True, port: int = 0, tls: ssl.SSLContext | None = None
) -> AsyncIterator[ScriptedServer]:
    """A running scripted server."""
    server = ScriptedServer()
    server.greets = greets
    async with server.running(port, tls):
        yield server


@asynccontextmanager
async def connected(
    client_id: str | None = "alice", **options: Any
) -> AsyncIterator[tuple[WebSocketClient, Peer, ScriptedServer]]:
    """A client that comes back at once, connected to a scripted server; afterwards it has left no task."""
    async with scripted_server() as server:
        client = WebSocketClient(server.url, client_id, **{"backoff": AT_ONCE, "proxy": None, **options})
        async with client:
            yield client, await server.peer(), server
        assert not client.is_connected
        assert client_tasks() == []
