"""`hubbub stats`."""

import json
import signal
import socket

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


def test_groups_need_the_key_where_there_is_one(command: Command, locked: Server) -> None:
    """The rest is for everybody."""
    without = command("stats", "--url", locked.url)
    assert without.code == 0
    assert "--api-key" in without.out
    assert "groups" not in json.loads(command("stats", "--url", locked.url, "--json").out)
    env = {"HUBBUB_API_KEY": "sesame", "HUBBUB_URL": locked.url}
    assert "groups" in json.loads(command("stats", "--json", env=env).out)


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
