"""Streams of server-sent events under each server: joined, resumed, refused, ended, nothing left of them."""

import asyncio
import gc
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import uvicorn
from fastapi import FastAPI

from hubbub.auth import Tokens
from hubbub.brokers.base import BrokerUnavailable
from hubbub.core.channels import Namespace
from hubbub.hub import ConnectRequest, Hub, Identity, Options, Refuse, SessionInfo
from hubbub.server import listen
from hubbub.transports.sse import LATEST, SOONEST, EventTransport

from ..auth.making import SECRET, token
from .clients import RawClient, client
from .serving import DEADLINE, FAST, NAMESPACES, SERVERS, UVICORN, Running, eventually, serving
from .streams import Stream
from .test_clean import left_behind

QUICK = Options(close_timeout=0.2, announce_disconnects=False, handshake_timeout=2.0)


@pytest.fixture(scope="module", params=SERVERS)
def guarded(request: pytest.FixtureRequest) -> Iterator[Running]:
    """Each kind of server, with tokens."""
    options = Options(announce_disconnects=False, anonymous=True)
    with serving(
        request.param, hub=Hub(auth=Tokens(SECRET), namespaces=NAMESPACES, options=options)
    ) as running:
        yield running


def publish(server: Running, group: str, *numbers: Any) -> None:
    for number in numbers:
        server.do(server.hub.publish(group, number))


def test_a_stream_is_greeted_joined_and_told(server: Running) -> None:
    """In the words of the WebSocket, each event of the type of its message."""
    with Stream(server, "news", "told:room", client_id="ada") as ada:
        assert ada.status == 200
        assert ada.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert ada.headers["cache-control"] == "no-store"
        assert ada.headers["x-accel-buffering"] == "no"
        greeting = ada.hear()
        assert (greeting["type"], greeting["client_id"]) == ("connection_established", "ada")
        assert ada.hear() == {"type": "group_joined", "group_name": "news"}
        assert ada.hear()["group_name"] == "told:room"
        assert ada.hear("member_joined")["member"] == {"client_id": "ada"}
        publish(server, "news", {"text": "a\nb\u2028c"})
        assert ada.hear("group_message")["data"] == {"text": "a\nb\u2028c"}
        server.do(server.hub.notify("ada", 1))
        server.do(server.hub.broadcast(2))
        assert [ada.hear()["type"] for _ in range(2)] == ["personal_notification", "broadcast_message"]
        assert SOONEST <= ada.retry <= LATEST
        assert ada.last_id == ""


def test_it_is_a_connection_like_others(server: Running) -> None:
    """It is counted, seen in presence, listed, moved and disconnected."""
    with client(server, "bob") as bob, Stream(server, "told:room", client_id="ada") as ada:
        ada.open()
        bob.join("told:room")
        who = bob.ask("presence", "presence", group_name="told:room")["members"]
        assert sorted(member["client_id"] for member in who.values()) == ["ada", "bob"]
        [listed] = server.look(lambda: server.hub.connections.describe("ada", "")).values()
        assert (listed["transport"], listed["protocol"]) == ("sse", "json")
        server.do(server.hub.subscribe("more", client="ada"))
        assert ada.hear("group_joined")["group_name"] == "more"
        server.do(server.hub.unsubscribe("more", client="ada"))
        assert ada.hear("group_removed")["group_name"] == "more"
        server.do(server.hub.disconnect(client="ada"))
        assert ada.hear("disconnect")["code"] == 3503
        assert ada.event() is None


def test_groups_may_hold_commas(server: Running) -> None:
    """By `group`, once for each; what is there twice is joined once."""
    with Stream(server, "a", "a", query="group=x%3Ay%23ann%2Cbob&group=a") as stream:
        assert stream.hear("error")["group_name"] == "x:y#ann,bob"
        assert stream.hear("group_joined")["group_name"] == "a"


def test_an_id_brings_back_what_was_missed(server: Running) -> None:
    """From every event on: each message of each group once, in order, then live."""
    groups = ("kept:one", "kept:two", "plain")
    said: list[tuple[str, Any]] = [("kept:one", 1), ("kept:two", "a"), ("kept:one", 2), ("kept:two", "b")]
    with Stream(server, *groups, client_id="ada") as ada:
        ada.open(3)
        ids, had = [ada.last_id], [[]]
        for group, number in said:
            publish(server, group, number)
            assert ada.hear("group_message")["data"] == number
            ids.append(ada.last_id)
            had.append([*had[-1], (group, number)])
    for id, known in zip(ids, had, strict=True):
        with Stream(server, *groups, last_id=id) as again:
            again.hear("connection_established")
            got, joined = [], 0
            while joined < 3 or len(got) < len(said) - len(known):
                message = again.hear("group_message", "group_joined")
                if message["type"] == "group_joined":
                    joined += 1
                    assert message.get("recovered") is (None if message["group_name"] == "plain" else True)
                else:
                    got.append((message["group_name"], message["data"]))
            publish(server, "plain", "live")
            assert again.hear("group_message")["data"] == "live"
        missed = [each for each in said if each not in known]
        for group in groups:
            assert [each for each in got if each[0] == group] == [m for m in missed if m[0] == group]
    for group in groups[:2]:
        server.do(server.hub.broker.remove_history(group))


def test_the_query_takes_an_id_too(server: Running) -> None:
    """For those who cannot send a header; the header counts first."""
    with Stream(server, "kept:query") as stream:
        id = stream.open().last_id
    publish(server, "kept:query", 1)
    with Stream(server, "kept:query", query=f"last_event_id={id}") as stream:
        assert stream.open().numbers(1) == [1]
        newest = stream.last_id
    publish(server, "kept:query", 2)
    with Stream(server, "kept:query", query=f"last_event_id={id}", last_id=newest) as stream:
        assert stream.open().numbers(1) == [2]


@pytest.mark.parametrize("id", ["rubbish", "Ag", "%%%", "é", "x" * 2000])
def test_what_cannot_be_resumed_is_said(server: Running, id: str) -> None:
    """An id that is none of this server's; said of every group, also after a cut in between."""
    with Stream(server, "kept:a", "kept:b", last_id=id.encode().decode("latin-1")) as stream:
        assert stream.open(0).hear("group_joined")["recovered"] is False
        id = stream.last_id
    with Stream(server, "kept:a", "kept:b", last_id=id) as stream:
        stream.open(0)
        assert [stream.hear("group_joined")["recovered"] for _ in range(2)] == [True, False]


def test_a_position_that_is_gone_is_said(server: Running) -> None:
    """The history is another one, or no longer holds what comes after."""
    with Stream(server, "kept:gone") as stream:
        stream.open()
        publish(server, "kept:gone", 1)
        stream.numbers(1)
    publish(server, "kept:gone", 2)
    server.do(server.hub.broker.remove_history("kept:gone"))
    with Stream(server, "kept:gone", last_id=stream.last_id) as stream:
        assert stream.open(0).hear("group_joined")["recovered"] is False


def test_a_group_that_came_to_the_address_later_begins_anew(server: Running) -> None:
    """The others go on where they were."""
    with Stream(server, "kept:old") as stream:
        id = stream.open().last_id
    publish(server, "kept:old", 1)
    with Stream(server, "kept:new", "kept:old", last_id=id) as stream:
        stream.hear("connection_established")
        assert "recovered" not in stream.hear("group_joined")
        assert stream.hear("group_joined")["recovered"] is True
        assert stream.numbers(1) == [1]


def test_what_is_a_clients_own_is_resumed_too() -> None:
    """Broadcasts and notifications with a history, by the same id."""
    own = {name: Namespace(history_size=10, presence=False) for name in ("$all", "$client")}
    with serving(SERVERS[0], hub=Hub(namespaces=own, options=QUICK)) as server:
        with Stream(server, client_id="ada") as ada:
            ada.open(0)
            server.do(server.hub.broadcast(1))
            ada.hear("broadcast_message")
        server.do(server.hub.notify("ada", 2))
        server.do(server.hub.broadcast(3))
        with Stream(server, client_id="ada", last_id=ada.last_id) as ada:
            assert ada.hear("connection_established")["recovered"] == {"$all": True, "$client": True}
            got = [ada.hear("broadcast_message", "personal_notification")["data"] for _ in range(2)]
            assert sorted(got) == [2, 3]


@pytest.mark.parametrize(
    ("path", "status", "words"),
    [
        ("/sse?groups=$all", 400, "reserved"),
        ("/sse?group=", 400, "groups"),
        ("/sse/a%00b", 400, "control character"),
        ("/sse?groups=" + ",".join(f"g{n}" for n in range(129)), 400, "128"),
    ],
)
def test_what_is_wrong_with_a_request_is_said(server: Running, path: str, status: int, words: str) -> None:
    """With a status and a sentence."""
    head, body = ask(server, f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert f" {status} " in head.splitlines()[0]
    assert words in body


def test_a_request_with_a_body_is_none(server: Running) -> None:
    """Nothing is read from a client that only listens."""
    head, body = ask(
        server, "GET /sse HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 3\r\n\r\nabc"
    )
    assert " 400 " in head.splitlines()[0]
    assert "no body" in body


def ask(server: Running, request: str) -> tuple[str, str]:
    """The head and the body of the answer to a request."""
    raw = RawClient(server)
    raw.socket.sendall(request.encode())
    while True:
        try:
            raw.fill()
        except EOFError:
            head, _, body = raw.buffer.decode().partition("\r\n\r\n")
            return head, body


def test_pages_of_other_origins_are_kept_out(server: Running) -> None:
    """As at the WebSocket's door; the server's own page, and programs, come in."""
    with Stream(server, Origin="https://evil.example") as stream:
        assert stream.status == 403
        assert "allowed_origins" in stream.text()
        assert "access-control-allow-origin" not in stream.headers
    with Stream(server, Origin=f"http://127.0.0.1:{server.port}") as stream:
        assert stream.status == 200


@pytest.mark.parametrize(
    ("allowed", "told", "credentials"),
    [(("https://app.example",), "https://app.example", "true"), (("*",), "*", None)],
)
def test_pages_of_allowed_origins_may_read(
    allowed: tuple[str, ...], told: str, credentials: str | None
) -> None:
    """With their cookies where the origin is named."""
    with (
        serving(SERVERS[0], Options(allowed_origins=allowed)) as server,
        Stream(server, Origin="https://app.example") as stream,
    ):
        assert stream.status == 200
        assert stream.headers["access-control-allow-origin"] == told
        assert stream.headers["access-control-allow-credentials"] == credentials


# Tokens and permissions.


def bearing(text: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {text}"}


def test_a_token_opens_and_names(guarded: Running) -> None:
    """Its groups are joined, its end is told; a bad one is a 401 with the way in."""
    mine = token(sub="ann", groups=["told:own"], exp=time.time() + 60)
    with Stream(guarded, **bearing(mine)) as stream:
        assert 0 < stream.hear("connection_established")["expires_in"] <= 60
        assert stream.hear("group_joined")["group_name"] == "told:own"
    for bad in (token(sub="ann", exp=time.time() - 60), "rubbish"):
        with Stream(guarded, **bearing(bad)) as stream:
            assert stream.status == 401
            assert stream.headers["www-authenticate"] == "Bearer"
    with Stream(guarded, client_id="bob", **bearing(mine)) as stream:
        assert stream.status == 403
    with Stream(guarded, client_id="bob") as stream:
        assert stream.status == 401
    with Stream(guarded, query=f"token={mine}") as stream:
        assert "expires_in" not in stream.hear("connection_established")


def test_a_token_in_the_query_where_that_is_allowed() -> None:
    """And nowhere else."""
    for allowed in (True, False):
        options = Options(token_in_query=allowed)
        with (
            serving(SERVERS[0], hub=Hub(auth=Tokens(SECRET), options=options)) as server,
            Stream(server, query=f"token={token(sub='ann')}") as stream,
        ):
            assert stream.status == (200 if allowed else 401)


def test_a_group_that_is_refused_keeps_none_of_the_others(guarded: Running) -> None:
    """It is told by an event that names it."""
    mine = token(sub="ann", channels=["told:a", "told:c"])
    with Stream(guarded, "told:a", "told:b", "told:c", **bearing(mine)) as stream:
        stream.hear("connection_established")
        answers = [stream.hear("group_joined", "error") for _ in range(3)]
        assert [(a["type"], a["group_name"]) for a in answers] == [
            ("group_joined", "told:a"),
            ("error", "told:b"),
            ("group_joined", "told:c"),
        ]
        assert answers[1]["code"] == 103


def test_where_every_group_is_refused_there_is_no_stream(guarded: Running) -> None:
    """But a 403 that says why; nothing is left of it."""
    with Stream(guarded, "told:a", "told:b", **bearing(token(sub="ann", channels=["other"]))) as stream:
        assert stream.status == 403
        sentences = stream.text().splitlines()
        assert [s.partition(": ")[0] for s in sentences] == ["group 'told:a'", "group 'told:b'"]
    eventually(lambda: guarded.hub.total_connections == 0)


def test_a_revoked_token_ends_its_streams(guarded: Running) -> None:
    """And opens none again."""
    mine = token(sub="eve", jti="1", iat=time.time())
    with Stream(guarded, "g", **bearing(mine)) as stream:
        stream.open()
        guarded.do(guarded.hub.invalidate(token_id="1"))
        assert stream.hear("disconnect")["code"] == 3500
        assert stream.event() is None
    with Stream(guarded, "g", **bearing(mine)) as stream:
        assert stream.status == 401


@pytest.mark.parametrize("kind", SERVERS)
def test_a_token_that_expires_ends_the_stream(kind: str) -> None:
    """Nobody can bring a fresh one on a stream; it comes back with one."""
    hub = Hub(auth=Tokens(SECRET, leeway=0), options=Options(expiry_grace=0.1, announce_disconnects=False))
    with serving(kind, hub=hub) as server:
        stream = Stream(server, "g", **bearing(token(sub="ann", exp=time.time() + 1))).open()
        assert stream.hear("disconnect")["code"] == 3005
        assert stream.event() is None
        stream.close()


@pytest.mark.parametrize("kind", SERVERS)
def test_hooks_are_asked(kind: str) -> None:
    """Who it is by its cookies, and whether it may join."""
    hub = Hub(options=QUICK)

    @hub.on_connect
    async def who(request: ConnectRequest) -> Identity:
        assert request.transport == "sse"
        if "session" not in request.cookies:
            raise Refuse("log in first", status=418, retry_after=3)
        return Identity(user=request.cookies["session"])

    @hub.on_subscribe("orders:{user}")
    async def may(session: SessionInfo, user: str) -> bool:
        return session.user == user and session.transport == "sse"

    with serving(kind, hub=hub) as server:
        with Stream(server, "orders:ann", Cookie="session=ann") as stream:
            stream.open()
        with Stream(server, "orders:ann", Cookie="session=bob") as stream:
            assert stream.status == 403
        with Stream(server) as stream:
            assert (stream.status, stream.headers["retry-after"]) == (418, "3")
            assert stream.text() == "log in first\n"


# Heartbeats, slowness, ends.


@pytest.mark.parametrize("kind", SERVERS)
def test_a_silent_stream_is_kept_alive(kind: str) -> None:
    """By comments, for longer than a client of a WebSocket may be silent."""
    options = Options(idle_timeout=0.1, grace_timeout=0.1, announce_disconnects=False)
    with serving(kind, options) as server, Stream(server, "g") as stream:
        stream.open()
        [connection] = server.look(server.hub.connections.of)

        began = connection.last_seen
        eventually(lambda: connection.last_seen > began + 0.5)
        publish(server, "g", 1)
        assert stream.numbers(1) == [1]
        assert stream.comments.count("ping") >= 3
        assert connection.open


@pytest.mark.parametrize("kind", SERVERS)
def test_a_stream_that_is_not_read_ends_as_slow(kind: str) -> None:
    """Within its bound, and the socket goes too."""
    options = Options(outbox_bytes=200_000, close_timeout=0.2, announce_disconnects=False)
    with serving(kind, options) as server:
        stream = Stream(server, "kept:flood", receive_buffer=4096).open()
        while server.hub.total_connections:
            publish(server, "kept:flood", *(["x" * 20_000] * 20))
        eventually(lambda: no_stream_is_left(server))
        assert 'hubbub_connections_closed_total{code="3008"} 1.0' in exposition(server)
        stream.close()


def exposition(server: Running) -> str:
    text: bytes = server.look(server.hub.metrics.exposition)
    return text.decode()


@pytest.mark.parametrize("kind", SERVERS)
def test_what_is_dropped_for_a_slow_stream_is_told(kind: str) -> None:
    """As everywhere, by the policy of the group."""
    options = Options(outbox_bytes=200_000, close_timeout=0.2, announce_disconnects=False)
    with serving(kind, options) as server, Stream(server, "oldest:flood", receive_buffer=65536) as stream:
        stream.open()
        [connection] = server.look(server.hub.connections.of)
        sent = 0
        while not connection.outbox or not connection.outbox.dropped:
            publish(server, "oldest:flood", *(f"{sent + n:08}" + "x" * 20_000 for n in range(20)))
            sent += 20
        got, dropped = 0, 0
        while got + dropped < sent:
            message = stream.hear("group_message", "messages_dropped")
            if message["type"] == "messages_dropped":
                dropped += message["count"]
            else:
                got += 1
        assert dropped > 0


@pytest.mark.parametrize("kind", SERVERS)
@pytest.mark.parametrize("abrupt", [True, False], ids=["reset", "closed"])
def test_who_goes_is_noticed_at_once(kind: str, abrupt: bool) -> None:
    """Before anything is sent to it, and nothing is left of it."""
    with serving(kind, QUICK) as server:
        streams = [Stream(server, "told:room", "kept:g", client_id=f"c{n}").open(2) for n in range(10)]
        assert server.hub.total_connections == 10
        for stream in streams:
            if abrupt:
                stream.vanish()
            else:
                stream.close()
        eventually(lambda: server.hub.total_connections == 0, 1.0 if kind != "hypercorn" else DEADLINE)
        eventually(lambda: no_stream_is_left(server))


@pytest.mark.parametrize("kind", SERVERS)
def test_who_goes_in_the_middle_of_joining_leaves_nothing(kind: str) -> None:
    """While hooks are asked, before there is any answer."""
    hub = Hub(namespaces=NAMESPACES, options=QUICK)

    @hub.on_connect
    async def connect(request: ConnectRequest) -> Identity:
        await asyncio.sleep(0.02)
        return Identity(user="somebody")

    @hub.on_subscribe("*")
    async def subscribe(session: SessionInfo) -> None:
        await asyncio.sleep(0.02)

    with serving(kind, hub=hub) as server:
        for size in (20, None):
            for _ in range(5):
                raw = RawClient(server)
                raw.socket.sendall(b"GET /sse?groups=a,told:b,kept:c HTTP/1.1\r\nHost: x\r\n\r\n"[:size])
                raw.vanish()
        eventually(lambda: no_stream_is_left(server))


def no_stream_is_left(server: Running) -> bool:
    """Neither what any connection could leave nor the transport of a stream."""

    def transports() -> int:
        gc.collect()
        return sum(type(o) is EventTransport and o._hub is server.hub for o in gc.get_objects())

    left = {**left_behind(server), "streams": server.look(transports)}
    print(left)  # noqa: T201  shown where the test fails
    return left == {"streams": 0}


@pytest.mark.parametrize("kind", [FAST, UVICORN])
def test_a_server_that_stops_tells_its_streams(kind: str) -> None:
    """And stops in time, though an answer is under way; hypercorn cuts off what is left after its grace."""
    with serving(kind, QUICK) as server, Stream(server, "g") as stream:
        stream.open()
        server.stop()
        assert stream.hear("disconnect") == {
            "type": "disconnect",
            "code": 3001,
            "reason": "shutdown",
            "reconnect": True,
        }
        assert stream.event() is None


def test_a_group_that_cannot_be_joined_now_ends_the_stream() -> None:
    """It comes back by itself, with the position that it had."""
    hub = Hub(namespaces=NAMESPACES, options=QUICK)
    with serving(SERVERS[0], hub=hub) as server:
        with Stream(server, "kept:a", "kept:b") as stream:
            id = stream.open(2).last_id
        publish(server, "kept:b", 1)
        broken = True
        read = hub.histories.read

        async def failing(channel: str, *arguments: Any) -> Any:
            if channel == "kept:b" and broken:
                raise BrokerUnavailable("not now")
            return await read(channel, *arguments)

        hub.histories.read = failing  # type: ignore[method-assign]
        for groups in (("kept:a", "kept:b"), ("kept:b",)):
            with Stream(server, *groups, last_id=id) as stream:
                stream.open(len(groups) - 1)
                assert stream.hear("error")["temporary"] is True
                assert stream.hear("disconnect")["code"] == 3004
                assert stream.event() is None
            id = stream.last_id
        broken = False
        with Stream(server, "kept:a", "kept:b", last_id=stream.last_id) as stream:
            assert stream.open(2).numbers(1) == [1]


def test_a_stream_may_live_under_a_prefix() -> None:
    """Wherever an app puts the hub's routes."""
    hub = Hub(options=QUICK)
    app = FastAPI(lifespan=hub.lifespan)
    app.include_router(hub.router, prefix="/live")
    listener = listen("127.0.0.1", 0)
    config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=5)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=asyncio.run, args=(server.serve([listener]),), daemon=True)
    thread.start()
    try:
        eventually(lambda: server.started)
        with Stream(listener.getsockname()[1], "g", prefix="/live") as stream:
            stream.open()
    finally:
        server.should_exit = True
        thread.join(DEADLINE)
    assert not thread.is_alive()


def test_there_is_room_for_so_many() -> None:
    """A stream takes a place as a WebSocket does, and gives it back."""
    with serving(SERVERS[0], Options(max_connections=1, announce_disconnects=False)) as server:
        with Stream(server, "g") as stream:
            stream.open()
            with Stream(server) as other:
                assert (other.status, other.headers["retry-after"]) == (503, "5")
        eventually(lambda: server.hub.total_connections == 0)
        with Stream(server, "g") as stream:
            stream.open()
