"""The contract suites: every clause of `Broker` and `Presence`, for every implementation to run through.

Subclass one in a pytest module and say how to make yours:

>>> class TestMyBroker(BrokerContract):
...     def make_broker(self) -> Broker:
...         return MyBroker()
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Coroutine
from typing import Any

from msgspec import Raw

from hubbub.brokers.base import Broker, Presence, PublishOptions
from hubbub.core.messages import Member, Position, Publication

DEADLINE = 10.0
"""Seconds that any clause may take."""
NODE = "node1"
"""What the node under test is called."""
KEEP = PublishOptions(history_size=100, history_ttl=60)
PASS = PublishOptions()


class Recorder:
    """A sink that remembers what was delivered."""

    def __init__(self) -> None:
        self.delivered: list[Publication] = []
        self.epochs: list[str] = []
        """The epochs of what was delivered."""
        self.controls: list[bytes] = []
        self.broken: list[str] = []
        """Channels whose way was broken."""
        self.rubbish: list[tuple[str, str]] = []
        self._changed = asyncio.Event()

    def deliver(self, publication: Publication, epoch: str = "") -> None:
        """From the broker."""
        self.delivered.append(publication)
        self.epochs.append(epoch)
        self._changed.set()

    def control(self, message: bytes) -> None:
        """From the broker."""
        self.controls.append(message)
        self._changed.set()

    def interrupted(self, channels: Collection[str]) -> None:
        """From the broker."""
        self.broken += channels
        self._changed.set()

    def garbage(self, name: str, reason: str) -> None:
        """From the broker."""
        self.rubbish.append((name, reason))
        self._changed.set()

    async def room(self) -> None:
        """From the broker: there is always room."""

    async def wait_for(self, count: int) -> list[Publication]:
        """The deliveries, once there are `count`."""
        await self.wait_until(lambda: len(self.delivered) >= count)
        return self.delivered

    async def wait_until(self, condition: Callable[[], object]) -> None:
        """Return when the condition holds, which is looked at whenever something comes in."""
        while not condition():
            self._changed.clear()
            await self._changed.wait()


def publication(channel: str, data: str = "1", **fields: Any) -> Publication:
    """A publication of JSON text `data`."""
    return Publication(
        channel=channel, data=Raw(data.encode()), timestamp="2026-01-01T00:00:00+00:00", **fields
    )


def offsets(publications: list[Publication]) -> list[int]:
    """Where the publications stand in their history."""
    return [p.offset for p in publications]


class BrokerContract:
    """What a broker promises. Override `make_broker`, and `let_pass` where time can be turned."""

    def make_broker(self) -> Broker:
        """A broker without history, not yet started."""
        raise NotImplementedError

    async def let_pass(self, seconds: float) -> None:
        """Let the broker's time pass."""
        await asyncio.sleep(seconds)

    def run(self, clause: Callable[[Broker, Recorder], Awaitable[None]]) -> None:
        """Run one clause over a started broker."""

        async def started() -> None:
            broker, sink = self.make_broker(), Recorder()
            await broker.start(sink, NODE)
            try:
                async with asyncio.timeout(DEADLINE):
                    await clause(broker, sink)
            finally:
                await broker.stop()

        asyncio.run(started())

    def test_a_subscribed_channel_is_delivered_in_order(self) -> None:
        """Publications of a channel arrive once each, in the order of their publishing."""

        async def clause(broker: Broker, sink: Recorder) -> None:
            await broker.subscribe("news")
            for number in range(50):
                await broker.publish(publication("news", str(number)), PASS)
            delivered = await sink.wait_for(50)
            assert [bytes(p.data) for p in delivered] == [str(n).encode() for n in range(50)]

        self.run(clause)

    def test_a_publication_arrives_as_it_was_sent(self) -> None:
        """Every field crosses the broker unchanged."""

        async def clause(broker: Broker, sink: Recorder) -> None:
            sent = publication("news", '{"é": [1, null]}', client_id="me", key="k", tags={"a": "b"})
            await broker.subscribe("news")
            await broker.publish(sent, PASS)
            [arrived] = await sink.wait_for(1)
            assert arrived == sent
            assert bytes(arrived.data) == bytes(sent.data)

        self.run(clause)

    def test_other_channels_are_not_delivered(self) -> None:
        """What the node has not subscribed to, or no longer, does not arrive."""

        async def clause(broker: Broker, sink: Recorder) -> None:
            await broker.subscribe("news")
            await broker.subscribe("left")
            await broker.unsubscribe("left")
            await broker.publish(publication("other"), PASS)
            await broker.publish(publication("left"), PASS)
            await broker.publish(publication("news"), PASS)
            assert [p.channel for p in await sink.wait_for(1)] == ["news"]

        self.run(clause)

    def test_subscribing_twice_delivers_once(self) -> None:
        """Subscribe and unsubscribe are idempotent."""

        async def clause(broker: Broker, sink: Recorder) -> None:
            await broker.subscribe("news")
            await broker.subscribe("news")
            await broker.publish(publication("news", "1"), PASS)
            await sink.wait_for(1)  # what is on its way when a node unsubscribes may go astray
            await broker.unsubscribe("news")
            await broker.unsubscribe("news")
            await broker.publish(publication("news", "2"), PASS)
            await broker.subscribe("news")
            await broker.publish(publication("news", "3"), PASS)
            assert [bytes(p.data) for p in await sink.wait_for(2)] == [b"1", b"3"]

        self.run(clause)

    def test_without_history_there_is_no_position(self) -> None:
        """A publish that keeps nothing returns no position."""

        async def clause(broker: Broker, sink: Recorder) -> None:
            assert await broker.publish(publication("news"), PASS) is None

        self.run(clause)

    def test_positions_count_up_and_match_the_history(self) -> None:
        """Each publish returns the last offset plus one; history and deliveries show the same."""

        async def clause(broker: Broker, sink: Recorder) -> None:
            await broker.subscribe("news")
            positions = [await broker.publish(publication("news", str(n)), KEEP) for n in range(5)]
            assert all(position is not None for position in positions)
            assert [p.offset for p in positions if p] == [1, 2, 3, 4, 5]
            assert len({p.epoch for p in positions if p}) == 1
            page = await broker.history("news")
            assert page.position == positions[-1]
            assert offsets(page.publications) == [1, 2, 3, 4, 5]
            assert offsets(await sink.wait_for(5)) == [1, 2, 3, 4, 5]

        self.run(clause)

    def test_history_is_read_from_a_position(self) -> None:
        """`since`, `limit` and `reverse` choose what is read; the position is always the newest's."""

        async def clause(broker: Broker, sink: Recorder) -> None:
            for number in range(6):
                await broker.publish(publication("news", str(number)), KEEP)
            top = (await broker.history("news", limit=0)).position
            since = Position(top.epoch, 2)
            for arguments, expected in (
                ({"limit": 0}, []),
                ({"limit": 2}, [1, 2]),
                ({"reverse": True}, [6, 5, 4, 3, 2, 1]),
                ({"reverse": True, "limit": 2}, [6, 5]),
                ({"since": since}, [3, 4, 5, 6]),
                ({"since": since, "limit": 2}, [3, 4]),
                ({"since": Position(top.epoch, 4), "reverse": True}, [3, 2, 1]),
                ({"since": Position(top.epoch, 6)}, []),
            ):
                page = await broker.history("news", **arguments)
                assert offsets(page.publications) == expected, arguments
                assert page.position == top

        self.run(clause)

    def test_history_is_bounded_by_size(self) -> None:
        """Of a full history the oldest go; offsets go on."""

        async def clause(broker: Broker, sink: Recorder) -> None:
            for number in range(10):
                options = PublishOptions(history_size=3, history_ttl=60)
                await broker.publish(publication("news", str(number)), options)
            page = await broker.history("news")
            assert offsets(page.publications) == [8, 9, 10]
            assert page.position.offset == 10

        self.run(clause)

    def test_history_is_bounded_by_time(self) -> None:
        """A publication goes after its time; the position stays."""

        async def clause(broker: Broker, sink: Recorder) -> None:
            options = PublishOptions(history_size=10, history_ttl=1)
            position = await broker.publish(publication("news"), options)
            await self.let_pass(1.5)
            page = await broker.history("news")
            assert page.publications == []
            assert page.position == position

        self.run(clause)

    def test_removed_history_keeps_its_position(self) -> None:
        """Removing lets go of the publications; the next offset follows the last."""

        async def clause(broker: Broker, sink: Recorder) -> None:
            await broker.publish(publication("news"), KEEP)
            await broker.remove_history("news")
            await broker.remove_history("never heard of")
            assert (await broker.history("news")).publications == []
            position = await broker.publish(publication("news"), KEEP)
            assert position is not None
            assert position.offset == 2

        self.run(clause)

    def test_an_idempotency_key_counts_once(self) -> None:
        """A second publish with the same key changes nothing and returns the first one's position."""

        async def clause(broker: Broker, sink: Recorder) -> None:
            await broker.subscribe("news")
            once = PublishOptions(history_size=10, history_ttl=60, idempotency_key="k", idempotency_ttl=5)
            first = await broker.publish(publication("news", "1"), once)
            assert await broker.publish(publication("news", "2"), once) == first
            await broker.publish(publication("other", "3"), once)
            await broker.publish(publication("news", "4"), KEEP)
            assert [bytes(p.data) for p in await sink.wait_for(2)] == [b"1", b"4"]
            assert [bytes(p.data) for p in (await broker.history("news")).publications] == [b"1", b"4"]

        self.run(clause)

    def test_an_idempotency_key_is_forgotten_after_its_time(self) -> None:
        """Past its time the same key publishes again."""

        async def clause(broker: Broker, sink: Recorder) -> None:
            once = PublishOptions(history_size=10, history_ttl=60, idempotency_key="k", idempotency_ttl=1)
            await broker.publish(publication("news", "1"), once)
            await self.let_pass(1.5)
            position = await broker.publish(publication("news", "2"), once)
            assert position is not None
            assert position.offset == 2

        self.run(clause)

    def test_an_unknown_channel_has_an_empty_history_with_a_position(self) -> None:
        """Who joins before anything is published has a position to come back with."""

        async def clause(broker: Broker, sink: Recorder) -> None:
            page = await broker.history("fresh")
            assert page.publications == []
            assert page.position.offset == 0
            position = await broker.publish(publication("fresh"), KEEP)
            assert position == Position(page.position.epoch, 1)

        self.run(clause)

    def test_concurrent_publishes_keep_one_order(self) -> None:
        """Deliveries come in the order of the offsets, however many publish at once."""

        async def clause(broker: Broker, sink: Recorder) -> None:
            await broker.subscribe("news")
            await asyncio.gather(*(broker.publish(publication("news", str(n)), KEEP) for n in range(100)))
            assert offsets(await sink.wait_for(100)) == list(range(1, 101))

        self.run(clause)

    def test_a_page_tells_what_became_of_since(self) -> None:
        """A position of this history comes back in the page; one that is not of it does not."""

        async def clause(broker: Broker, sink: Recorder) -> None:
            for number in range(4):
                await broker.publish(publication("news", str(number)), KEEP)
            top = (await broker.history("news", limit=0)).position
            for offset in (0, 2, 4):
                good = Position(top.epoch, offset)
                assert (await broker.history("news", since=good)).since == good
            for bad in (
                Position(top.epoch, 5),
                Position(top.epoch, -1),
                Position(top.epoch, 2**63),
                Position("", 2),
                Position("elsewhere", 2),
                Position("a=1,b", 0),
            ):
                page = await broker.history("news", since=bad)
                assert page.since is None, bad
                assert page.position == top
            assert (await broker.history("news")).since is None

        self.run(clause)

    def test_deliveries_carry_the_epoch_of_their_history(self) -> None:
        """Who was cut off can tell by it whether offsets may be compared."""

        async def clause(broker: Broker, sink: Recorder) -> None:
            await broker.subscribe("news")
            position = await broker.publish(publication("news"), KEEP)
            await broker.publish(publication("news"), PASS)
            await sink.wait_for(2)
            assert position is not None
            assert sink.epochs == [position.epoch, ""]

        self.run(clause)

    def test_positions_of_many_channels(self) -> None:
        """They are those that a look at each history would show."""

        async def clause(broker: Broker, sink: Recorder) -> None:
            for channel in ("one", "two", "two"):
                await broker.publish(publication(channel), KEEP)
            expected = {c: (await broker.history(c, limit=0)).position for c in ("one", "two")}
            assert await broker.positions(["one", "two"]) == expected
            assert await broker.positions([]) == {}

        self.run(clause)

    def test_control_messages_arrive(self) -> None:
        """One for all nodes reaches this one too, and so does one for it alone; others' do not."""

        async def clause(broker: Broker, sink: Recorder) -> None:
            await broker.control(b"\x00for all")
            await broker.control(b"for you", NODE)
            await sink.wait_until(lambda: len(sink.controls) == 2)
            assert sorted(sink.controls) == [b"\x00for all", b"for you"]

        self.run(clause)

    def test_a_deserted_channel_is_told_from_one_with_listeners(self) -> None:
        """A channel counts as deserted as soon as the last node has unsubscribed."""

        async def clause(broker: Broker, sink: Recorder) -> None:
            await broker.subscribe("here")
            await broker.subscribe("left")
            await broker.unsubscribe("left")
            assert sorted(await broker.deserted(["here", "left", "never"])) == ["left", "never"]

        self.run(clause)

    def test_each_change_of_occupancy_is_told_once(self) -> None:
        """However often it is asked about, and not at all where it was left and joined again in between."""

        async def clause(broker: Broker, sink: Recorder) -> None:
            told = [await broker.occupancy("room")]
            await broker.subscribe("room")
            told += [await broker.occupancy("room"), await broker.occupancy("room")]
            await broker.unsubscribe("room")
            await broker.subscribe("room")
            told.append(await broker.occupancy("room"))
            await broker.unsubscribe("room")
            told += [await broker.occupancy("room"), await broker.occupancy("room")]
            await broker.subscribe("room")
            told.append(await broker.occupancy("room"))
            assert told == [0, 1, 0, 0, -1, 0, 1]

        self.run(clause)

    def test_it_answers_a_ping(self) -> None:
        """A broker that works says so."""

        async def clause(broker: Broker, sink: Recorder) -> None:
            await broker.ping()

        self.run(clause)

    def test_stopping_twice_is_stopping_once(self) -> None:
        """Stop is idempotent, and nothing is delivered after it."""

        async def clause(broker: Broker, sink: Recorder) -> None:
            await broker.subscribe("news")
            await broker.stop()
            await broker.stop()

        self.run(clause)


class PresenceContract:
    """What presence promises. Override `make_presence`."""

    def make_presence(self) -> Presence:
        """A presence that knows nobody."""
        raise NotImplementedError

    def run(self, clause: Callable[[Presence], Coroutine[Any, Any, None]]) -> None:
        """Run one clause over a fresh presence."""

        async def started() -> None:
            presence = self.make_presence()
            await presence.start(NODE)
            try:
                async with asyncio.timeout(DEADLINE):
                    await clause(presence)
            finally:
                await presence.stop()

        asyncio.run(started())

    def test_who_is_added_is_there(self) -> None:
        """Everybody added to a channel is listed by connection id, with everything known of them."""

        async def clause(presence: Presence) -> None:
            member = Member("alice", "user-1", Raw(b'{"name":"A"}'))
            await presence.add("room", "c1", member)
            await presence.add("room", "c2", Member("alice"))
            await presence.add("other", "c3", Member("bob"))
            assert await presence.list("room") == {"c1": member, "c2": Member("alice")}
            assert await presence.count("room") == (2, 1)

        self.run(clause)

    def test_who_is_removed_is_gone(self) -> None:
        """Removing takes one connection out, and is idempotent."""

        async def clause(presence: Presence) -> None:
            await presence.add("room", "c1", Member("alice"))
            await presence.add("room", "c2", Member("bob"))
            await presence.remove("room", "c1")
            await presence.remove("room", "c1")
            await presence.remove("nowhere", "c1")
            assert await presence.list("room") == {"c2": Member("bob")}
            await presence.remove("room", "c2")
            assert await presence.list("room") == {}
            assert await presence.count("room") == (0, 0)

        self.run(clause)

    def test_adding_again_replaces(self) -> None:
        """A connection is in a channel once."""

        async def clause(presence: Presence) -> None:
            await presence.add("room", "c1", Member("alice"))
            await presence.add("room", "c1", Member("alice", "user-2"))
            assert await presence.list("room") == {"c1": Member("alice", "user-2")}

        self.run(clause)

    def test_adding_tells_whether_the_node_was_known(self) -> None:
        """Else what else a node had in a channel has expired, and must be added again."""

        async def clause(presence: Presence) -> None:
            assert await presence.add("room", "c1", Member("alice")) is False
            assert await presence.add("room", "c2", Member("bob")) is True
            assert await presence.add("other", "c1", Member("alice")) is False

        self.run(clause)

    def test_a_list_is_a_copy(self) -> None:
        """What was listed does not change when somebody leaves."""

        async def clause(presence: Presence) -> None:
            await presence.add("room", "c1", Member("alice"))
            listed = await presence.list("room")
            await presence.remove("room", "c1")
            assert set(listed) == {"c1"}

        self.run(clause)

    def test_replacing_says_who_is_there(self) -> None:
        """Of this node's connections exactly those are in the channel that were named last."""

        async def clause(presence: Presence) -> None:
            await presence.add("room", "c1", Member("alice"))
            await presence.add("room", "c2", Member("bob"))
            await presence.replace("room", {"c2": Member("bob"), "c3": Member("carol")})
            assert await presence.list("room") == {"c2": Member("bob"), "c3": Member("carol")}
            assert await presence.count("room") == (2, 2)
            await presence.replace("room", {})
            assert await presence.count("room") == (0, 0)

        self.run(clause)

    def test_what_is_refreshed_lives_on(self) -> None:
        """Refreshing names no channel whose entries are there."""

        async def clause(presence: Presence) -> None:
            await presence.add("room", "c1", Member("alice"))
            assert await presence.refresh(["room"]) == []
            assert await presence.refresh([]) == []
            assert set(await presence.list("room")) == {"c1"}

        self.run(clause)
