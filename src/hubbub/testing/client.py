"""A client that lives in the hub's own event loop: no socket, no server, nothing to wait for but messages."""

import asyncio
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

import msgspec

from hubbub.core import codes
from hubbub.core.codes import CloseReason
from hubbub.hub import ConnectRequest, Hub
from hubbub.hub.connection import Connection
from hubbub.protocols.base import choose
from hubbub.transports.frames import split, websocket_format


class MemoryClient:
    """One connection to a hub that has started.

    >>> async with MemoryClient(hub, "alice") as alice, MemoryClient(hub, "bob") as bob:
    ...     await alice.join("lobby")
    ...     await bob.join("lobby")
    ...     bob.send({"type": "chat_message", "group_name": "lobby", "message": "hi"})
    ...     assert (await alice.receive("chat_message"))["from"] == "bob"
    """

    def __init__(
        self,
        hub: Hub,
        client_id: str | None = None,
        *,
        hello: Mapping[str, Any] | None = None,
        **request: Any,
    ) -> None:
        """A client with this id. With `hello`, the fields of a `connect` message, it speaks first."""
        self._hub = hub
        self._hello = hello
        if hello is not None:
            request["query"] = {**request.get("query", {}), "connect": "first"}
        self._request = ConnectRequest(client_id=client_id, path="/ws", **request)
        self.greeting: dict[str, Any] = {}
        """The server's first message."""
        self._connection: Connection | None = None
        self._messages: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.closed: CloseReason | None = None
        """Why the server closed the connection, None while it has not."""

    async def __aenter__(self) -> Self:
        """Connect; raises `Refuse` where the hub does not let the client in."""
        protocol, _ = choose(())
        admission = await self._hub.connections.admit(self._request)
        self._connection = self._hub.connections.attach(self, protocol, websocket_format(protocol), admission)
        if self._hello is not None:
            self.send({"type": "connect", **self._hello})
        self.greeting = await self.receive("connection_established")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.vanish()

    def vanish(self) -> None:
        """Be gone from one moment to the next, as in a tunnel."""
        if self._connection is not None:
            self._connection.lost(codes.ABNORMAL)

    def send(self, message: object) -> None:
        """Send one message: anything JSON can say, or bytes as they are."""
        assert self._connection is not None, "connect first: async with MemoryClient(hub)"
        self._connection.receive(message if isinstance(message, bytes) else msgspec.json.encode(message))

    async def receive(self, type: str | None = None, *, timeout: float = 5.0) -> dict[str, Any]:
        """The next message, or the next of this type; others before it are passed over."""
        async with asyncio.timeout(timeout):
            while True:
                message = await self._messages.get()
                if type is None or message["type"] == type:
                    return message

    def received(self) -> list[dict[str, Any]]:
        """Everything that came and was not yet taken."""
        return [self._messages.get_nowait() for _ in range(self._messages.qsize())]

    async def join(self, group: str, **fields: Any) -> dict[str, Any]:
        """Join a group and return the answer."""
        self.send({"type": "join_group", "group_name": group, **fields})
        return await self.receive("group_joined")

    # The transport's side.

    def write(self, data: bytes) -> None:
        """From the hub."""
        for payload in split(data):
            self._messages.put_nowait(msgspec.json.decode(payload))

    def close(self, code: int, reason: str) -> None:
        """From the hub."""
        self.closed = CloseReason(code, reason)

    def pause_reading(self) -> None:
        """Nothing is read here."""

    def resume_reading(self) -> None:
        """Nothing is read here."""

    def pause_writing(self) -> None:
        """Behave like a client that reads no longer: the hub's frames wait in the outbox."""
        assert self._connection is not None
        self._connection.pause_writing()

    def resume_writing(self) -> None:
        """Read again."""
        assert self._connection is not None
        self._connection.resume_writing()
