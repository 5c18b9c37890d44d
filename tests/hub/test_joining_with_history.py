"""Joining a channel with history while it is being published to: no gap, no duplicate, the right order."""

import asyncio
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations, count

import pytest
from msgspec import Raw

from hubbub.brokers.base import HistoryPage
from hubbub.brokers.memory import MemoryBroker
from hubbub.core.messages import Kind, Position, Publication
from hubbub.hub import Hub

from .inprocess import Client, a_hub, enter, run, turns, until

BEFORE = 3
"""Publications that are in the history before anybody asks."""
DURING = 3
"""Publications that come while somebody joins."""


class ScriptedBroker(MemoryBroker):
    """Appends, delivers, reads and answers each when the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = asyncio.Event()
        self.may_read = asyncio.Event()
        self.may_answer = asyncio.Event()
        self._sent: deque[Publication] = deque()

    def append(self, channel: str, *, size: int = 100) -> None:
        """Somebody publishes: it is in the history and on its way to the node."""
        stream = self._stream(channel, 0.0)
        publication = a_publication(channel, stream.top + 1)
        self._sent.append(stream.append(publication, now=0.0, size=size, ttl=1e9))

    def deliver(self) -> None:
        """The next publication arrives."""
        assert self._sink is not None
        self._sink.deliver(self._sent.popleft())

    def lose(self) -> None:
        """The next publication is lost on its way."""
        self._sent.popleft()

    def pass_by(self, publication: Publication) -> None:
        """One that no history keeps arrives."""
        assert self._sink is not None
        self._sink.deliver(publication)

    async def history(
        self, channel: str, *, since: Position | None = None, limit: int = -1, reverse: bool = False
    ) -> HistoryPage:
        self.asked.set()
        await self.may_read.wait()
        stream = self._stream(channel, 0.0)
        offset = since.offset if since is not None and since.epoch == stream.epoch else None
        page = HistoryPage(stream.read(since=offset, limit=limit, reverse=reverse), stream.position)
        await self.may_answer.wait()
        return page


def a_publication(channel: str, offset: int, **fields: object) -> Publication:
    return Publication(
        channel=channel,
        data=Raw(str(offset).encode()),
        timestamp="2030-01-01T00:00:00+00:00",
        **fields,  # type: ignore[arg-type]
    )


def a_scripted_hub() -> tuple[Hub, ScriptedBroker]:
    """A hub over a scripted broker."""
    hub = a_hub(history_size=100)
    broker = ScriptedBroker()
    hub.broker = hub.interest._broker = broker
    return hub, broker


@dataclass(frozen=True)
class Asked:
    """What a client asks to recover from, by offset; all of it can be told."""

    offset: int | None
    epoch: str | None = None

    def field(self, epoch: str) -> dict[str, object]:
        """As a field of `join_group`."""
        if self.offset is None:
            return {}
        return {"recover": {"epoch": self.epoch or epoch, "offset": self.offset}}


def stories(*, lagging: bool) -> Iterator[str]:
    """Every order of events: [p]ublish (or [a]ppend and [d]eliver, where that can lag), [r]ead, an[s]wer."""
    for order in publishing() if lagging else ["p" * DURING]:
        for read, answer in combinations(range(len(order) + 2), 2):
            events = list(order)
            events.insert(read, "r")
            events.insert(answer, "s")
            yield "".join(events)


def publishing(order: str = "") -> Iterator[str]:
    """Every order of appends and deliveries, each delivery some time after its append."""
    if len(order) == 2 * DURING:
        yield order
        return
    if order.count("a") < DURING:
        yield from publishing(order + "a")
    if order.count("d") < order.count("a"):
        yield from publishing(order + "d")


def offsets(client: Client, channel: str) -> list[int]:
    """The offsets that a client was given in a channel, in order."""
    return [
        message["offset"] for message in client.heard("group_message") if message["group_name"] == channel
    ]


async def tell(
    broker: ScriptedBroker, newcomer: Client, channel: str, story: str, asked: Asked, *, breath: int
) -> tuple[dict[str, object], list[int]]:
    """Play one story; what the newcomer was told of its joining, and the offsets it was given."""
    broker.asked.clear()
    broker.may_read.clear()
    broker.may_answer.clear()
    epoch = broker._stream(channel, 0.0).epoch
    newcomer.say("join_group", id=channel, group_name=channel, **asked.field(epoch))
    await broker.asked.wait()
    for event in story:
        match event:
            case "p":
                broker.append(channel)
                broker.deliver()
            case "a":
                broker.append(channel)
            case "d":
                broker.deliver()
            case "r":
                broker.may_read.set()
                await turns(3)
            case "s":
                broker.may_answer.set()
                await until(lambda: any(m.get("id") == channel for m in newcomer.messages))
        await turns(breath)
    await turns(6)
    [joined] = [message for message in newcomer.messages if message.get("id") == channel]
    assert joined["type"] == "group_joined", joined
    assert joined["epoch"] == epoch
    return joined, offsets(newcomer, channel)


def check(story: str, asked: Asked, joined: dict[str, object], given: list[int]) -> None:
    """Without a gap, without a duplicate, in order, from where it was told that it begins."""
    known_at_reading = BEFORE + sum(event in "pa" for event in story[: story.index("r")])
    recoverable = asked.offset is not None and asked.epoch is None and asked.offset <= known_at_reading
    assert joined.get("recovered") == (None if asked.offset is None else recoverable), story
    start = joined["offset"]
    assert isinstance(start, int)
    if recoverable:
        assert start == asked.offset, story
    assert given == list(range(start + 1, BEFORE + DURING + 1)), f"{story} {asked} {joined}"


ASKED = [
    Asked(None),
    Asked(0),
    Asked(1),
    Asked(BEFORE),
    Asked(BEFORE + 2),
    Asked(BEFORE + DURING + 5),
    Asked(1, epoch="another"),
]


@pytest.mark.parametrize("breath", [0, 3], ids=["breathless", "breathing"])
@pytest.mark.parametrize("lagging", [False, True], ids=["at once", "lagging"])
def test_any_interleaving(lagging: bool, breath: int) -> None:
    """Whenever the history is read and answered, and whether deliveries come with the appends or lag behind.

    They can: where the broker is another machine, an answer and a delivery take different ways.
    """

    async def scenario() -> None:
        hub, broker = a_scripted_hub()
        names = count()
        async with hub.lifespan():
            broker.may_read.set()
            broker.may_answer.set()
            witness, newcomer = await enter(hub, "witness"), await enter(hub, "newcomer")
            for asked in ASKED[::2] if lagging else ASKED:
                for story in stories(lagging=lagging):
                    channel = f"news{next(names)}"
                    for _ in range(BEFORE):
                        broker.append(channel)
                        broker.lose()
                    broker.may_read.set()
                    broker.may_answer.set()
                    await witness.join(channel)
                    told = await tell(broker, newcomer, channel, story, asked, breath=breath)
                    check(story, asked, *told)
                    assert offsets(witness, channel) == list(range(BEFORE + 1, BEFORE + DURING + 1))
                    for client in (witness, newcomer):
                        client.messages.clear()
                        broker.may_read.set()
                        await client.ask("leave_group", group_name=channel)

    run(scenario())


def joining_through(*events: object, recover: int | None = None) -> tuple[dict[str, object], list[int]]:
    """Join a channel with three publications while these events happen, after the reading."""

    async def scenario() -> tuple[dict[str, object], list[int]]:
        hub, broker = a_scripted_hub()
        async with hub.lifespan():
            newcomer = await enter(hub)
            for _ in range(BEFORE):
                broker.append("news")
                broker.lose()
            epoch = broker._stream("news", 0.0).epoch
            newcomer.say("join_group", id=1, group_name="news", **Asked(recover).field(epoch))
            broker.may_read.set()
            await broker.asked.wait()
            await turns()
            for event in events:
                if isinstance(event, Publication):
                    broker.pass_by(event)
                else:
                    broker.append("news")
                    broker.lose() if event == "lost" else broker.deliver()
            broker.may_answer.set()
            joined = await newcomer.hear("group_joined")
            broker.append("news")
            broker.deliver()
            await newcomer.settle()
            return joined, offsets(newcomer, "news")

    return run(scenario())


@pytest.mark.parametrize("recover", [None, 1], ids=["fresh", "recovering"])
def test_a_publication_lost_on_the_way_is_said(recover: int | None) -> None:
    """Nothing is passed off as complete: not recovered, and live from after the hole."""
    joined, given = joining_through("delivered", "lost", "delivered", recover=recover)

    assert joined.get("recovered") == (None if recover is None else False)
    assert joined["offset"] == BEFORE + 3
    assert given == [BEFORE + 4]


@pytest.mark.parametrize("recover", [None, 1], ids=["fresh", "recovering"])
def test_what_no_history_keeps_does_not_disturb(recover: int | None) -> None:
    """Somebody joins meanwhile and all are told so: that has no offset."""
    passing = a_publication("news", 0, kind=Kind.JOINED)
    joined, given = joining_through("delivered", passing, "delivered", recover=recover)

    assert joined.get("recovered") == (None if recover is None else True)
    assert given == list(range(int(str(joined["offset"])) + 1, BEFORE + 4))


def test_what_no_history_keeps_does_not_disturb_after_a_loss() -> None:
    """The position told is where the history stands, whatever came last."""
    passing = a_publication("news", 0, kind=Kind.JOINED)
    joined, given = joining_through("lost", "delivered", passing)

    assert joined["offset"] == BEFORE + 2
    assert given == [BEFORE + 3]


def test_what_is_gone_from_the_history_is_not_recovered() -> None:
    """Two were missed and one of them is gone: none is given, and it is said."""

    async def scenario() -> None:
        hub, broker = a_scripted_hub()
        broker.may_read.set()
        broker.may_answer.set()
        async with hub.lifespan():
            newcomer = await enter(hub)
            for _ in range(4):
                broker.append("news", size=2)
                broker.lose()
            epoch = broker._stream("news", 0.0).epoch
            joined = await newcomer.join("news", recover={"epoch": epoch, "offset": 1})
            assert joined["recovered"] is False
            assert joined["offset"] == 4
            await newcomer.settle()
            assert offsets(newcomer, "news") == []

    run(scenario())
