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

from benchmarks.client import SYNC, ClientResult
from benchmarks.connect import ConnectResult
from benchmarks.fanout import HUBBUB, FanOutResult
from benchmarks.hostile import HostileResult
from benchmarks.memory import MemoryResult
from benchmarks.mixed import MixedResult
from benchmarks.nodes import InboundResult, NodesResult
from benchmarks.options import Options

SCENARIOS = ("mixed", "memory", "connect", "guarded", "nodes", "hostile")
PACKAGES = ("hubbub", "uvicorn", "uvloop", "websockets", "fastapi", "python-socketio", "redis", "hiredis")


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
    guarded: ConnectResult | None = None
    nodes: NodesResult | None = None
    hostile: HostileResult | None = None
    client: Sequence[ClientResult] = ()


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
    if g := results.guarded:
        found.append(
            Bar(
                "… with an HS256 token and a recoverable join",
                f"{g.per_cpu_second:,.0f} ({g.cpu_us:.0f} µs each)",
                "≥ 2,000",
                g.per_cpu_second >= 2000,
            )
        )
    if n := results.nodes:
        found += _node_bars(n)
    if h := results.hostile:
        note = f"{h.p99_ms:.0f} ms ({h.quiet_p99_ms:.0f} before; kept off its core {h.server_waited:.0%})"
        lost = max(0, 1 - h.delivered / h.expected)
        found += [
            Bar(f"p99 of {h.honest} honest beside {h.hostile} hostile", note, "≤ 50 ms", h.p99_ms <= 50),
            Bar("… honest ones thrown out", str(h.thrown_out), "0", h.thrown_out == 0),
            Bar("… their messages not delivered", f"{lost:.1%}", "≤ 1 %", lost <= 0.01),
        ]
    for p in results.client:
        rate = f"{p.per_cpu_second:,.0f} ({p.cpu_us:.1f} µs each)"
        name = f"a Python program receives per CPU second, {p.way}"
        if p.way == SYNC:
            found.append(Bar(name, rate, "none", met=True))
        else:
            found.append(Bar(name, rate, "≥ 60,000", p.per_cpu_second >= 60_000))
        found.append(Bar("… missing or out of order", str(p.wrong), "0", p.wrong == 0))
    return found


def _hostile_table(h: HostileResult) -> Table:
    """What the siege was, and what it cost."""
    costs = f"server CPU {h.quiet_cpu:.0%} → {h.cpu:.0%}, the siege's {h.siege_cpu:.0%} of a core"
    memory = f"memory {_mb(h.before_bytes)} → {_mb(h.peak_bytes)} → {_mb(h.after_bytes)} MB"
    times = f"latency p50 {h.p50_ms:.0f}, p99 {h.p99_ms:.0f}, p99.9 {h.p999_ms:.0f}, most {h.max_ms:.0f} ms"
    table = Table(title=f"{h.seconds:.0f} seconds of siege", caption=f"{costs}\n{memory}\n{times}")
    table.add_column("way", no_wrap=True)
    for heading in ("connects", "refused", "thrown out", "MB sent"):
        table.add_column(heading, justify="right")
    for name, did in h.ways.items():
        counts = str(did["connects"]), str(did["refused"]), str(did["thrown_out"])
        table.add_row(name, *counts, _mb(did["bytes"]))
    return table


def _node_bars(nodes: NodesResult) -> list[Bar]:
    found = [
        Bar(f"added by a second node, {way.via}", f"{way.added_ms:.2f} ms", "< 1.5 ms", way.added_ms < 1.5)
        for way in nodes.latency
    ]
    for way in nodes.inbound:
        rate, promised = f"{way.per_cpu_second:,.0f} ({way.cpu_us:.0f} µs each)", "≥ 30,000"
        if way is nodes.inbound[0]:
            found.append(Bar("taken in per CPU second", rate, promised, way.per_cpu_second >= 30_000))
        found.append(Bar(f"… lost, {_inbound(way)}", str(way.lost), "0", way.lost == 0))
    storm = nodes.storm
    wrong = (
        f"{storm.lost} lost, {storm.disordered} disordered, {storm.failed} failed, {storm.refused} refused"
    )
    whole = storm.failed == storm.refused == storm.lost == storm.disordered == 0
    found.append(Bar(f"{storm.clients} come back at once", wrong, "none", whole))
    return found


def _inbound(way: InboundResult) -> str:
    pace = f", {way.rate:,.0f}/s" if way.rate else ""
    return f"{way.sockets} sockets" + (", history" if way.history else "") + pace


def _node_table(nodes: NodesResult) -> Table:
    """What several nodes did that has no promise of its own."""
    table = Table(title="Nodes behind one Valkey", caption="CPU per publication, medians")
    for heading in ("what", "result", "server CPU", "Valkey CPU"):
        table.add_column(heading)
    for way in nodes.latency:
        times = (("memory", way.memory), ("same node", way.same_node), ("other node", way.other_node))
        shown = ", ".join(f"{name} {times.p50:.2f} / {times.p99:.2f}" for name, times in times)
        table.add_row(f"latency p50 / p99, {way.via}", f"{shown} ms", "", "")
    for took in nodes.inbound:
        rate = f"{took.per_second:,.0f}/s, {took.deliveries_per_cpu_second:,.0f} deliveries per CPU s"
        costs = f"{took.cpu_us:.1f} µs", f"{took.valkey_cpu_us:.1f} µs"
        table.add_row(f"inbound, {_inbound(took)}", rate, *costs)
    storm = nodes.storm
    peak = f"{_mb(storm.before_bytes)} → {_mb(storm.peak_bytes)} MB"
    table.add_row(
        f"{storm.clients} reconnects",
        f"joined {storm.joined_seconds:.1f} s, recovered {storm.seconds:.1f} s, {peak}",
        f"{storm.server_cpu_s:.1f} s",
        f"{storm.valkey_cpu_s:.1f} s",
    )
    for published in nodes.publish:
        costs = f"{published.cpu_us:.1f} µs", f"{published.valkey_cpu_us:.1f} µs"
        table.add_row(f"publish, history {published.history_size}", f"{published.per_second:,.0f}/s", *costs)
    return table


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
    if results.nodes:
        console.print(_node_table(results.nodes))
    if results.hostile:
        console.print(_hostile_table(results.hostile))
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
        **{name: asdict(r) for name in SCENARIOS if (r := getattr(results, name))},
        "client": [asdict(r) for r in results.client],
        "bars": [asdict(bar) for bar in bars(results)],
    }
    path.write_text(json.dumps(record, indent=2) + "\n")


def _machine() -> dict[str, Any]:
    """Kernel, processor, and the versions that matter."""
    info = Path("/proc/cpuinfo").read_text()
    model = next((line.partition(":")[2].strip() for line in info.splitlines() if "model name" in line), "?")
    versions = {}
    for package in PACKAGES:
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
