"""A server with tokens and the people before it: those who belong in, and those who try."""

import json
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from hubbub.auth import Tokens
from hubbub.auth.minting import sign
from hubbub.core.channels import Namespace
from hubbub.hub import Hub, Options

from ..transports.clients import Client, RawClient, client
from ..transports.serving import FAST, Running, serving

SECRET = "a secret of more than thirty-two bytes"
NAMESPACES = {
    "private": Namespace(history_size=100, join="token", publish="token"),  # type: ignore[arg-type]
    "orders": Namespace(history_size=100),
    "news": Namespace(history_size=10, publish="nobody", see_presence="nobody"),  # type: ignore[arg-type]
}
QUIET = {"announce_disconnects": False, "close_timeout": 0.3}
"""Options of a server whose clients are told of nothing that they did not ask for."""
HEAD_LINES = (
    b"GET /ws HTTP/1.1",
    b"Host: 127.0.0.1",
    b"Connection: Upgrade",
    b"Upgrade: websocket",
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    b"Sec-WebSocket-Version: 13",
)
"""The upgrade request of a client, but for the empty line at its end."""


@contextmanager
def guarded(**options: Any) -> Iterator[Running]:
    """A server that lets in who brings a token of its secret."""
    hub = Hub(namespaces=NAMESPACES, options=Options(**QUIET | options), auth=Tokens(SECRET))
    with serving(FAST, hub=hub) as running:
        yield running


@contextmanager
def unguarded(*, max_head_bytes: int = 16384, **options: Any) -> Iterator[Running]:
    """A server that lets in everybody."""
    hub = Hub(namespaces=NAMESPACES, options=Options(**QUIET | options))
    with serving(FAST, hub=hub, max_head_bytes=max_head_bytes) as running:
        yield running


def token(user: str, **claims: Any) -> str:
    """A good token of a user, for a minute."""
    now = time.time()
    return sign({"sub": user, "iat": now, "exp": now + 60, **claims}, SECRET)


@contextmanager
def member(server: Running, user: str, **claims: Any) -> Iterator[Client]:
    """A client with a token of this user."""
    headers = {"Authorization": f"Bearer {token(user, **claims)}"}
    with client(server, additional_headers=headers) as inside:
        yield inside


def knock(server: Running, path: str = "/ws", **headers: str) -> tuple[int, RawClient]:
    """The status that a handshake is answered with, and the connection."""
    raw = RawClient(server, path)
    return int(raw.handshake(**headers).split(b" ")[1]), raw


def exchange(server: Running, request: bytes) -> tuple[int, bytes]:
    """The status of the answer to some bytes, and all that came until the server closed or was silent."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as connection:
        connection.sendall(request)
        connection.shutdown(socket.SHUT_WR)
        answer = b""
        while chunk := connection.recv(65536):
            answer += chunk
    return int(answer.split(b" ")[1]) if answer else 0, answer


def served(honest: Client) -> None:
    """An honest client is served: it joins a group, publishes, and hears itself."""
    honest.join("served")
    honest.send("publish", group_name="served", data={"honest": True})
    assert honest.receive("group_message")["data"] == {"honest": True}
    honest.ask("leave_group", "group_left", group_name="served")


def frames(*payloads: bytes, first: int = 0x81) -> bytes:
    """Frames as a client sends them, in one piece; a mask of zeros changes nothing."""
    made = bytearray()
    for payload in payloads:
        size = len(payload)
        head = bytes((first, 0x80 | size)) if size < 126 else bytes((first, 0xFE)) + size.to_bytes(2)
        made += head + b"\0\0\0\0" + payload
    return bytes(made)


def command(type: str, **fields: Any) -> bytes:
    """A message of the native protocol."""
    return json.dumps({"type": type, **fields}).encode()


def limited(server: Running, limit: str) -> int:
    """How often a limit was met."""
    for line in server.hub.metrics.exposition().decode().splitlines():
        if line.startswith("hubbub_limited_total") and f'limit="{limit}"' in line:
            return int(float(line.rpartition(" ")[2]))
    return 0
