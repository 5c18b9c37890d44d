"""A backend in the event loop of a test, which answers every path as it is told to, well or badly."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Self

from hubbub.hub import Hub
from hubbub.webhooks import WebhookOptions, attach_webhooks, verify

from ..hub.inprocess import a_hub

SECRET = "a secret of the backend"


@dataclass(frozen=True)
class Request:
    """What came in."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    def is_signed(self, secret: str = SECRET, *, now: float | None = None) -> bool:
        """Whether it was signed with this secret, now or at this time."""
        header = self.headers.get("x-hubbub-signature", "")
        at = float(header.partition(",")[0].removeprefix("t=")) if now is None else now
        return verify([secret], header, self.body, at)


class Reply:
    """Writes the answer to one request."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self.writer = writer

    async def send(self, status: int, body: bytes, **headers: str) -> None:
        """A whole answer."""
        self.start(status, f"Content-Length: {len(body)}", **headers)
        self.writer.write(body)
        await self.writer.drain()

    def start(self, status: int, *lines: str, **headers: str) -> None:
        """The head of an answer."""
        lines += tuple(f"{name.replace('_', '-')}: {value}" for name, value in headers.items())
        self.writer.write("\r\n".join([f"HTTP/1.1 {status} x", *lines, "", ""]).encode())


Behaviour = Callable[[Request, Reply], Awaitable[None]]


def answer(status: int = 200, body: bytes | None = None, headers: Any = None, **fields: Any) -> Behaviour:
    """Answers with these fields as JSON, or with this body."""

    async def behave(request: Request, reply: Reply) -> None:
        await reply.send(status, json.dumps(fields).encode() if body is None else body, **(headers or {}))

    return behave


def yes(**result: Any) -> Behaviour:
    """Answers with this result."""
    return answer(result=result)


async def hang(request: Request, reply: Reply) -> None:
    """Never answers."""
    await asyncio.Event().wait()


async def drip(request: Request, reply: Reply) -> None:
    """Answers a byte now and then, for ever."""
    reply.start(200, "Transfer-Encoding: chunked")
    while True:
        reply.writer.write(b"1\r\n \r\n")
        await asyncio.sleep(0.02)


async def flood(request: Request, reply: Reply) -> None:
    """Answers without end."""
    reply.start(200, "Transfer-Encoding: chunked")
    while True:
        reply.writer.write(b"10000\r\n" + b" " * 65536 + b"\r\n")
        await reply.writer.drain()


async def die(request: Request, reply: Reply) -> None:
    """Hangs up in the middle of its answer."""
    reply.start(200, "Content-Length: 1000")
    reply.writer.write(b'{"result":')
    await reply.writer.drain()
    reply.writer.close()


class Backend:
    """Listens on a port that it keeps when it is started again."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.behaviours: dict[str, Behaviour] = {}
        self.connections = 0
        self.at_once = 0
        self.most_at_once = 0
        self._port = 0
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def url(self, path: str) -> str:
        """The address of a path."""
        return f"http://127.0.0.1:{self._port}/{path}"

    def on(self, path: str, behaviour: Behaviour) -> None:
        """Behave like this from now on."""
        self.behaviours[path] = behaviour

    def asked(self, path: str) -> list[Request]:
        """What came in at a path."""
        return [request for request in self.requests if request.path == path]

    def events(self, *types: str) -> list[dict[str, Any]]:
        """The events that were delivered, of these types or any."""
        told = [event for request in self.asked("events") for event in request.json["events"]]
        return [event for event in told if not types or event["type"] in types]

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Be gone: nothing listens, and what was open breaks off."""
        if self._server is not None:
            self._server.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            self._server = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.stop()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        try:
            while True:
                await self._answer(await _read(reader), writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the hub has hung up
        except asyncio.CancelledError:
            writer.transport.abort()
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _answer(self, request: Request, writer: asyncio.StreamWriter) -> None:
        self.requests.append(request)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await self.behaviours.get(request.path, yes())(request, Reply(writer))
        finally:
            self.at_once -= 1


async def _read(reader: asyncio.StreamReader) -> Request:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    method, path, _ = head[0].split()
    assert method == "POST"
    headers = {
        name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)
    }
    return Request(path[1:], headers, await reader.readexactly(int(headers["content-length"])))


@asynccontextmanager
async def asking(*endpoints: str, **settings: Any) -> AsyncIterator[tuple[Hub, Backend]]:
    """A hub at work that asks a backend at these endpoints. Settings are those of webhooks or of the hub."""
    async with Backend() as backend:
        own = {name: settings.pop(name) for name in WebhookOptions.__dataclass_fields__ if name in settings}
        options = WebhookOptions(
            **{name: backend.url(name) for name in endpoints}, **({"secrets": (SECRET,)} | own)
        )
        hub = a_hub(**settings)
        attach_webhooks(hub, options)
        async with hub.lifespan():
            yield hub, backend


def counted(hub: Hub, name: str, **labels: str) -> float:
    """What a metric of webhooks reads."""
    return hub.metrics.registry.get_sample_value(f"hubbub_webhook_{name}", labels) or 0.0
