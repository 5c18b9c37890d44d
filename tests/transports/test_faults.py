"""Bad input gets a clear answer, and the connection lives as long as it can."""

import json
import time

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection

from hubbub.core.session import Limits
from hubbub.hub import Options

from .clients import RawClient, client
from .serving import DEADLINE, FAST, HYPERCORN, SERVERS, UVICORN, Running, eventually, serving

BAD = [
    ("nope", 107, "not JSON"),
    ("[1]", 107, "an array"),
    ('"x"', 107, "a string"),
    ("{}", 107, "`type` is missing"),
    ('{"type":"fly"}', 104, "'fly'"),
    ('{"type":7}', 107, "field `type` is 7"),
    ('{"type":"join_group"}', 107, "`group_name` is missing"),
    ('{"type":"join_group","group_name":5}', 107, "field `group_name`: expected `str`"),
    ('{"type":"join_group","group_name":""}', 107, "group_name is empty"),
    ('{"type":"join_group","group_name":"$all"}', 107, "begins with '$'"),
    ('{"type":"join_group","group_name":"a\\u0000b"}', 107, "control character"),
    (json.dumps({"type": "join_group", "group_name": "é" * 128}), 107, "longer than 255 bytes"),
    ('{"type":"chat_message","group_name":"g"}', 107, "`message` is missing"),
    ('{"type":"chat_message","group_name":"$client:x","message":1}', 107, "begins with '$'"),
    ('{"type":"rpc","method":"nope"}', 104, "'nope'"),
    ('{"type":"history","group_name":"g"}', 103, "join the group first"),
    ('{"type":"presence","group_name":"g"}', 103, "join the group first"),
    ('{"type":"ping","id":[1]}', 107, "field `id`"),
]


@pytest.mark.parametrize(("text", "code", "sentence"), BAD, ids=[text[:40] for text, _, _ in BAD])
def test_a_bad_message_is_answered_and_the_connection_lives(
    server: Running, text: str, code: int, sentence: str
) -> None:
    """The answer has a code and a sentence that names what was wrong."""
    with client(server) as a:
        a.websocket.send(text)
        error = a.receive("error")
        assert error["code"] == code
        assert sentence in error["message"]
        assert a.ask("ping", "pong")


def test_the_id_of_a_bad_message_is_echoed(server: Running) -> None:
    """Also where the message does not fit its type."""
    with client(server) as a:
        assert a.ask("join_group", "error", id=9)["id"] == 9
        assert a.ask("fly", "error", id="x")["id"] == "x"


def test_too_many_bad_messages_in_a_row_close_the_connection(server: Running) -> None:
    """The tenth is answered too, then 3509; a good one in between starts the count anew."""
    with client(server) as a:
        for _ in range(9):
            a.ask("fly", "error")
        a.ask("ping", "pong")
        for _ in range(10):
            a.ask("fly", "error")
        assert a.receive("disconnect")["code"] == 3509
        with pytest.raises(ConnectionClosed) as closed:
            a.websocket.recv(timeout=DEADLINE)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 3509


def test_binary_is_refused(server: Running) -> None:
    """1003: this connection speaks JSON in text frames."""
    with client(server) as a:
        a.websocket.send(b"\x00")
        assert _close_code(a.websocket) == 1003


def test_an_oversize_message_is_refused(server: Running) -> None:
    """1009 past 64 KiB; just below it lives."""
    with client(server) as a:
        filler = "x" * (65536 - len('{"type":"ping","id":""}') - 300)
        a.ask("chat_message", "published", group_name="g", message=filler, id=1)
        a.websocket.send("x" * 65537)
        assert _close_code(a.websocket) == 1009


def _close_code(websocket: ClientConnection) -> int:
    with pytest.raises(ConnectionClosed) as closed:
        websocket.recv(timeout=DEADLINE)
    assert closed.value.rcvd is not None
    return closed.value.rcvd.code


def test_invalid_utf8_is_refused(fast: Running) -> None:
    """1007."""
    raw = RawClient(fast).open()
    raw.send_frame(b'{"type":"\xff"}')
    assert raw.close_code() == 1007


@pytest.mark.parametrize(
    ("payload", "first", "masked"),
    [
        pytest.param(b"{}", 0x81, False, id="not masked"),
        pytest.param(b"{}", 0xC1, True, id="reserved bit"),
        pytest.param(b"{}", 0x83, True, id="unknown opcode"),
        pytest.param(b"{}", 0x80, True, id="continuation of nothing"),
        pytest.param(b"x" * 126, 0x89, True, id="long ping"),
        pytest.param(b"{}", 0x09, True, id="fragmented ping"),
        pytest.param(b"\x03", 0x88, True, id="short close"),
    ],
)
def test_a_protocol_violation_is_refused(fast: Running, payload: bytes, first: int, masked: bool) -> None:
    """1002, and the socket is closed."""
    raw = RawClient(fast).open()
    raw.send_frame(payload, first, masked=masked)
    assert raw.close_code() == 1002
    with pytest.raises(EOFError):
        raw.fill()


def test_fragments_are_joined(fast: Running) -> None:
    """A message in pieces, with a ping between them and a piece that splits a character, is one message."""
    raw = RawClient(fast).open()
    text = '{"type":"join_group","group_name":"é","id":1}'.encode()
    cut = text.index("é".encode()) + 1
    raw.send_frame(text[:cut], 0x01)
    raw.send_frame(b"hey", 0x89)
    raw.send_frame(b"", 0x00)
    raw.send_frame(text[cut:], 0x80)
    assert raw.frame() == (10, b"hey")
    assert raw.message("group_joined")["group_name"] == "é"


def test_fragments_count_together(fast: Running) -> None:
    """A message that is too big in pieces is too big."""
    raw = RawClient(fast).open()
    raw.send_frame(b"x" * 40_000, 0x01)
    raw.send_frame(b"x" * 40_000, 0x80)
    assert raw.close_code() == 1009


def test_a_close_is_answered(fast: Running) -> None:
    """The client's code comes back, then the socket closes."""
    raw = RawClient(fast).open()
    raw.send_frame((4001).to_bytes(2) + b"bye", 0x88)
    assert raw.close_code() == 4001
    with pytest.raises(EOFError):
        raw.fill()


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec_WebSocket_Key": "short"},
        {"Sec_WebSocket_Version": "12"},
    ],
)
def test_a_broken_handshake_is_refused(fast: Running, headers: dict[str, str]) -> None:
    """400, with a sentence."""
    raw = RawClient(fast)
    assert raw.handshake(**headers).startswith(b"HTTP/1.1 400")


@pytest.mark.parametrize("path", ["/ws/%00", "/ws/" + "x" * 256])
def test_a_bad_client_id_is_refused(server: Running, path: str) -> None:
    """The handshake is answered with an HTTP error."""
    head = RawClient(server, path).handshake()
    assert head.split(b" ")[1] in (b"400", b"403")


def test_origins(fast: Running) -> None:
    """A page of another origin is refused; one of the server's own, and what is no browser, comes in."""
    assert RawClient(fast).handshake(Origin="https://evil.example").startswith(b"HTTP/1.1 403")
    assert RawClient(fast).handshake(Origin="http://127.0.0.1").startswith(b"HTTP/1.1 101")
    assert RawClient(fast).handshake(Origin="null").startswith(b"HTTP/1.1 403")
    assert RawClient(fast).handshake().startswith(b"HTTP/1.1 101")


@pytest.mark.parametrize("kind", SERVERS)
def test_allowed_origins(kind: str) -> None:
    """Those named come in, from any server."""
    with serving(kind, Options(allowed_origins=("https://app.example",))) as server:
        assert RawClient(server).handshake(Origin="https://app.example").startswith(b"HTTP/1.1 101")
        assert RawClient(server).handshake(Origin="https://evil.example").startswith(b"HTTP/1.1 403")


def test_forwarded_addresses_are_believed_from_trusted_proxies_only() -> None:
    """X-Forwarded-For counts from a trusted peer, and of its entries the last that is no proxy."""

    def address(server: Running) -> str:
        raw = RawClient(server)
        raw.handshake(X_Forwarded_For="6.6.6.6, 9.9.9.9, 127.0.0.1")
        [connection] = eventually(lambda: server.look(server.hub.connections.of))
        raw.vanish()
        eventually(lambda: not server.look(server.hub.connections.of))
        found: str = connection.address
        return found

    with serving(FAST, Options(trusted_proxies=("127.0.0.1",))) as server:
        assert address(server) == "9.9.9.9"
    with serving(FAST, Options(trusted_proxies=("10.0.0.0/8",))) as server:
        assert address(server) == "127.0.0.1"


def test_slow_heads_time_out() -> None:
    """A client that dawdles over its request head is sent away, and leaves nothing."""
    with serving(FAST, Options(handshake_timeout=0.3)) as server:
        silent = RawClient(server)
        dawdling = RawClient(server)
        dawdling.socket.sendall(b"GET /ws HTTP/1.1\r\nHost: x\r\n")
        for raw in (silent, dawdling):
            raw.fill()
            assert raw.buffer.startswith(b"HTTP/1.1 408")
            with pytest.raises(EOFError):
                raw.fill()


@pytest.mark.parametrize("kind", SERVERS)
def test_a_client_that_asked_to_speak_and_does_not_is_closed(kind: str) -> None:
    """As stale, and told so before."""
    with serving(kind, Options(handshake_timeout=0.5)) as server:
        raw = RawClient(server, "/ws?connect=first")
        raw.handshake()
        said = raw.message()
        assert (said["type"], said["code"], said["reconnect"]) == ("disconnect", 3502, False)
        assert raw.close_code() == 3502


def test_a_second_request_on_the_same_connection_has_its_deadline_too() -> None:
    """Keep-alive is no way around it."""
    with serving(FAST, Options(handshake_timeout=0.3)) as server:
        raw = RawClient(server)
        raw.socket.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        while b'{"status":"alive"}' not in raw.buffer:
            raw.fill()
        raw.buffer = b""
        raw.socket.sendall(b"GET /healthz HTTP/1.1\r\nHost")
        raw.fill()
        assert raw.buffer.startswith(b"HTTP/1.1 408")


def test_large_heads_are_refused(fast: Running) -> None:
    """431 past 16 KiB of headers."""
    raw = RawClient(fast)
    raw.socket.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n")
    for number in range(20):
        try:
            raw.socket.sendall(b"X-%d: %s\r\n" % (number, b"x" * 4000))
        except OSError:
            break
    raw.fill()
    assert raw.buffer.startswith(b"HTTP/1.1 431")


@pytest.mark.parametrize("kind", SERVERS)
def test_the_limit_of_groups(kind: str) -> None:
    """One group too many is refused; leaving one makes room."""
    with serving(kind, Options(limits=Limits(groups=2))) as server, client(server) as a:
        a.join("one")
        a.join("two")
        assert a.ask("join_group", "error", group_name="three")["code"] == 106
        a.join("two")
        a.ask("leave_group", "group_left", group_name="one")
        a.join("three")


@pytest.mark.parametrize("kind", SERVERS)
def test_silent_clients_are_asked_then_closed(kind: str) -> None:
    """`ping` after the idle time; still nothing for the grace time: `connection_timeout`, then a close."""
    options = Options(idle_timeout=0.3, grace_timeout=0.3, close_timeout=0.2)
    with serving(kind, options) as server:
        raw = RawClient(server).open()
        begun = time.monotonic()
        assert set(raw.message("ping")) == {"type", "timestamp"}
        raw.message("connection_timeout")
        assert raw.close_code() == 3012
        assert time.monotonic() - begun >= 0.5
        eventually(lambda: server.hub.total_connections == 0)


@pytest.mark.parametrize("kind", SERVERS)
def test_any_message_is_a_sign_of_life(kind: str) -> None:
    """A client that answers each `ping`, with anything, stays."""
    with serving(kind, Options(idle_timeout=0.2, grace_timeout=1.0, close_timeout=0.2)) as server:
        raw = RawClient(server).open()
        for _ in range(4):
            raw.message("ping")
            raw.send("pong")
        assert server.hub.total_connections == 1


def test_a_passive_listener_lives() -> None:
    """Its WebSocket library answers the ping that rides along; the application says nothing."""
    with (
        serving(FAST, Options(idle_timeout=0.2, grace_timeout=1.0, close_timeout=0.2)) as server,
        client(server) as a,
    ):
        for _ in range(4):
            a.receive("ping")
        assert server.hub.total_connections == 1


@pytest.mark.parametrize("kind", SERVERS)
def test_stopping_tells_clients_to_come_back(kind: str) -> None:
    """3001 from ours, its own word for it from another server; and it stops in time."""
    with serving(kind) as server, client(server) as a:
        server.stop()
        expected = {FAST: {3001}, UVICORN: {1012}, HYPERCORN: {1001, 1006, 1011}}
        assert _close_code_or_loss(a.websocket) in expected[kind]


def _close_code_or_loss(websocket: ClientConnection) -> int:
    try:
        while True:
            websocket.recv(timeout=DEADLINE)
    except ConnectionClosed as closed:
        return closed.rcvd.code if closed.rcvd is not None else 1006


@pytest.mark.parametrize("kind", SERVERS)
def test_departures_are_announced_together(kind: str) -> None:
    """One at once, a storm in one message a second at most that lists them."""
    with serving(kind) as server, client(server, "stays") as stays:
        with client(server, "first"):
            pass
        first = stays.receive("system_notification")
        assert first["data"]["event"] == "client_disconnected"
        assert first["data"]["client_id"] == "first"
        leavers = [RawClient(server, f"/ws/leaver{n}").open() for n in range(20)]
        for leaver in leavers:
            leaver.vanish()
        named: list[str] = []
        messages = 0
        while len(named) < 20:
            data = stays.receive("system_notification")["data"]
            named += data.get("client_ids", [data["client_id"]])
            messages += 1
        assert sorted(named) == sorted(f"leaver{n}" for n in range(20))
        assert messages <= 3
