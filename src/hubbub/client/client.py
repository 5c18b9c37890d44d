"""`Client`: what a program has of a Hubbub server."""

import contextlib
import ssl as tls
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Literal, Self, TypeVar, overload

from hubbub.client.address import Address
from hubbub.client.asking import Asking
from hubbub.client.backoff import Backoff
from hubbub.client.calls import Calls
from hubbub.client.connection import Options
from hubbub.client.dispatcher import Dispatcher
from hubbub.client.errors import BadTokenError, InvalidURLError, NotConnectedError
from hubbub.client.group import Group, Own
from hubbub.client.groups import Groups
from hubbub.client.handlers import Handler, Handlers
from hubbub.client.inbox import Inbox
from hubbub.client.life import Life
from hubbub.client.listener import Gap, Listener, Policy
from hubbub.client.loop import GroupMessage, Misfits
from hubbub.client.positions import from_dicts, to_dicts
from hubbub.client.tokens import TokenSource, check_token
from hubbub.client.wire import JSON, MSGPACK
from hubbub.core.channels import check_group, check_name
from hubbub.core.messages import Position

H = TypeVar("H", bound=Handler)
T = TypeVar("T")


class Client(Asking):
    """A client of a Hubbub server, which comes back by itself when its connection is lost.

    ::

        async with Client("ws://localhost:8000", "alice") as client:
            await client.publish("lobby", "hello")
            async for message in client.group("lobby"):
                print(message.sender, message.data)

    server_url: where the server is, with or without its `/ws` or `/ws/{client_id}`.
    client_id: the id to connect under; without one the server makes it, and the client keeps it.
    token: says who this client is, and goes along as `Authorization: Bearer …`; or a function, plain or
        coroutine, that is called for one before each attempt to connect, and in time before it expires.
    positions: what `positions` of an earlier client gave, to go on from there.
    binary: speak MessagePack instead of JSON.
    buffer, policy: how many messages wait for each listener, and what happens past that.
    ping_interval: seconds between pings; None sends none, and then a vanished server goes unnoticed.
    reconnect: come back by itself after a connection was lost.
    backoff: how long to wait before each attempt to come back.
    headers, ssl, proxy: for the handshake; by default the environment's proxy is used.
    open_timeout, call_timeout, pong_timeout, close_timeout: seconds to wait for the greeting, for the answer
        to a call, for any sign of life after a ping, and for the closing handshake.
    max_size: the largest message accepted, in bytes.
    """

    def __init__(
        self,
        server_url: str,
        client_id: str | None = None,
        *,
        token: str | TokenSource | None = None,
        positions: Mapping[str, Position | Mapping[str, Any]] | None = None,
        binary: bool = False,
        buffer: int = 1000,
        policy: Policy | Literal["pause", "reconnect", "drop_oldest"] = Policy.PAUSE,
        ping_interval: float | None = 25.0,
        reconnect: bool = True,
        backoff: Backoff | None = None,
        headers: Mapping[str, str] | None = None,
        ssl: tls.SSLContext | None = None,
        proxy: str | Literal[True] | None = True,
        open_timeout: float = 10.0,
        call_timeout: float = 10.0,
        pong_timeout: float = 10.0,
        close_timeout: float = 2.0,
        max_size: int = 4 * 2**20,
    ) -> None:
        self._address = Address.parse(server_url)
        if ssl is not None and not self._address.secure:
            raise InvalidURLError(f"ssl was given, but {self._address} goes without it; give a wss:// URL.")
        if token is not None:
            _check_alone(token, self._address, headers or {})
        self._buffer, self._policy = _checked(buffer), Policy(policy)
        self._options = Options(
            headers=dict(headers or {}),
            token=token,
            ssl=ssl,
            proxy=proxy,
            max_size=max_size,
            open_timeout=open_timeout,
            call_timeout=call_timeout,
            close_timeout=close_timeout,
            ping_interval=ping_interval,
            pong_timeout=pong_timeout,
            format=MSGPACK if binary else JSON,
        )
        backoff = backoff or Backoff()
        self._handlers = Handlers()
        self._dispatcher = Dispatcher(self._handlers, self._buffer, self._make_room)
        self._inbox = Inbox(self._options.format, self._dispatcher, self._fill)
        self._calls = self._inbox.calls = Calls(self._reconsider)
        self._groups = self._inbox.groups = Groups(
            from_dicts(positions or {}),
            self._calls,
            backoff,
            call_timeout,
            on_gap=self._inbox.tell_gap,
            on_end=self._inbox.on_group_end,
        )
        self._life = Life(
            self._address,
            _agreed_id(self._address, client_id),
            self._options,
            backoff=backoff,
            reconnect=reconnect,
            dispatcher=self._dispatcher,
            inbox=self._inbox,
        )

    def __repr__(self) -> str:
        return f"<Client {self._address} {self.client_id!r}: {self.state}>"

    @property
    def is_connected(self) -> bool:
        """Whether messages can be sent right now."""
        return self._life.is_connected

    @property
    def state(self) -> str:
        """`disconnected`, `connecting`, `connected` or `reconnecting`."""
        return str(self._life.state)

    @property
    def client_id(self) -> str | None:
        """The id this client is known by; None until the server has made one."""
        return self._life.client_id

    @property
    def positions(self) -> dict[str, dict[str, Any]]:
        """For each name with a history, the position up to which the program was given everything.

        A message counts as given when its handler has returned, or when the program asks for the next one.
        Keep this as JSON anywhere, and give it to the next client, in this process or another.
        """
        return to_dicts(self._given())

    # Coming and going.

    async def connect(self) -> None:
        """Connect, and return when the server has established the connection.

        Groups that were joined before are joined again. A first attempt that fails raises a `ConnectError`
        and is not repeated. Returns at once when connected; while the client is on its way back, waits for
        it.
        """
        await self._life.connect()

    async def disconnect(self) -> None:
        """Close the connection and stay away; afterwards no task is left. Harmless when disconnected.

        A handler that is still running is cancelled. Called by a handler, it takes effect when that handler
        returns.
        """
        await self._life.disconnect()

    async def wait_closed(self) -> None:
        """Wait until the client is disconnected and will not come back by itself."""
        await self._life.wait_closed()

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.disconnect()

    # Groups.

    @overload
    def group(
        self,
        name: str,
        *,
        gaps: Literal[False] = False,
        buffer: int | None = None,
        policy: Policy | str | None = None,
        misfits: Misfits = "skip",
    ) -> Group[GroupMessage[Any]]: ...
    @overload
    def group(
        self,
        name: str,
        type: type[T],
        *,
        gaps: Literal[False] = False,
        buffer: int | None = None,
        policy: Policy | str | None = None,
        misfits: Misfits = "skip",
    ) -> Group[GroupMessage[T]]: ...
    @overload
    def group(
        self,
        name: str,
        type: Any = Any,
        *,
        gaps: Literal[True],
        buffer: int | None = None,
        policy: Policy | str | None = None,
        misfits: Misfits = "skip",
    ) -> Group[GroupMessage[Any] | Gap]: ...

    def group(
        self,
        name: str,
        type: Any = Any,
        *,
        gaps: bool = False,
        buffer: int | None = None,
        policy: Policy | str | None = None,
        misfits: Misfits = "skip",
    ) -> Group[Any]:
        """A group, to loop over: each loop is a listener of its own, and joins the group as it begins.

        type: what `data` is to be: a msgspec Struct, a dataclass, a TypedDict, a pydantic model.
        gaps: give `Gap` objects too, in their place among the messages.
        misfits: log and pass over what is not of that type, or raise `MisfitError` out of the loop.
        buffer, policy: as the client's, for this group alone.
        """
        return Group(self, name, type, gaps=gaps, misfits=misfits, **self._bounds(buffer, policy))

    def own(
        self,
        type: Any = Any,
        *,
        gaps: bool = False,
        buffer: int | None = None,
        policy: Policy | str | None = None,
        misfits: Misfits = "skip",
    ) -> Own:
        """What is the client's own, to loop over.

        Broadcasts, and notifications to it, to its user and of the system; from when the loop begins.
        """
        return Own(self, type, gaps=gaps, misfits=misfits, **self._bounds(buffer, policy))

    async def join_group(self, name: str) -> None:
        """Join a group, now and with each new connection, without waiting for the server's answer.

        The answer comes to the handlers of `group_joined`, and its messages to those of `chat_message` and
        `group_message`. While the client is on its way back, the group is joined once it is there.
        """
        check_group(name, "the group name")
        if not self._life.comes_back and not self.is_connected:
            raise self._life.why_not()
        self._groups.want(name)

    async def leave_group(self, name: str) -> None:
        """Leave a group; every loop over it ends. Without a connection it is only not joined again."""
        self._groups.leave(name)
        with contextlib.suppress(NotConnectedError):
            await self._life.send({"type": "leave_group", "group_name": name})

    # Listening.

    @overload
    def register_handler(self, message_type: str, handler: H) -> H: ...
    @overload
    def register_handler(self, message_type: str, handler: None = None) -> Callable[[H], H]: ...

    def register_handler(self, message_type: str, handler: H | None = None) -> H | Callable[[H], H]:
        """Call `handler` with every message of this type; `"*"` means every type. Also a decorator.

        Handlers are plain functions or coroutine functions, run one after another in the order of arrival.
        A slow one holds up other handlers, and in the end reading: start a task of your own for what takes
        long. One that raises is logged and does not stop the stream. A type may have several, called in the
        order of registration.

        The pseudo type `disconnected` tells that a connection has ended, with its `code` and `reason`;
        `reconnect` says whether the client comes back by itself.
        """
        if handler is not None:
            self._handlers.add(message_type, handler)
            return handler

        def decorator(handler: H) -> H:
            self._handlers.add(message_type, handler)
            return handler

        return decorator

    # What its parts share.

    def _bounds(self, buffer: int | None, policy: Policy | str | None) -> dict[str, Any]:
        return {
            "buffer": self._buffer if buffer is None else _checked(buffer),
            "policy": self._policy if policy is None else Policy(policy),
        }

    def _listener(self, buffer: int, policy: Policy, gaps: bool) -> Listener:
        return Listener(
            buffer,
            policy,
            gaps=gaps,
            on_room=self._make_room,
            on_drop=lambda item: self._inbox.announce_gap(item, told=gaps),
        )

    def _detach(self, listener: Listener) -> None:
        for channel in self._groups.channels:
            channel.detach(listener)
        listener.clear()
        listener.end(None)

    def _abandon(self, name: str, listener: Listener) -> None:
        membership = self._groups.wanted.get(name)
        if membership is None or listener not in membership.channel.listeners:
            return
        if membership.channel.unclaimed is not None or self._handlers.want("group_message"):
            self._detach(listener)  # somebody else keeps it, or handlers are who it is for
        else:
            membership.channel.unclaimed = listener
            listener.abandon()

    def _given(self) -> dict[str, Position]:
        given = dict(self._groups.kept)
        for channel in self._groups.channels:
            position = channel.given(self._dispatcher.items_of(channel))
            if position is not None:
                given[channel.name] = position
        return given

    def _fill(self, who: Listener | Dispatcher) -> None:
        if self._inbox.connection is not None:
            self._inbox.connection.hold(who)

    def _make_room(self, who: Listener | Dispatcher) -> None:
        self._life.make_room()
        if self._inbox.connection is not None:
            self._inbox.connection.release(who)

    def _reconsider(self) -> None:
        if self._inbox.connection is not None:
            self._inbox.connection.reconsider()


def _checked(buffer: int) -> int:
    if buffer < 1:
        raise ValueError(f"buffer is {buffer}; give how many messages may wait, at least 1.")
    return buffer


def _check_alone(token: object, address: Address, headers: Mapping[str, str]) -> None:
    """Refuse a token beside something else that would go into the same header."""
    if "@" in address.host:
        raise BadTokenError("The server URL names a user and a password, and there is a token; give one.")
    if any(name.lower() == "authorization" for name in headers):
        raise BadTokenError("The headers have an Authorization of their own, and there is a token; give one.")
    if isinstance(token, str):
        check_token(token)


def _agreed_id(address: Address, client_id: str | None) -> str | None:
    """The client id that the URL and the argument agree on, if there is one."""
    if client_id is None:
        client_id = address.client_id
    elif address.client_id not in (None, client_id):
        raise InvalidURLError(
            f"The server URL already names the client {address.client_id!r}, and client_id is {client_id!r}; "
            "give one of them."
        )
    return None if client_id is None else check_name(client_id, "client_id")
