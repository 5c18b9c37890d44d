"""Publishing from the application: whatever JSON can say, to whoever listens, while the hub runs."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Any
from uuid import UUID

import msgspec
import pydantic
import pytest

from hubbub.brokers.base import BrokerUnavailable
from hubbub.core.channels import BadName, Namespace
from hubbub.core.messages import Position
from hubbub.hub import Hub
from hubbub.hub.hub import NotStarted

from .inprocess import a_hub, enter, run, running, settled, turns
from .staged import staged_hub


class Status(Enum):
    SHIPPED = "shipped"


@dataclass
class DataclassOrder:
    number: int
    status: Status


class StructOrder(msgspec.Struct):
    number: int
    status: Status


class ModelOrder(pydantic.BaseModel):
    number: int
    status: Status
    at: datetime | None = None


ORDER = {"number": 42, "status": "shipped"}

ANYTHING: list[tuple[object, object]] = [
    (ORDER, ORDER),
    (DataclassOrder(42, Status.SHIPPED), ORDER),
    (StructOrder(42, Status.SHIPPED), ORDER),
    (ModelOrder(number=42, status=Status.SHIPPED), ORDER | {"at": None}),
    (
        {"orders": [ModelOrder(number=1, status=Status.SHIPPED, at=datetime(2030, 1, 1, tzinfo=UTC))]},
        {"orders": [{"number": 1, "status": "shipped", "at": "2030-01-01T00:00:00Z"}]},
    ),
    (msgspec.Raw(b'{"as": "it is"}'), {"as": "it is"}),
    ("text ünïcode", "text ünïcode"),
    (None, None),
    (1.5, 1.5),
    ([1, [2, []]], [1, [2, []]]),
    (UUID(int=7), "00000000-0000-0000-0000-000000000007"),
]


@pytest.mark.parametrize(("data", "arrives"), ANYTHING, ids=lambda value: type(value).__name__)
def test_anything_that_json_can_say(data: object, arrives: object) -> None:
    """Builtins, dataclasses, Structs, models, and all of them in one another."""

    async def scenario() -> None:
        async with running() as hub:
            alice = await enter(hub)
            await alice.join("orders")
            assert await hub.publish("orders", data) is None
            message = await alice.hear("group_message")
            assert message | {"timestamp": ""} == {
                "type": "group_message",
                "group_name": "orders",
                "data": arrives,
                "timestamp": "",
            }
            assert datetime.fromisoformat(message["timestamp"]).utcoffset() == timedelta(0)

    run(scenario())


def test_what_json_cannot_say_is_the_callers_fault() -> None:
    """It is told so, and nothing is published."""

    async def scenario() -> None:
        async with running(history_size=5) as hub:
            for data in (object(), {1j: 2}, {"deep": [set("a"), object()]}):
                with pytest.raises((TypeError, NotImplementedError)):
                    await hub.publish("orders", data)
            assert (await hub.history("orders")).publications == []

    run(scenario())


def test_history_gives_positions() -> None:
    """Counted from one; what skips the history has none."""

    async def scenario() -> None:
        async with running(namespaces={"orders": Namespace(history_size=2)}) as hub:
            positions = [await hub.publish("orders:1", n) for n in range(3)]
            epochs = {position.epoch for position in positions if position}
            assert len(epochs) == 1
            assert [position.offset for position in positions if position] == [1, 2, 3]
            assert await hub.publish("orders:1", "passing", skip_history=True) is None
            assert await hub.publish("plain", 1) is None
            page = await hub.history("orders:1")
            assert [bytes(publication.data) for publication in page.publications] == [b"1", b"2"]
            assert page.position == Position(epochs.pop(), 3)

    run(scenario())


def test_an_idempotency_key_publishes_once() -> None:
    """The second time changes nothing and tells the first one's position; per channel."""

    async def scenario() -> None:
        async with running(history_size=5) as hub:
            alice = await enter(hub)
            await alice.join("orders")
            first = await hub.publish("orders", "first", idempotency_key="k")
            again = await hub.publish("orders", "again", idempotency_key="k")
            assert first == again
            assert (await hub.publish("others", 1, idempotency_key="k")) != first
            await hub.publish("orders", "next", idempotency_key="l")
            await alice.settle()
            assert [message["data"] for message in alice.heard("group_message")] == ["first", "next"]

    run(scenario())


def test_tags_travel_along() -> None:
    """Beside the data."""

    async def scenario() -> None:
        async with running() as hub:
            alice = await enter(hub)
            await alice.join("orders")
            await hub.publish("orders", 1, tags={"lang": "de"})
            assert (await alice.hear("group_message"))["tags"] == {"lang": "de"}

    run(scenario())


@pytest.mark.parametrize("channel", ["", "a\nb", "x" * 256, "\ud800"], ids=ascii)
def test_an_illegal_channel_is_the_callers_fault(channel: str) -> None:
    """The sentence says what is wrong with it."""

    async def scenario() -> None:
        async with running() as hub:
            with pytest.raises(BadName, match="channel"):
                await hub.publish(channel, 1)
            with pytest.raises(BadName, match="client_id"):
                await hub.notify(channel, 1)

    run(scenario())


USES: dict[str, Callable[[Hub], Awaitable[object]]] = {
    "publish": lambda hub: hub.publish("orders", 1),
    "broadcast": lambda hub: hub.broadcast(1),
    "notify": lambda hub: hub.notify("alice", 1),
}


@pytest.mark.parametrize("use", USES)
def test_before_the_start_and_after_the_end_nothing_is_published(use: str) -> None:
    """The sentence says what to do."""

    async def scenario() -> None:
        hub = a_hub()
        with pytest.raises(NotStarted, match=r"lifespan=hub\.lifespan"):
            await USES[use](hub)
        async with hub.lifespan():
            await USES[use](hub)
        with pytest.raises(NotStarted):
            await USES[use](hub)

    run(scenario())


def test_a_hub_starts_once() -> None:
    """Included into two apps, it says so."""

    async def scenario() -> None:
        async with running() as hub:
            with pytest.raises(NotStarted, match="started already"):
                await hub.start()
            await hub.publish("orders", 1)

    run(scenario())


def test_a_hub_may_start_anew() -> None:
    """Whoever tests an app runs its lifespan once a test, over the same hub."""

    async def scenario(hub: Hub) -> None:
        for _ in range(2):
            async with hub.lifespan():
                alice = await enter(hub)
                await alice.join("orders")
                await hub.publish("orders", 1)
                await hub.broadcast(2)
                await hub.notify("alice", 3)
                await turns(50)
                assert len(alice.messages) == 5, alice.messages
                alice.vanish()
                await settled()
                assert len(hub.interest) == 1

    hub = a_hub()
    run(scenario(hub))
    run(scenario(hub))


def test_a_broker_that_is_down_is_told() -> None:
    """By an exception of its own; what was published before and after arrives."""

    async def scenario() -> None:
        hub, _, stage = staged_hub()
        async with hub.lifespan():
            alice = await enter(hub)
            await alice.join("orders")
            await hub.publish("orders", 1)
            stage.fail("publish orders")
            with pytest.raises(BrokerUnavailable):
                await hub.publish("orders", 2)
            stage.fail("publish orders", failing=False)
            await hub.publish("orders", 3)
            await alice.settle()
            assert [message["data"] for message in alice.heard("group_message")] == [1, 3]

    run(scenario())


def test_everybody_gets_the_same_in_the_same_order() -> None:
    """From several tasks at once, with members that come while it is under way."""

    async def scenario() -> None:
        async with running(history_size=1000) as hub:
            first = await enter(hub, "first")
            await first.join("orders")

            async def publish(name: str) -> None:
                for n in range(50):
                    await hub.publish("orders", f"{name}{n}")
                    await turns(n % 3)

            async def come() -> list[Any]:
                client = await enter(hub, None)
                await client.join("orders")
                await publishing
                await client.settle()
                return [message["data"] for message in client.heard("group_message")]

            publishing = asyncio.gather(*(publish(name) for name in "abc"))
            later = []
            for _ in range(20):
                later.append(asyncio.create_task(come()))
                await turns(2)
            await publishing
            await first.settle()
            all_of_it = [message["data"] for message in first.heard("group_message")]
            assert len(all_of_it) == 150
            for name in "abc":
                assert [d for d in all_of_it if d[0] == name] == [f"{name}{n}" for n in range(50)]
            for given in await asyncio.gather(*later):
                assert given
                assert given == all_of_it[-len(given) :]

    run(scenario())


def test_publishing_waits_while_too_much_is_under_way() -> None:
    """So that a burst is bounded; nothing of it is lost."""

    async def scenario() -> None:
        async with running(backlog_bytes=1000) as hub:
            alice = await enter(hub)
            await alice.join("orders")
            most = 0
            for n in range(50):
                await hub.publish("orders", f"{n:0100}")
                backlog = hub.metrics.registry.get_sample_value("hubbub_backlog_bytes")
                assert backlog is not None
                most = max(most, int(backlog))
            assert 1000 < most < 1200
            await alice.settle()
            assert [int(m["data"]) for m in alice.heard("group_message")] == list(range(50))
            assert hub.metrics.registry.get_sample_value("hubbub_backlog_bytes") == 0

    run(scenario())


def test_the_end_comes_while_much_is_under_way() -> None:
    """Clients are closed, and nothing fails unseen."""

    async def scenario() -> None:
        async with running() as hub:
            clients = [await enter(hub, f"c{n}") for n in range(2000)]
            await hub.broadcast("good-bye")
            await turns(1)  # the fan-out has begun, and has more turns to go
        await turns()
        assert all(client.closed is not None for client in clients)

    run(scenario())
