"""The HTTP side as tests reach it: the app in this process, or a real server in a thread of its own."""

import gc
import json
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import httpx
from fastapi import FastAPI
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from hubbub.hub import Hub
from hubbub.server import Server, build_app, listen
from hubbub.settings import Settings

from ..hub.inprocess import a_hub

JsonObject = dict[str, Any]

DEADLINE = 10.0
"""Seconds that anything may take."""


def app_of(hub: Hub) -> FastAPI:
    """An app as somebody writes it who embeds a hub."""
    app = FastAPI(lifespan=hub.lifespan)
    app.include_router(hub.router)
    return app


def asking(hub: Hub) -> httpx.AsyncClient:
    """Asks the app of a hub, in this process; the hub runs or not."""
    transport = httpx.ASGITransport(app_of(hub), raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://hubbub.test")


class Api:
    """The server API of a hub in this process."""

    def __init__(self, hub: Hub, http: httpx.AsyncClient) -> None:
        self.hub = hub
        self.http = http

    async def answer(self, method: str, **request: Any) -> JsonObject:
        """What a method answers, result or error; the status is 200 for both."""
        response = await self.http.post(f"/api/{method}", json=request)
        assert response.status_code == 200, response.text
        assert response.headers["content-type"] == "application/json"
        answer: JsonObject = response.json()
        assert set(answer) in ({"result"}, {"error"}), answer
        return answer

    async def result(self, method: str, **request: Any) -> JsonObject:
        """A method's result."""
        answer = await self.answer(method, **request)
        assert "result" in answer, answer
        result: JsonObject = answer["result"]
        return result

    async def error(self, method: str, **request: Any) -> tuple[int, str]:
        """The code and the sentence of a method's error."""
        answer = await self.answer(method, **request)
        assert set(answer["error"]) == {"code", "message"}
        return answer["error"]["code"], answer["error"]["message"]


@asynccontextmanager
async def api_of(hub: Hub | None = None, **settings: Any) -> AsyncIterator[Api]:
    """The server API of this hub, or of one with these settings, at work."""
    hub = hub or a_hub(**settings)
    async with hub.lifespan(), asking(hub) as http:
        yield Api(hub, http)


class Socket:
    """A client with a real WebSocket."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket

    def say(self, message_type: str, **fields: object) -> None:
        """Send one message."""
        self._socket.send(json.dumps({"type": message_type, **fields}))

    def hear(self, *message_types: str) -> JsonObject:
        """The next message of one of these types; others before it are passed over.

        Without types it is the next of any, but for the news that a client of the test before has left.
        """
        while True:
            message: JsonObject = json.loads(self._socket.recv(DEADLINE))
            type_ = message["type"]
            if type_ in message_types or (not message_types and type_ != "system_notification"):
                return message

    def join(self, group: str) -> JsonObject:
        """Join a group and return the answer."""
        self.say("join_group", group_name=group)
        return self.hear("group_joined", "error")

    def closed_with(self) -> tuple[int | None, str | None]:
        """Wait for the server's close; its code and reason."""
        try:
            while True:
                self._socket.recv(DEADLINE)
        except ConnectionClosed:
            return self._socket.close_code, self._socket.close_reason

    def close(self) -> None:
        """Say good-bye."""
        self._socket.close()


class Site:
    """A server that answers on a port of its own."""

    def __init__(self, port: int, http: httpx.Client) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.port = port
        self.http = http

    @contextmanager
    def client(self, client_id: str | None = None, path: str = "/ws", **options: Any) -> Iterator[Socket]:
        """A client that is connected and greeted."""
        with self.socket(client_id, path, **options) as socket:
            assert socket.hear()["type"] == "connection_established"
            yield socket

    @contextmanager
    def socket(self, client_id: str | None = None, path: str = "/ws", **options: Any) -> Iterator[Socket]:
        """A client that is connected."""
        address = f"ws://127.0.0.1:{self.port}{path}" + (f"/{client_id}" if client_id else "")
        with connect(address, compression=None, proxy=None, close_timeout=1, **options) as socket:
            yield Socket(socket)

    def api(self, method: str, **request: Any) -> JsonObject:
        """A method's result."""
        answer = self.http.post(f"/api/{method}", json=request).raise_for_status().json()
        assert "result" in answer, answer
        result: JsonObject = answer["result"]
        return result


@contextmanager
def serving(app: FastAPI | None = None, **settings: Any) -> Iterator[Site]:
    """A real server in a thread, with its own app or with this one."""
    own = Settings(**{"port": 0, "demo": False, "log_level": "warning", **settings})
    listener = listen(own.host, own.port)
    port = listener.getsockname()[1]
    server = Server(app or build_app(own), own, listener)
    thresholds = gc.get_threshold()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        eventually(lambda: server.started or not thread.is_alive())
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=DEADLINE, trust_env=False) as http:
            yield Site(port, http)
    finally:
        server.should_exit = True
        thread.join(DEADLINE)
        listener.close()
        gc.set_threshold(*thresholds)
        gc.unfreeze()
        assert not thread.is_alive(), "the server did not stop"


def eventually(condition: Callable[[], Any]) -> Any:
    """What the condition returns once that is true; fails where it never is."""
    end = time.monotonic() + DEADLINE
    while not (result := condition()):
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.002)
    return result
