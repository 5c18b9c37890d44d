"""Announcements that clients have left, so coalesced that a storm of leavers never costs N×N deliveries."""

from collections import deque

INTERVAL = 1.0
"""Seconds between two announcements, at least."""
LISTED = 500
"""Client ids that one announcement lists at most; the others come with the next."""
REMEMBERED = 50_000
"""Client ids that wait at most; past it they are counted without their names."""


class Departures:
    """Collects client ids that left and gives them out, at most once per `INTERVAL`."""

    def __init__(self) -> None:
        self._waiting: deque[str] = deque()
        self._unnamed = 0
        self._last = float("-inf")

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, client_id: str) -> None:
        """A client's last connection went away."""
        if len(self._waiting) < REMEMBERED:
            self._waiting.append(client_id)
        else:
            self._unnamed += 1

    def take(self, now: float) -> tuple[list[str], int] | None:
        """The ids to announce now and how many more left unnamed; None where it is not time."""
        if not self._waiting or now - self._last < INTERVAL:
            return None
        self._last = now
        ids = [self._waiting.popleft() for _ in range(min(LISTED, len(self._waiting)))]
        unnamed, self._unnamed = self._unnamed, 0
        return ids, unnamed

    def clear(self) -> None:
        """Forget who waits: nobody is there to be told."""
        self._waiting.clear()
        self._unnamed = 0
