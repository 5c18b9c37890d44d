"""What the broker brings for this node's members, on its way to them."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Final

from hubbub.core.fanout import Fanout
from hubbub.core.messages import Publication
from hubbub.hub.connection import Connection

if TYPE_CHECKING:
    from hubbub.hub.hub import Hub

logger = logging.getLogger("hubbub")

COMPLAIN_INTERVAL: Final = 60.0
"""Seconds between two log lines about what arrives and is none of ours."""

Tap = Callable[[Publication, str], None]
"""Is shown every publication of a channel with the epoch of its offset, as it arrives."""


class Deliveries:
    """The broker's sink, and the pump of the fan-out: one turn of it per turn of the event loop."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._fanout: Fanout[Connection] = Fanout()
        self._ticking = False
        self._taps: dict[str, list[Tap]] = {}
        self._room = asyncio.Event()
        self._room.set()
        self._complained = float("-inf")

    @property
    def backlog(self) -> int:
        """Bytes that wait for a fan-out."""
        return self._fanout.backlog

    @property
    def under_way(self) -> bool:
        """Whether something is on its way to members that were there when it was published."""
        return self._ticking

    def tap(self, channel: str, tap: Tap) -> None:
        """Show `tap` what arrives for a channel, whether somebody listens or not."""
        self._taps.setdefault(channel, []).append(tap)

    def untap(self, channel: str, tap: Tap) -> None:
        """Show it no more; idempotent."""
        taps = [each for each in self._taps.pop(channel, ()) if each != tap]
        if taps:
            self._taps[channel] = taps

    def deliver(self, publication: Publication, epoch: str = "") -> None:
        """A publication for this node's members; with its epoch, where it has a history."""
        for tap in self._taps.get(publication.channel, ()):
            tap(publication, epoch)
        passed = self._hub.continuity.receive(publication, epoch) if publication.offset else publication
        if passed is not None:
            self.pass_on(passed)

    def control(self, message: bytes) -> None:
        """A control message, from another node or from this one."""
        self._hub.cluster.receive(message)

    def interrupted(self, channels: Collection[str]) -> None:
        """Of these channels something may have been lost on the way."""
        logger.warning("the broker is back; %d channels are compared with it", len(channels))
        self._hub.continuity.doubt(channels)
        self._hub.attendance.doubt(channels)

    def garbage(self, name: str, reason: str) -> None:
        """Something that no node has sent."""
        self._hub.metrics.garbage.inc()
        if self._hub.now() - self._complained >= COMPLAIN_INTERVAL:
            self._complained = self._hub.now()
            logger.warning("on %r came what no node has sent, and is ignored: %s", name[:100], reason)

    async def room(self) -> None:
        """Return when less than `backlog_bytes` wait to be sent."""
        await self._room.wait()

    def pass_mended(self, publication: Publication, epoch: str) -> None:
        """Let newcomers and the fan-out have a publication that was lost on the way."""
        for tap in self._taps.get(publication.channel, ()):
            tap(publication, epoch)
        self.pass_on(publication)

    def pass_on(self, publication: Publication) -> None:
        """Let the fan-out have a publication."""
        audience = self._hub.registry.audience(publication.channel)
        if audience is None:
            return
        self._fanout.publish(audience, publication)
        if self._fanout.backlog > self._hub.options.backlog_bytes:
            self._room.clear()
        if not self._ticking and self._hub.is_running:
            self._ticking = True
            asyncio.get_running_loop().call_soon(self._tick)

    def _tick(self) -> None:
        if not self._hub.is_running:
            self._ticking = False
            return
        # uvloop's own clock stands still within a turn.
        for done in self._fanout.tick(time.perf_counter()):
            took = time.perf_counter() - done.started
            self._hub.metrics.fanned_out(done.publications, done.members, done.bytes, took)
            for failure in done.failures:
                logger.error("a publication could not be encoded and went to nobody", exc_info=failure)
        if not self._room.is_set() and self._fanout.backlog <= self._hub.options.backlog_bytes // 2:
            self._room.set()
        self._ticking = self._fanout.active
        if self._ticking:
            asyncio.get_running_loop().call_soon(self._tick)
