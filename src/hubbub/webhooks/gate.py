"""A gate of bounded width with a bounded queue in front of it."""

import asyncio


class Full(Exception):
    """Too many are waiting already."""


class TurnedAway(Exception):
    """Who waited was sent away."""


class Gate:
    """Lets `width` through at once; `queue` more wait, in the order of their coming."""

    def __init__(self, width: int, queue: int) -> None:
        self._width = width
        self._queue = queue
        self._inside = 0
        self._waiting: dict[asyncio.Future[None], None] = {}

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._waiting)

    async def enter(self) -> None:
        """Be inside, until `leave`. Raises `Full`, or `TurnedAway` while waiting."""
        if self._inside < self._width:
            self._inside += 1
            return
        if len(self._waiting) >= self._queue:
            raise Full
        turn = asyncio.get_running_loop().create_future()
        self._waiting[turn] = None
        try:
            await turn
        except asyncio.CancelledError:
            self._waiting.pop(turn, None)
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self.leave()  # its turn had come in the very moment
            raise

    def leave(self) -> None:
        """Make room: the place goes to who has waited longest."""
        while self._waiting:
            turn = next(iter(self._waiting))
            del self._waiting[turn]
            if not turn.done():
                turn.set_result(None)
                return
        self._inside -= 1

    def turn_away(self) -> None:
        """Send away everybody who waits."""
        waiting, self._waiting = self._waiting, {}
        for turn in waiting:
            if not turn.done():
                turn.set_exception(TurnedAway())
