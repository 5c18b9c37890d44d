"""The server under test: an echo over Hubbub's fast transport, on a free loopback port, in a thread."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread
from typing import Any

import uvloop
from fastapi import FastAPI

from hubbub.core.codes import CloseReason
from hubbub.hub import Hub, Options
from hubbub.hub.admission import Admission
from hubbub.hub.connections import Connections
from hubbub.server import Server, listen
from hubbub.settings import Settings
from hubbub.transports.frames import BINARY, RSV1, TEXT, WebSocketFormat, data_frame, deflate
from hubbub.transports.websocket import WebSocketTransport

from ..transports.serving import eventually

HOST = "127.0.0.1"

# What the server under test is called in the record, and the distributions whose versions it names.
SUBJECT = "an echo over Hubbub's fast transport"
DISTRIBUTIONS = ("hubbub", "websockets", "uvicorn", "uvloop")

# Section 9 sends messages of 16 MiB.
MAX_MESSAGE_BYTES = 64 * 1024 * 1024


class EchoConnection:
    """Sends each message back as it came. It exists only here: a hub's connection speaks its protocol."""

    def __init__(self, transport: WebSocketTransport, format: WebSocketFormat) -> None:
        self._transport = transport
        self._format = format
        self._waiting: list[bytes] = []
        self.slow = False
        self.open = True

    def receive(self, payload: bytes, *, binary: bool = False) -> None:
        first = BINARY if binary else TEXT
        if bits := self._format.window_bits:
            # A hub sends what deflate makes no smaller as it is, which RFC 7692 §6 allows; the suite's runner
            # stumbles over plain messages where compression was agreed on, so here all are deflated.
            first, payload = RSV1 | first, deflate(payload, bits)
        frame = data_frame(first, payload)
        if self.slow:
            self._waiting.append(frame)
        else:
            self._transport.write(frame)

    def seen(self, size: int = 0) -> None: ...

    def pause_writing(self) -> None:
        self.slow = True

    def resume_writing(self) -> None:
        self.slow = False
        waiting, self._waiting = b"".join(self._waiting), []
        if waiting:
            self._transport.write(waiting)

    def close(self, reason: CloseReason) -> None:
        self._transport.close(reason.code, reason.reason)

    def lost(self, reason: CloseReason) -> None: ...


class EchoConnections(Connections):
    """Lets everybody in and echoes."""

    def attach(  # type: ignore[override]
        self,
        transport: WebSocketTransport,
        protocol: Any,
        format: WebSocketFormat,
        admission: Admission,
        preface: bytes = b"",
    ) -> EchoConnection:
        transport.write(preface)
        self.withdraw(admission)
        return EchoConnection(transport, format)


@contextmanager
def start_echo(compression: bool) -> Iterator[str]:
    """Run the echo for the length of the block and yield its ws URL."""
    hub = Hub(options=Options(compression=compression, max_message_bytes=MAX_MESSAGE_BYTES))
    hub.connections = EchoConnections(hub)
    app = FastAPI(lifespan=hub.lifespan)
    app.include_router(hub.router)
    listener = listen(HOST, 0)
    port = listener.getsockname()[1]
    server = Server(app, Settings(log_level="error"), listener)
    loop = uvloop.new_event_loop()
    thread = Thread(target=loop.run_until_complete, args=(server.serve([listener]),), daemon=True)
    thread.start()
    try:
        eventually(lambda: server.started)
        yield f"ws://{HOST}:{port}/ws"
    finally:
        server.should_exit = True
        thread.join()
        loop.close()
