"""The promise, put to the test at random: a group with history is heard once and in order, whatever happens.

One run is one client behind a proxy that cuts, stalls, delays, truncates and splits as its seed says, while
somebody publishes numbers. `python -m tests.client.cutting --runs 1000` makes as many as one likes.
"""

import argparse
import asyncio
import logging
import random
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

from msgspec import Struct

from hubbub.client import Backoff, Client, Gap
from hubbub.hub import Hub, Options

from ..nodes.several import an_address
from ..transports.serving import FAST, NAMESPACES, UVICORN, eventually, serving
from .proxy import Proxy

MESSAGES = 30
AT_ONCE = 25
"""Runs that are under way at the same time."""
PATIENCE = 30.0
FREELY = Options(messages_per_second=1e6, messages_burst=1_000_000)
"""For the few connections that publish for all runs together."""


class Number(Struct):
    """What is published."""

    n: int


@dataclass
class Run:
    """One client, its troubles, and what it heard."""

    seed: int
    ports: Sequence[int]
    heard: list[int] = field(default_factory=list)
    gaps: int = 0
    again: int = 0
    connections: int = 0
    proxy: Proxy = field(init=False)

    def __post_init__(self) -> None:
        self.draw = random.Random(self.seed)
        self.group = f"kept:{self.seed}"
        self.proxy = Proxy(self.ports[0])
        self.done = asyncio.Event()

    async def go(self, publisher: Client) -> None:
        """From the first message to the last."""
        async with self.proxy.running():
            joined = asyncio.Event()
            listening = asyncio.create_task(self._listen(joined))
            await joined.wait()
            trouble = asyncio.create_task(self._make_trouble())
            for number in range(1, MESSAGES + 1):
                await publisher.publish(self.group, {"n": number})
                await asyncio.sleep(self.draw.choice((0, 0, 0.001, 0.004)))
            await trouble
            self.proxy.heal()
            await listening
            self.connections = self.proxy.connections

    @property
    def is_whole(self) -> bool:
        """Whether the promise was kept."""
        return self.heard == list(range(1, MESSAGES + 1)) and self.gaps == 0

    def _client(self, positions: dict[str, Any]) -> Client:
        return Client(
            self.proxy.url,
            f"client-{self.seed}",
            proxy=None,
            positions=positions,
            binary=self.seed % 2 == 1,
            backoff=Backoff(0.001, 0.01),
            buffer=self.draw.choice((3, 1000)),
            policy=self.draw.choice(("pause", "reconnect")),
            ping_interval=0.2,
            pong_timeout=0.3,
            open_timeout=2.0,
            close_timeout=0.2,
        )

    async def _listen(self, joined: asyncio.Event) -> None:
        positions: dict[str, Any] = {}
        while not self.done.is_set():
            # A program that ends in the middle of a message, and another that goes on from there.
            ends_after = self.draw.choice((None, None, self.draw.randrange(1, MESSAGES)))
            client = self._client(positions)
            await self._connect(client)
            try:
                await self._hear(client, joined, ends_after)
                positions = client.positions
            finally:
                await client.disconnect()

    async def _connect(self, client: Client) -> None:
        while True:
            try:
                await client.connect()
            except OSError:
                await asyncio.sleep(0.005)
            else:
                return

    async def _hear(self, client: Client, joined: asyncio.Event, ends_after: int | None) -> None:
        first = bool(self.heard)
        group = client.group(self.group, Number, gaps=True)
        await group.join()
        joined.set()
        async for message in group:
            if isinstance(message, Gap):
                self.gaps += 1
                continue
            number = message.data.n
            if first and number == self.heard[-1]:
                self.again += 1  # the one it was in the middle of
            else:
                self.heard.append(number)
            first = False
            if number >= MESSAGES or not message.position:
                self.done.set()
                return
            if ends_after is not None and number >= ends_after:
                return
            if self.draw.random() < 0.1:
                await asyncio.sleep(0.002)

    async def _make_trouble(self) -> None:
        for _ in range(self.draw.randrange(1, 8)):
            await asyncio.sleep(self.draw.uniform(0, 0.02))
            self.proxy.aim(self.draw.choice(self.ports))
            match self.draw.randrange(7):
                case 0 | 1:
                    self.proxy.cut()
                case 2:
                    self.proxy.truncate = self.draw.randrange(1, 2000)
                case 3:
                    self.proxy.delay = self.draw.uniform(0, 0.005)
                case 4:
                    self.proxy.split = lambda: self.draw.randrange(1, 60)
                case 5:
                    self.proxy.stall()
                    await asyncio.sleep(self.draw.uniform(0, 0.01))
                    self.proxy.cut()
                    self.proxy.heal()
                case 6:
                    self.proxy.refuse()
                    self.proxy.cut()
                    await asyncio.sleep(self.draw.uniform(0, 0.01))
                    self.proxy.heal()


async def cut_and_resume(ports: Sequence[int], seeds: range) -> list[Run]:
    """A run for each seed, some at a time, over one node or several; it is published at the first."""
    room = asyncio.Semaphore(AT_ONCE)
    async with Client(f"ws://127.0.0.1:{ports[0]}", "publisher", proxy=None) as publisher:

        async def one(seed: int) -> Run:
            run = Run(seed, ports)
            async with room, asyncio.timeout(PATIENCE):
                await run.go(publisher)
            return run

        return await asyncio.gather(*(one(seed) for seed in seeds))


@contextmanager
def several(kind: str, nodes: int) -> Iterator[list[int]]:
    """The ports of so many servers; more than one are behind a Valkey server."""
    with ExitStack() as stack:
        broker = an_address() if nodes > 1 else "memory://"
        hubs = [Hub(broker, namespaces=NAMESPACES, options=FREELY) for _ in range(nodes)]
        ports = [stack.enter_context(serving(kind, hub=hub)).port for hub in hubs]
        eventually(lambda: nodes == 1 or all(hub.cluster.peers for hub in hubs))
        yield ports


def main() -> int:
    """For the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.client.cutting", description=__doc__)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    given = parser.parse_args()
    logging.getLogger("hubbub").setLevel(logging.ERROR)  # of every way back there is a line
    status = 0
    for kind, nodes in ((FAST, 1), (UVICORN, 1), (FAST, 2), (UVICORN, 2)):
        with several(kind, nodes) as ports:
            since = time.monotonic()
            runs = asyncio.run(cut_and_resume(ports, range(given.seed, given.seed + given.runs)))
        broken = [run for run in runs if not run.is_whole]
        facts = (
            f"{len(runs)} runs from seed {given.seed}",
            f"{sum(run.connections for run in runs)} connections",
            f"{sum(run.again for run in runs)} programs went on from kept positions",
            f"{time.monotonic() - since:.0f} s",
            f"{len(broken)} broken",
        )
        print(f"{kind}, nodes: {nodes}:", ", ".join(facts), flush=True)  # noqa: T201 - what it is for
        for run in broken[:5]:
            print(f"  seed {run.seed}: {run.gaps} gaps, heard {run.heard}")  # noqa: T201
            status = 1
    return status


if __name__ == "__main__":
    sys.exit(main())
