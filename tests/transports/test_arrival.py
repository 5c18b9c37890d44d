"""The first bytes of a connection: a handshake is a handshake however it arrives, and nothing else is one."""

import json
import os
import random
import struct
import time

import pytest

from hubbub.hub import Options
from hubbub.transports.arrival import read_handshake

from .clients import RawClient
from .serving import FAST, Running, serving

LINES = (
    "GET /ws/ada HTTP/1.1",
    "Host: 127.0.0.1",
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Key: x3JJHMbDL1EzLkh9GBhXDw==",
    "Sec-WebSocket-Version: 13",
)


def head(*lines: str) -> bytes:
    return "\r\n".join((*lines, "", "")).encode("latin-1")


def test_a_handshake_is_read() -> None:
    """Names in lower case, values without the spaces around them, in order."""
    read = read_handshake(head(*LINES, "X-One:  a b\t", "x-one:é", "X-None:"))
    assert read is not None
    assert (read.method, read.target, read.version) == ("GET", "/ws/ada", "HTTP/1.1")
    assert read.headers[0] == ("host", "127.0.0.1")
    assert read.headers[-3:] == [("x-one", "a b"), ("x-one", "é"), ("x-none", "")]


@pytest.mark.parametrize(
    "data",
    [
        head(*LINES)[:-1],
        head(*LINES) + b"\x81\x80\0\0\0\0",
        head(*LINES).replace(b"\r\n", b"\n"),
        head("GET /ws HTTP/1.0", *LINES[1:]),
        head("POST /ws HTTP/1.1", *LINES[1:]),
        head("GET ws HTTP/1.1", *LINES[1:]),
        head("GET /w s HTTP/1.1", *LINES[1:]),
        head("GET /\xe9 HTTP/1.1", *LINES[1:]),
        head(LINES[0], "Host : x", *LINES[2:]),
        head(*LINES, " folded"),
        head(*LINES, "X-Null: \0"),
        head(*LINES, "X-Return: a\rX-Other: b"),
        head(*LINES, "Content-Length: 3"),
        head(*LINES, "Content-Length: 0"),
        head(*LINES, "Transfer-Encoding: chunked"),
        head(*LINES, "Expect: 100-continue"),
        head(*LINES, "Upgrade: h2c"),
        head(*LINES, "Connection: close"),
        head(*LINES[:2], *LINES[3:]),
        head(*LINES[:3], *LINES[4:]),
        head("GET /ws HTTP/1.1"),
    ],
)
def test_anything_else_is_left_to_the_http_parser(data: bytes) -> None:
    """Whatever is not plain, or might smuggle something in."""
    assert read_handshake(data) is None


def test_a_handshake_may_come_in_pieces(fast: Running) -> None:
    """However it is cut, the client is greeted, and what it said right behind it is heard."""
    whole = head(*LINES)
    for cut in (1, 5, len(LINES[0]) + 1, len(whole) - 2, len(whole) - 1):
        raw = RawClient(fast)
        raw.socket.sendall(whole[:cut])
        time.sleep(0.01)  # so that it arrives in two pieces, mostly
        raw.socket.sendall(whole[cut:])
        while b"\r\n\r\n" not in raw.buffer:
            raw.fill()
        answer, _, raw.buffer = raw.buffer.partition(b"\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 101")
        assert raw.message()["client_id"] == "ada"
        raw.send("ping", id=cut)
        assert raw.message("pong")["id"] == cut


def test_a_request_that_is_no_handshake_is_answered_as_ever(fast: Running) -> None:
    """By the app, and the connection is kept for the next one."""
    raw = RawClient(fast)
    for _ in range(2):
        raw.buffer = b""
        raw.socket.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        while b"alive" not in raw.buffer:
            raw.fill()
        assert raw.buffer.startswith(b"HTTP/1.1 200")


def test_the_deadline_of_a_head_runs_from_the_first_moment() -> None:
    """Handing over to the HTTP protocol gives nobody a second one."""
    with serving(FAST, Options(handshake_timeout=1.0)) as server:
        raw = RawClient(server)
        began = time.monotonic()
        time.sleep(0.6)
        raw.socket.sendall(b"GET /ws HTTP/1.1\r\nHost")
        raw.fill()
        assert raw.buffer.startswith(b"HTTP/1.1 408")
        assert time.monotonic() - began < 1.55


def test_frames_are_heard_however_they_are_cut(fast: Running) -> None:
    """Whole ones, many in one piece, one in many pieces, with pings and fragments between them."""
    rng = random.Random(5)
    raw = RawClient(fast, "/ws/cut").open()
    sent, said = [], b""
    for number in range(150):
        padding = "é" * rng.choice((0, 1, 40, 200))
        text = json.dumps({"type": "ping", "id": f"{number}{padding}"}, ensure_ascii=False).encode()
        sent.append(f"{number}{padding}")
        if rng.random() < 0.2:
            cut = rng.randrange(len(text))
            said += frame(0x01, text[:cut]) + frame(0x89, b"hi") + frame(0x80, text[cut:])
        else:
            said += frame(0x81, text)
    at = 0
    while at < len(said):
        step = rng.choice((1, 2, 3, 7, 100, 1000))
        raw.socket.sendall(said[at : at + step])
        at += step
    assert [raw.message("pong")["id"] for _ in sent] == sent


def frame(first: int, payload: bytes) -> bytes:
    """A masked frame."""
    mask = os.urandom(4)
    size = len(payload)
    length = struct.pack("!BB", first, 0x80 | size) if size < 126 else struct.pack("!BBH", first, 0xFE, size)
    return length + mask + bytes(byte ^ mask[index % 4] for index, byte in enumerate(payload))
