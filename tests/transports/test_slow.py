"""Clients that cannot keep up: bounded, by the policy of the channel, and never silently."""

import os
import time
from dataclasses import replace

import pytest

from hubbub.hub import Hub, Options

from .clients import RawClient
from .serving import FAST, SERVERS, Running, eventually, serving

OPTIONS = Options(outbox_bytes=200_000, close_timeout=0.2, announce_disconnects=False)
PAD = "x" * 20_000


async def flood(hub: Hub, channel: str, count: int, **options: str) -> None:
    """Publish numbered messages, some 20 kB each."""
    for number in range(count):
        await hub.publish(channel, {"n": number, "pad": PAD}, **options)  # type: ignore[arg-type]


def slow_member(server: Running, group: str) -> RawClient:
    """A client that joined and then reads nothing."""
    raw = RawClient(server, receive_buffer=4096).open()
    raw.send("join_group", group_name=group)
    raw.message("group_joined")
    return raw


def is_slow(server: Running) -> bool:
    return bool(server.look(lambda: [c.slow for c in server.hub.connections.of()] == [True]))


def flood_until_slow(server: Running, group: str) -> int:
    """Publish until the server notices back-pressure; returns how many that took."""
    sent = 0
    while not is_slow(server):
        server.do(flood(server.hub, group, 20))
        sent += 20
        assert sent < 5000
    return sent


@pytest.mark.parametrize("kind", SERVERS)
def test_a_slow_client_is_disconnected(kind: str) -> None:
    """By default it is closed as slow once its outbox is full, and its memory is let go of."""
    with serving(kind, OPTIONS) as server:
        raw = slow_member(server, "default")
        flood_until_slow(server, "default")
        server.do(flood(server.hub, "default", 50))
        eventually(lambda: server.hub.total_connections == 0)
        assert _closed_as_slow(server) == 1
        assert _dropped(server, "disconnect") >= 1
        raw.vanish()


@pytest.mark.parametrize("kind", SERVERS)
def test_the_oldest_are_dropped_and_the_gap_is_told(kind: str) -> None:
    """`drop_oldest` keeps the newest within the bound and says how many went."""
    with serving(kind, OPTIONS) as server:
        raw = slow_member(server, "oldest:log")
        sent = flood_until_slow(server, "oldest:log")
        server.do(flood(server.hub, "oldest:log", 100))
        told, numbers = _read_to_the_end(server, raw, "oldest:log")
        assert server.hub.total_connections == 1
        assert told > 0
        assert len(numbers) + told == sent + 100 + 1
        assert numbers[-1] == "end"
        assert _dropped(server, "drop_oldest") == told


@pytest.mark.parametrize("kind", SERVERS)
def test_only_the_latest_is_kept_for_a_slow_client(kind: str) -> None:
    """`latest` keeps the newest of each key and says how many were passed over."""
    with serving(kind, OPTIONS) as server:
        raw = slow_member(server, "latest:price")
        sent = flood_until_slow(server, "latest:price")
        for key in ("a", "b"):
            server.do(flood(server.hub, "latest:price", 50, key=key))
        told, numbers = _read_to_the_end(server, raw, "latest:price")
        assert server.hub.total_connections == 1
        assert len(numbers) + told == sent + 100 + 1
        assert numbers[-3:] == [49, 49, "end"]


@pytest.mark.parametrize("kind", SERVERS)
def test_a_slow_reader_still_gets_everything_in_order(kind: str) -> None:
    """Within its bound nothing is lost, repeated or torn, whatever part of a write the kernel took."""
    options = Options(outbox_bytes=8_000_000, close_timeout=0.2, announce_disconnects=False)
    with serving(kind, options) as server:
        raw = slow_member(server, "all")
        sent = flood_until_slow(server, "all")
        for _ in range(5):
            raw.message("group_message")
            server.do(flood(server.hub, "all", 10))
        server.do(server.hub.publish("all", {"n": "end"}))
        numbers = []
        while not numbers or numbers[-1] != "end":
            numbers.append(raw.message("group_message")["data"]["n"])
        assert numbers == [*range(5, 20), *list(range(20)) * (sent // 20 - 1), *list(range(10)) * 5, "end"]


@pytest.mark.parametrize("kind", SERVERS)
def test_a_slow_client_holds_up_nobody(kind: str) -> None:
    """While one does not read, another gets everything at once."""
    with serving(kind, OPTIONS) as server:
        slow = slow_member(server, "oldest:x")
        flood_until_slow(server, "oldest:x")
        quick = RawClient(server).open()
        quick.send("join_group", group_name="oldest:x")
        quick.message("group_joined")
        server.do(server.hub.publish("oldest:x", "for you"))
        while quick.message("group_message")["data"] != "for you":
            pass
        slow.vanish()


def test_pongs_do_not_pile_up() -> None:
    """A client that pings and never reads costs its own bound."""
    with serving(FAST, replace(OPTIONS, messages_per_second=0)) as server:
        raw = slow_member(server, "oldest:p")
        [connection] = server.look(server.hub.connections.of)
        transport = connection.transport._transport
        before = 0
        # The kernel may take more of what waits a moment later.
        while not before or before != server.look(transport.get_write_buffer_size):
            flood_until_slow(server, "oldest:p")
            before = server.look(transport.get_write_buffer_size)
            time.sleep(0.1)
        for _ in range(2000):
            raw.send_frame(b"x" * 125, 0x89)
        raw.send("ping")
        eventually(lambda: connection.outbox and len(connection.outbox) > 0)
        assert server.look(transport.get_write_buffer_size) <= before + 2000


def test_a_descriptor_is_ours_until_connection_lost_returns() -> None:
    """What direct writes rest on: the event loop closes the socket only after it has told us."""
    from hubbub.transports.websocket import WebSocketTransport

    seen: list[tuple[int, bool]] = []
    original = WebSocketTransport.connection_lost

    def watching(self: WebSocketTransport, exc: Exception | None) -> None:
        fd = self._transport.get_extra_info("socket").fileno()
        os.fstat(fd)
        original(self, exc)
        seen.append((fd, self._fd == -1))

    WebSocketTransport.connection_lost = watching  # type: ignore[method-assign]
    try:
        with serving(FAST, OPTIONS) as server:
            for end in ("reset", "eof", "close frame", "server"):
                raw = RawClient(server, "/ws/x").open()
                count = len(seen)
                if end == "reset":
                    raw.vanish()
                elif end == "eof":
                    raw.socket.close()
                elif end == "close frame":
                    raw.send_frame(b"", 0x88)
                else:
                    server.do(server.hub.disconnect(client="x"))
                    raw.close_code()
                    raw.socket.close()
                eventually(lambda count=count: len(seen) > count)
    finally:
        WebSocketTransport.connection_lost = original  # type: ignore[method-assign]
    assert len(seen) == 4
    assert all(fd >= 0 and forgotten for fd, forgotten in seen)


def _read_to_the_end(server: Running, raw: RawClient, group: str) -> tuple[int, list[object]]:
    """Read everything up to a last message; returns how many were said to be dropped, and the numbers."""
    told = 0
    numbers: list[object] = []
    while is_slow(server):
        told, numbers = _take(raw, told, numbers)
    server.do(server.hub.publish(group, {"n": "end"}))
    while not numbers or numbers[-1] != "end":
        told, numbers = _take(raw, told, numbers)
    return told, numbers


def _take(raw: RawClient, told: int, numbers: list[object]) -> tuple[int, list[object]]:
    message = raw.message()
    if message["type"] == "messages_dropped":
        return told + message["count"], numbers
    return told, [*numbers, message["data"]["n"]]


def _metric(server: Running, name: str, label: str) -> int:
    for line in server.hub.metrics.exposition().decode().splitlines():
        if line.startswith(name) and label in line:
            return int(float(line.rpartition(" ")[2]))
    return 0


def _closed_as_slow(server: Running) -> int:
    return _metric(server, "hubbub_connections_closed_total", 'code="3008"')


def _dropped(server: Running, policy: str) -> int:
    return _metric(server, "hubbub_dropped_total", f'policy="{policy}"')
