"""One established WebSocket: its greeting, messages out, signs of life, and how it ended."""

import asyncio
import contextlib
import logging
import ssl as tls
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from websockets.exceptions import ConnectionClosed
from websockets.protocol import State

from hubbub.client.dispatcher import Dispatcher
from hubbub.client.errors import LostCallError, NotConnectedError
from hubbub.client.frames import Socket
from hubbub.client.inbox import Inbox
from hubbub.client.listener import Listener, Policy
from hubbub.client.tokens import TokenSource
from hubbub.client.wire import JSON, Format, Message
from hubbub.core.codes import reconnects

logger = logging.getLogger(__name__)

NO_CLOSE_FRAME: Final = 1006
"""RFC 6455 §7.4.1: what to call an end without a close frame."""
MAX_RETRY_AFTER: Final = 86_400.0
"""No server may send a client away for longer than a day."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How a connection is opened and watched; times are in seconds."""

    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    token: str | TokenSource | None = field(default=None, repr=False)
    ssl: tls.SSLContext | None = None
    proxy: str | Literal[True] | None = True
    max_size: int = 4 * 2**20
    open_timeout: float = 10.0
    close_timeout: float = 2.0
    call_timeout: float = 10.0
    ping_interval: float | None = 25.0
    pong_timeout: float = 10.0
    format: Format = JSON

    def __post_init__(self) -> None:
        if self.ping_interval is not None and not self.ping_interval > 0:
            raise ValueError(f"ping_interval is {self.ping_interval}; give seconds, or None for no pings.")


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
    def from_close(cls, socket: Socket) -> "End":
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


class Connection:
    """One WebSocket, from its handshake on.

    answer: the first message that the server says, None for what is no message; or how it ended before.
    over: how the connection ended.
    """

    def __init__(self, socket: Socket, inbox: Inbox, options: Options) -> None:
        loop = asyncio.get_running_loop()
        self.hello_id = inbox.calls.new_id()
        self.greeting: Message | None = None
        self.answer: asyncio.Future[Message | End | None] = loop.create_future()
        self.over: asyncio.Future[End] = loop.create_future()
        self._farewell: End | None = None
        self._socket = socket
        self._inbox = inbox
        self._options = options
        self._encode = options.format.encode
        self._holders: set[Listener | Dispatcher] = set()
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._loop = loop

    @property
    def is_open(self) -> bool:
        """Whether something can be sent, as far as this side knows."""
        is_open: bool = self._socket.state is State.OPEN
        return is_open and not self.over.done()

    # The greeting.

    @property
    def is_greeted(self) -> bool:
        """Whether the server has let us in."""
        return self.greeting is not None

    async def say_hello(self) -> Message | End | None:
        """Say `connect`, and return what the server says to it."""
        self._inbox.connection = self
        self._socket.listen(self._inbox.receive, self._lost)
        if not self.answer.done():
            with contextlib.suppress(NotConnectedError):
                await self.send({"type": "connect", "id": self.hello_id, **self._inbox.groups.hello()})
        return await self.answer

    def greet(self, message: Message) -> bool:
        """The first message that counts has come; whether it is a greeting."""
        if message["type"] in ("pong", "ping"):
            return bool(message["type"] == "ping")
        if self.answer.done():
            return False
        if message["type"] == "connection_established" and isinstance(message.get("client_id"), str):
            self.greeting = message
            self._inbox.on_greeting(self, message["client_id"])
            self._inbox.groups.greeted(message, self.write)
            # Who had too much of the last connection has too much of this one.
            self._holders.update(self._inbox.holding)
            self.reconsider()
            if self._options.ping_interval is not None:
                self._timers["ping"] = self._loop.call_later(self._options.ping_interval, self._ping)
        self.answer.set_result(message)
        return self.is_greeted

    def greet_otherwise(self) -> None:
        """What came first is no message at all."""
        if not self.answer.done():
            self.answer.set_result(None)

    # Messages out.

    async def send(self, message: Message) -> None:
        """Write one message; waits where the network is slower than the writer."""
        frame = self._encode(message)
        try:
            await self._socket.send(frame)
        except ConnectionClosed as exc:
            raise NotConnectedError(f"The connection was lost while sending: {exc}.") from exc

    def write(self, message: Message) -> None:
        """As `send`, without waiting: for small messages of the client's own."""
        if not self.is_open:
            return
        frame = self._encode(message)
        if isinstance(frame, str):
            self._socket.protocol.send_text(frame.encode())
        else:
            self._socket.protocol.send_binary(frame)
        with contextlib.suppress(OSError):
            self._socket.send_data()

    def pong(self) -> None:
        """Answer the server's ping."""
        self.write({"type": "pong"})

    # Signs of life.

    def _ping(self) -> None:
        options = self._options
        assert options.ping_interval is not None
        self.write({"type": "ping"})
        asked_at = self._loop.time()
        self._timers["ping"] = self._loop.call_at(asked_at + options.ping_interval, self._ping)
        if "look" not in self._timers:
            due = asked_at + options.pong_timeout
            self._timers["look"] = self._loop.call_at(due, self._look, asked_at, due)

    def _look(self, asked_at: float, due: float) -> None:
        """The time for an answer is over."""
        del self._timers["look"]
        if self._socket.heard_at >= asked_at:
            return
        patience = min(1.0, self._options.pong_timeout)
        if self._holders or self._loop.time() - due > patience:
            # We read nothing, or were not running: that says nothing about the server. Ask again.
            self._timers.pop("ping").cancel()
            self._ping()
        else:
            self._finish(End(NO_CLOSE_FRAME, "no sign of life from the server", reconnect=True))

    # Holding back.

    def hold(self, who: Listener | Dispatcher) -> None:
        """So much waits for this one that reading should stop."""
        if isinstance(who, Listener) and who.policy is not Policy.PAUSE:
            return
        self._holders.add(who)
        self.reconsider()

    def release(self, who: Listener | Dispatcher) -> None:
        """There is room again."""
        self._holders.discard(who)
        self.reconsider()

    def reconsider(self) -> None:
        """Read or not.

        While a call waits for its answer there is reading, or whoever called, in the middle of a loop that is
        slow, would wait for what it keeps from arriving itself.
        """
        if not self._holders:
            self._socket.go_on()
        elif not self._inbox.calls or any(who.is_bursting for who in self._holders):
            self._socket.hold()
        else:
            self._socket.go_on()

    # The end.

    def on_farewell(self, message: Message) -> None:
        """The server closes next; one that forgets to is not waited for."""
        self._farewell = End.from_push(message)
        self._stop_timers()
        in_time = self._options.close_timeout
        self._timers["close"] = self._loop.call_later(in_time, self._finish, self._farewell)

    def overflow(self) -> None:
        """A listener has no room, and wants this closed until it has."""
        self._finish(End(NO_CLOSE_FRAME, "the program is too slow", reconnect=True))

    def _lost(self) -> None:
        end = self._farewell or End.from_close(self._socket)
        self._finish(end)

    def _finish(self, end: End) -> None:
        self._stop_timers()
        self._socket.receive = None
        if self.over.done():
            return
        self.over.set_result(end)
        if not self.answer.done():
            self.answer.set_result(end)
        if self._inbox.connection is self:
            self._inbox.connection = None
            self._inbox.groups.lost()
            sentence = f"The connection ended ({end}) before the answer came: it may have been done or not."
            self._inbox.calls.fail(lambda: LostCallError(sentence))

    def _stop_timers(self) -> None:
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    async def close(self) -> None:
        """Close with the closing handshake, or without it after the close timeout; leaves no task behind."""
        self._finish(End(1000, "", reconnect=False))
        self._holders.clear()
        await self._socket.shut(2 * self._options.close_timeout)
