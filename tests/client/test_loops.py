"""Loops and joins that end, are cut short, or outlast a connection."""

import asyncio
import contextlib
import gc
from typing import Any

import pytest

from hubbub.client import Client, ReplyError

from .scripted import AT_ONCE, connected, run, scripted_server, until
from .test_cancelling import a_moment, cancel
from .test_groups import answer_join, say


def test_joins_that_are_cut_short_do_not_pile_up() -> None:
    """While the server takes its time."""

    async def scenario() -> None:
        async with connected() as (client, _peer, _):
            group = client.group("orders")
            for _ in range(50):
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(group.join(), 0.001)
            membership = client._groups.wanted["orders"]
            assert membership.callers == set()
            assert membership.channel.listeners == ()

    run(scenario())


def test_of_two_who_join_one_may_give_up() -> None:
    """What comes waits for the other's loop."""

    async def scenario() -> None:
        async with connected() as (client, peer, _):
            group = client.group("orders")
            first, second = asyncio.create_task(group.join()), asyncio.create_task(group.join())
            await a_moment()
            await cancel(first)
            await answer_join(peer)
            await second
            await say(peer, "one", 1)
            await until(lambda: client._groups.wanted["orders"].channel.held.offset == 1)  # type: ignore[union-attr]
            assert (await anext(aiter(group))).data == "one"

    run(scenario())


def test_a_loop_that_is_asked_now_and_then_misses_nothing() -> None:
    """It has begun with the first asking, also where nobody waited for the join."""

    async def scenario() -> None:
        async with connected() as (client, peer, _):
            loop = aiter(client.group("orders"))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(anext(loop), 0.01)
            await answer_join(peer)
            await say(peer, "one", 1)
            await until(lambda: client._groups.wanted["orders"].channel.held)
            await a_moment()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(asyncio.sleep(1), 0.02)
            assert (await anext(loop)).data == "one"
            for number in range(2, 6):
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(anext(loop), 0.001)
                await say(peer, number, number)
                assert (await anext(loop)).data == number

    run(scenario())


def test_a_loop_that_was_closed_ends() -> None:
    """For whoever waits in it, and whoever asks later; also where it had not begun."""

    async def scenario() -> None:
        async with connected() as (client, peer, _):
            loop: Any = aiter(client.group("orders"))
            waiting = asyncio.ensure_future(anext(loop, "over"))
            await answer_join(peer)
            await until(lambda: client._groups.wanted["orders"].is_joined)
            await loop.aclose()
            assert await waiting == "over"
            assert await anext(loop, "over") == "over"
            other: Any = aiter(client.group("news"))
            await other.aclose()
            assert await anext(other, "over") == "over"
            assert list(client._groups.wanted) == ["orders"]

    run(scenario())


def test_a_loop_that_has_ended_hears_nothing_of_the_next_connection() -> None:
    """It holds up nobody, however much comes; another loop hears all of it."""

    async def scenario() -> None:
        async with scripted_server() as server:
            client = Client(server.url, "alice", proxy=None, backoff=AT_ONCE, buffer=4, policy="reconnect")
            own = asyncio.ensure_future(anext(aiter(client.own()), "over"))
            await client.connect()
            peer = await server.peer()
            orders = client.group("orders")
            joining = asyncio.create_task(orders.join())
            await answer_join(peer)
            await joining
            for number in range(1, 4):
                await say(peer, number, number)
            await until(lambda: client._groups.wanted["orders"].channel.held.offset == 3)  # type: ignore[union-attr]
            begun = aiter(orders)
            assert (await anext(begun)).data == 1
            await client.disconnect()
            assert await own == "over"
            await client.connect()
            peer = await server.peer()
            await peer.say("group_joined", group_name="orders", epoch="e", offset=3, recovered=True)
            fresh = aiter(client.group("orders"))
            asking = asyncio.ensure_future(anext(fresh))
            await a_moment()
            for number in range(4, 20):
                await say(peer, number, number, epoch="e")
                await peer.say("broadcast_message", data=number)
                assert (await asking).data == number
                asking = asyncio.ensure_future(anext(fresh))
            assert server.connections == 2
            # What waited when the client left is given, and no more.
            assert [message.data async for message in begun] == [2, 3]
            await cancel(asking)
            await client.disconnect()

    run(scenario())


def test_what_waits_without_a_loop_outlasts_a_disconnect() -> None:
    """A group that was joined, and is joined again, is there for the first loop to come."""

    async def scenario() -> None:
        async with scripted_server() as server:
            client = Client(server.url, "alice", proxy=None)
            await client.connect()
            peer = await server.peer()
            joining = asyncio.create_task(client.group("orders").join())
            await answer_join(peer)
            await joining
            del joining
            gc.collect()
            await say(peer, 1, 1)
            await until(lambda: client._groups.wanted["orders"].channel.held.offset == 1)  # type: ignore[union-attr]
            await client.disconnect()
            await client.connect()
            peer = await server.peer()
            await peer.say("group_joined", group_name="orders", epoch="e", offset=1, recovered=True)
            await say(peer, 2, 2, epoch="e")
            loop = aiter(client.group("orders"))
            assert [(await anext(loop)).data for _ in range(2)] == [1, 2]
            await client.disconnect()

    run(scenario())


def test_a_group_that_was_left_and_joined_again_at_once_takes_no_late_answer() -> None:
    """The answer to the first join says nothing about the second."""

    async def scenario() -> None:
        async with connected() as (client, peer, _):
            orders = client.group("orders")
            first = asyncio.create_task(orders.join())
            asked = await peer.hear()
            await orders.leave()
            await first
            second = asyncio.create_task(client.group("orders").join())
            assert (await peer.hear())["type"] == "leave_group"
            again = await peer.hear()
            await peer.say("group_joined", group_name="orders", id=asked["id"], epoch="e", offset=3)
            await peer.say("group_left", group_name="orders")
            await peer.say("ping")
            assert (await peer.hear())["type"] == "pong"
            assert not second.done()
            await peer.say("group_joined", group_name="orders", id=again["id"], epoch="e", offset=7)
            await second
            assert client.positions["orders"]["offset"] == 7

    run(scenario())


def test_an_error_that_many_are_told_does_not_grow() -> None:
    """Each time it is raised with a traceback of its own."""

    async def scenario() -> None:
        async with connected() as (client, peer, _):
            loop = aiter(client.group("orders"))
            asking = asyncio.ensure_future(anext(loop))
            asked = await peer.hear()
            await peer.say("error", id=asked["id"], code=103, message="no")
            with pytest.raises(ReplyError):
                await asking
            listener_ends = [await anext(loop, None) for _ in range(3)]
            assert listener_ends == [None, None, None]

    run(scenario())
