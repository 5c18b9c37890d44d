"""From an address to an established connection, or to a sentence that says why there is none."""

import asyncio
import logging
import ssl as tls
import time
from email.utils import parsedate_to_datetime
from typing import Any, Final

from websockets.asyncio.client import connect
from websockets.exceptions import (
    InvalidMessage,
    InvalidProxy,
    InvalidStatus,
    ProxyError,
    WebSocketException,
)
from websockets.typing import Subprotocol

import hubbub
from hubbub.client.address import Address
from hubbub.client.connection import Connection, End, Options, seconds
from hubbub.client.errors import (
    ConnectError,
    ConnectTimeoutError,
    NotHubbubError,
    RefusedError,
    UnreachableError,
)
from hubbub.client.frames import Socket
from hubbub.client.inbox import Inbox
from hubbub.client.wire import Message

# The websockets library logs every header and every frame at DEBUG, and with them the token: none of that.
wire_logger = logging.getLogger("hubbub.client.websockets")
wire_logger.setLevel(logging.INFO)
wire_logger.addFilter(lambda record: record.levelno > logging.DEBUG)

HINTS: Final = {
    401: "Is the token missing, or no longer good?",
    403: "Are the client id, the token, the origin and the path right?",
    404: "Is the path right?",
    429: "Are there too many connections from here?",
    503: "It may let you in later.",
}
"""What to look at after an HTTP status."""
MAX_DIGITS: Final = 20
"""Of a number of seconds; it is cut to a day anyway."""
MAX_REASON: Final = 300
"""Characters of an HTTP answer that go into an error's sentence."""


async def open_connection(
    address: Address, client_id: str | None, token: str | None, options: Options, inbox: Inbox
) -> Connection:
    """Connect, say hello and wait for the greeting.

    Raises `ConnectError`, and leaves no socket behind when it does.
    """
    try:
        async with asyncio.timeout(options.open_timeout):
            connection = Connection(await _open_socket(address, client_id, token, options), inbox, options)
            try:
                _check_greeting(address, await connection.say_hello())
            except BaseException:
                await connection.close()
                raise
            return connection
    except TimeoutError as exc:
        raise ConnectTimeoutError(
            f"{address} established no connection within {options.open_timeout:g} seconds."
        ) from exc


async def _open_socket(
    address: Address, client_id: str | None, token: str | None, options: Options
) -> Socket:
    extra: dict[str, Any] = {} if options.ssl is None else {"ssl": options.ssl}
    headers = {**options.headers, "Authorization": f"Bearer {token}"} if token else options.headers
    subprotocol = options.format.subprotocol
    try:
        socket = await connect(
            address.speaking_first(client_id),
            create_connection=Socket,
            subprotocols=[Subprotocol(subprotocol)],
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
    except tls.SSLCertVerificationError as exc:
        raise UnreachableError(
            f"The certificate of {address} is not trusted: {exc.verify_message or exc}. "
            "Is the host name right? A context that trusts it can be given as `ssl`."
        ) from exc
    except tls.SSLError as exc:
        raise UnreachableError(
            f"There is no TLS with {address}: {exc}. Does the server speak TLS? Without it the URL is ws://."
        ) from exc
    except (OSError, UnicodeError) as exc:  # UnicodeError: a host name that no resolver takes
        why = str(exc) or "the connection was closed"
        hint = "Is the server running, and does it speak TLS?" if address.secure else "Is the server running?"
        raise UnreachableError(f"Nothing can be reached at {address}: {why}. {hint}") from exc

    assert isinstance(socket, Socket)
    if options.format.binary and socket.subprotocol != subprotocol:
        await socket.shut(options.close_timeout)
        raise NotHubbubError(f"{address} does not speak {subprotocol}; connect without binary=True.")
    return socket


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
    hint = HINTS.get(status, "")
    return RefusedError(
        " ".join(filter(None, (f"{address} refused the connection with HTTP {status}: {reason}.", hint))),
        status=status,
        reason=reason,
        retry_after=_seconds_until(retry_after),
    )


def _seconds_until(retry_after: str) -> float:
    """What a `Retry-After` says, a number of seconds or a date; 0 where it says nothing that can be read."""
    if retry_after.isascii() and retry_after.isdecimal():
        return seconds(int(retry_after[:MAX_DIGITS]))
    try:
        date = parsedate_to_datetime(retry_after)
        return seconds(date.timestamp() - time.time())
    except (ValueError, OverflowError):
        return 0.0


def _check_greeting(address: Address, answer: Message | End | None) -> None:
    match answer:
        case {"type": "connection_established", "client_id": str()}:
            return
        case End():
            raise _refusal(address, answer)
        case {"type": "disconnect", **said}:
            raise _refusal(address, End.from_push({str(name): value for name, value in said.items()}))
        case {"type": "error", "message": str(reason), **said}:
            code = said.get("code")
            code = code if isinstance(code, int) else None
            raise RefusedError(f"{address} refused the connection: {reason}.", code=code, reason=reason)
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
