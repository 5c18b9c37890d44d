"""Every metric name in one place. Counted per fan-out, never per delivery."""

import os
import time
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest, values
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.registry import Collector

from hubbub.core.channels import SlowPolicy
from hubbub.core.codes import CLOSE_REASONS
from hubbub.core.messages import (
    ALL,
    Alive,
    AreYouThere,
    Connected,
    Disconnecting,
    Dropped,
    Failed,
    HistoryReply,
    Kind,
    Message,
    PresenceReply,
    PresenceStatsReply,
    Publication,
    Published,
    Refreshed,
    Removed,
    RpcReply,
    Subscribed,
    TimedOut,
    Unsubscribed,
)

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
PROCESSING_BUCKETS: Final = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5)
FANOUT_BUCKETS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)
LAG_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)
SHOW_SECONDS: Final = 1.0
SHOW_SHARE: Final = 0.01
"""Of its time, what a process may spend on showing its gauges to the others."""
_SHARED: Final = "PROMETHEUS_MULTIPROC_DIR"  # the library's own name
_CLOSE_CODES: Final = {reason.code for reason in CLOSE_REASONS} | set(range(1000, 1016))

_REPLY_TYPES: Final[dict[type[Message], str]] = {
    Connected: "connection_established",
    Subscribed: "group_joined",
    Unsubscribed: "group_left",
    Published: "published",
    PresenceReply: "presence",
    PresenceStatsReply: "presence_stats",
    HistoryReply: "history",
    RpcReply: "rpc_result",
    Refreshed: "refreshed",
    Failed: "error",
    Alive: "pong",
    AreYouThere: "ping",
    TimedOut: "connection_timeout",
    Removed: "group_removed",
    Dropped: "messages_dropped",
    Disconnecting: "disconnect",
}


def message_type(publication: Publication) -> str:
    """What the native protocol calls this publication."""
    match publication.kind:
        case Kind.CHAT:
            return "chat_message"
        case Kind.SYSTEM:
            return "system_notification"
        case Kind.JOINED:
            return "member_joined"
        case Kind.LEFT:
            return "member_left"
        case Kind.GAP:
            return "group_joined"
        case Kind.MESSAGE if publication.channel == ALL:
            return "broadcast_message"
        case Kind.MESSAGE if publication.channel[0] == "$":
            return "personal_notification"
        case _:
            return "group_message"


def share_metrics(folder: Path, part: str) -> None:
    """Have this process count a part of what all processes count that share the folder.

    To be called before the first metric is made. It goes on where an earlier process left off that had the
    same part.
    """
    os.environ[_SHARED] = str(folder)
    # The library has looked at its environment when it was imported. The cache is for several hubs in one
    # process: two values of one name would overwrite each other.
    values.ValueClass = cache(values.MultiProcessValue(lambda: part))  # type: ignore[no-untyped-call]


def forget_part(folder: Path, part: str) -> None:
    """The process that counted this part has ended: what it has counted stays, what its gauges read goes."""
    mark_process_dead(part, str(folder))  # type: ignore[no-untyped-call]


class _Live(Collector):
    """Gauges that are read when somebody scrapes."""

    def __init__(self, gauges: dict[str, tuple[str, Callable[[], float]]]) -> None:
        self._gauges = gauges

    def collect(self) -> list[Metric]:
        return [GaugeMetricFamily(name, text, value=read()) for name, (text, read) in self._gauges.items()]


class _Shown:
    """Gauges that other processes read, too: they see what was last shown, added to what others show."""

    def __init__(
        self, gauges: dict[str, tuple[str, Callable[[], float]]], registry: CollectorRegistry
    ) -> None:
        self._gauges = [
            (Gauge(name, text, registry=registry, multiprocess_mode="livesum"), read)
            for name, (text, read) in gauges.items()
        ]
        self._shown = [0.0] * len(gauges)

    def show(self) -> None:
        """Read them now."""
        for index, (gauge, read) in enumerate(self._gauges):
            value = float(read())
            gauge.inc(value - self._shown[index])
            self._shown[index] = value


class Metrics:
    """The metrics of one hub, in a registry of their own: two hubs in one process do not mix.

    They do where processes share theirs: there, everybody counts into one whole.
    """

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self._sent = Counter(
            "websocket_messages_sent",
            "Messages given to connections, by message type; what of them was dropped is in hubbub_dropped.",
            ["message_type"],
            registry=registry,
        )
        self.processing = Histogram(
            "websocket_message_processing_seconds",
            "Time from a client's message to the end of its handling.",
            buckets=PROCESSING_BUCKETS,
            registry=registry,
        )
        self._received = Counter(
            "hubbub_publications", "Publications accepted on this node.", ["kind"], registry=registry
        )
        self._sent_bytes = Counter(
            "hubbub_sent_bytes", "Bytes of frames delivered to connections by fan-outs.", registry=registry
        )
        self._dropped = Counter(
            "hubbub_dropped", "Publications not delivered to slow connections.", ["policy"], registry=registry
        )
        self._opened = Counter("hubbub_connections_opened", "Connections let in.", registry=registry)
        self._closed = Counter(
            "hubbub_connections_closed", "Connections ended, by code.", ["code"], registry=registry
        )
        self.refused = Counter("hubbub_connections_refused", "Handshakes turned away.", registry=registry)
        self._limited = Counter(
            "hubbub_limited", "What a limit has turned away, by limit.", ["limit"], registry=registry
        )
        self._denied = Counter(
            "hubbub_denied",
            "What clients asked for and may not do, by action.",
            ["action"],
            registry=registry,
        )
        self._bad_tokens = Counter(
            "hubbub_bad_tokens", "Tokens that were refused, by reason.", ["reason"], registry=registry
        )
        self.garbage = Counter(
            "hubbub_broker_garbage", "What came through the broker and no node has sent.", registry=registry
        )
        self._healed = Counter(
            "hubbub_healed", "Publications lost on the way and had again from the history.", registry=registry
        )
        self._gaps = Counter(
            "hubbub_gaps", "Losses that could not be healed, and were told to members.", registry=registry
        )
        self._errors = Counter(
            "hubbub_error_answers", "Error answers to commands, by code.", ["code"], registry=registry
        )
        self._fanout = Histogram(
            "hubbub_fanout_seconds",
            "Time from the start of a fan-out to its last write.",
            buckets=FANOUT_BUCKETS,
            registry=registry,
        )
        self.lag = Histogram(
            "hubbub_event_loop_lag_seconds",
            "How late the event loop was for a timer.",
            buckets=LAG_BUCKETS,
            registry=registry,
        )
        for policy in SlowPolicy:
            self._dropped.labels(policy.value)
        self._shown: _Shown | None = None
        self._show_at = 0.0
        self._uncounted: dict[Counter, int] = {}
        """What the counters are behind by, for a second at most."""
        # `labels` takes longer than the counting.
        self._by_type: dict[str, Counter] = {}
        self._closed_as: dict[int, Counter] = {}
        self._replied = {type_: self._sent.labels(name) for type_, name in _REPLY_TYPES.items()}

    def live(self, gauges: dict[str, tuple[str, Callable[[], float]]]) -> None:
        """Add gauges by name: help text and where to read them."""
        if _SHARED in os.environ:
            self._shown = _Shown(gauges, self.registry)
        else:
            self.registry.register(_Live(gauges))

    def show_gauges(self, now: float) -> None:
        """Bring counters up to date and, where metrics are shared, let others see what the gauges read.

        To be called often.

        `now` is in seconds of any steady clock.
        """
        self._count_up()
        if self._shown is None or now < self._show_at:
            return
        began = time.perf_counter()
        self._shown.show()
        # Counting tens of thousands of groups takes a while.
        self._show_at = now + max(SHOW_SECONDS, (time.perf_counter() - began) / SHOW_SHARE)

    def publication(self, publication: Publication) -> None:
        """A publication was accepted."""
        self._received.labels(publication.kind.value).inc()

    def fanned_out(self, publications: Sequence[Publication], members: int, size: int, took: float) -> None:
        """A fan-out ended: these publications went to so many members in `size` bytes."""
        by_type: dict[str, int] = {}
        for publication in publications:
            name = message_type(publication)
            by_type[name] = by_type.get(name, 0) + 1
        for name, count in by_type.items():
            self._sent_as(name).inc(count * members)
        self._sent_bytes.inc(size)
        self._fanout.observe(took)

    def replied(self, message: Message) -> None:
        """One message went to one connection, outside of any fan-out."""
        if isinstance(message, Publication):
            self._count(self._sent_as(message_type(message)))
        else:
            self._count(self._replied[type(message)])

    def _count(self, counter: Counter) -> None:
        # The library's own counting takes ten times as long, and every client at the door is counted often.
        self._uncounted[counter] = self._uncounted.get(counter, 0) + 1

    def _count_up(self) -> None:
        uncounted, self._uncounted = self._uncounted, {}
        for counter, count in uncounted.items():
            counter.inc(count)

    def _sent_as(self, name: str) -> Counter:
        counter = self._by_type.get(name)
        if counter is None:
            counter = self._by_type[name] = self._sent.labels(name)
        return counter

    def dropped(self, policy: SlowPolicy, count: int) -> None:
        """Publications were not delivered to a slow connection."""
        self._dropped.labels(policy.value).inc(count)

    def limited(self, limit: str) -> None:
        """A limit has turned something away."""
        self._limited.labels(limit).inc()

    def denied(self, action: str) -> None:
        """A client may not do what it asked for."""
        self._denied.labels(action).inc()

    def bad_token(self, reason: str) -> None:
        """A token was refused."""
        self._bad_tokens.labels(reason).inc()

    def mended(self, healed: int, gaps: int) -> None:
        """A gap was closed with so many publications, or told."""
        self._healed.inc(healed)
        self._gaps.inc(gaps)

    def opened(self) -> None:
        """A connection was let in."""
        self._count(self._opened)

    def closed(self, code: int) -> None:
        """A connection ended."""
        # A client may close with any of two thousand codes; those we do not know share one label.
        counter = self._closed_as.get(code)
        if counter is None:
            counter = self._closed.labels(str(code) if code in _CLOSE_CODES else "other")
            self._closed_as[code] = counter
        self._count(counter)

    def failed(self, code: int) -> None:
        """A command was answered with an error."""
        self._errors.labels(str(code)).inc()

    def exposition(self) -> bytes:
        """All of it in Prometheus' text format."""
        self._count_up()
        if self._shown is None:
            return generate_latest(self.registry)
        self._shown.show()
        whole = CollectorRegistry()
        MultiProcessCollector(whole)  # type: ignore[no-untyped-call]
        return generate_latest(whole)
