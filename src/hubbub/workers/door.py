"""The way in: accepts connections and hands each to the worker that has the fewest."""

import errno
import logging
import selectors
import socket
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterable
from itertools import count, islice
from typing import Final

from hubbub.workers.link import AT_ONCE, Gone, NoRoom
from hubbub.workers.placing import least_loaded
from hubbub.workers.process import Worker

logger = logging.getLogger("hubbub")

CROWDED: Final = 0.001
"""Seconds between two arrivals that are fewer where a crowd is coming."""
GATHER: Final = 0.002
"""Seconds for which a crowd gathers before it is let in. To wake three processes for each connection alone
takes a third more CPU time than one process does for all of it; for a handful at a time, it is the same."""
REST: Final = 0.25
"""Seconds until accepting is tried again where the system had no room for one more connection."""
_NO_ROOM: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


class Door:
    """A listening socket, and the connections that came in and are on nobody's side yet.

    While there are such, nobody more is let in: they wait in the kernel's queue as they would with a server
    of one process that is busy.
    """

    def __init__(
        self,
        listener: socket.socket,
        selector: selectors.BaseSelector,
        workers: Callable[[], Iterable[Worker]],
        *,
        limit: float,
    ) -> None:
        """`limit`: connections that one worker can have."""
        listener.setblocking(False)
        self._listener = listener
        self._selector = selector
        self._workers = workers
        self._limit = limit
        self._waiting: deque[socket.socket] = deque()
        self._turns = count(1)
        self._open = False
        self._watched = False
        self._last_arrival = float("-inf")
        self.rests_until: float | None = None
        self._said = False

    def open(self, backlog: int) -> None:
        """Let clients connect; idempotent."""
        if not self._open:
            self._listener.listen(backlog)
            self._open = True
            self._watch()

    def close(self) -> None:
        """Let nobody in any more, and turn away who stands in the door."""
        self._open = False
        self.rests_until = None
        self._watch()
        self._listener.close()
        while self._waiting:
            self._waiting.popleft().close()

    def accept(self, now: float) -> None:
        """Let in who stands before the door, at most `AT_ONCE`, and hand them on. `now` is in seconds."""
        if now - self._last_arrival < CROWDED:
            time.sleep(GATHER)
            now += GATHER
        self._last_arrival = now
        for _ in range(AT_ONCE):
            try:
                connection, _ = self._listener.accept()
            except BlockingIOError:
                break
            except OSError as exc:
                if exc.errno not in _NO_ROOM:
                    continue  # that client has gone again, or its network has
                self._rest(now, f"no connection can be accepted: {exc.strerror}; trying again")
                break
            self._said = False
            self._waiting.append(connection)
        self.hand_over(now)

    def look(self, now: float) -> None:
        """Go on after a rest, when it is over."""
        if self.rests_until is not None and now >= self.rests_until:
            self.rests_until = None
            self.hand_over(now)

    def hand_over(self, now: float) -> None:
        """Hand on those that wait, as far as there are workers with room."""
        while self._waiting and self.rests_until is None:
            share = self._share_out()
            if not share:
                break
            for worker, connections in share.items():
                self._give(worker, connections, now)
        self._watch()

    def _share_out(self) -> dict[Worker, list[socket.socket]]:
        """Some of those that wait, each with the worker it is for."""
        share: defaultdict[Worker, list[socket.socket]] = defaultdict(list)
        for connection in islice(self._waiting, AT_ONCE):
            worker = least_loaded((w for w in self._workers() if w.takes), self._limit)
            if worker is None:
                break
            worker.tally.given += 1
            worker.tally.turn = next(self._turns)
            share[worker].append(connection)
        for _ in range(sum(map(len, share.values()))):
            self._waiting.popleft()
        return share

    def _give(self, worker: Worker, connections: list[socket.socket], now: float) -> None:
        try:
            worker.link.give(connections)
        except (NoRoom, Gone) as exc:
            worker.tally.given -= len(connections)
            self._waiting.extendleft(reversed(connections))
            if isinstance(exc, Gone):
                worker.leaving = True
            elif exc.soon:
                worker.full = True
                self._selector.modify(
                    worker.link.socket, selectors.EVENT_READ | selectors.EVENT_WRITE, worker
                )
            else:
                self._rest(now, "too many connections are on their way to workers; trying again")
        else:
            for connection in connections:
                connection.close()

    def _rest(self, now: float, why: str) -> None:
        self.rests_until = now + REST
        if not self._said:
            logger.warning(why)
            self._said = True

    def _watch(self) -> None:
        """Look at the listener as long as somebody who comes in could be handed on."""
        wanted = self._open and not self._waiting and self.rests_until is None
        if wanted == self._watched:
            return
        if wanted:
            self._selector.register(self._listener, selectors.EVENT_READ)
        else:
            self._selector.unregister(self._listener)
        self._watched = wanted
