"""Real servers for tests, each in a thread of its own: ours, and other ASGI servers over the same app."""

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import uvicorn
import uvloop
from fastapi import FastAPI, WebSocket
from hypercorn.asyncio import serve as hypercorn_serve
from hypercorn.config import Config as HypercornConfig

from hubbub.core.channels import Namespace
from hubbub.hub import Hub, Options
from hubbub.server import Server, listen
from hubbub.settings import Settings

FAST, UVICORN, HYPERCORN = "fast", "uvicorn", "hypercorn"
SERVERS = (FAST, UVICORN, HYPERCORN)
DEADLINE = 10.0

NAMESPACES = {
    "kept": Namespace(history_size=100, history_ttl=60),
    "oldest": Namespace(slow_policy="drop_oldest"),  # type: ignore[arg-type]
    "latest": Namespace(slow_policy="latest"),  # type: ignore[arg-type]
    "told": Namespace(join_leave=True),
}


def eventually(condition: Callable[[], Any], deadline: float = DEADLINE) -> Any:
    """What the condition returns once that is true; fails where it never is."""
    end = time.monotonic() + deadline
    while not (result := condition()):
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.005)
    return result


@dataclass
class Running:
    """A server and the hub in it."""

    kind: str
    port: int
    hub: Hub
    loop: asyncio.AbstractEventLoop
    stop: Callable[[], None]
    scheme: str = "ws"
    subprotocol: str = ""
    """What clients offer that do not say otherwise."""

    def url(self, path: str = "/ws") -> str:
        """Where to connect."""
        return f"{self.scheme}://127.0.0.1:{self.port}{path}"

    def do(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Run something in the server's event loop and return what it returns."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(DEADLINE)

    def look(self, at: Callable[[], Any]) -> Any:
        """What a plain function returns in the server's event loop."""

        async def looked() -> Any:
            return at()

        return self.do(looked())


def build_app(hub: Hub) -> FastAPI:
    """An app that embeds a hub beside a WebSocket route of its own."""
    app = FastAPI(lifespan=hub.lifespan)
    app.include_router(hub.router)

    @app.websocket("/own/{word}")
    async def own(websocket: WebSocket, word: str) -> None:
        await websocket.accept()
        await websocket.send_text(f"{word} {await websocket.receive_text()}")
        await websocket.close()

    return app


@contextmanager
def serving(
    kind: str, options: Options | None = None, *, hub: Hub | None = None, **settings: Any
) -> Iterator[Running]:
    """A server of this kind on a free port; it is stopped at the end, and must stop in time."""
    hub = hub or Hub(namespaces=NAMESPACES, options=options or Options())
    app = build_app(hub)
    own = Settings(port=0, handshake_timeout=hub.options.handshake_timeout, log_level="warning", **settings)
    listener = listen("127.0.0.1", 0)
    port = listener.getsockname()[1]
    stopping = asyncio.Event()
    server: uvicorn.Server | None = None
    if kind == FAST:
        server = Server(app, own, listener)
    elif kind == UVICORN:
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=5))
    loop = uvloop.new_event_loop()
    main = server.serve([listener]) if server is not None else _hypercorn(app, listener, stopping)
    thread = threading.Thread(target=_run, args=(loop, main), daemon=True)

    def stop() -> None:
        if server is not None:
            server.should_exit = True
        elif not loop.is_closed():
            loop.call_soon_threadsafe(stopping.set)

    thread.start()
    try:
        eventually(lambda: hub in Hub.running and _answers(port))
        yield Running(kind, port, hub, loop, stop, "wss" if own.tls_cert else "ws")
    finally:
        stop()
        thread.join(DEADLINE)
        assert not thread.is_alive(), "the server did not stop"


def _run(loop: asyncio.AbstractEventLoop, main: Coroutine[Any, Any, None]) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_until_complete(main)
    finally:
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


def _hypercorn(app: FastAPI, listener: socket.socket, stopping: asyncio.Event) -> Coroutine[Any, Any, None]:
    config = HypercornConfig()
    config.bind = [f"fd://{listener.detach()}"]
    config.graceful_timeout = 1
    config.loglevel = "WARNING"
    return hypercorn_serve(app, config, shutdown_trigger=stopping.wait)  # type: ignore[arg-type]


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
