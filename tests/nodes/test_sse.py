"""Streams over nodes: two servers of their own, a reader that is cut off here and goes on there."""

import json
import random
import subprocess
import time
from itertools import chain

from ..cli.running import PATIENCE, Server
from ..transports.streams import Stream
from .several import an_address

GROUPS = ("orders:1", "orders:2", "orders:3")


def publish(server: Server, group: str, data: object) -> None:
    server.post("/api/publish", {"channel": group, "data": data})


def test_a_reader_goes_on_at_the_other_node() -> None:
    """Cut off again and again, at either: every message of every group once and in order."""
    flags = ("--no-demo", "--history-size", "1000", "--broker", an_address())
    chance = random.Random(5)
    with Server(*flags) as one, Server(*flags) as two:
        got: dict[str, list[int]] = {group: [] for group in GROUPS}
        last_id, said = "", 0
        for _ in range(25):
            here, there = chance.sample((one, two), 2)
            stream = Stream(here.port, *GROUPS, last_id=last_id, client_id="ada")
            if not last_id:
                stream.open(3)
            for _ in range(chance.randrange(6)):
                publish(chance.choice((here, there)), chance.choice(GROUPS), said)
                said += 1
            for _ in range(chance.randrange(12)):
                if sum(map(len, got.values())) == said:
                    break
                message = stream.hear("group_message", "group_joined")
                if message["type"] == "group_message":
                    got[message["group_name"]].append(message["data"])
                elif last_id:
                    assert message["recovered"] is True
            last_id = stream.last_id
            stream.vanish()
            publish(chance.choice((here, there)), chance.choice(GROUPS), said)
            said += 1
        with Stream(one.port, *GROUPS, last_id=last_id) as stream:
            while sum(map(len, got.values())) < said:
                message = stream.hear("group_message")
                got[message["group_name"]].append(message["data"])
        assert sorted(chain.from_iterable(got.values())) == list(range(said))
        for group, numbers in got.items():
            page = one.post("/api/history", {"channel": group, "limit": 1000})
            assert [each["data"] for each in page["result"]["publications"]] == numbers


def test_a_server_that_stops_lets_its_readers_go_on_elsewhere() -> None:
    """It tells them, and is gone in time; nothing is lost meanwhile."""
    flags = ("--no-demo", "--history-size", "100", "--broker", an_address())
    with Server(*flags) as one, Server(*flags) as two:
        stream = Stream(one.port, "orders:1", client_id="ada").open()
        began = time.monotonic()
        assert one.stop() == 0
        assert time.monotonic() - began < 5
        goodbye = stream.hear("disconnect")
        assert (goodbye["code"], goodbye["reconnect"]) == (3001, True)
        assert stream.event() is None
        publish(two, "orders:1", 1)
        with Stream(two.port, "orders:1", last_id=stream.last_id) as again:
            assert again.open().numbers(1) == [1]
        stream.close()


def test_curl_is_all_it_takes() -> None:
    """What is published is on its output."""
    with Server("--no-demo") as server:
        address = f"{server.url}/sse?groups=lobby"
        command = ["curl", "-sN", "--max-time", f"{PATIENCE:g}", address]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as curl:
            assert curl.stdout is not None
            for line in curl.stdout:
                if line == "event: group_joined\n":
                    publish(server, "lobby", "hello")
                if line.startswith("data: ") and json.loads(line[6:]).get("data") == "hello":
                    break
            curl.terminate()
