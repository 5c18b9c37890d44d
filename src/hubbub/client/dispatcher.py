"""What waits for handlers, and the task that tells them."""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from hubbub.client.handlers import Handlers
from hubbub.client.listener import FAR_TOO_MUCH, Item
from hubbub.client.wire import Message

if TYPE_CHECKING:
    from hubbub.client.channel import Channel


class Dispatcher:
    """Tells the handlers one message after another, in a task of its own, so that a slow one holds up nobody
    else: while one runs, others listen, calls are answered and a lost connection comes back.

    Past `buffer` messages that wait, nothing more is read until half of them are gone.
    """

    def __init__(self, handlers: Handlers, buffer: int, on_room: Callable[["Dispatcher"], None]) -> None:
        self.handlers = handlers
        self.is_full = False
        self._buffer = buffer
        self._on_room = on_room
        self._waiting: deque[tuple[Message, Item | None]] = deque()
        self._current: Item | None = None
        self._wake = asyncio.Event()
        self._ended = False
        self._task: asyncio.Task[None] | None = None

    @property
    def is_bursting(self) -> bool:
        """Whether even a call that waits for its answer is no reason to read on."""
        return len(self._waiting) >= FAR_TOO_MUCH * self._buffer

    def start(self) -> None:
        """Begin to tell."""
        self._wake = asyncio.Event()
        self._ended = False
        self._waiting.clear()
        self._task = asyncio.create_task(self._run(), name="hubbub client: handlers")

    def put(self, message: Message, item: Item | None = None) -> bool:
        """Have this told; whether so much waits now that reading should stop."""
        if self._ended:
            return False
        self._waiting.append((message, item))
        self._wake.set()
        if len(self._waiting) < self._buffer:
            return False
        news = not self.is_full or len(self._waiting) == FAR_TOO_MUCH * self._buffer
        self.is_full = True
        return news

    def replace_gap(self, message: Message, item: Item) -> bool:
        """Have a gap told in place of one that waits, with no message after it; whether there is one."""
        for number in reversed(range(len(self._waiting))):
            waiting, last = self._waiting[number]
            if last is not None and last.channel is item.channel:
                if waiting["type"] != "gap":
                    return False
                self._waiting[number] = message, item._replace(number=last.number, before=last.before)
                return True
        return False

    def items_of(self, channel: "Channel") -> Iterator[Item]:
        """The first message of this channel that waits to be told."""
        items = [self._current, *(item for _, item in self._waiting)]
        return (item for item in items if item is not None and item.channel is channel)

    @property
    def is_telling(self) -> bool:
        """Whether a handler is who asks."""
        return self._task is not None and self._task is asyncio.current_task()

    def stop(self) -> None:
        """Tell nothing more. A handler that runs is cancelled, unless it is who asks."""
        self._ended = True
        for _, item in self._waiting:
            if item is not None:
                item.channel.pin(item)
        self._waiting.clear()
        self._wake.set()
        if self._task is not None and not self.is_telling:
            self._task.cancel()

    async def drain(self) -> None:
        """Return when everything is told that waits."""
        self._ended = True
        self._wake.set()
        if self._task is not None:
            await asyncio.wait({self._task})

    async def _run(self) -> None:
        while True:
            while self._waiting:
                message, self._current = self._waiting.popleft()
                if self.is_full and len(self._waiting) <= self._buffer // 2:
                    self.is_full = False
                    self._on_room(self)
                try:
                    await self.handlers.tell(message)
                except asyncio.CancelledError:
                    if self._current is not None:
                        self._current.channel.pin(self._current)
                    raise
                finally:
                    self._current = None
            if self._ended:
                return
            self._wake.clear()
            await self._wake.wait()
