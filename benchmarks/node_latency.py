"""How long a publication takes: to its own node, to another one, and on a node without Redis."""

import json
import os
import select
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from statistics import median, quantiles

from benchmarks.harness import CPUS, LOAD_CPU, SERVER_CPU, BenchError
from benchmarks.hubbub_server import Hubbub
from benchmarks.options import Options
from benchmarks.valkey import Valkey

GROUP = "g0"
WARM_UP = 200
PATIENCE = 5.0


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Of milliseconds."""

    p50: float
    p99: float


@dataclass(frozen=True, slots=True)
class LatencyResult:
    """From the publisher's call to the subscriber's receipt; `more` is what the other node took longer."""

    via: str
    samples: int
    memory: Percentiles
    same_node: Percentiles
    other_node: Percentiles
    more: Percentiles

    @property
    def added_ms(self) -> float:
        """What the way through Redis to another node adds, at the median."""
        return self.other_node.p50 - self.memory.p50


class Peer:
    """A bare WebSocket or HTTP connection, so that no client library is measured."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def fileno(self) -> int:
        return self.socket.fileno()

    def read_till(self, text: bytes) -> None:
        """Returns when this has come in, and drops what came with it."""
        data, deadline = b"", time.monotonic() + PATIENCE
        while text not in data:
            if not select.select([self], [], [], max(0.0, deadline - time.monotonic()))[0]:
                raise BenchError(f"latency: {text.decode()!r} did not arrive within {PATIENCE:.0f} seconds")
            data += self.socket.recv(65536)

    def join(self) -> None:
        """Makes it a WebSocket that is in the group."""
        self.socket.sendall(
            b"GET /ws HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        self.read_till(b"connection_established")
        self.socket.sendall(frame({"type": "join_group", "group_name": GROUP}))
        self.read_till(b"group_joined")


def frame(message: dict[str, object]) -> bytes:
    """A client's text frame; the mask is all zeros, so the payload stays as it is."""
    payload = json.dumps(message, separators=(",", ":")).encode()
    assert len(payload) < 126
    return bytes((0x81, 0x80 | len(payload), 0, 0, 0, 0)) + payload


def chat(number: int) -> bytes:
    return frame({"type": "chat_message", "group_name": GROUP, "message": {"n": number}})


def request(number: int) -> bytes:
    body = f'{{"channel":"{GROUP}","data":{{"n":{number}}}}}'
    head = f"POST /api/publish HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(body)}\r\n\r\n"
    return (head + body).encode()


WAYS = {"HTTP API": (request, b'{"result"'), "WebSocket": (chat, b"")}
"""How to publish a number, and what the publisher is answered."""


@dataclass(frozen=True, slots=True)
class Route:
    """A publisher, and those who are to get what it publishes."""

    publisher: Peer
    subscribers: list[Peer]

    def measure(self, message: bytes, number: int, answer: bytes) -> list[float]:
        """Publishes; returns how many milliseconds it took to each subscriber."""
        mark = f'"n":{number}}}'.encode()
        took: dict[Peer, float] = {}
        data = dict.fromkeys(self.subscribers, b"")
        began = time.monotonic()
        self.publisher.socket.sendall(message)
        while len(took) < len(self.subscribers):
            waiting = [peer for peer in self.subscribers if peer not in took]
            ready, _, _ = select.select(waiting, [], [], PATIENCE)
            now = time.monotonic()
            if not ready:
                raise BenchError(f"latency: a publication did not arrive within {PATIENCE:.0f} seconds")
            for peer in ready:
                data[peer] += peer.socket.recv(65536)
                if mark in data[peer]:
                    took[peer] = (now - began) * 1000
        if answer:
            self.publisher.read_till(answer)
        return [took[peer] for peer in self.subscribers]


def percentiles(values: list[float]) -> Percentiles:
    return Percentiles(median(values), quantiles(values, n=100)[98])


def run(options: Options) -> list[LatencyResult]:
    """Publications in turn on a node behind Redis and on one without, a hundred a second of each."""
    options.say(f"nodes: latency, {options.latency_samples} publications each way")
    with ExitStack() as stack:
        stack.enter_context(on_any_core())
        quiet = ["--idle-timeout", "3600", *options.serve_arguments]
        # Two nodes are two machines: neither waits for the other's core. The rest finds its own.
        valkey = stack.enter_context(Valkey(cpus=set(CPUS)))
        behind = ["--broker", valkey.url("latency"), *quiet]
        first = stack.enter_context(Hubbub(behind, name="hubbub-1", cpus=SERVER_CPU))
        second = stack.enter_context(Hubbub(behind, name="hubbub-2", cpus=LOAD_CPU))
        alone = stack.enter_context(Hubbub(quiet, name="hubbub-alone", cpus=SERVER_CPU))
        here, there, apart = Peer(first.port), Peer(second.port), Peer(alone.port)
        for subscriber in (here, there, apart):
            subscriber.join()
        results = []
        for via, (write, answer) in WAYS.items():
            over = Route(Peer(first.port), [here, there])
            without = Route(Peer(alone.port), [apart])
            if via == "WebSocket":
                over = Route(here, [here, there])
                without = Route(apart, [apart])
            results.append(compare(via, options, over, without, write, answer))
        return results


def compare(
    via: str,
    options: Options,
    over: Route,
    without: Route,
    write: Callable[[int], bytes],
    answer: bytes,
) -> LatencyResult:
    same: list[float] = []
    other: list[float] = []
    memory: list[float] = []
    due = time.monotonic()
    for number in range(10_000, 10_000 + WARM_UP + options.latency_samples):
        message = write(number)
        times = over.measure(message, number, answer)
        time.sleep(0.002)  # till the first nodes have done with it
        [alone] = without.measure(message, number, answer)
        if number >= 10_000 + WARM_UP:
            same.append(times[0])
            other.append(times[1])
            memory.append(alone)
        due += 1 / options.latency_rate
        time.sleep(max(0.0, due - time.monotonic()))
    more = [theirs - ours for ours, theirs in zip(same, other, strict=True)]
    return LatencyResult(
        via, len(same), percentiles(memory), percentiles(same), percentiles(other), percentiles(more)
    )


@contextmanager
def on_any_core() -> Iterator[None]:
    """Lets this process run wherever there is room, for a while."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, CPUS)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
