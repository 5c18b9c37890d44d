"""Servers that are away, frozen, started anew or replaced: a publish fails in time, and then works again."""

import asyncio
import time
from collections.abc import Iterator

import pytest

from hubbub import Publisher
from hubbub.brokers.base import BrokerUnavailable
from hubbub.brokers.redis.names import Names, slot_of
from hubbub.testing import MemoryClient

from ..servers import Cluster, Proxy, SentinelSet, Valkey
from ..servers.ports import free_port
from .faces import AT_MOST, FACES, Face, hub_on, opened, run, under_prefix

each_face = pytest.mark.parametrize("face", FACES)


@pytest.fixture(scope="module")
def valkey() -> Iterator[Valkey]:
    """A server that keeps its data, and runs again after each test that stopped it."""
    with Valkey(appendonly="yes", appendfsync="always") as server:
        yield server


async def fails_in_time(publisher: Face) -> float:
    """Every method fails, none hangs; the seconds that the slowest took."""
    took = []
    for call in (publisher.publish("orders:1", 1), publisher.publish("passing", 1), publisher.broadcast(1)):
        began = time.monotonic()
        with pytest.raises(BrokerUnavailable):
            await call
        took.append(time.monotonic() - began)
    assert max(took) < AT_MOST
    return max(took)


@each_face
@pytest.mark.parametrize("way", ["redis://{}", "rediss://{}", "redis+cluster://{}", "redis+sentinel://{}/m"])
def test_no_server_is_there(face: str, way: str) -> None:
    """It says so in time."""

    async def scenario() -> None:
        async with opened(face, way.format(f"127.0.0.1:{free_port()}")) as publisher:
            await fails_in_time(publisher)

    run(scenario())


@each_face
def test_the_url_sets_the_deadline(face: str) -> None:
    """A request that must not wait long does not."""

    async def scenario() -> None:
        async with opened(face, f"redis://127.0.0.1:{free_port()}?deadline=0.3") as publisher:
            assert await fails_in_time(publisher) < 0.3 + 0.4

    run(scenario())


@each_face
@pytest.mark.parametrize("connected", [True, False], ids=["connected", "new"])
def test_a_frozen_server(face: str, connected: bool, valkey: Valkey) -> None:
    """Connecting to it still works; when it goes on, so does the publisher."""

    async def scenario() -> None:
        async with opened(face, under_prefix(valkey.url)) as publisher:
            if connected:
                await publisher.publish("orders:1", 0)
            valkey.pause()
            try:
                await fails_in_time(publisher)
            finally:
                valkey.resume()
            assert (await publisher.insist("orders:1", 1)).offset >= 1

    run(scenario())


@each_face
def test_a_line_that_swallows_everything(face: str, valkey: Valkey) -> None:
    """It is given up, and the next one works as soon as it can."""

    async def scenario() -> None:
        with Proxy(valkey.port) as proxy:
            async with opened(face, under_prefix(proxy.url)) as publisher:
                await publisher.publish("orders:1", 0)
                proxy.black_hole()
                await fails_in_time(publisher)
                proxy.heal()
                await publisher.insist("orders:1", 1)

    run(scenario())


@each_face
def test_a_slow_line(face: str, valkey: Valkey) -> None:
    """Every step takes its time, but all of them together no longer than the deadline."""

    async def scenario() -> None:
        with Proxy(valkey.port) as proxy:
            proxy.delay(0.3)
            async with opened(face, under_prefix(proxy.url)) as publisher:
                began = time.monotonic()
                with pytest.raises(BrokerUnavailable):
                    await publisher.publish("orders:1", 0)
                assert time.monotonic() - began < AT_MOST

    run(scenario())


@each_face
def test_a_connection_that_was_closed_meanwhile(face: str, valkey: Valkey) -> None:
    """As by a server that closes idle ones: nobody notices."""

    async def scenario() -> None:
        async with opened(face, under_prefix(valkey.url)) as publisher:
            first = await publisher.publish("orders:1", 0)
            valkey.run("CLIENT", "KILL", "TYPE", "normal")
            await asyncio.sleep(0.1)
            second = await publisher.publish("orders:1", 1)
            assert first is not None
            assert second is not None
            assert (second.epoch, second.offset) == (first.epoch, first.offset + 1)

    run(scenario())


@each_face
def test_scripts_that_were_flushed(face: str, valkey: Valkey) -> None:
    """The server is told again."""

    async def scenario() -> None:
        async with opened(face, under_prefix(valkey.url)) as publisher:
            for number in range(1, 4):
                assert (await publisher.insist("orders:1", number)).offset == number
                valkey.run("SCRIPT", "FLUSH")

    run(scenario())


@each_face
@pytest.mark.parametrize("keep_data", [True, False], ids=["with its data", "empty"])
def test_a_server_that_was_started_anew(face: str, keep_data: bool, valkey: Valkey) -> None:
    """The history goes on in a new epoch, one and the same for hub and publisher, whoever comes first."""

    async def scenario() -> None:
        url = under_prefix(valkey.url)
        async with hub_on(url) as hub, MemoryClient(hub) as alice, opened(face, url) as publisher:
            for channel in ("orders:1", "orders:2"):
                await alice.join(channel)
                before = await publisher.insist(channel, "before")
                assert await alice.receive("group_message")
            await asyncio.to_thread(valkey.restart, keep_data=keep_data)
            first = await publisher.insist("orders:1", "after")
            assert first.epoch != before.epoch
            assert first.offset == (before.offset + 1 if keep_data else 1)
            while True:
                try:
                    second = await hub.publish("orders:1", "after")
                    third = await hub.publish("orders:2", "after")
                    break
                except BrokerUnavailable:
                    await asyncio.sleep(0.05)
            fourth = await publisher.insist("orders:2", "after")
            assert second is not None
            assert third is not None
            assert (second.epoch, second.offset) == (first.epoch, first.offset + 1)
            assert (fourth.epoch, fourth.offset) == (third.epoch, third.offset + 1)

    run(scenario())


@each_face
def test_replicas_that_are_not_there(face: str, valkey: Valkey) -> None:
    """Where so many must have it, it has not been published until they do."""

    async def scenario() -> None:
        async with opened(face, under_prefix(valkey.url, "&replicas=1")) as publisher:
            with pytest.raises(BrokerUnavailable, match="0 of 1 replicas have it"):
                await publisher.publish("orders:1", 1)
            assert await publisher.publish("passing", 1) is None

    run(scenario())


@each_face
def test_a_server_of_a_cluster_alone(face: str) -> None:
    """Who gave the wrong kind of URL is told."""

    async def scenario() -> None:
        with Cluster() as cluster:
            async with opened(face, under_prefix(cluster.nodes[0].url)) as publisher:
                elsewhere = next(
                    channel
                    for channel in (f"orders:{number}" for number in range(100))
                    if cluster.owner_of_slot(slot_of(f"{{{channel}}}".encode())) is not cluster.nodes[0]
                )
                with pytest.raises(BrokerUnavailable, match=r"part of a Cluster .*redis\+cluster://"):
                    await publisher.publish(elsewhere, 1)

    run(scenario())


@each_face
def test_a_master_that_died(face: str) -> None:
    """The Sentinels name another one, where the history goes on in a new epoch."""

    async def scenario() -> None:
        with SentinelSet() as sentinels:
            async with opened(face, under_prefix(sentinels.url)) as publisher:
                before = await publisher.insist("orders:1", 0)
                await asyncio.to_thread(sentinels.settle)
                await asyncio.to_thread(sentinels.fail_over)
                after = await publisher.insist("orders:1", 1)
                assert after.epoch != before.epoch
                assert after.offset == before.offset + 1

    run(scenario())


@pytest.mark.parametrize(
    "face",
    [
        "sync",
        "async",
    ],
)
@pytest.mark.parametrize("how", ["kill", "pause"])
def test_a_sentinel_that_does_not_answer(face: str, how: str) -> None:
    """The next one is asked."""

    async def scenario() -> None:
        with SentinelSet() as sentinels:
            getattr(sentinels.sentinels[0], how)()
            async with opened(face, under_prefix(sentinels.url)) as publisher:
                assert await publisher.publish("orders:1", 1)

    run(scenario())


@pytest.mark.parametrize("how", ["kill", "pause"])
def test_a_node_of_the_cluster_that_does_not_answer(how: str) -> None:
    """The next one is asked who keeps what."""
    with Cluster() as cluster:
        node = cluster.nodes[0]
        channel = next(
            channel
            for channel in (f"orders:{number}" for number in range(100))
            if cluster.owner_of_slot(slot_of(f"{{{channel}}}".encode())) is not node
        )
        getattr(node, how)()
        with Publisher(under_prefix(cluster.url)) as publisher:
            assert publisher.publish(channel, 1) is None
            assert publisher.publish(channel, 1) is None


@each_face
def test_slots_that_moved_and_primaries_that_died(face: str) -> None:
    """The publisher finds its way; another process serves the data, so another epoch begins."""

    async def scenario() -> None:
        with Cluster(replicas=True) as cluster:
            url = under_prefix(cluster.url)
            prefix = url.partition("prefix=")[2]
            slot = slot_of(Names(prefix, 0).channel("orders:1"))
            async with opened(face, url) as publisher:
                first = await publisher.insist("orders:1", 0)
                owner = cluster.owner_of_slot(slot)
                other = next(node for node in cluster.nodes[:3] if node is not owner)
                await asyncio.to_thread(cluster.move_slot, slot, other)
                second = await publisher.publish("orders:1", 1)
                assert second is not None
                assert second.epoch != first.epoch
                assert second.offset == first.offset + 1
                await asyncio.to_thread(cluster.settle)
                await asyncio.to_thread(cluster.fail_over, other)
                third = await publisher.insist("orders:1", 2)
                assert third.epoch != second.epoch
                assert third.offset == second.offset + 1
                assert (await publisher.insist("orders:1", 3)).epoch == third.epoch

    run(scenario())
