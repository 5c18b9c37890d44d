"""What waits for a connection whose transport reports back-pressure: bounded, with a named policy.

An outbox exists only while its connection is slow, so that the many fast ones do not pay for it.
"""

from collections import OrderedDict
from enum import Enum, auto
from itertools import count

from hubbub.core.channels import SlowPolicy


class Outcome(Enum):
    """What became of a frame."""

    KEPT = auto()
    DROPPED = auto()
    """The frame, or older ones in its stead, went away by the channel's policy."""
    OVERFLOW = auto()
    """The bound is reached and nothing may be dropped: the connection is too slow to keep."""


class _Waiting:
    """One frame, with what the policies need to know of it."""

    __slots__ = ("channel", "data", "droppable", "slot")

    def __init__(
        self, channel: str, data: bytes, *, droppable: bool = False, slot: tuple[str, str] | None = None
    ) -> None:
        self.channel = channel
        self.data = data
        self.droppable = droppable
        self.slot = slot


class Outbox:
    """Frames in the order they go out, at most `limit` bytes of them.

    `dropped` counts, per channel, the publications that went away since the client was last told.
    """

    __slots__ = (
        "_droppable",
        "_droppable_size",
        "_frames",
        "_latest",
        "_numbers",
        "dropped",
        "limit",
        "size",
    )

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.size = 0
        self.dropped: dict[str, int] = {}
        self._frames: dict[int, _Waiting] = {}
        # An ordered dict, since taking the oldest of a plain one walks over all that went before it.
        self._droppable: OrderedDict[int, None] = OrderedDict()
        self._droppable_size = 0
        self._latest: dict[tuple[str, str], int] = {}
        self._numbers = count()

    def __len__(self) -> int:
        return len(self._frames)

    def put_reply(self, data: bytes) -> Outcome:
        """Queue the answer to a command, which no policy may drop."""
        return self._put(_Waiting("", data))

    def put(self, channel: str, data: bytes, policy: SlowPolicy, key: str = "") -> Outcome:
        """Queue one publication's frame under its channel's policy."""
        match policy:
            case SlowPolicy.DISCONNECT:
                return self._put(_Waiting(channel, data))
            case SlowPolicy.DROP_OLDEST:
                return self._put(_Waiting(channel, data, droppable=True))
            case SlowPolicy.LATEST:
                slot = (channel, key)
                older = self._latest.get(slot)
                if older is not None:
                    self._drop(older)
                outcome = self._put(_Waiting(channel, data, droppable=True, slot=slot))
                return Outcome.DROPPED if older is not None else outcome

    def take_all(self) -> bytes:
        """Everything that waits, joined in order; the outbox is empty afterwards."""
        data = b"".join(waiting.data for waiting in self._frames.values())
        self._frames.clear()
        self._droppable.clear()
        self._latest.clear()
        self.size = self._droppable_size = 0
        return data

    def take_dropped(self) -> dict[str, int]:
        """How many publications of which channels went away; counted anew from here."""
        dropped, self.dropped = self.dropped, {}
        return dropped

    def _put(self, waiting: _Waiting) -> Outcome:
        outcome = Outcome.KEPT
        size = len(waiting.data)
        if self.size - self._droppable_size + size > self.limit:
            # Not even an outbox without all that may be dropped has room for it.
            if not waiting.droppable:
                return Outcome.OVERFLOW
            self._count(waiting.channel)
            return Outcome.DROPPED
        while self.size + size > self.limit:
            self._drop(next(iter(self._droppable)))
            outcome = Outcome.DROPPED
        number = next(self._numbers)
        self._frames[number] = waiting
        self.size += size
        if waiting.droppable:
            self._droppable[number] = None
            self._droppable_size += size
        if waiting.slot is not None:
            self._latest[waiting.slot] = number
        return outcome

    def _drop(self, number: int) -> None:
        waiting = self._frames.pop(number)
        del self._droppable[number]
        self._droppable_size -= len(waiting.data)
        if waiting.slot is not None:
            del self._latest[waiting.slot]
        self.size -= len(waiting.data)
        self._count(waiting.channel)

    def _count(self, channel: str) -> None:
        self.dropped[channel] = self.dropped.get(channel, 0) + 1
