"""What a node does while its server is gone or cut off, and after it: honest, bounded, whole again."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from hubbub.brokers.base import BrokerUnavailable
from hubbub.hub import Hub, Options, Refuse
from hubbub.testing import MemoryClient

from ..http.sites import asking
from ..servers import Proxy, Valkey, subscribers
from .several import HISTORY, an_address, heard, nodes, run

AT_MOST = 2.0
"""Seconds within which a publish has failed, where it fails."""


async def insist(hub: Hub, channel: str, data: object) -> None:
    """Publish till it works; with a key, so that it counts once."""
    while True:
        try:
            await hub.publish(channel, data, idempotency_key=f"{data}")
        except BrokerUnavailable:
            await asyncio.sleep(0.05)
        else:
            return


async def is_ready(hub: Hub) -> bool:
    """Whether `/readyz` says so."""
    async with asking(hub) as http:
        return (await http.get("/readyz")).status_code == 200


@asynccontextmanager
async def a_hub(address: str) -> AsyncIterator[Hub]:
    """One hub with history."""
    hub = Hub(address, default_namespace=HISTORY)
    async with hub.lifespan():
        yield hub


async def until_ready(hub: Hub, *, ready: bool = True) -> None:
    """Wait for `/readyz` to turn."""
    while await is_ready(hub) is not ready:  # noqa: ASYNC110 - nothing announces it
        await asyncio.sleep(0.05)


def test_an_outage_is_said_and_survived() -> None:
    """Connections stay, publishing fails in time however it is done, readiness is red; then all goes on."""

    async def scenario() -> None:
        with Valkey(appendonly="yes", appendfsync="always") as server:
            address = an_address(server.url)
            async with (
                nodes(2, address=address, default_namespace=HISTORY) as (one, two),
                MemoryClient(two, "alice") as alice,
            ):
                await alice.join("room")
                await one.publish("room", 0)
                await heard(alice, "group_message")
                server.kill()
                began = time.monotonic()
                async with asking(one) as http:
                    answers = await asyncio.gather(
                        http.post("/broadcast", json={}),
                        http.post("/notify/alice", json={}),
                        http.post("/api/publish", json={"channel": "room", "data": 1}),
                        http.get("/readyz"),
                        http.get("/stats"),
                        http.get("/healthz"),
                        http.get("/metrics"),
                    )
                assert time.monotonic() - began < AT_MOST
                assert [a.status_code for a in answers] == [503, 503, 200, 503, 200, 200, 200]
                assert answers[2].json()["error"]["code"] == 100
                alice.send({"type": "chat_message", "id": 1, "group_name": "room", "message": "?"})
                [refused] = await heard(alice, "error")
                assert (refused["id"], refused["code"], refused["temporary"]) == (1, 100, True)
                with pytest.raises((Refuse, BrokerUnavailable)):
                    await MemoryClient(two, "bob").__aenter__()
                server.start()
                await insist(one, "room", 1)
                await until_ready(one)
                await until_ready(two)
                await insist(one, "room", 2)
                messages = await heard(alice, "group_message", count=2)
                assert [m["data"] for m in messages] == [1, 2]
                assert [m["offset"] for m in messages] == [2, 3]
                assert alice.closed is None
                async with MemoryClient(two, "bob") as bob:
                    await bob.join("room")

    run(scenario)


def test_what_pubsub_lost_is_had_from_the_history() -> None:
    """Black-holed Pub/Sub with healthy commands: red within seconds, and no hole in what members see."""

    async def scenario() -> None:
        with Valkey() as server, Proxy(server.port) as proxy:
            address = an_address(server.url)
            beside = address.replace(server.url, proxy.url)
            async with (
                nodes(1, address=address, default_namespace=HISTORY) as [one],
                a_hub(beside) as cut,
                MemoryClient(cut, "alice") as alice,
            ):
                await alice.join("room")
                await one.publish("room", 0)
                await heard(alice, "group_message")
                proxy.black_hole(subscribers)
                await one.publish("room", 1)
                await until_ready(cut, ready=False)
                assert await is_ready(one)
                await one.publish("room", 2)
                proxy.heal()
                messages = await heard(alice, "group_message", count=2)
                assert [m["data"] for m in messages] == [1, 2]
                await until_ready(cut)
                assert "hubbub_healed_total 2.0" in cut.metrics.exposition().decode()

    run(scenario)


def test_what_was_lost_with_the_data_is_said() -> None:
    """A server that comes back empty: members are told where they stand now, then it goes on."""

    async def scenario() -> None:
        with Valkey() as server:
            address = an_address(server.url)
            async with (
                nodes(1, address=address, default_namespace=HISTORY) as [hub],
                MemoryClient(hub, "alice") as alice,
            ):
                joined = await alice.join("room")
                await hub.publish("room", 0)
                await heard(alice, "group_message")
                server.restart(keep_data=False)
                [told] = await heard(alice, "group_joined")
                assert told["recovered"] is False
                assert told["epoch"] != joined["epoch"]
                await insist(hub, "room", 1)
                [message] = await heard(alice, "group_message")
                assert (message["data"], message["offset"]) == (1, told["offset"] + 1)
                async with MemoryClient(hub, "bob") as bob:
                    old = {"epoch": joined["epoch"], "offset": 1}
                    assert (await bob.join("room", recover=old))["recovered"] is False
                now = {"epoch": told["epoch"], "offset": told["offset"]}
                async with MemoryClient(hub, "carol") as carol:
                    assert (await carol.join("room", recover=now))["recovered"] is True
                    assert (await heard(carol, "group_message"))[0]["data"] == 1

    run(scenario)


def test_presence_is_put_right_after_the_data_was_lost() -> None:
    """Members that stayed are shown again, though the server has forgotten them."""

    async def scenario() -> None:
        with Valkey() as server:
            address = an_address(server.url)
            async with nodes(1, address=address) as [hub], MemoryClient(hub, "alice") as alice:
                await alice.join("room")
                assert len(await hub.presence("room")) == 1
                server.restart(keep_data=False)

                async def shown() -> list[str]:
                    try:
                        return [member.client_id for member in (await hub.presence("room")).values()]
                    except BrokerUnavailable:
                        return []

                while await shown() != ["alice"]:  # noqa: ASYNC110 - nothing announces it
                    await asyncio.sleep(0.05)

    run(scenario)


def test_who_left_during_an_outage_is_gone_after_it() -> None:
    """Clean-up does not wait for the server, and what could not be said then is said later."""

    async def scenario() -> None:
        with Valkey(appendonly="yes") as server:
            address = an_address(server.url)
            async with nodes(1, address=address) as [hub], MemoryClient(hub, "bob") as bob:
                await bob.join("room")
                async with MemoryClient(hub, "alice") as alice:
                    await alice.join("room")
                    assert len(await hub.presence("room")) == 2
                    server.pause()
                    began = time.monotonic()
                assert time.monotonic() - began < 0.5
                assert [c.session.client_id for c in hub.connections.of()] == ["bob"]
                await asyncio.sleep(0)
                server.resume()
                while True:
                    try:
                        members = await hub.presence("room")
                    except BrokerUnavailable:
                        members = {}
                    if [member.client_id for member in members.values()] == ["bob"]:
                        break
                    await asyncio.sleep(0.05)
                [gone] = await heard(bob, "system_notification")
                assert gone["data"]["client_id"] == "alice"

    run(scenario)


def test_waiting_for_a_broker_that_comes_later() -> None:
    """With `wait_for_broker` a hub starts as soon as there is one; without, it says that none is."""

    async def scenario() -> None:
        server = Valkey()
        with server:
            address = an_address(server.url)
            server.stop()
            with pytest.raises(BrokerUnavailable):
                await Hub(address).start()
            hub = Hub(address, options=Options(wait_for_broker=True))
            starting = asyncio.get_running_loop().create_task(hub.start())
            await asyncio.sleep(0.1)
            assert not starting.done()
            server.start()
            await starting
            assert await is_ready(hub)
            await hub.stop()

    run(scenario)
