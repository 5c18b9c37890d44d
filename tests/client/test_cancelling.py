"""Cut short anywhere: cancelled calls, joins, loops and attempts leave nothing behind, and lose nothing."""

import asyncio
import gc
import subprocess
import sys
from typing import Any

import pytest

from hubbub.client import Client, ConnectError, Gap, LostCallError, Position

from ..transports.serving import FAST, serving
from .scripted import AT_ONCE, ScriptedServer, client_tasks, connected, run, scripted_server, until
from .test_groups import answer_join, say


async def a_moment() -> None:
    """Let everything go on that can."""
    for _ in range(5):
        await asyncio.sleep(0)


async def cancel(task: "asyncio.Task[Any]") -> None:
    """Cancel a task, and wait for it."""
    task.cancel()
    await asyncio.wait({task})


def test_of_two_who_connect_one_may_give_up() -> None:
    """The other is connected; where both give up, nothing is left."""

    async def scenario() -> None:
        async with scripted_server(greets=False) as server:
            client = Client(server.url, proxy=None)
            first = asyncio.create_task(client.connect())
            second = asyncio.create_task(client.connect())
            peer = await server.peer()
            await cancel(first)
            await peer.greet()
            await second
            assert client.is_connected
            await client.disconnect()
            both = [asyncio.create_task(client.connect()) for _ in range(2)]
            await server.peer()
            for each in both:
                await cancel(each)
            assert (client.state, client_tasks()) == ("disconnected", [])

    run(scenario())


def test_calls_that_are_cut_short_leave_no_ids_and_no_noise(caplog: pytest.LogCaptureFixture) -> None:
    """Whatever comes of the connection in the same moment."""

    async def scenario() -> None:
        async with connected() as (client, peer, server):
            for _ in range(3):
                calls = [asyncio.create_task(client.rpc("slow")) for _ in range(20)]
                await peer.hear()
                peer.cut()
                for call in calls[::2]:
                    call.cancel()
                ends = await asyncio.gather(*calls, return_exceptions=True)
                assert {type(end) for end in ends} <= {asyncio.CancelledError, LostCallError}
                peer = await server.peer()
                await until(lambda: client.is_connected)
            assert client._calls._waiting == {}
        gc.collect()

    run(scenario())
    assert [record for record in caplog.records if record.name == "asyncio"] == []


def test_a_call_that_was_being_written_may_have_been_done(caplog: pytest.LogCaptureFixture) -> None:
    """A connection that ends while the network is slower than the writer."""

    async def scenario() -> None:
        async with connected() as (client, peer, _):
            peer.stop_reading()
            large = "x" * 3_000_000
            calls = [asyncio.create_task(client.publish("orders", large)) for _ in range(8)]
            await asyncio.wait(calls, timeout=0.2)
            peer.cut()
            for end in await asyncio.gather(*calls, return_exceptions=True):
                assert isinstance(end, LostCallError)
        gc.collect()

    run(scenario())
    assert [record for record in caplog.records if record.name == "asyncio"] == []


def test_disconnect_during_a_slow_close_leaves_no_task_and_no_socket() -> None:
    """The connection was lost, and its closing handshake goes unanswered."""

    async def scenario() -> None:
        async with connected(ping_interval=0.02, pong_timeout=0.02, close_timeout=1.0) as (
            client,
            peer,
            _server,
        ):
            socket = client._life._connection._socket  # type: ignore[union-attr]
            peer.stop_reading()
            await until(lambda: not client.is_connected)
            await a_moment()
            assert "hubbub client: closing" in client_tasks()
            await client.disconnect()
            assert client_tasks() == []
            assert socket.transport.is_closing()
            peer.cut()

    run(scenario())


@pytest.mark.parametrize("times", [1, 2, 3])
def test_a_client_that_is_cancelled_more_than_once_closes_its_socket(times: int) -> None:
    """As by a runner that cancels everything while `disconnect()` is under way."""

    async def scenario() -> None:
        async with connected(token=lambda: "t", close_timeout=1.0) as (client, peer, _server):
            socket = client._life._connection._socket  # type: ignore[union-attr]
            peer.stop_reading()
            leaving = asyncio.create_task(client.disconnect())
            for _ in range(times):
                await a_moment()
                client._life._task.cancel()  # type: ignore[union-attr]
            await leaving
            await a_moment()
            assert client_tasks() == []
            assert socket.transport.is_closing()
            peer.cut()

    run(scenario())


def test_a_slow_program_holds_the_next_connection_too() -> None:
    """What waits stays bounded, however often the connection is replaced."""

    async def scenario() -> None:
        async with connected(buffer=4) as (client, peer, server):
            joining = asyncio.create_task(client.group("orders").join())
            group = client.group("orders")
            await answer_join(peer, None)
            await joining
            loop = aiter(group)
            await say(peer, 0)
            asked = asyncio.ensure_future(anext(loop))
            await asked
            for _ in range(5):
                for number in range(100):
                    await say(peer, number)
                listener = client._groups.wanted["orders"].channel.listeners[-1]
                await until(lambda listener=listener: len(listener.items) >= 4)  # type: ignore[misc]
                peer.cut()
                client._life._connection._socket.transport.abort()  # type: ignore[union-attr]
                peer = await server.peer()
                await until(lambda: client.is_connected)
                await peer.say("group_joined", group_name="orders")
            assert len(listener.items) < 4 + 100

    run(scenario())


@pytest.mark.parametrize("gaps", [False, True])
def test_what_is_dropped_of_one_channel_is_no_gap_of_another(gaps: bool) -> None:
    """In the loop over what is the client's own, each has its positions."""

    async def scenario() -> None:
        async with scripted_server() as server:
            client = Client(server.url, "ada", proxy=None, buffer=2, policy="drop_oldest")
            own = aiter(client.own(gaps=gaps))
            async with client:
                peer = await server.peer()
                for offset in range(1, 6):
                    await peer.say("broadcast_message", data=offset, epoch="a", offset=offset)
                    await peer.say(
                        "personal_notification", channel="$user", data=-offset, epoch="u", offset=10 + offset
                    )
                await until(lambda: client._groups.own["$user"].held == Position("u", 15))
                given = client.positions
                assert given["$all"] == {"epoch": "a", "offset": 4} if not gaps else "$all" not in given
                assert given["$user"] == {"epoch": "u", "offset": 14} if not gaps else "$user" not in given
                heard = [await anext(own) for _ in range(2 + 2 * gaps)]
                if gaps:
                    assert set(heard[:2]) == {Gap("$all", Position("a", 4)), Gap("$user", Position("u", 14))}
                assert [message.data for message in heard[2 * gaps :]] == [5, -5]  # type: ignore[union-attr]

    run(scenario())


@pytest.mark.parametrize("when", ["first", "later"])
def test_a_token_function_that_hangs_is_an_attempt_that_failed(when: str) -> None:
    """In the time that an attempt has; on the way back it is asked again."""
    asked: list[int] = []

    async def token() -> str:
        asked.append(1)
        if (when == "first") == (len(asked) == 1) and len(asked) < 3:
            await asyncio.Event().wait()
        return "t"

    async def scenario() -> None:
        async with scripted_server() as server:
            client = Client(server.url, token=token, proxy=None, backoff=AT_ONCE, open_timeout=0.1)
            if when == "first":
                with pytest.raises(ConnectError, match="token"):
                    await client.connect()
            else:
                await client.connect()
                (await server.peer()).cut()
                await server.peer()
                await until(lambda: client.is_connected)
                assert len(asked) == 3
            await client.disconnect()
            assert client_tasks() == []

    run(scenario())


def test_a_token_function_that_was_cancelled_inside_is_an_attempt_that_failed() -> None:
    """It is its own affair, and no `disconnect()`."""
    asked: list[int] = []

    async def token() -> str:
        asked.append(1)
        if len(asked) == 2:
            raise asyncio.CancelledError
        return "t"

    async def scenario() -> None:
        async with scripted_server() as server:
            client = Client(server.url, token=token, proxy=None, backoff=AT_ONCE)
            await client.connect()
            (await server.peer()).cut()
            await server.peer()
            await until(lambda: client.is_connected)
            assert len(asked) == 3
            await client.disconnect()

    run(scenario())


async def raising(server: ScriptedServer, *, cut: bool) -> None:
    """A program that fails, with or without a connection."""
    async with Client(server.url, proxy=None):
        peer = await server.peer()
        if cut:
            peer.cut()
        raise KeyError("mine")


def test_a_body_that_raises_is_what_is_raised() -> None:
    """`disconnect()` hides nothing, also where the connection is gone."""

    async def scenario() -> None:
        async with scripted_server() as server:
            for cut in (False, True):
                with pytest.raises(KeyError):
                    await raising(server, cut=cut)
            assert client_tasks() == []

    run(scenario())


def test_another_event_loop_is_told_that_it_is_one() -> None:
    """A client belongs to the loop that connected it, until it is disconnected."""
    trouble: list[BaseException] = []

    async def elsewhere(client: Client) -> None:
        for call in (
            client.publish("orders", 1),
            client.connect(),
            client.disconnect(),
            client.send_message("x"),
        ):
            try:
                await call
            except RuntimeError as exc:
                trouble.append(exc)

    async def scenario() -> None:
        async with connected() as (client, _peer, _):
            await asyncio.to_thread(lambda: asyncio.run(asyncio.wait_for(elsewhere(client), 5)))
            assert client.is_connected

    run(scenario())
    assert len(trouble) == 4
    assert "event loop" in str(trouble[0])


CLOSED_UNDER_IT = """
import asyncio, logging, sys
from hubbub.client import Client, NotConnectedError

logging.disable()
client = Client(sys.argv[1], "ada", proxy=None)
loop = asyncio.new_event_loop()
loop.run_until_complete(client.connect())
loop.close()

async def main():
    await client.disconnect()
    assert client.state == "disconnected", client.state
    try:
        await client.publish("orders", 1)
    except NotConnectedError as exc:
        print(exc)
    await client.connect()
    await client.publish("orders", 1)
    await client.disconnect()

asyncio.run(main())
print(client.state)
"""


def test_a_loop_that_was_closed_under_a_client_is_no_hindrance() -> None:
    """Whoever closes a loop without ending its tasks can use the client on another."""
    with serving(FAST) as server:
        done = subprocess.run(
            [sys.executable, "-c", CLOSED_UNDER_IT, server.url("")],
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
    assert "event loop was closed" in done.stdout, done.stderr
    assert done.stdout.endswith("disconnected\n"), done.stderr
