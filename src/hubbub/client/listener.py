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

    What was taken last counts as given when the next is asked for.
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
    def oldest(self) -> Item | None:
        """The first that the program has not dealt with."""
        return self.current or (self.items[0] if self.items else None)

    # The connection's side.

    def put(self, item: Item) -> bool:
        """Add a message; whether the connection has to mind how much waits now."""
        self.items.append(item)
        if self._waiter is not None:
            self._wake()
        waiting = len(self.items)
        if waiting < self.buffer:
            return False
        if self.policy is Policy.DROP_OLDEST:
            if waiting > self.buffer + isinstance(self.items[0].what, Gap):
                self._drop_oldest()
            return False
        news = not self.is_full or waiting == FAR_TOO_MUCH * self.buffer
        self.is_full = True
        return news

    @property
    def is_bursting(self) -> bool:
        """Whether even a call that waits for its answer is no reason to read on."""
        return len(self.items) >= FAR_TOO_MUCH * self.buffer

    def _drop_oldest(self) -> None:
        first = gone = self.items.popleft()
        if isinstance(first.what, Gap):
            gone = self.items.popleft()
        gap = Gap(gone.channel.name, gone.position)
        item = Item(first.number, gone.channel, first.before, gone.position, gap)
        if self.gaps:
            self.items.appendleft(item)
        if not self._dropping:
            self._dropping = True
            self._on_drop(item)

    def end(self, reason: Exception | None) -> None:
        """Nothing more comes: after what waits the loop ends, by this exception if there is one."""
        if not self._ended:
            self._ended, self._end = True, reason
            self._wake()

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
                    raise self._end
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
        self._make_room()
