"""Joining a channel with history while it is being published to: no gap, no duplicate, the right order."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations, count

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hubbub.core.messages import Kind, Publication
from hubbub.hub import Hub
from hubbub.hub.approach import TRIES

from .histories import ScriptedBroker, a_hub_over, a_publication, follow
from .inprocess import Client, enter, run, turns, until

BEFORE = 3
"""Publications that are in the history before anybody asks."""
DURING = 3
"""Publications that come while somebody joins."""


def a_scripted_hub() -> tuple[Hub, ScriptedBroker]:
    """A hub over a scripted broker."""
    broker = ScriptedBroker()
    return a_hub_over(broker, history_size=100), broker


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
    broker.readings.clear()
    broker.scripted = True
    epoch = broker.stream(channel).epoch
    newcomer.say("join_group", id=channel, group_name=channel, **asked.field(epoch))
    await until(lambda: broker.readings)
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
                broker.read()
                await turns(3)
            case "s":
                broker.answer_all()
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
            witness, newcomer = await enter(hub, "witness"), await enter(hub, "newcomer")
            for asked in ASKED[::2] if lagging else ASKED:
                for story in stories(lagging=lagging):
                    channel = f"news{next(names)}"
                    for _ in range(BEFORE):
                        broker.append(channel)
                        broker.lose()
                    await witness.join(channel)
                    told = await tell(broker, newcomer, channel, story, asked, breath=breath)
                    check(story, asked, *told)
                    assert offsets(witness, channel) == list(range(BEFORE + 1, BEFORE + DURING + 1))
                    for client in (witness, newcomer):
                        client.messages.clear()
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
            epoch = broker.stream("news").epoch
            broker.scripted = True
            newcomer.say("join_group", id=1, group_name="news", **Asked(recover).field(epoch))
            await until(lambda: broker.readings)
            broker.read()
            await turns()
            for event in events:
                if isinstance(event, Publication):
                    broker.pass_by(event)
                else:
                    broker.append("news")
                    broker.lose() if event == "lost" else broker.deliver()
            broker.answer_all()
            joined = await newcomer.hear("group_joined")
            broker.append("news")
            broker.deliver()
            await newcomer.settle()
            return joined, offsets(newcomer, "news")

    return run(scenario())


@pytest.mark.parametrize("recover", [None, 1], ids=["fresh", "recovering"])
def test_a_publication_lost_on_the_way_is_had_by_reading_again(recover: int | None) -> None:
    """The history has it."""
    joined, given = joining_through("delivered", "lost", "delivered", recover=recover)

    assert joined.get("recovered") == (None if recover is None else True)
    assert joined["offset"] == (BEFORE + 3 if recover is None else recover)
    assert given == list(range(int(str(joined["offset"])) + 1, BEFORE + 5))


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
        async with hub.lifespan():
            newcomer = await enter(hub)
            for _ in range(4):
                broker.append("news", size=2)
                broker.lose()
            epoch = broker.stream("news").epoch
            joined = await newcomer.join("news", recover={"epoch": epoch, "offset": 1})
            assert joined["recovered"] is False
            assert joined["offset"] == 4
            await newcomer.settle()
            assert offsets(newcomer, "news") == []

    run(scenario())


@pytest.mark.parametrize("recover", [None, 1], ids=["fresh", "recovering"])
def test_a_history_that_cannot_be_caught_up_with_is_said(recover: int | None) -> None:
    """Something is lost during every reading: not recovered, and live from the newest that was seen."""

    async def scenario() -> None:
        hub, broker = a_scripted_hub()
        async with hub.lifespan():
            newcomer = await enter(hub)
            broker.append("news")
            broker.lose()
            broker.scripted = True
            epoch = broker.stream("news").epoch
            newcomer.say("join_group", id=1, group_name="news", **Asked(recover).field(epoch))
            for tries in range(1, TRIES + 1):
                await until(lambda tries=tries: len(broker.readings) == tries)  # type: ignore[misc]
                broker.read()
                await turns()
                broker.append("news")
                broker.lose()
                broker.append("news")
                broker.deliver()
                broker.answer()
            await until(lambda: newcomer.heard("group_joined"))
            broker.answer_all()
            broker.append("news")
            broker.deliver()
            await newcomer.settle()
            [joined] = newcomer.heard("group_joined")
            assert joined.get("recovered") == (None if recover is None else False)
            assert joined["offset"] == broker.stream("news").top - 1
            assert follow(broker, newcomer, "news").given == [broker.stream("news").top]

    run(scenario())


@pytest.mark.parametrize("recover", [None, 1, 3], ids=["fresh", "recovering", "from the top"])
@pytest.mark.parametrize("alone", [True, False], ids=["alone", "with a witness"])
@pytest.mark.parametrize("when", ["before the reading", "after the reading"])
@pytest.mark.parametrize("what", ["goes on", "goes on without some", "begins anew"])
def test_a_history_that_changes_its_epoch_while_somebody_joins(
    what: str, when: str, alone: bool, recover: int | None
) -> None:
    """What goes on, goes on; what is lost, is said: nobody counts in the offsets of another history."""

    async def scenario() -> None:
        hub, broker = a_scripted_hub()
        async with hub.lifespan():
            witness, newcomer = await enter(hub, "witness"), await enter(hub)
            if not alone:
                await witness.join("news")
            for _ in range(BEFORE):
                broker.append("news")
                broker.deliver()
            broker.scripted = True
            epoch = broker.stream("news").epoch
            broker.readings.clear()
            newcomer.say("join_group", id=1, group_name="news", **Asked(recover).field(epoch))
            await until(lambda: broker.readings)
            if when == "after the reading":
                broker.read()
                await turns()
            if what == "begins anew":
                broker.begin_anew("news")
            else:
                broker.go_on("news", without=2 if "without" in what else 0)
            broker.append("news")
            broker.deliver()
            broker.answer_all()
            await until(lambda: newcomer.heard("group_joined"))
            for _ in range(2):
                broker.append("news")
                broker.deliver()
                for client in (witness, newcomer):
                    await client.settle()
                await turns()
            top = broker.stream("news").position
            for client in (newcomer,) if alone else (witness, newcomer):
                reader = follow(broker, client, "news")
                assert reader.position == top
            joined = newcomer.heard("group_joined")[0]
            if what == "goes on" and recover is not None:
                assert joined["recovered"] is True
                assert follow(broker, newcomer, "news").given == list(range(recover + 1, top.offset + 1))

    run(scenario())


@pytest.mark.parametrize("recover", [None, 0], ids=["fresh", "recovering"])
@pytest.mark.parametrize("why", ["a new epoch", "a doubt"])
def test_what_is_healed_while_somebody_joins_is_not_missing(why: str, recover: int | None) -> None:
    """The others were given something from a history that was read later than the newcomer's."""

    async def scenario() -> None:
        hub, broker = a_scripted_hub()
        async with hub.lifespan():
            witness, newcomer = await enter(hub, "witness"), await enter(hub)
            await witness.join("news")
            if why == "a new epoch":
                broker.go_on("news")
            broker.readings.clear()
            broker.scripted = True
            asked = Asked(recover).field(broker.stream("news").epoch)
            newcomer.say("join_group", id=1, group_name="news", **asked)
            await until(lambda: broker.readings)
            broker.read()
            await turns()
            broker.append("news")
            broker.lose()
            if why == "a doubt":
                hub.continuity.doubt(["news"])
                await until(lambda: len(broker.readings) == 2)
                broker.readings[1].may_read.set()
                broker.readings[1].may_answer.set()
                await witness.hear("group_message")
            broker.answer_all()
            await until(lambda: newcomer.heard("group_joined"))
            broker.append("news")
            broker.deliver()
            for client in (witness, newcomer):
                await client.settle()
                assert follow(broker, client, "news").position == broker.stream("news").position

    run(scenario())


SIZE = 6
"""Publications that the history keeps, where it is to be too short at times."""


@settings(derandomize=True, deadline=None, max_examples=150)
@given(
    events=st.lists(
        st.one_of(
            st.sampled_from(["append"] * 6 + ["deliver"] * 5 + ["lose", "read", "read", "answer", "answer"]),
            st.sampled_from(["go on", "go on without", "begin anew", "check", "leave"]),
            st.integers(-1, 8),  # somebody joins, and recovers from so many ago (below 0: does not)
        ),
        max_size=40,
    ),
    breath=st.sampled_from([0, 0, 1, 5]),
)
def test_joining_at_any_moment_whatever_happens_to_the_history(events: list[str | int], breath: int) -> None:
    """No hole, no repetition, nothing of another history; or it is said, and then it goes on."""

    async def scenario() -> None:
        hub, broker = a_scripted_hub()
        async with hub.lifespan():
            witness = await enter(hub, "witness")
            await witness.join("news")
            waiting = [await enter(hub, f"newcomer{number}") for number in range(5)]
            joined = [witness]
            broker.scripted = True
            for event in events:
                match event:
                    case "append":
                        broker.append("news", size=SIZE)
                    case "deliver" if broker.under_way:
                        broker.deliver()
                    case "lose" if broker.under_way:
                        broker.lose()
                    case "read":
                        broker.read()
                    case "answer":
                        broker.answer()
                    case "go on":
                        broker.go_on("news")
                    case "go on without":
                        broker.go_on("news", without=min(2, broker.stream("news").top))
                    case "begin anew":
                        broker.begin_anew("news")
                    case "check":
                        hub.continuity.doubt(["news"])
                    case "leave" if len(joined) > 1:
                        joined.pop().say("leave_group", group_name="news")
                    case int(ago) if waiting:
                        newcomer = waiting.pop()
                        joined.append(newcomer)
                        position = broker.stream("news").position
                        offset = None if ago < 0 else position.offset - ago
                        asked = Asked(offset).field(position.epoch)
                        newcomer.say("join_group", id="j", group_name="news", **asked)
                await turns(breath)
            broker.answer_all()
            while broker.under_way:
                broker.deliver()
                await turns(breath)
            broker.append("news", size=SIZE)
            broker.deliver()
            top = broker.stream("news").position
            for client in joined:
                await until(lambda client=client: follow(broker, client, "news").position == top)  # type: ignore[misc]

    run(scenario())


ABSURD = {
    "beyond the top": {"offset": 4},
    "far beyond the top": {"offset": 2**63},
    "beyond any number": {"offset": 10**30},
    "below zero": {"offset": -1},
    "far below zero": {"offset": -(2**63)},
    "of an epoch nobody knows": {"epoch": "elsewhere", "offset": 1},
    "of no epoch": {"epoch": "", "offset": 1},
    "of a long epoch": {"epoch": "x" * 10_000, "offset": 1},
    "of an epoch like a pattern": {"epoch": "%a+=,", "offset": 1},
}


@pytest.mark.parametrize("position", ABSURD.values(), ids=ABSURD)
def test_a_position_that_names_nothing_is_not_recovered_from(position: dict[str, object]) -> None:
    """It is said, and the client follows from where the history stands."""

    async def scenario() -> None:
        hub, broker = a_scripted_hub()
        async with hub.lifespan():
            alice = await enter(hub)
            for number in range(3):
                await hub.publish("news", number)
            epoch = broker.stream("news").epoch
            joined = await alice.join("news", recover={"epoch": epoch} | position)
            assert joined | {"id": 1} == {
                "type": "group_joined",
                "id": 1,
                "group_name": "news",
                "epoch": epoch,
                "offset": 3,
                "recovered": False,
            }
            await hub.publish("news", 3)
            await alice.settle()
            assert offsets(alice, "news") == [4]

    run(scenario())


NO_POSITION = {
    "an offset in text": {"epoch": "e", "offset": "1"},
    "an offset with a fraction": {"epoch": "e", "offset": 1.5},
    "no offset": {"epoch": "e"},
    "an offset that is none": {"epoch": "e", "offset": None},
    "no epoch": {"offset": 1},
    "an epoch that is a number": {"epoch": 1, "offset": 1},
    "nothing in it": {},
    "an array": ["e", 1],
    "text": "e:1",
    "a number": 1,
    "yes": True,
}


@pytest.mark.parametrize("position", NO_POSITION.values(), ids=NO_POSITION)
def test_what_is_no_position_is_refused(position: object) -> None:
    """With a sentence that names the field; the client may try again."""

    async def scenario() -> None:
        hub, _ = a_scripted_hub()
        async with hub.lifespan():
            alice = await enter(hub)
            refused = await alice.join("news", recover=position)
            assert (refused["type"], refused["code"]) == ("error", 107)
            assert "recover" in refused["message"]
            assert (await alice.join("news"))["type"] == "group_joined"

    run(scenario())


def test_where_there_is_no_history_nothing_is_recovered() -> None:
    """It is said, without a position."""

    async def scenario() -> None:
        hub = a_hub_over(ScriptedBroker())
        async with hub.lifespan():
            alice = await enter(hub)
            joined = await alice.join("news", recover={"epoch": "e", "offset": 1})
            assert joined | {"id": 1} == {
                "type": "group_joined",
                "id": 1,
                "group_name": "news",
                "recovered": False,
            }

    run(scenario())
