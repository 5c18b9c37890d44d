"""`hubbub serve`, the server of its own."""

import signal
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import trustme
from websockets.sync.client import connect

from .conftest import Command
from .running import Running, Server, hubbub, until


def test_it_says_where_to_look_and_is_there(server: Server) -> None:
    """With the real port for port 0."""
    for path in ("/", "/docs", "/stats", "/metrics"):
        assert f"{server.url}{path}\n" in server.out
        assert server.get(path).status_code == 200
    ws = f"ws://{server.address}/ws"
    assert f"{ws}\n" in server.out
    with connect(ws, proxy=None) as client:
        assert "connection_established" in client.recv()


def test_it_says_nothing_more(server: Server) -> None:
    """The lines of the HTTP server under it do not drown ours, and a pipe gets no colours."""
    assert server.err == ""
    assert len(server.out.splitlines()) == 7
    assert "\x1b" not in server.out


def test_flags_and_variables_reach_the_server() -> None:
    """A flag wins; the page is there only with the demo on."""
    env = {"HUBBUB_API_KEYS": "secret", "HUBBUB_HISTORY_SIZE": "0", "HUBBUB_PORT": "1"}
    with Server("--no-demo", "--history-size", "3", env=env) as server:
        assert "page" not in server.out
        assert server.get("/").status_code == 404
        request = httpx.Request(
            "POST",
            f"{server.url}/api/publish",
            headers={"X-API-Key": "secret"},
            json={"channel": "lobby", "data": 1},
        )
        with httpx.Client(trust_env=False) as client:
            assert client.send(request).json()["result"]["offset"] == 1
        assert server.post("/api/info", {})["detail"].startswith("an API key is needed")


def test_a_log_level_or_an_access_log_that_is_asked_for_is_there() -> None:
    """The HTTP server's own lines only on demand."""
    with Server("--log-level", "info", "--access-log") as server:
        server.complains("Application startup complete")
        server.get("/healthz")
        server.says('"GET /healthz HTTP/1.1" 200')
    with Server("--access-log") as server:
        server.get("/healthz")
        server.says('"GET /healthz HTTP/1.1" 200')
        assert server.err == ""


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_with_clients_told(how: signal.Signals) -> None:
    """Exit code 0, and not a word on stderr."""
    with Server() as server, connect(f"ws://{server.address}/ws", proxy=None) as client:
        client.recv()
        server.process.send_signal(how)
        until(lambda: client.protocol.close_rcvd is not None)
        assert client.protocol.close_rcvd is not None
        assert 3000 <= client.protocol.close_rcvd.code < 3500
        assert server.ended() == 0
        assert server.err == ""
        assert "Stopping" in server.out


def test_a_second_ctrl_c_does_not_wait() -> None:
    """A client that does not answer its close is left behind."""
    with Server() as server, socket.create_connection(("127.0.0.1", server.port)) as silent:
        silent.sendall(
            b"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        )
        assert silent.recv(65536)
        server.process.send_signal(signal.SIGINT)
        server.says("Stopping")
        assert server.stop(signal.SIGINT) == 0
        assert server.err == ""


def test_it_stops_by_sigterm_where_ctrl_c_is_ignored() -> None:
    """As scripts start what goes to the background."""
    ours = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        server = Server()
    finally:
        signal.signal(signal.SIGINT, ours)
    with server:
        assert server.stop(signal.SIGTERM) == 0
        assert server.err == ""


def test_colours_are_for_terminals() -> None:
    """And for those that want them."""
    with Server(terminal=True) as coloured, Server(terminal=True, env={"NO_COLOR": "1"}) as plain:
        assert "\x1b[" in coloured.out
        assert "\x1b" not in plain.out


@pytest.mark.parametrize(
    ("arguments", "env", "words"),
    [
        (("--port", "x"), {}, ("--port is 'x'", "whole number")),
        ((), {"HUBBUB_PORT": "x"}, ("HUBBUB_PORT is 'x'", "whole number")),
        (("--idle-timeout", "-1"), {}, ("--idle-timeout is '-1'", "above 0")),
        (("--slow-policy", "wait"), {}, ("--slow-policy", "drop_oldest")),
        (("--broker", "telepathy://x"), {}, ("--broker", "'telepathy'", "memory://")),
        ((), {"HUBBUB_BROKER": "telepathy://x"}, ("HUBBUB_BROKER", "memory://")),
        (("--host", "0.0.0.0"), {}, ("0.0.0.0", "--insecure")),
        (("--host", "no.such.host.invalid", "--insecure"), {}, ("no.such.host.invalid",)),
        (("--tls-cert", "missing.pem", "--tls-key", "missing.pem"), {}, ("tls_cert", "missing.pem")),
        (("--tls-key", "missing.pem"), {}, ("tls_cert", "tls_key")),
    ],
)
def test_what_cannot_be_served_is_one_line(
    command: Command, arguments: tuple[str, ...], env: dict[str, str], words: tuple[str, ...]
) -> None:
    """That names the setting and what would be right, and exit code 2."""
    refused = command("serve", *arguments, env=env)
    assert (refused.code, refused.out) == (2, "")
    for word in words:
        assert word in refused.complaint


def test_a_port_in_use(command: Command, server: Server) -> None:
    """One line, and what to do."""
    refused = command("serve", "--port", str(server.port))
    assert (refused.code, refused.out) == (2, "")
    assert refused.complaint == (
        f"port {server.port} on 127.0.0.1 is in use; stop what uses it or give another --port"
    )


@contextmanager
def certificates(folder: Path) -> Iterator[tuple[str, str, str]]:
    """A certificate for 127.0.0.1, its key, and who vouches for them; as files."""
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1")
    files = [folder / name for name in ("cert.pem", "key.pem", "ca.pem")]
    for file, blobs in zip(
        files,
        (issued.cert_chain_pems, [issued.private_key_pem], [authority.cert_pem]),
        strict=True,
    ):
        file.write_bytes(b"".join(blob.bytes() for blob in blobs))
    yield str(files[0]), str(files[1]), str(files[2])


def test_tls_from_end_to_end(tmp_path: Path) -> None:
    """Serve, subscribe and publish over it."""
    with certificates(tmp_path) as (cert, key, ca), Server("--tls-cert", cert, "--tls-key", key) as server:
        url = f"https://{server.address}"
        assert f"{url}/stats\n" in server.out
        assert f"wss://{server.address}/ws\n" in server.out
        trust = {"SSL_CERT_FILE": ca}
        with Running("subscribe", "--url", url, "--count", "1", "lobby", env=trust) as subscriber:
            with httpx.Client(trust_env=False, verify=ssl.create_default_context(cafile=ca)) as client:
                until(lambda: client.get(f"{url}/stats").json()["active_groups"])
            assert hubbub("publish", "--url", url, "lobby", "hello", env=trust).code == 0
            assert subscriber.ended() == 0
            assert subscriber.messages()[0]["data"] == "hello"
        assert hubbub("publish", "--url", url, "lobby", "hello").code == 3


def test_tls_files_that_do_not_fit(command: Command, tmp_path: Path) -> None:
    """One line each, and exit code 2."""
    with certificates(tmp_path) as (cert, key, ca):
        for arguments, word in (
            (("--tls-cert", cert), "--tls-key"),
            (("--tls-cert", ca, "--tls-key", key), "tls_key"),
            (("--tls-cert", key, "--tls-key", cert), "PEM"),
            (("--tls-cert", str(tmp_path), "--tls-key", key), "tls_cert"),
        ):
            refused = command("serve", "--port", "0", *arguments)
            assert (refused.code, refused.out) == (2, "")
            assert word in refused.complaint
