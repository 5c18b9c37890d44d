"""Signs of life on a timer wheel: no timer per connection, and nothing to pay per frame but a time stamp.

Theory of operation. A connection lies in the bucket of the moment it is next looked at. A frame only moves
its `last_seen`; when the moment comes, a connection that was seen since is laid into a later bucket.
"""

from enum import Enum, auto
from typing import Generic, Protocol, TypeVar


class Watched(Protocol):
    """What the wheel needs of a connection. Times are seconds of any steady clock."""

    last_seen: float
    asked_at: float
    """When it was last asked for a sign of life; 0 for never."""
    bucket: int
    """The wheel's own mark."""


class Verdict(Enum):
    """What is due for a connection."""

    ASK = auto()
    """It was silent for the idle time: ask for a sign of life."""
    GONE = auto()
    """It stayed silent for the grace time: close it."""


W = TypeVar("W", bound=Watched)


class Heartbeat(Generic[W]):
    """Watches connections: silent for `idle` seconds, asked; silent for `grace` more, gone."""

    def __init__(self, idle: float, grace: float) -> None:
        self.idle = idle
        self.grace = grace
        self.resolution = min(0.5, max(0.01, min(idle, grace) / 10))
        """Seconds between two calls of `due` that keep the times honest."""
        self._buckets: dict[int, set[W]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._buckets.values()))

    def watch(self, connection: W, now: float) -> None:
        """Begin to watch a connection that was just seen."""
        connection.last_seen = now
        connection.asked_at = 0.0
        self._lay(connection, now + self.idle)

    def forget(self, connection: W) -> None:
        """Stop watching a connection."""
        bucket = self._buckets.get(connection.bucket)
        if bucket is not None:
            bucket.discard(connection)
            if not bucket:
                del self._buckets[connection.bucket]

    def due(self, now: float) -> list[tuple[W, Verdict]]:
        """The connections that something is due for now. One that is GONE is watched no longer."""
        verdicts: list[tuple[W, Verdict]] = []
        current = int(now / self.resolution)
        for number in sorted(number for number in self._buckets if number < current):
            for connection in self._buckets.pop(number):
                # A clock of milliseconds can show the question and its answer at the same moment.
                unanswered = connection.asked_at and connection.last_seen < connection.asked_at
                if unanswered and now >= connection.asked_at + self.grace:
                    verdicts.append((connection, Verdict.GONE))
                elif unanswered:
                    self._lay(connection, min(now + self.idle, connection.asked_at + self.grace))
                elif now >= connection.last_seen + self.idle:
                    connection.asked_at = now
                    # Looked at before the grace is over where it could, having answered, be idle again.
                    self._lay(connection, now + min(self.grace, self.idle))
                    verdicts.append((connection, Verdict.ASK))
                else:
                    self._lay(connection, connection.last_seen + self.idle)
        return verdicts

    def _lay(self, connection: W, at: float) -> None:
        connection.bucket = int(at / self.resolution)
        self._buckets.setdefault(connection.bucket, set()).add(connection)
