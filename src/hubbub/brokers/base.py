"""The contracts of a broker and of presence, and the table of those we ship."""

import secrets
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Final, NamedTuple, Protocol, cast
from urllib.parse import urlsplit

from hubbub.core.messages import Member, Position, Publication


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishOptions:
    """How a publication is kept.

    history_size: publications the channel keeps, 0 for none. history_ttl: seconds it is kept.
    idempotency_key: a second publish into the channel with the same key within `idempotency_ttl` seconds
    changes nothing and returns the first one's position.
    """

    history_size: int = 0
    history_ttl: float = 300.0
    idempotency_key: str = ""
    idempotency_ttl: float = 300.0


class HistoryPage(NamedTuple):
    """Publications of a channel, the position of its newest, and what became of the position asked about.

    `since` is that position in terms of the current epoch; None where none was asked about, or where it is
    not in this history: another epoch, or beyond what is left of its own.
    """

    publications: list[Publication]
    position: Position
    since: Position | None = None


def new_epoch() -> str:
    """A name for a history that begins: 8 random characters of URL-safe base64."""
    return secrets.token_urlsafe(6)


class BrokerUnavailable(Exception):
    """The broker cannot be reached or did not answer in time; nothing is known of the operation's effect."""


class Sink(Protocol):
    """Where a broker delivers what arrives for this node. Called in the hub's event loop; never blocks."""

    def deliver(self, publication: Publication, epoch: str = "") -> None:
        """A publication in a channel this node has subscribed to, with the epoch of its offset."""

    def control(self, message: bytes) -> None:
        """A control message, from another node or from this one."""

    def interrupted(self, channels: Collection[str]) -> None:
        """The way to this node was broken and works again: of these channels something may have been lost."""

    def garbage(self, name: str, reason: str) -> None:
        """Something arrived under this name that no node has sent; it is ignored."""

    async def room(self) -> None:
        """Return when there is room for more deliveries; a broker that can waits for it."""


class Broker(Protocol):
    """Publishes, keeps history and reaches other nodes.

    Guarantees. *Order*: a node is delivered a channel's publications in one order, that of their offsets
    where there is history. *Atomicity*: `publish` appends and sends in one step; what `history` shows after a
    publish has returned includes it, and its offset is the last one plus one. *At most once*: a delivery can
    be lost between nodes, never repeated; a reader tells by a jump in offsets, and is told by
    `Sink.interrupted` when the way was broken. *Epochs*: an offset within an epoch names one publication for
    ever; a broker that may have lost some goes on in a new epoch. Every method fails with `BrokerUnavailable`
    within a bounded time.
    """

    remote: bool
    """Whether calls leave this process, and other nodes may be there."""

    async def start(self, sink: Sink, node_id: str) -> None:
        """Connect; deliveries to `sink` begin. `node_id` names this node to the others."""

    async def stop(self) -> None:
        """Let go of everything; idempotent."""

    async def subscribe(self, channel: str) -> None:
        """Have this node delivered a channel's publications from now on; idempotent."""

    async def unsubscribe(self, channel: str) -> None:
        """Have this node delivered nothing more of a channel; idempotent."""

    async def publish(self, publication: Publication, options: PublishOptions) -> Position | None:
        """Append to the channel's history and send to every node that listens, as one step.

        Returns the publication's position, None without history.
        """

    async def history(
        self, channel: str, *, since: Position | None = None, limit: int = -1, reverse: bool = False
    ) -> HistoryPage:
        """Read a channel's history: after `since` (before it, with `reverse`), at most `limit` (-1: all).

        `limit` 0 reads the position alone. A `since` that is not in this history reads from the beginning;
        the caller sees it by the page's `since`.
        """

    async def positions(self, channels: Collection[str]) -> dict[str, Position]:
        """Where the histories of these channels stand; those that have none are left out."""

    async def remove_history(self, channel: str) -> None:
        """Let go of a channel's publications; its position stays."""

    async def control(self, message: bytes, node_id: str = "") -> None:
        """Send a control message to every node, this one included, or to one; at most once."""

    async def deserted(self, channels: Collection[str]) -> list[str]:
        """Those of the channels that no node listens to. Of nodes that ask within a second, one is told."""

    async def occupancy(self, channel: str) -> int:
        """1 where somebody, on any node, listens to the channel now and -1 where nobody does any longer.

        Of all nodes that ask, one is told of each change; 0 where there is none to tell.
        """

    async def ping(self) -> None:
        """Return when a message has made the way through the broker and back."""


class Presence(Protocol):
    """Who is in which channel, by connection id.

    What a node has added is there until the node removes it, or has not refreshed the channel for a while:
    entries of a node that died expire. Every method fails with `BrokerUnavailable` within a bounded time.
    """

    refresh_interval: float
    """Seconds after which a channel is to be refreshed at the latest."""

    async def start(self, node_id: str) -> None:
        """Connect; `node_id` names this node to the others."""

    async def stop(self) -> None:
        """Let go of everything; idempotent. Entries stay until they are removed or expire."""

    async def add(self, channel: str, connection_id: str, member: Member) -> bool:
        """A connection is in a channel; adding again replaces its entry.

        Returns False where nothing of this node was there: where it has other connections in the channel,
        their entries have expired.
        """

    async def remove(self, channel: str, connection_id: str) -> None:
        """A connection is in a channel no longer; idempotent."""

    async def replace(self, channel: str, members: Mapping[str, Member]) -> None:
        """Of this node's connections exactly these are in a channel, whatever was said before."""

    async def refresh(self, channels: Collection[str]) -> list[str]:
        """This node's entries in these channels live on. Returns the channels where they had expired."""

    async def list(self, channel: str) -> dict[str, Member]:
        """Everybody in a channel, by connection id."""

    async def count(self, channel: str) -> tuple[int, int]:
        """How many connections and how many different clients are in a channel."""


_REDIS: Final = "hubbub.brokers.redis:open_redis"
BROKERS: Final = {
    "memory": "hubbub.brokers.memory:open_memory",
    "redis": _REDIS,
    "rediss": _REDIS,
    "redis+sentinel": _REDIS,
    "rediss+sentinel": _REDIS,
    "redis+cluster": _REDIS,
    "rediss+cluster": _REDIS,
    "unix": _REDIS,
}
"""URL scheme to the function that opens such a broker; imported on choice."""


class BadBroker(ValueError):
    """No broker goes by that URL; the sentence says what is wrong and what would be right."""


def open_broker(url: str) -> tuple[Broker, Presence]:
    """The broker and the presence behind a URL such as `memory://` or `redis://localhost:6379`.

    Raises `BadBroker`.
    """
    scheme = urlsplit(url).scheme
    if scheme not in BROKERS:
        known = ", ".join(f"{name}://" for name in BROKERS)
        raise BadBroker(f"no broker goes by {scheme or url!r}; give one of {known}")
    module, _, name = BROKERS[scheme].partition(":")
    opened = getattr(import_module(module), name)(url)
    return cast("tuple[Broker, Presence]", opened)
