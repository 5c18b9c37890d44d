"""`WebSocketClient`: what a program has of a Hubbub server."""

import contextlib
import ssl as tls
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Literal, Self, TypeVar, overload

from hubbub.client.address import Address
from hubbub.client.backoff import Backoff
from hubbub.client.connection import Options, TokenSource
from hubbub.client.errors import BadTokenError, InvalidURLError, NotConnectedError
from hubbub.client.handlers import Handler, Handlers, Message
from hubbub.client.life import Life
from hubbub.client.opening import check_token
from hubbub.core.channels import check_group, check_name

H = TypeVar("H", bound=Handler)


class WebSocketClient:
    """A client of a Hubbub server, which comes back by itself when its connection is lost.

    ::

        client = WebSocketClient("ws://localhost:8000", "alice")
        client.register_handler("chat_message", print)
        async with client:
            await client.join_group("lobby")
            await client.send_chat_message("lobby", "hello")
            await client.wait_closed()

    server_url: where the server is, with or without its `/ws` or `/ws/{client_id}`.
    client_id: the id to connect under; without one the server makes it, and the client keeps it.
    token: says who this client is, and goes along as `Authorization: Bearer …`; or a function, plain or
        coroutine, that is called for one before each attempt to connect.
    ping_interval: seconds between pings; None sends none, and then a vanished server goes unnoticed.
    reconnect: come back by itself after a connection was lost.
    backoff: how long to wait before each attempt to come back.
    headers, ssl, proxy: for the handshake; by default the environment's proxy is used.
    open_timeout, pong_timeout, close_timeout: seconds to wait for the greeting, for any sign of life after
        a ping was due, and for the closing handshake.
    max_size: the largest message accepted, in bytes.
    """

    def __init__(
        self,
        server_url: str,
        client_id: str | None = None,
        *,
        token: str | TokenSource | None = None,
        ping_interval: float | None = 25.0,
        reconnect: bool = True,
        backoff: Backoff | None = None,
        headers: Mapping[str, str] | None = None,
        ssl: tls.SSLContext | None = None,
        proxy: str | Literal[True] | None = True,
        open_timeout: float = 10.0,
        pong_timeout: float = 10.0,
        close_timeout: float = 2.0,
        max_size: int = 4 * 2**20,
    ) -> None:
        self._address = Address.parse(server_url)
        if ssl is not None and not self._address.secure:
            raise InvalidURLError(f"ssl was given, but {self._address} goes without it; give a wss:// URL.")
        if token is not None:
            _check_alone(token, self._address, headers or {})
        self._handlers = Handlers()
        # These two come first in line: the groups are joined before any other handler hears of the greeting.
        self._handlers.add("connection_established", self._join_again)
        self._handlers.add("group_removed", self._forget_group)
        # What was joined and not left, in that order.
        self._groups: dict[str, None] = {}
        self._life = Life(
            self._address,
            _agreed_id(self._address, client_id),
            Options(
                headers=dict(headers or {}),
                token=token,
                ssl=ssl,
                proxy=proxy,
                max_size=max_size,
                open_timeout=open_timeout,
                close_timeout=close_timeout,
                ping_interval=ping_interval,
                pong_timeout=pong_timeout,
            ),
            backoff=backoff or Backoff(),
            reconnect=reconnect,
            handlers=self._handlers,
        )

    def __repr__(self) -> str:
        return f"<WebSocketClient {self._address} {self.client_id!r}: {self._life.state.value}>"

    @property
    def is_connected(self) -> bool:
        """Whether messages can be sent right now."""
        return self._life.is_connected

    @property
    def client_id(self) -> str | None:
        """The id this client is known by; None until the server has made one."""
        return self._life.client_id

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

    # Sending.

    async def send_message(self, type: str, data: object = None) -> None:
        """Send a message of this type; the keys of a dict become the message's own, other data its `data`.

        Raises `NotConnectedError` when there is no connection.
        """
        if isinstance(data, dict):
            if data.get("type", type) != type:
                raise ValueError(
                    f"The data has a 'type' of its own, beside {type!r}; put it under another key."
                )
            await self._life.send({"type": type, **data})
        elif data is None:
            await self._life.send({"type": type})
        else:
            await self._life.send({"type": type, "data": data})

    async def send_chat_message(self, group: str, message: object) -> None:
        """Send any JSON value to every member of a group."""
        await self.send_message("chat_message", {"group_name": group, "message": message})

    # Groups.

    async def join_group(self, name: str) -> None:
        """Join a group, now and with each new connection.

        The server's answer comes to the handlers of `group_joined`. While the client is on its way back, the
        group is joined once it is there.
        """
        check_group(name, "the group name")
        if self._life.comes_back:
            self._groups[name] = None
            with contextlib.suppress(NotConnectedError):
                await self._send_join(name)
        else:
            await self._send_join(name)
            self._groups[name] = None

    async def leave_group(self, name: str) -> None:
        """Leave a group. Without a connection there is nothing to leave, and it is only not joined again."""
        self._groups.pop(name, None)
        with contextlib.suppress(NotConnectedError):
            await self.send_message("leave_group", {"group_name": name})

    async def _send_join(self, name: str) -> None:
        # The one place that asks for a group: a position to resume from will go along here.
        await self.send_message("join_group", {"group_name": name})

    async def _join_again(self, greeting: Message) -> None:
        with contextlib.suppress(NotConnectedError):
            for name in list(self._groups):
                if name in self._groups:  # not left while the others were sent
                    await self._send_join(name)

    def _forget_group(self, removal: Message) -> None:
        # The server took the client out, and coming back must not undo that.
        self._groups.pop(str(removal.get("group_name")), None)

    # Listening.

    @overload
    def register_handler(self, message_type: str, handler: H) -> H: ...
    @overload
    def register_handler(self, message_type: str, handler: None = None) -> Callable[[H], H]: ...

    def register_handler(self, message_type: str, handler: H | None = None) -> H | Callable[[H], H]:
        """Call `handler` with every message of this type; `"*"` means every type. Also a decorator.

        Handlers are plain functions or coroutine functions, run one after another in the order of arrival.
        Reading waits for them, so a slow one slows the stream down, and in the end the server's slow policy
        applies: start a task of your own for what takes long. A handler that raises is logged and does not
        stop the stream. A type may have several, called in the order of registration.

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
