"""Clients that send as much as they can of whatever is cheap to send: bounded, and nobody else notices."""

import contextlib
import json
import zlib
from collections.abc import Callable

import pytest

from hubbub.core.session import Limits

from ..transports.clients import RawClient, client
from ..transports.serving import DEADLINE, Running, eventually
from .siege import command, frames, limited, served, unguarded

TIGHT = {"messages_per_second": 20.0, "messages_burst": 50}


def flood(server: Running, data: bytes, path: str = "/ws", **headers: str) -> int:
    """The code that a client is closed with which sends this all at once."""
    raw = RawClient(server, path)
    assert raw.handshake(**headers).startswith(b"HTTP/1.1 101")
    raw.socket.settimeout(DEADLINE)
    with contextlib.suppress(OSError):  # closed in the middle, which is what it is about
        raw.socket.sendall(data)
    try:
        return raw.close_code()
    except (EOFError, OSError):
        return 1006  # what was on its way when the socket closed has reset it


FLOODS: dict[str, Callable[[], bytes]] = {
    "pings": lambda: frames(*[b"x"] * 5000, first=0x89),
    "pongs": lambda: frames(*[b""] * 5000, first=0x8A),
    "empty fragments": lambda: frames(b"", first=0x01) + frames(*[b""] * 5000, first=0x00),
    "fragments with pings between": lambda: (
        frames(b"", first=0x01) + (frames(b"", first=0x00) + frames(b"", first=0x89)) * 3000
    ),
    "messages": lambda: frames(*[command("ping")] * 5000),
    "garbage": lambda: frames(*[b"nope"] * 5000),
    "joins and leaves": lambda: (
        frames(command("join_group", group_name="g"), command("leave_group", group_name="g")) * 2000
    ),
    "publications": lambda: frames(*[command("publish", group_name="g", data=1)] * 3000),
}


@pytest.mark.parametrize("what", FLOODS)
def test_a_flood_is_cut_off(what: str) -> None:
    """Closed for too many errors (3509), and others go on; nothing of it is left."""
    with unguarded(**TIGHT) as server, client(server) as honest:
        assert flood(server, FLOODS[what]()) in (3509, 1006)
        served(honest)
        eventually(lambda: server.look(lambda: len(server.hub.connections)) == 1)
        closed = server.hub.metrics.exposition().decode()
        assert 'hubbub_connections_closed_total{code="3509"} 1.0' in closed
        assert not server.look(lambda: server.hub.groups())


def test_a_flood_of_bytes_is_cut_off() -> None:
    """Bytes are counted too, whatever they say."""
    with unguarded(bytes_per_second=10_000.0, bytes_burst=100_000) as server, client(server) as honest:
        padding = command("ping", padding="x" * 30_000)
        assert flood(server, frames(*[padding] * 100)) in (3509, 1006)
        assert limited(server, "bytes_per_second") > 0
        served(honest)


def test_one_message_too_many_is_passed_over_and_said() -> None:
    """Error 111, as something that passes; who slows down then goes on as before."""
    with unguarded(messages_per_second=50.0, messages_burst=10) as server:
        raw = RawClient(server).open()
        raw.socket.sendall(frames(*[command("ping")] * 14))
        error = raw.message("error")
        assert (error["code"], error["temporary"]) == (111, True)

        def answered() -> bool:
            raw.send("ping", id="later")
            while True:
                message = raw.message()
                if message["type"] == "pong" and message.get("id") == "later":
                    return True
                if message["type"] == "error":
                    return False

        assert eventually(answered)


def test_a_flood_within_the_limits_holds_up_nobody() -> None:
    """Without any limit, some hundred thousand frames at once: who says little is heard in between."""
    with unguarded(messages_per_second=0, bytes_per_second=0) as server, client(server) as honest:
        floods = [RawClient(server).open() for _ in range(4)]
        data = frames(*[b""] * 30_000, first=0x8A)
        for raw in floods:
            raw.socket.sendall(data)
            raw.send("ping", id="last")
        said = honest.ask("ping", "pong")["timestamp"]
        assert all(said < raw.message("pong")["timestamp"] for raw in floods)


def test_a_compression_bomb_is_refused() -> None:
    """A message that would become too big is closed with 1009, and is never unpacked beyond that."""
    with unguarded(compression=True, max_message_bytes=65536) as server, client(server) as honest:
        packer = zlib.compressobj(wbits=-12)
        bomb = packer.compress(b"x" * 40_000_000) + packer.flush(zlib.Z_SYNC_FLUSH)
        assert len(bomb) < 65536
        code = flood(
            server,
            frames(bomb, first=0xC1),
            Sec_WebSocket_Extensions="permessage-deflate",
        )
        assert code == 1009
        served(honest)


def test_a_compression_bomb_in_pieces_is_refused() -> None:
    """Fragments of it count together, also where the first fills the message to the last byte."""
    with unguarded(compression=True, max_message_bytes=65536) as server, client(server) as honest:
        packer = zlib.compressobj(wbits=-12)
        first = packer.compress(b"x" * 65536) + packer.flush(zlib.Z_SYNC_FLUSH)
        more = packer.compress(b"x" * 10_000_000) + packer.flush(zlib.Z_SYNC_FLUSH)
        data = frames(first, first=0x41) + frames(more, first=0x80)
        assert flood(server, data, Sec_WebSocket_Extensions="permessage-deflate") == 1009
        served(honest)


@pytest.mark.parametrize("size", [65537, 2**31, 2**63 - 1, 2**64 - 1])
def test_a_frame_that_announces_too_much_is_refused_at_once(size: int) -> None:
    """By its header; nothing is set aside for what it announces."""
    with unguarded() as server, client(server) as honest:
        assert flood(server, b"\x81\xff" + size.to_bytes(8) + b"\0\0\0\0") == 1009
        eventually(lambda: limited(server, "max_message_bytes") == 1)
        served(honest)


@pytest.mark.parametrize(
    "deep",
    [
        pytest.param("[" * 30_000, id="open"),
        pytest.param("[" * 30_000 + "]" * 30_000, id="closed"),
        pytest.param('{"a":' * 10_000 + "1" + "}" * 10_000, id="objects"),
        pytest.param(
            '{"type":"publish","group_name":"g","data":' + "[" * 30_000 + "]" * 30_000 + "}", id="data"
        ),
        pytest.param('{"type":"rpc","method":"m","data":' + "[" * 30_000 + "]" * 30_000 + "}", id="rpc"),
    ],
)
def test_deep_json_is_answered(deep: str) -> None:
    """With an error or as data that is passed on unread; the connection lives, and so does the server."""
    with unguarded() as server, client(server) as honest:
        raw = RawClient(server).open()
        raw.socket.sendall(frames(deep.encode()))
        raw.send("ping", id="after")
        while (message := raw.message()).get("id") != "after":
            assert message["type"] == "error"
            assert message["code"] in (100, 104, 107)
        served(honest)


def test_a_million_groups_are_a_hundred_and_twenty_eight() -> None:
    """Joining stops at the limit, with an error each, by `join_group` and by `connect` alike."""
    with unguarded(messages_burst=5000, limits=Limits(groups=128)) as server, client(server) as honest:
        for number in range(128):
            honest.join(f"g{number}")
        for number in range(128, 1000):
            honest.send("join_group", group_name=f"g{number}", id=number)
        codes = {honest.receive("error")["code"] for _ in range(128, 1000)}
        assert codes == {106}
        assert server.look(lambda: len(server.hub.groups())) == 128

        raw = RawClient(server, "/ws?connect=first")
        raw.handshake()
        raw.send_frame(command("connect", groups=[f"h{number}" for number in range(5000)], id=1))
        assert raw.message("error")["code"] == 106
        assert server.look(lambda: len(server.hub.groups())) == 128


def test_names_of_a_message_are_no_place_to_store_things() -> None:
    """A long name, id, method or key of an object is refused or cut in the answer."""
    with unguarded() as server:
        raw = RawClient(server).open()
        long = "x" * 60_000
        for message in (
            {"type": long},
            {"type": "join_group", "group_name": long},
            {"type": "ping", "id": long},
            {"type": "rpc", "method": long},
            {"type": "connect", "recover": {long: {"epoch": "e", "offset": 1}}},
            {"type": "join_group", "group_name": "g", "token": long},
        ):
            raw.send_frame(json.dumps(message).encode())
            answer = raw.message()
            assert len(json.dumps(answer)) < 1000
