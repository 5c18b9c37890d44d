"""The metrics of webhooks, beside the hub's own in its registry."""

from enum import StrEnum
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)


class Outcome(StrEnum):
    """How a call ended."""

    OK = "ok"
    """It was answered with a yes."""
    REFUSED = "refused"
    """It was answered with a no."""
    TIMEOUT = "timeout"
    UNREACHABLE = "unreachable"
    """No connection, or one that broke off."""
    STATUS = "status"
    """A status other than 200."""
    TOO_LARGE = "too_large"
    GARBAGE = "garbage"
    """An answer that is not of the documented shape."""
    FULL = "full"
    """Not made: too many were waiting."""
    OPEN = "open"
    """Not made: the breaker is open."""
    CANCELLED = "cancelled"
    """Nobody waited for it any longer."""


class WebhookMetrics:
    """Counts what goes to the backend."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.calls = Counter(
            "hubbub_webhook_calls",
            "Calls to the backend, by endpoint and outcome.",
            ["endpoint", "outcome"],
            registry=registry,
        )
        self.seconds = Histogram(
            "hubbub_webhook_seconds",
            "Time from a call to its outcome, waiting included; calls that were not made are not in it.",
            ["endpoint"],
            buckets=BUCKETS,
            registry=registry,
        )
        # Steps up and down, never set: where processes share their metrics, so do the hubs of one process.
        self.open = Gauge(
            "hubbub_webhook_open",
            "Whether the breaker of an endpoint is open.",
            ["endpoint"],
            registry=registry,
            multiprocess_mode="livesum",
        )
        self.in_flight = Gauge(
            "hubbub_webhook_in_flight",
            "Calls that are under way or wait for their turn.",
            ["endpoint"],
            registry=registry,
            multiprocess_mode="livesum",
        )
        self.delivered = Counter(
            "hubbub_webhook_events_delivered", "Events that the backend has taken.", registry=registry
        )
        self.dropped = Counter(
            "hubbub_webhook_events_dropped",
            "Events that the backend was not told of, by reason.",
            ["reason"],
            registry=registry,
        )
        self.waiting = Gauge(
            "hubbub_webhook_events_waiting",
            "Events that wait for their delivery.",
            registry=registry,
            multiprocess_mode="livesum",
        )
