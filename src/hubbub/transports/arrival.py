"""A connection's first bytes: a handshake for a hub is taken from here, everything else goes to uvicorn.

Nearly all connections of a busy server begin with a handshake that is well formed and arrives in one piece.
For these the HTTP protocol, with its parser, its request cycle and its timers, is made in vain: it took a
third of the time of a connect. So only what begins otherwise is given one.
"""

import asyncio
import re
from typing import Any, ClassVar, Final
from urllib.parse import unquote

from uvicorn.config import Config
from uvicorn.server import ServerState

from hubbub.transports.handshake import UPGRADES, Doors, Head
from hubbub.transports.http import HubHttpProtocol
from hubbub.transports.turns import Turns
from hubbub.transports.websocket import WebSocketTransport

_HEAD: Final = re.compile(
    rb"GET (/[\x21-\x7e]*) HTTP/1\.1\r\n(?:[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t\x20-\x7e\x80-\xff]*\r\n)+\r\n"
)
"""The head of a GET request in the strict form of RFC 9112 §3 and §5, with nothing behind it."""
_TELLING: Final[dict[str, frozenset[str]]] = {
    "upgrade": frozenset({"websocket"}),
    "connection": UPGRADES,
    # No handshake has a body, and what may have one is for a parser that knows all about bodies.
    "content-length": frozenset(),
    "transfer-encoding": frozenset(),
    "expect": frozenset(),
}
"""Headers that tell a handshake from other requests, with the values that they have in one."""


def read_handshake(data: bytes) -> Head | None:
    """The head of a WebSocket handshake that is all of `data`; None for anything else."""
    found = _HEAD.fullmatch(data)
    if found is None:
        return None
    headers, signs = [], 0
    for line in data[found.end(1) + len(b" HTTP/1.1\r\n") : -4].decode("latin-1").split("\r\n"):
        name, _, value = line.partition(":")
        name, value = name.lower(), value.strip(" \t")
        headers.append((name, value))
        if name in _TELLING:
            signs += value.lower() in _TELLING[name] or -2
    return Head("GET", found[1].decode("ascii"), "HTTP/1.1", headers) if signs == 2 else None


class Arrival(asyncio.Protocol):
    """A connection that has not said yet what it wants."""

    __slots__ = ("_app_state", "_config", "_deadline", "_loop", "_server_state", "transport")

    doors: ClassVar[Doors]
    """Which hub stands behind which path."""
    turns: ClassVar[Turns]
    """Where clients wait that send much."""
    http: ClassVar[type[HubHttpProtocol]]
    """What speaks HTTP with those that want no hub."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self._config = config
        self._server_state = server_state
        self._app_state = app_state
        self._loop = _loop or asyncio.get_running_loop()
        self._deadline: asyncio.TimerHandle | None = None
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self.transport = transport
        self._server_state.connections.add(self)  # type: ignore[arg-type]
        self._deadline = self._loop.call_later(self.http.head_timeout, self._speak_http)

    def connection_lost(self, exc: Exception | None) -> None:
        self._leave()

    def data_received(self, data: bytes) -> None:
        assert self.transport is not None
        head = read_handshake(data) if len(data) <= self.http.max_head_bytes else None
        found = self.doors.find(unquote(head.target.partition("?")[0])) if head is not None else None
        if head is None or found is None:
            self._speak_http().data_received(data)
            return
        self._leave()
        hub, client_id = found
        websocket = WebSocketTransport(hub, self.transport, self._server_state, self.turns)
        self.transport.set_protocol(websocket)
        peer = self.transport.get_extra_info("peername")
        # A Unix socket's is text.
        websocket.knock(head, client_id, str(peer[0]) if isinstance(peer, tuple) else "")

    def shutdown(self) -> None:
        """The server stops: who has said nothing yet is not waited for."""
        if self.transport is not None:
            self.transport.close()

    def _speak_http(self) -> HubHttpProtocol:
        """Have uvicorn's protocol take over, as if it had been there from the beginning."""
        assert self.transport is not None
        deadline = self._deadline
        self._leave()
        http = self.http(self._config, self._server_state, self._app_state, self._loop)
        http.head_due = deadline.when() if deadline is not None else None
        self.transport.set_protocol(http)
        http.connection_made(self.transport)
        return http

    def _leave(self) -> None:
        self._server_state.connections.discard(self)
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


def http_protocol(doors: Doors, head_timeout: float, max_head_bytes: int) -> type[Any]:
    """The protocol class for uvicorn's `http` option."""
    turns = Turns()
    own = {"doors": doors, "turns": turns, "head_timeout": head_timeout, "max_head_bytes": max_head_bytes}
    http = type("HubHttpProtocol", (HubHttpProtocol,), own)
    return type("Arrival", (Arrival,), {"__slots__": (), "doors": doors, "turns": turns, "http": http})
