"""Several nodes behind one Valkey: latency, what a node takes in, a storm of reconnects, history's cost."""

import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from statistics import median

from benchmarks import node_latency
from benchmarks.harness import BenchError, Load, Report, cpu_ns, forget_peak, peak_bytes, rss_bytes, waited_ns
from benchmarks.hubbub_server import Hubbub
from benchmarks.loader import Loader, Work
from benchmarks.options import Options
from benchmarks.valkey import Valkey

LISTENERS = 3
STORM = "storm"
MISSED = 20
STALL_SECONDS = 3.0
PACED_SECONDS = 5


@dataclass(frozen=True, slots=True)
class InboundResult:
    """What one node took in of another's publications. Rates are medians of the turns."""

    sockets: int
    history: bool
    # Publications a second that were asked for, 0 for as many as there can be.
    rate: float
    publications: int
    lost: int
    # Publications a second of the receiving server's CPU time, and deliveries.
    per_cpu_second: float
    deliveries_per_cpu_second: float
    cpu_us: float
    per_second: float
    valkey_cpu_us: float
    p50_ms: float
    p99_ms: float
    server_waited: float


@dataclass(frozen=True, slots=True)
class StormResult:
    clients: int
    failed: int
    # Joins that were answered with a temporary error, and were tried again.
    refused: int
    # Deliveries that were missing or too many, and those out of order; recovered and live.
    lost: int
    disordered: int
    # From the first connect to the last recovered message, and of it till everybody had joined.
    seconds: float
    joined_seconds: float
    server_cpu_s: float
    valkey_cpu_s: float
    before_bytes: int
    peak_bytes: int
    server_waited: float


@dataclass(frozen=True, slots=True)
class PublishResult:
    """What a publish through the broker costs. Medians of the turns."""

    history_size: int
    per_second: float
    cpu_us: float
    valkey_cpu_us: float
    failed: int


@dataclass(frozen=True, slots=True)
class NodesResult:
    latency: Sequence[node_latency.LatencyResult]
    inbound: Sequence[InboundResult]
    storm: StormResult
    publish: Sequence[PublishResult]


def run(options: Options) -> NodesResult:
    latency = node_latency.run(options)
    with ExitStack() as stack:
        valkey = stack.enter_context(Valkey())
        inbound = [
            take_in(options, valkey, LISTENERS),
            take_in(options, valkey, LISTENERS, history=True),
            take_in(options, valkey, LISTENERS, rate=options.inbound_rate),
            take_in(options, valkey, LISTENERS * options.channels),
        ]
        storm = reconnect(options, valkey)
        publish = append(options, valkey)
    return NodesResult(latency, inbound, storm, publish)


# --- what a node takes in ----------------------------------------------------------------------------------


def take_in(
    options: Options, valkey: Valkey, sockets: int, *, history: bool = False, rate: float = 0
) -> InboundResult:
    """Another process publishes to all channels; each has three local members, on so many sockets in all."""
    how = (", with history" if history else "") + (f", {rate:.0f} a second" if rate else "")
    options.say(f"nodes: inbound, {options.channels} channels, {sockets} sockets{how}")
    groups = LISTENERS * options.channels // sockets
    url = valkey.url(f"in-{sockets}-{history:d}-{rate:.0f}")
    arguments = ["--broker", url, "--groups-per-connection", str(options.channels)]
    arguments += ["--history-size", "100" if history else "0", *options.serve_arguments]
    figures = []
    with ExitStack() as stack:
        hub = stack.enter_context(Hubbub(arguments))
        hub.calibrate("g0")
        listeners = stack.enter_context(
            Load(
                hub.port,
                sockets,
                path="/ws/l%d",
                sends=['{"type":"join_group","group_name":"g%d"}'],
                expected='"group_joined"',
                repeats=groups,
                modulus=options.channels,
                rounds=False,
            )
        )
        listeners.wait_ready()
        loader = stack.enter_context(Loader(url))
        size = 100 if history else 0
        pad = len(hub.publisher.pad)
        loader.work(Work(count=2000, channels=options.channels, history_size=size, pad=pad))
        time.sleep(0.5)
        lost, received = 0, listeners.snapshot().total
        work = Work(
            count=min(
                options.inbound_publications, int(rate * PACED_SECONDS) or options.inbound_publications
            ),
            channels=options.channels,
            rate=rate,
            history_size=size,
            pad=pad,
        )
        for _ in range(options.node_turns):
            cpu, waited, store = cpu_ns(hub.pid), waited_ns(hub.pid), cpu_ns(valkey.pid)
            began = time.monotonic()
            done = loader.work(work)
            if done.failed:
                raise BenchError(f"nodes: {done.failed} publications into Redis failed")
            report = settle(listeners, received + LISTENERS * work.count)
            took = time.monotonic() - began
            figures.append(
                (
                    (cpu_ns(hub.pid) - cpu) / 1e9,
                    (cpu_ns(valkey.pid) - store) / 1e9,
                    (waited_ns(hub.pid) - waited) / 1e9 / took,
                    work.count / done.seconds,
                    report.p50_ms,
                    report.p99_ms,
                )
            )
            lost += LISTENERS * work.count - (report.total - received)
            received = report.total
    cpu, store, waited, speed, p50, p99 = (median(column) for column in zip(*figures, strict=True))
    return InboundResult(
        sockets=sockets,
        history=history,
        rate=rate,
        publications=work.count,
        lost=lost,
        per_cpu_second=work.count / cpu,
        deliveries_per_cpu_second=LISTENERS * work.count / cpu,
        cpu_us=cpu / work.count * 1e6,
        per_second=speed,
        valkey_cpu_us=store / work.count * 1e6,
        p50_ms=p50,
        p99_ms=p99,
        server_waited=waited,
    )


def settle(load: Load, total: int) -> Report:
    """The report on a phase, once everything has arrived or nothing more does."""
    time.sleep(0.3)
    report = load.snapshot()
    changed = time.monotonic()
    while report.total < total and time.monotonic() < changed + STALL_SECONDS:
        time.sleep(0.2)
        later = load.snapshot()
        if later.total > report.total:
            changed = time.monotonic()
        report = later
    return report


# --- a storm of reconnects ---------------------------------------------------------------------------------


def reconnect(options: Options, valkey: Valkey) -> StormResult:
    """Everybody in a group with history goes, twenty messages later everybody comes back at once."""
    clients = options.connections
    options.say(f"nodes: a storm of {clients} reconnects")
    arguments = ["--broker", valkey.url("storm"), "--history-size", "1000", *options.serve_arguments]
    with ExitStack() as stack:
        hub = stack.enter_context(Hubbub(arguments))
        hub.calibrate(STORM)
        with hub.load(clients, STORM) as load:
            load.wait_ready()
            hub.publisher.publish(STORM)
            if not load.wait_round(1):
                raise BenchError("nodes: a message did not reach everybody before the storm")
            load.stop()
        hub.wait_empty()
        position = hub.publisher.call("POST", "/api/history", {"channel": STORM})["result"]
        for number in range(1, MISSED + 1):
            hub.publisher.publish(STORM, first=number)

        recover = f'{{"epoch":"{position["epoch"]}","offset":{position["offset"]}}}'
        join = f'{{"type":"join_group","group_name":"{STORM}","recover":{recover}}}'
        before = rss_bytes(hub.pid)
        forget_peak(hub.pid)
        cpu, store, waited = cpu_ns(hub.pid), cpu_ns(valkey.pid), waited_ns(hub.pid)
        back = stack.enter_context(
            Load(
                hub.port,
                clients,
                path=f"/ws/{STORM}-%d",
                sends=[join],
                expected='"recovered":true',
                refusal='"temporary":true',
                in_flight=clients,
                name="load-storm",
            )
        )
        joined = back.read_line(120)
        back.wait_round(MISSED, 60)
        spent = cpu_ns(hub.pid) - cpu, cpu_ns(valkey.pid) - store, waited_ns(hub.pid) - waited
        recovered = back.snapshot()
        peak = peak_bytes(hub.pid)
        hub.publisher.publish(STORM, first=MISSED + 1)
        back.wait_round(1, 30)
        time.sleep(0.5)
        live = back.snapshot()
        if joined is None:
            options.say("nodes: not everybody came back within two minutes")
        wrong = abs(clients * MISSED - recovered.deliveries) + abs(clients - live.deliveries)
        uneven = recovered.max_per_connection > MISSED or live.max_per_connection > 1
        return StormResult(
            clients=clients,
            failed=live.failed + live.closed,
            refused=live.refused,
            lost=max(wrong, int(uneven)),
            disordered=live.disordered,
            seconds=recovered.latest_s,
            joined_seconds=recovered.connect_s,
            server_cpu_s=spent[0] / 1e9,
            valkey_cpu_s=spent[1] / 1e9,
            before_bytes=before,
            peak_bytes=peak,
            server_waited=spent[2] / 1e9 / max(recovered.latest_s, 0.001),
        )


# --- what history costs ------------------------------------------------------------------------------------


def append(options: Options, valkey: Valkey) -> list[PublishResult]:
    """One process publishes through the broker, in turn without history and with it."""
    sizes = (0, 100)
    options.say(f"nodes: {options.publishes} publishes without history and as many with it")
    turns: dict[int, list[tuple[float, float, float, int]]] = {size: [] for size in sizes}
    with Loader(valkey.url("append")) as loader:
        for size in sizes:
            loader.work(Work(count=2000, channels=options.channels, history_size=size, pad=40))
        for _ in range(options.node_turns):
            for size in sizes:
                store = cpu_ns(valkey.pid)
                work = Work(count=options.publishes, channels=options.channels, history_size=size, pad=40)
                done = loader.work(work)
                spent = (cpu_ns(valkey.pid) - store) / 1e9
                turns[size].append((done.seconds, done.cpu_s, spent, done.failed))
    return [
        PublishResult(
            history_size=size,
            per_second=options.publishes / median(seconds),
            cpu_us=median(cpu) / options.publishes * 1e6,
            valkey_cpu_us=median(store) / options.publishes * 1e6,
            failed=sum(failed),
        )
        for size in sizes
        for seconds, cpu, store, failed in [zip(*turns[size], strict=True)]
    ]
