"""Looping over a group: types, gaps, several loops, leaving, and positions."""

import asyncio
import dataclasses
import gc
import json
from typing import Any, TypedDict

import pytest
from msgspec import Struct
from pydantic import BaseModel

from hubbub.client import (
    Client,
    Gap,
    MisfitError,
    NotConnectedError,
    Position,
    RemovedError,
    ReplyError,
    StoppedError,
)

from .scripted import Heard, Peer, connected, run, until

NOW = "2026-03-01T12:00:00+00:00"


class OrderStruct(Struct):
    id: int
    state: str


class OrderModel(BaseModel):
    id: int
    state: str


@dataclasses.dataclass
class OrderData:
    id: int
    state: str


class OrderDict(TypedDict):
    id: int
    state: str


async def answer_join(peer: Peer, offset: int | None = 0, **fields: Any) -> dict[str, Any]:
    """Hear the next join and let the client in."""
    asked = await peer.hear()
    assert asked["type"] == "join_group"
    position = {} if offset is None else {"epoch": "e", "offset": offset}
    await peer.say("group_joined", id=asked["id"], group_name=asked["group_name"], **position, **fields)
    return asked


async def say(peer: Peer, data: Any, offset: int | None = None, group: str = "orders", **fields: Any) -> None:
    """Publish into a group."""
    place = {} if offset is None else {"offset": offset}
    await peer.say("group_message", group_name=group, data=data, timestamp=NOW, **place, **fields)


@pytest.mark.parametrize("type_", [OrderStruct, OrderModel, OrderData, OrderDict])
@pytest.mark.parametrize("kind", ["data", "chat"])
def test_messages_come_as_the_type_that_was_asked_for(type_: Any, kind: str) -> None:
    """A Struct, a pydantic model, a dataclass or a TypedDict; data and chat alike."""

    async def scenario() -> None:
        async with connected() as (client, peer, _):
            orders = client.group("orders", type_)
            joining = asyncio.create_task(orders.join())
            await answer_join(peer, 17)
            await joining
            order = {"id": 42, "state": "shipped"}
            if kind == "data":
                await say(peer, order, 18, **{"from": "bob"}, tags={"a": "b"})
            else:
                await peer.say("chat_message", group_name="orders", message=order, timestamp=NOW, offset=18)
            message = await anext(aiter(orders))
            assert message.data == (order if type_ is OrderDict else type_(id=42, state="shipped"))
            assert message.position == Position("e", 18)
            assert (message.group, message.kind, message.timestamp) == ("orders", kind, NOW)
            assert (message.sender, message.tags) == (("bob", {"a": "b"}) if kind == "data" else ("", {}))

    run(scenario())


@pytest.mark.parametrize("misfits", ["skip", "raise"])
@pytest.mark.parametrize("type_", [OrderStruct, OrderModel])
def test_what_is_not_of_that_type_is_logged_or_raised(
    misfits: Any, type_: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """As the program says; either way the loop can go on."""

    async def scenario() -> None:
        async with connected() as (client, peer, _):
            orders = aiter(client.group("orders", type_, misfits=misfits))
            first = asyncio.create_task(anext(orders))
            await answer_join(peer)
            await say(peer, {"id": "no number"})
            await say(peer, {"id": 1, "state": "new"})
            if misfits == "raise":
                with pytest.raises(MisfitError, match="not of the type") as misfit:
                    await first
                assert b"no number" in misfit.value.data
                first = asyncio.create_task(anext(orders))
            assert (await first).data.id == 1

    run(scenario())
    assert ("no number" in caplog.text) is (misfits == "skip")


def test_two_loops_hear_the_same_and_the_group_is_joined_once() -> None:
    """Each at its own pace."""

    async def scenario() -> None:
        async with connected() as (client, peer, _):
            loops = [aiter(client.group("orders")) for _ in range(2)]
            heard = [asyncio.create_task(anext(loop)) for loop in loops]
            await answer_join(peer)
            await say(peer, "a")
            assert [(await each).data for each in heard] == ["a", "a"]
            await client.send_message("note")
            assert (await peer.hear())["type"] == "note"

    run(scenario())


def test_a_loop_that_is_left_by_break_hears_no_more() -> None:
    """The group stays joined; what the loop had not dealt with was not given."""

    async def scenario() -> None:
        async with connected() as (client, peer, _):

            async def until_b() -> None:
                async for message in client.group("orders"):
                    if message.data == "b":
                        break

            loop = asyncio.create_task(until_b())
            await answer_join(peer, 0)
            for offset, data in enumerate("abc", 1):
                await say(peer, data, offset)
            await loop
            del loop
            gc.collect()
            assert client._groups.wanted["orders"].channel.listeners == ()
            assert client.positions == {"orders": {"epoch": "e", "offset": 1}}
            again = aiter(client.group("orders"))
            heard = asyncio.create_task(anext(again))
            await until(lambda: client._groups.wanted["orders"].channel.listeners)
            await say(peer, "d", 4)
            assert (await heard).data == "d"

    run(scenario())


def test_leaving_ends_every_loop() -> None:
    """And the server is told."""

    async def scenario() -> None:
        async with connected() as (client, peer, _):
            group = client.group("orders")
            heard: list[Any] = []

            async def listen() -> None:
                async for message in group:
                    heard.append(message.data)  # noqa: PERF401 - looked at while it goes on

            loops = [asyncio.create_task(listen()) for _ in range(2)]
            await answer_join(peer)
            await say(peer, 1)
            await until(lambda: heard == [1, 1])
            await group.leave()
            await asyncio.gather(*loops)
            assert await peer.hear() == {"type": "leave_group", "group_name": "orders"}
            await say(peer, 2)
            assert heard == [1, 1]

    run(scenario())


def test_a_refused_group_fails_the_loop_alone() -> None:
    """With the server's error; others go on."""

    async def scenario() -> None:
        async with connected() as (client, peer, _):
            secret = asyncio.create_task(anext(aiter(client.group("secret"))))
            asked = await peer.hear()
            orders = asyncio.create_task(anext(aiter(client.group("orders"))))
            await peer.say("error", id=asked["id"], code=103, message="permission denied")
            await answer_join(peer)
            with pytest.raises(ReplyError, match="permission denied") as refused:
                await secret
            assert (refused.value.code, refused.value.temporary) == (103, False)
            await say(peer, "a")
            assert (await orders).data == "a"

    run(scenario())


def test_a_loop_ends_by_what_ended_its_group() -> None:
    """After what came before that."""

    async def scenario() -> None:
        async with connected() as (client, peer, _):
            orders, news = aiter(client.group("orders")), aiter(client.group("news"))
            heard = asyncio.create_task(anext(orders))
            await answer_join(peer)
            more = asyncio.create_task(anext(news))
            await answer_join(peer)
            await say(peer, 1)
            await peer.say("group_removed", group_name="orders", code=2000, reason="server unsubscribed")
            assert (await heard).data == 1
            with pytest.raises(RemovedError, match="server unsubscribed") as removed:
                await anext(orders)
            assert (removed.value.code, removed.value.group) == (2000, "orders")
            await peer.hang_up(3503, "force disconnect")
            with pytest.raises(StoppedError) as stopped:
                await more
            assert (stopped.value.code, stopped.value.reason) == (3503, "force disconnect")
            await client.wait_closed()

    run(scenario())


def test_disconnecting_ends_a_loop_without_an_error() -> None:
    """After what waits."""

    async def scenario() -> None:
        async with connected() as (client, peer, _):

            async def listen() -> list[Any]:
                return [message.data async for message in client.group("orders")]

            loop = asyncio.create_task(listen())
            await answer_join(peer)
            await say(peer, 1)
            await until(lambda: client._groups.wanted["orders"].channel.number == 1)
            await client.disconnect()
            assert await loop == [1]

    run(scenario())


def test_a_gap_is_told_to_loops_handlers_and_otherwise_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """Whoever asked for it."""

    async def scenario() -> None:
        async with connected() as (client, peer, _):
            plain = aiter(client.group("orders"))
            first = asyncio.create_task(anext(plain))
            await answer_join(peer, 0)
            await say(peer, 1, 1)
            await say(peer, 5, 5)
            assert [(await first).data, (await anext(plain)).data] == [1, 5]
            assert "Messages of orders are missing" in caplog.text

            caplog.clear()
            heard = Heard()
            client.register_handler("gap", heard)
            told = aiter(client.group("orders", gaps=True))
            second = asyncio.create_task(anext(told))
            await until(lambda: len(client._groups.wanted["orders"].channel.listeners) == 2)
            await say(peer, 9, 9)
            assert await second == Gap("orders", Position("e", 8))
            assert (await anext(told)).data == 9
            assert await heard.next() == {"type": "gap", "name": "orders", "epoch": "e", "offset": 8}
            assert caplog.text == ""

    run(scenario())


def test_positions_count_what_handlers_have_dealt_with() -> None:
    """A message counts as given when its handler has returned."""

    async def scenario() -> None:
        async with connected() as (client, peer, _):
            entered, release = asyncio.Event(), asyncio.Event()

            @client.register_handler("group_message")
            async def slow(message: Any) -> None:
                entered.set()
                await release.wait()

            await client.join_group("orders")
            await answer_join(peer, 7)
            await say(peer, 1, 8)
            await say(peer, 2, 9)
            await entered.wait()
            assert client.positions == {"orders": {"epoch": "e", "offset": 7}}
            release.set()
            await until(lambda: client.positions == {"orders": {"epoch": "e", "offset": 9}})
            assert json.loads(json.dumps(client.positions)) == client.positions

    run(scenario())


def test_what_handlers_had_not_dealt_with_comes_again() -> None:
    """When the program disconnects it was not given; it is, with the next connection."""

    async def scenario() -> None:
        async with connected() as (client, peer, server):
            told: list[int] = []
            stuck = asyncio.Event()

            @client.register_handler("group_message")
            async def tell(message: Any) -> None:
                if message["data"] == 2 and not stuck.is_set():
                    stuck.set()
                    await asyncio.Event().wait()
                told.append(message["data"])

            await client.join_group("orders")
            await answer_join(peer, 7)
            for number in (1, 2, 3):
                await say(peer, number, 7 + number)
            await stuck.wait()
            await until(lambda: client._groups.wanted["orders"].channel.number == 3)
            await client.disconnect()
            assert client.positions == {"orders": {"epoch": "e", "offset": 8}}

            await client.connect()
            peer = await server.peer()
            hello = peer.hello
            assert hello["groups"] == {"orders": {"epoch": "e", "offset": 8}}
            await peer.say("group_joined", group_name="orders", epoch="e", offset=8, recovered=True)
            for number in (2, 3):
                await say(peer, number, 7 + number)
            await until(lambda: told == [1, 2, 3])
            assert client.positions == {"orders": {"epoch": "e", "offset": 10}}

    run(scenario())


def test_positions_are_looked_at_when_they_are_given() -> None:
    """And are those that were kept, until something moves them."""
    kept = {"orders": {"epoch": "e", "offset": 7}, "$all": {"epoch": "a", "offset": 1}}
    assert Client("ws://localhost", positions=kept).positions == kept
    assert (
        Client("ws://localhost", positions={"orders": Position("e", 7)}).group("orders").position is not None
    )
    with pytest.raises(ValueError, match="position of 'orders'"):
        Client("ws://localhost", positions={"orders": {"offset": "7"}})
    with pytest.raises(ValueError, match="buffer is 0"):
        Client("ws://localhost", buffer=0)
    with pytest.raises(ValueError, match="sometimes"):
        Client("ws://localhost", policy="sometimes")  # type: ignore[arg-type]


def test_a_group_without_a_connection_says_so() -> None:
    """Nothing waits for a client that was never started."""

    async def scenario() -> None:
        client = Client("ws://localhost")
        with pytest.raises(NotConnectedError, match=r"await connect\(\) first"):
            await client.group("orders").join()
        with pytest.raises(NotConnectedError):
            await client.publish("orders", 1)
        with pytest.raises(ValueError, match="group name"):
            client.group("$all")

    run(scenario())


def test_a_join_that_is_not_answered_fails_in_time() -> None:
    """And the group is not wanted any longer."""

    async def scenario() -> None:
        async with connected(call_timeout=0.05) as (client, peer, server):
            with pytest.raises(TimeoutError, match="'orders' was not answered"):
                await client.group("orders").join()
            assert [(await peer.hear())["type"] for _ in range(2)] == ["join_group", "leave_group"]
            peer.cut()
            assert "groups" not in (await server.peer()).hello

    run(scenario())


def test_a_group_that_the_server_chose_is_come_back_to_with_its_position() -> None:
    """As that of a token: nothing of it is missed either."""

    async def scenario() -> None:
        async with connected() as (_, peer, server):
            await peer.say("group_joined", group_name="team", epoch="e", offset=4)
            await say(peer, 1, 5, group="team")
            await peer.say("ping", timestamp=NOW)
            await peer.hear()
            peer.cut()
            assert (await server.peer()).hello["groups"] == {"team": {"epoch": "e", "offset": 5}}

    run(scenario())
