"""`hubbub stats`."""

import json
import signal
import socket
from pathlib import Path

from hubbub.auth.apikeys import hash_key
from hubbub.cli.output import console
from hubbub.cli.stats import TOP, table

from .conftest import Command
from .running import Running, Server, until


def test_the_numbers_that_matter(command: Command, server: Server) -> None:
    """Connections and groups, as a table without colours for a pipe."""
    with server.subscriber(group="counted"):
        shown = command("stats", "--url", server.url)
    assert (shown.code, shown.err) == (0, "")
    rows = dict(line.split(maxsplit=1) for line in shown.out.splitlines() if len(line.split()) == 2)
    assert int(rows["connections"]) >= 1
    assert rows["counted"].strip() == "1"
    assert "\x1b" not in shown.out


def test_json(command: Command, server: Server) -> None:
    """What the server says, and its groups beside."""
    with server.subscriber(group="counted-json"):
        shown = command("stats", "--url", server.url, "--json")
    stats = json.loads(shown.out)
    assert stats["status"] == "running"
    assert stats["groups"]["counted-json"] == 1
    assert shown.out.count("\n") == 1


def test_a_key_is_needed_where_there_is_one(command: Command, locked: Server) -> None:
    """What is missing is said in one line."""
    for arguments, sentence in (
        ((), "the server wants an API key; give --api-key or HUBBUB_API_KEY"),
        (("--api-key", "wrong"), "the server does not know this API key"),
    ):
        without = command("stats", "--url", locked.url, *arguments)
        assert (without.code, without.out, without.complaint) == (1, "", sentence)
    env = {"HUBBUB_API_KEY": "sesame", "HUBBUB_URL": locked.url}
    assert "groups" in json.loads(command("stats", "--json", env=env).out)


def test_a_key_may_open_less(command: Command, tmp_path: Path) -> None:
    """Numbers without groups; or nothing, and the line names what it does not open."""
    file = tmp_path / "keys.json"
    scopes = {"numbers": ["stats"], "news": ["publish"]}
    file.write_text(json.dumps([{"name": n, "hash": hash_key(n), "allow": a} for n, a in scopes.items()]))
    with Server("--api-keys-file", str(file)) as server:
        shown = command("stats", "--url", server.url, "--api-key", "numbers")
        assert shown.code == 0
        assert "shown with an --api-key that opens channels" in shown.out
        refused = command("stats", "--url", server.url, "--api-key", "news")
        assert (refused.code, refused.out) == (1, "")
        assert refused.complaint == "the key 'news' does not open stats (HTTP 403); give another --api-key"
        refused = command("publish", "--url", server.url, "--api-key", "numbers", "lobby", "hello")
        assert "does not open publish" in refused.complaint
        assert command("publish", "--url", server.url, "--api-key", "news", "lobby", "hello").code == 0


def test_watching(server: Server) -> None:
    """Again and again, until Ctrl+C."""
    with Running("stats", "--url", server.url, "--watch", "--json") as watcher:
        until(lambda: watcher.out.count("\n") >= 2)
        assert watcher.stop() == 0
        assert all(look["status"] == "running" for look in watcher.messages())
        assert watcher.err == ""


def test_watching_on_a_terminal(server: Server) -> None:
    """In place, and with the cursor back in the end."""
    with Running("stats", "--url", server.url, "--watch", terminal=True) as watcher:
        until(lambda: watcher.out.count("connections") >= 2)
        assert watcher.stop() == 0
        assert watcher.out.rindex("\x1b[?25h") > watcher.out.rindex("connections")


def test_a_server_that_goes_away_is_waited_for() -> None:
    """Each failed look is a line on stderr."""
    with Server() as first, Running("stats", "--url", first.url, "--watch", "--json") as watcher:
        until(lambda: watcher.out)
        port = first.port
        first.stop(signal.SIGTERM)
        watcher.complains("Is the server running?")
        looks = watcher.out.count("\n")
        with Server(port=port):
            until(lambda: watcher.out.count("\n") > looks)
        assert watcher.process.poll() is None


def test_no_server_there(command: Command) -> None:
    """One line, and exit code 3, watching or not."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        for arguments in ((), ("--watch",)):
            refused = command("stats", "--url", url, *arguments)
            assert (refused.code, refused.out) == (3, "")
            assert "Is the server running?" in refused.complaint


def test_the_biggest_groups_come_first_and_no_more_than_fit() -> None:
    """Ties by name; names steer no terminal."""
    groups = {f"g{number:02}": number for number in range(TOP + 2)} | {"\x9b": 100}
    out = console()
    with out.capture() as captured:
        out.print(table({"total_connections": 5, "uptime_seconds": 93_784, "groups": groups}))
    lines = [line.split() for line in captured.get().splitlines()]
    assert ["up", "for", "1", "d", "2:03:04"] in lines
    names = lines[lines.index(["biggest", "groups", "members"]) + 1 :]
    assert names[:2] == [["\\x9b", "100"], ["g11", "11"]]
    assert names[TOP:] == [["and", "3", "more"]]
