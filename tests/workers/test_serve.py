"""`hubbub serve --workers`, with an app whose hubs need no broker."""

import json
import os
import resource
import signal
import ssl
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest
import trustme
from prometheus_client.parser import text_string_to_metric_families

from ..cli.running import Server, hubbub, until
from .crowd import APP, Client, by_process, crowd, is_there, kill

ALONE = "hubbub: a hub of islands:app keeps to its own worker; give it a broker: Hub('redis://…')\n"
WORKERS = 4

DIES = """
import os, signal

os.kill(os.getpid(), signal.SIGKILL)
"""

DIES_LATER = """
import os, pathlib, signal

from islands import app

started = pathlib.Path("started")
started.touch()
if started.stat().st_size:
    os.kill(os.getpid(), signal.SIGSEGV)
started.write_text("once")
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where somebody keeps an app."""
    folder = tmp_path_factory.mktemp("project")
    for name, text in {"islands.py": APP, "dies.py": DIES, "broken.py": "1 / 0"}.items():
        (folder / name).write_text(text)
    return folder


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Server]:
    """With four workers, for tests that leave it running."""
    with serving(folder) as server:
        yield server


@contextmanager
def serving(folder: Path) -> Iterator[Server]:
    """A server whose workers are all up."""
    with Server("islands:app", "--workers", f"{WORKERS}", cwd=folder) as server:
        until(lambda: len(workers_of(server)) == WORKERS)
        yield server
        if server.process.poll() is None:
            server.stop(signal.SIGTERM)


def workers_of(server: Server) -> set[int]:
    """The processes that have answered a few requests, each of which goes to another one in turn."""
    return {server.get("/process").json() for _ in range(2 * WORKERS)}


def metric(server: Server, name: str, path: str = "/metrics") -> float:
    """A sample's value, summed over its labels."""
    families = text_string_to_metric_families(server.get(path).text)
    return sum(s.value for family in families for s in family.samples if s.name == name)


def assert_even(counts: dict[int, int]) -> None:
    """Nobody has ten percent more or less than the others."""
    fair = sum(counts.values()) / WORKERS
    assert len(counts) == WORKERS
    assert all(abs(count - fair) <= fair / 10 for count in counts.values()), counts


def test_connections_spread_evenly_and_metrics_tell_the_whole(server: Server) -> None:
    """Also after a worker was killed: another one takes its place, and what it has counted stays."""
    until(lambda: metric(server, "websocket_connections_total") == 0)
    opened = metric(server, "hubbub_connections_opened_total")
    with ExitStack() as stack:
        clients = stack.enter_context(crowd(server.port, 400))
        counts = by_process(clients)
        assert_even(counts)
        until(lambda: metric(server, "websocket_connections_total") == 400)
        assert metric(server, "hubbub_connections_opened_total") == opened + 400

        victim, lost = counts.most_common()[0]
        kill(victim)
        left = [client for client in clients if client.process != victim]
        assert all(client.close_code() is None for client in clients if client.process == victim)
        server.complains(f"(process {victim}) was killed by SIGKILL; another one takes its place")
        until(lambda: metric(server, "websocket_connections_total") == 400 - lost)
        assert metric(server, "hubbub_connections_opened_total") == opened + 400
        # It has the fewest connections, so it gets the next.
        until(lambda: server.get("/process").json() not in counts)

        left += stack.enter_context(crowd(server.port, 200))
        counts = by_process(left)
        assert victim not in counts
        assert_even(counts)
        until(lambda: metric(server, "websocket_connections_total") == len(left))
        assert metric(server, "hubbub_connections_opened_total") == opened + 600


def test_two_hubs_of_an_app_count_into_one(server: Server) -> None:
    """Neither overwrites what the other has counted, in whatever process."""
    until(lambda: metric(server, "websocket_connections_total") == 0)
    opened = metric(server, "hubbub_connections_opened_total")
    with crowd(server.port, 10), crowd(server.port, 20, "/other/ws"):
        for path in ("/metrics", "/other/metrics"):
            until(lambda path=path: metric(server, "websocket_connections_total", path) == 30)
            assert metric(server, "hubbub_connections_opened_total", path) == opened + 30


def test_sigterm_drains_all_workers(folder: Path) -> None:
    """Every client is told to come back, nobody else gets in, and the exit code is 0."""
    with serving(folder) as server, crowd(server.port, 20) as clients:
        workers = by_process(clients)
        assert len(workers) == WORKERS
        server.process.send_signal(signal.SIGTERM)
        server.says("Stopping")
        codes = [client.close_code() for client in clients]
        assert all(code is not None and 3000 <= code < 3500 for code in codes)
        with pytest.raises(ConnectionRefusedError):
            Client(server.port)
        assert server.ended() == 0
        assert server.err == ALONE
        assert not any(map(is_there, workers))


def test_a_second_ctrl_c_does_not_wait(folder: Path) -> None:
    """Clients that do not answer their close are left behind."""
    with serving(folder) as server, crowd(server.port, 8) as clients:
        workers = by_process(clients)
        server.process.send_signal(signal.SIGINT)
        server.says("Stopping")
        assert server.stop(signal.SIGINT) == 0
        assert server.err == ALONE
        assert not any(map(is_there, workers))


def test_workers_end_with_a_supervisor_that_was_killed(folder: Path, tmp_path: Path) -> None:
    """In good order: clients are told, and no file is left behind."""
    env = {"TMPDIR": str(tmp_path)}
    with Server("islands:app", "--workers", "2", cwd=folder, env=env) as server:
        until(lambda: len(workers_of(server)) == 2)
        assert list(tmp_path.iterdir())
        with crowd(server.port, 4) as clients:
            workers = by_process(clients)
            kill(server.process.pid)
            for client in clients:
                assert client.close_code() is not None
        until(lambda: not any(map(is_there, workers)))
        assert not list(tmp_path.iterdir())


def test_a_worker_that_is_told_to_end_sends_its_clients_to_others(server: Server) -> None:
    """It drains, gets no more of them, and is replaced."""
    with crowd(server.port, 8) as clients:
        told = clients[0].process
        os.kill(told, signal.SIGTERM)
        for client in clients:
            if client.process == told:
                assert client.close_code() is not None
        server.complains(f"(process {told}) ended with exit code 0; another one takes its place")
        with crowd(server.port, 8) as more:
            assert told not in by_process(more)


def test_a_supervisor_without_a_free_handle_waits(server: Server) -> None:
    """Who comes then is served when there is one."""
    pid = server.process.pid
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    used = max(int(handle.name) for handle in Path(f"/proc/{pid}/fd").iterdir()) + 1
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (used, before[1]))
    client = Client(server.port)
    server.complains("no connection can be accepted: Too many open files; trying again")
    resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
    assert client.greeted()
    client.close()
    assert server.err.count("Too many open files") == 1


def test_tls(folder: Path, tmp_path: Path) -> None:
    """Handshakes are the workers' affair; one that fails is nobody else's."""
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1")
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    cert.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    issued.private_key_pem.write_to_path(str(key))
    trust = ssl.create_default_context()
    authority.configure_trust(trust)
    arguments = ("islands:app", "--workers", "2", "--tls-cert", str(cert), "--tls-key", str(key))
    with Server(*arguments, cwd=folder) as server:
        plain = Client(server.port)
        assert plain.close_code() is None
        with ExitStack() as stack:
            processes = set()

            def another_client() -> bool:
                http = stack.enter_context(httpx.Client(trust_env=False, verify=trust))
                processes.add(http.get(f"https://{server.address}/process").json())
                return len(processes) == 2

            until(another_client)
        assert server.stop(signal.SIGTERM) == 0
        assert server.err == ALONE


def test_log_lines_name_the_worker(folder: Path) -> None:
    """Those of requests, too."""
    arguments = ("islands:app", "--workers", "2", "--log-level", "info", "--access-log")
    with Server(*arguments, cwd=folder) as server:
        for number in (1, 2):
            server.complains(f"INFO:     worker {number}: Application startup complete.")
        server.get("/healthz")
        until(lambda: '"GET /healthz HTTP/1.1" 200' in server.out)
        line = next(line for line in server.out.splitlines() if "/healthz" in line)
        assert line.startswith(("INFO:     worker 1: 127.0.0.1:", "INFO:     worker 2: 127.0.0.1:"))


def test_workers_that_never_come_up(folder: Path) -> None:
    """One line and exit code 1, after a few tries."""
    ended = hubbub("serve", "--port", "0", "--workers", "2", "dies:app", cwd=folder)
    assert (ended.code, ended.out) == (1, "")
    last = ended.err.splitlines()[-1]
    assert last.startswith("hubbub: no worker came up, 3 times in a row; worker 1 (process ")
    assert last.endswith(") was killed by SIGKILL")


def test_a_worker_that_dies_again_and_again_does_not_end_the_others(folder: Path) -> None:
    """It is tried again, later and later."""
    (folder / "later.py").write_text(DIES_LATER)
    with Server("later:app", "--workers", "2", cwd=folder) as server:
        server.complains("worker 2")
        server.complains("another one takes its place in 0.4 s")
        server.complains("another one takes its place in 0.8 s")
        assert "was killed by SIGSEGV" in server.err
        with crowd(server.port, 4) as clients:
            assert len(by_process(clients)) == 1
        assert server.stop(signal.SIGTERM) == 0


@pytest.mark.parametrize(
    ("target", "code", "line"),
    [
        ("broken:app", 1, "hubbub: importing broken failed: ZeroDivisionError: division by zero"),
        ("islands:nope", 2, "hubbub: module 'islands' has no attribute 'nope'; "),
    ],
)
def test_what_cannot_be_served_is_said_once(folder: Path, target: str, code: int, line: str) -> None:
    """As with one process, and with its exit code."""
    ended = hubbub("serve", "--port", "0", "--workers", "3", target, cwd=folder)
    assert (ended.code, ended.out) == (code, "")
    assert ended.err.splitlines()[-1].startswith(line)
    assert ended.err.count("hubbub: ") == 1


def test_the_sign_is_there_once(server: Server) -> None:
    """As soon as the server can be reached, and with how many workers it will have."""
    assert f"on {server.address} with islands:app, {WORKERS} workers\n" in server.out
    assert server.out.count("Ctrl+C stops.") == 1
    assert json.loads(server.get("/healthz").text) == {"status": "alive"}
