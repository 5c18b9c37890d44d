"""CPU time of a server per delivery, in single messages and in bursts of ten, beside the limit in C."""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from statistics import median
from typing import Protocol

from benchmarks.harness import SERVER_CPU, Load, Process, build, cpu_ns, free_port, python_module
from benchmarks.hubbub_server import Hubbub
from benchmarks.options import Options

BURST = 10
LIMIT = "C, one send() per delivery"
HUBBUB = "hubbub"
PEERS = {
    "websockets broadcast()": "websockets_broadcast",
    "FastAPI gather(send_text)": "fastapi_gather",
    "python-socketio emit": "socketio_emit",
}
CHANNEL = "bench"
# Time for what trails a fan-out (acknowledgements, the server's own tidying) to be charged to it.
SETTLE_SECONDS = 0.03


class Server(Protocol):
    """A process that can be told to send messages to all of its connections."""

    pid: int

    def publish(self, count: int) -> None: ...


class Commanded(Process):
    """A peer or the limit: commanded over stdin, as climit.c says."""

    def publish(self, count: int) -> None:
        self.write_line("single 1 0" if count == 1 else f"burst 1 {count} 0")
        if self.read_line(120) is None:
            raise self.error("does not get done with a broadcast")


class PublishedOverHttp:
    """Hubbub, told to send over its HTTP API; what that costs counts as part of the fan-out."""

    def __init__(self, hub: Hubbub) -> None:
        self.pid = hub.pid
        self._publisher = hub.publisher

    def publish(self, count: int) -> None:
        self._publisher.publish(CHANNEL, count)


@dataclass(frozen=True, slots=True)
class Phase:
    """A run of equal publications to all connections."""

    cpu_us: float
    deliveries: int
    lost: int
    payload_bytes: float
    p50_ms: float
    p99_ms: float
    max_ms: float


@dataclass(slots=True)
class FanOutResult:
    """Every phase of one way to broadcast, each beside the limit's phase that ran right before it."""

    way: str
    single: list[Phase] = field(default_factory=list)
    burst: list[Phase] = field(default_factory=list)
    limit_us: list[float] = field(default_factory=list)

    @property
    def single_us(self) -> float:
        return median(phase.cpu_us for phase in self.single)

    @property
    def burst_us(self) -> float:
        return median(phase.cpu_us for phase in self.burst)

    @property
    def single_ratio(self) -> float:
        return median(p.cpu_us / c for p, c in zip(self.single, self.limit_us, strict=True))

    @property
    def burst_ratio(self) -> float:
        """To the limit's single messages: what a delivery costs with a system call of its own."""
        return median(p.cpu_us / c for p, c in zip(self.burst, self.limit_us, strict=True))

    @property
    def lost(self) -> int:
        return sum(phase.lost for phase in [*self.single, *self.burst])


def measure(server: Server, load: Load, publications: int, size: int) -> Phase:
    """Publishes `size` messages at once, so many times, each time only after all before have arrived."""
    before = load.snapshot()
    time.sleep(SETTLE_SECONDS)
    cpu = cpu_ns(server.pid)
    published = 0
    for _ in range(publications):
        server.publish(size)
        published += size
        if not load.wait_round(published):
            break  # some are lost, and will not come any more
        time.sleep(SETTLE_SECONDS)
    cpu = cpu_ns(server.pid) - cpu
    after = load.snapshot()
    frames = after.frames - before.frames
    return Phase(
        cpu_us=cpu / 1000 / max(after.deliveries, 1),
        deliveries=after.deliveries,
        lost=published * load.connections - after.deliveries,
        # Less the four bytes of a frame's head.
        payload_bytes=(after.bytes - before.bytes) / max(frames, 1) - 4,
        p50_ms=after.p50_ms,
        p99_ms=after.p99_ms,
        max_ms=after.max_ms,
    )


def warm_up(server: Server, load: Load) -> None:
    measure(server, load, 2, 1)
    measure(server, load, 1, BURST)


@contextmanager
def limit(options: Options) -> Iterator[tuple[Server, Load]]:
    port = free_port()
    with Commanded("climit", [build("climit"), str(port)], SERVER_CPU) as server:
        server.wait_for_port(port)
        with Load(port, options.connections, name="load-climit") as load:
            load.wait_ready()
            warm_up(server, load)
            yield server, load


@contextmanager
def hubbub(options: Options) -> Iterator[tuple[Server, Load]]:
    with Hubbub(options.serve_arguments) as hub:
        hub.calibrate(CHANNEL)
        with hub.load(options.connections, CHANNEL, "load-hubbub") as load:
            load.wait_ready()
            server = PublishedOverHttp(hub)
            warm_up(server, load)
            yield server, load


@contextmanager
def peer(way: str, options: Options) -> Iterator[tuple[Server, Load]]:
    port, module = free_port(), PEERS[way]
    command = python_module(f"benchmarks.peers.{module}", "--port", str(port))
    with Commanded(module, command, SERVER_CPU) as server:
        server.wait_for_port(port)
        socketio = module == "socketio_emit"
        path = "/socket.io/?EIO=4&transport=websocket" if socketio else "/ws/c%d"
        with Load(
            port, options.connections, path=path, socketio=socketio, in_flight=64, name=f"load-{module}"
        ) as load:
            load.wait_ready()
            warm_up(server, load)
            yield server, load


def run(options: Options, ways: list[str]) -> list[FanOutResult]:
    """Measures the limit and each way by turns, so that a noisy minute falls on both."""
    limits = FanOutResult(LIMIT)
    results = [limits]
    with ExitStack() as stack:
        c_server, c_load = stack.enter_context(limit(options))
        for way in ways:
            options.say(f"fan-out: {way}")
            result = FanOutResult(way)
            results.append(result)
            ours = way == HUBBUB
            turns = options.turns if ours else options.peer_turns
            singles = options.singles if ours else options.peer_singles
            bursts = options.bursts if ours else options.peer_bursts
            with hubbub(options) if ours else peer(way, options) as (server, load):
                for _ in range(turns):
                    c_single = measure(c_server, c_load, options.singles, 1)
                    single = measure(server, load, singles, 1)
                    c_burst = measure(c_server, c_load, options.bursts, BURST)
                    burst = measure(server, load, bursts, BURST)
                    for target, a, b in ((limits, c_single, c_burst), (result, single, burst)):
                        target.single.append(a)
                        target.burst.append(b)
                        target.limit_us.append(c_single.cpu_us)
    return results
