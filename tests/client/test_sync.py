"""The client without `await`, against a real server."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec import Struct

from hubbub.client import Gap, RefusedError, ReplyError, SyncClient, UnreachableError
from hubbub.hub import Hub

from ..transports.serving import FAST, NAMESPACES, Running, eventually, serving

ROOT = Path(__file__).parents[2]


class Order(Struct):
    n: int


@pytest.fixture
def server() -> Iterator[Running]:
    hub = Hub(namespaces=NAMESPACES)

    @hub.rpc("double")
    async def double(caller: object, data: int) -> int:
        return 2 * data

    with serving(FAST, hub=hub) as server:
        yield server


def threads() -> list[str]:
    """The threads that clients have left."""
    return [thread.name for thread in threading.enumerate() if thread.name == "hubbub client"]


def test_a_script_publishes_asks_and_loops(server: Running) -> None:
    """All in plain words, and afterwards nothing is left."""
    with SyncClient(server.url(""), "ada", proxy=None) as ada, SyncClient(server.url(""), proxy=None) as bob:
        assert ada.is_connected
        assert (ada.client_id, ada.state) == ("ada", "connected")
        orders = ada.group("kept:orders", Order, gaps=True)
        orders.join()
        positions = [bob.publish("kept:orders", {"n": number}) for number in range(5)]
        heard = []
        for message in orders:
            assert not isinstance(message, Gap)
            heard.append(message)
            if len(heard) == 5:
                break
        assert [message.data.n for message in heard] == list(range(5))
        assert [message.position for message in heard] == positions
        assert [message.data for message in orders.history(2).messages] == [Order(0), Order(1)]
        assert ada.history("kept:orders", 1, reverse=True).messages[0].data == {"n": 4}
        assert {member.client_id for member in orders.presence().values()} == {"ada"}
        assert orders.presence_stats().connections == 1
        assert bob.rpc("double", 21) == 42
        with pytest.raises(ReplyError):
            bob.rpc("nothing")
        orders.leave()
        assert list(ada.positions) == []
    assert threads() == []
    assert repr(ada) == f"<SyncClient {server.url()} 'ada': disconnected>"


def test_what_fails_is_raised_where_it_was_asked(server: Running) -> None:
    """And no thread is left of a connection that never was."""
    with pytest.raises(UnreachableError), SyncClient("ws://127.0.0.1:1", proxy=None):
        pass
    with pytest.raises(RefusedError), SyncClient(server.url("/nowhere"), proxy=None):
        pass
    assert threads() == []


def test_a_handler_runs_beside_the_script(server: Running) -> None:
    """In the client's own thread, where it cannot wait for the client."""
    heard: list[object] = []
    trouble: list[str] = []

    def handle(message: dict[str, object]) -> None:
        heard.append(message["data"])
        try:
            client.publish("news", 2)
        except RuntimeError as exc:
            trouble.append(str(exc))

    client = SyncClient(server.url(""), proxy=None)
    client.register_handler("group_message", handle)
    with client:
        client.group("news").join()
        client.publish("news", 1)
        eventually(lambda: heard == [1] and trouble)
    assert "nothing to wait for in it" in trouble[0]


SCRIPT = """
import sys
from hubbub.client import SyncClient

try:
    with SyncClient(sys.argv[1], proxy=None) as client:
        group = client.group("news")
        group.join()
        print("listening", flush=True)
        for message in group:
            print(message.data, flush=True)
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


def test_ctrl_c_ends_a_loop(server: Running) -> None:
    """At once, with the connection closed in good order."""
    with subprocess.Popen(
        [sys.executable, "-c", SCRIPT, server.url("")],
        stdout=subprocess.PIPE,
        cwd=ROOT,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "listening\n"
        server.do(server.hub.publish("news", "hello"))
        assert process.stdout.readline() == "hello\n"
        since = time.monotonic()
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == "interrupted\n"
        assert process.wait(10) == 0
        assert time.monotonic() - since < 5
    eventually(lambda: server.look(lambda: server.hub.total_connections) == 0)


def test_what_is_the_clients_own_comes_in_a_loop_too(server: Running) -> None:
    """From the call on."""
    with SyncClient(server.url(""), "ada", proxy=None) as client:
        own = client.own()
        server.do(server.hub.notify("ada", "shipped"))
        message = next(own)
        assert (message.channel, message.data, message.kind) == (
            "$client",
            "shipped",
            "personal_notification",
        )
