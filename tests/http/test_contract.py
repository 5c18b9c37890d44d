"""The endpoints that users were promised, word for word, on a real server with real WebSockets."""

import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus

from .sites import Site, eventually, serving


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with serving() as site:
        yield site


@pytest.fixture(autouse=True)
def _alone(site: Site) -> Iterator[None]:
    """Every test begins when the clients of the one before are gone."""
    yield
    eventually(lambda: site.http.get("/stats").json()["total_connections"] == 0)


def check_timestamp(text: str) -> None:
    """ISO 8601 with a UTC offset, and now."""
    at = datetime.fromisoformat(text)
    assert at.utcoffset() == timedelta(0)
    assert text.endswith("+00:00")
    assert abs(datetime.now(UTC) - at) < timedelta(seconds=60)


def without_timestamp(message: dict[str, Any]) -> dict[str, Any]:
    """A message without its timestamp, which is checked."""
    check_timestamp(message["timestamp"])
    return {name: value for name, value in message.items() if name != "timestamp"}


def test_stats(site: Site) -> None:
    """Counts what is there, and comes back to nothing."""
    stats = site.http.get("/stats").json()
    assert (stats["status"], stats["total_connections"], stats["active_groups"]) == ("running", 0, 0)
    check_timestamp(stats["timestamp"])

    with site.client("alice") as alice, site.client("alice"), site.client("bob") as bob:
        for client in (alice, bob):
            client.join("red")
        alice.join("blue")
        assert site.http.get("/stats").json()["total_connections"] == 3
        # Groups are counted on all nodes, and a count may be a second old.
        eventually(lambda: site.http.get("/stats").json()["active_groups"] == 2)

    eventually(lambda: site.http.get("/stats").json()["total_connections"] == 0)
    eventually(lambda: site.http.get("/stats").json()["active_groups"] == 0)


def test_the_greeting(site: Site) -> None:
    """It names the client, by its own id or by one that the server makes."""
    with site.socket("alice") as alice:
        assert without_timestamp(alice.hear()) == {
            "type": "connection_established",
            "client_id": "alice",
            "total_connections": 1,
        }
    eventually(lambda: site.http.get("/stats").json()["total_connections"] == 0)
    with site.socket() as somebody:
        greeting = without_timestamp(somebody.hear())
        assert uuid.UUID(greeting["client_id"]).version == 4


def test_a_group(site: Site) -> None:
    """Members are told what is said, with who said it; the sender is a member like the others."""
    with site.client("alice") as alice, site.client("bob") as bob, site.client("carol") as carol:
        for client in (alice, bob):
            assert client.join("lobby") == {"type": "group_joined", "group_name": "lobby"}
        alice.say("chat_message", group_name="lobby", message={"text": "hi", "n": [1, None]})
        for client in (alice, bob):
            assert without_timestamp(client.hear()) == {
                "type": "chat_message",
                "group_name": "lobby",
                "from": "alice",
                "message": {"text": "hi", "n": [1, None]},
            }
        carol.say("ping")
        assert without_timestamp(carol.hear()) == {"type": "pong"}


def test_broadcast_reaches_every_connection(site: Site) -> None:
    """Whoever it is, on however many connections, in a group or not."""
    body = {"text": "to all ü", "nested": {"list": [1, 2.5, None, True]}}
    with site.client("alice") as first, site.client("alice") as second, site.client() as third:
        first.join("lobby")
        answer = site.http.post("/broadcast", json=body)
        assert answer.status_code == 200
        assert answer.json()["status"] == "broadcast_sent"
        check_timestamp(answer.json()["timestamp"])
        for client in (first, second, third):
            assert without_timestamp(client.hear()) == {"type": "broadcast_message", "data": body}


def test_notify_reaches_every_connection_of_the_client(site: Site) -> None:
    """And nobody else's."""
    body = {"text": "to you"}
    with site.client("alice") as first, site.client("alice") as second, site.client("bob") as other:
        answer = site.http.post("/notify/alice", json=body)
        assert answer.status_code == 200
        told = without_timestamp(answer.json())
        assert (told["status"], told["client_id"]) == ("notification_sent", "alice")
        for client in (first, second):
            assert without_timestamp(client.hear()) == {"type": "personal_notification", "data": body}
        other.say("ping")
        assert other.hear()["type"] == "pong"


@pytest.mark.parametrize("client_id", ["älice", "a b", "100%", "a+b", "@:;=&", "日本"])
def test_a_client_id_is_any_text(site: Site, client_id: str) -> None:
    """In the path of the WebSocket as in that of the notification."""
    quoted = client_id.replace("%", "%25").replace(" ", "%20")
    with site.socket(quoted) as client:
        assert client.hear()["client_id"] == client_id
        answer = site.http.post(f"/notify/{quoted}", json={"n": 1})
        assert answer.json()["client_id"] == client_id
        assert client.hear()["data"] == {"n": 1}


def test_nobody_there_is_no_error(site: Site) -> None:
    """It was sent; the answer does not tell who is connected."""
    assert site.http.post("/broadcast", json={}).json()["status"] == "broadcast_sent"
    assert site.http.post("/notify/nobody", json={}).json()["status"] == "notification_sent"


@pytest.mark.parametrize("client_id", ["x" * 256, "tab%09bed", "%7F", "%C2%85"])
def test_an_illegal_client_id_is_told(site: Site, client_id: str) -> None:
    """To a backend by a sentence, to a client by the status of its handshake."""
    answer = site.http.post(f"/notify/{client_id}", json={})
    assert answer.status_code == 400
    assert "client_id" in answer.json()["detail"]
    with pytest.raises(InvalidStatus) as refused, site.socket(client_id):
        pass
    assert refused.value.response.status_code == 400
    assert b"client_id" in (refused.value.response.body or b"")


def test_the_data_travels_byte_for_byte(site: Site) -> None:
    """Numbers keep their digits: what was sent is not made anew."""
    text = '{"big":12345678901234567890123,"exact":1.10,"tiny":1e-400,"escaped":"\\u00fc\\/"}'
    with site.client("alice") as alice:
        site.http.post("/broadcast", content=text)
        raw = ""
        while "broadcast_message" not in raw:
            raw = str(alice._socket.recv(5))
        assert f'"data":{text}' in raw


def test_departures_are_announced(site: Site) -> None:
    """To everybody, as a system notification."""
    with site.client("witness") as witness:
        with site.client("alice"):
            pass
        departed: set[str] = set()
        while "alice" not in departed:  # others left in the tests before
            told = without_timestamp(witness.hear("system_notification"))
            data = without_timestamp(told["data"])
            assert data["event"] == "client_disconnected"
            departed |= {data["client_id"], *data.get("client_ids", ())}


def test_the_metrics_are_text_for_prometheus(site: Site) -> None:
    """Their type is what a scraper asks for."""
    answer = site.http.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    for name in ("websocket_connections_total", "websocket_messages_sent_total"):
        assert f"# TYPE {name} " in answer.text


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/broadcast", 405),
        ("POST", "/stats", 405),
        ("GET", "/api/publish", 405),
        ("POST", "/notify", 404),
        ("POST", "/notify/a/b", 404),
        ("GET", "/ws", 404),
        ("GET", "/nowhere", 404),
    ],
)
def test_what_is_not_there(site: Site, method: str, path: str, status: int) -> None:
    """The statuses that HTTP has for it."""
    assert site.http.request(method, path, json={}).status_code == status
