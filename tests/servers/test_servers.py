"""The servers that other tests rely on: they do what they are told, and leave nothing behind."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
import redis
from redis.crc import key_slot

from . import Cluster, DidNotStart, Proxy, SentinelSet, Valkey, subscribers, until
from .shared import standalone

SOON = 0.2
"""Seconds until an answer that does not come is not waited for any longer."""


@contextmanager
def through(proxy: Proxy) -> Iterator[redis.Redis]:
    """A client of the server behind a proxy."""
    retry = redis.retry.Retry(redis.backoff.NoBackoff(), 0)
    with redis.Redis(port=proxy.port, socket_timeout=SOON, retry=retry) as client:
        yield client


def is_there(pid: int) -> bool:
    """Whether there is such a process."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_server_answers_where_its_url_says() -> None:
    """As soon as it has started."""
    with Valkey() as server, redis.Redis.from_url(server.url) as client:
        assert client.set("a", "1")
        assert client.get("a") == b"1"


def test_a_restarted_server_has_what_it_wrote_to_disk() -> None:
    """With an append-only file everything, else nothing; on the same port."""
    with Valkey(appendonly="yes", appendfsync="always") as keeps, Valkey() as forgets:
        urls = keeps.url, forgets.url
        for server in (keeps, forgets):
            server.run("SET", "a", "1")
            server.restart()
        assert (keeps.run("GET", "a"), forgets.run("GET", "a")) == ("1", None)
        keeps.kill()
        keeps.start()
        assert keeps.run("GET", "a") == "1"
        keeps.restart(keep_data=False)
        assert keeps.run("GET", "a") is None
        assert (keeps.url, forgets.url) == urls


def test_a_frozen_server_answers_when_it_goes_on() -> None:
    """Its connections stay, and new ones succeed."""
    with Valkey() as server, server.client(socket_timeout=SOON) as client:
        client.ping()
        server.pause()
        with pytest.raises(redis.TimeoutError):
            client.set("a", "1")
        with closing(socket.create_connection(("127.0.0.1", server.port), SOON)):
            server.resume()
        until(client.ping, "it goes on")
        assert client.get("a") == b"1"


def test_nothing_is_left_behind() -> None:
    """No process and no file, whatever state a server is in."""
    with Valkey() as running, Valkey() as frozen, Valkey() as stopped:
        servers = running, frozen, stopped
        pids = [server.pid for server in servers]
        frozen.pause()
        stopped.stop()
        assert [is_there(pid) for pid in pids] == [True, True, False]
    assert not any(is_there(pid) for pid in pids)
    assert not any(server.folder.exists() for server in servers)


def test_a_server_ends_with_a_test_run_that_is_killed(tmp_path: Path) -> None:
    """Also a frozen one, which nobody would ever find."""
    script = """
from tests.servers import Valkey
with Valkey() as server:
    server.pause()
    print(server.pid, flush=True)
    input()
"""
    with subprocess.Popen(
        [sys.executable, "-c", script],
        cwd=Path(__file__).parents[2],
        env=os.environ | {"TMPDIR": str(tmp_path)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as run:
        assert run.stdout is not None
        pid = int(run.stdout.readline())
        assert is_there(pid)
        run.send_signal(signal.SIGKILL)
    until(lambda: not is_there(pid), "the server has ended")


def test_a_server_that_cannot_start_says_why() -> None:
    """In its own words."""
    with pytest.raises(DidNotStart, match=r"'no-such-thing 1'\s+Bad directive"), Valkey(no_such_thing=1):
        pass


def test_a_server_takes_another_port_where_its_own_was_taken() -> None:
    """But only as long as nobody knows it by that."""
    server = Valkey(appendonly="yes")
    with closing(socket.create_server(("127.0.0.1", server.port))) as other, server:
        assert server.port != other.getsockname()[1]
        url = server.url
        server.run("SET", "a", "1")
        server.stop()
        with (
            closing(socket.create_server(("127.0.0.1", server.port))),
            pytest.raises(DidNotStart, match="Address already in use"),
        ):
            server.start()
        server.start()
        assert server.url == url
        assert server.run("GET", "a") == "1"


def test_shared_servers_are_started_once() -> None:
    """By the first that asks."""
    assert standalone() is standalone()
    assert standalone().run("PING")


def test_the_sentinels_promote_the_replica() -> None:
    """What it had is there, and the old master comes back as a replica, in the end if not at once."""
    with SentinelSet() as servers:
        first, second = servers.master(), servers.replica()
        first.run("SET", "a", "1")
        servers.settle()
        assert servers.fail_over() is servers.master() is second
        assert second.run("GET", "a") == "1"
        second.run("SET", "b", "2")
        assert servers.revive(as_master=True) is first
        assert first.run("GET", "b") is None
        servers.settle()
        assert servers.replica() is first
        assert first.run("GET", "b") == "2"
        assert servers.switch_over() is servers.master() is first
        assert servers.url.count(",") == 2


def test_a_cluster_answers_for_all_keys_whatever_befalls_a_node() -> None:
    """Keys move with their slot, and a replica takes over from a primary."""
    keys = {f"key {number}": f"{number}" for number in range(50)}
    with Cluster(replicas=True) as cluster, cluster.client(decode_responses=True) as client:

        def answers() -> bool:
            return {key: client.get(key) for key in keys} == keys

        for key, value in keys.items():
            client.set(key, value)
        owners = {cluster.owner_of(key) for key in keys}
        assert owners == set(cluster.nodes[:3])
        assert all(owner.address in cluster.url for owner in owners)

        here, there, _ = owners
        key = next(key for key in keys if cluster.owner_of(key) is here)
        with cluster.moving_slot(key_slot(key.encode()), there):
            assert cluster.owner_of(key) is here
            with pytest.raises(redis.exceptions.AskError):
                here.run("GET", key)
            assert answers()
        assert cluster.owner_of(key) is there
        assert there.run("GET", key) == keys[key]

        cluster.settle()
        promoted = cluster.fail_over(there)
        assert cluster.owner_of(key) is promoted
        assert answers()
        cluster.restart(there)
        assert cluster.replica_of(promoted) is there
        assert cluster.switch_over(promoted) is cluster.owner_of(key) is there
        assert answers()


def test_a_black_hole_for_subscribers_lets_commands_through() -> None:
    """What is in it stays in it, until the client gives up."""
    with Proxy(standalone().port) as proxy, through(proxy) as client, client.pubsub() as subscriber:
        channel = "a black hole"
        subscriber.subscribe(channel)
        assert subscriber.get_message(timeout=1)["type"] == "subscribe"
        client.publish(channel, "1")
        assert subscriber.get_message(timeout=1)["data"] == b"1"
        assert (proxy.count(), proxy.count(subscribers)) == (2, 1)

        proxy.black_hole(subscribers)
        assert client.publish(channel, "2") == 1
        assert subscriber.get_message(timeout=SOON) is None
        with client.pubsub() as another:
            another.subscribe(channel)
            assert another.get_message(timeout=SOON) is None
            assert client.ping()
        proxy.heal()
        client.publish(channel, "3")
        assert subscriber.get_message(timeout=SOON) is None
        assert proxy.count(subscribers) == 1
        subscriber.connection.disconnect()
        until(lambda: proxy.count(subscribers) == 0, "the proxy sees that the client has gone")
        subscriber.connection.connect()
        assert subscriber.get_message(timeout=1)["type"] == "subscribe"


def test_a_proxy_cuts_refuses_and_delays() -> None:
    """And is a plain proxy again once it is healed."""
    with Proxy(standalone().port) as proxy, through(proxy) as client:
        client.ping()
        proxy.refuse()
        assert client.ping()
        assert proxy.cut() == 1
        with pytest.raises(redis.ConnectionError, match="refused"):
            client.ping()
        proxy.accept()
        assert client.ping()

        proxy.delay(SOON / 4)
        before = time.monotonic()
        assert client.ping()
        assert time.monotonic() - before >= SOON / 2
        proxy.delay(SOON)
        with pytest.raises(redis.TimeoutError):
            client.ping()
        proxy.heal()
        assert client.ping()

        proxy.black_hole()
        with pytest.raises(redis.TimeoutError):
            client.ping()
        proxy.heal()
        assert client.ping()
        big = b"x" * 1_000_000
        assert client.echo(big) == big
