"""What every transport does: the contract's messages, over each server and in each format."""

import uuid
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from websockets.exceptions import ConnectionClosed

from hubbub.hub import Options

from .clients import MSGPACK, RawClient, client
from .serving import DEADLINE, SERVERS, Running, eventually, serving


@pytest.fixture(scope="module", params=SERVERS)
def any_server(request: pytest.FixtureRequest) -> Iterator[Running]:
    """Each kind of server with the default options."""
    with serving(request.param, Options(announce_disconnects=False)) as running:
        yield running


@pytest.fixture(params=["json", "msgpack"])
def server(request: pytest.FixtureRequest, any_server: Running) -> Running:
    """The server, spoken to in each format."""
    return replace(any_server, subprotocol=MSGPACK if request.param == "msgpack" else "")


def test_a_client_is_greeted(server: Running) -> None:
    """The first message names the client, the time with its offset, and how many are connected."""
    before = server.hub.total_connections
    with client(server, "alice") as alice:
        greeting = alice.greeting
        assert greeting["client_id"] == "alice"
        assert datetime.fromisoformat(greeting["timestamp"]).utcoffset() == timedelta(0)
        assert greeting["total_connections"] == before + 1
    eventually(lambda: server.hub.total_connections == before)


def test_a_client_without_an_id_is_given_one(server: Running) -> None:
    """The server makes a UUID of version 4."""
    with client(server) as nobody:
        assert uuid.UUID(nobody.id).version == 4


def test_an_id_may_hold_any_printable_text(server: Running) -> None:
    """Ids are decoded from the path."""
    with client(server, "J%C3%BCrgen%20%2B1") as juergen:
        assert juergen.id == "Jürgen +1"


def test_a_client_may_speak_first(server: Running) -> None:
    """It is sent nothing before; then it is greeted, and in its groups."""
    raw = RawClient(server, "/ws/alice?connect=first")
    assert raw.handshake().startswith(b"HTTP/1.1 101")
    assert raw.buffer == b""
    raw.send("connect", id="c", groups={"first": None})
    greeting = raw.message()
    assert (greeting["type"], greeting["id"], greeting["client_id"]) == (
        "connection_established",
        "c",
        "alice",
    )
    assert raw.message() == {"type": "group_joined", "group_name": "first"}


def test_members_chat(server: Running) -> None:
    """A chat message reaches every member, its sender too, and nobody else."""
    with client(server, "a") as a, client(server, "b") as b, client(server, "c") as c:
        assert a.join("chat") == {"type": "group_joined", "group_name": "chat"}
        assert b.join("chat", id=7) == {"type": "group_joined", "id": 7, "group_name": "chat"}
        a.send("chat_message", group_name="chat", message={"text": "hi", "n": [1, None, "é"]})
        for member in (a, b):
            message = member.receive("chat_message")
            assert datetime.fromisoformat(message.pop("timestamp")).utcoffset() == timedelta(0)
            assert message == {
                "type": "chat_message",
                "group_name": "chat",
                "from": "a",
                "message": {"text": "hi", "n": [1, None, "é"]},
            }
        assert c.settle() == []


def test_an_id_is_echoed_and_acknowledges(server: Running) -> None:
    """With an `id`, publishing is answered; without, it is not."""
    with client(server) as a:
        answer = a.ask("chat_message", "published", group_name="elsewhere", message=1, id="x")
        assert answer == {"type": "published", "id": "x", "group_name": "elsewhere"}
        a.send("publish", group_name="elsewhere", data=1)
        assert a.settle() == []


def test_a_group_is_left(server: Running) -> None:
    """Who left gets nothing more; leaving twice, or what was never joined, is answered just so."""
    with client(server) as a, client(server) as b:
        a.join("lobby")
        b.join("lobby")
        for number in range(2):
            left = a.ask("leave_group", "group_left", group_name="lobby", id=number)
            assert left == {"type": "group_left", "id": number, "group_name": "lobby"}
        b.send("chat_message", group_name="lobby", message=1)
        b.receive("chat_message")
        assert a.settle() == []


def test_joining_twice_is_joining_once(server: Running) -> None:
    """The answer is the same, and messages come once."""
    with client(server) as a:
        assert a.join("twice") == a.join("twice")
        a.send("chat_message", group_name="twice", message=1)
        assert [m["type"] for m in a.settle()] == ["chat_message"]


def test_publications_of_every_kind_arrive(server: Running) -> None:
    """The hub reaches a group, a client on all its connections, and everybody."""
    with client(server, "me") as phone, client(server, "me") as laptop, client(server, "other") as other:
        phone.join("g")
        server.do(server.hub.publish("g", {"n": 1}))
        server.do(server.hub.notify("me", {"n": 2}))
        server.do(server.hub.broadcast({"n": 3}))
        assert phone.receive()["type"] == "group_message"
        for mine in (phone, laptop):
            message = mine.receive()
            assert (message["type"], message["data"]) == ("personal_notification", {"n": 2})
        for anybody in (phone, laptop, other):
            message = anybody.receive()
            assert (message["type"], message["data"]) == ("broadcast_message", {"n": 3})


def test_messages_keep_their_order(server: Running) -> None:
    """A burst arrives whole and in order, from several publishers in one order for all."""
    with client(server) as a, client(server) as b:
        a.join("order")
        b.join("order")
        for number in range(300):
            (a if number % 2 else b).send("chat_message", group_name="order", message=number)
        seen_by_a = [a.receive("chat_message")["message"] for _ in range(300)]
        seen_by_b = [b.receive("chat_message")["message"] for _ in range(300)]
        assert seen_by_a == seen_by_b
        assert sorted(seen_by_a) == list(range(300))
        assert [n for n in seen_by_a if n % 2] == list(range(1, 300, 2))


def test_a_client_asks_for_a_sign_of_life(server: Running) -> None:
    """A ping is answered with the time; a pong is taken without a word."""
    with client(server) as a:
        assert set(a.ask("ping", "pong")) == {"type", "timestamp"}
        a.send("pong")
        assert a.settle() == []


def test_history_and_position(server: Running) -> None:
    """In a channel with history a join tells the position, and the history can be read."""
    group = f"kept:log-{server.subprotocol}"
    with client(server) as a:
        joined = a.join(group)
        assert joined["offset"] == 0
        for number in range(3):
            server.do(server.hub.publish(group, number))
        assert [a.receive("group_message")["offset"] for _ in range(3)] == [1, 2, 3]
        page = a.ask("history", "history", group_name=group, limit=2, reverse=True)
        assert [m["data"] for m in page["messages"]] == [2, 1]
        assert (page["epoch"], page["offset"]) == (joined["epoch"], 3)


def test_who_was_away_recovers(server: Running) -> None:
    """Coming back with a position brings exactly what was missed, then live."""
    with client(server) as a:
        position = a.join("kept:away")
    for number in range(3):
        server.do(server.hub.publish("kept:away", number))
    with client(server) as a:
        recover = {"epoch": position["epoch"], "offset": position["offset"]}
        joined = a.join("kept:away", recover=recover)
        assert joined["recovered"] is True
        server.do(server.hub.publish("kept:away", 3))
        assert [a.receive("group_message")["data"] for _ in range(4)] == [0, 1, 2, 3]
        assert a.settle() == []


@pytest.mark.parametrize(
    "recover", [{"epoch": "gone", "offset": 1}, {"epoch": None, "offset": 99}, {"epoch": None, "offset": -1}]
)
def test_what_cannot_be_recovered_is_said(server: Running, recover: dict[str, object]) -> None:
    """Another epoch or a position that never was: `recovered` is false and nothing is replayed."""
    with client(server) as a:
        epoch = a.join("kept:lost")["epoch"]
        server.do(server.hub.publish("kept:lost", 1))
    with client(server) as a:
        joined = a.join("kept:lost", recover={**recover, "epoch": recover["epoch"] or epoch})
        assert joined["recovered"] is False
        assert a.settle() == []


def test_presence(server: Running) -> None:
    """Members see who is there; who leaves is gone."""
    with client(server, "a") as a, client(server, "b") as b:
        a.join("told:room")
        b.join("told:room")
        assert a.receive("member_joined")["member"] in ({"client_id": "a"}, {"client_id": "b"})
        who = a.ask("presence", "presence", group_name="told:room", id=1)
        assert sorted(m["client_id"] for m in who["members"].values()) == ["a", "b"]
        counts = a.ask("presence_stats", "presence_stats", group_name="told:room")
        assert (counts["connections"], counts["clients"]) == (2, 2)
        b.websocket.close()
        assert a.receive("member_left")["member"] == {"client_id": "b"}
        counts = a.ask("presence_stats", "presence_stats", group_name="told:room")
        assert (counts["connections"], counts["clients"]) == (1, 1)


def test_the_server_disconnects_a_client(server: Running) -> None:
    """The client is told why and whether to come back, then closed with that code."""
    with client(server, "unwanted") as a:
        assert server.do(server.hub.disconnect(client="unwanted")) == 1
        assert a.receive() == {
            "type": "disconnect",
            "code": 3503,
            "reason": "force disconnect",
            "reconnect": False,
        }
        with pytest.raises(ConnectionClosed) as closed:
            a.websocket.recv(timeout=DEADLINE)
        assert closed.value.rcvd is not None
        assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (3503, "force disconnect")


def test_the_server_moves_a_client_in_and_out(server: Running) -> None:
    """A client is put into a group and taken out of it, and told both times."""
    with client(server, "moved") as a:
        server.do(server.hub.subscribe("vip", client="moved"))
        assert a.receive() == {"type": "group_joined", "group_name": "vip"}
        server.do(server.hub.unsubscribe("vip", client="moved"))
        assert a.receive() == {
            "type": "group_removed",
            "group_name": "vip",
            "code": 2000,
            "reason": "server unsubscribed",
        }


def test_a_subprotocol_is_agreed_on(server: Running) -> None:
    """The native one is named in the answer; one that is not known is no obstacle."""
    with client(server, subprotocols=["x.unknown", "hubbub.v1", MSGPACK]) as a:
        assert a.websocket.subprotocol == "hubbub.v1"
    with client(server, subprotocols=["x.unknown", MSGPACK]) as a:
        assert a.websocket.subprotocol == MSGPACK
    with client(server, subprotocols=["x.unknown"]) as a:
        assert a.websocket.subprotocol is None


def test_a_frame_of_the_wrong_kind_ends_it(server: Running) -> None:
    """Text where MessagePack is spoken, binary where JSON is; the reason says what is."""
    with client(server) as a:
        a.websocket.send("{}" if a.packed else b"{}")
        with pytest.raises(ConnectionClosed) as closed:
            a.websocket.recv(timeout=DEADLINE)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1003
        assert ("MessagePack in binary" if a.packed else "JSON in text") in closed.value.rcvd.reason


def test_a_bad_message_is_answered(server: Running) -> None:
    """And the connection lives on."""
    with client(server) as a:
        a.send("publish", group_name="g", id=5)
        answer = a.receive()
        assert (answer["type"], answer["code"], answer["id"]) == ("error", 107, 5)
        a.websocket.send(b"\xc1" if a.packed else "{")
        assert a.receive()["code"] == 107
        assert a.settle() == []


def test_clients_of_both_formats_share_a_group(server: Running) -> None:
    """What one publishes, the other is given in its own."""
    other = "hubbub.v1" if server.subprotocol else MSGPACK
    with client(server) as a, client(server, subprotocols=[other]) as b:
        a.join("both")
        b.join("both")
        for one in (a, b):
            one.send("publish", group_name="both", data={"n": [1, 2.5, None, "é"], "big": 2**60})
            assert a.receive()["data"] == b.receive()["data"] == {"n": [1, 2.5, None, "é"], "big": 2**60}


def test_the_app_keeps_its_own_websockets(server: Running) -> None:
    """A route that is no hub's is the app's, whatever transport the hub uses."""
    from websockets.sync.client import connect

    with connect(server.url("/own/hello")) as own:
        own.send("world")
        assert own.recv(timeout=DEADLINE) == "hello world"
