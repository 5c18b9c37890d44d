"""How many connections a second a server takes up, handshake and `connection_established` included."""

import time
from dataclasses import dataclass
from statistics import median

from benchmarks.harness import cpu_ns, waited_ns
from benchmarks.hubbub_server import Hubbub
from benchmarks.options import Options


@dataclass(frozen=True, slots=True)
class ConnectResult:
    per_cpu_second: float
    per_second: float
    cpu_us: float
    # Of the wall time, how much the server stood ready while others had its core.
    server_waited: float


def run(options: Options) -> ConnectResult:
    options.say(f"connect: {options.connections} connections, {options.connect_rounds} times")
    cpu_seconds, wall_seconds, waited_seconds = [], [], []
    with Hubbub(options.serve_arguments) as hub:
        with hub.load(50, None) as load:
            load.wait_ready()
            load.stop()
        hub.wait_empty()
        for _ in range(options.connect_rounds):
            cpu, waited = cpu_ns(hub.pid), waited_ns(hub.pid)
            with hub.load(options.connections, None) as load:
                load.wait_ready()
                time.sleep(0.1)
                cpu_seconds.append((cpu_ns(hub.pid) - cpu) / 1e9)
                waited_seconds.append((waited_ns(hub.pid) - waited) / 1e9)
                wall_seconds.append(load.stop().connect_s)
            hub.wait_empty()
    return ConnectResult(
        per_cpu_second=options.connections / median(cpu_seconds),
        per_second=options.connections / median(wall_seconds),
        cpu_us=median(cpu_seconds) / options.connections * 1e6,
        server_waited=sum(waited_seconds) / sum(wall_seconds),
    )
