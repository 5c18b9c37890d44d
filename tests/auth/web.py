"""A web server that publishes keys and documents, answers about tokens, and counts what is asked."""

import base64
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs

from .making import DEADLINE


@dataclass
class Answer:
    """What is answered, once `gate` is open."""

    content: Any = None
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    gate: threading.Event | None = None

    def body(self) -> bytes:
        """As it is sent."""
        return self.content if isinstance(self.content, bytes) else json.dumps(self.content).encode()


@dataclass
class Asked:
    """One request."""

    path: str
    form: dict[str, str]
    credentials: str


class Web:
    """The server: `routes` are answers by path, or functions of what is asked that return one."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.routes: dict[str, Answer | Callable[[Asked], Answer]] = {}
        self.asked: list[Asked] = []
        self.at_once = 0
        self.most_at_once = 0
        self.lock = threading.Lock()

    def count(self, path: str) -> int:
        """How often a path was asked for."""
        return sum(each.path == path for each in self.asked)

    def publish(self, *keys: dict[str, Any], path: str = "/jwks", **headers: str) -> str:
        """Publish these keys; the URL."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.routes[path] = Answer({"keys": list(keys)}, headers=named)
        return self.url + path

    def answer(self, asked: Asked) -> Answer:
        """What a request gets; never more at once than are counted."""
        with self.lock:
            self.asked.append(asked)
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        route = self.routes.get(asked.path, Answer("no such thing", 404))
        answer = route if isinstance(route, Answer) else route(asked)
        if answer.gate is not None:
            answer.gate.wait(DEADLINE)
        with self.lock:
            self.at_once -= 1
        return answer


@contextmanager
def serving() -> Iterator[Web]:
    """A web server on a port of its own."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._answer({})

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            self._answer({name: values[0] for name, values in parse_qs(body.decode()).items()})

        def _answer(self, form: dict[str, str]) -> None:
            _, _, encoded = self.headers.get("authorization", "").partition(" ")
            answer = web.answer(Asked(self.path, form, base64.b64decode(encoded).decode()))
            body = answer.body()
            try:
                self.send_response(answer.status)
                self.send_header("content-length", str(len(body)))
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)
            except OSError:  # who asked has gone
                self.close_connection = True

        def log_message(self, *_: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 256

        def handle_error(self, *_: Any) -> None:
            pass  # a client that hangs up in the middle is none of our concern

    server = Server(("127.0.0.1", 0), Handler)
    web = Web(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield web
    finally:
        server.shutdown()
        thread.join(DEADLINE)
        server.server_close()
