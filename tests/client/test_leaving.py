"""Leaving: whenever it is, nothing is left behind."""

import asyncio

import pytest

from hubbub.client import (
    ConnectError,
    NotConnectedError,
    UnreachableError,
    WebSocketClient,
)

from .scripted import client_tasks, connected, run, scripted_server
from .test_connecting import client_of


def test_a_cancelled_connect_leaves_nothing_behind() -> None:
    """A caller that waits no longer does not leave a client that goes on."""

    async def scenario() -> None:
        async with scripted_server(greets=False) as server:
            client = client_of(server)
            connecting = asyncio.create_task(client.connect())
            peer = await server.peer()
            connecting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await connecting
            assert client_tasks() == []
            await peer.gone()
            with pytest.raises(NotConnectedError):
                await client.join_group("lobby")

    run(scenario())


def test_disconnect_ends_an_attempt_that_is_under_way() -> None:
    """Whoever waits in connect hears why."""

    async def scenario() -> None:
        async with scripted_server(greets=False) as server:
            client = client_of(server)
            connecting = asyncio.create_task(client.connect())
            await server.peer()
            with pytest.raises(NotConnectedError, match="connecting"):
                await client.send_message("ping")
            await client.disconnect()
            with pytest.raises(ConnectError, match="disconnect"):
                await connecting
            assert client_tasks() == []

            # Even one that has not made its first step.
            connecting = asyncio.create_task(client.connect())
            await asyncio.sleep(0)
            await client.disconnect()
            with pytest.raises(ConnectError, match="disconnect"):
                await connecting
            assert client_tasks() == []

    run(scenario())


def test_a_client_may_be_used_on_one_event_loop_after_another() -> None:
    """As in a script that calls asyncio.run twice."""
    client = WebSocketClient("ws://127.0.0.1:1", proxy=None)

    async def attempt() -> None:
        with pytest.raises(UnreachableError):
            await asyncio.gather(client.connect(), client.connect())

    run(attempt())
    run(attempt())


def test_disconnect_is_idempotent() -> None:
    """Before, twice at once, and after."""

    async def scenario() -> None:
        async with scripted_server() as server:
            client = client_of(server)
            await client.disconnect()
            await client.connect()
            peer = await server.peer()
            await asyncio.gather(client.disconnect(), client.disconnect())
            await client.disconnect()
            assert await peer.gone() == 1000
            await client.wait_closed()
            assert client_tasks() == []
            assert server.connections == 1

            await client.connect()
            assert client.is_connected
            await client.disconnect()

    run(scenario())


def test_connecting_while_the_client_is_leaving_waits_until_it_has_left() -> None:
    """And then it is a new connection."""

    async def scenario() -> None:
        async with connected() as (client, peer, server):
            left = asyncio.Event()
            release = asyncio.Event()

            @client.register_handler("news")
            async def leave(message: object) -> None:
                await client.disconnect()
                left.set()
                await release.wait()

            await peer.say("news")
            await left.wait()
            with pytest.raises(NotConnectedError, match="disconnecting"):
                await client.send_message("note")
            connecting = asyncio.create_task(client.connect())
            await asyncio.sleep(0)
            leaving = asyncio.create_task(client.disconnect())  # waits for the same end
            await asyncio.sleep(0)
            release.set()
            await asyncio.gather(connecting, leaving)
            assert await peer.gone() == 1000
            assert client.is_connected
            assert server.connections == 2

    run(scenario())


def test_disconnect_gets_through_a_full_queue() -> None:
    """Messages that nobody will read do not hold up the closing handshake."""

    async def scenario() -> None:
        async with connected(close_timeout=60.0) as (client, peer, _):
            stuck = asyncio.Event()
            entered = asyncio.Event()

            @client.register_handler("flood")
            async def get_stuck(message: object) -> None:
                entered.set()
                await stuck.wait()

            for _ in range(100):
                await peer.say("flood", padding="x" * 1000)
            await entered.wait()
            await client.disconnect()
            assert await peer.gone() == 1000

    run(scenario())
