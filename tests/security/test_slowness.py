"""Clients that take their time: with what they send, and with what they are sent."""

import contextlib
import os
import time

import pytest

from ..transports.clients import RawClient, client
from ..transports.serving import eventually
from .siege import exchange, limited, served, unguarded

HURRIED = {"handshake_timeout": 0.4}
HEAD = b"GET /healthz HTTP/1.1\r\nHost: x\r\n"
POST = b"POST /api/info HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"


def ending(raw: RawClient) -> bytes:
    """All that the server says until it closes the connection."""
    try:
        while True:
            raw.fill()
    except (EOFError, ConnectionResetError):
        return raw.buffer


def test_slow_heads_are_sent_away() -> None:
    """A head that comes byte by byte, never comes, or never ends: 408 in time, and nothing stays."""
    with unguarded(**HURRIED) as server, client(server) as honest:
        started = time.monotonic()
        crowd = [RawClient(server) for _ in range(50)]
        for number, raw in enumerate(crowd):
            raw.socket.sendall(HEAD[: number % len(HEAD)])
        drip = RawClient(server)
        try:
            for byte in HEAD + b"X-Filler: " + b"x" * 10_000:
                drip.socket.sendall(bytes((byte,)))
                time.sleep(0.002)
        except OSError:
            pass
        assert time.monotonic() - started < 5
        for raw in crowd:
            assert ending(raw).startswith(b"HTTP/1.1 408")
        eventually(lambda: limited(server, "handshake_timeout") >= len(crowd))
        served(honest)
        eventually(lambda: server.look(lambda: len(server.hub.connections)) == 1)


@pytest.mark.parametrize(
    "head",
    [
        pytest.param(b"GET / HTTP/1.1\r\nX-One: " + b"x" * 40_000, id="a header without an end"),
        pytest.param(b"GET / HTTP/1.1\r\n" + b"x" * 40_000, id="a name without an end"),
        pytest.param(b"GET /" + b"x" * 40_000, id="a path without an end"),
        pytest.param(b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 10_000, id="many headers"),
        pytest.param(b"\r\n" * 20_000, id="empty lines"),
    ],
)
def test_large_heads_are_refused_while_they_come(head: bytes) -> None:
    """431 as soon as they are too large, also where the parser has seen no end of anything."""
    with unguarded(handshake_timeout=30) as server:
        raw = RawClient(server)
        try:
            for at in range(0, len(head), 1000):
                raw.socket.sendall(head[at : at + 1000])
                time.sleep(0.0005)
        except OSError:
            pass
        assert ending(raw)[:12] in (b"HTTP/1.1 431", b"HTTP/1.1 400", b"")


def test_the_size_of_a_head_is_a_setting() -> None:
    """One of just that size passes, in one piece and in several."""
    with unguarded(max_head_bytes=4096) as server:
        for size, status in ((3000, 200), (5000, 431)):
            assert (
                exchange(server, HEAD + b"X: " + b"x" * size + b"\r\nConnection: close\r\n\r\n")[0] == status
            )
        eventually(lambda: limited(server, "max_head_bytes") == 1)
        raw = RawClient(server)
        for piece in (HEAD, b"X: " + b"x" * 1500, b"x" * 1500, b"\r\nConnection: close\r\n\r\n"):
            raw.socket.sendall(piece)
            time.sleep(0.01)
        assert ending(raw).startswith(b"HTTP/1.1 200")


def test_slow_bodies_are_sent_away() -> None:
    """408 for a request whose body dawdles; one that comes steadily may take longer than that."""
    with unguarded(**HURRIED) as server, client(server) as honest:
        silent, drip = RawClient(server), RawClient(server)
        for raw in (silent, drip):
            raw.socket.sendall(POST + b"Content-Length: 100000\r\n\r\n{")
        started = time.monotonic()
        try:
            while time.monotonic() - started < 2:
                drip.socket.sendall(b" ")
                time.sleep(0.02)
        except OSError:
            pass
        assert time.monotonic() - started < 2
        assert ending(silent).startswith(b"HTTP/1.1 408")

        steady = RawClient(server)
        steady.socket.sendall(POST + b"Connection: close\r\nContent-Length: 20000\r\n\r\n{}")
        for _ in range(20):
            steady.socket.sendall(b" " * 1000)
            time.sleep(0.04)
        steady.socket.sendall(b" " * (20000 - 20 * 1000 - 2))
        assert ending(steady).startswith(b"HTTP/1.1 200")
        served(honest)


def test_a_body_that_nobody_reads_ends_too() -> None:
    """A refused request whose body goes on coming is not listened to for ever."""
    with unguarded(api_keys=("key",), **HURRIED) as server:
        raw = RawClient(server)
        raw.socket.sendall(POST + b"Transfer-Encoding: chunked\r\n\r\n")
        started = time.monotonic()
        try:
            while time.monotonic() - started < 3:
                raw.socket.sendall(b"1\r\nx\r\n")
                time.sleep(0.02)
        except OSError:
            pass
        assert time.monotonic() - started < 3
        assert ending(raw).startswith(b"HTTP/1.1 401")


def test_who_goes_in_the_middle_of_a_request_fills_no_log(caplog: pytest.LogCaptureFixture) -> None:
    """That clients vanish is no error of the server's, at whatever byte."""
    with unguarded() as server, client(server) as honest:
        for head in (HEAD, HEAD[:10], POST, POST + b"Content-Length: 100\r\n\r\n{", HEAD + b"\r\n"):
            for polite in (True, False):
                raw = RawClient(server)
                raw.socket.sendall(head)
                served(honest)
                if polite:
                    raw.socket.close()
                else:
                    raw.vanish()
        served(honest)
    assert not [record for record in caplog.records if record.levelname in ("ERROR", "CRITICAL")]


def test_readers_that_never_read_cost_what_an_outbox_holds() -> None:
    """They are closed as slow (3008); the server's memory stays where it was, and others get everything."""
    bound, message, members = 100_000, "x" * 10_000, 20
    with unguarded(outbox_bytes=bound) as server, client(server) as honest:
        honest.join("busy")
        slow = [RawClient(server, receive_buffer=4096).open() for _ in range(members)]
        for raw in slow:
            raw.send("join_group", group_name="busy")
            raw.message("group_joined")
        before, published = resident(), 0
        while server.look(lambda: len(server.hub.connections)) > 1:
            for _ in range(20):
                server.do(server.hub.publish("busy", {"n": published, "pad": message}))
                assert honest.receive("group_message")["data"]["n"] == published
                published += 1
            assert published < 5000
        assert resident() - before < 60_000_000
        closed = server.hub.metrics.exposition().decode()
        assert f'hubbub_connections_closed_total{{code="3008"}} {members}.0' in closed
        eventually(lambda: limited(server, "outbox_bytes") == members)


def test_who_does_not_answer_a_close_is_cut_off() -> None:
    """After the close timeout, whatever it still sends."""
    with unguarded(close_timeout=0.2) as server:
        raw = RawClient(server, "/ws/stubborn").open()
        server.do(server.hub.disconnect(client="stubborn"))
        assert raw.close_code() == 3503
        started = time.monotonic()
        with contextlib.suppress(OSError):
            while time.monotonic() - started < 5:
                raw.send("ping")
                time.sleep(0.01)
        assert time.monotonic() - started < 3


def resident() -> int:
    """Resident memory of this process."""
    with open("/proc/self/statm") as file:  # noqa: PTH123
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
