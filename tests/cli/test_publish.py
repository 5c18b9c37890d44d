"""`hubbub publish`."""

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from .conftest import Command
from .running import Ended, Running, Server, hubbub, until


@pytest.fixture
def publish(server: Server, command: Command) -> Callable[..., Ended]:
    """Publish on the shared server."""

    def run(*arguments: str, stdin: bytes = b"") -> Ended:
        return command("publish", "--url", server.url, *arguments, stdin=stdin)

    return run


def history(server: Server, channel: str) -> list[object]:
    """What was published there."""
    page = server.post("/api/history", {"channel": channel, "limit": -1})
    return [publication["data"] for publication in page["result"]["publications"]]


@pytest.mark.parametrize(
    ("data", "arrives"),
    [
        ('{"a": [1, null, true]}', {"a": [1, None, True]}),
        ("42", 42),
        ('"42"', "42"),
        ("hello", "hello"),
        ("hello, world", "hello, world"),
        ("{broken", "{broken"),
        ("NaN", "NaN"),
        ("", ""),
        ("grüße ☃", "grüße ☃"),
    ],
)
def test_json_is_sent_as_it_is_and_text_as_a_string(
    server: Server, publish: Callable[..., Ended], data: str, arrives: object
) -> None:
    """What is not JSON is text."""
    channel = f"data-{data.encode().hex()}"
    published = publish(channel, data)
    assert (published.code, published.err) == (0, "")
    assert history(server, channel) == [arrives]


def test_the_position_is_printed_where_there_is_one(
    command: Command, publish: Callable[..., Ended], locked: Server
) -> None:
    """Without history there is none, and nothing to say."""
    first, second = publish("positions", "1"), publish("positions", "2")
    word, offset, epoch_word, epoch = first.out.split()
    assert (word, offset, epoch_word) == ("offset", "1", "epoch")
    assert second.out == f"offset 2 epoch {epoch}\n"
    assert command("publish", "--url", locked.url, "--api-key", "sesame", "lobby", "1").out == ""


def test_an_idempotency_key_publishes_once(server: Server, publish: Callable[..., Ended]) -> None:
    """And answers with the first one's position."""
    both = [publish("once", str(n), "--idempotency-key", "k", "--key", "x").out for n in (1, 2)]
    assert both[0] == both[1]
    assert history(server, "once") == [1]


def test_stdin_is_one_message(server: Server) -> None:
    """Without the newline that every file ends with."""
    for content in (b'{\n"a": 1\n}\n', b"two\nlines\n"):
        assert hubbub("publish", "--url", server.url, "stdin", "-", stdin=content).code == 0
    assert history(server, "stdin") == [{"a": 1}, "two\nlines"]


def test_lines_of_stdin_are_messages(server: Server, publish: Callable[..., Ended]) -> None:
    """JSON or text, each; empty ones are none."""
    published = publish("lines", "-", "--lines", stdin=b'one\r\n\n{"two": 2}\n 3 \nfour')
    assert published.code == 0
    assert len(published.out.splitlines()) == 4
    assert history(server, "lines") == ["one", {"two": 2}, 3, "four"]


def test_a_line_that_fails_is_named(publish: Callable[..., Ended]) -> None:
    """Those before it are published."""
    refused = publish("named", "-", "--lines", stdin=b"one\n\xff\n")
    assert refused.code == 2
    assert refused.complaint.startswith("line 2: ")
    assert refused.out.startswith("offset 1 ")


@pytest.mark.parametrize(
    ("arguments", "stdin", "words"),
    [
        (("lobby", "x", "--lines"), b"", ("--lines", "stdin")),
        (("lobby", "-", "--lines", "--idempotency-key", "k"), b"", ("--idempotency-key",)),
        (("lobby", "-"), b"", ("stdin",)),
        (("lobby", "-"), b"\xff", ("UTF-8",)),
        (("lobby", "[" * 100_000), b"", ("nested",)),
        (("lobby", "x", "--api-key", "schlüssel"), b"", ("API key",)),
        (("lobby", "x", "--url", "localhost:8000"), b"", ("localhost:8000", "ws://")),
        (("lobby", "x", "--url", "http://"), b"", ("http://", "host")),
    ],
)
def test_wrong_usage(
    publish: Callable[..., Ended], arguments: tuple[str, ...], stdin: bytes, words: tuple[str, ...]
) -> None:
    """One line, and exit code 2."""
    refused = publish(*arguments, stdin=stdin)
    assert (refused.code, refused.out) == (2, "")
    for word in words:
        assert word in refused.complaint


def test_what_the_server_refuses_is_its_own_sentence(publish: Callable[..., Ended]) -> None:
    """With its code; exit code 1."""
    refused = publish("", "x")
    assert (refused.code, refused.out) == (1, "")
    assert refused.complaint == "field `channel` is empty; give it at least one character (107)"
    assert "1048576 bytes" in publish("lobby", "-", stdin=b"x" * 1_100_000).complaint


def test_api_keys(command: Command, locked: Server) -> None:
    """As an option or from the environment; exit code 1 without."""
    publish = ("publish", "--url", locked.url, "lobby", "x")
    assert command(*publish, "--api-key", "sesame").code == 0
    assert command(*publish, env={"HUBBUB_API_KEY": "other"}).code == 0
    without, wrong = command(*publish), command(*publish, "--api-key", "guess")
    assert (without.code, wrong.code) == (1, 1)
    assert "--api-key" in without.complaint
    assert wrong.complaint == "the server does not know this API key"


def test_the_url_from_the_environment(command: Command, server: Server) -> None:
    """In whichever of its forms."""
    for url in (server.url, f"{server.url}/", f"ws://{server.address}", f"ws://{server.address}/ws"):
        assert command("publish", "anywhere", "x", env={"HUBBUB_URL": url}).code == 0


def test_no_server_there(command: Command) -> None:
    """One line, and exit code 3."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: nobody else can
        url = f"http://user:secret@127.0.0.1:{taken.getsockname()[1]}"
        refused = command("publish", "--url", url, "lobby", "x")
    assert (refused.code, refused.out) == (3, "")
    assert "Is the server running?" in refused.complaint
    assert "secret" not in refused.complaint


@contextmanager
def something_else(status: int, body: bytes, **headers: str) -> Iterator[str]:
    """A server that answers everything with this."""

    class Answer(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Be quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as http:
        thread = Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{http.server_port}"
        finally:
            http.shutdown()
            thread.join()


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (404, b'{"detail": "Not Found"}', ("HTTP 404 Not Found", "Is it a Hubbub server?")),
        (502, b"<html>\x1b[31mBad\n gateway</html>", ("HTTP 502 Bad Gateway",)),
        (503, b'{"detail": "the broker does not answer: x"}', ("the broker does not answer: x (HTTP 503)",)),
        (200, b"<html>", ("else than JSON",)),
        (200, b"[]", ("else than JSON",)),
        (200, b"{}", ("Is it a Hubbub server?",)),
        (200, b'{"error": {"code": 100, "message": "a\\nb\\u001b[31m"}}', ("a b\\x1b[31m (100)",)),
    ],
)
def test_a_server_that_says_no_or_is_another(
    command: Command, status: int, body: bytes, words: tuple[str, ...]
) -> None:
    """One line that steers no terminal, and exit code 1."""
    with something_else(status, body) as url:
        refused = command("publish", "--url", url, "lobby", "x")
    assert (refused.code, refused.out) == (1, "")
    for word in words:
        assert word in refused.complaint
    assert "\x1b" not in refused.err


def test_a_server_that_has_moved(command: Command) -> None:
    """A publication is not repeated elsewhere; the line says where it is."""
    with something_else(301, b"", location="https://push.example.com/") as url:
        refused = command("publish", "--url", url, "lobby", "x")
    assert refused.code == 1
    assert "HTTP 301 Moved Permanently and points to https://push.example.com/" in refused.complaint


def test_ctrl_c_is_no_success() -> None:
    """The message may not have been sent."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with Running("publish", "--url", url, "lobby", "x") as publisher:
            connection, _ = silent.accept()
            with connection:
                until(lambda: connection.recv(65536))
                assert publisher.stop() == 130
                assert publisher.err == ""
