"""What serves in a worker: the server, with connections that come from the supervisor."""

import asyncio
import socket
from collections.abc import Callable
from typing import Any

from hubbub.server import Server
from hubbub.settings import Settings
from hubbub.workers.link import Gone, Leaving, Load, Ready, WorkerEnd


class WorkerServer(Server):
    """The server of one worker: it listens nowhere, and ends when its supervisor has gone.

    `greeting` is what the supervisor is told when the worker can serve.
    """

    def __init__(
        self, app: Any, settings: Settings, link: WorkerEnd, greeting: Callable[[], Any] = lambda: None
    ) -> None:
        super().__init__(app, settings, link.socket)
        self._link = link
        self._greeting = greeting
        self._tasks: set[asyncio.Task[None]] = set()
        self._arriving: set[Any] = set()
        self._reported = Load(0, 0)
        self._leaving = False

    def run(self, sockets: list[socket.socket] | None = None) -> None:
        super().run([])  # our socket is none to listen on

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        asyncio.get_running_loop().add_reader(self._link.socket, self._take)
        self._link.say(Ready(self._greeting()))

    async def on_tick(self, counter: int) -> bool:
        self._report()
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._leaving = True
        self._link.say(Leaving())
        await super().shutdown(sockets)

    def _take(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            connections = self._link.take()
        except Gone:
            loop.remove_reader(self._link.socket)
            self.should_exit = True
            return
        for connection in connections:
            if self._leaving:
                connection.close()  # at once, so that the client comes back to another worker
            else:
                self._let_in(connection, loop)

    def _let_in(self, connection: socket.socket, loop: asyncio.AbstractEventLoop) -> None:
        # What uvicorn makes for a connection of its own listeners.
        protocol: Any = self.config.http_protocol_class(  # type: ignore[call-arg]
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state, _loop=loop
        )
        self._arriving.add(protocol)
        task = loop.create_task(self._connect(protocol, connection, loop))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _connect(
        self, protocol: Any, connection: socket.socket, loop: asyncio.AbstractEventLoop
    ) -> None:
        try:
            await loop.connect_accepted_socket(lambda: protocol, connection, ssl=self.config.ssl)
        except OSError:
            connection.close()  # it has gone, or speaks no TLS
        finally:
            self._arriving.discard(protocol)

    def _report(self) -> None:
        """Tell the supervisor what has changed; what it does not hear now it hears the next time."""
        # What has its transport is among uvicorn's connections, and must not count twice.
        arriving = sum(protocol.transport is None for protocol in self._arriving)
        now = Load(self._link.taken, len(self.server_state.connections) + arriving)
        if now != self._reported and self._link.say(now):
            self._reported = now
