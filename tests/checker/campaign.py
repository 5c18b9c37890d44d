"""One run over servers of one kind: start all, break things one after another, heal all, judge."""

import asyncio
import random
import shutil
import time
from collections import Counter, deque
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Final

import httpx

from .actors import Client, Publisher, Stage, publish
from .faults import NODE_FAULTS, SETUPS, Breakage, Setup
from .nodes import Node, make_nodes, new_folder
from .records import Fault, Loss, Position, Publication, Snapshot
from .verdict import Violation, judge

GROUPS: Final = ("orders", "prices", "chat", "games")
GREEN: Final = 10.0
"""Seconds after healing within which all nodes are ready again."""
RED: Final = 4.0
"""Seconds within which a node says that its broker is out of reach."""
CAUGHT_UP: Final = 12.0
"""Seconds within which every client has what was published after healing."""
AT_LAST: Final = 20.0
"""The same for the end, when those come back too that are away."""
HEAVY_KIB: Final = 400 * 1024
"""Memory that no node takes."""
PAGE: Final = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How much happens."""

    nodes: int = 2
    clients: int = 36
    publishers: int = 6
    pace: float = 0.08
    """Seconds from one publication of a publisher to its next, on the average."""
    longest: float = 10.0
    """Seconds that no fault lasts longer than, but for what servers need to get well."""


@dataclass(slots=True)
class Outcome:
    """What came of a campaign."""

    kind: str
    seed: int
    seconds: float
    counts: dict[str, int]
    faults: dict[str, int]
    violations: list[Violation]
    logs: dict[str, str] = field(default_factory=dict)


class Campaign:
    """The run of one seed over one kind of servers."""

    def __init__(
        self,
        setup: Setup,
        seed: int,
        *,
        seconds: float,
        faults: Collection[str] = (),
        size: Size | None = None,
        say: Callable[[str], None],
    ) -> None:
        self.setup = setup
        self.seed = seed
        self.seconds = seconds
        self.size = size or Size()
        self.say = say
        self.folder = new_folder()
        self.stage = Stage(make_nodes(self.size.nodes, setup.url, self.folder), GROUPS)
        self.only = bool(faults)
        """Whether each of the faults is to come once, whatever the time."""
        self.breakages = {name: b for name, b in setup.faults.items() if not faults or name in faults}
        self.harms = {name: h for name, h in NODE_FAULTS.items() if not faults or name in faults}
        self.done: dict[str, int] = {}
        self._rng = random.Random(f"{seed} {setup.kind}")
        self._lags: deque[tuple[float, float]] = deque(maxlen=200)
        self._ready: dict[Node, tuple[float, bool, str]] = {}
        self._markers = 0
        self._clients: list[Client] = []
        self._publishers: list[Publisher] = []

    async def run(self) -> Outcome:
        """Run to the end; every process of a node is gone when this returns."""
        began = time.monotonic()
        tasks: list[asyncio.Task[None]] = []
        try:
            await asyncio.gather(*(node.start() for node in self.stage.nodes))
            async with httpx.AsyncClient(trust_env=False, timeout=5.0) as http:
                self._http = http
                tasks = self._begin()
                await self._warm_up()
                await self._break_things(asyncio.get_running_loop().time() + self.seconds)
                await self._end()
            for task in tasks:
                if task.done() and not task.cancelled():
                    task.result()  # a checker that fails must not pass for a system that holds
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for node in self.stage.nodes:
                node.weigh()
                node.close()
            logs = {node.name: node.log for node in self.stage.nodes}
            shutil.rmtree(self.folder, ignore_errors=True)
        stage = self.stage
        stage.counts["peak node MiB"] = max(node.peak_kib for node in stage.nodes) // 1024
        if any(node.peak_kib > HEAVY_KIB for node in stage.nodes):
            stage.complain("bounded memory", f"a node took {stage.counts['peak node MiB']} MiB")
        violations = [*stage.complaints, *judge(stage.record)]
        return Outcome(
            self.setup.kind,
            self.seed,
            time.monotonic() - began,
            dict(stage.counts),
            self.done,
            violations,
            logs,
        )

    # Beginning.

    def _begin(self) -> list[asyncio.Task[None]]:
        rng, size, stage = self._rng, self.size, self.stage
        for number in range(1, size.clients + 1):
            own = rng.sample(GROUPS, rng.choice((1, 2, 2, 3)))
            stay = rng.choice((0.5, 2.0, 30.0))
            self._clients.append(
                Client(stage, f"client-{number}", own, self._actor("client", number), stay=stay)
            )
        for number in range(1, size.publishers + 1):
            self._publishers.append(
                Publisher(
                    stage,
                    f"publisher-{number}",
                    self._actor("publisher", number),
                    pace=size.pace,
                    stubborn=number % 2 == 0,
                )
            )
        work = [
            *(client.live() for client in self._clients),
            *(publisher.live(self._slack) for publisher in self._publishers),
            *(self._watch(node) for node in stage.nodes),
            self._feel_lag(),
        ]
        return [asyncio.create_task(each) for each in work]

    def _actor(self, what: str, number: int) -> random.Random:
        return random.Random(f"{self.seed} {self.setup.kind} {what} {number}")

    # Watching.

    async def _feel_lag(self) -> None:
        """How late this process is itself, so that a busy machine is not taken for a slow server."""
        while True:
            before = time.monotonic()
            await asyncio.sleep(0.05)
            self._lags.append((time.monotonic(), time.monotonic() - before - 0.05))

    def _slack(self) -> float:
        """Seconds by which an answer may be late for reasons of our own."""
        return 0.3 + 3 * max((lag for _, lag in self._lags), default=0.0)

    async def _watch(self, node: Node) -> None:
        """Ask a node again and again whether it is ready."""
        async with httpx.AsyncClient(trust_env=False, timeout=4.0) as http:
            while True:
                asked = self.stage.now()
                try:
                    answer = await http.get(f"{node.url}/readyz")
                    self._ready[node] = asked, answer.status_code == 200, answer.text[:200]
                except httpx.HTTPError as exc:
                    self._ready[node] = asked, False, type(exc).__name__
                node.weigh()
                await asyncio.sleep(0.1)

    def _is_ready(self, node: Node, since: float) -> bool:
        asked, ready, _ = self._ready.get(node, (0.0, False, ""))
        return ready and asked >= since

    async def _until(self, condition: Callable[[], bool], within: float) -> float | None:
        """Seconds till the condition held; None where it did not in time."""
        began = time.monotonic()
        while not condition():
            if time.monotonic() - began > within + self._slack():
                return None
            await asyncio.sleep(0.02)
        return time.monotonic() - began

    # Breaking.

    async def _warm_up(self) -> None:
        """Wait till there is something to lose."""

        def warm() -> bool:
            enough = self.stage.counts["acknowledged"] >= len(GROUPS) * 10
            return enough and all(len(client.positions) == len(client.groups) for client in self._clients)

        if await self._until(warm, AT_LAST) is None:
            self.stage.complain("it works at all", f"not everybody was in and heard after {AT_LAST} s")

    async def _break_things(self, until: float) -> None:
        loop = asyncio.get_running_loop()
        # Each fault once before any comes again, and both kinds at the same time now and then.
        queue: list[str] = []
        while loop.time() < until or (queue and self.only) or not self.done:
            if not queue:
                queue = sorted((*self.breakages, *self.harms))
                self._rng.shuffle(queue)
            name = queue.pop()
            at_once = [self._strike(name)]
            if name in self.breakages and self.harms and self._rng.random() < 0.25:
                at_once.append(self._strike(self._rng.choice(sorted(self.harms))))
            await asyncio.gather(*at_once)
            await self._recover(name)
            await asyncio.sleep(self._rng.uniform(0.0, 1.0))

    async def _strike(self, name: str) -> None:
        """Break one thing, and wait till it is put right."""
        stage = self.stage
        self.done[name] = self.done.get(name, 0) + 1
        if name in self.harms:
            harm = self.harms[name]
            seconds, node = self._how_long(harm.lasts), self._rng.choice(stage.nodes)
            began = stage.now()
            self.say(f"{began:7.1f} {name} {node} for {seconds:.1f} s")
            await asyncio.to_thread(harm.do, node, seconds)
            stage.record.faults.append(Fault(name, began, stage.now(), Loss.NOTHING))
            return
        breakage = self.breakages[name]
        seconds = self._how_long(breakage.lasts)
        began = stage.now()
        self.say(f"{began:7.1f} {name} for {seconds:.1f} s")
        watch = asyncio.create_task(self._expect_red(name, breakage, seconds))
        try:
            await asyncio.to_thread(breakage.do, seconds)
        finally:
            stage.record.faults.append(Fault(name, began, stage.now(), breakage.loses))
            await watch

    def _how_long(self, lasts: tuple[float, float]) -> float:
        return min(self._rng.uniform(*lasts), self.size.longest)

    async def _expect_red(self, name: str, breakage: Breakage, seconds: float) -> None:
        """Nodes whose broker is out of reach must say so before long."""
        began = self.stage.now()
        if not breakage.red or seconds < RED:
            return
        for node in self.stage.nodes:
            troubles = node.troubles

            def red(node: Node = node) -> bool:
                asked, ready, _ = self._ready.get(node, (0.0, True, ""))
                return not ready and asked >= began

            took = await self._until(red, RED - (self.stage.now() - began))
            if (
                took is None
                and node.well
                and node.troubles == troubles
                and self.stage.now() < began + seconds
            ):
                self.stage.complain("readiness", f"{node} was ready {RED} s after {name}")

    async def _recover(self, name: str) -> None:
        """All is put right: nodes are ready again, and clients get what is published from now on."""
        stage = self.stage
        healed = stage.now()
        for node in stage.nodes:
            if not node.running:
                stage.complain("a node lives on", f"{node} is gone after {name}: {node.log[-500:]}")
                node.launch()
        took = await self._until(lambda: all(self._is_ready(n, healed) for n in stage.nodes), GREEN)
        if took is None:
            stage.complain(
                "readiness", f"{GREEN} s after {name}: {[self._ready.get(n) for n in stage.nodes]}"
            )
        for node in stage.nodes:
            node.well = True
        markers = await self._mark()
        behind = await self._all_pass(markers, CAUGHT_UP)
        if behind:
            stage.complain("arrives at last", f"{CAUGHT_UP} s after {name} are behind {markers}: {behind}")
        await self._read_histories()

    async def _mark(self) -> dict[str, Position]:
        """Publish something into each group."""
        markers: dict[str, Position] = {}
        for group in GROUPS:
            self._markers += 1
            name, sent = f"marker-{self._markers}", self.stage.now()
            position, tries = None, 0
            while position is None:
                if tries == 20:
                    self.stage.complain("publishing works again", f"{name} could not be published")
                    return markers
                tries += 1
                node = self._rng.choice(self.stage.nodes)
                payload = f"{name}/{tries}"
                position = await publish(self._http, self.stage, node, group, payload, name, self._slack)
                if position is None:
                    await asyncio.sleep(0.2)
            record = self.stage.record
            record.publications.append(Publication(group, name, sent, self.stage.now(), position))
            markers[group] = position
        return markers

    async def _all_pass(self, markers: dict[str, Position], within: float) -> list[str]:
        """Wait for every client; returns those that are behind."""
        behind = {(client, group) for client in self._clients for group in markers}

        def passed() -> bool:
            for client, group in list(behind):
                if client.has_passed(group, markers[group]):
                    behind.discard((client, group))
            return not behind

        await self._until(passed, within)
        return sorted(
            f"{client.name} in {group} at {client.positions.get(group)}" for client, group in behind
        )

    # Ending.

    async def _end(self) -> None:
        """Let all come to rest, and look at what there is."""
        stage = self.stage
        for publisher in self._publishers:
            publisher.stop()
        stage.calm = True
        await asyncio.sleep(0.5)
        stage.record.markers = markers = await self._mark()
        behind = await self._all_pass(markers, AT_LAST)
        if behind:
            stage.complain("arrives at last", f"after {AT_LAST} s are behind {markers}: {behind}")
        await self._read_histories()
        await self._check_presence()

    async def _read_histories(self) -> None:
        for group in GROUPS:
            snapshot = await self._read_history(group)
            if snapshot is None:
                self.stage.complain("history", f"that of {group} could not be read")
            else:
                self.stage.record.snapshots.append(snapshot)

    async def _read_history(self, group: str) -> Snapshot | None:
        """All of a group's history, over HTTP."""
        for _ in range(10):
            at, payloads, epoch = self.stage.now(), list[str](), ""
            while True:
                body = {"channel": group, "limit": PAGE}
                if payloads:
                    body["since"] = {"epoch": epoch, "offset": len(payloads)}
                node = self._rng.choice(self.stage.nodes)
                try:
                    result = (await self._http.post(f"{node.url}/api/history", json=body)).json()["result"]
                except (httpx.HTTPError, KeyError, ValueError):
                    break
                if result["epoch"] != (epoch or result["epoch"]):
                    break
                epoch = result["epoch"]
                for publication in result["publications"]:
                    if publication["offset"] != len(payloads) + 1:
                        self.stage.complain(
                            "no gap",
                            f"the history of {group} has {publication['offset']} after {len(payloads)}",
                        )
                        return None
                    payloads.append(publication["data"])
                if len(result["publications"]) < PAGE:
                    return Snapshot(at, group, epoch, payloads)
            await asyncio.sleep(0.2)
        return None

    async def _check_presence(self) -> None:
        """Presence has all who are there, and nobody else."""
        expected = {g: Counter(c.name for c in self._clients if g in c.groups) for g in GROUPS}
        wrong = dict[str, str]()
        for _ in range(50):
            wrong.clear()
            for group in GROUPS:
                node = self._rng.choice(self.stage.nodes)
                try:
                    answer = await self._http.post(f"{node.url}/api/presence", json={"channel": group})
                    members = answer.json()["result"]["presence"].values()
                except (httpx.HTTPError, KeyError, ValueError) as exc:
                    wrong[group] = repr(exc)
                    continue
                found = Counter(member["client_id"] for member in members)
                if found != expected[group]:
                    missing, extra = sorted(expected[group] - found), sorted(found - expected[group])
                    wrong[group] = f"missing are {missing}, too many are {extra}"
            if not wrong:
                return
            await asyncio.sleep(0.2)
        self.stage.complain("presence is true", f"{wrong}")


def run_campaign(
    kind: str,
    seed: int,
    *,
    seconds: float,
    faults: Collection[str] = (),
    size: Size | None = None,
    say: Callable[[str], None] = print,
) -> Outcome:
    """Start servers of a kind, run a campaign over them, and stop all."""
    with SETUPS[kind](GROUPS, random.Random(f"{seed} {kind} servers")) as setup:
        campaign = Campaign(setup, seed, seconds=seconds, faults=faults, size=size, say=say)
        return asyncio.run(campaign.run())
