"""One established WebSocket: messages in, messages out, signs of life, and how it ended."""

import asyncio
import contextlib
import logging
import ssl as tls
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias

import msgspec
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed
from websockets.protocol import State

from hubbub.client.errors import NotConnectedError
from hubbub.client.handlers import Message
from hubbub.core.codes import reconnects

logger = logging.getLogger(__name__)

PING: Final = '{"type":"ping"}'
PONG: Final = '{"type":"pong"}'
NO_CLOSE_FRAME: Final = 1006
"""RFC 6455 §7.4.1: what to call an end without a close frame."""
MAX_RETRY_AFTER: Final = 86_400.0
"""No server may send a client away for longer than a day."""

TokenSource: TypeAlias = Callable[[], str | Awaitable[str]]
"""Called for a token before each attempt to connect."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How a connection is opened and watched; times are in seconds."""

    headers: Mapping[str, str] = field(default_factory=dict)
    token: str | TokenSource | None = field(default=None, repr=False)
    ssl: tls.SSLContext | None = None
    proxy: str | Literal[True] | None = True
    max_size: int = 4 * 2**20
    open_timeout: float = 10.0
    close_timeout: float = 2.0
    ping_interval: float | None = 25.0
    pong_timeout: float = 10.0

    def __post_init__(self) -> None:
        if self.ping_interval is not None and not self.ping_interval > 0:
            raise ValueError(f"ping_interval is {self.ping_interval}; give seconds, or None for no pings.")

    @property
    def patience(self) -> float | None:
        """How long a living server can be silent: it answers a ping each interval."""
        return None if self.ping_interval is None else self.ping_interval + self.pong_timeout


@dataclass(frozen=True, slots=True)
class End:
    """How a connection ended, and whether to come back, no sooner than `retry_after` seconds."""

    code: int
    reason: str
    reconnect: bool
    retry_after: float = 0.0

    def __str__(self) -> str:
        return f"{self.code} {self.reason}" if self.reason else str(self.code)

    @classmethod
    def from_close(cls, socket: ClientConnection) -> "End":
        """As the close frame says, if there was one."""
        code = socket.close_code or NO_CLOSE_FRAME
        return cls(code, socket.close_reason or "", reconnects(code))

    @classmethod
    def from_push(cls, push: Message) -> "End":
        """As a `disconnect` push says; what it leaves open follows from its code."""
        code, reason, reconnect = push.get("code"), push.get("reason"), push.get("reconnect")
        code = code if isinstance(code, int) else NO_CLOSE_FRAME
        return cls(
            code,
            reason if isinstance(reason, str) else "",
            reconnect if isinstance(reconnect, bool) else reconnects(code),
            seconds(push.get("retry_after")),
        )


def seconds(value: Any) -> float:
    """A `retry_after` that somebody sent; 0 for what is no duration."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        return 0.0
    return float(min(value, MAX_RETRY_AFTER))


def decode(payload: bytes) -> Message | None:
    """The message in a frame, or None for what is no JSON object with a `type`."""
    try:
        message = msgspec.json.decode(payload)
    except (ValueError, RecursionError):  # ValueError: msgspec.DecodeError, and UnicodeDecodeError
        message = None
    if isinstance(message, dict) and isinstance(message.get("type"), str):
        return message
    logger.warning("Passed over a frame that is no JSON object with a type: %r", payload[:80])
    return None


class Connection:
    """One WebSocket whose greeting has arrived."""

    def __init__(self, socket: ClientConnection, greeting: Message, options: Options) -> None:
        self.greeting = greeting
        self.client_id: str = greeting["client_id"]
        self._farewell: End | None = None
        self._socket = socket
        self._options = options
        self._patience = options.patience
        self._pinging = asyncio.create_task(self._send_pings(), name="hubbub client: pings")

    @property
    def is_open(self) -> bool:
        """Whether something can be sent, as far as this side knows."""
        return self._socket.state is State.OPEN

    async def send(self, message: Message) -> None:
        """Write one message; waits where the network is slower than the writer."""
        text = msgspec.json.encode(message).decode()
        try:
            await self._socket.send(text)
        except ConnectionClosed as exc:
            raise NotConnectedError(f"The connection was lost while sending: {exc}.") from exc

    async def receive(self) -> Message | End:
        """The next message, or how the connection ended. A server's ping is answered here.

        Silence longer than a living server can keep is an end too: a peer that vanished without a close
        would otherwise be noticed after a quarter of an hour. Only time spent waiting here counts, so a
        slow handler is never taken for a dead server.
        """
        while True:
            try:
                async with asyncio.timeout(self._patience):
                    payload = await self._socket.recv(decode=False)
            except TimeoutError:
                return self._farewell or End(
                    NO_CLOSE_FRAME, "no sign of life from the server", reconnect=True
                )
            except ConnectionClosed:
                return self._farewell or End.from_close(self._socket)
            message = decode(payload)
            if message is not None:
                await self._notice(message)
                return message

    async def _notice(self, message: Message) -> None:
        match message["type"]:
            case "ping":
                with contextlib.suppress(ConnectionClosed):
                    await self._socket.send(PONG)
            case "disconnect":
                # The server closes next; one that forgets to is not waited for.
                self._farewell = End.from_push(message)
                self._patience = self._options.close_timeout

    async def _send_pings(self) -> None:
        interval = self._options.ping_interval
        with contextlib.suppress(ConnectionClosed):
            while interval is not None:
                await asyncio.sleep(interval)
                await self._socket.send(PING)

    async def close(self) -> None:
        """Close with the closing handshake, or without it after the close timeout; leaves no task behind."""
        self._pinging.cancel()
        closing = asyncio.create_task(self._socket.close(), name="hubbub client: closing")
        try:
            # Messages that still wait stand before the server's close frame: read them away.
            with contextlib.suppress(ConnectionClosed):
                while True:
                    await self._socket.recv(decode=False)
        finally:
            await asyncio.wait({closing, self._pinging})
