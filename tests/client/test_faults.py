"""The client against real servers, real brokers and a network that fails."""

import asyncio
import contextlib
import logging
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from hubbub.auth import Tokens
from hubbub.client import Backoff, Client, Gap, StoppedError
from hubbub.core.channels import Namespace
from hubbub.hub import Hub, Options

from ..auth.making import SECRET, token
from ..nodes.several import an_address
from ..transports.serving import FAST, NAMESPACES, UVICORN, Running, serving
from .proxy import Proxy
from .scripted import client_tasks, until

both = pytest.mark.parametrize("kind", [FAST, UVICORN])
KEPT = {"kept": Namespace(history_size=1000, history_ttl=60)}
GROUP = "kept:orders"
ROOT = Path(__file__).parents[2]


def run(scenario: Any) -> None:
    """Run a scenario to its end, within bounds."""
    asyncio.run(asyncio.wait_for(scenario, timeout=30))


@asynccontextmanager
async def through(proxy: Proxy, **options: Any) -> AsyncIterator[Client]:
    """A client behind a proxy, which comes back soon; afterwards it has left no task."""
    async with proxy.running():
        async with Client(proxy.url, "ada", proxy=None, backoff=Backoff(0.001, 0.05), **options) as client:
            yield client
        assert client_tasks() == []


@asynccontextmanager
async def served(kind: str, *arguments: Any, **options: Any) -> AsyncIterator[Running]:
    """A running server, which is stopped without stopping this loop: a proxy is on it."""
    with ExitStack() as stack:
        server = stack.enter_context(serving(kind, *arguments, **options))
        try:
            yield server
        finally:
            await asyncio.to_thread(stack.close)


async def do(server: Running, work: Any) -> Any:
    """Something in the server's thread, without stopping this one's loop."""
    return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, server.loop))


@both
def test_a_server_that_starts_again_with_nothing_is_a_gap(kind: str) -> None:
    """Its history began anew: the program is told, between the last before it and the first after it."""

    async def scenario() -> None:
        with ExitStack() as first:
            server = first.enter_context(serving(kind))
            proxy = Proxy(server.port)
            async with through(proxy) as client:
                orders = aiter(client.group(GROUP, gaps=True))
                joined = asyncio.ensure_future(anext(orders))
                await until(lambda: server.look(server.hub.groups) == {GROUP: 1} or joined.done())
                await do(server, server.hub.publish(GROUP, 1))
                assert (await joined).data == 1
                await asyncio.to_thread(first.close)
                async with served(kind) as again:
                    proxy.aim(again.port)
                    heard = [await anext(orders)]
                    await do(again, again.hub.publish(GROUP, 2))
                    heard.append(await anext(orders))
                    assert isinstance(heard[0], Gap)
                    assert heard[1].data == 2
                    await client.disconnect()

    run(scenario())


@both
def test_two_nodes_take_turns_and_nothing_is_missed(kind: str) -> None:
    """A client that is cut off at one node and comes back at the other goes on where it was."""
    address = an_address()

    async def scenario() -> None:
        async with AsyncExitStack() as stack:
            hubs = [Hub(address, namespaces=KEPT) for _ in range(2)]
            servers = [await stack.enter_async_context(served(kind, hub=hub)) for hub in hubs]
            await until(lambda: all(hub.cluster.peers for hub in hubs))
            proxy = Proxy(servers[0].port)
            async with through(proxy) as client:
                orders = client.group(GROUP, gaps=True)
                await orders.join()

                async def publish() -> None:
                    for number in range(120):
                        server = servers[number % 2]
                        await do(server, server.hub.publish(GROUP, number))
                        if number % 10 == 9:
                            proxy.aim(servers[number // 10 % 2].port)
                            proxy.cut()

                publishing = asyncio.create_task(publish())
                heard = [message async for message in take(orders, 120)]
                await publishing
                assert [message.data for message in heard] == list(range(120))
                assert proxy.connections > 5
                # A node that goes away says so; what comes meanwhile is had at the other.
                proxy.aim(servers[0].port)
                proxy.cut()
                listening = asyncio.create_task(collect(take(orders, 10)))
                await until(lambda: client.is_connected)
                stopping = asyncio.create_task(asyncio.to_thread(servers[0].stop))
                proxy.aim(servers[1].port)
                for number in range(10):
                    await do(servers[1], servers[1].hub.publish(GROUP, number))
                await stopping
                assert [message.data for message in await listening] == list(range(10))

    run(scenario())


async def take(group: Any, count: int) -> AsyncIterator[Any]:
    """The next of a group, so many."""
    async for message in group:
        yield message
        count -= 1
        if not count:
            return


async def collect(messages: AsyncIterator[Any]) -> list[Any]:
    """All of them."""
    return [message async for message in messages]


@both
def test_a_token_that_ends_in_the_middle_of_a_stream_is_replaced(kind: str) -> None:
    """By a refresh, on the same connection; where that is refused, by coming back with another."""
    given: list[str] = []

    def fresh() -> str:
        # Every other token lasts, the rest are past their end soon after they were made.
        given.append(token(sub="ada", exp=time.time() + (1.2 if len(given) % 3 != 1 else -60)))
        return given[-1]

    async def scenario() -> None:
        options = Options(expiry_grace=0.5)
        hub = Hub(namespaces=NAMESPACES, auth=Tokens(SECRET), options=options)
        async with served(kind, hub=hub) as server:
            proxy = Proxy(server.port)
            async with through(proxy, token=fresh) as client:
                orders = client.group(GROUP, gaps=True)
                await orders.join()

                async def publish() -> None:
                    for number in range(80):
                        await do(server, hub.publish(GROUP, number))
                        await asyncio.sleep(0.03)

                publishing = asyncio.create_task(publish())
                heard = await collect(take(orders, 80))
                await publishing
                assert [message.data for message in heard] == list(range(80))
                assert len(given) >= 3

    run(scenario())


def test_a_token_that_was_revoked_ends_every_loop() -> None:
    """With the server's code."""

    async def scenario() -> None:
        hub = Hub(namespaces=NAMESPACES, auth=Tokens(SECRET))
        async with served(FAST, hub=hub) as server:
            proxy = Proxy(server.port)
            async with through(proxy, token=lambda: token(sub="ada")) as client:
                orders = aiter(client.group(GROUP))
                waiting = asyncio.ensure_future(anext(orders))
                await until(lambda: server.look(hub.groups) == {GROUP: 1})
                await do(server, hub.disconnect(client="ada"))
                with pytest.raises(StoppedError) as stopped:
                    await waiting
                assert stopped.value.code == 3503
                await client.wait_closed()

    run(scenario())


LISTENER = """
import asyncio, sys
from hubbub.client import Backoff, Client

async def main(url):
    client = Client(url, proxy=None, backoff=Backoff(0.001, 0.01), ping_interval=0.2, pong_timeout=0.2)
    client.register_handler("state", lambda news: print(news["state"], flush=True))
    async with client:
        group = client.group("kept:orders")
        await group.join()
        print("joined", flush=True)
        async for message in group:
            print(message.data, flush=True)

asyncio.run(main(sys.argv[1]))
"""


@both
def test_a_process_that_was_frozen_reads_what_waited_and_stays(kind: str) -> None:
    """Time that it was not running says nothing about the server."""

    async def scenario() -> None:
        async with served(kind) as server:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-c", LISTENER, server.url(""), stdout=asyncio.subprocess.PIPE, cwd=ROOT
            )
            out = process.stdout
            assert out is not None
            try:
                while (await out.readline()) != b"joined\n":
                    pass
                process.send_signal(signal.SIGSTOP)
                for number in range(20):
                    await do(server, server.hub.publish(GROUP, number))
                await asyncio.sleep(1.0)  # longer than ping and pong together
                process.send_signal(signal.SIGCONT)
                lines = [await out.readline() for _ in range(20)]
                assert lines == [f"{number}\n".encode() for number in range(20)]
                await asyncio.sleep(0.5)  # pings and their answers: it is not taken for lost afterwards
                await do(server, server.hub.publish(GROUP, 20))
                assert await out.readline() == b"20\n"
            finally:
                process.kill()
                await process.wait()

    run(scenario())


@both
def test_a_line_that_goes_dead_is_noticed_and_replaced(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    """Nothing comes and nothing is closed: the client pings in vain."""
    caplog.set_level(logging.ERROR, "hubbub")

    async def scenario() -> None:
        async with served(kind) as server:
            proxy = Proxy(server.port)
            async with through(proxy, ping_interval=0.1, pong_timeout=0.1, close_timeout=0.1) as client:
                orders = client.group(GROUP, gaps=True)
                await orders.join()
                proxy.stall()
                for number in range(5):
                    await do(server, server.hub.publish(GROUP, number))
                await until(lambda: not client.is_connected)
                proxy.cut()
                proxy.heal()
                heard = await collect(take(orders, 5))
                assert [message.data for message in heard] == list(range(5))
                assert proxy.connections >= 2

    run(scenario())


@both
@pytest.mark.parametrize("binary", [False, True])
def test_everything_that_a_client_asks_is_answered(kind: str, binary: bool) -> None:
    """In text and in bytes alike: publish, history, presence, rpc, joins and leaves, and what is its own."""

    async def scenario() -> None:
        hub = Hub(namespaces=NAMESPACES)

        @hub.rpc("double")
        async def double(caller: Any, data: int) -> int:
            return 2 * data

        async with served(kind, hub=hub) as server:
            url = server.url("")
            news: list[Any] = []
            ada = Client(url, "ada", proxy=None, binary=binary)
            ada.register_handler("member_joined", news.append)
            ada.register_handler("member_left", news.append)
            own = aiter(ada.own())
            async with ada, Client(url, "bob", proxy=None, binary=not binary) as bob:
                lobby = ada.group("told:lobby")
                await lobby.join()
                hall = bob.group("told:lobby")
                await hall.join()
                await until(lambda: len(news) == 2)
                assert {member.client_id for member in (await lobby.presence()).values()} == {"ada", "bob"}
                stats = await bob.presence_stats("told:lobby")
                assert (stats.connections, stats.clients) == (2, 2)
                await hall.leave()
                await until(lambda: len(news) == 3)
                assert [each["member"]["client_id"] for each in news] == ["ada", "bob", "bob"]

                orders = ada.group(GROUP, dict[str, int])
                await orders.join()
                position = await bob.publish(GROUP, {"n": 1})
                await bob.send_chat_message(GROUP, {"n": 2})
                heard = await collect(take(orders, 2))
                assert [(each.data, each.sender, each.kind) for each in heard] == [
                    ({"n": 1}, "bob", "data"),
                    ({"n": 2}, "bob", "chat"),
                ]
                assert heard[0].position == position
                history = await orders.history()
                assert [each.data for each in history.messages] == [{"n": 1}, {"n": 2}]
                assert history.messages[0].position == position
                newest = await ada.history(GROUP, 1, reverse=True)
                assert newest.messages[0].data == {"n": 2}
                assert await ada.rpc("double", 21) == 42

                await do(server, hub.broadcast({"noon": True}))
                await do(server, hub.notify("ada", {"for": "you"}))
                first, second = await anext(own), await anext(own)
                assert (first.channel, first.data) == ("$all", {"noon": True})
                assert (second.channel, second.data) == ("$client", {"for": "you"})

    run(scenario())


def test_ten_thousand_messages_pass_a_slow_program_by_the_policy_pause() -> None:
    """It reads no faster than the program asks, and nothing is lost; a call in the middle is answered."""

    async def scenario() -> None:
        freely = Options(messages_per_second=1e6, messages_burst=1_000_000)
        async with (
            served(FAST, freely) as server,
            Client(server.url(""), "slow", proxy=None, buffer=100) as slow,
            Client(server.url(""), "busy", proxy=None) as busy,
        ):
            ticks = slow.group("ticks")
            await ticks.join()

            async def publish() -> None:
                for number in range(10_000):
                    await busy.send_message("publish", {"group_name": "ticks", "data": number})

            publishing = asyncio.create_task(publish())
            heard = []
            async for message in ticks:
                heard.append(message.data)
                if message.data % 1000 == 0:
                    await slow.publish("elsewhere", message.data)
                if message.data == 9999:
                    break
            await publishing
            assert heard == list(range(10_000))

    run(scenario())


def test_nothing_is_left_of_a_client_whose_program_is_cancelled() -> None:
    """In the middle of a loop, as by Ctrl+C."""

    async def scenario() -> None:
        async with served(FAST) as server:
            joined = asyncio.Event()

            async def program() -> None:
                async with Client(server.url(""), proxy=None) as client:
                    group = client.group(GROUP)
                    await group.join()
                    joined.set()
                    async for _ in group:
                        pass

            running = asyncio.create_task(program())
            await joined.wait()
            running.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await running
            assert client_tasks() == []

    run(scenario())
