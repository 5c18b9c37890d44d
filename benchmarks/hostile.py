"""Five hundred honest clients talk while two thousand others do their worst."""

import json
import os
import secrets
import tempfile
import threading
import time
import zlib
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.harness import (
    LOAD_CPU,
    BenchError,
    Load,
    Process,
    build,
    cpu_ns,
    forget_peak,
    peak_bytes,
    rss_bytes,
    waited_ns,
)
from benchmarks.hubbub_server import Hubbub, Publisher
from benchmarks.options import Options
from hubbub.auth.minting import sign

HONEST = 500
GROUPS = 50
EVERY = 2.0
"""Seconds between two messages of an honest client; ten get each."""
QUIET_SECONDS = 5
WAYS = 10
ROTATE_SECONDS = 10.0
BUSY_PER_SECOND = 20
BUSY = "x" * 4000
KEY = "a key for the benchmark"


@dataclass(frozen=True, slots=True)
class HostileResult:
    honest: int
    hostile: int
    seconds: float
    quiet_p50_ms: float
    quiet_p99_ms: float
    p50_ms: float
    p99_ms: float
    p999_ms: float
    max_ms: float
    # Of what honest clients were to get; and of the clients, those who were thrown out.
    expected: int
    delivered: int
    thrown_out: int
    # Shares of one core.
    quiet_cpu: float
    cpu: float
    siege_cpu: float
    before_bytes: int
    peak_bytes: int
    after_bytes: int
    server_waited: float
    ways: dict[str, dict[str, int]] = field(default_factory=dict)


class Siege(Process):
    """The hostile clients: see siege.c for what they do."""

    def __init__(self, port: int, count: int, tokens: Path, bomb: Path, way: int | None = None) -> None:
        command: list[str | Path] = [build("siege"), "-p", str(port), "-n", str(count), "-a", tokens]
        command += ["-b", bomb, "-r", str(ROTATE_SECONDS)]
        if way is not None:
            command += ["-o", str(way)]
        super().__init__("siege", command, LOAD_CPU)

    def lift(self) -> dict[str, Any]:
        """End it; what it did."""
        self._popen.terminate()
        while line := self.read_line(30):
            if line.startswith("{"):
                done: dict[str, Any] = json.loads(line)
                return done
        raise self.error("does not report")


class Talk:
    """A thread in which the application publishes to the group that slow readers are in."""

    def __init__(self, port: int) -> None:
        self._publisher = Publisher(port, KEY)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._error: BenchError | None = None
        self._thread.start()

    def _run(self) -> None:
        try:
            while not self._stop.wait(1 / BUSY_PER_SECOND):
                self._publisher.call("POST", "/api/publish", {"channel": "busy", "data": BUSY})
        except (BenchError, OSError) as error:
            self._error = BenchError(f"hostile: the application's own publishing failed: {error}")

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()
        if self._error is not None:
            raise self._error


def run(options: Options, way: int | None = None) -> HostileResult:
    """With `way`, they all do their worst in that way alone."""
    hostile, seconds = options.hostile, options.hostile_seconds
    options.say(f"hostile: {HONEST} honest clients, {hostile} hostile ones for {seconds:.0f} seconds")
    secret = secrets.token_urlsafe(32)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        honest_tokens = _tokens(folder / "honest", secret, "h", HONEST)
        hostile_tokens = _tokens(folder / "hostile", secret, "x", hostile)
        bomb = folder / "bomb"
        packer = zlib.compressobj(wbits=-12)
        bomb.write_bytes(packer.compress(b"x" * 60_000_000) + packer.flush(zlib.Z_SYNC_FLUSH))
        arguments = ["--token-secret", secret, "--api-keys", KEY, "--compression"]
        hub = stack.enter_context(Hubbub([*arguments, *options.serve_arguments]))
        honest = stack.enter_context(
            Load(
                hub.port,
                HONEST,
                path="/ws/h%d",
                tokens=honest_tokens,
                sends=['{"type":"join_group","group_name":"g%d"}'],
                expected='"group_joined"',
                modulus=GROUPS,
                rounds=False,
                again='{"type":"publish","group_name":"g%d","data":{"t":%t}}',
                again_every=EVERY,
            )
        )
        honest.wait_ready()
        talk = Talk(hub.port)
        time.sleep(1)
        honest.snapshot()
        cpu = cpu_ns(hub.pid)
        time.sleep(QUIET_SECONDS)
        quiet_cpu = (cpu_ns(hub.pid) - cpu) / 1e9 / QUIET_SECONDS
        quiet = honest.snapshot()

        before = rss_bytes(hub.pid)
        forget_peak(hub.pid)
        siege = stack.enter_context(Siege(hub.port, hostile, hostile_tokens, bomb, way))
        # In the world they are on machines of their own: here the honest ones must not wait for them.
        os.setpriority(os.PRIO_PROCESS, siege.pid, 15)
        began, cpu, waited = time.monotonic(), cpu_ns(hub.pid), waited_ns(hub.pid)
        time.sleep(seconds)
        took = time.monotonic() - began
        report = honest.snapshot()
        cpu, waited = cpu_ns(hub.pid) - cpu, waited_ns(hub.pid) - waited
        peak = peak_bytes(hub.pid)
        done = siege.lift()
        talk.stop()
        time.sleep(3)
        return HostileResult(
            honest=HONEST,
            hostile=hostile,
            seconds=took,
            quiet_p50_ms=quiet.p50_ms,
            quiet_p99_ms=quiet.p99_ms,
            p50_ms=report.p50_ms,
            p99_ms=report.p99_ms,
            p999_ms=report.p999_ms,
            max_ms=report.max_ms,
            expected=int(took / EVERY * HONEST * HONEST / GROUPS),
            delivered=report.deliveries,
            thrown_out=report.closed + report.failed,
            quiet_cpu=quiet_cpu,
            cpu=cpu / 1e9 / took,
            siege_cpu=done["cpu_s"] / took,
            before_bytes=before,
            peak_bytes=peak,
            after_bytes=rss_bytes(hub.pid),
            server_waited=waited / 1e9 / took,
            ways=done["ways"],
        )


def _tokens(file: Path, secret: str, prefix: str, count: int) -> Path:
    until = int(time.time()) + 3600
    file.write_text("".join(f"{sign({'sub': f'{prefix}{n}', 'exp': until}, secret)}\n" for n in range(count)))
    return file
