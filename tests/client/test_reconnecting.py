"""Lost connections: who comes back, when, and with what."""

import asyncio
from typing import ClassVar

import pytest

from hubbub.client import Backoff, Message, NotConnectedError, WebSocketClient

from .scripted import AT_ONCE, Heard, client_tasks, connected, run, scripted_server, until


def test_a_client_that_lost_its_connection_comes_back_under_the_same_id() -> None:
    """Also under one that the server made."""

    async def scenario() -> None:
        async with connected(None) as (client, peer, server):
            heard = Heard()
            client.register_handler("connection_established", heard)
            peer.cut()
            again = await server.peer()
            assert again.path == "/ws/made-by-the-server"
            await heard.next("connection_established")
            assert client.is_connected

    run(scenario())


def test_a_client_that_came_back_is_in_its_groups_again() -> None:
    """Those it joined and did not leave, in the order of joining, before anything else."""

    async def scenario() -> None:
        async with connected() as (client, peer, server):

            @client.register_handler("connection_established")
            async def say_hello(message: Message) -> None:
                await client.send_chat_message("one", "back")

            for name in ("one", "two", "three"):
                await client.join_group(name)
            await client.leave_group("two")
            peer.cut()

            again = await server.peer()
            assert list(again.hello["groups"]) == ["one", "three"]
            assert (await again.hear())["type"] == "chat_message"

    run(scenario())


def test_groups_joined_and_left_on_the_way_back_count() -> None:
    """What cannot be sent now is done on arrival; what is no group matter fails in a sentence."""

    async def scenario() -> None:
        async with connected() as (client, peer, server):
            await client.join_group("left meanwhile")
            lost = Heard()
            client.register_handler("disconnected", lost)
            server.greets = False
            peer.cut()
            await lost.next()
            halfway = await server.peer()
            await client.join_group("joined meanwhile")
            await client.leave_group("left meanwhile")
            with pytest.raises(NotConnectedError, match="on its way back"):
                await client.send_message("note")

            await halfway.greet()
            if halfway.hello["groups"] == {"left meanwhile": None}:  # said before the program knew better
                assert (await halfway.hear())["type"] == "leave_group"
                joining = await halfway.hear()
                assert (joining["type"], joining["group_name"]) == ("join_group", "joined meanwhile")
            else:
                assert halfway.hello["groups"] == {"joined meanwhile": None}
            await until(lambda: client.is_connected)
            await client.send_message("note")
            assert await halfway.hear() == {"type": "note"}

    run(scenario())


def test_a_group_that_the_server_took_the_client_out_of_is_not_joined_again() -> None:
    """Coming back must not undo what the server decided."""

    async def scenario() -> None:
        async with connected() as (client, peer, server):
            heard = Heard()
            client.register_handler("group_removed", heard)
            await client.join_group("one")
            await client.join_group("two")
            await peer.say("group_removed", group_name="one", code=2000, reason="server unsubscribed")
            await peer.say("group_removed", group_name=["no", "name"])
            await heard.next()
            await heard.next()
            peer.cut()
            assert (await server.peer()).hello["groups"] == {"two": None}

    run(scenario())


@pytest.mark.parametrize("code", [1000, 1001, 1011, 1012, 3000, 3001, 3008, 3012, 3499, 4000, 4499])
def test_these_close_codes_mean_come_back(code: int) -> None:
    """And the handlers are told that it does."""

    async def scenario() -> None:
        async with connected() as (client, peer, server):
            heard = Heard()
            client.register_handler("disconnected", heard)
            await peer.hang_up(code, "because")
            assert await heard.next() == {
                "type": "disconnected",
                "code": code,
                "reason": "because",
                "reconnect": True,
            }
            await server.peer()

    run(scenario())


def test_the_servers_disconnect_push_is_obeyed_over_the_close_code() -> None:
    """It says whether to come back, in so many words."""

    async def scenario() -> None:
        async with connected() as (client, peer, server):
            heard = Heard()
            client.register_handler("*", heard)
            await peer.say("disconnect", code=4001, reason="banned", reconnect=False)
            await peer.hang_up(1000)
            await client.wait_closed()
            assert heard.types[-2:] == ["disconnect", "disconnected"]
            assert heard.messages[-1] == {
                "type": "disconnected",
                "code": 4001,
                "reason": "banned",
                "reconnect": False,
            }
            assert server.connections == 1

    run(scenario())


def test_a_disconnect_push_without_words_goes_by_its_code() -> None:
    """And by nothing at all where even that is missing."""

    async def scenario() -> None:
        async with connected() as (client, peer, server):
            await peer.say("disconnect", retry_after="soon", reconnect="yes", reason=None)
            await peer.hang_up(1000)
            peer = await server.peer()
            await peer.say("disconnect", code=3503, reason="force disconnect")
            await peer.hang_up(1000)
            await client.wait_closed()
            assert server.connections == 2

    run(scenario())


def test_retry_after_is_the_least_that_the_client_stays_away() -> None:
    """A draining server spreads its clients out that way."""

    async def scenario() -> None:
        async with connected() as (client, peer, server):
            heard = Heard()
            client.register_handler("disconnected", heard)
            await peer.say("disconnect", code=3001, reason="shutdown", reconnect=True, retry_after=0.1)
            await peer.hang_up(3001, "shutdown")
            await heard.next()
            since = asyncio.get_running_loop().time()
            await server.peer()
            assert asyncio.get_running_loop().time() - since >= 0.099

    run(scenario())


def test_a_server_that_says_disconnect_and_does_not_close_is_not_waited_for() -> None:
    """The client closes after the close timeout."""

    async def scenario() -> None:
        async with connected(close_timeout=0.05) as (_, peer, server):
            await peer.say("disconnect", code=3011, reason="force reconnect", reconnect=True)
            assert await peer.gone() == 1000
            await server.peer()

    run(scenario())


def test_a_server_that_fell_silent_is_taken_for_lost() -> None:
    """It answers no ping, and its socket looks healthy."""

    async def scenario() -> None:
        async with connected(ping_interval=0.02, pong_timeout=0.02) as (client, _, server):
            heard = Heard()
            client.register_handler("disconnected", heard)
            notice = await heard.next()
            assert (notice["code"], notice["reconnect"]) == (1006, True)
            assert "no sign of life" in notice["reason"]
            await server.peer()

    run(scenario())


def test_a_message_that_is_too_large_ends_the_connection_not_the_client() -> None:
    """Memory stays bounded, and the client comes back."""

    async def scenario() -> None:
        async with connected(max_size=1000) as (client, peer, server):
            heard = Heard()
            client.register_handler("disconnected", heard)
            await peer.say("news", text="x" * 2000)
            assert (await heard.next())["reconnect"] is True
            await server.peer()

    run(scenario())


class Remembering(Backoff):
    """Remembers how many failures it was asked about, and waits for nothing."""

    asked: ClassVar[list[int]] = []

    def delay(self, failures: int) -> float:
        """No delay at all."""
        self.asked.append(failures)
        return 0.0


def test_each_failure_makes_the_next_delay_longer() -> None:
    """Refused, unreachable and greeted only to be cut again: all of them are failures."""
    Remembering.asked.clear()

    async def scenario() -> None:
        async with connected(backoff=Remembering()) as (_, peer, server):
            server.refuse(503, "starting")
            server.refuse(403, "not yet")
            peer.cut()
            (await server.peer()).cut()
            await server.peer()
            assert Remembering.asked == [0, 1, 2, 3]

    run(scenario())


def test_a_connection_that_lasted_forgives_the_failures_before_it() -> None:
    """Longer than the longest delay, that is."""
    Remembering.asked.clear()

    async def scenario() -> None:
        async with connected(backoff=Remembering(base=0.01, cap=0.01)) as (_, peer, server):
            peer.cut()
            peer = await server.peer()
            since = asyncio.get_running_loop().time()
            await until(lambda: asyncio.get_running_loop().time() - since > 0.02)
            peer.cut()
            await server.peer()
            assert Remembering.asked[-1] == 0

    run(scenario())


def test_a_server_that_is_away_for_a_while_is_found_again() -> None:
    """Refused connections do not discourage."""

    async def scenario() -> None:
        async with scripted_server() as server:
            port = server.port
            client = WebSocketClient(server.url, backoff=Backoff(0.001, 0.01), proxy=None)
            lost = Heard()
            client.register_handler("disconnected", lost)
            await client.connect()
        assert (await lost.next())["reconnect"] is True
        waiting = asyncio.create_task(client.connect())
        async with scripted_server(port=port):
            await waiting
            assert client.is_connected
            await client.disconnect()
        assert client_tasks() == []

    run(scenario())


def test_a_handler_that_runs_keeps_no_client_from_coming_back() -> None:
    """The loss is known at once, sending says so, and what is joined meanwhile is joined on arrival."""

    async def scenario() -> None:
        async with connected() as (client, peer, server):
            entered = asyncio.Event()
            release = asyncio.Event()

            @client.register_handler("news")
            async def slow(message: Message) -> None:
                entered.set()
                await release.wait()

            await peer.say("news")
            await entered.wait()
            server.greets = False
            peer.cut()
            await until(lambda: not client.is_connected)
            with pytest.raises(NotConnectedError, match="on its way back"):
                await client.send_message("note")
            waiting = asyncio.create_task(client.connect())
            halfway = await server.peer()
            await halfway.greet()
            await waiting
            assert client.is_connected
            assert not release.is_set()
            release.set()

    run(scenario())


def test_a_client_that_connects_again_after_leaving_joins_its_groups_again() -> None:
    """What was joined and not left is remembered for as long as the client object lives."""

    async def scenario() -> None:
        async with connected() as (client, _, server):
            await client.join_group("lobby")
            await client.disconnect()
            await client.connect()
            assert (await server.peer()).hello["groups"] == {"lobby": None}

    run(scenario())


def test_the_end_of_the_program_ends_the_client() -> None:
    """A loop that is torn down leaves neither a task nor an open socket behind."""
    closed: list[int | None] = []

    async def scenario() -> None:
        async with scripted_server() as server:
            client = WebSocketClient(server.url, backoff=AT_ONCE, proxy=None)
            await client.connect()
            peer = await server.peer()
            (life,) = (task for task in asyncio.all_tasks() if task.get_name() == "hubbub client")
            life.cancel()
            closed.append(await peer.gone())
            await client.wait_closed()
            assert client_tasks() == []

    run(scenario())

    assert closed == [1000]
