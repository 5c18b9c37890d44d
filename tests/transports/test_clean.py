"""A connection that ends, at whatever moment, leaves nothing behind."""

import asyncio
import gc
import json
from typing import Any

import pytest

from hubbub.hub import Hub, Identity, Options, SessionInfo
from hubbub.hub.connection import Connection
from hubbub.transports.websocket import WebSocketTransport

from .clients import RawClient
from .serving import SERVERS, Running, eventually, serving

OPTIONS = Options(close_timeout=0.2, announce_disconnects=False, handshake_timeout=2.0, hook_timeout=1.0)


def left_behind(server: Running) -> dict[str, int]:
    """Whatever a connection could leave, by name and number; empty where there is nothing."""
    hub = server.hub

    def count() -> dict[str, int]:
        gc.collect()
        objects = gc.get_objects()
        return {
            "connections": hub.total_connections,
            "channels": len(hub.registry),
            "heartbeats": len(hub.connections._heartbeat),
            "subscriptions at the broker": len(hub.interest) - 1,  # $all stays
            "presence": len(hub.presence_store._channels),  # type: ignore[attr-defined]
            "taps": len(hub.deliveries._taps),
            "trails": len(hub.continuity),
            "silent": len(hub.connections._silent),
            "turns": len(hub.membership._waiting),
            "tasks": len(hub._tasks),
            "connection objects": sum(type(o) is Connection and o.hub is hub for o in objects),
            "transport objects": sum(type(o) is WebSocketTransport and o._hub is hub for o in objects),
            "pending fan-out": hub.deliveries.backlog,
        }

    counted: dict[str, int] = server.look(count)
    return {name: number for name, number in counted.items() if number}


def nothing_is_left_behind(server: Running) -> bool:
    left = left_behind(server)
    print(left)  # noqa: T201  shown where the test fails
    return not left


def slow_hooks(hub: Hub) -> None:
    """Hooks that take a moment, so that a client can vanish while they run."""

    @hub.on_connect
    async def connect(request: Any) -> Identity:
        await asyncio.sleep(0.02)
        return Identity(user="somebody", info={"a": 1})

    @hub.on_subscribe("*")
    async def subscribe(session: SessionInfo) -> None:
        await asyncio.sleep(0.02)

    @hub.on_unsubscribe("*")
    async def unsubscribe(session: SessionInfo) -> None:
        await asyncio.sleep(0.02)

    @hub.rpc("wait")
    async def wait(session: SessionInfo) -> int:
        await asyncio.sleep(0.02)
        return 1


def frame(type: str, **fields: Any) -> bytes:
    payload = json.dumps({"type": type, **fields}).encode()
    return bytes((0x81, 0x80 | len(payload))) + b"\0\0\0\0" + payload


HEAD = (
    b"GET /ws/c HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
SPEAKS_FIRST = HEAD.replace(b"/ws/c ", b"/ws/c?connect=first ")
SENT = {
    "nothing": b"",
    "half a head": HEAD[:60],
    "a head": HEAD,
    "a join": HEAD + frame("join_group", group_name="kept:g"),
    "two joins and an rpc": HEAD
    + frame("join_group", group_name="told:g")
    + frame("join_group", group_name="kept:h")
    + frame("rpc", method="wait"),
    "half a frame": HEAD + frame("join_group", group_name="told:g")[:12],
    "a fragment": HEAD + b"\x01\x83\0\0\0\0abc",
    "a close": HEAD + b"\x88\x80\0\0\0\0",
    "an error": HEAD + frame("fly"),
    "silence": SPEAKS_FIRST,
    "a stream": b"GET /sse/c?groups=kept:g,told:g HTTP/1.1\r\nHost: x\r\n\r\n",
    "a connect": SPEAKS_FIRST + frame("connect", groups=["kept:g", "told:g"]),
    "half a connect": SPEAKS_FIRST + frame("connect", groups=["kept:g"])[:12],
}


@pytest.mark.parametrize("kind", SERVERS)
def test_clients_that_vanish_at_any_moment_leave_nothing(kind: str) -> None:
    """Whatever was sent, whatever was waited for, by reset or by the end of the stream: all is let go of."""
    with serving(kind, OPTIONS) as server:
        server.look(lambda: slow_hooks(server.hub))
        for wait_for_answers in (0, 1, 2):
            for what, data in SENT.items():
                for abrupt in (True, False):
                    raw = RawClient(server)
                    # The frames follow the head only once it is answered: RFC 6455 §4.1.
                    head = data.find(b"\r\n\r\n") + 4 if HEAD[-4:] in data else len(data)
                    raw.socket.sendall(data[:head])
                    if len(data) > head:
                        raw.socket.settimeout(2)
                        while b"\r\n\r\n" not in raw.buffer:
                            raw.fill()
                        raw.buffer = raw.buffer.partition(b"\r\n\r\n")[2]
                        raw.socket.sendall(data[head:])
                        for _ in range(wait_for_answers if "join" in what else 0):
                            raw.frame()
                    if abrupt:
                        raw.vanish()
                    else:
                        raw.socket.close()
        eventually(lambda: nothing_is_left_behind(server))


@pytest.mark.parametrize("kind", SERVERS)
def test_members_that_vanish_in_the_middle_of_a_fan_out_leave_nothing(kind: str) -> None:
    """Half of the members reset their connections while messages pour in; the others miss nothing."""
    with serving(kind, OPTIONS) as server:
        members = [RawClient(server).open() for _ in range(60)]
        for member in members:
            member.send("join_group", group_name="g")
            member.message("group_joined")

        async def pour(start: int) -> None:
            for number in range(start, start + 50):
                await server.hub.publish("g", number)

        for index, member in enumerate(members[:30]):
            server.do(pour(index * 50))
            member.vanish()
        for member in members[30:]:
            assert [member.message("group_message")["data"] for _ in range(1500)] == list(range(1500))
            member.vanish()
        members.clear()
        eventually(lambda: nothing_is_left_behind(server))


@pytest.mark.parametrize("kind", SERVERS)
def test_a_thousand_connections_come_and_go(kind: str) -> None:
    """The server's objects are as many after the last as after the first hundred."""
    with serving(kind, OPTIONS) as server:
        for _ in range(5):
            crowd = [RawClient(server).open() for _ in range(100)]
            for member in crowd:
                member.send("join_group", group_name="g")
            for member in crowd:
                member.message("group_joined")
            assert server.hub.total_connections == 100
            for member in crowd:
                member.vanish()
            eventually(lambda: nothing_is_left_behind(server))
