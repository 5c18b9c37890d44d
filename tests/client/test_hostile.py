"""A server that says what no server should: the client passes it over, or says so, and lives on."""

import asyncio
import logging
import time
from email.utils import formatdate
from typing import Any

import msgspec
import pytest

from hubbub.client import Client, ConnectError, MisfitError, RefusedError

from .scripted import AT_ONCE, Heard, connected, run, scripted_server, until
from .test_groups import answer_join, say

ODD_MESSAGES: list[dict[str, Any]] = [
    {"type": "group_joined", "group_name": ["orders"]},
    {"type": "group_joined", "group_name": {"a": 1}},
    {"type": "group_left", "group_name": []},
    {"type": "group_removed", "group_name": 7, "code": "no"},
    {"type": "messages_dropped", "channel": ["orders"]},
    {"type": "error", "id": [1], "message": 5},
    {"type": "error", "id": {}, "group_name": []},
    {"type": "error", "id": 10**400, "code": []},
    {"type": "published", "id": [1]},
    {"type": "presence", "id": {"a": []}},
    {"type": "group_message", "group_name": "orders", "data": 1, "offset": "7", "epoch": "e"},
    {"type": "group_message", "group_name": "orders", "data": 1, "offset": 10**30, "epoch": "e"},
    {"type": "group_message", "group_name": "orders", "data": 1, "offset": -3, "epoch": "e"},
    {"type": "group_message", "group_name": "orders", "data": 1, "tags": [1]},
    {"type": "personal_notification", "channel": ["$user"], "data": 1},
    {"type": "connection_established", "client_id": "somebody-else"},
    {"type": "connection_established", "client_id": 3},
    {"type": "refreshed", "id": True},
]


@pytest.mark.parametrize("odd", ODD_MESSAGES, ids=lambda odd: str(odd)[:60])
def test_an_odd_message_costs_nothing(odd: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    """Neither the connection, nor a position, nor what comes next."""
    heard = Heard()

    async def scenario() -> None:
        async with connected() as (client, peer, server):
            client.register_handler("*", heard)
            orders = client.group("orders")
            joining = asyncio.create_task(orders.join())
            await answer_join(peer, 4)
            await joining
            await peer.say(odd["type"], **{name: value for name, value in odd.items() if name != "type"})
            await say(peer, "next", 5, epoch="e")
            message = await anext(aiter(orders))
            assert (message.data, server.connections) == ("next", 1)
            assert client.client_id == "alice"
            assert client.positions["orders"] == {"epoch": "e", "offset": 4}

    run(scenario())
    assert [record for record in caplog.records if record.name == "asyncio"] == []


@pytest.mark.parametrize(
    "data", [b"1e999", b'"\xff"', b"[" * 2000 + b"]" * 2000, b'{"a":"\xc3("}'], ids=lambda data: str(data[:9])
)
def test_data_that_cannot_be_read_is_passed_over_by_handlers_too(
    data: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """Though it may be whole as far as the envelope goes; the connection stays, and the position moves on."""
    heard = Heard()

    async def scenario() -> None:
        async with connected() as (client, peer, server):
            client.register_handler("group_message", heard)
            joining = asyncio.create_task(client.group("orders").join())
            await answer_join(peer, 4)
            await joining
            frame = b'{"type":"group_message","group_name":"orders","offset":5,"data":' + data + b"}"
            await peer._socket.send(frame, text=True)
            await say(peer, "next", 6, epoch="e")
            assert (await heard.next())["data"] == "next"
            await until(lambda: client.positions["orders"]["offset"] == 6)
            assert server.connections == 1

    run(scenario())
    assert "Passed over" in caplog.text
    assert [record for record in caplog.records if record.name == "asyncio"] == []


ODD_ANSWERS: list[tuple[str, dict[str, Any]]] = [
    ("presence", {"members": []}),
    ("presence", {"members": {"a": {"client_id": 4}}}),
    ("presence", {}),
    ("presence_stats", {"connections": "many"}),
    ("presence_stats", {}),
    ("history", {"messages": 4}),
    ("history", {"messages": [4]}),
    ("history", {"messages": [{"type": "group_message", "offset": "x", "data": 1}]}),
    ("history", {"messages": {"a": 1}}),
    ("rpc", {"data": "no number"}),
]


@pytest.mark.parametrize(("call", "fields"), ODD_ANSWERS, ids=str)
def test_an_answer_of_another_shape_is_a_misfit(call: str, fields: dict[str, Any]) -> None:
    """It fails that call, by a name of the client's own."""

    async def scenario() -> None:
        async with connected() as (client, peer, _):
            asked = client.rpc("double", 2, int) if call == "rpc" else getattr(client, call)("orders")
            asking = asyncio.create_task(asked)
            request = await peer.hear()
            kind = "rpc_result" if call == "rpc" else call
            await peer.say(kind, id=request["id"], **fields)
            with pytest.raises(MisfitError, match=call):
                await asking
            assert client.is_connected

    run(scenario())


def test_an_answer_to_something_else_is_not_taken_for_a_position() -> None:
    """`published` without one, or with half of one, is a publication that is not kept."""

    async def scenario() -> None:
        async with connected() as (client, peer, _):
            for fields in ({}, {"epoch": 1, "offset": 2}, {"epoch": "e", "offset": True}, {"offset": 2}):
                publishing = asyncio.create_task(client.publish("orders", 1))
                request = await peer.hear()
                await peer.say("presence", id=request["id"], **fields)
                assert await publishing is None

    run(scenario())


@pytest.mark.parametrize("value", ["9" * 5000, "-4", "soon", "Wed, 99 Foo 2026 00:00:00 GMT", ""])
def test_a_retry_after_that_is_none_counts_for_nothing(value: str) -> None:
    """A number too long to be one, say; the refusal is a refusal still."""

    async def scenario() -> None:
        async with scripted_server() as server:
            server.refuse(503, Retry_After=value)
            with pytest.raises(RefusedError) as refused:
                await Client(server.url, proxy=None).connect()
            assert refused.value.status == 503
            assert refused.value.retry_after in (0.0, 86_400.0)

    run(scenario())


@pytest.mark.parametrize(("ahead", "least", "most"), [(60, 50, 60), (-60, 0, 0), (10**7, 86_400, 86_400)])
def test_a_retry_after_may_be_a_date(ahead: float, least: float, most: float) -> None:
    """A day ahead at most; one that is past counts for nothing."""

    async def scenario() -> None:
        async with scripted_server() as server:
            server.refuse(503, Retry_After=formatdate(time.time() + ahead, usegmt=True))
            with pytest.raises(RefusedError) as refused:
                await Client(server.url, proxy=None).connect()
            assert least <= refused.value.retry_after <= most

    run(scenario())


def test_expiry_in_no_time_and_in_no_number_is_no_storm(caplog: pytest.LogCaptureFixture) -> None:
    """A server that says again and again that the token is over is asked now and then."""
    asked = 0

    def token() -> str:
        nonlocal asked
        asked += 1
        return "t"

    async def scenario() -> None:
        async with scripted_server(greets=False) as server:
            client = Client(server.url, token=token, proxy=None, backoff=AT_ONCE)
            connecting = asyncio.create_task(client.connect())
            peer = await server.peer()
            hello = await peer.hear()
            await peer.say("connection_established", id=hello["id"], client_id="a", expires_in=0)
            await connecting
            async with asyncio.timeout(0.3):
                while True:
                    request = await peer.hear()
                    await peer.say("refreshed", id=request["id"], expires_in=0)

    with pytest.raises(TimeoutError):
        run(scenario())
    assert asked < 10


@pytest.mark.parametrize("expires_in", [10**400, -1, "soon", True, 1e308, None, []])
def test_an_expiry_that_is_none_ends_nothing(expires_in: Any) -> None:
    """A number that no float can hold, say."""

    async def scenario() -> None:
        async with scripted_server(greets=False) as server:
            client = Client(server.url, token=lambda: "t", proxy=None)
            connecting = asyncio.create_task(client.connect())
            peer = await server.peer()
            hello = await peer.hear()
            await peer.say("connection_established", id=hello["id"], client_id="a", expires_in=expires_in)
            await connecting
            await peer.say("ping")
            assert (await peer.hear())["type"] == "pong"
            assert client.is_connected
            await client.disconnect()

    run(scenario())


def test_a_position_too_large_to_be_sent_is_none() -> None:
    """The client could not come back with it."""

    async def scenario() -> None:
        async with connected(binary=False) as (client, peer, server):
            joining = asyncio.create_task(client.group("orders").join())
            await answer_join(peer, 2**70)
            await joining
            peer.cut()
            await server.peer()
            await until(lambda: client.is_connected)

    run(scenario())


def test_frames_of_the_wrong_kind_are_passed_over_or_read(caplog: pytest.LogCaptureFixture) -> None:
    """They cost nothing but a line in the log."""
    caplog.set_level(logging.WARNING, "hubbub.client")

    async def scenario() -> None:
        async with connected() as (_client, peer, server):
            for frame in (msgspec.msgpack.encode({"type": "ping"}), b"\x00\xff", b""):
                await peer.say_raw(frame)
            await peer.say_raw(b'{"type":"ping"}')
            assert (await peer.hear())["type"] == "pong"
            assert server.connections == 1

    run(scenario())
    assert caplog.text.count("no message") == 3


def test_a_greeting_with_anything_in_it_is_a_greeting() -> None:
    """Or a refusal, but never another error."""

    async def scenario() -> None:
        async with scripted_server(greets=False) as server:
            odd: dict[str, Any]
            for odd in (
                {"positions": [1], "recovered": {"$all": 4}},
                {"positions": {"$all": 3}, "recovered": "x"},
            ):
                client = Client(server.url, proxy=None, positions={"$all": {"epoch": "e", "offset": 1}})
                connecting = asyncio.create_task(client.connect())
                peer = await server.peer()
                await peer.hear()
                await peer.say("connection_established", client_id="a", **odd)
                await connecting
                await client.disconnect()
            client = Client(server.url, proxy=None)
            connecting = asyncio.create_task(client.connect())
            peer = await server.peer()
            await peer.say("disconnect", code=10**30, reason=[], retry_after=10**400, reconnect=3)
            with pytest.raises(ConnectError):
                await connecting

    run(scenario())
