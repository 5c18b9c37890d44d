"""Keeps this node subscribed at the broker to exactly the channels that somebody here listens to."""

import asyncio
import logging
from collections.abc import Callable

from hubbub.brokers.base import Broker, BrokerUnavailable

logger = logging.getLogger("hubbub.interest")


class Interest:
    """Subscribes before the first listener counts on it, and unsubscribes some time after the last has gone.

    At any moment at most one operation per channel is under way, so that a subscribe and an unsubscribe of
    the same channel cannot overtake each other.
    """

    def __init__(self, broker: Broker, wanted: Callable[[str], bool]) -> None:
        self._broker = broker
        self._wanted = wanted
        self._held: dict[str, int] = {}  # channels somebody is about to listen to
        self._subscribed: set[str] = set()
        self._doubtful: set[str] = set()  # a subscribe failed or was cancelled, perhaps after its effect
        self._under_way: dict[str, asyncio.Future[None] | None] = {}  # a future where somebody waits for it
        self._released: set[str] = set()
        self._janitor: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return len(self._subscribed)

    def take_hold(self, channel: str) -> bool:
        """As `hold`, where the node is subscribed already; False where that is to be waited for."""
        if channel not in self._subscribed or channel in self._under_way:
            return False
        self._held[channel] = self._held.get(channel, 0) + 1
        return True

    async def hold(self, channel: str) -> None:
        """Return when the node is subscribed; it stays so until `let_go`, then as long as `wanted` says."""
        self._held[channel] = self._held.get(channel, 0) + 1
        try:
            while channel not in self._subscribed or channel in self._under_way:
                if channel in self._under_way:
                    await self._done(channel)
                else:
                    await self._operate(channel, subscribe=True)
        except BaseException:
            self.let_go(channel)
            raise

    def let_go(self, channel: str) -> None:
        """The listener is registered, or gave up."""
        if self._held[channel] == 1:
            del self._held[channel]
        else:
            self._held[channel] -= 1
        self.release(channel)

    def release(self, channel: str) -> None:
        """Somebody listens no longer; unsubscribes in the background if it was the last."""
        if channel in self._held or self._wanted(channel):
            return
        self._released.add(channel)
        if self._janitor is None:
            self._janitor = asyncio.get_running_loop().create_task(self._tidy())

    async def settled(self) -> None:
        """Return when the broker was told of everything that nobody listens to any longer."""
        while self._janitor is not None:
            await asyncio.wait([self._janitor])

    async def stop(self) -> None:
        """Stop tidying; the broker forgets us as a whole."""
        if self._janitor is not None:
            self._janitor.cancel()
            await asyncio.wait([self._janitor])
            self._janitor = None
        for state in (self._subscribed, self._doubtful, self._released, self._held):
            state.clear()

    async def _operate(self, channel: str, *, subscribe: bool) -> None:
        self._under_way[channel] = None
        try:
            if subscribe:
                self._doubtful.add(channel)
                await self._broker.subscribe(channel)
                self._doubtful.discard(channel)
                self._subscribed.add(channel)
            else:
                self._subscribed.discard(channel)
                self._doubtful.discard(channel)
                await self._broker.unsubscribe(channel)
        finally:
            done = self._under_way.pop(channel)
            if done is not None:
                done.set_result(None)

    async def _done(self, channel: str) -> None:
        """Return when what is under way for a channel has ended, however that was."""
        done = self._under_way[channel]
        if done is None:
            done = self._under_way[channel] = asyncio.get_running_loop().create_future()
        await asyncio.wait([done])

    async def _tidy(self) -> None:
        while self._released:
            channel = self._released.pop()
            while channel in self._under_way:
                await self._done(channel)
            if channel in self._held or self._wanted(channel):
                continue
            if channel not in self._subscribed and channel not in self._doubtful:
                continue
            try:
                await self._operate(channel, subscribe=False)
            except BrokerUnavailable as exc:
                logger.warning("could not unsubscribe from %r: %s", channel, exc)
        self._janitor = None
