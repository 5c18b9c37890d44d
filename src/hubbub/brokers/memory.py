"""The broker and presence of a single process: everything is in its memory and goes with it."""

import math
import time
from collections.abc import Callable, Collection, Mapping

from msgspec import Raw

from hubbub.brokers.base import HistoryPage, PublishOptions, Sink, new_epoch
from hubbub.core.messages import Member, Position, Publication
from hubbub.core.stream import Stream

STREAM_TTL = 3600.0
"""Seconds that an unused channel's position outlives its publications."""
SWEEP_INTERVAL = 10.0
"""Seconds between two looks for what has outlived its time."""


class MemoryBroker:
    """Keeps history in this process and delivers to its one node."""

    remote = False

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._sink: Sink | None = None
        self._subscribed: set[str] = set()
        self._occupied: set[str] = set()
        self._streams: dict[str, Stream] = {}
        self._used: dict[str, float] = {}
        self._results: dict[tuple[str, str], tuple[float, Position | None]] = {}
        self._swept = clock()

    async def start(self, sink: Sink, node_id: str) -> None:
        self._sink = sink

    async def stop(self) -> None:
        self._sink = None
        self._subscribed.clear()
        self._occupied.clear()

    async def subscribe(self, channel: str) -> None:
        self._subscribed.add(channel)

    async def unsubscribe(self, channel: str) -> None:
        self._subscribed.discard(channel)

    async def publish(self, publication: Publication, options: PublishOptions) -> Position | None:
        now = self._clock()
        self._sweep(now)
        channel = publication.channel
        result = (channel, options.idempotency_key)
        if options.idempotency_key and result in self._results:
            expires, position = self._results[result]
            if expires > now:
                return position
        position = None
        if options.history_size > 0:
            stream = self._stream(channel, now)
            publication = stream.append(
                publication, now=now, size=options.history_size, ttl=options.history_ttl
            )
            position = stream.position
        if options.idempotency_key:
            # Laid in again at the end, so that the oldest come first when they are swept.
            self._results.pop(result, None)
            self._results[result] = (now + options.idempotency_ttl, position)
        if self._sink is not None and channel in self._subscribed:
            self._sink.deliver(publication, "" if position is None else position.epoch)
        return position

    async def history(
        self, channel: str, *, since: Position | None = None, limit: int = -1, reverse: bool = False
    ) -> HistoryPage:
        now = self._clock()
        stream = self._stream(channel, now)
        stream.expire(now)
        if since is not None and (since.epoch != stream.epoch or not 0 <= since.offset <= stream.top):
            since = None
        offset = None if since is None else since.offset
        publications = stream.read(since=offset, limit=limit, reverse=reverse)
        return HistoryPage(publications, stream.position, since)

    async def positions(self, channels: Collection[str]) -> dict[str, Position]:
        return {c: self._streams[c].position for c in channels if c in self._streams}

    async def remove_history(self, channel: str) -> None:
        if channel in self._streams:
            self._streams[channel].clear()

    async def control(self, message: bytes, node_id: str = "") -> None:
        if self._sink is not None:
            self._sink.control(message)

    async def deserted(self, channels: Collection[str]) -> list[str]:
        return [channel for channel in channels if channel not in self._subscribed]

    async def occupancy(self, channel: str) -> int:
        before, now = channel in self._occupied, channel in self._subscribed
        (self._occupied.add if now else self._occupied.discard)(channel)
        return now - before

    async def ping(self) -> None:
        return None

    def _stream(self, channel: str, now: float) -> Stream:
        self._used[channel] = now
        stream = self._streams.get(channel)
        if stream is None:
            stream = self._streams[channel] = Stream(new_epoch())
        return stream

    def _sweep(self, now: float) -> None:
        """Let go of what has outlived its time, so that memory follows what is in use."""
        if now - self._swept < SWEEP_INTERVAL:
            return
        self._swept = now
        for channel, stream in list(self._streams.items()):
            stream.expire(now)
            unused = channel not in self._subscribed and self._used[channel] + STREAM_TTL <= now
            if not stream and unused:
                del self._streams[channel], self._used[channel]
        for result, (expires, _) in list(self._results.items()):
            if expires > now:
                break
            del self._results[result]


class MemoryPresence:
    """Who is in which channel of this process."""

    refresh_interval = math.inf

    def __init__(self) -> None:
        # Tuples: msgspec hoards freed structs, two thousand of a size, and those lie strewn over memory that
        # could be given back when a crowd has left.
        self._channels: dict[str, dict[str, tuple[str, str, Raw | None]]] = {}

    async def start(self, node_id: str) -> None:
        return None

    async def stop(self) -> None:
        return None

    async def add(self, channel: str, connection_id: str, member: Member) -> bool:
        known = channel in self._channels
        entry = (member.client_id, member.user, member.info)
        self._channels.setdefault(channel, {})[connection_id] = entry
        return known

    async def remove(self, channel: str, connection_id: str) -> None:
        members = self._channels.get(channel)
        if members is not None:
            members.pop(connection_id, None)
            if not members:
                del self._channels[channel]

    async def replace(self, channel: str, members: Mapping[str, Member]) -> None:
        self._channels.pop(channel, None)
        for id, member in members.items():
            await self.add(channel, id, member)

    async def refresh(self, channels: Collection[str]) -> list[str]:
        return []

    async def list(self, channel: str) -> dict[str, Member]:
        return {id: Member(*entry) for id, entry in self._channels.get(channel, {}).items()}

    async def count(self, channel: str) -> tuple[int, int]:
        members = self._channels.get(channel, {})
        return len(members), len({client_id for client_id, _, _ in members.values()})


def open_memory(url: str) -> tuple[MemoryBroker, MemoryPresence]:
    """A broker and presence of this process, empty."""
    return MemoryBroker(), MemoryPresence()
