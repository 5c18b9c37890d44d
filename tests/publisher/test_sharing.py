"""One publisher for many threads, tasks and processes."""

import asyncio
import itertools
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from hubbub import AsyncPublisher, Publisher
from hubbub.brokers.base import BrokerUnavailable
from hubbub.brokers.redis import blocking
from hubbub.testing import MemoryClient

from ..servers import Valkey
from .faces import AT_MOST, NAMESPACES, hub_on, opened, run, shared_url, under_prefix

FORKING = """
import os, sys
from hubbub import Namespace, Publisher

publisher = Publisher(sys.argv[1], namespaces={"orders": Namespace(history_size=1000)})
publisher.publish("orders:1", "before")
children = []
for child in range(3):
    pid = os.fork()
    if pid == 0:
        for number in range(100):
            publisher.publish("orders:1", [child, number])
        if child == 0:
            publisher.close()
        os._exit(0)
    children.append(pid)
for number in range(100):
    publisher.publish("orders:1", ["parent", number])
assert all(os.waitpid(pid, 0)[1] == 0 for pid in children)
publisher.publish("orders:1", "after")
"""


def test_threads_publish_at_the_same_time() -> None:
    """Each gets positions of its own, in its own order, and none is lost; there is one epoch."""
    url = shared_url("standalone")
    with Publisher(url, namespaces=NAMESPACES) as publisher, ThreadPoolExecutor(100) as threads:

        def work(worker: int) -> list[tuple[str, int]]:
            positions = [publisher.publish("orders:1", [worker, number]) for number in range(10)]
            return [(position.epoch, position.offset) for position in positions if position is not None]

        begun = list(threads.map(work, range(100)))
    assert all(positions == sorted(positions) for positions in begun)
    everything = sorted(itertools.chain.from_iterable(begun))
    assert everything == [(everything[0][0], offset) for offset in range(1, 1001)]


def test_connections_are_bounded_and_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many threads there are; one after another they share one."""
    monkeypatch.setattr(blocking, "MOST_CONNECTIONS", 4)
    with Valkey() as valkey, Publisher(valkey.url) as publisher:

        def connections() -> int:
            return sum(blocking.NAME in line for line in valkey.run("CLIENT", "LIST").splitlines())

        for _ in range(10):
            publisher.broadcast(1)
        assert connections() == 1
        with ThreadPoolExecutor(20) as threads:
            list(threads.map(publisher.broadcast, range(200)))
        assert connections() <= 4
        publisher.close()
        deadline = time.monotonic() + 5
        while connections():
            assert time.monotonic() < deadline


def test_threads_that_get_no_turn_fail_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """They do not wait for one another beyond the deadline, with a server that is frozen."""
    monkeypatch.setattr(blocking, "MOST_CONNECTIONS", 1)
    with Valkey() as valkey, Publisher(valkey.url) as publisher:
        publisher.broadcast(1)
        valkey.pause()
        began = time.monotonic()
        with ThreadPoolExecutor(10) as threads:
            failures = [threads.submit(publisher.broadcast, 1) for _ in range(10)]
        assert time.monotonic() - began < AT_MOST
        assert all(isinstance(each.exception(), BrokerUnavailable) for each in failures)
        valkey.resume()
        publisher.broadcast(1)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_processes_that_fork_go_on_with_connections_of_their_own() -> None:
    """As the workers of a preforking server that share what was made before the fork."""

    async def scenario() -> None:
        url = shared_url("standalone")
        async with hub_on(url) as hub, MemoryClient(hub) as alice:
            joined = await alice.join("orders:1")
            process = await asyncio.create_subprocess_exec(sys.executable, "-c", FORKING, url)
            heard = [await alice.receive("group_message") for _ in range(402)]
            assert await process.wait() == 0
        assert [message["offset"] for message in heard] == list(range(1, 403))
        page_of = {
            child: [m["data"][1] for m in heard if m["data"][0] == child] for child in (0, 1, 2, "parent")
        }
        assert all(numbers == list(range(100)) for numbers in page_of.values())
        assert joined["offset"] == 0

    run(scenario())


def test_tasks_share_one_connection() -> None:
    """Also where they are the first to publish."""

    async def scenario() -> None:
        with Valkey() as valkey:
            async with AsyncPublisher(valkey.url, namespaces=NAMESPACES) as publisher:
                positions = await asyncio.gather(*(publisher.publish("orders:1", n) for n in range(500)))
                assert [position.offset for position in positions if position] == list(range(1, 501))
                clients = valkey.run("CLIENT", "LIST").splitlines()
                assert sum("name=hubbub-publisher" in line for line in clients) == 1

    run(scenario())


def test_a_publish_that_is_cancelled_leaves_the_others_alone() -> None:
    """Even the one that was the first to connect."""

    async def scenario() -> None:
        async with AsyncPublisher(shared_url("standalone"), namespaces=NAMESPACES) as publisher:
            first = asyncio.create_task(publisher.publish("orders:1", 1))
            second = asyncio.create_task(publisher.publish("orders:1", 2))
            await asyncio.sleep(0)
            first.cancel()
            assert await second is not None
            assert first.cancelled() or (await asyncio.wait([first]) and first.cancelled())

    run(scenario())


@pytest.mark.parametrize("face", ["sync", "async"])
def test_over_a_unix_socket(face: str, tmp_path: Path) -> None:
    """The server beside the application."""

    async def scenario() -> None:
        path = tmp_path / "valkey.sock"
        with Valkey(unixsocket=str(path)) as valkey:
            async with opened(face, under_prefix(f"unix://{path}", "&db=2")) as publisher:
                assert await publisher.publish("orders:1", 1)
            with valkey.client(db=2) as client:
                assert client.keys("test*.2:stream:{orders:1}")

    run(scenario())


@pytest.mark.parametrize("face", ["sync", "async"])
def test_a_server_that_asks_who_it_is(face: str) -> None:
    """By the name and the password of the URL."""

    async def scenario() -> None:
        with Valkey() as valkey:
            valkey.run("ACL", "SETUSER", "pub", "on", ">s3cret", "~*", "&*", "+@all")
            async with opened(face, under_prefix(f"redis://pub:s3cret@{valkey.address}/3")) as publisher:
                assert await publisher.publish("orders:1", 1)
            url = under_prefix(f"redis://pub:wrong@{valkey.address}", "&deadline=0.3")
            async with opened(face, url) as publisher:
                with pytest.raises(BrokerUnavailable, match="invalid username-password"):
                    await publisher.publish("orders:1", 1)

    run(scenario())


def test_a_script_that_ends_leaves_no_warning() -> None:
    """Neither publisher complains of what its process has not closed."""
    code = "import sys; from hubbub import Publisher; Publisher(sys.argv[1]).broadcast(1); print('published')"
    ended = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", code, shared_url("standalone")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.stdout, ended.stderr, ended.returncode) == ("published\n", "", 0)
