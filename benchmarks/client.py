"""How many messages the Python client gives a program in a second of its CPU time, with types."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from benchmarks.harness import LOAD_CPU, BenchError, Process, cpu_ns, python_module
from benchmarks.hubbub_server import Hubbub
from benchmarks.options import Options

GROUP = "orders"
BATCH = 500
TURNS = 3
SYNC = "SyncClient, history"


@dataclass(frozen=True, slots=True)
class ClientResult:
    """Medians of the turns."""

    way: str
    messages: int
    wrong: int
    per_cpu_second: float
    cpu_us: float


def run(options: Options) -> Sequence[ClientResult]:
    """Text, with and without a history whose positions have to be followed, MessagePack, and no `await`."""
    ways = [
        ("JSON, history", "1000", []),
        ("JSON", "0", []),
        ("MessagePack, history", "1000", ["--binary"]),
        (SYNC, "1000", ["--sync"]),
    ]
    return [_measure(options, way, ["--history-size", size], flags) for way, size, flags in ways]


def _measure(options: Options, way: str, arguments: list[str], flags: list[str]) -> ClientResult:
    count = options.client_messages
    options.say(f"client: {count} messages to one program, {TURNS} times, {way}")
    costs, wrong = [], 0
    with Hubbub([*arguments, *options.serve_arguments]) as hub:
        hub.calibrate(GROUP)
        for _ in range(TURNS):
            command = python_module("benchmarks.listener", str(hub.port), GROUP, str(count))
            with Process("listener", command + flags, LOAD_CPU) as listener:
                if listener.read_line(20) != "READY":
                    raise listener.error("did not join")
                before = cpu_ns(listener.pid)
                for first in range(0, count, BATCH):
                    hub.publisher.publish(GROUP, BATCH, first=first)
                line = listener.read_line(60)
                if line is None:
                    raise BenchError(f"the listener did not get {count} messages")
                costs.append((cpu_ns(listener.pid) - before) / count)
                wrong += json.loads(line)["wrong"]
    cost = median(costs)
    return ClientResult(way, count, wrong, 1e9 / cost, cost / 1000)
