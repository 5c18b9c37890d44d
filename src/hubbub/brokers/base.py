"""The contracts of a broker and of presence, and the table of those we ship."""

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
    """Publications of a channel and the position of its newest."""

    publications: list[Publication]
    position: Position


class BrokerUnavailable(Exception):
    """The broker cannot be reached or did not answer in time; nothing is known of the operation's effect."""


class Sink(Protocol):
    """Where a broker delivers what arrives for this node. Called in the hub's event loop; never blocks."""

    def deliver(self, publication: Publication) -> None:
        """A publication in a channel this node has subscribed to."""


class Broker(Protocol):
    """Publishes, keeps history and reaches other nodes.

    Guarantees. *Order*: a node is delivered a channel's publications in one order, that of their offsets
    where there is history. *Atomicity*: `publish` appends and sends in one step; what `history` shows after a
    publish has returned includes it, and its offset is the last one plus one. *At most once*: a delivery can
    be lost between nodes, never repeated; a reader tells by a jump in offsets. Every method fails with
    `BrokerUnavailable` within a bounded time.
    """

    async def start(self, sink: Sink) -> None:
        """Connect; deliveries to `sink` begin."""

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

        `limit` 0 reads the position alone. A `since` of another epoch reads from the beginning; the caller
        sees it by the page's position.
        """

    async def remove_history(self, channel: str) -> None:
        """Let go of a channel's publications; its position stays."""

    async def ping(self) -> None:
        """Return when a message has made the way through the broker and back."""


class Presence(Protocol):
    """Who is in which channel, by connection id. Entries of a node that died expire."""

    async def add(self, channel: str, connection_id: str, member: Member) -> None:
        """A connection is in a channel; adding again replaces its entry."""

    async def remove(self, channel: str, connection_id: str) -> None:
        """A connection is in a channel no longer; idempotent."""

    async def list(self, channel: str) -> dict[str, Member]:
        """Everybody in a channel, by connection id."""

    async def count(self, channel: str) -> tuple[int, int]:
        """How many connections and how many different clients are in a channel."""


BROKERS: Final = {"memory": "hubbub.brokers.memory:open_memory"}
"""URL scheme to the function that opens such a broker; imported on choice."""


class UnknownBroker(ValueError):
    """No broker goes by that URL; the sentence lists those that do."""


def open_broker(url: str) -> tuple[Broker, Presence]:
    """The broker and the presence behind a URL such as `memory://`."""
    scheme = urlsplit(url).scheme
    if scheme not in BROKERS:
        known = ", ".join(f"{name}://" for name in BROKERS)
        raise UnknownBroker(f"no broker goes by {url!r}; give one of {known}")
    module, _, name = BROKERS[scheme].partition(":")
    opened = getattr(import_module(module), name)(url)
    return cast("tuple[Broker, Presence]", opened)
