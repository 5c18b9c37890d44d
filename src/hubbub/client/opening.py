"""From an address to an established connection, or to a sentence that says why there is none."""

import asyncio
import logging
from collections.abc import Mapping
from typing import Any, Final

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import (
    ConnectionClosed,
    InvalidMessage,
    InvalidProxy,
    InvalidStatus,
    ProxyError,
    WebSocketException,
)

import hubbub
from hubbub.client.address import Address
from hubbub.client.connection import Connection, End, Options, decode, seconds
from hubbub.client.errors import (
    BadTokenError,
    ConnectError,
    ConnectTimeoutError,
    NotHubbubError,
    RefusedError,
    UnreachableError,
)
from hubbub.client.handlers import Message

# The websockets library logs every frame at DEBUG: a name of its own, to be silenced on its own.
wire_logger = logging.getLogger("hubbub.client.websockets")

MAX_REASON: Final = 300
"""Characters of an HTTP answer that go into an error's sentence."""


async def open_connection(address: Address, client_id: str | None, options: Options) -> Connection:
    """Connect and wait for the greeting; raises `ConnectError`, and leaves no socket behind when it does."""
    try:
        async with asyncio.timeout(options.open_timeout):
            socket = await _open_socket(address, client_id, options)
            try:
                return Connection(socket, await _greeting(address, socket), options)
            except BaseException:
                await socket.close()
                raise
    except TimeoutError as exc:
        raise ConnectTimeoutError(
            f"{address} established no connection within {options.open_timeout:g} seconds."
        ) from exc


async def _open_socket(address: Address, client_id: str | None, options: Options) -> ClientConnection:
    extra: dict[str, Any] = {} if options.ssl is None else {"ssl": options.ssl}
    headers = await _headers(options)
    try:
        return await connect(
            address.url(client_id),
            additional_headers=headers,
            user_agent_header=f"hubbub/{hubbub.__version__}",
            # Small messages gain nothing from deflate, and it costs memory on both sides.
            compression=None,
            proxy=options.proxy,
            max_size=options.max_size,
            close_timeout=options.close_timeout,
            # The time limit is ours, and so are the pings: they have to count on the server as signs of
            # life, and must go on while reading is paused.
            open_timeout=None,
            ping_interval=None,
            logger=wire_logger,
            **extra,
        )
    except TimeoutError:
        raise
    except InvalidStatus as exc:
        raise _status_error(address, exc) from exc
    except (InvalidProxy, ProxyError) as exc:
        raise UnreachableError(f"The proxy on the way to {address} does not help: {exc}.") from exc
    except InvalidMessage as exc:
        raise NotHubbubError(f"{address} does not answer like a web server. Is it the right port?") from exc
    except WebSocketException as exc:
        raise NotHubbubError(f"{address} does not answer like a WebSocket server: {exc}.") from exc
    except (OSError, UnicodeError) as exc:  # UnicodeError: a host name that no resolver takes
        raise UnreachableError(f"Nothing can be reached at {address}: {exc}. Is the server running?") from exc


async def _headers(options: Options) -> Mapping[str, str]:
    """The handshake's headers, with the token of this moment."""
    token = options.token
    if callable(token):
        try:
            given = token()
            token = given if isinstance(given, str) else await given
            check_token(token)
        except Exception as exc:  # whatever it is, the next attempt may fare better
            raise ConnectError(f"No token could be had: {type(exc).__name__}: {exc}.") from exc
    return {**options.headers, "Authorization": f"Bearer {token}"} if token else options.headers


def check_token(token: str) -> None:
    """Raise `BadTokenError` for a token that no header can carry."""
    if not (token.isascii() and token.isprintable()) or " " in token:
        raise BadTokenError("The token holds a character that no HTTP header can carry.")


def _status_error(address: Address, exc: InvalidStatus) -> ConnectError:
    response = exc.response
    body = (response.body or b"")[: 4 * MAX_REASON].decode(errors="replace")
    reason = " ".join(body.split())[:MAX_REASON] or response.reason_phrase
    status = response.status_code
    if status < 400:
        return NotHubbubError(
            f"{address} opens no WebSocket: it answered HTTP {status} {response.reason_phrase}."
        )
    # Even a 403 or a 404 may be different next time: while a deployment rolls, a proxy says many things. A
    # server that means it for good says so with a close code.
    retry_after = response.headers.get("Retry-After", "")
    return RefusedError(
        f"{address} refused the connection with HTTP {status}: {reason}.",
        status=status,
        reason=reason,
        retry_after=seconds(int(retry_after)) if retry_after.isdecimal() else 0.0,
    )


async def _greeting(address: Address, socket: ClientConnection) -> Message:
    try:
        message = decode(await socket.recv(decode=False)) or {}
    except ConnectionClosed as exc:
        raise _refusal(address, End.from_close(socket)) from exc
    match message:
        case {"type": "connection_established", "client_id": str()}:
            return message
        case {"type": "disconnect"}:
            raise _refusal(address, End.from_push(message))
        case {"type": "error", "message": str(reason)}:
            raise RefusedError(f"{address} refused the connection: {reason}.", reason=reason)
        case _:
            raise NotHubbubError(
                f"{address} did not begin with connection_established. Is it a Hubbub server?"
            )


def _refusal(address: Address, end: End) -> RefusedError:
    return RefusedError(
        f"{address} refused the connection with code {end}.",
        code=end.code,
        reason=end.reason,
        reconnect=end.reconnect,
        retry_after=end.retry_after,
    )
