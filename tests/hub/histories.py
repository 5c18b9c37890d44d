"""Brokers that lose deliveries and begin histories anew, and a reader that checks what a client is told."""

import asyncio
import json
from collections import deque
from collections.abc import Callable, Collection
from typing import Any
from unittest.mock import patch

from msgspec import Raw

from hubbub.brokers.base import BROKERS, HistoryPage, PublishOptions, Sink, new_epoch
from hubbub.brokers.memory import MemoryBroker, MemoryPresence
from hubbub.core.messages import Position, Publication, shown_name
from hubbub.core.stream import Stream
from hubbub.hub import Hub

from .inprocess import Client, JsonMessage, a_hub


class LossyBroker(MemoryBroker):
    """The memory broker, on a way that loses what a test says, with histories that go on in other epochs."""

    def __init__(self) -> None:
        super().__init__()
        self.lost: Callable[[Publication], bool] = lambda _: False
        self._past: dict[str, dict[str, int]] = {}
        self._names: dict[tuple[str, str, int], object] = {}

    async def start(self, sink: Sink, node_id: str) -> None:
        await super().start(_Way(sink, self), node_id)

    async def publish(self, publication: Publication, options: PublishOptions) -> Position | None:
        position = await super().publish(publication, options)
        if position is not None:
            self._remember(publication, position)
        return position

    def _remember(self, publication: Publication, position: Position) -> None:
        name = (publication.channel, position.epoch, position.offset)
        self._names[name] = json.loads(bytes(publication.data))

    def published(self, channel: str, position: Position) -> object:
        """The data that this position names, for ever."""
        return self._names[channel, position.epoch, position.offset]

    def stream(self, channel: str) -> Stream:
        """A channel's history."""
        return self._stream(channel, 0.0)

    def go_on(self, channel: str, *, without: int = 0) -> None:
        """Another server has the history, but for so many of its newest publications."""
        stream = self.stream(channel)
        old, stream.epoch = stream.epoch, new_epoch()
        stream.top -= without
        for _ in range(min(without, len(stream))):
            stream._entries.pop()
        past = self._past.setdefault(channel, {})
        past |= {epoch: min(end, stream.top) for epoch, end in past.items()} | {old: stream.top}
        for offset in range(1, stream.top + 1):
            self._names[channel, stream.epoch, offset] = self._names[channel, old, offset]

    def begin_anew(self, channel: str) -> None:
        """The history is lost."""
        self._streams[channel] = Stream(new_epoch())
        self._past.pop(channel, None)

    async def history(
        self, channel: str, *, since: Position | None = None, limit: int = -1, reverse: bool = False
    ) -> HistoryPage:
        ended = -1 if since is None else self._past.get(channel, {}).get(since.epoch, -1)
        if since is not None and since.offset <= ended:
            since = Position(self.stream(channel).epoch, since.offset)
        return await super().history(channel, since=since, limit=limit, reverse=reverse)


class _Way:
    """From the broker to the node."""

    def __init__(self, sink: Sink, broker: LossyBroker) -> None:
        self._sink = sink
        self._broker = broker

    def deliver(self, publication: Publication, epoch: str = "") -> None:
        if not self._broker.lost(publication):
            self._sink.deliver(publication, epoch)

    def control(self, message: bytes) -> None:
        self._sink.control(message)

    def interrupted(self, channels: Collection[str]) -> None:
        self._sink.interrupted(channels)

    def garbage(self, name: str, reason: str) -> None:
        self._sink.garbage(name, reason)

    async def room(self) -> None:
        await self._sink.room()


class Reading:
    """One reading of a history: done when the test says so, and answered when it says so."""

    def __init__(self) -> None:
        self.may_read = asyncio.Event()
        self.may_answer = asyncio.Event()


class ScriptedBroker(LossyBroker):
    """Appends, delivers, reads and answers each when the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.scripted = False
        """Whether readings wait for the test."""
        self.readings: list[Reading] = []
        """Every reading, in the order they were asked for."""
        self._sent: deque[tuple[Publication, str]] = deque()

    def append(self, channel: str, *, size: int = 100) -> None:
        """Somebody publishes: it is in the history and on its way to the node."""
        stream = self.stream(channel)
        publication = a_publication(channel, stream.top + 1)
        placed = stream.append(publication, now=0.0, size=size, ttl=1e9)
        self._remember(placed, stream.position)
        self._sent.append((placed, stream.epoch))

    @property
    def under_way(self) -> int:
        """How many publications are on their way."""
        return len(self._sent)

    def deliver(self) -> None:
        """The next publication arrives."""
        assert self._sink is not None
        publication, epoch = self._sent.popleft()
        if publication.channel in self._subscribed:
            self._sink.deliver(publication, epoch)

    def lose(self) -> None:
        """The next publication is lost on its way."""
        self._sent.popleft()

    def pass_by(self, publication: Publication) -> None:
        """One that no history keeps arrives."""
        assert self._sink is not None
        self._sink.deliver(publication)

    def read(self) -> None:
        """The oldest reading that was not done yet is done."""
        self._next("may_read")

    def answer(self) -> None:
        """The oldest reading that is not answered yet is done and answered, as one way leads there."""
        self._next("may_read", "may_answer")

    def answer_all(self) -> None:
        """Every reading is done and answered from here on."""
        self.scripted = False
        for reading in self.readings:
            reading.may_read.set()
            reading.may_answer.set()

    def _next(self, *steps: str) -> None:
        for reading in self.readings:
            gates = [getattr(reading, step) for step in steps]
            if not all(gate.is_set() for gate in gates):
                for gate in gates:
                    gate.set()
                return

    async def history(
        self, channel: str, *, since: Position | None = None, limit: int = -1, reverse: bool = False
    ) -> HistoryPage:
        reading = Reading()
        self.readings.append(reading)
        await asyncio.sleep(0)  # a broker that others share always takes a while
        if self.scripted:
            await reading.may_read.wait()
        page = await super().history(channel, since=since, limit=limit, reverse=reverse)
        if self.scripted:
            await reading.may_answer.wait()
        return page


def a_publication(channel: str, number: int, **fields: Any) -> Publication:
    """A publication whose data is this number."""
    return Publication(
        channel=channel, data=Raw(str(number).encode()), timestamp="2030-01-01T00:00:00+00:00", **fields
    )


def a_hub_over(broker: MemoryBroker, **settings: Any) -> Hub:
    """A hub over this broker."""
    opened = (broker, MemoryPresence())
    with patch.dict(BROKERS, tested=f"{__name__}:_opened"), patch(f"{__name__}._opened", lambda _: opened):
        return a_hub("tested://", **settings)


def _opened(url: str) -> tuple[MemoryBroker, MemoryPresence]:
    raise AssertionError("a test opens its own")


class Reader:
    """Keeps a client's position in one channel as spec/protocol.md says, and finds what does not fit."""

    def __init__(self, broker: LossyBroker, channel: str, position: Position | None = None) -> None:
        self._broker = broker
        self._channel = channel
        self._name = shown_name(channel)
        self.position = position
        self.given: list[int] = []
        """The offsets of what it was given, in order."""
        self.gaps: list[Position] = []
        """Where it was told that something is lost."""

    def read(self, messages: list[JsonMessage]) -> "Reader":
        """Take everything that a client was sent, in order."""
        for message in messages:
            self._take(message)
        return self

    def _take(self, message: JsonMessage) -> None:
        match message:
            case {"type": "connection_established", "positions": {**positions}} if self._name in positions:
                self.position = Position(**positions[self._name])
            case {"type": "group_joined", "group_name": self._name, "epoch": epoch, "offset": offset}:
                self.position = Position(epoch, offset)
                if "id" not in message and message.get("recovered") is False:
                    self.gaps.append(self.position)
            case {"offset": offset, "data": data} if self._is_mine(message):
                assert self.position is not None, message
                epoch = message.get("epoch", self.position.epoch)
                assert offset == self.position.offset + 1, f"{message} after {self.position}"
                self.position = Position(epoch, offset)
                assert self._broker.published(self._channel, self.position) == data
                self.given.append(offset)

    def _is_mine(self, message: JsonMessage) -> bool:
        match message["type"]:
            case "broadcast_message" | "system_notification":
                return self._name == "$all"
            case "personal_notification":
                return bool(message["channel"] == self._name)
            case _:
                return bool(message.get("group_name") == self._name)


def follow(broker: LossyBroker, client: Client, channel: str, position: Position | None = None) -> Reader:
    """Check everything that a client was told of a channel."""
    return Reader(broker, channel, position).read(client.messages)
