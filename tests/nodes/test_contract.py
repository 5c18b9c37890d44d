"""What one node promises holds across nodes: every message, every question, every act on a client."""

import asyncio
import logging
from typing import Any

import pytest

from hubbub.core.channels import Namespace
from hubbub.hub import Hub, Options
from hubbub.hub.cluster import LIFETIME
from hubbub.testing import MemoryClient

from ..http.sites import asking
from ..servers import shared
from .several import HISTORY, JsonObject, an_address, heard, nodes, run, until


async def api(hub: Any, method: str, **request: Any) -> JsonObject:
    """What a method of one node's server API answers."""
    async with asking(hub) as http:
        answer: JsonObject = (await http.post(f"/api/{method}", json=request)).json()
    return answer


def test_chat_reaches_every_member_on_every_node() -> None:
    """In one order for all, whoever publishes where."""

    async def scenario() -> None:
        async with nodes(3) as hubs:
            clients = [MemoryClient(hub, f"c{n}") for n, hub in enumerate(hubs * 2)]
            for client in clients:
                await client.__aenter__()
                await client.join("room")
            for number in range(30):
                clients[number % 6].send({"type": "chat_message", "group_name": "room", "message": number})
            records = [await heard(client, "chat_message", count=30) for client in clients]
            orders = [[(m["from"], m["message"]) for m in record] for record in records]
            assert sorted(n for _, n in orders[0]) == list(range(30))
            assert all(order == orders[0] for order in orders)

    run(scenario)


def test_broadcasts_and_notifications_find_their_connections_anywhere() -> None:
    """A broadcast reaches everybody; a notification every connection of its client, and nobody else."""

    async def scenario() -> None:
        async with (
            nodes(2) as (one, two),
            MemoryClient(one, "alice") as here,
            MemoryClient(two, "alice") as there,
            MemoryClient(two, "bob") as bob,
        ):
            async with asking(one) as http:
                assert (await http.post("/notify/alice", json={"n": 1})).json()["client_id"] == "alice"
                assert (await http.post("/broadcast", json={"n": 2})).json()["status"] == "broadcast_sent"
            for client in (here, there):
                first, second = await heard(client, "personal_notification", "broadcast_message", count=2)
                assert (first["data"], second["data"]) == ({"n": 1}, {"n": 2})
            [only] = await heard(bob, "personal_notification", "broadcast_message")
            assert only["data"] == {"n": 2}

    run(scenario)


def test_publishers_that_know_nothing_of_us_reach_everybody() -> None:
    """JSON on `system_broadcast` and `chat_<group>` arrives as the contract says; what is none is counted."""

    async def scenario() -> None:
        async with (
            nodes(2) as (one, two),
            MemoryClient(one, "alice") as alice,
            MemoryClient(two, "bob") as bob,
        ):
            await bob.join("room")
            with shared.standalone().client() as stranger:
                stranger.publish("system_broadcast", b"[no json")
                stranger.publish("system_broadcast", b'{"up": true}')
                said = b'{"from": "robot", "message": ["hi"], "timestamp": "2026-01-01T00:00:00+00:00"}'
                stranger.publish("chat_room", said)
            [told] = await heard(alice, "system_notification")
            assert told["data"] == {"up": True}
            [chat] = await heard(bob, "chat_message")
            assert chat == {
                "type": "chat_message",
                "group_name": "room",
                "from": "robot",
                "message": ["hi"],
                "timestamp": "2026-01-01T00:00:00+00:00",
            }
            assert "hubbub_broker_garbage_total 1.0" in one.metrics.exposition().decode()

    run(scenario)


def test_rubbish_is_logged_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    """However much of it comes."""

    async def scenario() -> None:
        async with nodes(1) as [hub], MemoryClient(hub, "alice") as alice:
            with shared.standalone().client() as stranger:
                for _ in range(50):
                    stranger.publish("system_broadcast", b"rubbish")
                stranger.publish("system_broadcast", b"1")
            await heard(alice, "system_notification")

    with caplog.at_level(logging.WARNING, "hubbub"):
        run(scenario)
    assert len([r for r in caplog.records if "no node has sent" in r.getMessage()]) == 1


def test_a_client_is_announced_gone_once_and_only_when_it_is_gone_everywhere() -> None:
    """One of two connections ending says nothing; the last one says it once, on every node."""

    async def scenario() -> None:
        async with nodes(2) as (one, two), MemoryClient(one, "w1") as w1, MemoryClient(two, "w2") as w2:
            async with MemoryClient(one, "alice") as here, MemoryClient(two, "alice") as there:
                here.vanish()
                await two.notify("alice", 1)
                await heard(there, "personal_notification")
                async with MemoryClient(one, "bob"):
                    pass
                for watcher in (
                    w1,
                    w2,
                ):  # alice would have been before bob
                    [gone] = await heard(watcher, "system_notification")
                    assert gone["data"]["client_id"] == "bob"
                    assert "client_ids" not in gone["data"]
            for watcher in (w1, w2):
                [gone] = await heard(watcher, "system_notification")
                assert gone["data"]["event"] == "client_disconnected"
                assert gone["data"]["client_id"] == "alice"

    run(scenario)


def test_both_last_connections_leaving_at_once_are_announced_once() -> None:
    """Two nodes that lose a client at the same moment do not both say so, and not neither."""

    async def scenario() -> None:
        async with nodes(2) as (one, two), MemoryClient(one, "watcher") as watcher:
            for name in ("a", "b", "c"):
                async with MemoryClient(one, name), MemoryClient(two, name):
                    pass
            async with MemoryClient(two, "last"):
                pass
            gone: list[str] = []
            while "last" not in gone or len(gone) < 4:
                [told] = await heard(watcher, "system_notification")
                gone += told["data"].get("client_ids") or [told["data"]["client_id"]]
            assert sorted(gone) == ["a", "b", "c", "last"]

    run(scenario)


def test_stats_and_questions_tell_the_whole() -> None:
    """`/stats`, `channels`, `info`, `connections` and presence on any node count all nodes."""

    async def scenario() -> None:
        async with (
            nodes(2, default_namespace=HISTORY) as hubs,
            MemoryClient(hubs[0], "alice") as alice,
            MemoryClient(hubs[1], "bob") as bob,
            MemoryClient(hubs[1], "carol") as carol,
        ):
            for client, groups in ((alice, ["red", "blue"]), (bob, ["red"]), (carol, ["green"])):
                for group in groups:
                    await client.join(group)
            for hub in hubs:
                await until(lambda hub=hub: hub.total_connections == 3)
                await until(lambda hub=hub: sum(n.subscriptions for n in hub.cluster.peers) == 2)
                async with asking(hub) as http:
                    stats = (await http.get("/stats")).json()
                assert (stats["total_connections"], stats["active_groups"]) == (3, 3)
                assert (stats["nodes"], stats["subscriptions"]) == (2, 4)
                channels = (await api(hub, "channels"))["result"]["channels"]
                assert channels == {
                    "red": {"num_clients": 2},
                    "blue": {"num_clients": 1},
                    "green": {"num_clients": 1},
                }
                assert set((await api(hub, "channels", pattern="re*"))["result"]["channels"]) == {"red"}
                info = (await api(hub, "info"))["result"]["nodes"]
                assert {node["uid"] for node in info} == {other.node_id for other in hubs}
                assert sum(node["num_clients"] for node in info) == 3
                found = (await api(hub, "connections"))["result"]["connections"]
                assert sorted(c["client_id"] for c in found.values()) == ["alice", "bob", "carol"]
                [one] = (await api(hub, "connections", client="bob"))["result"]["connections"].values()
                assert one["channels"] == ["red"]
                members = (await api(hub, "presence", channel="red"))["result"]["presence"]
                assert sorted(m["client_id"] for m in members.values()) == ["alice", "bob"]
                assert (await api(hub, "presence_stats", channel="red"))["result"]["num_clients"] == 2
            late = MemoryClient(hubs[0], "dave")
            async with late:
                assert late.greeting["total_connections"] == 4

    run(scenario)


def test_a_client_is_acted_on_wherever_it_is() -> None:
    """Subscribe, unsubscribe and disconnect reach connections of another node, by client or connection id."""

    async def scenario() -> None:
        async with (
            nodes(2) as (one, two),
            MemoryClient(two, "alice") as alice,
            MemoryClient(two, "bob") as bob,
        ):
            assert await api(one, "subscribe", client="alice", user="", channel="room") == {"result": {}}
            [joined] = await heard(alice, "group_joined")
            assert joined["group_name"] == "room"
            await one.publish("room", 1)
            await heard(alice, "group_message")
            await api(one, "unsubscribe", client="alice", user="", channel="room")
            [removed] = await heard(alice, "group_removed")
            assert removed["code"] == 2000
            [connection_id] = (await api(one, "connections", client="bob"))["result"]["connections"]
            await api(one, "disconnect", client=connection_id, disconnect={"code": 4001, "reason": "bye"})
            await until(lambda: bob.closed is not None)
            assert bob.closed == (4001, "bye")
            await one.disconnect(client="alice")
            await until(lambda: alice.closed is not None)

    run(scenario)


def test_what_was_missed_on_one_node_is_had_on_another() -> None:
    """A client comes back to another node with its position: exactly what it missed, then live."""

    async def scenario() -> None:
        async with nodes(2, default_namespace=HISTORY) as (one, two):
            async with MemoryClient(one, "alice") as alice:
                joined = await alice.join("room")
                await two.publish("room", 0)
                [seen] = await heard(alice, "group_message")
            for number in range(1, 6):
                await (one, two)[number % 2].publish("room", number)
            async with MemoryClient(two, "alice") as alice:
                answer = await alice.join(
                    "room", recover={"epoch": joined["epoch"], "offset": seen["offset"]}
                )
                assert answer["recovered"] is True
                await one.publish("room", 6)
                messages = await heard(alice, "group_message", count=6)
                assert [(m["offset"], m["data"]) for m in messages] == [(n + 1, n) for n in range(1, 7)]

    run(scenario)


def test_notifications_and_broadcasts_survive_a_reconnect() -> None:
    """Where what is a client's own has history: told by position in `connect`, on another node."""
    own = {name: Namespace(history_size=100, presence=False) for name in ("$all", "$client")}

    async def scenario() -> None:
        async with nodes(2, namespaces=own, options=Options(announce_disconnects=False)) as (one, two):
            async with MemoryClient(one, "alice") as alice:
                positions = alice.greeting["positions"]
                assert set(positions) == {"$all", "$client"}
            await two.notify("alice", 1)
            await two.broadcast(2)
            await one.notify("alice", 3)
            async with MemoryClient(two, "alice", hello={"id": 7, "recover": positions}) as alice:
                assert alice.greeting["id"] == 7
                assert alice.greeting["recovered"] == {"$all": True, "$client": True}
                await one.broadcast(4)
                got = await heard(alice, "personal_notification", "broadcast_message", count=4)
                notes = [m["data"] for m in got if m["type"] == "personal_notification"]
                broadcasts = [m["data"] for m in got if m["type"] == "broadcast_message"]
                assert (notes, broadcasts) == ([1, 3], [2, 4])

    run(scenario)


def test_a_node_that_stops_says_good_bye() -> None:
    """The others count on without it at once."""

    async def scenario() -> None:
        address = an_address()
        async with nodes(1, address=address) as [one]:
            async with Hub(address).lifespan():
                await until(lambda: one.cluster.peers)
            async with asyncio.timeout(LIFETIME / 2):
                await until(lambda: not one.cluster.peers)

    run(scenario)
