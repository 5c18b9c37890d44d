"""What servers and networks do in real life: the broker says so, stays bounded, and finds back by itself."""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from hubbub.brokers.base import Broker, BrokerUnavailable, open_broker
from hubbub.core.messages import Member, Position
from hubbub.testing.contracts import KEEP, NODE, PASS, Recorder, offsets, publication

from ..servers import Cluster, Proxy, SentinelSet, Valkey, subscribers

DEADLINE = 20.0
AT_MOST = 2.0
"""Seconds within which a publish has failed, where it fails."""


def run(scenario: Callable[[], object]) -> None:
    """Run a scenario to its end, within bounds."""

    async def bounded() -> None:
        async with asyncio.timeout(DEADLINE):
            await scenario()  # type: ignore[misc]

    asyncio.run(bounded())


@asynccontextmanager
async def started(url: str, options: str = "") -> AsyncIterator[tuple[Broker, Recorder]]:
    """A broker that has started, and what it delivers."""
    broker = open_broker(f"{url}?prefix=test{secrets.token_hex(4)}&probe_interval=0.2{options}")[0]
    sink = Recorder()
    await broker.start(sink, NODE)
    try:
        yield broker, sink
    finally:
        await broker.stop()


async def insist(broker: Broker, channel: str = "news", data: str = "1") -> Position:
    """Publish, again and again until it works."""
    while True:
        try:
            position = await broker.publish(publication(channel, data), KEEP)
        except BrokerUnavailable:
            await asyncio.sleep(0.05)
        else:
            assert position is not None
            return position


async def fails_in_time(broker: Broker) -> None:
    """Every call fails, none hangs."""
    began = time.monotonic()
    calls = (
        broker.publish(publication("news"), KEEP),
        broker.publish(publication("news"), PASS),
        broker.history("news"),
        broker.positions(["news"]),
        broker.remove_history("news"),
        broker.control(b"x"),
        broker.deserted(["news"]),
        broker.ping(),
        broker.subscribe("other"),
    )
    ends = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(end) for end in ends] == [BrokerUnavailable] * len(calls)
    assert time.monotonic() - began < AT_MOST


async def until_well(broker: Broker) -> None:
    """Return when a message makes the way through the broker again."""
    while True:
        try:
            await broker.ping()
        except BrokerUnavailable:
            await asyncio.sleep(0.05)
        else:
            return


def test_a_killed_server_fails_every_call_and_is_found_again() -> None:
    """Calls fail in time; when it is back, what was subscribed is again, and the owner hears of the break."""

    async def scenario() -> None:
        with Valkey() as server:
            async with started(server.url) as (broker, sink):
                await broker.subscribe("news")
                await insist(broker)
                server.kill()
                await fails_in_time(broker)
                server.start()
                await sink.wait_until(lambda: "news" in sink.broken)
                before = len(sink.delivered)
                await insist(broker, data='"back"')
                delivered = await sink.wait_for(before + 1)
                assert bytes(delivered[-1].data) == b'"back"'
                await until_well(broker)

    run(scenario)


def test_a_server_that_comes_back_empty_begins_a_new_epoch() -> None:
    """So that nobody's old position is taken for one of the new history."""

    async def scenario() -> None:
        with Valkey() as server:
            async with started(server.url) as (broker, _):
                old = await insist(broker)
                server.restart(keep_data=False)
                new = await insist(broker)
                assert new.offset == 1
                assert new.epoch != old.epoch
                assert (await broker.history("news", since=old)).since is None

    run(scenario)


def test_a_server_that_comes_back_with_its_data_keeps_old_positions_good() -> None:
    """In a new epoch, that knows where the old one ended: beyond its end an old position is good no more."""

    async def scenario() -> None:
        with Valkey(appendonly="yes", appendfsync="always") as server:
            async with started(server.url) as (broker, _):
                for _ in range(3):
                    old = await insist(broker)
                server.kill()
                server.start()
                new = await insist(broker)
                assert new.offset == 4
                assert new.epoch != old.epoch
                page = await broker.history("news", since=Position(old.epoch, 2))
                assert page.since == Position(new.epoch, 2)
                assert offsets(page.publications) == [3, 4]
                # A publication 4 of the old epoch would have been another one.
                assert (await broker.history("news", since=Position(old.epoch, 4))).since is None

    run(scenario)


def test_a_paused_server_hangs_nobody() -> None:
    """It takes what it is sent and answers nothing: calls fail in time, and all is well when it goes on."""

    async def scenario() -> None:
        with Valkey() as server:
            async with started(server.url) as (broker, sink):
                await broker.subscribe("news")
                await insist(broker)
                server.pause()
                await fails_in_time(broker)
                await fails_in_time(broker)
                server.resume()
                await sink.wait_until(lambda: "news" in sink.broken)
                await until_well(broker)

    run(scenario)


def test_a_dead_subscription_with_healthy_commands_is_noticed() -> None:
    """The classic silent outage: sockets open, publishes fine, nothing arrives."""

    async def scenario() -> None:
        with Valkey() as server, Proxy(server.port) as proxy:
            async with started(proxy.url) as (broker, sink):
                await broker.subscribe("news")
                await insist(broker)
                await sink.wait_for(1)
                proxy.black_hole(subscribers)
                await insist(broker, data='"lost"')
                with pytest.raises(BrokerUnavailable):
                    await broker.ping()
                proxy.heal()
                await sink.wait_until(lambda: "news" in sink.broken)
                await until_well(broker)
                await insist(broker, data='"seen"')
                delivered = await sink.wait_for(2)
                assert [bytes(p.data) for p in delivered] == [b"1", b'"seen"']

    run(scenario)


def test_a_slow_server_is_only_slow() -> None:
    """Latency below the deadline fails nothing; many calls share a round trip."""

    async def scenario() -> None:
        with Valkey() as server, Proxy(server.port) as proxy:
            async with started(proxy.url) as (broker, sink):
                await broker.subscribe("news")
                proxy.delay(0.2)
                calls = (broker.publish(publication("news", str(n)), KEEP) for n in range(500))
                positions = await asyncio.gather(*calls)
                assert [p.offset for p in positions if p] == list(range(1, 501))
                assert offsets(await sink.wait_for(500)) == list(range(1, 501))

    run(scenario)


def test_a_loop_that_was_late_blames_nobody() -> None:
    """When our own event loop stood still, the answers lie unread: they count, and the connections stay."""

    async def scenario() -> None:
        with Valkey() as server:
            async with started(server.url) as (broker, sink):
                await broker.subscribe("news")
                calls = [broker.publish(publication("news", str(n)), KEEP) for n in range(2000)]
                calls += [broker.subscribe(f"other{n}") for n in range(200)]  # type: ignore[list-item]
                tasks = [asyncio.get_running_loop().create_task(call) for call in calls]  # type: ignore[arg-type]
                await asyncio.sleep(0)
                await asyncio.sleep(0)
                time.sleep(2)  # noqa: ASYNC251 - as if another process had the core
                await asyncio.gather(*tasks, broker.ping())
                await sink.wait_for(2000)
                assert sink.broken == []

    run(scenario)


def test_what_waits_for_a_server_is_bounded() -> None:
    """Past the bound a call fails at once, in place of filling the memory."""

    async def scenario() -> None:
        with Valkey() as server:
            async with started(server.url) as (broker, _):
                await insist(broker)
                server.pause()
                big = publication("news", '"' + "x" * 1_000_000 + '"')
                ends = await asyncio.gather(
                    *(broker.publish(big, PASS) for _ in range(200)), return_exceptions=True
                )
                assert all(isinstance(end, BrokerUnavailable) for end in ends)
                assert any("too much is waiting" in str(end) for end in ends)
                server.resume()
                await until_well(broker)

    run(scenario)


def test_a_promoted_replica_is_followed() -> None:
    """Sentinel promotes it; publishing goes on there, and subscriptions with it."""

    async def scenario() -> None:
        with SentinelSet() as servers:
            async with started(servers.url) as (broker, sink):
                await broker.subscribe("news")
                old = await insist(broker)
                await asyncio.to_thread(servers.settle)
                await asyncio.to_thread(servers.fail_over)
                new = await insist(broker, data='"promoted"')
                assert new.offset == 2
                assert (await broker.history("news", since=old)).since == Position(new.epoch, 1)
                await until_well(broker)
                before = len(sink.delivered)
                await insist(broker, data='"live"')
                assert bytes((await sink.wait_for(before + 1))[-1].data) == b'"live"'

    run(scenario)


def test_a_lost_cluster_node_takes_only_its_own_channels_along() -> None:
    """Channels of the others go on; readiness tells, and all is well when the node is back."""

    async def scenario() -> None:
        with Cluster() as cluster:
            async with started(cluster.url) as (broker, sink):
                channels = [f"channel{n}" for n in range(30)]
                for channel in channels:
                    await broker.subscribe(channel)
                    await insist(broker, channel)
                lost = cluster.owner_of("channel0")
                await asyncio.to_thread(cluster.kill, lost)
                ends = await asyncio.gather(
                    *(broker.publish(publication(c), KEEP) for c in channels), return_exceptions=True
                )
                failed = {c for c, end in zip(channels, ends, strict=True) if isinstance(end, Exception)}
                assert 0 < len(failed) < len(channels)
                with pytest.raises(BrokerUnavailable):
                    await broker.ping()
                await asyncio.to_thread(cluster.restart, lost)
                await until_well(broker)
                await sink.wait_until(lambda: failed <= set(sink.broken))
                for channel in channels:
                    await insist(broker, channel, '"healed"')
                healed = lambda: {p.channel for p in sink.delivered if bytes(p.data) == b'"healed"'}  # noqa: E731
                await sink.wait_until(lambda: healed() == set(channels))

    run(scenario)


def test_a_moved_slot_is_followed() -> None:
    """Its channels are published to and listened to at the new server, and the owner hears of the break."""

    async def scenario() -> None:
        with Cluster() as cluster:
            async with started(cluster.url) as (broker, sink):
                await broker.subscribe("{moving}")
                await insist(broker, "{moving}")
                names = broker._names  # type: ignore[attr-defined]
                slot = cluster.client().keyslot(names.channel("{moving}"))
                old = cluster.owner_of_slot(slot)
                new = next(node for node in cluster.nodes if node is not old)
                await asyncio.to_thread(cluster.move_slot, slot, new)
                await sink.wait_until(lambda: "{moving}" in sink.broken)
                before = len(sink.delivered)
                await insist(broker, "{moving}", '"moved"')
                delivered = await sink.wait_for(before + 1)
                assert bytes(delivered[-1].data) == b'"moved"'
                await until_well(broker)

    run(scenario)


def test_what_no_node_has_sent_is_counted_and_ignored() -> None:
    """Whatever somebody publishes to our channels, the next publication arrives as ever."""

    async def scenario() -> None:
        with Valkey() as server, server.client() as stranger:
            async with started(server.url) as (broker, sink):
                await broker.subscribe("news")
                name = broker._names.channel("news")  # type: ignore[attr-defined]
                for rubbish in (b"", b"x", b"a,b,c", b"a,1,\xff", b",0,\x90", b"e,-1,\x93", "é,1,é".encode()):
                    stranger.publish(name, rubbish)
                stranger.publish("chat_news", b"no json")
                stranger.publish("chat_news", b'{"from": 1}')
                await broker.publish(publication("news"), PASS)
                assert len(await sink.wait_for(1)) == 1
                assert len(sink.rubbish) == 9

    run(scenario)


def test_publishers_that_know_nothing_of_us_reach_a_group() -> None:
    """JSON on `chat_<group>` arrives as a chat message; unless that is switched off."""

    async def scenario() -> None:
        with Valkey() as server, server.client() as stranger:
            async with started(server.url) as (broker, sink):
                await broker.subscribe("news")
                stranger.publish("chat_news", b'{"from": "x", "message": {"a": 1}, "timestamp": "then"}')
                [arrived] = await sink.wait_for(1)
                assert (arrived.client_id, bytes(arrived.data), arrived.timestamp) == (
                    "x",
                    b'{"a": 1}',
                    "then",
                )
                assert (arrived.kind, arrived.offset) == ("chat", 0)
            async with started(server.url, "&raw_channels=off") as (broker, _):
                await broker.subscribe("news")
                assert stranger.pubsub_numsub("chat_news") == [(b"chat_news", 0)]

    run(scenario)


def test_entries_of_a_dead_node_expire() -> None:
    """And a node that was away for longer finds that out when it refreshes."""

    async def scenario() -> None:
        with Valkey() as server:
            url = f"{server.url}?presence_ttl=0.5"
            dead, living = open_broker(url)[1], open_broker(url)[1]
            await dead.start("dead")
            await living.start("living")
            await dead.add("room", "c1", Member("alice"))
            await living.add("room", "c2", Member("bob"))
            while await living.count("room") != (1, 1):
                assert await living.refresh(["room"]) == []
                await asyncio.sleep(0.05)
            assert set(await living.list("room")) == {"c2"}
            assert await dead.refresh(["room"]) == ["room"]
            await dead.replace("room", {"c1": Member("alice")})
            assert await living.count("room") == (2, 2)
            await dead.stop()
            await living.stop()

    run(scenario)
