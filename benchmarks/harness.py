"""What every scenario stands on: the C parts, processes on their own core, the kernel's accounts."""

import contextlib
import json
import os
import resource
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

HERE = Path(__file__).resolve().parent
BUILD = HERE / "build"

CPUS = sorted(os.sched_getaffinity(0))
# The server has a core to itself; whatever drives it shares the other.
SERVER_CPU = {CPUS[0]}
LOAD_CPU = {CPUS[1]} if len(CPUS) > 1 else {CPUS[0]}


class BenchError(Exception):
    """The benchmark cannot go on; its message is one line for the person who runs it."""


def build(name: str) -> Path:
    """Compiles one of the C programs unless it is newer than every C source; returns where it is."""
    program = BUILD / name
    sources = [*HERE.glob("*.c"), *HERE.glob("*.h")]
    if program.exists() and program.stat().st_mtime > max(s.stat().st_mtime for s in sources):
        return program
    cc = shutil.which("cc")
    if cc is None:
        raise BenchError(
            "the load client is written in C and there is no C compiler: 'cc' is not on the PATH"
        )
    BUILD.mkdir(exist_ok=True)
    done = subprocess.run(
        [cc, "-O2", "-o", program, HERE / f"{name}.c"], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise BenchError(f"{name}.c does not compile: {(done.stderr.splitlines() or ['no reason given'])[0]}")
    return program


def prepare(connections: int) -> None:
    """Readies this process and so its children: the other core, and enough file handles."""
    os.sched_setaffinity(0, LOAD_CPU)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if hard != resource.RLIM_INFINITY and hard < connections + 100:
        raise BenchError(f"{connections} connections need as many file handles, and `ulimit -Hn` is {hard}")


def free_port() -> int:
    """A port nobody listens on at this moment."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port: int = s.getsockname()[1]
        return port


def cpu_ns(pid: int) -> int:
    """CPU time the kernel has charged to a process so far, over all its threads."""
    try:
        return sum(int(f.read_text().split()[0]) for f in Path(f"/proc/{pid}/task").glob("*/schedstat"))
    except (OSError, IndexError):  # a kernel without schedstat: utime and stime, in ticks
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) * 1_000_000_000 // os.sysconf("SC_CLK_TCK")


def waited_ns(pid: int) -> int:
    """Time a process was ready to run while its core was busy with others; 0 if the kernel does not say."""
    try:
        return sum(int(f.read_text().split()[1]) for f in Path(f"/proc/{pid}/task").glob("*/schedstat"))
    except (OSError, IndexError):
        return 0


def rss_bytes(pid: int) -> int:
    """Resident memory of a process."""
    return _memory(pid, "VmRSS:")


def forget_peak(pid: int) -> None:
    """Has the peak of a process's resident memory counted from now on, where the kernel lets us."""
    with contextlib.suppress(OSError):
        Path(f"/proc/{pid}/clear_refs").write_text("5")


def peak_bytes(pid: int) -> int:
    """The most resident memory that a process has had."""
    return _memory(pid, "VmHWM:")


def _memory(pid: int, what: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(what):
            return int(line.split()[1]) * 1024
    raise BenchError(f"process {pid} has no resident memory: it has ended")


class Process:
    """A program started for a benchmark, pinned to its cores, ended with the `with` block."""

    def __init__(
        self, name: str, command: Sequence[str | Path], cpus: set[int], *, talks: bool = True
    ) -> None:
        """A program that talks is read line by line; the output of any other goes to its log."""
        self.name = name
        self.talks = talks
        BUILD.mkdir(exist_ok=True)
        self._log = BUILD / f"{name}.log"
        self._unread = b""
        with self._log.open("wb") as log:
            self._popen = subprocess.Popen(
                command,
                cwd=HERE.parent,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE if talks else log,
                stderr=log,
                bufsize=0,
                preexec_fn=lambda: os.sched_setaffinity(0, cpus),
            )
        self.pid = self._popen.pid

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()

    def end(self) -> None:
        """Asks the program to end and, if it does not, ends it."""
        assert self._popen.stdin is not None
        self._popen.stdin.close()
        self._popen.terminate()
        try:
            self._popen.wait(10)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            self._popen.wait()
        if self._popen.stdout is not None:
            self._popen.stdout.close()

    def error(self, what: str) -> BenchError:
        """What went wrong with this program, with the last line it wrote about it."""
        lines = self._log.read_text(errors="replace").split("\n")
        last = next((line.strip() for line in reversed(lines) if line.strip()), "it wrote nothing")
        return BenchError(f"{self.name} {what}: {last[:300]}")

    def signal(self, number: signal.Signals) -> None:
        self._popen.send_signal(number)

    def write_line(self, line: str) -> None:
        assert self._popen.stdin is not None
        try:
            self._popen.stdin.write(line.encode() + b"\n")
        except BrokenPipeError as broken:
            raise self.error("has ended") from broken

    def read_line(self, timeout: float) -> str | None:
        """The next line of its output, or None if none comes in time."""
        assert self._popen.stdout is not None
        deadline = time.monotonic() + timeout
        while b"\n" not in self._unread:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self._popen.stdout], [], [], left)[0]:
                return None
            chunk = os.read(self._popen.stdout.fileno(), 65536)
            if not chunk:
                raise self.error("has ended")
            self._unread += chunk
        line, _, self._unread = self._unread.partition(b"\n")
        return line.decode()

    def wait_for_port(self, port: int, timeout: float = 20) -> None:
        """Returns once the program accepts connections."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            if self._popen.poll() is not None:
                raise self.error("did not start")
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
            except OSError:
                time.sleep(0.05)
            else:
                return
        raise self.error(f"did not listen within {timeout:.0f} seconds")


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a load client says about a phase; the field names are those that load.c prints."""

    opened: int
    failed: int
    closed: int
    connect_s: float
    connects_per_s: float
    deliveries: int
    total: int
    min_per_connection: int
    max_per_connection: int
    frames: int
    bytes: int
    pings: int
    refused: int
    disordered: int
    latest_s: float
    p50_ms: float
    p90_ms: float
    p99_ms: float
    p999_ms: float
    max_ms: float
    cpu_s: float
    close_codes: dict[str, int]


class Load(Process):
    """A running load client: see load.c for what it does."""

    def __init__(
        self,
        port: int,
        connections: int,
        *,
        path: str = "/ws/c%d",
        tokens: Path | None = None,
        sends: Sequence[str] = (),
        expected: str | None = None,
        refusal: str | None = None,
        in_flight: int = 256,
        repeats: int = 1,
        modulus: int = 0,
        rounds: bool = True,
        socketio: bool = False,
        again: str = "",
        again_every: float = 1,
        name: str = "load",
    ) -> None:
        """`rounds` has it write a line a round: not for those whose lines nobody reads for a long while."""
        command: list[str | Path] = [build("load"), "-p", str(port), "-n", str(connections), "-u", path]
        command += ["-c", str(in_flight), "-k", str(repeats), "-m", str(modulus)]
        if tokens is not None:
            command += ["-a", tokens]
        if rounds:
            command += ["-r"]
        for message in sends:
            command += ["-s", message]
        if expected is not None:
            command += ["-e", expected]
        if refusal is not None:
            command += ["-f", refusal]
        if again:
            command += ["-w", again, "-i", str(again_every)]
        if socketio:
            command += ["-S"]
        super().__init__(name, command, LOAD_CPU)
        self.connections = connections

    def wait_ready(self, timeout: float = 120) -> None:
        """Returns once every connection is up and has had the answer that was asked for."""
        if self.read_line(timeout) is None:
            raise self.error(f"did not get {self.connections} connections up within {timeout:.0f} seconds")
        report = self.snapshot()
        if report.failed or report.closed:
            raise self.error(f"lost {report.failed + report.closed} of {self.connections} connections early")

    def wait_round(self, number: int, timeout: float = 60) -> bool:
        """Waits until this phase has brought so many deliveries per connection; False if they do not come."""
        deadline = time.monotonic() + timeout
        while line := self.read_line(max(0.0, deadline - time.monotonic())):
            if line.startswith("ROUND ") and int(line[6:]) >= number:
                return True
        return False

    def snapshot(self) -> Report:
        """The report on the phase that ends with this call."""
        self.signal(signal.SIGUSR1)
        return self._read_report()

    def stop(self) -> Report:
        """Ends the load client, which closes its connections, and returns the last report."""
        self.signal(signal.SIGTERM)
        report = self._read_report()
        self._popen.wait(30)
        return report

    def _read_report(self) -> Report:
        while line := self.read_line(30):
            if line.startswith("{"):
                return Report(**json.loads(line))
        raise self.error("does not report")


def python_module(name: str, *arguments: str) -> list[str]:
    """The command that runs one of our modules."""
    return [sys.executable, "-m", name, *arguments]
