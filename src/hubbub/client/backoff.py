"""How long to wait before the next attempt: exponential back-off with full jitter.

Full jitter draws the whole delay at random, from nothing up to a ceiling that doubles with each failure, so
that clients which lost their server in the same moment do not come back in the same moment.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

MAX_DOUBLINGS: Final = 64
"""Past these any sensible cap has long been reached, and a float would overflow."""


@dataclass(frozen=True, slots=True)
class Backoff:
    """Delays between 0 and `base` seconds at first, between 0 and `cap` seconds in the end.

    draw: gives a number in [0, 1); `random.random` unless a test says otherwise.
    """

    base: float = 0.1
    cap: float = 20.0
    draw: Callable[[], float] = random.random

    def __post_init__(self) -> None:
        if not 0 < self.base <= self.cap:
            raise ValueError(f"base is {self.base} and cap is {self.cap}; give seconds with 0 < base <= cap")

    def ceiling(self, failures: int) -> float:
        """The longest delay after so many failures in a row."""
        return float(min(self.cap, self.base * 2 ** min(failures, MAX_DOUBLINGS)))

    def delay(self, failures: int) -> float:
        """The seconds to wait after so many failures in a row."""
        return self.draw() * self.ceiling(failures)
