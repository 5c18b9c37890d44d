"""Holds channels to their positions: a gap is found and healed from the history, or said aloud."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from itertools import islice
from typing import TYPE_CHECKING, Final

from hubbub.brokers.base import BrokerUnavailable
from hubbub.core.messages import Kind, Position, Publication
from hubbub.core.trail import Trail

if TYPE_CHECKING:
    from hubbub.hub.hub import Hub

logger = logging.getLogger("hubbub.continuity")

BATCH: Final = 500
"""Channels whose positions are compared in one go."""
HEALERS: Final = 32
"""Histories that are read at once for healing."""
AGREE_TIME: Final = 1.0
"""Seconds that a newcomer waits for a channel to be mended."""
PAUSE: Final = 0.25
"""Seconds till a broker that did not answer is asked again."""


class Continuity:
    """The trails of this node's channels, and the work of mending them.

    A channel is in doubt when the way to this node was broken, and once in a while in any case: then its
    position is compared with the broker's. That is one small question per node and channel, however many
    members it has.
    """

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._trails: dict[str, Trail] = {}
        self._doubtful: dict[str, None] = {}
        self._comparing: asyncio.Task[None] | None = None
        self._mending: dict[str, asyncio.Task[None]] = {}
        self._healers = asyncio.Semaphore(HEALERS)
        self._next_check = float("inf")

    def __len__(self) -> int:
        return len(self._trails)

    def begin(self, channel: str, position: Position) -> None:
        """Members count on this channel from here on; one that has begun goes on as it is."""
        if channel not in self._trails:
            self._trails[channel] = Trail(channel, position)

    def end(self, channel: str) -> None:
        """Nobody here listens any longer."""
        self._trails.pop(channel, None)
        self._doubtful.pop(channel, None)
        task = self._mending.pop(channel, None)
        if task is not None:
            task.cancel()

    def receive(self, publication: Publication, epoch: str) -> Publication | None:
        """A publication with an offset arrived; returns it where it is to be passed on now."""
        trail = self._trails.get(publication.channel)
        if trail is None:
            return publication
        passed = trail.receive(publication, epoch)
        if trail.broken:
            self._mend(trail)
        return passed

    def position(self, channel: str) -> Position | None:
        """Up to where everything was passed on; None where nobody here counts on the channel."""
        trail = self._trails.get(channel)
        return None if trail is None else trail.position

    def agrees(self, channel: str, epoch: str) -> bool:
        """Whether nobody here counts on another epoch of the channel."""
        trail = self._trails.get(channel)
        return trail is None or trail.epoch == epoch

    async def agree(self, channel: str, epoch: str) -> None:
        """Bring the channel's trail to this epoch, where there is one and that can be done in time."""
        if not self.agrees(channel, epoch):
            trail = self._trails[channel]
            trail.broken = True
            await asyncio.wait([self._mend(trail)], timeout=AGREE_TIME)

    def doubt(self, channels: Iterable[str]) -> None:
        """Of these something may have been lost."""
        self._doubtful |= dict.fromkeys(c for c in channels if c in self._trails)
        if self._doubtful and self._comparing is None:
            self._comparing = asyncio.get_running_loop().create_task(self._compare())

    def look_after(self, now: float) -> None:
        """Once in a while everything is in doubt."""
        interval = self._hub.options.position_interval
        if self._next_check > now + interval:
            self._next_check = now + interval
        if now >= self._next_check:
            self._next_check = now + interval
            self.doubt(self._trails)

    async def stop(self) -> None:
        """Let go of every trail."""
        tasks = [task for task in (self._comparing, *self._mending.values()) if task is not None]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        self._comparing = None
        for state in (self._trails, self._doubtful, self._mending):
            state.clear()

    async def _compare(self) -> None:
        try:
            while self._doubtful:
                batch = list(islice(self._doubtful, BATCH))
                try:
                    positions = await self._hub.broker.positions(batch)
                except BrokerUnavailable:
                    await asyncio.sleep(PAUSE)
                    continue
                for channel in batch:
                    self._doubtful.pop(channel, None)
                    trail = self._trails.get(channel)
                    if trail is not None and positions.get(channel) != trail.position:
                        trail.broken = True
                        self._mend(trail)
        except Exception:
            logger.exception("positions could not be compared")
        finally:
            self._comparing = None

    def _mend(self, trail: Trail) -> asyncio.Task[None]:
        task = self._mending.get(trail.channel)
        if task is None:
            task = asyncio.get_running_loop().create_task(self._mend_till_whole(trail))
            self._mending[trail.channel] = task
        return task

    async def _mend_till_whole(self, trail: Trail) -> None:
        hub, channel = self._hub, trail.channel
        try:
            while trail.broken:
                try:
                    async with self._healers:
                        page = await hub.broker.history(channel, since=trail.position)
                except BrokerUnavailable:
                    await asyncio.sleep(PAUSE)
                    continue
                passed = trail.mend(page.publications, page.position, page.since)
                gaps = sum(publication.kind is Kind.GAP for publication in passed)
                hub.metrics.mended(len(passed) - gaps, gaps)
                for publication in passed:
                    hub.deliveries.pass_mended(publication, trail.epoch)
                if trail.broken:
                    await asyncio.sleep(0)
                    await hub.deliveries.room()
        except asyncio.CancelledError:
            raise
        except Exception:
            logger.exception("the gap in %r could not be healed", channel)
        finally:
            if self._mending.get(channel) is asyncio.current_task():
                del self._mending[channel]
