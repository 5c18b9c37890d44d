"""Announcements that clients have left, so coalesced that a storm of leavers never costs N×N deliveries."""

from collections import OrderedDict
from collections.abc import Callable

INTERVAL = 1.0
"""Seconds between two announcements, at least."""
LISTED = 500
"""Client ids that one announcement lists at most; the others come with the next."""
REMEMBERED = 50_000
"""Client ids that wait at most; past it they are counted without their names."""


class Departures:
    """Collects client ids that left and gives them out, at most once per `INTERVAL`.

    Who `is_back` by then is not given out.
    """

    def __init__(self, is_back: Callable[[str], bool] | None = None) -> None:
        self._is_back = is_back
        # An ordered dict, since taking the oldest of a plain one walks over all that went before it.
        self._waiting: OrderedDict[str, None] = OrderedDict()
        self._unnamed = 0
        self._last = float("-inf")

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, client_id: str) -> None:
        """A client's last connection went away."""
        if len(self._waiting) < REMEMBERED:
            self._waiting[client_id] = None
        else:
            self._unnamed += 1

    def take(self, now: float) -> tuple[list[str], int] | None:
        """The ids to announce now and how many more left unnamed; None where it is not time."""
        if not self._waiting or now - self._last < INTERVAL:
            return None
        ids: list[str] = []
        while self._waiting and len(ids) < LISTED:
            client_id, _ = self._waiting.popitem(last=False)
            if self._is_back is None or not self._is_back(client_id):
                ids.append(client_id)
        if not ids:
            return None
        self._last = now
        unnamed, self._unnamed = self._unnamed, 0
        return ids, unnamed

    def clear(self) -> None:
        """Forget who waits: nobody is there to be told."""
        self._waiting.clear()
        self._unnamed = 0
