"""Runs the commands of an example's docstring, and speaks with what they started."""

import ast
import asyncio
import contextlib
import json
import re
import shlex
import ssl
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any, Final, TypeVar

import httpx
from websockets.asyncio.client import ClientConnection, connect

ROOT: Final = Path(__file__).parents[2]
PUBLISHERS: Final = {"flask_shop", "publish_script"}  # they serve no hub: test_publishers is about them
EXAMPLES: Final = sorted({file.stem for file in (ROOT / "examples").glob("[!_]*.py")} - PUBLISHERS)
SERVERS: Final = ("hubbub", "uvicorn")
PATIENCE: Final = 15.0
DEFAULT_ADDRESS: Final = "127.0.0.1:8000"
UVICORNS_OWN_MISTAKE: Final = "ASGI callable returned without completing handshake."
"""Said at every handshake that an app refuses with a status of its own: uvicorn's pull request 3138."""
NO_TLS: Final = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""Without it each HTTP client would read all the certificates of this machine first."""

T = TypeVar("T")


def commands(example: str) -> list[list[str]]:
    """The commands in an example's docstring: its indented lines, as a shell would split them."""
    source = (ROOT / "examples" / f"{example}.py").read_text(encoding="utf-8")
    text = ast.get_docstring(ast.parse(source)) or ""
    return [shlex.split(line) for line in text.splitlines() if line.startswith("    ")]


def command(example: str, program: str) -> list[str]:
    """The one command of an example that runs this program, which is where this Python is."""
    [[_, *arguments]] = [found for found in commands(example) if found[0] == program]
    return [
        sys.executable if program == "python" else str(Path(sys.executable).with_name(program)),
        *arguments,
    ]


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run one scenario on a fresh event loop; one that hangs fails."""
    return asyncio.run(asyncio.wait_for(coroutine, PATIENCE))


async def until(condition: Callable[[], Awaitable[Any]]) -> None:
    """Wait for something that no message announces; `run` sets the deadline."""
    while not await condition():  # noqa: ASYNC110 - another process sets no event
        await asyncio.sleep(0.01)


class Server:
    """An example's server in a process of its own, which answers."""

    def __init__(self, example: str, address: str) -> None:
        self.example = example
        self.address = address
        self.http = f"http://{address}"
        self.ws = f"ws://{address}"

    async def get(self, path: str) -> httpx.Response:
        """What the app answers to a GET request."""
        async with httpx.AsyncClient(verify=NO_TLS) as http:
            return (await http.get(f"{self.http}{path}")).raise_for_status()

    async def api(self, method: str, **request: Any) -> dict[str, Any]:
        """The result of a method of the server API."""
        async with httpx.AsyncClient(verify=NO_TLS) as http:
            answer = (await http.post(f"{self.http}/api/{method}", json=request)).raise_for_status().json()
        assert "error" not in answer, answer
        return answer["result"]

    @asynccontextmanager
    async def program(self, address: str = "") -> AsyncIterator[asyncio.subprocess.Process]:
        """The example's own client, run by the docstring's command; it ends with the block."""
        arguments = [
            argument.replace(DEFAULT_ADDRESS, address or self.address)
            for argument in command(self.example, "python")
        ]
        process = await asyncio.create_subprocess_exec(*arguments, cwd=ROOT, stdout=subprocess.PIPE)
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.communicate()


@contextmanager
def serve(example: str) -> Iterator[dict[str, Server]]:
    """Run an example in each way that its docstring gives; they end with the block, and none complains."""
    with ExitStack() as open_files:
        runs = [_Run(example, program, open_files.enter_context(TemporaryFile("w+"))) for program in SERVERS]
        try:
            # Both are on their way before the first is waited for.
            yield {run.program: Server(example, run.wait_for_address()) for run in runs}
        finally:
            for run in runs:
                run.process.terminate()
            for run in runs:
                run.end()
        for run in runs:
            assert not run.complaints(), run.output()


class _Run:
    """A server's process, on a port of its own choice."""

    def __init__(self, example: str, program: str, said: IO[str]) -> None:
        self.program = program
        self._said = said
        arguments = [*command(example, program), "--port", "0"]
        self.process = subprocess.Popen(arguments, cwd=ROOT, stdout=said, stderr=said)

    def output(self) -> str:
        """What it has said so far."""
        self._said.seek(0)
        return self._said.read()

    def complaints(self) -> list[str]:
        """What it has said that it should not have."""
        return [
            line
            for line in self.output().splitlines()
            if re.search("Traceback|ERROR|WARNING", line) and not line.endswith(UVICORNS_OWN_MISTAKE)
        ]

    def wait_for_address(self) -> str:
        """The host and port where it answers."""
        deadline = time.monotonic() + PATIENCE
        while not (found := re.search(r"http://(127\.0\.0\.1:\d+)", self.output())):
            assert self.process.poll() is None, self.output()
            assert time.monotonic() < deadline, self.output()
            time.sleep(0.02)
        assert httpx.get(f"http://{found[1]}/readyz", verify=NO_TLS).is_success
        return found[1]

    def end(self) -> None:
        """Wait until it has ended, or end it."""
        try:
            self.process.wait(PATIENCE)
        finally:
            self.process.kill()
            self.process.wait()


class Client:
    """One WebSocket of a user, by the messages that travel on it."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket

    async def say(self, type: str, **fields: Any) -> None:
        """Send one message."""
        await self.socket.send(json.dumps({"type": type, **fields}))

    async def hear(self, *types: str) -> dict[str, Any]:
        """The next message of one of these types; others that come first are passed over."""
        while True:
            message: dict[str, Any] = json.loads(await self.socket.recv())
            if message["type"] in types:
                return message


@asynccontextmanager
async def client(server: Server, query: str = "", **options: Any) -> AsyncIterator[Client]:
    """Connect to an example's server, with options of `websockets.connect`."""
    async with connect(f"{server.ws}/ws{query}", **options) as socket:
        yield Client(socket)
