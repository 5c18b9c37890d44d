"""Who gets the next connection, and when a worker that ended is replaced: the supervisor's decisions."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Protocol, TypeVar

ON_THE_WAY: Final = 1024
"""Connections that may be on their way to a worker: one that takes none is given no more."""
STEADY: Final = 1.0
"""Seconds that a worker is up before its end counts as an accident and not as a bad start."""
LONGEST_DELAY: Final = 10.0
"""Seconds."""


@dataclass(slots=True)
class Tally:
    """A worker's connections, as far as is known where they are given out.

    The worker says from time to time how many it has taken and how many are open; what it was given since is
    on its way to it.
    """

    given: int = 0
    taken: int = 0
    open: int = 0
    turn: int = 0
    """When it was last given one, on the door's own clock."""

    @property
    def on_the_way(self) -> int:
        """Given, but not taken yet."""
        return self.given - self.taken

    @property
    def load(self) -> int:
        """All that it has or will have."""
        return self.open + self.on_the_way


class Tallied(Protocol):
    """Whoever can be given connections."""

    @property
    def tally(self) -> Tally:
        """What it has."""


W = TypeVar("W", bound=Tallied)


def least_loaded(workers: Iterable[W], limit: float) -> W | None:
    """The one of them to get the next connection; None where none of them has room below the limit."""
    free = (w for w in workers if w.tally.on_the_way < ON_THE_WAY and w.tally.load < limit)
    # Of equals each in turn, or requests that come one at a time would all go to the first.
    return min(free, key=lambda w: (w.tally.load, w.tally.turn), default=None)


def delay_after(bad_starts: int) -> float:
    """Seconds until a worker is replaced whose number has seen so many bad starts in a row."""
    return 0.0 if bad_starts <= 1 else min(LONGEST_DELAY, 0.1 * 2.0 ** min(bad_starts, 16))
