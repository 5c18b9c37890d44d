"""When a client is not to come back: codes, and a `disconnect()` on the way."""

import asyncio

import pytest

from hubbub.client import Message, NotConnectedError, life

from .scripted import Heard, client_tasks, connected, run


@pytest.mark.parametrize("code", [3500, 3503, 3999, 4500, 4999])
def test_these_close_codes_mean_stay_away(code: int) -> None:
    """The client is disconnected, says so, and leaves no task behind."""

    async def scenario() -> None:
        async with connected() as (client, peer, server):
            heard = Heard()
            client.register_handler("*", heard)
            await peer.hang_up(code, "go away")
            await client.wait_closed()
            assert heard.messages[-1] == {
                "type": "disconnected",
                "code": code,
                "reason": "go away",
                "reconnect": False,
            }
            assert heard.types.count("disconnected") == 1
            assert not client.is_connected
            assert client_tasks() == []
            assert server.connections == 1
            with pytest.raises(NotConnectedError, match=f"{code} go away"):
                await client.send_message("note")

    run(scenario())


def test_a_client_that_was_told_not_to_come_back_does_not() -> None:
    """With reconnect=False every loss is final."""

    async def scenario() -> None:
        async with connected(reconnect=False) as (client, peer, server):
            heard = Heard()
            client.register_handler("disconnected", heard)
            peer.cut()
            await client.wait_closed()
            assert heard.messages == [
                {"type": "disconnected", "code": 1006, "reason": "", "reconnect": False}
            ]
            with pytest.raises(NotConnectedError):
                await client.join_group("lobby")
            assert server.connections == 1

    run(scenario())


def test_a_client_that_does_not_come_back_by_itself_remembers_its_groups_too() -> None:
    """They are joined again when the program connects again."""

    async def scenario() -> None:
        async with connected(reconnect=False) as (client, peer, server):
            await client.join_group("lobby")
            peer.cut()
            await client.wait_closed()
            await client.connect()
            assert (await server.peer()).hello["groups"] == {"lobby": None}

    run(scenario())


def test_a_refusal_for_good_on_the_way_back_ends_the_client() -> None:
    """Told twice: first that it comes back, then that it does not."""

    async def scenario() -> None:
        async with connected() as (client, peer, server):
            heard = Heard()
            client.register_handler("disconnected", heard)
            server.greets = False
            peer.cut()
            peer = await server.peer()
            waiting = asyncio.create_task(client.connect())
            await peer.hang_up(3500, "invalid token")
            await client.wait_closed()
            assert [(notice["code"], notice["reconnect"]) for notice in heard.messages] == [
                (1006, True),
                (3500, False),
            ]
            with pytest.raises(NotConnectedError, match="invalid token"):
                await waiting

    run(scenario())


def test_trouble_that_nobody_thought_of_ends_the_client_out_loud(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged, told to the handlers, and nothing hangs."""

    async def broken(*_: object) -> None:
        raise LookupError("nobody thought of this")

    async def scenario() -> None:
        async with connected() as (client, peer, _):
            heard = Heard()
            client.register_handler("disconnected", heard)
            monkeypatch.setattr(life, "open_connection", broken)
            peer.cut()
            await client.wait_closed()
            assert [notice["reconnect"] for notice in heard.messages] == [True, False]
            with pytest.raises(LookupError):
                await client.connect()

    run(scenario())

    assert "Coming back to ws://" in caplog.text
    assert "nobody thought of this" in caplog.text


def test_disconnect_stops_a_client_that_waits_to_come_back() -> None:
    """No matter how long it would have waited."""

    async def scenario() -> None:
        async with connected() as (client, peer, server):
            heard = Heard()
            client.register_handler("disconnected", heard)
            await peer.say("disconnect", code=3001, reason="shutdown", reconnect=True, retry_after=1e300)
            await peer.hang_up(3001)
            await heard.next()
            await client.disconnect()
            assert (await heard.next())["reconnect"] is False
            assert client_tasks() == []
            assert server.connections == 1

    run(scenario())


def test_disconnect_is_told_to_the_handlers() -> None:
    """As code 1000, not to come back; the client is disconnected by then."""

    async def scenario() -> None:
        async with connected() as (client, _, _):
            seen: list[tuple[int, bool, bool]] = []

            @client.register_handler("disconnected")
            async def note(message: Message) -> None:
                await asyncio.sleep(0)
                seen.append((message["code"], message["reconnect"], client.is_connected))

            await client.disconnect()
            assert seen == [(1000, False, False)]

    run(scenario())


@pytest.mark.parametrize("message_type", ["news", "disconnected"])
def test_a_handler_may_disconnect(message_type: str) -> None:
    """It takes effect when the handler returns; messages that wait behind it are not told."""

    async def scenario() -> None:
        async with connected() as (client, peer, server):
            heard = Heard()

            @client.register_handler(message_type)
            async def leave(message: Message) -> None:
                await client.disconnect()
                assert not client.is_connected

            client.register_handler("*", heard)
            await peer.say("news", number=1)
            await peer.say("news", number=2)
            if message_type == "disconnected":
                await heard.next("news")
                await heard.next("news")
                peer.cut()
            await client.wait_closed()
            assert heard.types.count("news") == (1 if message_type == "news" else 2)
            assert heard.messages[-1]["reconnect"] is False
            assert server.connections == 1

    run(scenario())


def test_disconnect_cancels_a_handler_that_is_still_running() -> None:
    """Nothing of the client goes on afterwards."""

    async def scenario() -> None:
        async with connected() as (client, peer, _):
            entered = asyncio.Event()
            cancelled = asyncio.Event()

            @client.register_handler("news")
            async def never_ends(message: Message) -> None:
                entered.set()
                try:
                    await asyncio.Event().wait()
                finally:
                    cancelled.set()

            await peer.say("news")
            await entered.wait()
            await client.disconnect()
            assert cancelled.is_set()
            assert client_tasks() == []

    run(scenario())
