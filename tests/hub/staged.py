"""A broker and a presence that a test directs: slow, failing, or stopped at any step of a call."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from typing import Any
from unittest.mock import patch

from hubbub.brokers.base import BROKERS, BrokerUnavailable, HistoryPage, PublishOptions
from hubbub.brokers.memory import MemoryBroker, MemoryPresence
from hubbub.core.messages import Member, Position, Publication
from hubbub.hub import Hub

from .inprocess import a_hub


class Stage:
    """Directs the calls of one broker and its presence.

    A call named `<operation> <channel>` comes to two steps: before it has its effect and after. At each it
    waits a turn of the loop, then for its gate where one is shut. In between it fails where it is told to.
    """

    def __init__(self) -> None:
        self.at_step: Callable[[str], object] | None = None
        self.log: list[str] = []
        """Every call, in the order they began."""
        self.overlaps: list[str] = []
        """Calls that subscribe or unsubscribe while another such call for the channel is under way."""
        self._under_way: Counter[str] = Counter()
        self._gates: dict[str, asyncio.Event] = {}
        self._failing: set[str] = set()
        self._too_late: set[str] = set()

    def shut(self, call: str, *, after: bool = False) -> None:
        """Let this call wait, before its effect or after it."""
        self._gates[f"{'after' if after else 'before'} {call}"] = asyncio.Event()

    def open(self, call: str, *, failing: bool = False) -> None:
        """Let this call go on, or fail though it may have had its effect."""
        for when in ("before", "after"):
            gate = self._gates.pop(f"{when} {call}", None)
            if gate is not None:
                if failing:
                    self._too_late.add(f"{when} {call}")
                gate.set()

    def fail(self, call: str, *, failing: bool = True) -> None:
        """Have this call fail from now on, or no longer; with no effect."""
        if failing:
            self._failing.add(call)
        else:
            self._failing.discard(call)

    def reached(self, call: str) -> bool:
        """Whether this call has begun."""
        return call in self.log

    @asynccontextmanager
    async def call(self, operation: str, channel: str) -> AsyncIterator[None]:
        """One call's way over the stage."""
        call = f"{operation} {channel}"
        self.log.append(call)
        subscription = operation in ("subscribe", "unsubscribe")
        if subscription:
            if self._under_way[channel]:
                self.overlaps.append(call)
            self._under_way[channel] += 1
        try:
            await self._step(f"before {call}")
            if call in self._failing:
                raise BrokerUnavailable("it was told to fail")
            yield
            await self._step(f"after {call}")
        finally:
            if subscription:
                self._under_way[channel] -= 1

    async def _step(self, step: str) -> None:
        if self.at_step is not None:
            self.at_step(step)
        await asyncio.sleep(0)
        if step in self._gates:
            await self._gates[step].wait()
            if step in self._too_late:
                self._too_late.discard(step)
                raise BrokerUnavailable("the answer came too late")


class StagedBroker(MemoryBroker):
    """The memory broker, on a stage."""

    remote = True

    def __init__(self, stage: Stage) -> None:
        super().__init__()
        self.stage = stage

    @property
    def subscribed(self) -> set[str]:
        """What the node is subscribed to."""
        return self._subscribed

    async def subscribe(self, channel: str) -> None:
        async with self.stage.call("subscribe", channel):
            await super().subscribe(channel)

    async def unsubscribe(self, channel: str) -> None:
        async with self.stage.call("unsubscribe", channel):
            await super().unsubscribe(channel)

    async def publish(self, publication: Publication, options: PublishOptions) -> Position | None:
        async with self.stage.call("publish", publication.channel):
            return await super().publish(publication, options)

    async def history(
        self, channel: str, *, since: Position | None = None, limit: int = -1, reverse: bool = False
    ) -> HistoryPage:
        async with self.stage.call("history", channel):
            return await super().history(channel, since=since, limit=limit, reverse=reverse)

    async def positions(self, channels: Collection[str]) -> dict[str, Position]:
        async with self.stage.call("positions", ""):
            return await super().positions(channels)

    async def deserted(self, channels: Collection[str]) -> list[str]:
        async with self.stage.call("deserted", ""):
            return await super().deserted(channels)

    async def ping(self) -> None:
        async with self.stage.call("ping", ""):
            pass


class StagedPresence(MemoryPresence):
    """The memory presence, on a stage."""

    def __init__(self, stage: Stage) -> None:
        super().__init__()
        self._stage = stage

    async def add(self, channel: str, connection_id: str, member: Member) -> None:
        async with self._stage.call("add", channel):
            await super().add(channel, connection_id, member)

    async def remove(self, channel: str, connection_id: str) -> None:
        async with self._stage.call("remove", channel):
            await super().remove(channel, connection_id)

    async def replace(self, channel: str, members: Mapping[str, Member]) -> None:
        async with self._stage.call("replace", channel):
            await self._say_all(channel, members)

    async def _say_all(self, channel: str, members: Mapping[str, Member]) -> None:
        # Not by `super()`, whose `add` would come to the stage as well.
        for id in await self.list(channel):
            await super().remove(channel, id)
        for id, member in members.items():
            await super().add(channel, id, member)


def open_staged(url: str) -> tuple[StagedBroker, StagedPresence]:
    """A broker and a presence on one stage."""
    stage = Stage()
    return StagedBroker(stage), StagedPresence(stage)


def staged_hub(**settings: Any) -> tuple[Hub, StagedBroker, Stage]:
    """A hub over a staged broker, its broker, and the stage."""
    with patch.dict(BROKERS, staged=f"{__name__}:open_staged"):
        hub = a_hub("staged://", **settings)
    assert isinstance(hub.broker, StagedBroker)
    return hub, hub.broker, hub.broker.stage
