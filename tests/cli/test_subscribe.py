"""`hubbub subscribe`."""

import json
import os
import re
import signal
import socket
import subprocess

import pytest
from websockets.sync.client import connect

from .running import HUBBUB, PATIENCE, Server, environment, hubbub, until


def test_what_is_published_arrives(server: Server) -> None:
    """One JSON object a line, as it came, in order; `--count` ends it."""
    with server.subscriber("--count", "3", group="arrivals") as subscriber:
        lines = b'"hello"\n{"b": 2, "a": [1.0]}\n"gr\xc3\xbc\xc3\x9fe"\n'
        assert hubbub("publish", "--url", server.url, "--lines", "arrivals", "-", stdin=lines).code == 0
        assert subscriber.ended() == 0
        assert subscriber.err == ""
        messages = subscriber.messages()
        assert [message["data"] for message in messages] == ["hello", {"b": 2, "a": [1.0]}, "grüße"]
        assert {message["type"] for message in messages} == {"group_message"}
        assert [message["offset"] for message in messages] == [1, 2, 3]
        assert '"data":{"b":2,"a":[1.0]}' in subscriber.out


def test_lines_come_at_once_and_from_every_group(server: Server) -> None:
    """Chat messages too, each as soon as it is there."""
    with server.subscriber("first", "second", "first", group="third") as subscriber:
        until(lambda: server.members("first"))
        with connect(f"ws://{server.address}/ws/bob", proxy=None) as bob:
            for group in ("third", "first"):
                bob.send(json.dumps({"type": "chat_message", "group_name": group, "message": group}))
                subscriber.says(f'"message":"{group}"')
        assert [message["from"] for message in subscriber.messages()] == ["bob", "bob"]
        assert subscriber.stop() == 0


def test_broadcasts_and_notifications_are_shown_on_demand(server: Server) -> None:
    """With `--all`."""
    with (
        server.subscriber("--client-id", "carol", "--all", group="everything") as everything,
        server.subscriber("--client-id", "carol", group="just-this") as groups_only,
    ):
        with connect(f"ws://{server.address}/ws/leaver", proxy=None) as leaver:
            leaver.recv()
        everything.says("client_disconnected")
        server.post("/broadcast", {"n": 1})
        server.post("/notify/carol", {"n": 2})
        server.post("/api/publish", {"channel": "everything", "data": 3})
        server.post("/api/publish", {"channel": "just-this", "data": 4})
        everything.says('"data":3')
        groups_only.says('"data":4')
        types = [message["type"] for message in everything.messages()]
        assert types[-3:] == ["broadcast_message", "personal_notification", "group_message"]
        assert set(types[:-3]) == {"system_notification"}
        assert [message["data"] for message in groups_only.messages()] == [4]


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_stopping_it_is_no_failure(server: Server, how: signal.Signals) -> None:
    """Exit code 0, silently, and the connection is closed properly."""
    with server.subscriber(group=f"stopped-{how.name}") as subscriber:
        assert subscriber.stop(how) == 0
        assert (subscriber.out, subscriber.err) == ("", "")
    assert server.members(f"stopped-{how.name}") == 0


def test_on_a_terminal_messages_are_for_people(server: Server) -> None:
    """Time, group, sender and data, with colours, and without what would steer the terminal."""
    with server.subscriber("--all", "--client-id", "dora", group="pretty", terminal=True) as subscriber:
        with connect(f"ws://{server.address}/ws/bob", proxy=None) as bob:
            message = {"type": "chat_message", "group_name": "pretty", "message": {"evil": "\x1b[2J\x9b"}}
            bob.send(json.dumps(message))
            subscriber.says("evil")
            server.post("/notify/dora", {"n": 1})
            subscriber.says("this client")
        assert subscriber.stop() == 0
        assert "\x1b[36mpretty" in subscriber.out
        assert "\x1b[2J" not in subscriber.out
        assert "\x9b" not in subscriber.out
        line = plain(subscriber.out).splitlines()[0]
        assert re.fullmatch(r'\d\d:\d\d:\d\d  pretty  bob  {"evil":"\\u001b\[2J\\x9b"}', line), line


def plain(text: str) -> str:
    """The text without colours."""
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def test_no_colours_for_who_wants_none(server: Server) -> None:
    """`NO_COLOR` leaves the layout."""
    with server.subscriber(group="sober", terminal=True, env={"NO_COLOR": "1"}) as subscriber:
        server.post("/api/publish", {"channel": "sober", "data": "hello"})
        subscriber.says('  sober  -  "hello"')
        assert "\x1b" not in subscriber.out


def test_json_on_a_terminal_on_demand(server: Server) -> None:
    """And whatever `FORCE_COLOR` says, a pipe gets JSON."""
    with (
        server.subscriber("--json", "--count", "1", group="raw", terminal=True) as on_terminal,
        server.subscriber("--count", "1", group="raw-pipe", env={"FORCE_COLOR": "1"}) as piped,
    ):
        for group in ("raw", "raw-pipe"):
            server.post("/api/publish", {"channel": group, "data": "hello"})
        for subscriber in (on_terminal, piped):
            assert subscriber.ended() == 0
            assert subscriber.messages()[0]["data"] == "hello"


def test_it_comes_back_and_says_so() -> None:
    """After the server was gone for a while."""
    with Server() as first:
        port = first.port
        with first.subscriber("--count", "1", group="lobby") as subscriber:
            assert first.stop(signal.SIGTERM) == 0
            subscriber.complains("hubbub: No connection to ws://")
            with Server(port=port) as second:
                subscriber.complains("hubbub: connected again")
                until(lambda: second.members("lobby"))
                second.post("/api/publish", {"channel": "lobby", "data": "still here"})
                assert subscriber.ended() == 0
                assert subscriber.messages()[0]["data"] == "still here"
                assert "Traceback" not in subscriber.err


def test_a_server_that_closes_for_good(server: Server) -> None:
    """One line, and exit code 1."""
    with server.subscriber("--client-id", "eve", group="closed") as subscriber:
        disconnect = {"client": "eve", "disconnect": {"code": 4700, "reason": "go away"}}
        server.post("/api/disconnect", disconnect)
        assert subscriber.ended() == 1
        assert "disconnected for good: 4700 go away" in subscriber.err
        assert "Traceback" not in subscriber.err


def test_being_taken_out_of_groups(server: Server) -> None:
    """Of the last one: exit code 1, since nothing more can come."""
    with server.subscriber("--client-id", "fred", "one", group="two") as subscriber:
        until(lambda: server.members("one"))
        server.post("/api/unsubscribe", {"client": "fred", "channel": "one"})
        subscriber.complains("took this client out of one")
        server.post("/api/unsubscribe", {"client": "fred", "channel": "two"})
        assert subscriber.ended() == 1
        assert "took this client out of two" in subscriber.err


def test_who_reads_may_leave(server: Server) -> None:
    """As in `hubbub subscribe lobby | head -1`."""
    read, write = os.pipe()
    with subprocess.Popen(
        [HUBBUB, "subscribe", "--url", server.url, "piped"],
        stdout=write,
        stderr=subprocess.PIPE,
        env=environment(),
    ) as subscriber:
        os.close(write)
        until(lambda: server.members("piped"))
        os.close(read)
        server.post("/api/publish", {"channel": "piped", "data": 1})
        _, err = subscriber.communicate(timeout=PATIENCE)
        assert (subscriber.returncode, err) == (0, b"")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("$all",), ("group name", "'$'")),
        (("",), ("group name", "empty")),
        (("lobby", "--client-id", "x" * 300), ("client_id", "255 bytes")),
        (("lobby", "--url", "localhost:8000"), ("localhost:8000", "ws://")),
    ],
)
def test_wrong_usage(server: Server, arguments: tuple[str, ...], words: tuple[str, ...]) -> None:
    """One line, and exit code 2."""
    refused = hubbub("subscribe", *arguments, env={"HUBBUB_URL": server.url})
    assert (refused.code, refused.out) == (2, "")
    for word in words:
        assert word in refused.complaint


def test_no_server_there() -> None:
    """One line, and exit code 3; nobody waits for a server that never was."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        refused = hubbub("subscribe", "--url", url, "lobby")
    assert (refused.code, refused.out) == (3, "")
    assert "Is the server running?" in refused.complaint


def test_a_server_that_is_another(server: Server) -> None:
    """One line, and exit code 1."""
    refused = hubbub("subscribe", "--url", f"{server.url}/elsewhere", "lobby")
    assert (refused.code, refused.out) == (1, "")
    assert "HTTP 403" in refused.complaint


def test_too_many_groups() -> None:
    """The server's own sentence, and exit code 1."""
    with Server("--groups-per-connection", "1") as server:
        refused = hubbub("subscribe", "--url", server.url, "one", "two")
        assert refused.code == 1
        assert "1" in refused.complaint
