"""The scripted server of `spec/scenarios`: plays the server's lane of one scenario.

`python -m tests.client.scenario FILE` prints its port on a line, plays, and prints `ok`, or a line that says
at which step something else came; it exits with 0 or 1. What a scenario may hold is told in
`spec/scenarios/README.md`.
"""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl, unquote, urlsplit

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

SCENARIOS: Final = Path(__file__).parents[2] / "spec" / "scenarios"
PATIENCE: Final = 8.0
"""Seconds that a step waits for a client."""
NOW: Final = "2026-03-01T12:00:00.250000+00:00"


class Otherwise(Exception):
    """Something else came than the scenario says."""


class Handshake:
    """A client that asks to be let in, and waits for the lane to come to it."""

    def __init__(self, request: Request) -> None:
        parts = urlsplit(request.path)
        self.path = unquote(parts.path)
        self.query = dict(parse_qsl(parts.query))
        self.token = _token(request.headers)
        self.at = asyncio.get_running_loop().time()
        self.answer: asyncio.Future[Response | None] = asyncio.get_running_loop().create_future()
        self.line: asyncio.Future[Line] = asyncio.get_running_loop().create_future()


class Line:
    """The server's end of one connection, with what came sorted into signs of life and the rest."""

    def __init__(self, socket: ServerConnection) -> None:
        self.socket = socket
        self.queues: dict[str, asyncio.Queue[dict[str, Any] | None]] = {
            kind: asyncio.Queue() for kind in ("ping", "pong", "message")
        }

    async def listen(self) -> None:
        """Read until the connection ends."""
        try:
            async for frame in self.socket:
                message = json.loads(frame)
                kind = message["type"] if message["type"] in self.queues else "message"
                self.queues[kind].put_nowait(message)
        except ConnectionClosed:
            pass
        for queue in self.queues.values():
            queue.put_nowait(None)

    async def next(self, kind: str) -> dict[str, Any]:
        """The next of this kind."""
        message = await self.queues[kind].get()
        if message is None:
            self.queues[kind].put_nowait(None)
            raise Otherwise(f"the connection ended, with {self.socket.close_code}")
        return message

    @property
    def waiting(self) -> list[Any]:
        """Messages that came and that no step has asked for."""
        queue = self.queues["message"]
        return [queue.get_nowait() for _ in range(queue.qsize())]


class ScenarioServer:
    """Goes through the server's lane, one step after the other."""

    def __init__(self, scenario: dict[str, Any]) -> None:
        self._steps: list[dict[str, Any]] = scenario["server"]
        self._handshakes: asyncio.Queue[Handshake] = asyncio.Queue()
        self._pending: dict[ServerConnection, Handshake] = {}
        self._line: Line | None = None
        self._names: dict[str, Any] = {}
        self._ended_at = 0.0
        self._server: Server

    @property
    def port(self) -> int:
        """Where it listens."""
        port: int = next(iter(self._server.sockets)).getsockname()[1]
        return port

    @asynccontextmanager
    async def running(self) -> AsyncIterator["ScenarioServer"]:
        """Listen on a free port."""
        async with serve(
            self._handle,
            "127.0.0.1",
            0,
            process_request=self._ask,
            select_subprotocol=_choose,
            compression=None,
            open_timeout=None,
            ping_interval=None,
            close_timeout=1,
        ) as self._server:
            yield self

    async def play(self) -> None:
        """Go through the lane; raises `Otherwise` with a sentence."""
        for number, step in enumerate(self._steps, 1):
            name, argument = next(iter(step.items()))
            try:
                async with asyncio.timeout(PATIENCE):
                    await getattr(self, f"_{name}")(argument)
            except TimeoutError:
                raise Otherwise(f"step {number} of the server, {json.dumps(step)}: nothing came") from None
            except ConnectionClosed as exc:
                raise Otherwise(
                    f"step {number} of the server, {json.dumps(step)}: the connection had ended: {exc}"
                ) from None
            except Otherwise as exc:
                raise Otherwise(f"step {number} of the server, {json.dumps(step)}: {exc}") from None

    # What the library calls.

    async def _ask(self, socket: ServerConnection, request: Request) -> Response | None:
        handshake = self._pending[socket] = Handshake(request)
        self._handshakes.put_nowait(handshake)
        return await handshake.answer

    async def _handle(self, socket: ServerConnection) -> None:
        line = Line(socket)
        self._pending.pop(socket).line.set_result(line)
        await line.listen()

    # The steps.

    async def _accept(self, wanted: dict[str, Any]) -> None:
        handshake = await self._handshakes.get()
        seen = {"path": handshake.path, "query": handshake.query, "token": handshake.token}
        for field in wanted.keys() & seen.keys():
            if not _fits(wanted[field], seen[field]):
                raise Otherwise(f"a client came with {field} {seen[field]!r}")
        waited = handshake.at - self._ended_at
        if "after" in wanted and waited < wanted["after"]:
            raise Otherwise(f"a client came after {waited:.3f} s")
        handshake.answer.set_result(None)
        self._line = await handshake.line

    async def _refuse(self, answer: dict[str, Any]) -> None:
        handshake = await self._handshakes.get()
        body = answer.get("body", "not now").encode()
        headers = Headers({"Content-Length": str(len(body)), "Content-Type": "text/plain"})
        if "retry_after" in answer:
            headers["Retry-After"] = str(answer["retry_after"])
        handshake.answer.set_result(Response(answer["status"], "Because", headers, body))
        self._end()

    async def _expect(self, wanted: dict[str, Any]) -> dict[str, Any]:
        message = await self._now.next("message")
        for field, value in wanted.items():
            if _is_name(value) and field in message:
                self._names[value] = message[field]
            elif not _fits(value, message.get(field)):
                raise Otherwise(f"the client said {json.dumps(message)}")
        return message

    async def _send(self, message: dict[str, Any]) -> None:
        await self._now.socket.send(json.dumps(self._filled(message)))

    async def _send_text(self, text: str) -> None:
        await self._now.socket.send(text)

    async def _greet(self, wanted: dict[str, Any]) -> None:
        hello = await self._expect({"type": "connect", **wanted})
        path = urlsplit(self._now.socket.request.path).path if self._now.socket.request else ""
        client_id = unquote(path.partition("/ws/")[2]) or "made-by-the-server"
        greeting = {"type": "connection_established", "client_id": client_id, "timestamp": NOW}
        await self._send({**greeting, "total_connections": 1, "id": hello.get("id")})

    async def _expect_ping(self, _: bool) -> None:
        await self._now.next("ping")

    async def _expect_pong(self, _: bool) -> None:
        await self._now.next("pong")

    async def _close(self, frame: dict[str, Any]) -> None:
        await self._now.socket.close(frame["code"], frame.get("reason", ""))
        self._end()

    async def _cut(self, _: bool) -> None:
        # Not an abort: what was sent before has to arrive, or no client could be said to have it.
        self._now.socket.transport.close()
        await self._now.socket.wait_closed()
        self._end()

    async def _closed(self, wanted: dict[str, Any]) -> None:
        socket = self._now.socket
        await socket.wait_closed()
        if rest := [message for message in self._now.waiting if message is not None]:
            raise Otherwise(f"before it closed, the client said {json.dumps(rest[0])}")
        if wanted.get("code", socket.close_code) != socket.close_code:
            raise Otherwise(f"the client closed with {socket.close_code}")
        self._end()

    async def _quiet(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        if not self._handshakes.empty():
            raise Otherwise("a client came")
        if self._line and (rest := [message for message in self._line.waiting if message is not None]):
            raise Otherwise(f"the client said {json.dumps(rest[0])}")

    # What they share.

    @property
    def _now(self) -> Line:
        if self._line is None:
            raise Otherwise("there is no connection: the scenario lacks an `accept`")
        return self._line

    def _end(self) -> None:
        self._ended_at = asyncio.get_running_loop().time()

    def _filled(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {key: self._filled(item) for key, item in value.items()}
        return self._names[value] if _is_name(value) and value in self._names else value


def _is_name(value: object) -> bool:
    return isinstance(value, str) and value[:1] == "<" and value[-1:] == ">"


def _fits(wanted: object, seen: object) -> bool:
    """Whether a field is as it has to be; of objects the order counts, as it does of `groups`."""
    return wanted == seen and json.dumps(wanted) == json.dumps(seen)


def _token(headers: Headers) -> str | None:
    scheme, _, token = headers.get("Authorization", "").partition(" ")
    if scheme == "Bearer":
        return token
    offers = [offer.strip() for offer in headers.get("Sec-WebSocket-Protocol", "").split(",")]
    return next((offer[7:] for offer in offers if offer.startswith("bearer.")), None)


def _choose(_: ServerConnection, offers: list[Subprotocol] | Any) -> Subprotocol | None:
    return Subprotocol("hubbub.v1") if "hubbub.v1" in offers else None


async def play(scenario: dict[str, Any]) -> str:
    """Serve one scenario; what to print at the end."""
    async with ScenarioServer(scenario).running() as server:
        print(server.port, flush=True)  # noqa: T201 - what it is for
        try:
            await server.play()
        except Otherwise as exc:
            return str(exc)
        return "ok"


def main() -> int:
    """For the command line."""
    verdict = asyncio.run(play(json.loads(Path(sys.argv[1]).read_text())))
    print(verdict, flush=True)  # noqa: T201 - what it is for
    return 0 if verdict == "ok" else 1


if __name__ == "__main__":
    sys.exit(main())
