"""The results as tables for people and as JSON for machines."""

import json
import os
import platform
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.connect import ConnectResult
from benchmarks.fanout import HUBBUB, FanOutResult
from benchmarks.memory import MemoryResult
from benchmarks.mixed import MixedResult
from benchmarks.options import Options


@dataclass(frozen=True, slots=True)
class Bar:
    """A promise, what was measured, and whether that keeps the promise."""

    name: str
    measured: str
    promised: str
    met: bool


@dataclass(slots=True)
class Results:
    """What has been run; None or empty is what has not."""

    fanout: Sequence[FanOutResult] = ()
    mixed: MixedResult | None = None
    memory: MemoryResult | None = None
    connect: ConnectResult | None = None


def bars(results: Results) -> list[Bar]:
    """The promises this run can speak about."""
    found = []
    for way in results.fanout:
        if way.way == HUBBUB:
            single, burst = way.single_ratio, way.burst_ratio
            found += [
                Bar("single messages, CPU per delivery", f"{single:.2f}x C", "≤ 1.25x C", single <= 1.25),
                Bar("bursts of ten, CPU per delivery", f"{burst:.2f}x C", "≤ 0.2x C single", burst <= 0.2),
                Bar("deliveries lost", str(way.lost), "0", way.lost == 0),
            ]
    if m := results.mixed:
        note = f"{m.p99_ms:.1f} ms ({m.quiet_p99_ms:.1f} quiet; kept off its core {m.server_waited:.0%})"
        found += [
            Bar("p99 of a small channel beside broadcasts", note, "≤ 10 ms", m.p99_ms <= 10),
            Bar("… deliveries lost", str(m.small_lost), "0", m.small_lost == 0),
        ]
    if r := results.memory:
        few, many = r.bytes_per_connection / 1024, r.many_bytes_per_connection / 1024
        left = f"{_mb(r.start_bytes)} → {_mb(r.held_bytes)} → {_mb(r.after_first_bytes)} MB"
        growth = f"{_mb(r.after_first_bytes)} → {_mb(r.after_second_bytes)} MB"
        found += [
            Bar(f"memory per connection at {r.connections}", f"{few:.1f} KB", "≤ 10 KB", few <= 10),
            Bar(f"memory per connection at {r.many_connections}", f"{many:.1f} KB", "≤ 10 KB", many <= 10),
            Bar("… one broadcast to all: lost", str(r.lost), "0", r.lost == 0),
            Bar("… memory after all have left", left, "≤ 25 % kept", r.kept_share <= 0.25),
            Bar("… after a second round", growth, "≤ 5 % more", r.growth_share <= 0.05),
        ]
    if c := results.connect:
        cpu, wall = c.per_cpu_second, c.per_second
        found += [
            Bar("connections per CPU second", f"{cpu:,.0f} ({c.cpu_us:.0f} µs each)", "≥ 2,500", cpu >= 2500),
            Bar(
                "connections per second, one core",
                f"{wall:,.0f} (kept off its core {c.server_waited:.0%})",
                "≥ 2,500",
                wall >= 2500,
            ),
        ]
    return found


def _mb(size: int) -> str:
    return f"{size / 1024 / 1024:.0f}"


def show(results: Results, options: Options) -> None:
    """Prints the tables."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=110)
    if results.fanout:
        table = Table(
            title=f"Server CPU per delivery, {options.connections} connections, 128-byte messages",
            caption="both ratios are to C's single messages; medians",
        )
        table.add_column("way", no_wrap=True)
        for heading in ("single, µs", "x C", "burst of 10, µs", "x C", "lost", "single p99, ms"):
            table.add_column(heading, justify="right")
        for r in results.fanout:
            p99 = median(phase.p99_ms for phase in r.single)
            ratios = f"{r.single_ratio:.2f}", f"{r.burst_ratio:.2f}"
            table.add_row(
                *(r.way, f"{r.single_us:.1f}", ratios[0]),
                *(f"{r.burst_us:.1f}", ratios[1], str(r.lost), f"{p99:.0f}"),
            )
        console.print(table)
    if promises := bars(results):
        table = Table(title="Promises")
        for heading in ("what", "measured", "promised", ""):
            table.add_column(heading)
        for bar in promises:
            verdict = "[green]met[/]" if bar.met else "[bold red]NOT MET[/]"
            table.add_row(bar.name, bar.measured, bar.promised, verdict)
        console.print(table)


def write(results: Results, options: Options, path: Path) -> None:
    """Keeps everything that was measured, with the machine it was measured on."""
    path.parent.mkdir(exist_ok=True)
    record = {
        "when": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "machine": _machine(),
        "options": asdict(options),
        "fanout": [
            asdict(r)
            | {
                "single_us": r.single_us,
                "single_ratio": r.single_ratio,
                "burst_us": r.burst_us,
                "burst_ratio": r.burst_ratio,
                "lost": r.lost,
            }
            for r in results.fanout
        ],
        **{name: asdict(r) for name in ("mixed", "memory", "connect") if (r := getattr(results, name))},
        "bars": [asdict(bar) for bar in bars(results)],
    }
    path.write_text(json.dumps(record, indent=2) + "\n")


def _machine() -> dict[str, Any]:
    """Kernel, processor, and the versions that matter."""
    info = Path("/proc/cpuinfo").read_text()
    model = next((line.partition(":")[2].strip() for line in info.splitlines() if "model name" in line), "?")
    versions = {}
    for package in ("hubbub", "uvicorn", "uvloop", "websockets", "fastapi", "python-socketio"):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "not installed"
    return {
        "kernel": platform.release(),
        "processor": model,
        "cpus": os.cpu_count(),
        "python": platform.python_version(),
        "versions": versions,
    }
