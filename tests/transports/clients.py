"""Clients for transport tests: one that speaks, and one that sends raw bytes and reads when it likes."""

import base64
import json
import os
import socket
import ssl
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
from websockets.sync.client import ClientConnection, connect

from .serving import DEADLINE, Running

MSGPACK = "hubbub.v1.msgpack"


class Client:
    """A well-behaved client."""

    def __init__(self, websocket: ClientConnection) -> None:
        self.websocket = websocket
        self.packed = websocket.subprotocol == MSGPACK
        self.greeting = self.receive("connection_established")
        self.id: str = self.greeting["client_id"]

    def send(self, type: str, **fields: Any) -> None:
        """Send one message."""
        message = {"type": type, **fields}
        self.websocket.send(msgspec.msgpack.encode(message) if self.packed else json.dumps(message))

    def receive(self, type: str | None = None) -> dict[str, Any]:
        """The next message, or the next of this type."""
        while True:
            data = self.websocket.recv(timeout=DEADLINE)
            assert isinstance(data, bytes) is self.packed
            read = msgspec.msgpack.decode if isinstance(data, bytes) else json.loads
            message: dict[str, Any] = read(data)
            if type is None or message["type"] == type:
                return message

    def ask(self, type: str, answer: str, **fields: Any) -> dict[str, Any]:
        """Send one message and return the answer of that type."""
        self.send(type, **fields)
        return self.receive(answer)

    def join(self, group: str, **fields: Any) -> dict[str, Any]:
        """Join a group."""
        return self.ask("join_group", "group_joined", group_name=group, **fields)

    def settle(self) -> list[dict[str, Any]]:
        """Everything that was on its way."""
        messages = []
        # An answer may overtake a publication by one turn of the server's loop, not by a round trip.
        for trip in range(2):
            self.send("ping", id=f"settle {trip}")
            while (message := self.receive()).get("id") != f"settle {trip}":
                messages.append(message)
        return messages


@contextmanager
def client(server: Running, client_id: str | None = None, **options: Any) -> Iterator[Client]:
    """A client that is connected and greeted."""
    path = "/ws" if client_id is None else f"/ws/{client_id}"
    options.setdefault("compression", None)
    options.setdefault("open_timeout", DEADLINE)
    if server.subprotocol:
        options.setdefault("subprotocols", [server.subprotocol])
    with connect(server.url(path), **options) as websocket:
        yield Client(websocket)


class RawClient:
    """A client of bytes: it reads only when told to, and may break every rule."""

    def __init__(self, server: Running, path: str = "/ws", *, receive_buffer: int | None = None) -> None:
        self.socket = socket.socket()
        if receive_buffer is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(DEADLINE)
        self.socket.connect(("127.0.0.1", server.port))
        self.buffer = b""
        self.path = path

    def __del__(self) -> None:
        self.socket.close()

    def handshake(self, **headers: str) -> bytes:
        """Send the upgrade request and return the head of the response."""
        key = base64.b64encode(os.urandom(16)).decode()
        lines = [
            f"GET {self.path} HTTP/1.1",
            "Host: 127.0.0.1",
            "Connection: Upgrade",
            "Upgrade: websocket",
            f"Sec-WebSocket-Key: {key}",
            "Sec-WebSocket-Version: 13",
            *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items()),
        ]
        self.socket.sendall("\r\n".join((*lines, "", "")).encode())
        while b"\r\n\r\n" not in self.buffer:
            self.fill()
        head, _, self.buffer = self.buffer.partition(b"\r\n\r\n")
        return head

    def open(self) -> "RawClient":
        """Be connected and greeted."""
        assert self.handshake().startswith(b"HTTP/1.1 101")
        assert self.message()["type"] == "connection_established"
        return self

    def fill(self) -> None:
        """Read some more."""
        data = self.socket.recv(65536)
        if not data:
            raise EOFError
        self.buffer += data

    def frame(self) -> tuple[int, bytes]:
        """The next frame: opcode and payload."""

        def take(size: int) -> bytes:
            while len(self.buffer) < size:
                self.fill()
            taken, self.buffer = self.buffer[:size], self.buffer[size:]
            return taken

        first, size = take(2)
        if size == 126:
            (size,) = struct.unpack("!H", take(2))
        elif size == 127:
            (size,) = struct.unpack("!Q", take(8))
        return first & 0xF, take(size)

    def message(self, type: str | None = None) -> dict[str, Any]:
        """The next text message, or the next of this type."""
        while True:
            opcode, payload = self.frame()
            assert opcode != 8, f"closed: {payload!r}"
            if opcode == 1:
                message: dict[str, Any] = json.loads(payload)
                if type is None or message["type"] == type:
                    return message

    def close_code(self) -> int:
        """The code of the close frame, whatever comes before it."""
        while True:
            opcode, payload = self.frame()
            if opcode == 8:
                return int.from_bytes(payload[:2])

    def send_frame(self, payload: bytes, first: int = 0x81, *, masked: bool = True) -> None:
        """Send one frame; `first` is its first byte."""
        size = len(payload)
        if size < 126:
            head = struct.pack("!BB", first, (0x80 * masked) | size)
        elif size < 65536:
            head = struct.pack("!BBH", first, (0x80 * masked) | 126, size)
        else:
            head = struct.pack("!BBQ", first, (0x80 * masked) | 127, size)
        # A mask of zeros changes nothing.
        self.socket.sendall(head + (b"\0\0\0\0" if masked else b"") + payload)

    def send(self, type: str, **fields: Any) -> None:
        """Send one message."""
        self.send_frame(json.dumps({"type": type, **fields}).encode())

    def vanish(self) -> None:
        """Be gone with a reset, as a machine that lost its power."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()


def trusting(ca: Any) -> ssl.SSLContext:
    """A client's TLS context that trusts a test authority."""
    context = ssl.create_default_context()
    ca.configure_trust(context)
    return context
