"""What waits for one listener, and what happens when that is too much."""

import asyncio
from collections import deque
from collections.abc import Callable
from enum import StrEnum
from typing import TYPE_CHECKING, Final, NamedTuple

from hubbub.client.wire import Envelope
from hubbub.core.messages import Position

FAR_TOO_MUCH: Final = 100
"""While a call waits for its answer, reading goes on until so many buffers are full."""

if TYPE_CHECKING:
    from hubbub.client.channel import Channel


class Policy(StrEnum):
    """What happens when a listener has more waiting than its buffer holds."""

    PAUSE = "pause"
    """Nothing more is read until half of it is gone; then the server minds that this client is slow."""
    RECONNECT = "reconnect"
    """The connection is closed, and comes back, with its positions, when half of it is gone."""
    DROP_OLDEST = "drop_oldest"
    """The oldest go, and a gap stands in their place."""


class Gap(NamedTuple):
    """Messages are missing here that cannot be had again; take the state you show from elsewhere.

    name: the group, or `$all`, `$client`, `$user`.
    position: where it goes on from, where there is a history.
    """

    name: str
    position: Position | None = None


class Item(NamedTuple):
    """One thing that waits: a message or a gap, with the positions before and after it."""

    number: int  # counts up in each channel, so that listeners can be compared
    channel: "Channel"
    before: Position | None
    position: Position | None
    what: Envelope | Gap


class Listener:
    """A bounded queue between the connection and one loop of the program.

    What was taken last counts as given when the next is asked for. A program in another thread takes some at
    a time: they are at its hand then, and count as waiting until it comes to them.
    """

    def __init__(
        self,
        buffer: int,
        policy: Policy,
        *,
        gaps: bool,
        on_room: Callable[["Listener"], None],
        on_drop: Callable[[Item], None],
    ) -> None:
        self.items: deque[Item] = deque()
        self.current: Item | None = None
        self.buffer = buffer
        self.policy = policy
        self.gaps = gaps
        self.is_full = False
        self.is_in_use = False  # a loop has asked it for something
        self._at_hand: tuple[Item, ...] = ()
        self._next_at_hand = 0
        self._on_room = on_room
        self._on_drop = on_drop
        self._waiter: asyncio.Future[None] | None = None
        self._ended = False
        self._end: Exception | None = None
        self._dropping = False

    @property
    def has_ended(self) -> bool:
        """Whether nothing more comes after what waits."""
        return self._ended

    @property
    def is_crowded(self) -> bool:
        """Whether there is no room, and the connection is to be closed for that."""
        return self.is_full and self.policy is Policy.RECONNECT and not self._ended

    @property
    def holds(self) -> bool:
        """Whether there is no room, and nothing more is to be read for that."""
        return self.is_full and self.policy is Policy.PAUSE and not self._ended

    # The connection's side.

    def put(self, item: Item) -> bool:
        """Add a message; whether the connection has to mind how much waits now."""
        if self._ended:
            return False
        self.items.append(item)
        if self._waiter is not None:
            self._wake()
        waiting = len(self.items)
        if waiting < self.buffer:
            return False
        if self.policy is Policy.DROP_OLDEST:
            if waiting > self.buffer + self._leading_gaps():
                self._drop_oldest()
            return False
        news = not self.is_full or waiting == FAR_TOO_MUCH * self.buffer
        self.is_full = True
        return news

    def put_gap(self, item: Item) -> bool:
        """As `put`, for a gap; one that still waits, with no message after it, takes it in."""
        for number in reversed(range(len(self.items))):
            last = self.items[number]
            if last.channel is item.channel:
                if isinstance(last.what, Gap) and not self._ended:
                    self.items[number] = item._replace(number=last.number, before=last.before)
                    return False
                break
        return self.put(item)

    @property
    def is_bursting(self) -> bool:
        """Whether even a call that waits for its answer is no reason to read on."""
        return len(self.items) >= FAR_TOO_MUCH * self.buffer

    def _leading_gaps(self) -> int:
        number = 0
        while isinstance(self.items[number].what, Gap):
            number += 1
            if number == len(self.items):
                break
        return number

    def _drop_oldest(self) -> None:
        """The oldest message goes; a gap of its channel stands in its place, one for all that went."""
        gaps: dict[str, Item] = {}
        while isinstance((gone := self.items.popleft()).what, Gap):
            gaps[gone.channel.name] = gone
        name = gone.channel.name
        first = gaps.get(name, gone)
        item = Item(first.number, gone.channel, first.before, gone.position, Gap(name, gone.position))
        if self.gaps:
            gaps[name] = item
        self.items.extendleft(reversed(gaps.values()))
        if not self._dropping:
            self._dropping = True
            self._on_drop(item)

    def end(self, reason: Exception | None) -> None:
        """Nothing more comes: after what waits the loop ends, by this exception if there is one."""
        if not self._ended:
            self._ended, self._end = True, reason
            self._make_room()  # what waits now holds up nobody
            self._wake()

    def resume(self) -> None:
        """There is a connection again: more comes, unless a loop has been told of the end."""
        if not self.is_in_use:
            self._ended, self._end = False, None

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    # The program's side.

    async def next(self) -> Item | None:
        """The next that waits; None when there will be none, or what ended it is raised."""
        self.current = None
        while not self.items:
            if self._ended:
                if self._end is not None:
                    # Many may be told of one end: the traceback of each is its own.
                    raise self._end.with_traceback(None)
                return None
            if self._waiter is None or self._waiter.done():
                self._waiter = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._waiter)
        return self.take()

    def take(self) -> Item:
        """As `next`, where something waits."""
        items = self.items
        self.current = item = items.popleft()
        if self.is_full and len(items) <= self.buffer // 2:
            self.is_full = False
            self._on_room(self)
        elif self._dropping and not items:
            self._dropping = False
        return item

    def abandon(self) -> None:
        """Nobody listens yet: keep the newest, and hold up nobody."""
        self.policy = Policy.DROP_OLDEST
        while len(self.items) > self.buffer:
            self._drop_oldest()
        self._make_room()

    def adopt(self, buffer: int, policy: Policy, *, gaps: bool) -> None:
        """Somebody listens."""
        self.buffer, self.policy, self.gaps = buffer, policy, gaps

    def _make_room(self) -> None:
        if self.is_full:
            self.is_full = False
            self._on_room(self)

    def clear(self) -> None:
        """Nobody will take what waits."""
        self.items.clear()
        self.current = None
        self._at_hand = ()
        self._make_room()

    # For a program in another thread.

    def hand_over(self, most: int) -> None:
        """Put what was taken last at hand, and some of what waits after it."""
        batch = [self.current] if self.current is not None else []
        while self.items and len(batch) < most:
            batch.append(self.take())
        self._at_hand, self._next_at_hand = tuple(batch), 0
        self.current = None

    def from_hand(self) -> Item | None:
        """The next that is at hand."""
        batch, number = self._at_hand, self._next_at_hand
        if number >= len(batch):
            return None
        self.current = item = batch[number]
        self._next_at_hand = number + 1
        return item

    def oldest_of(self, channel: "Channel") -> Item | None:
        """The first thing of this channel that the program has not dealt with."""
        current, batch = self.current, self._at_hand[self._next_at_hand :]
        if current is not None and current.channel is channel:
            return current
        return next((item for item in (*batch, *self.items) if item.channel is channel), None)
