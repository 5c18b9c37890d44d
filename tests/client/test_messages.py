"""Messages out, messages in, and signs of life."""

import asyncio

import pytest

from hubbub.client import Message, NotConnectedError, WebSocketClient

from .scripted import Heard, connected, run


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (None, {"type": "note"}),
        ({"a": 1, "b": [2]}, {"type": "note", "a": 1, "b": [2]}),
        ({}, {"type": "note"}),
        ([1, 2], {"type": "note", "data": [1, 2]}),
        ("text", {"type": "note", "data": "text"}),
        (0, {"type": "note", "data": 0}),
        (False, {"type": "note", "data": False}),
    ],
)
def test_a_dict_becomes_the_message_and_other_data_its_data(data: object, expected: Message) -> None:
    """One JSON object a frame."""

    async def scenario() -> None:
        async with connected() as (client, peer, _):
            await client.send_message("note", data)
            assert await peer.hear() == expected

    run(scenario())


def test_a_type_in_the_data_does_not_hide_the_message_type() -> None:
    """Two types in one message are a mistake, said to who makes it."""

    async def scenario() -> None:
        async with connected() as (client, peer, _):
            with pytest.raises(ValueError, match="another key"):
                await client.send_message("note", {"type": "other"})
            await client.send_message("note", {"type": "note"})
            assert await peer.hear() == {"type": "note"}

    run(scenario())


def test_data_that_is_no_json_is_the_callers_error_and_costs_nothing() -> None:
    """The connection lives on."""

    async def scenario() -> None:
        async with connected() as (client, peer, _):
            with pytest.raises(TypeError):
                await client.send_message("note", {"what": object()})
            await client.send_message("note")
            assert await peer.hear() == {"type": "note"}

    run(scenario())


def test_the_group_methods_speak_the_contract() -> None:
    """Word for word."""

    async def scenario() -> None:
        async with connected() as (client, peer, _):
            await client.join_group("lobby")
            await client.send_chat_message("lobby", {"any": ["JSON"]})
            await client.leave_group("lobby")
            joining = await peer.hear()
            assert isinstance(joining.pop("id"), int)
            assert [joining, await peer.hear(), await peer.hear()] == [
                {"type": "join_group", "group_name": "lobby"},
                {"type": "chat_message", "group_name": "lobby", "message": {"any": ["JSON"]}},
                {"type": "leave_group", "group_name": "lobby"},
            ]

    run(scenario())


def test_sending_without_a_connection_says_so() -> None:
    """In a plain sentence, before and after."""

    async def scenario() -> None:
        client = WebSocketClient("ws://localhost:8000")
        for attempt in (
            client.send_message("note"),
            client.join_group("lobby"),
            client.send_chat_message("lobby", 1),
        ):
            with pytest.raises(NotConnectedError, match=r"not connected; await connect\(\) first"):
                await attempt
        await client.leave_group("lobby")

        async with connected() as (client, _, _):
            await client.disconnect()
            with pytest.raises(NotConnectedError, match="not connected any more"):
                await client.send_message("note")

    run(scenario())


def test_a_group_name_that_no_server_takes_is_refused_here() -> None:
    """It would only be remembered and refused again and again."""

    async def scenario() -> None:
        async with connected() as (client, _, _):
            for name in ("", "$all", "a\nb", "x" * 256):
                with pytest.raises(ValueError, match="group name"):
                    await client.join_group(name)

    run(scenario())


def test_messages_reach_their_handlers_in_order_of_arrival() -> None:
    """However unevenly the handlers take their time."""

    async def scenario() -> None:
        async with connected() as (client, peer, _):
            done = Heard()

            @client.register_handler("chat_message")
            async def uneven(message: Message) -> None:
                for _ in range(message["message"] % 3):
                    await asyncio.sleep(0)
                done(message)

            numbers = list(range(50))
            for number in numbers:
                await peer.say("chat_message", group_name="lobby", message=number)
            assert [(await done.next())["message"] for _ in numbers] == numbers

    run(scenario())


def test_register_handler_gives_the_function_back() -> None:
    """As a call and as a decorator, so that it can still be called by its name."""
    client = WebSocketClient("ws://localhost:8000")

    def handler(message: Message) -> None:
        pass

    assert client.register_handler("news", handler) is handler
    assert client.register_handler("news")(handler) is handler


def test_a_handler_that_raises_does_not_stop_the_stream(caplog: pytest.LogCaptureFixture) -> None:
    """Its trouble is logged with the message type."""

    async def scenario() -> None:
        async with connected() as (client, peer, _):
            heard = Heard()
            client.register_handler("news", lambda message: message["missing"])
            client.register_handler("news", heard)
            await peer.say("news", number=1)
            await peer.say("news", number=2)
            assert [(await heard.next())["number"] for _ in range(2)] == [1, 2]
            assert client.is_connected

    run(scenario())

    assert "'news' raised" in caplog.text


@pytest.mark.parametrize(
    "garbage",
    [
        "",
        "hello",
        "[1]",
        "null",
        "{}",
        '{"type":7}',
        '{"type":null}',
        b"\xff",
        b"\x00\x01",
        '{"type":"x"',
        "[" * 9999,
    ],
)
def test_a_frame_of_garbage_is_passed_over(garbage: str | bytes, caplog: pytest.LogCaptureFixture) -> None:
    """It is logged, and what follows is heard."""

    async def scenario() -> None:
        async with connected() as (client, peer, server):
            heard = Heard()
            client.register_handler("*", heard)
            await peer.say_raw(garbage)
            await peer.say("news")
            await heard.next("news")
            assert server.connections == 1

    run(scenario())

    assert "Passed over a frame" in caplog.text


def test_a_message_of_an_unknown_type_is_nobodys_and_harmless() -> None:
    """A newer server may say more than this client knows."""

    async def scenario() -> None:
        async with connected() as (client, peer, _):
            heard = Heard()
            client.register_handler("news", heard)
            await peer.say("from_the_future", what={"ever": True})
            await peer.say("news")
            await heard.next("news")

    run(scenario())


def test_a_servers_ping_is_answered_and_told() -> None:
    """With a pong; whoever listens to everything hears of it too."""

    async def scenario() -> None:
        async with connected() as (client, peer, _):
            heard = Heard()
            client.register_handler("*", heard)
            await peer.say("ping", timestamp="2026-01-01T00:00:00+00:00")
            assert await peer.hear() == {"type": "pong"}
            await heard.next("ping")

    run(scenario())


def test_the_client_pings_by_itself() -> None:
    """Again and again, even while a handler takes its time."""

    async def scenario() -> None:
        async with connected(ping_interval=0.01) as (client, peer, _):
            entered = asyncio.Event()
            release = asyncio.Event()

            @client.register_handler("news")
            async def slow(message: Message) -> None:
                entered.set()
                await release.wait()

            await peer.say("news")
            await entered.wait()
            assert [await peer.hear() for _ in range(3)] == [{"type": "ping"}] * 3
            release.set()

    run(scenario())


def test_a_client_without_pings_sends_none_and_trusts_the_server() -> None:
    """Silence is no loss then."""

    async def scenario() -> None:
        async with connected(ping_interval=None, pong_timeout=0) as (client, peer, _):
            await client.send_message("note")
            assert await peer.hear() == {"type": "note"}
            assert client.is_connected

    run(scenario())


def test_a_handler_may_use_the_client() -> None:
    """It may join, send and leave, since none of these waits for an answer."""

    async def scenario() -> None:
        async with connected() as (client, peer, _):

            @client.register_handler("invitation")
            async def accept(message: Message) -> None:
                await client.join_group(message["group_name"])
                await client.send_chat_message(message["group_name"], "here I am")

            await peer.say("invitation", group_name="lobby")
            assert (await peer.hear())["type"] == "join_group"
            assert (await peer.hear())["type"] == "chat_message"

    run(scenario())


def test_what_would_wait_for_itself_is_refused_in_a_handler() -> None:
    """An error with a sentence, where there would be a deadlock."""

    async def scenario() -> None:
        async with connected(reconnect=False) as (client, peer, _):
            sentences: list[str] = []

            async def wait(message: Message) -> None:
                for method in (client.wait_closed, client.connect):
                    with pytest.raises(RuntimeError, match="start a task") as refusal:
                        await method()
                    sentences.append(str(refusal.value))

            client.register_handler("disconnected", wait)
            peer.cut()
            await client.wait_closed()
            assert len(sentences) == 2

    run(scenario())


def test_a_publication_with_a_field_of_another_type_is_passed_over(caplog: pytest.LogCaptureFixture) -> None:
    """By loops, and said in the log; handlers are told of it as it came."""

    async def scenario() -> None:
        async with connected() as (client, peer, _):
            heard = Heard()
            client.register_handler("group_message", heard)
            await peer.say("group_message", group_name="orders", data=1, timestamp=7)
            assert (await heard.next())["timestamp"] == 7

    run(scenario())
    assert "with a field of another type" in caplog.text


def test_a_server_that_takes_nothing_more_does_not_hold_up_disconnect() -> None:
    """Not even where there is no room for a close frame."""

    async def scenario() -> None:
        async with connected(close_timeout=0.05) as (client, peer, _):
            peer.stop_reading()
            sending = asyncio.create_task(client.send_message("note", "x" * 20_000_000))
            await asyncio.sleep(0)
            await client.disconnect()
            await asyncio.wait({sending})

    run(scenario())
