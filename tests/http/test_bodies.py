"""Bodies that are not what was asked for: always a status of the client's fault, and a sentence."""

import contextlib
import socket
from collections.abc import AsyncIterator

import httpx
import pytest

from ..hub.inprocess import a_hub, run
from .sites import DEADLINE, api_of, asking, serving

PATHS = ["/broadcast", "/notify/alice", "/api/publish", "/api/info", "/api/batch"]

BAD: dict[str, tuple[bytes, int, str]] = {
    "empty": (b"", 400, "the body is empty; send a JSON object"),
    "blank": (b" \r\n\t", 400, "the body is empty; send a JSON object"),
    "not JSON": (b"hello", 400, "the body is not JSON"),
    "cut off": (b'{"data": [1, 2', 400, "the body is not JSON"),
    "two of them": (b'{"channel": "news", "data": 1, "commands": []} {}', 400, "the body is not JSON"),
    "an array": (b"[{}]", 400, "the body is JSON but no object"),
    "a number": (b"7", 400, "the body is JSON but no object"),
    "null": (b"null", 400, "the body is JSON but no object"),
    "a string": (b'"text"', 400, "the body is JSON but no object"),
    "not UTF-8": (b'{"data": "\xff"}', 400, "the body is not UTF-8 (byte 10)"),
    "UTF-16": ('{"data": "ä"}'.encode("utf-16"), 400, "the body is not UTF-8 (byte 0)"),
    "cut in a character": (b'{"data": "\xc3', 400, "the body is not UTF-8 (byte 10)"),
    "too large": (b'{"data": "' + b"x" * 2**20 + b'"}', 413, "the body is larger than 1048576 bytes"),
}


def post(paths: list[str], *bodies: bytes, **headers: str) -> list[httpx.Response]:
    """What a hub answers to these bodies at each of the paths."""

    async def scenario() -> list[httpx.Response]:
        async with api_of() as api:
            return [
                await api.http.post(path, content=body, headers=headers) for path in paths for body in bodies
            ]

    return run(scenario())


def broadcast(body: bytes, **headers: str) -> httpx.Response:
    """What a hub answers to one body."""
    [answer] = post(["/broadcast"], body, **headers)
    return answer


@pytest.mark.parametrize("bad", BAD)
def test_a_bad_body_is_told_in_a_sentence(bad: str) -> None:
    """The same one, wherever it is sent to."""
    body, status, sentence = BAD[bad]
    for answer in post(PATHS, body):
        assert answer.status_code == status, answer.url
        assert answer.headers["content-type"] == "application/json"
        assert set(answer.json()) == {"detail"}
        assert answer.json()["detail"].startswith(sentence)


@pytest.mark.parametrize("opening", [b"[", b'{"a":'], ids=["arrays", "objects"])
def test_a_body_nested_too_deeply_is_told(opening: bytes) -> None:
    """Closed again or cut off: it costs no more than its bytes."""
    closing = b"]" if opening == b"[" else b"}"
    bodies = [
        b'{"data":' + opening * depth + end
        for depth in (2000, 100_000)
        for end in (b"1" + closing * depth + b"}", b"")
    ]
    for answer in post(PATHS, *bodies):
        assert answer.status_code == 400, answer.url
        assert answer.json()["detail"]


def test_a_body_of_the_largest_size_is_taken() -> None:
    """The bound is inclusive."""
    frame = b'{"data": ""}'
    assert broadcast(b'{"data": "' + b"x" * (2**20 - len(frame)) + b'"}').status_code == 200
    assert broadcast(b'{"data": "' + b"x" * (2**20 - len(frame) + 1) + b'"}').status_code == 413


def test_a_body_without_a_length_is_bounded_too() -> None:
    """It is not read to its end."""
    sent = 0

    async def scenario() -> httpx.Response:
        async def endless() -> AsyncIterator[bytes]:
            nonlocal sent
            while sent < 50 * 2**20:
                sent += 2**16
                yield b"x" * 2**16

        async with api_of() as api:
            return await api.http.post("/broadcast", content=endless())

    assert run(scenario()).status_code == 413
    assert sent < 2 * 2**20


@pytest.mark.parametrize("type_", ["text/plain", "application/x-www-form-urlencoded", "", "application/json"])
def test_the_content_type_does_not_matter(type_: str) -> None:
    """What curl sends by itself is fine."""
    assert broadcast(b'{"a": 1}', **{"content-type": type_}).json()["status"] == "broadcast_sent"


def test_a_byte_order_mark_is_no_json() -> None:
    """RFC 8259 §8.1: it is not added; a parser may ignore it or refuse it."""
    assert broadcast(b'\xef\xbb\xbf{"a": 1}').status_code == 400


def test_a_key_that_is_there_twice_is_no_fault_of_the_server() -> None:
    """The last one counts, or it is refused."""
    for answer in post(PATHS, b'{"channel": 1, "channel": "news", "data": 1, "commands": []}'):
        assert answer.status_code < 500, answer.url


def test_half_a_surrogate_pair_is_no_fault_of_the_server() -> None:
    """JSON's grammar allows it, and no text can hold it."""
    lone = b'{"channel": "\\ud800", "data": "\\ud800", "commands": [{"publish": {"channel": "\\ud800"}}]}'
    for answer in post(PATHS, lone):
        assert answer.status_code < 500, answer.url


def test_a_hub_that_does_not_run_is_not_the_clients_fault() -> None:
    """And it says what is missing."""

    async def scenario() -> list[httpx.Response]:
        hub = a_hub()
        async with asking(hub) as http:
            return [
                await http.post("/broadcast", json={}),
                await http.post("/notify/alice", json={}),
                await http.post("/api/publish", json={"channel": "news", "data": 1}),
            ]

    for answer in run(scenario()):
        assert answer.status_code >= 500


def test_a_hub_that_does_not_run_says_so() -> None:
    """The most likely mistake in embedding has a sentence: 503."""

    async def scenario() -> httpx.Response:
        async with asking(a_hub()) as http:
            return await http.post("/broadcast", json={})

    answer = run(scenario())
    assert answer.status_code == 503
    assert "not running" in answer.json()["detail"]


def test_a_body_that_never_comes_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told so, and the connection is let go."""
    monkeypatch.setattr("hubbub.http.body.PATIENCE", 0.05)
    with serving() as site, socket.create_connection(("127.0.0.1", site.port), DEADLINE) as slow:
        slow.sendall(b'POST /broadcast HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{"a": ')
        answer = b""
        while piece := slow.recv(65536):
            answer += piece
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"connection: close" in answer.lower()
    assert b"the body took longer than" in answer


@pytest.mark.parametrize(("size", "status"), [(4_000, b"401"), (200_000, b"431")])
def test_heads_are_bounded(size: int, status: bytes) -> None:
    """Whoever asks for whatever."""
    key = b"X-API-Key: " + b"x" * size
    with (
        serving(api_keys="secret") as site,
        socket.create_connection(("127.0.0.1", site.port), DEADLINE) as big,
    ):
        with contextlib.suppress(ConnectionError):  # it need not read all of it
            big.sendall(b"GET /stats HTTP/1.1\r\nHost: x\r\n" + key + b"\r\n\r\n")
        assert big.recv(12) == b"HTTP/1.1 " + status
