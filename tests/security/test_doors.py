"""Who stands at the door and says to be somebody else: another user, another page, another address."""

import socket
from collections.abc import Iterator

import pytest

from hubbub.hub import Options
from hubbub.transports.handshake import client_address

from ..transports.clients import RawClient
from ..transports.serving import Running, eventually
from .siege import HEAD_LINES, exchange, guarded, knock, member, token, unguarded


@pytest.fixture(scope="module")
def strict() -> Iterator[Running]:
    """A server that asks for tokens."""
    with guarded() as running:
        yield running


@pytest.fixture(scope="module")
def alone() -> Iterator[Running]:
    """A server whose proxies are elsewhere."""
    with unguarded(trusted_proxies=("10.0.0.0/8",)) as running:
        yield running


@pytest.fixture(scope="module")
def proxied() -> Iterator[Running]:
    """A server that has a proxy on this machine."""
    with unguarded(trusted_proxies=("127.0.0.1",)) as running:
        yield running


def test_nobody_takes_another_ones_id(strict: Running) -> None:
    """Without a token 401; with another one's 403; with one's own in."""
    assert knock(strict, "/ws/alice")[0] == 401
    assert knock(strict, "/ws/alice", Authorization=f"Bearer {token('bob')}")[0] == 403
    assert knock(strict, "/ws/alice", Authorization=f"Bearer {token('alice')}")[0] == 101
    assert knock(strict, "/ws/device", Authorization=f"Bearer {token('bob', client_id='device')}")[0] == 101
    assert knock(strict, "/ws/bob", Authorization=f"Bearer {token('bob', client_id='device')}")[0] == 403


@pytest.mark.parametrize(
    "path",
    [
        "/ws/alic%65",
        "/ws/alice%00",
        "/ws/alice%20",
        "/ws/%61lice",
        "/ws/Alice",
        "/ws/alice%2F",
        "/ws//alice",
        "/ws/bob/../alice",
        "/ws/%ef%bd%81lice",
        "/ws/al%C3%ADce",
        "/ws/bob%0d%0aX-Forwarded-For:%201.2.3.4",
        "/ws/alice?client_id=bob",
        "/ws/alice#bob",
    ],
)
def test_no_spelling_of_an_id_is_a_way_in(strict: Running, path: str) -> None:
    """Bob, with his own token, gets in nowhere but as Bob."""
    status, _ = knock(strict, path, Authorization=f"Bearer {token('bob')}")
    assert status in (400, 403, 404)


def test_a_token_in_the_query_is_none() -> None:
    """Logs have a memory; a setting allows it."""
    with guarded() as server:
        assert knock(server, f"/ws?token={token('alice')}")[0] == 401
    with guarded(token_in_query=True) as server:
        assert knock(server, f"/ws?token={token('alice')}")[0] == 101


def test_who_is_to_say_who_it_is_can_do_nothing_before() -> None:
    """A client whose token comes in its first message is in no group and hears nothing until then."""
    with guarded() as server, member(server, "alice") as alice:
        alice.join("g")
        raw = RawClient(server, "/ws?connect=first")
        assert raw.handshake().startswith(b"HTTP/1.1 101")
        for said in ("join_group", "publish", "presence", "history", "leave_group"):
            raw.send(said, group_name="g", data=1, id=said)
            assert raw.message("error")["id"] == said
        raw.send("connect", token="nonsense", id="no")
        assert raw.message("error")["code"] == 101
        server.do(server.hub.publish("g", 1))
        server.do(server.hub.broadcast({"for": "all"}))
        alice.receive("broadcast_message")
        raw.send("connect", token=token("bob"), id="yes")
        assert raw.message()["type"] == "connection_established"
        assert [m["type"] for m in alice.settle()] == []


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("http://127.0.0.1", 101),
        ("https://evil.example", 403),
        ("http://127.0.0.1.evil.example", 403),
        ("http://127.0.0.1@evil.example", 403),
        ("http://evil.example#127.0.0.1", 403),
        ("http://127.0.0.1:81", 403),
        ("null", 403),
        ("file://", 403),
        ("http://[", 403),
        ("", 403),
    ],
)
def test_pages_of_other_origins_are_kept_out(strict: Running, origin: str, status: int) -> None:
    """A cross-origin WebSocket is refused, whatever cookies and tokens come with it."""
    found, raw = knock(strict, Origin=origin, Authorization=f"Bearer {token('alice')}")
    assert found == status
    raw.vanish()


def address_of(server: Running, *lines: bytes) -> str:
    """The address that the server has a client for which sends these header lines too."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as connection:
        connection.sendall(b"\r\n".join((*HEAD_LINES, *lines, b"", b"")))
        status = int(connection.recv(65536).split(b" ")[1])
        if status != 101:
            return str(status)
        [found] = eventually(lambda: server.look(server.hub.connections.of))
    eventually(lambda: not server.look(server.hub.connections.of))
    address: str = found.address
    return address


SMUGGLED = [
    pytest.param([b"X-Forwarded-For: 6.6.6.6"], id="plain"),
    pytest.param([b"X-Forwarded-For: 6.6.6.6", b"X-Forwarded-For: 127.0.0.1"], id="twice"),
    pytest.param([b"x-forwarded-for:6.6.6.6"], id="lower case"),
    pytest.param([b"Forwarded: for=6.6.6.6"], id="the standard one"),
    pytest.param([b"X-Real-IP: 6.6.6.6"], id="nginx's"),
    pytest.param([b"True-Client-IP: 6.6.6.6", b"CF-Connecting-IP: 6.6.6.6"], id="of services"),
    pytest.param([b"X_Forwarded_For: 6.6.6.6"], id="underscores"),
]


@pytest.mark.parametrize("lines", SMUGGLED)
def test_who_is_no_proxy_is_not_believed(alone: Running, lines: list[bytes]) -> None:
    """Whatever its headers say, its address is where it comes from."""
    assert address_of(alone, *lines) == "127.0.0.1"


@pytest.mark.parametrize(
    "lines",
    [
        pytest.param([b"X-Forwarded-For : 6.6.6.6"], id="a blank before the colon"),
        pytest.param([b"X-Nothing: 1", b" X-Forwarded-For: 6.6.6.6"], id="a folded line"),
        pytest.param([b"X-Nothing: 1\nX-Forwarded-For: 6.6.6.6"], id="a bare line feed"),
        pytest.param([b"X-Nothing: 1\rX-Forwarded-For: 6.6.6.6"], id="a bare carriage return"),
        pytest.param([b"X-Forwarded-For\0: 6.6.6.6"], id="a null"),
        pytest.param([b"X_Forwarded_For: 6.6.6.6"], id="underscores"),
        pytest.param([b"Forwarded: for=6.6.6.6"], id="the standard one"),
    ],
)
def test_behind_a_proxy_only_its_own_header_counts(proxied: Running, lines: list[bytes]) -> None:
    """What a proxy would have passed on as something else is not read as what it is not."""
    found = address_of(proxied, *lines, b"X-Forwarded-For: 9.9.9.9")
    assert found in ("9.9.9.9", "400")


@pytest.mark.parametrize(
    ("said", "address"),
    [
        ("6.6.6.6, 9.9.9.9", "9.9.9.9"),
        ("127.0.0.1, 9.9.9.9, 127.0.0.1", "9.9.9.9"),
        ("9.9.9.9:1234", "9.9.9.9"),
        ("[2001:db8::1]:1234", "2001:db8::1"),
        ("9.9.9.9,", "127.0.0.1"),
        ("6.6.6.6, nonsense", "nonsense"),
    ],
)
def test_what_the_nearest_proxy_has_written_counts(said: str, address: str) -> None:
    """The last that is no proxy of ours; what was there before it is the client's own invention."""
    options = Options(trusted_proxies=("127.0.0.1",))
    assert client_address("127.0.0.1", [said], options) == address
    assert client_address("9.9.9.9", [said], options) == "9.9.9.9"


@pytest.mark.parametrize(
    "request_",
    [
        pytest.param(
            b"POST /api/info HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"0\r\n\r\nGET /stats HTTP/1.1\r\nHost: x\r\n\r\n",
            id="both lengths",
        ),
        pytest.param(
            b"POST /api/info HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nContent-Length: 50\r\n\r\n"
            b"{}GET /stats HTTP/1.1\r\nHost: x\r\n\r\n",
            id="two lengths",
        ),
        pytest.param(
            b"POST /api/info HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: xchunked\r\n\r\n"
            b"0\r\n\r\nGET /stats HTTP/1.1\r\nHost: x\r\n\r\n",
            id="no such encoding",
        ),
        pytest.param(
            b"POST /api/info HTTP/1.1\r\nHost: x\r\nContent-Length: +2\r\n\r\n{}GET /stats HTTP/1.1\r\n\r\n",
            id="a length with a sign",
        ),
    ],
)
def test_one_request_is_not_read_as_two(proxied: Running, request_: bytes) -> None:
    """Where a proxy and the server could differ about where a request ends, it is refused."""
    status, answer = exchange(proxied, request_)
    assert status == 400
    assert answer.count(b"HTTP/1.1 ") == 1


def test_an_answer_has_the_headers_that_the_server_gave_it() -> None:
    """Nothing a client says gets into the head of an answer."""
    with guarded() as server:
        for path in ("/ws/%0d%0aSet-Cookie:%20a=b", "/ws?x=%0d%0aSet-Cookie:a=b"):
            raw = RawClient(server, path)
            head = raw.handshake(Sec_WebSocket_Protocol="hubbub.v1%0d%0aSet-Cookie:a=b")
            assert b"set-cookie" not in head.lower()
