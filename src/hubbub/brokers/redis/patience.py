"""Deadlines that count only the time in which the event loop was at work."""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from hubbub.brokers.base import BrokerUnavailable

STEP: Final = 0.05
"""Seconds between two looks at what is overdue."""

Reason = Callable[[], str]


class Patience:
    """Fails what is not done in `seconds`, with `BrokerUnavailable`.

    When the loop itself is late (a crowd comes in, another process has the core), answers lie unread in the
    socket. Measured by the wall clock they are overdue as soon as the loop goes on, though nobody has been
    slow but we; 1,216 answers were thrown away like that, and the connection with them, while 5,000 clients
    came back. So no more than two steps are counted between two looks: whoever reads has had its turn.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.now = 0.0
        """Seconds of work."""
        self._waiting: deque[tuple[float, asyncio.Future[Any], Reason]] = deque()
        self._looked = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def watch(self, future: asyncio.Future[Any], reason: Reason) -> None:
        """Fail this future when its time has come, for the reason there is then."""
        self._waiting.append((self.now + self.seconds, future, reason))
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._looked = loop.time()
            self._timer = loop.call_later(STEP, self._look)

    def close(self) -> None:
        """Watch nothing any longer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._waiting.clear()

    def _look(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        self.now += min(now - self._looked, 2 * STEP)
        self._looked = now
        while self._waiting:
            deadline, future, reason = self._waiting[0]
            if deadline > self.now and not future.done():
                break
            self._waiting.popleft()
            if not future.done():
                fail(future, reason())
        self._timer = loop.call_later(STEP, self._look) if self._waiting else None


def fail(future: asyncio.Future[Any], reason: str) -> None:
    """Have whoever waits for it hear that the broker is unavailable."""
    if not future.done():
        future.set_exception(BrokerUnavailable(reason))
        future.exception()  # perhaps nobody waits for it any more
