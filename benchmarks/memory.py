"""Resident memory of a server: per idle joined connection, and what is left of it when all have gone."""

import time
from dataclasses import dataclass

from benchmarks.harness import BenchError, rss_bytes
from benchmarks.hubbub_server import Hubbub
from benchmarks.options import Options

GROUP = "bench"
SETTLE_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class MemoryResult:
    connections: int
    bytes_per_connection: float
    many_connections: int
    many_bytes_per_connection: float
    lost: int
    start_bytes: int
    held_bytes: int
    after_first_bytes: int
    after_second_bytes: int

    @property
    def kept_share(self) -> float:
        """What two rounds left behind, as a share of what one round of connections took."""
        return (self.after_second_bytes - self.start_bytes) / max(self.held_bytes - self.start_bytes, 1)

    @property
    def growth_share(self) -> float:
        """What the second round added to what the first left behind, as a share of the same."""
        return (self.after_second_bytes - self.after_first_bytes) / max(self.held_bytes - self.start_bytes, 1)


def hold(hub: Hubbub, connections: int, *, broadcast: bool) -> tuple[int, int]:
    """Holds so many joined connections; returns the memory with them idle and the deliveries lost."""
    lost = 0
    with hub.load(connections, GROUP) as load:
        load.wait_ready()
        time.sleep(SETTLE_SECONDS)
        rss = rss_bytes(hub.pid)
        if broadcast:
            hub.publisher.broadcast()
            load.wait_round(1, 30)
            time.sleep(0.5)
            report = load.snapshot()
            if report.max_per_connection > 1:
                raise BenchError("memory: a connection got one broadcast twice")
            lost = connections - report.deliveries + report.closed
        load.stop()
    hub.wait_empty()
    return rss, lost


def start(options: Options) -> tuple[Hubbub, int]:
    """A server that has been through everything once, so that lazy imports and caches are not counted."""
    hub = Hubbub(options.serve_arguments)
    try:
        hold(hub, 50, broadcast=True)
        return hub, rss_bytes(hub.pid)
    except BaseException:
        hub.end()
        raise


def run(options: Options) -> MemoryResult:
    options.say(f"memory: {options.connections} connections")
    hub, empty = start(options)
    with hub:
        few, _ = hold(hub, options.connections, broadcast=False)

    options.say(f"memory: {options.many_connections} connections, twice")
    hub, begin = start(options)
    with hub:
        held, lost_first = hold(hub, options.many_connections, broadcast=True)
        after_first = rss_bytes(hub.pid)
        _, lost_second = hold(hub, options.many_connections, broadcast=True)
        after_second = rss_bytes(hub.pid)
    return MemoryResult(
        connections=options.connections,
        bytes_per_connection=(few - empty) / options.connections,
        many_connections=options.many_connections,
        many_bytes_per_connection=(held - begin) / options.many_connections,
        lost=lost_first + lost_second,
        start_bytes=begin,
        held_bytes=held,
        after_first_bytes=after_first,
        after_second_bytes=after_second,
    )
