"""A circuit breaker: a backend that does not answer is left alone for a while.

It opens when several calls in a row have failed, or half of the last ones. After a pause one call is let
through as a probe: if that succeeds it closes, otherwise the next pause is twice as long.
"""

import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

IN_A_ROW: Final = 5
"""Failures in a row that open it."""
WINDOW: Final = 20
"""Calls of which half must fail to open it."""
SPREAD: Final = 0.25
"""Part of a pause that is left to chance: many nodes do not probe in the same moment."""


class Permit(Enum):
    """What a call is let through as."""

    NORMAL = auto()
    PROBE = auto()


@dataclass(frozen=True, slots=True)
class Pauses:
    """Seconds that it stays open: the first time, and at most."""

    first: float = 1.0
    longest: float = 30.0


class Breaker:
    """Whether calls to one endpoint are let through."""

    def __init__(self, pauses: Pauses | None = None, *, draw: Callable[[], float] = random.random) -> None:
        self._pauses = pauses or Pauses()
        self._draw = draw
        self._failed: deque[bool] = deque(maxlen=WINDOW)
        self._open_till: float | None = None
        self._pause = self._pauses.first
        self._probing = False

    @property
    def is_open(self) -> bool:
        """Whether calls are turned away, but for a probe now and then."""
        return self._open_till is not None

    def ask(self, now: float) -> Permit | None:
        """A permit for one call; None where it is turned away. Who gets one says later how it went."""
        if self._open_till is None:
            return Permit.NORMAL
        if self._probing or now < self._open_till:
            return None
        self._probing = True
        return Permit.PROBE

    def succeeded(self, permit: Permit) -> bool:
        """A call was answered. True when this closes it."""
        if permit is Permit.PROBE:
            self._probing = False
            self._open_till = None
            self._pause = self._pauses.first
            self._failed.clear()
            return True
        self._failed.append(False)
        return False

    def failed(self, permit: Permit, now: float) -> bool:
        """A call was not answered. True when this opens it."""
        if permit is Permit.PROBE:
            self._probing = False
            self._pause = min(2 * self._pause, self._pauses.longest)
            self._open_till = now + self._drawn()
            return False
        if self._open_till is not None:
            return False  # it was under way when others made it open
        self._failed.append(True)
        last = list(self._failed)[-IN_A_ROW:]
        if (len(last) == IN_A_ROW and all(last)) or sum(self._failed) * 2 >= WINDOW:
            self._open_till = now + self._drawn()
            return True
        return False

    def abandoned(self, permit: Permit) -> None:
        """Nobody will know how the call went."""
        if permit is Permit.PROBE:
            self._probing = False

    def _drawn(self) -> float:
        return self._pause * (1 + SPREAD * (2 * self._draw() - 1))
