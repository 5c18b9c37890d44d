"""The client without `await` among threads, signals, other event loops and the collector."""

import asyncio
import gc
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from hubbub.client import ClientError, SyncClient
from hubbub.hub import Hub, Options

from ..transports.serving import FAST, NAMESPACES, Running, eventually, serving
from .test_sync import ROOT, threads

FREELY = Options(messages_per_second=1e6, messages_burst=1_000_000)


@pytest.fixture
def server() -> Iterator[Running]:
    with serving(FAST, hub=Hub(namespaces=NAMESPACES, options=FREELY)) as server:
        yield server


def publish(server: Running, numbers: range, group: str = "kept:orders") -> None:
    """Publish these one after another, in one go."""

    async def all_of_them() -> None:
        for number in numbers:
            await server.hub.publish(group, number)

    server.do(all_of_them())


def test_what_is_handed_over_counts_as_given_one_by_one(server: Running) -> None:
    """Many go from thread to thread at once, and yet the positions follow the program."""
    with SyncClient(server.url(""), proxy=None) as client:
        orders = client.group("kept:orders")
        orders.join()
        publish(server, range(100))
        loop = iter(orders)
        for number in range(1, 41):
            assert next(loop).data == number - 1
            if number > 1:
                assert client.positions["kept:orders"]["offset"] == number - 1
        del loop
        assert client.positions["kept:orders"]["offset"] == 39


def test_what_waits_at_the_end_is_given(server: Running) -> None:
    """After `disconnect()` a loop goes through what is left, without a thread, and ends."""
    client = SyncClient(server.url(""), proxy=None)
    client.connect()
    orders = client.group("kept:orders")
    orders.join()
    publish(server, range(30))
    loop = iter(orders)
    heard = [next(loop).data]
    eventually(lambda: client._client._groups.wanted["kept:orders"].channel.held.offset == 30)  # type: ignore[union-attr]
    client.disconnect()
    assert threads() == []
    heard += [message.data for message in loop]
    assert heard == list(range(30))
    assert client.positions["kept:orders"]["offset"] == 30
    with pytest.raises(ClientError, match="connect"):
        next(iter(client.group("kept:orders")))
    with pytest.raises(ClientError, match="started"):
        client.publish("kept:orders", 1)


def test_threads_share_a_client_and_even_a_loop(server: Running) -> None:
    """Each message goes to one of them, and `disconnect()` ends them all."""
    client = SyncClient(server.url(""), proxy=None)
    client.connect()
    loop = iter(client.group("kept:orders"))
    heard: list[list[int]] = [[] for _ in range(4)]
    trouble: list[BaseException] = []

    def listen(mine: list[int]) -> None:
        try:
            for message in loop:
                client.publish("elsewhere", message.data)
                mine.append(message.data)
        except BaseException as exc:  # noqa: BLE001 - whatever it is, the test is to see it
            trouble.append(exc)

    listeners = [threading.Thread(target=listen, args=(mine,)) for mine in heard]
    for each in listeners:
        each.start()
    eventually(lambda: server.look(server.hub.groups).get("kept:orders") == 1)
    publish(server, range(300))
    eventually(lambda: sum(map(len, heard)) == 300)
    client.disconnect()
    for each in listeners:
        each.join(5)
        assert not each.is_alive()
    assert sorted(number for mine in heard for number in mine) == list(range(300))
    assert trouble == []
    assert threads() == []


def test_connecting_and_leaving_from_many_threads_at_once(server: Running) -> None:
    """There is one thread for the client, and then none."""
    client = SyncClient(server.url(""), proxy=None)
    for work in (client.connect, client.disconnect):
        both = [threading.Thread(target=work) for _ in range(4)]
        for each in both:
            each.start()
        for each in both:
            each.join(5)
            assert not each.is_alive()
        assert len(threads()) == int(work == client.connect)


def test_calls_that_wait_while_another_thread_disconnects_end(server: Running) -> None:
    """With a name of the client's own, and at once."""
    ends: list[BaseException] = []
    asked = threading.Event()

    @server.hub.rpc("slow")
    async def slow(caller: object, data: object) -> None:
        asked.set()
        await asyncio.sleep(1)

    client = SyncClient(server.url(""), proxy=None, close_timeout=0.1)
    client.connect()

    def call() -> None:
        try:
            client.rpc("slow")
        except ClientError as exc:
            ends.append(exc)

    calling = threading.Thread(target=call)
    calling.start()
    assert asked.wait(5)
    client.disconnect()
    calling.join(5)
    assert len(ends) == 1


def test_a_loop_that_runs_in_the_same_thread_is_no_hindrance(server: Running) -> None:
    """As in a notebook, whose cells run in an event loop."""

    async def cell() -> None:
        with SyncClient(server.url(""), proxy=None) as client:
            loop = iter(client.group("kept:orders"))
            client.publish("kept:orders", 0)
            orders = client.group("kept:orders")
            orders.join()
            client.publish("kept:orders", 1)
            assert next(iter(orders)).data == 1
            loop.close()  # type: ignore[attr-defined]
            assert list(loop) == []

    asyncio.run(cell())
    assert threads() == []


def test_a_client_that_is_forgotten_is_closed(server: Running) -> None:
    """With its thread and its socket, by the collector, whatever loops there were."""
    client = SyncClient(server.url(""), proxy=None)
    client.connect()
    orders = client.group("kept:orders")
    orders.join()
    publish(server, range(3))
    loop = iter(orders)
    assert next(loop).data == 0
    del client, orders, loop
    gc.collect()
    eventually(lambda: threads() == [])
    eventually(lambda: server.look(lambda: server.hub.total_connections) == 0)


FORGETFUL = """
import sys
from hubbub.client import SyncClient

client = SyncClient(sys.argv[1], proxy=None)
client.connect()
group = client.group("kept:orders")
group.join()
client.publish("kept:orders", 1)
loop = iter(group)
print(next(loop).data, flush=True)
"""


def test_a_program_that_forgets_to_close_ends_all_the_same(server: Running) -> None:
    """At once, without a word, and with a close frame."""
    since = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-c", FORGETFUL, server.url("")],
        capture_output=True,
        text=True,
        timeout=20,
        cwd=ROOT,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "1\n", "")
    assert time.monotonic() - since < 10


INTERRUPTED = """
import sys
from hubbub.client import SyncClient

with SyncClient(sys.argv[1], proxy=None) as client:
    group = client.group("kept:orders")
    group.join()
    loop = iter(group)
    print("listening", flush=True)
    while True:
        try:
            for message in loop:
                print(message.data, flush=True)
                if message.data == 9:
                    sys.exit()
        except KeyboardInterrupt:
            print("interrupted", client.state, flush=True)
"""


def test_ctrl_c_in_the_middle_of_waiting_loses_nothing(server: Running) -> None:
    """A program that catches it can go on with the same loop."""
    with subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED, server.url("")],
        stdout=subprocess.PIPE,
        cwd=ROOT,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "listening\n"
        for number in range(10):
            if number % 2:
                process.send_signal(signal.SIGINT)
                assert process.stdout.readline() == "interrupted connected\n"
            publish(server, range(number, number + 1))
            assert process.stdout.readline() == f"{number}\n"
        assert process.wait(10) == 0
