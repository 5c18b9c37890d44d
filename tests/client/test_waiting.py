"""What waits in a client: how much of it, for whom, and what happens past that."""

import asyncio
import gc
import logging

import pytest

from hubbub.client import (
    Gap,
)

from .scripted import Heard, client_tasks, connected, run, until
from .test_groups import answer_join, say


def test_drop_oldest_says_so_once_where_nobody_listens_for_gaps(caplog: pytest.LogCaptureFixture) -> None:
    """Not for each message."""
    caplog.set_level(logging.WARNING, "hubbub")

    async def scenario() -> None:
        async with connected(buffer=2, policy="drop_oldest") as (client, peer, _):
            ticks = client.group("ticks")
            joining = asyncio.create_task(ticks.join())
            await answer_join(peer, None)
            await joining
            for number in range(9):
                await say(peer, number, group="ticks")
            await until(lambda: client._groups.wanted["ticks"].channel.number == 9)
            loop = aiter(ticks)
            assert [(await anext(loop)).data for _ in range(2)] == [7, 8]

    run(scenario())
    assert caplog.text.count("are missing") == 1


def test_nothing_is_left_of_a_loop_that_was_cancelled() -> None:
    """The client goes on."""

    async def scenario() -> None:
        async with connected() as (client, peer, _):
            loop = asyncio.create_task(anext(aiter(client.group("orders"))))
            await answer_join(peer)
            await until(lambda: client._groups.wanted["orders"].is_joined)
            loop.cancel()
            await asyncio.wait({loop})
            del loop
            await until(lambda: not client._groups.wanted["orders"].channel.listeners)
            assert client.is_connected
            await client.disconnect()
            assert client_tasks() == []

    run(scenario())


def test_without_a_history_a_full_buffer_that_reconnects_is_a_gap() -> None:
    """In the place of what there was no room for; and the client comes back when half of it is gone."""

    async def scenario() -> None:
        async with connected(buffer=4, policy="reconnect") as (client, peer, server):
            ticks = client.group("ticks", gaps=True)
            joining = asyncio.create_task(ticks.join())
            await answer_join(peer, None)
            await joining
            for number in range(6):
                await say(peer, number, group="ticks")
            await until(lambda: client.state == "reconnecting")
            loop = aiter(ticks)
            heard = [await anext(loop) for _ in range(5)]
            assert [each.data for each in heard[:4]] == [0, 1, 2, 3]
            assert heard[4] == Gap("ticks")
            again = await server.peer()
            await again.say("group_joined", group_name="ticks")
            await say(again, 9, group="ticks")
            assert (await anext(loop)).data == 9

    run(scenario())


def test_what_comes_before_anybody_listens_waits_for_the_first_loop() -> None:
    """The newest of it, and it holds up nobody."""

    async def scenario() -> None:
        async with connected(buffer=3) as (client, peer, _):
            joining = asyncio.create_task(client.group("ticks").join())
            await answer_join(peer, None)
            await joining
            gc.collect()
            channel = client._groups.wanted["ticks"].channel
            for number in range(9):
                await say(peer, number, group="ticks")
            await until(lambda: channel.number == 9)
            loop = aiter(client.group("ticks"))
            assert [(await anext(loop)).data for _ in range(3)] == [6, 7, 8]
            await say(peer, 9, group="ticks")
            assert (await anext(loop)).data == 9

    run(scenario())


def test_a_group_that_handlers_listen_to_keeps_nothing_for_a_loop() -> None:
    """A join is all that they need."""

    async def scenario() -> None:
        async with connected(buffer=3) as (client, peer, _):
            heard = Heard()
            client.register_handler("group_message", heard)
            joining = asyncio.create_task(client.group("ticks").join())
            await answer_join(peer, 0)
            await joining
            gc.collect()
            for number in range(1, 10):
                await say(peer, number, number, group="ticks")
                assert (await heard.next())["data"] == number
            await until(lambda: client.positions == {"ticks": {"epoch": "e", "offset": 9}})

    run(scenario())
