"""What can be set on webhooks, with defaults that are safe to keep."""

from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

ENDPOINTS: Final = ("connect", "subscribe", "publish", "rpc", "refresh", "events")
HEADERS: Final = ("cookie", "authorization", "origin", "user-agent")
"""Headers of a client's handshake that the backend gets to see, unless others are named."""

# These say how the call itself is to be read, or who sends it: no client has a say in them.
_OWN: Final = frozenset(
    {"host", "connection", "te", "trailer", "transfer-encoding", "upgrade", "keep-alive", "expect"}
    | {"accept-encoding", "proxy-connection", "proxy-authorization", "forwarded", "x-forwarded-for"}
)
_OWN_PREFIXES: Final = ("content-", "x-hubbub-")


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookOptions:
    """The webhooks of one hub. Times are seconds, sizes bytes.

    connect, subscribe, publish, rpc, refresh: where the backend is asked; empty for not at all.
    events: where it is told of connections and channels.
    secrets: keys that requests are signed with; several while one is replaced by another.
    timeout: how long one call may take, waiting included; one that takes longer counts as a no.
    concurrency: calls to one endpoint at once. queue: how many more wait; past it they fail at once.
    probe_after: how long a backend that does not answer is left alone, at first.
    headers: headers of the client's handshake that are passed on with `connect`.
    max_answer_bytes: the largest answer that is read.
    max_events: events that wait for delivery. max_event_bytes: their size. Past either, new ones are dropped.
    patience: how long the delivery of an event is tried.
    drain_timeout: how long, at the end, events that wait are still delivered.
    """

    connect: str = ""
    subscribe: str = ""
    publish: str = ""
    rpc: str = ""
    refresh: str = ""
    events: str = ""
    secrets: tuple[str, ...] = ()
    timeout: float = 1.0
    concurrency: int = 64
    queue: int = 256
    probe_after: float = 1.0
    headers: tuple[str, ...] = HEADERS
    max_answer_bytes: int = 64 * 1024
    max_events: int = 50_000
    max_event_bytes: int = 32 * 1024 * 1024
    patience: float = 900.0
    drain_timeout: float = 3.0

    def __post_init__(self) -> None:
        for url in self.urls().values():
            check_url(url)
        for name in self.headers:
            check_header(name)
        if "" in self.secrets:
            raise ValueError("a secret is empty; give each at least one character")

    def urls(self) -> dict[str, str]:
        """The endpoints that are set, by name."""
        return {name: url for name in ENDPOINTS if (url := getattr(self, name))}

    def __bool__(self) -> bool:
        return bool(self.urls())


def check_url(url: str) -> str:
    """Return a URL that can be called. Raises `ValueError` with a sentence."""
    try:
        parts = urlsplit(url)
        right = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        right = False
    if not right:
        # The URL may hold a password, and what is raised ends up on screens.
        raise ValueError("a webhook's URL is not one that can be called; give http://… or https://…")
    return url


def check_header(name: str) -> str:
    """Return the name of a header that may be passed on. Raises `ValueError` with a sentence."""
    if name in _OWN or name.startswith(_OWN_PREFIXES):
        raise ValueError(f"header {name!r} is the call's own and cannot be passed on")
    if name != name.lower() or not name.isascii() or not name.replace("-", "").replace("_", "").isalnum():
        raise ValueError(f"{name!r} is not the name of a header in lower case")
    return name
