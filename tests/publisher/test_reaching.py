"""What another process publishes is as if a hub had: it arrives, with its position, in one history."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import pytest

from hubbub import Position
from hubbub.testing import MemoryClient

from .faces import FACES, KINDS, NAMESPACES, hub_on, opened, run, shared_url

pytestmark = pytest.mark.parametrize("face", FACES)


@dataclass
class Order:
    number: int
    status: str


@pytest.mark.parametrize("kind", KINDS)
def test_positions_go_on_between_hub_and_publisher(face: str, kind: str) -> None:
    """One history and one epoch, whoever publishes; every member is given all of it in order."""

    async def scenario() -> None:
        url = shared_url(kind)
        async with hub_on(url) as hub, MemoryClient(hub) as alice, opened(face, url) as publisher:
            joined = await alice.join("orders:42")
            positions = []
            for number in range(0, 12, 2):
                positions.append(await hub.publish("orders:42", number))
                positions.append(await publisher.publish("orders:42", number + 1))
            assert positions == [Position(joined["epoch"], offset) for offset in range(1, 13)]
            heard = [await alice.receive("group_message") for _ in range(12)]
            assert [(message["data"], message["offset"]) for message in heard] == [
                (number, number + 1) for number in range(12)
            ]
            page = await hub.history("orders:42")
            assert [bytes(kept.data) for kept in page.publications] == [b"%d" % n for n in range(12)]

    run(scenario())


@pytest.mark.parametrize("kind", KINDS)
def test_many_channels_reach_their_members(face: str, kind: str) -> None:
    """On a Cluster they lie on different servers."""

    async def scenario() -> None:
        url = shared_url(kind)
        channels = [f"{namespace}:{number}" for namespace in ("orders", "passing") for number in range(8)]
        async with hub_on(url) as hub, MemoryClient(hub) as alice, opened(face, url) as publisher:
            for channel in channels:
                await alice.join(channel)
            for channel in channels:
                position = await publisher.publish(channel, channel)
                assert (position is not None) is channel.startswith("orders")
            heard = {(await alice.receive("group_message"))["data"] for _ in channels}
            assert heard == set(channels)

    run(scenario())


@pytest.mark.parametrize("kind", KINDS)
def test_broadcasts_and_notifications(face: str, kind: str) -> None:
    """To every connection, and to those of one client alone."""

    async def scenario() -> None:
        url = shared_url(kind)
        async with (
            hub_on(url) as hub,
            MemoryClient(hub, "alice") as alice,
            MemoryClient(hub, "bob") as bob,
            opened(face, url) as publisher,
        ):
            await publisher.notify("alice", {"for": "alice"})
            await publisher.broadcast({"for": "all"})
            assert (await alice.receive("personal_notification"))["data"] == {"for": "alice"}
            assert (await alice.receive("broadcast_message"))["data"] == {"for": "all"}
            assert (await bob.receive())["data"] == {"for": "all"}
            [kept] = (await hub.history("$client:alice")).publications
            assert bytes(kept.data) == b'{"for":"alice"}'

    run(scenario())


def test_a_namespace_s_history_is_honoured(face: str) -> None:
    """Its size, no history in the default namespace, and none for what skips it."""

    async def scenario() -> None:
        url = shared_url("standalone")
        async with hub_on(url) as hub, opened(face, url) as publisher:
            for number in range(5):
                await publisher.publish("short:1", number)
            assert await publisher.publish("short:1", "skipped", skip_history=True) is None
            page = await hub.history("short:1")
            assert [bytes(kept.data) for kept in page.publications] == [b"3", b"4"]
            assert page.position.offset == 5
            assert await publisher.publish("lobby", 1) is None
        async with opened(face, url, default_namespace=NAMESPACES["short"]) as publisher:
            assert (await publisher.publish("lobby", 1) or page.position).offset == 1

    run(scenario())


def test_keys_and_tags_arrive(face: str) -> None:
    """As does a timestamp of now, in the format of a hub's."""

    async def scenario() -> None:
        url = shared_url("standalone")
        async with hub_on(url) as hub, MemoryClient(hub) as alice, opened(face, url) as publisher:
            await alice.join("orders:1")
            await publisher.publish("orders:1", None, key="bid", tags={"unit": "€"})
            await hub.publish("orders:1", None, key="bid", tags={"unit": "€"})
            theirs, ours = [await alice.receive("group_message") for _ in range(2)]
            assert theirs["tags"] == {"unit": "€"}
            assert theirs.keys() == ours.keys()
            then, now = (datetime.fromisoformat(message["timestamp"]) for message in (theirs, ours))
            assert timedelta(0) <= now - then < timedelta(seconds=10)
            [first, second] = (await hub.history("orders:1")).publications
            assert first.key == second.key == "bid"

    run(scenario())


@pytest.mark.parametrize("channel", ["orders:1", "passing"])
def test_idempotency_keys_are_shared_with_the_hubs(face: str, channel: str) -> None:
    """What one of them has published, the other does not publish again, and is told where it stands."""

    async def scenario() -> None:
        url = shared_url("standalone")
        async with hub_on(url) as hub, MemoryClient(hub) as alice, opened(face, url) as publisher:
            await alice.join(channel)
            for number, (first, second) in enumerate([(hub, publisher), (publisher, hub)]):
                key = f"key {number}"
                position = await first.publish(channel, number, idempotency_key=key)
                assert await second.publish(channel, "again", idempotency_key=key) == position
                assert await publisher.publish(channel, "and again", idempotency_key=key) == position
            await hub.publish(channel, "end")
            heard = [(await alice.receive("group_message"))["data"] for _ in range(3)]
            assert heard == [0, 1, "end"]

    run(scenario())


@pytest.mark.parametrize(
    ("data", "arrives"),
    [
        (Order(42, "shipped"), {"number": 42, "status": "shipped"}),
        ("ü\u2028🎉", "ü\u2028🎉"),
        ([1.5, True, None], [1.5, True, None]),
        ({"text": "x" * 300_000}, {"text": "x" * 300_000}),
    ],
    ids=["dataclass", "text", "list", "large"],
)
def test_data_is_anything_that_json_can_say(face: str, data: object, arrives: Any) -> None:
    """Just as in a hub."""

    async def scenario() -> None:
        url = shared_url("standalone")
        async with hub_on(url) as hub, MemoryClient(hub) as alice, opened(face, url) as publisher:
            await alice.join("orders:1")
            await publisher.publish("orders:1", data)
            assert (await alice.receive("group_message"))["data"] == arrives

    run(scenario())
