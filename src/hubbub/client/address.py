"""Where a client connects to: the server URL that people write, and the one that goes on the wire."""

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import SplitResult, quote, unquote, urlsplit

from hubbub.client.errors import InvalidURLError

SCHEMES: Final = {"ws": "ws", "wss": "wss", "http": "ws", "https": "wss"}
SPEAK_FIRST: Final = "connect=first"
EXAMPLE: Final = "give something like ws://localhost:8000 or wss://push.example.com"
# What may stand in a path or a query as it is; `%` because it was quoted already.
_LEGAL: Final = "/:@!$&'()*+,;=?%~"

_SECRETS: Final = re.compile(r"(?<=//)[^/?#]*(?=@)|(?<=\?)[^#]*")


@dataclass(frozen=True, slots=True)
class Address:
    """A server's WebSocket endpoint.

    endpoint: the URL up to and including `/ws`, without user and password where people see it (`str()`).
    client_id: the id that the URL itself named, if it did.
    """

    scheme: str
    host: str
    path: str
    query: str = ""
    client_id: str | None = None

    def __str__(self) -> str:
        # A password or a token in the query is nothing for a log.
        return f"{self.scheme}://{self.host.rpartition('@')[2]}{self.path}"

    @property
    def secure(self) -> bool:
        """Whether this goes over TLS."""
        return self.scheme == "wss"

    def url(self, client_id: str | None) -> str:
        """The URL to connect to under this client id; without one the server makes it."""
        path = self.path if client_id is None else f"{self.path}/{quote(client_id, safe='')}"
        return f"{self.scheme}://{self.host}{path}{self.query and '?'}{self.query}"

    def speaking_first(self, client_id: str | None) -> str:
        """As `url`, for a client that says `connect` before it is greeted."""
        return f"{self.url(client_id)}{'&' if self.query else '?'}{SPEAK_FIRST}"

    @classmethod
    def parse(cls, server_url: str) -> "Address":
        """Read a server URL, with or without its `/ws` or `/ws/{client_id}`; raises `InvalidURLError`."""
        parts = _split(server_url)
        path, client_id = _endpoint(parts.path)
        return cls(
            scheme=SCHEMES[parts.scheme],
            host=_ascii_host(server_url, parts.netloc),
            path=quote(path, safe=_LEGAL),
            query=quote(parts.query, safe=_LEGAL),
            client_id=client_id,
        )


def _split(server_url: str) -> SplitResult:
    if any(character.isspace() or not character.isprintable() for character in server_url):
        raise InvalidURLError(
            f"The server URL {_shown(server_url)!r} holds a space or a control character; {EXAMPLE}."
        )
    try:
        parts = urlsplit(server_url)
        port = parts.port
    except ValueError as exc:
        raise InvalidURLError(f"The server URL {_shown(server_url)!r} cannot be read; {EXAMPLE}.") from exc
    if parts.scheme not in SCHEMES:
        raise InvalidURLError(
            f"The server URL {_shown(server_url)!r} has no ws:// or wss:// in front; {EXAMPLE}."
        )
    if not parts.hostname or port == 0:
        raise InvalidURLError(
            f"The server URL {_shown(server_url)!r} names no host and port to reach; {EXAMPLE}."
        )
    if parts.username is not None and parts.password is None:
        raise InvalidURLError(
            f"The server URL {_shown(server_url)!r} names a user without a password; {EXAMPLE}."
        )
    if parts.fragment:
        raise InvalidURLError(
            f"The server URL {_shown(server_url)!r} has a #fragment, which no server sees; leave it out."
        )
    return parts


def _shown(server_url: str) -> str:
    """A server URL as far as a sentence may repeat it: without user, password and query."""
    return _SECRETS.sub("…", server_url)


def _endpoint(path: str) -> tuple[str, str | None]:
    """The path up to `/ws`, and the client id where one follows."""
    segments = path.rstrip("/").split("/")
    if segments[-1] == "ws":
        return "/".join(segments), None
    if len(segments) > 1 and segments[-2] == "ws":
        return "/".join(segments[:-1]), unquote(segments[-1])
    return "/".join([*segments, "ws"]), None


def _ascii_host(server_url: str, host: str) -> str:
    # An address that is all ASCII passes through the websockets library untouched; with anything else in
    # it, the library would quote our quoted client id a second time.
    try:
        return host if host.isascii() else host.encode("idna").decode("ascii")
    except UnicodeError as exc:
        raise InvalidURLError(
            f"The server URL {_shown(server_url)!r} has no legal host name; {EXAMPLE}."
        ) from exc
