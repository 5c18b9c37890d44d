"""The node's interest: there before somebody counts on it, one operation at a time, let go of in the end."""

import asyncio
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hubbub.brokers.base import BrokerUnavailable
from hubbub.hub.interest import Interest

from .inprocess import run, settled, turns, until
from .staged import Stage, StagedBroker


class Node:
    """An interest over a staged broker, and who listens."""

    def __init__(self) -> None:
        self.stage = Stage()
        self.broker = StagedBroker(self.stage)
        self.listeners: Counter[str] = Counter()
        self.interest = Interest(self.broker, lambda channel: self.listeners[channel] > 0)

    async def join(self, channel: str) -> None:
        """Begin to listen, as a member of a channel does."""
        await self.interest.hold(channel)
        self.listeners[channel] += 1
        self.interest.let_go(channel)

    def leave(self, channel: str) -> None:
        """Listen no longer."""
        self.listeners[channel] -= 1
        self.interest.release(channel)

    @property
    def asked(self) -> list[str]:
        """Every call to the broker."""
        return self.stage.log


def test_the_node_is_subscribed_once_whoever_joins() -> None:
    """The second listener costs no call."""

    async def scenario() -> None:
        node = Node()
        await node.join("news")
        await node.join("news")
        assert node.asked == ["subscribe news"]
        assert node.broker.subscribed == {"news"}
        assert len(node.interest) == 1

    run(scenario())


def test_those_who_join_together_wait_for_one_subscription() -> None:
    """Nobody is through before the broker has answered."""

    async def scenario() -> None:
        node = Node()
        node.stage.shut("subscribe news")
        joining = [asyncio.create_task(node.join("news")) for _ in range(5)]
        await turns()
        assert node.asked == ["subscribe news"]
        assert not any(task.done() for task in joining)

        node.stage.open("subscribe news")
        await asyncio.gather(*joining)
        assert node.asked == ["subscribe news"]
        assert node.listeners["news"] == 5

    run(scenario())


def test_the_last_to_leave_ends_the_subscription() -> None:
    """And only the last."""

    async def scenario() -> None:
        node = Node()
        await node.join("news")
        await node.join("news")
        node.leave("news")
        await settled()
        assert node.asked == ["subscribe news"]

        node.leave("news")
        await settled()
        assert node.asked == ["subscribe news", "unsubscribe news"]
        assert node.broker.subscribed == set()
        assert len(node.interest) == 0

    run(scenario())


def test_a_channel_that_is_held_stays() -> None:
    """Somebody is about to join, while the last member leaves."""

    async def scenario() -> None:
        node = Node()
        await node.join("news")
        await node.interest.hold("news")
        node.leave("news")
        await settled()
        assert node.asked == ["subscribe news"]

        node.interest.let_go("news")
        await settled()
        assert node.asked == ["subscribe news", "unsubscribe news"]

    run(scenario())


def test_who_comes_back_before_the_tidying_changes_nothing() -> None:
    """A page that is loaded anew leaves and joins in one breath."""

    async def scenario() -> None:
        node = Node()
        await node.join("news")
        node.leave("news")
        node.listeners["news"] += 1
        await settled()
        assert node.asked == ["subscribe news"]

    run(scenario())


def test_a_join_waits_for_an_unsubscribe_that_is_under_way() -> None:
    """And subscribes after it, so that the two cannot overtake each other."""

    async def scenario() -> None:
        node = Node()
        await node.join("news")
        node.stage.shut("unsubscribe news")
        node.leave("news")
        await until(lambda: node.stage.reached("unsubscribe news"))
        joining = asyncio.create_task(node.join("news"))
        await turns()
        assert node.asked == ["subscribe news", "unsubscribe news"]
        assert not joining.done()

        node.stage.open("unsubscribe news")
        await joining
        assert node.asked == ["subscribe news", "unsubscribe news", "subscribe news"]
        assert node.broker.subscribed == {"news"}
        assert node.stage.overlaps == []

    run(scenario())


def test_channels_do_not_wait_for_each_other() -> None:
    """A subscription that takes its time holds up its own channel alone."""

    async def scenario() -> None:
        node = Node()
        node.stage.shut("subscribe slow")
        slow = asyncio.create_task(node.join("slow"))
        await until(lambda: node.stage.reached("subscribe slow"))
        await node.join("news")
        assert not slow.done()
        node.stage.open("subscribe slow")
        await slow

    run(scenario())


def test_a_subscription_that_fails_leaves_nothing() -> None:
    """Everybody who waited tries in turn and is told; the next to come tries again."""

    async def scenario() -> None:
        node = Node()
        node.stage.fail("subscribe news")
        outcomes = await asyncio.gather(*(node.join("news") for _ in range(3)), return_exceptions=True)
        assert all(isinstance(outcome, BrokerUnavailable) for outcome in outcomes)
        assert len(node.interest) == 0
        await settled()

        node.stage.fail("subscribe news", failing=False)
        await node.join("news")
        assert node.broker.subscribed == {"news"}
        assert node.stage.overlaps == []

    run(scenario())


def test_an_unsubscribe_that_fails_does_not_end_the_tidying(caplog: pytest.LogCaptureFixture) -> None:
    """It is logged, and the next channel is let go of."""

    async def scenario() -> None:
        node = Node()
        await node.join("news")
        await node.join("sport")
        node.stage.fail("unsubscribe news")
        node.leave("news")
        await settled()
        assert "could not unsubscribe from 'news'" in caplog.text
        node.leave("sport")
        await settled()
        assert "sport" not in node.broker.subscribed
        await node.join("news")
        assert node.stage.overlaps == []

    run(scenario())


def test_who_gives_up_waiting_lets_go() -> None:
    """The client at the door had a deadline; nobody else wanted the channel."""

    async def scenario() -> None:
        node = Node()
        node.stage.shut("subscribe news")
        first = asyncio.create_task(node.join("news"))
        second = asyncio.create_task(node.join("news"))
        await until(lambda: node.stage.reached("subscribe news"))
        second.cancel()
        await turns()
        node.stage.open("subscribe news")
        await first
        node.leave("news")
        await settled()
        assert node.broker.subscribed == set()

    run(scenario())


@pytest.mark.parametrize("how", ["cancelled", "failed"])
def test_a_subscription_of_unknown_effect_is_undone(how: str) -> None:
    """The broker has done it, but the answer came too late: the node must not be delivered it for ever."""

    async def scenario() -> None:
        node = Node()
        node.stage.shut("subscribe news", after=True)
        joining = asyncio.create_task(node.join("news"))
        await until(lambda: "news" in node.broker.subscribed)
        if how == "cancelled":
            joining.cancel()
        else:
            node.stage.open("subscribe news", failing=True)
        await asyncio.wait([joining])
        assert joining.cancelled() or isinstance(joining.exception(), BrokerUnavailable)
        await settled()
        assert node.broker.subscribed == set()

    run(scenario())


visits = st.lists(
    st.tuples(
        st.sampled_from(["news", "sport"]),
        st.integers(0, 6),  # turns of the loop till it comes
        st.integers(0, 6),  # turns that it stays
    ),
    max_size=8,
)
delays = st.lists(st.integers(0, 4), max_size=12)


@settings(derandomize=True, deadline=None, max_examples=100)
@given(visits, delays)
def test_whoever_comes_and_goes(visits: list[tuple[str, int, int]], delays: list[int]) -> None:
    """Who listens is subscribed at every moment, operations never overlap, and in the end nothing is left."""

    async def scenario() -> None:
        node = Node()
        waits = iter(delays)
        subscribed = node.broker.subscribe
        unsubscribed = node.broker.unsubscribe

        async def subscribe(channel: str) -> None:
            await turns(next(waits, 0))
            await subscribed(channel)

        async def unsubscribe(channel: str) -> None:
            await turns(next(waits, 0))
            await unsubscribed(channel)

        node.broker.subscribe, node.broker.unsubscribe = subscribe, unsubscribe  # type: ignore[method-assign]

        async def visit(channel: str, comes: int, stays: int) -> None:
            await turns(comes)
            await node.join(channel)
            for _ in range(stays + 1):
                assert channel in node.broker.subscribed
                await asyncio.sleep(0)
            node.leave(channel)

        await asyncio.gather(*(visit(*each) for each in visits))
        await settled()
        assert node.stage.overlaps == []
        assert node.broker.subscribed == set()
        assert len(node.interest) == 0

    run(scenario())
