"""What a WebSocket handshake says and whether it may pass: path, origin, address, subprotocols."""

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from http import HTTPStatus
from math import ceil
from typing import Final, NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

from starlette.requests import HTTPConnection
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware
from websockets.datastructures import Headers
from websockets.http11 import Response
from websockets.utils import accept_key

from hubbub.hub import ConnectRequest, Hub, Options

_KEY: Final = re.compile("[A-Za-z0-9+/]{21}[AQgw]==")
"""Sixteen bytes in base64."""
UPGRADES: Final = frozenset({"upgrade", "keep-alive, upgrade"})
"""What `Connection` says in nearly all handshakes, in lower case."""


class Head(NamedTuple):
    """A request head, with its headers by lower-case name, in order."""

    method: str
    target: str
    version: str
    headers: list[tuple[str, str]]


class Doors:
    """Which hub stands behind which path. A hub's WebSocket is at `path` and at `path/{client_id}`."""

    def __init__(self, hubs: Mapping[str, Hub] | None = None) -> None:
        self._hubs = dict(hubs or {})

    def open(self, path: str, hub: Hub) -> None:
        """Let clients in at this path."""
        self._hubs[path] = hub

    def limited(self, limit: str) -> None:
        """A limit has turned somebody away before it is known for which hub: the first one counts."""
        for hub in self._hubs.values():
            hub.metrics.limited(limit)
            return

    def find(self, path: str) -> tuple[Hub, str | None] | None:
        """The hub for a decoded path and the client id in it; None where no hub is."""
        hub = self._hubs.get(path)
        if hub is not None:
            return hub, None
        prefix, _, client_id = path.rpartition("/")
        hub = self._hubs.get(prefix)
        return (hub, client_id) if hub is not None and client_id else None


def accept_key_of(head: Head, headers: Mapping[str, str]) -> str:
    """What `Sec-WebSocket-Accept` says to a handshake as nearly all clients send it (RFC 6455 §4.2.1).

    Empty for any other, right or wrong, which takes the library's time: five times as much.
    """
    if (
        len(headers) != len(head.headers)  # a header that is there twice
        or (head.method, head.version) != ("GET", "HTTP/1.1")
        or not headers.get("host")
        or headers.get("upgrade", "").lower() != "websocket"
        or headers.get("connection", "").lower() not in UPGRADES
        or headers.get("sec-websocket-version") != "13"
    ):
        return ""
    key = headers.get("sec-websocket-key", "")
    return accept_key(key) if _KEY.fullmatch(key) else ""


def connect_request(
    client_id: str | None, target: str, headers: Mapping[str, str], address: str
) -> ConnectRequest:
    """The request as hooks see it. `target` is the request line's, `headers` go by lower-case name."""
    path, _, query = target.partition("?")
    return ConnectRequest(
        client_id=client_id,
        path=unquote(path),
        headers=headers,
        query=dict(parse_qsl(query, keep_blank_values=True)),
        address=address,
    )


def asgi_request(hub: Hub, request: HTTPConnection, client_id: str | None) -> ConnectRequest:
    """The request of an ASGI app, as hooks see it."""
    headers = {name.lower(): value for name, value in request.headers.items()}
    peer = request.client.host if request.client else ""
    address = client_address(peer, request.headers.getlist("x-forwarded-for"), hub.options)
    target = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    return connect_request(client_id, target, headers, address)


def origin_refusal(origin: str | None) -> str:
    """What a page of an origin that is not allowed is told."""
    return f"origin {origin} is not allowed here; the server's allowed_origins names those that are\n"


def origin_allowed(origin: str | None, host: str | None, options: Options) -> bool:
    """Whether a page of this origin may connect.

    Without an Origin header it is no browser, and cross-site requests are no danger. Otherwise the origin is
    the server's own (same host and port as asked for) or one of the allowed ones.
    """
    if origin is None or "*" in options.allowed_origins or origin in options.allowed_origins:
        return True
    try:
        own = urlsplit(origin).netloc
    except ValueError:
        return False  # a browser sends no such thing
    return host is not None and own.lower() == host.lower()


@lru_cache(maxsize=16)
def _trusted(proxies: tuple[str, ...]) -> ProxyHeadersMiddleware:
    return ProxyHeadersMiddleware(app=None, trusted_hosts=list(proxies))  # type: ignore[arg-type]


def client_address(peer: str, forwarded_for: Iterable[str], options: Options) -> str:
    """The client's address: the peer's, or what a trusted proxy says of it.

    Of the X-Forwarded-For values the last that is no trusted proxy counts: only that was written by one.
    """
    trusted = _trusted(options.trusted_proxies).trusted_hosts
    values = ", ".join(forwarded_for)
    if not values or peer not in trusted:
        return peer
    return trusted.get_trusted_client_address(values)[0] or peer


def more_headers(status: int, retry_after: float | None) -> dict[str, str]:
    """What else a refusal says: how to be let in (RFC 9110 §11.6.1), or when to come back."""
    headers = {"WWW-Authenticate": "Bearer"} if status == HTTPStatus.UNAUTHORIZED else {}
    return headers if retry_after is None else headers | {"Retry-After": str(ceil(retry_after))}


def refusal(status: int, text: str, retry_after: float | None = None) -> Response:
    """An HTTP answer in place of a handshake's; any status will do, also one that Python has no name for."""
    phrase = HTTPStatus(status).phrase if status in set(HTTPStatus) else "Refused"
    body = text.encode()
    headers = Headers(
        {
            "Connection": "close",
            "Content-Length": str(len(body)),
            "Content-Type": "text/plain; charset=utf-8",
        }
    )
    headers.update(more_headers(status, retry_after))
    return Response(status, phrase, headers, body)


def switching_protocols(accept: str, extensions: str | None, subprotocol: str | None) -> bytes:
    """The answer to a good handshake: RFC 6455 §4.2.2."""
    lines = [
        "HTTP/1.1 101 Switching Protocols",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Accept: {accept}",
    ]
    if extensions is not None:
        lines.append(f"Sec-WebSocket-Extensions: {extensions}")
    if subprotocol is not None:
        lines.append(f"Sec-WebSocket-Protocol: {subprotocol}")
    return "\r\n".join((*lines, "", "")).encode()
