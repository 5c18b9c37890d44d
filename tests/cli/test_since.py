"""`hubbub subscribe` from where one was: `--since`, `--positions`, `--presence`, and what is missing."""

import json
import secrets
import signal
from pathlib import Path
from typing import Any

import pytest

from ..servers import shared
from ..servers.ports import free_port
from .running import Running, Server, hubbub, until

OPTIONS = json.dumps(
    {"room": {"join_leave": True}, "short": {"history_size": 2}, "blind": {"presence": False}}
)


def publish(server: Server, group: str, *data: object) -> dict[str, Any]:
    """Publish these one after another, and return where the last one stands."""
    answer: dict[str, Any] = {}
    for each in data:
        answer = server.post("/api/publish", {"channel": group, "data": each})["result"]
    return answer


def listened(server: Server, *arguments: str) -> tuple[list[Any], str]:
    """What a run that ends by `--count` printed, and what it said on stderr."""
    ended = hubbub("subscribe", "--url", server.url, *arguments)
    assert ended.code == 0, ended.err
    return [json.loads(line) for line in ended.out.splitlines()], ended.err


def data(messages: list[Any]) -> list[Any]:
    """What was published."""
    return [message["data"] for message in messages]


def test_everything_that_is_kept(server: Server) -> None:
    """Before what comes live, once and in order; each line is a position to begin with again."""
    publish(server, "kept", *range(1, 6))
    for start in ("start", "0"):
        messages, err = listened(server, "--since", start, "--count", "5", "kept")
        assert (data(messages), err) == ([1, 2, 3, 4, 5], "")
        at = messages[2]
        messages, err = listened(server, "--since", f"{at['epoch']}:{at['offset']}", "--count", "2", "kept")
        assert (data(messages), err) == ([4, 5], "")
    with server.subscriber("--since", "start", "--count", "6", group="kept") as subscriber:
        subscriber.says('"data":5')
        publish(server, "kept", 6)
        assert subscriber.ended() == 0
        assert data(subscriber.messages()) == [1, 2, 3, 4, 5, 6]
        assert len({message["epoch"] for message in subscriber.messages()}) == 1


def test_chat_messages_are_kept_as_they_came(server: Server) -> None:
    """With their sender, and of several groups."""
    sent = hubbub("chat", "--url", server.url, "--as", "ada", "kept-chat", stdin=b"hello\n")
    assert (sent.code, sent.err) == (0, "")
    publish(server, "kept-too", 1)
    messages, _ = listened(server, "--since", "start", "--count", "2", "kept-chat", "kept-too")
    [chat] = [message for message in messages if message["type"] == "chat_message"]
    assert (chat["group_name"], chat["message"], chat["from"]) == ("kept-chat", "hello", "ada")


def test_a_group_without_history_says_so() -> None:
    """And goes on with what comes."""
    with Server() as bare, bare.subscriber("--since", "start", "--count", "1", group="lobby") as subscriber:
        subscriber.complains("lobby keeps no history")
        publish(bare, "lobby", "live")
        assert subscriber.ended() == 0


def test_what_cannot_be_had_again_is_a_gap() -> None:
    """On stderr, and among the messages where these are JSON."""
    with Server("--history-size", "100", "--namespace-options", OPTIONS) as server:
        first = publish(server, "short:a", 1)
        at = f"{first['epoch']}:{first['offset']}"
        newest = publish(server, "short:a", 2, 3, 4)
        with server.subscriber("--since", at, "--count", "1", group="short:a") as subscriber:
            subscriber.complains("messages of short:a are missing here, and cannot be had again")
            publish(server, "short:a", 5)
            assert subscriber.ended() == 0
            gap, message = subscriber.messages()
            assert gap == {"type": "gap", "name": "short:a", "epoch": newest["epoch"], "offset": 4}
            assert message["data"] == 5


def test_positions_in_a_file(server: Server, tmp_path: Path) -> None:
    """A run goes on where the last one stopped, however many messages came beyond its count."""
    file = tmp_path / "positions.json"
    run = ("--positions", str(file), "--since", "start")
    publish(server, "filed", *range(1, 8))
    for expected in ([1, 2, 3], [4, 5, 6]):
        messages, err = listened(server, *run, "--count", "3", "filed")
        assert (data(messages), err) == (expected, "")
        assert json.loads(file.read_text())["filed"]["offset"] == expected[-1]
    with server.subscriber(*run, group="filed") as subscriber:
        subscriber.says('"data":7')
        until(lambda: json.loads(file.read_text())["filed"]["offset"] == 7)  # also while it runs
        publish(server, "filed", 8)
        subscriber.says('"data":8')
        assert subscriber.stop(signal.SIGTERM) == 0
        assert data(subscriber.messages()) == [7, 8]
    kept = json.loads(file.read_text())
    assert kept["filed"]["offset"] == 8
    publish(server, "filed-too", 1)
    assert data(listened(server, *run, "--count", "1", "filed-too")[0]) == [1]
    assert json.loads(file.read_text())["filed"] == kept["filed"]
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize(
    ("arguments", "content", "words"),
    [
        (("--since", "yesterday", "one"), None, ("--since is 'yesterday'", "EPOCH:OFFSET")),
        (("--since", "abc:3", "one", "two"), None, ("--positions",)),
        (("--positions", "FILE", "one"), "nonsense", ("positions.json", "no JSON")),
        (("--positions", "FILE", "one"), '{"one": 3}', ("positions.json", "something else")),
        (("--positions", "FILE/none", "one"), "{}", ("cannot be",)),
    ],
)
def test_wrong_beginnings(
    server: Server, tmp_path: Path, arguments: tuple[str, ...], content: str | None, words: tuple[str, ...]
) -> None:
    """One line, and exit code 2, before anything else."""
    file = tmp_path / "positions.json"
    if content is not None:
        file.write_text(content)
    given = [argument.replace("FILE", str(file)) for argument in arguments]
    refused = hubbub("subscribe", "--url", server.url, *given)
    assert (refused.code, refused.out) == (2, "")
    for word in words:
        assert word in refused.complaint
    assert content is None or file.read_text() == content


def test_who_is_there_who_comes_and_who_goes() -> None:
    """Those who are there first; of a group that keeps no presence that is said."""
    with Server("--namespace-options", OPTIONS) as server:
        with server.subscriber("--client-id", "ada", group="room:1"):
            watching = server.subscriber("--client-id", "bob", "--presence", "--count", "1", group="room:1")
            with watching as watcher:
                watcher.says('"presence"')
                with server.subscriber("--client-id", "eve", group="room:1"):
                    watcher.says('"client_id":"eve"')
                watcher.says('"member_left"')
                publish(server, "room:1", "done")
                assert watcher.ended() == 0
        presence, *later = watcher.messages()
        assert presence["type"] == "presence"
        assert {member["client_id"] for member in presence["members"].values()} == {"ada", "bob"}
        told = [(message["type"], message["member"]["client_id"]) for message in later[:-1]]
        assert [each for each in told if each[1] == "eve"] == [
            ("member_joined", "eve"),
            ("member_left", "eve"),
        ]
        with server.subscriber("--presence", "--client-id", "ann", group="room:2", terminal=True) as pretty:
            pretty.says("here")
            pretty.says("ann")
        with server.subscriber("--presence", "--count", "1", group="blind:1") as blind:
            blind.complains("who is in blind:1 cannot be told")
            publish(server, "blind:1", 1)
            assert blind.ended() == 0


def lasting() -> tuple[str, ...]:
    """The arguments of a server whose history outlives it."""
    broker = f"{shared.standalone().url}?prefix=test{secrets.token_hex(4)}"
    return ("--history-size", "100", "--broker", broker)


def test_a_server_that_is_started_again_in_the_middle() -> None:
    """Nothing is missing and nothing comes twice, though messages were published meanwhile."""
    arguments, port = lasting(), free_port()
    with Server(*arguments, port=port) as first:
        publish(first, "orders", 1, 2)
        with Running(
            "subscribe", "--url", first.url, "--since", "start", "--count", "6", "orders"
        ) as subscriber:
            subscriber.says('"data":2')
            until(lambda: first.members("orders"))
            publish(first, "orders", 3)
            with Server(*arguments) as other:
                assert first.stop(signal.SIGTERM) == 0
                publish(other, "orders", 4, 5)
            with Server(*arguments, port=port) as second:
                subscriber.complains("hubbub: connected again")
                publish(second, "orders", 6)
                assert subscriber.ended() == 0
            assert data(subscriber.messages()) == [1, 2, 3, 4, 5, 6]
            assert "missing" not in subscriber.err


def test_a_server_that_forgets_is_a_gap() -> None:
    """With a history in memory, what came before the restart is gone, and that is said."""
    with Server("--history-size", "9") as first:
        port = first.port
        with first.subscriber("--count", "2", group="orders") as subscriber:
            publish(first, "orders", 1)
            subscriber.says('"data":1')
            assert first.stop(signal.SIGTERM) == 0
            with Server("--history-size", "9", port=port) as second:
                subscriber.complains("messages of orders are missing here")
                publish(second, "orders", 2)
                assert subscriber.ended() == 0
            assert [message["type"] for message in subscriber.messages()] == [
                "group_message",
                "gap",
                "group_message",
            ]


def test_a_group_refused_on_the_way_back() -> None:
    """Is told; the rest goes on, and it ends where nothing is left."""
    with Server() as open_to_all:
        port = open_to_all.port
        with (
            open_to_all.subscriber("closed:1", group="lobby") as both,
            open_to_all.subscriber(group="closed:1") as one,
        ):
            until(lambda: open_to_all.members("closed:1") == 2)
            open_to_all.stop(signal.SIGTERM)
            with Server("--namespace-options", '{"closed": {"join": "nobody"}}', port=port) as server:
                both.complains("closed:1 could not be joined again")
                assert one.ended() == 1
                assert "closed:1 could not be joined again" in one.err
                until(lambda: server.members("lobby"))
                publish(server, "lobby", "hello")
                both.says("hello")
                assert both.stop() == 0
