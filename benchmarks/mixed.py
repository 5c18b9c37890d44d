"""The latency of a small channel while broadcasts to thousands run back to back on the same process."""

import os
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass

from benchmarks.harness import BenchError, waited_ns
from benchmarks.hubbub_server import Hubbub, Publisher
from benchmarks.options import Options

SMALL = 20
GAP_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class MixedResult:
    quiet_p99_ms: float
    p50_ms: float
    p99_ms: float
    max_ms: float
    small_messages: int
    small_lost: int
    broadcasts: int
    broadcasts_per_s: float
    broadcast_p99_ms: float
    # How long the server and the small channel's client stood ready without a core, of all the time: what
    # other work on the machine, and no server, has added to the latencies.
    server_waited: float
    client_waited: float


class Drip:
    """Publishes to the small channel at a steady pace, in a thread."""

    def __init__(self, port: int) -> None:
        self.published = 0
        self._publisher = Publisher(port)
        self._publisher.call("GET", "/stats")  # opens its connection, which is not what is measured
        self._stop = threading.Event()
        self._error: BenchError | None = None
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        due = time.monotonic()
        try:
            while not self._stop.is_set():
                self._publisher.publish("small")
                self.published += 1
                # A late message does not delay those after it, or else the load would ease when it hurts.
                due += GAP_SECONDS
                time.sleep(max(0.0, due - time.monotonic()))
        except BenchError as error:
            self._error = error

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()
        if self._error is not None:
            raise self._error


def run(options: Options) -> MixedResult:
    options.say("mixed: a small channel beside broadcasts")
    with ExitStack() as stack:
        hub = stack.enter_context(Hubbub(options.serve_arguments))
        hub.calibrate("big")
        big = stack.enter_context(hub.load(options.connections, "big", "load-big"))
        # In the world thousands of receivers are no burden to the twenty others: here they share a core.
        os.setpriority(os.PRIO_PROCESS, big.pid, 10)
        big.wait_ready()
        small = stack.enter_context(hub.load(SMALL, "small", "load-small"))
        small.wait_ready()
        for _ in range(20):
            hub.publisher.publish("small")
        time.sleep(1)
        small.snapshot()

        drip = Drip(hub.port)
        time.sleep(min(2.0, options.mixed_seconds))
        drip.stop()
        time.sleep(0.1)
        quiet = small.snapshot()

        drip = Drip(hub.port)
        waited = waited_ns(hub.pid), waited_ns(small.pid)
        broadcasts, began = 0, time.monotonic()
        try:
            while time.monotonic() < began + options.mixed_seconds:
                hub.publisher.publish("big")
                broadcasts += 1
                if not big.wait_round(broadcasts):
                    raise BenchError("mixed: a broadcast did not reach all of its subscribers")
            took = time.monotonic() - began
            waited = waited_ns(hub.pid) - waited[0], waited_ns(small.pid) - waited[1]
        finally:
            drip.stop()
        time.sleep(0.1)
        busy, loud = small.snapshot(), big.snapshot()
        return MixedResult(
            quiet_p99_ms=quiet.p99_ms,
            p50_ms=busy.p50_ms,
            p99_ms=busy.p99_ms,
            max_ms=busy.max_ms,
            small_messages=drip.published,
            small_lost=drip.published * SMALL - busy.deliveries,
            broadcasts=broadcasts,
            broadcasts_per_s=broadcasts / took,
            broadcast_p99_ms=loud.p99_ms,
            server_waited=waited[0] / 1e9 / took,
            client_waited=waited[1] / 1e9 / took,
        )
