"""Bugs that other servers of this kind have paid for, tried here over a real server that is slow or dead.

The wedged subscription with green health is in `test_faults.py`, the decompression bomb in
`tests/transports`. Those of tokens, deltas and emulated transports wait for these.
"""

import asyncio
import random

from hubbub.brokers.base import BrokerUnavailable
from hubbub.core.messages import Position
from hubbub.hub import Hub
from hubbub.testing import MemoryClient

from ..servers import Proxy, Valkey
from .several import HISTORY, an_address, heard, nodes, run, until


async def until_shown(hub: Hub, group: str, *expected: str) -> None:
    """Wait till presence shows these client ids."""
    while True:
        try:
            members = await hub.presence(group)
        except BrokerUnavailable:
            continue
        if sorted(member.client_id for member in members.values()) == sorted(expected):
            return
        await asyncio.sleep(0.02)


def test_recovering_many_groups_under_load_never_locks_up() -> None:
    """Joins that recover, side by side, while publications for their groups arrive: nobody waits for ever."""
    groups = [f"g{n}" for n in range(8)]

    async def scenario() -> None:
        async with nodes(2, default_namespace=HISTORY) as (one, two):
            positions = {}
            for group in groups:
                position = await one.publish(group, 0)
                assert position is not None
                positions[group] = {"epoch": position.epoch, "offset": position.offset}

            async def publish() -> None:
                for number in range(1, 101):
                    await asyncio.gather(*(two.publish(group, number) for group in groups))

            async def recover(name: str) -> dict[str, list[int]]:
                order = random.Random(name).sample(groups, len(groups))
                hello = {"groups": {group: positions[group] for group in order}}
                seen: dict[str, list[int]] = {group: [] for group in groups}
                async with MemoryClient(one, name, hello=hello) as client:
                    while any(len(numbers) < 100 for numbers in seen.values()):
                        [message] = await heard(client, "group_message")
                        seen[message["group_name"]].append(message["data"])
                return seen

            _, *records = await asyncio.gather(publish(), *(recover(f"c{n}") for n in range(10)))
            assert all(record[group] == list(range(1, 101)) for record in records for group in groups)

    run(scenario)


def test_a_suppressed_publish_moves_no_offset() -> None:
    """A publish that its idempotency key makes a repetition leaves no jump for members to stumble over."""

    async def scenario() -> None:
        async with nodes(2, default_namespace=HISTORY) as (one, two), MemoryClient(one, "alice") as alice:
            await alice.join("room")
            first = await one.publish("room", 1, idempotency_key="k")
            assert await two.publish("room", 1, idempotency_key="k") == first
            assert await two.publish("room", 2) == Position(first.epoch, 2) if first else None
            assert [m["offset"] for m in await heard(alice, "group_message", count=2)] == [1, 2]
            await asyncio.gather(*(hub.broker.positions(["room"]) for hub in (one, two)))
            assert "hubbub_gaps_total 0.0" in one.metrics.exposition().decode()

    run(scenario)


def test_a_slow_server_keeps_no_dead_connection_alive() -> None:
    """A client that comes back again and again meanwhile has one connection, not one more each time."""

    async def scenario() -> None:
        with Valkey() as server, Proxy(server.port) as proxy:
            async with nodes(1, address=an_address(proxy.url)) as [hub]:
                async with MemoryClient(hub, "alice") as alice:
                    await alice.join("room")
                proxy.delay(0.3)
                for _ in range(5):
                    alice = MemoryClient(hub, "alice")
                    async with alice:
                        assert len(hub.connections) == 1
                        alice.send({"type": "join_group", "group_name": "room"})
                    assert len(hub.connections) == 0
                proxy.delay(0)
                await until_shown(hub, "room")

    run(scenario)


def test_a_connection_that_ends_while_it_joins_leaves_no_presence() -> None:
    """At whatever moment of the join it ends."""

    async def scenario() -> None:
        with Valkey() as server, Proxy(server.port) as proxy:
            address = an_address(proxy.url)
            async with nodes(1, address=address, default_namespace=HISTORY) as [hub]:
                clients = [MemoryClient(hub, f"c{n}") for n in range(30)]
                for client in clients:
                    await client.__aenter__()
                proxy.delay(0.02)
                for number, client in enumerate(clients):
                    client.send({"type": "join_group", "group_name": "room"})
                    asyncio.get_running_loop().call_later(number * 0.007, client.vanish)
                await until(lambda: len(hub.connections) == 0)
                await until_shown(hub, "room")
                await hub.interest.settled()
                assert hub.groups() == {}
                assert len(hub.continuity) == 0

    run(scenario)


def test_leaving_waits_for_the_join_under_way() -> None:
    """Join, leave, join, leave in one breath: each is answered in turn, and what remains is the last word."""

    async def scenario() -> None:
        with Valkey() as server, Proxy(server.port) as proxy:
            address = an_address(proxy.url)
            async with (
                nodes(1, address=address, default_namespace=HISTORY) as [hub],
                MemoryClient(hub, "alice") as alice,
            ):
                proxy.delay(0.02)
                for _ in range(3):
                    alice.send({"type": "join_group", "group_name": "room"})
                    alice.send({"type": "leave_group", "group_name": "room"})
                answers = [(await heard(alice, "group_joined", "group_left"))[0]["type"] for _ in range(6)]
                assert answers == ["group_joined", "group_left"] * 3
                await until_shown(hub, "room")
                alice.send({"type": "join_group", "group_name": "room"})
                await heard(alice, "group_joined")
                await until_shown(hub, "room", "alice")

    run(scenario)
