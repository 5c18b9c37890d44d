"""Those who use the nodes: clients that come and go, and publishers that count what they send."""

import asyncio
import contextlib
import json
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import count
from typing import Any, Final

import httpx
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidHandshake, WebSocketException

from .nodes import Node
from .records import Entry, Got, Joined, Left, Notice, Position, Publication, Record
from .verdict import Violation

TIMEOUT: Final = 8.0
"""Seconds after which a publisher gives an answer up."""
_LOST: Final = (OSError, TimeoutError, WebSocketException, InvalidHandshake)


class Stage:
    """What all who take part share: the nodes, the record and what is counted."""

    def __init__(self, nodes: Sequence[Node], groups: Sequence[str]) -> None:
        self.nodes = nodes
        self.groups = groups
        self.record = Record()
        self.counts: Counter[str] = Counter()
        self.complaints: list[Violation] = []
        self.calm = False
        """Whether clients are to stay where they are."""
        self.began = time.monotonic()

    def now(self) -> float:
        """Seconds since the beginning."""
        return time.monotonic() - self.began

    def complain(self, rule: str, sentence: str) -> None:
        """Take note of what should not have happened."""
        self.complaints.append(Violation(rule, f"at {self.now():.3f} {sentence}"))

    def choose(self, rng: random.Random) -> Node:
        """Some node, mostly one that is well."""
        well = [node for node in self.nodes if node.well]
        return rng.choice(well if well and rng.random() < 0.9 else list(self.nodes))


class Client:
    """A client of some groups, that keeps its position in each and drops at random.

    A restless one stays for a second or two, a steady one until its node is gone.
    """

    def __init__(
        self, stage: Stage, name: str, groups: Sequence[str], rng: random.Random, stay: float
    ) -> None:
        self.name = name
        self.groups = groups
        self.positions: dict[str, Position] = {}
        self._stage = stage
        self._rng = rng
        self._stay = stay
        self._records: dict[str, list[Entry]] = {}
        self._in: set[str] = set()
        self._asked: dict[int, tuple[str, Position | None]] = {}
        self._left: dict[int, str] = {}
        self._number = 0
        for group in groups:
            self._records[group] = stage.record.clients[name, group] = []

    @property
    def is_in_all(self) -> bool:
        """Whether it is a member of all its groups now."""
        return self._in == set(self.groups)

    def has_passed(self, group: str, marker: Position) -> bool:
        """Whether it knows of a publication or comes after it; vacuous where the group is not its own."""
        position = self.positions.get(group)
        if group not in self.groups:
            return True
        return position is not None and position.epoch == marker.epoch and position.offset >= marker.offset

    async def live(self) -> None:
        """Come and go."""
        while True:
            node = self._stage.choose(self._rng)
            how = "the connection was lost"
            try:
                async with asyncio.timeout(3.0):
                    connection = await connect(
                        f"{node.websocket}/{self.name}",
                        compression=None,
                        ping_interval=None,
                        open_timeout=None,
                        close_timeout=0.1,
                        max_size=None,
                        proxy=None,
                    )
            except _LOST:
                await asyncio.sleep(self._rng.uniform(0.05, 0.3))
                continue
            self._stage.counts["connections"] += 1
            try:
                how = await self._stay_for_a_while(connection, node)
            except _LOST:
                pass
            finally:
                connection.transport.abort()
                self._go(f"{how} ({node})")
            self._stage.counts["drops"] += 1
            await asyncio.sleep(self._rng.expovariate(4.0) if self._rng.random() < 0.9 else 1.5)

    async def _stay_for_a_while(self, connection: ClientConnection, node: Node) -> str:
        self._asked.clear()
        self._left.clear()
        loop = asyncio.get_running_loop()
        for group in self._rng.sample(self.groups, len(self.groups)):
            await self._join(connection, group)
        # Some do not even wait for the answer.
        stay = (
            self._rng.uniform(0, 0.03) if self._rng.random() < 0.1 else self._rng.expovariate(1 / self._stay)
        )
        until = loop.time() + stay
        while True:
            try:
                async with asyncio.timeout_at(until):
                    message = json.loads(await connection.recv())
            except TimeoutError:
                if self._stage.calm:
                    until = loop.time() + 1.0
                    continue
                stays = sorted(self._in - set(self._left.values()))
                if self._rng.random() < 0.2 and stays:
                    # Leaving and coming back is a way to drop too.
                    group = self._rng.choice(stays)
                    await self._send(
                        connection, {"type": "leave_group", "group_name": group}, self._left, group
                    )
                    until = loop.time() + self._rng.expovariate(1 / self._stay)
                    continue
                return "it dropped"
            await self._take(connection, message, node)

    async def _join(self, connection: ClientConnection, group: str) -> None:
        message: dict[str, Any] = {"type": "join_group", "group_name": group}
        position = self.positions.get(group)
        if position is not None:
            message["recover"] = {"epoch": position.epoch, "offset": position.offset}
        await self._send(connection, message, self._asked, (group, position))

    async def _send(
        self, connection: ClientConnection, message: dict[str, Any], sent: Any, what: Any
    ) -> None:
        self._number += 1
        sent[self._number] = what
        await connection.send(json.dumps(message | {"id": self._number}))

    async def _take(self, connection: ClientConnection, message: dict[str, Any], node: Node) -> None:
        stage, at = self._stage, self._stage.now()
        match message:
            case {"type": "group_message", "group_name": group, "data": payload}:
                self._got(at, group, payload, message.get("offset", 0), message.get("epoch", ""))
            case {"type": "group_joined", "id": number, "epoch": epoch, "offset": offset}:
                group, asked = self._asked.pop(number)
                position = Position(epoch, offset)
                recovered = message.get("recovered")
                self._records[group].append(Joined(at, position, recovered, asked))
                if asked is not None:
                    stage.counts["resumes"] += 1
                    stage.counts["resumes refused"] += recovered is not True
                self._in.add(group)
                self.positions[group] = position
            case {"type": "group_joined", "group_name": group, "epoch": epoch, "offset": offset}:
                if message.get("recovered") is not False:
                    stage.complain("answer", f"{self.name} was told {message} unasked")
                stage.counts["notices"] += 1
                self._records[group].append(Notice(at, Position(epoch, offset)))
                self.positions[group] = Position(epoch, offset)
            case {"type": "group_left", "id": number}:
                group = self._left.pop(number)
                self._in.discard(group)
                self._records[group].append(Left(at, f"left ({node})"))
                await self._join(connection, group)
            case {"type": "error", "code": 100, "id": number} if number in self._asked:
                stage.counts["joins failed"] += 1
                group, _ = self._asked.pop(number)
                await asyncio.sleep(self._rng.uniform(0.05, 0.3))
                await self._join(connection, group)
            case {"type": "connection_established" | "system_notification" | "ping"}:
                pass
            case {"type": "disconnect" | "connection_timeout"}:
                stage.counts[f"disconnected {message.get('code')}"] += 1
            case _:
                stage.complain("answer", f"{self.name} was sent {json.dumps(message)[:300]} by {node}")

    def _got(self, at: float, group: str, payload: str, offset: int, epoch: str) -> None:
        self._stage.counts["deliveries"] += 1
        self._records[group].append(Got(at, offset, payload, epoch))
        before = self.positions.get(group)
        if before is not None:
            self.positions[group] = Position(epoch or before.epoch, offset)

    def _go(self, how: str) -> None:
        for group in self._in:
            self._records[group].append(Left(self._stage.now(), how))
        self._in.clear()


class Publisher:
    """Publishes into all groups in turn, counting; a stubborn one tries again until it has an answer."""

    def __init__(self, stage: Stage, name: str, rng: random.Random, *, pace: float, stubborn: bool) -> None:
        self.name = name
        self._stage = stage
        self._rng = rng
        self._pace = pace
        self._stubborn = stubborn
        self._number = 0
        self._stopping = False

    async def live(self, slack: Callable[[], float]) -> None:
        """Publish until told to stop."""
        async with httpx.AsyncClient(trust_env=False, timeout=TIMEOUT) as http:
            while not self._stopping:
                await asyncio.sleep(self._rng.expovariate(1 / self._pace))
                self._number += 1
                group = self._rng.choice(self._stage.groups)
                await self._publish(http, group, f"{self.name}-{self._number}", slack)

    def stop(self) -> None:
        """Publish nothing new."""
        self._stopping = True

    async def _publish(
        self, http: httpx.AsyncClient, group: str, name: str, slack: Callable[[], float]
    ) -> None:
        stage, sent = self._stage, self._stage.now()
        for number in count(1):
            key, node = name if self._stubborn else "", stage.choose(self._rng)
            position = await publish(http, stage, node, group, f"{name}/{number}", key, slack)
            if position is not None or not self._stubborn or self._stopping:
                break
            await asyncio.sleep(self._rng.uniform(0.05, 0.3))
        stage.counts["acknowledged" if position else "indeterminate"] += 1
        stage.record.publications.append(Publication(group, name, sent, stage.now(), position))


async def publish(
    http: httpx.AsyncClient,
    stage: Stage,
    node: Node,
    group: str,
    payload: str,
    key: str,
    slack: Callable[[], float],
) -> Position | None:
    """One attempt over HTTP; returns the position where it is acknowledged.

    A node that is well has to answer in time, be it that it cannot.
    """
    body: dict[str, Any] = {"channel": group, "data": payload}
    if key:
        body["idempotency_key"] = key
    well, troubles, began = node.well, node.troubles, stage.now()
    answer = None
    said = "nothing"
    with contextlib.suppress(httpx.HTTPError):
        answer = await http.post(f"{node.url}/api/publish", json=body)
        said = f"{answer.status_code} {answer.text[:200]}"
    took = stage.now() - began
    stage.counts["slowest publish ms"] = max(stage.counts["slowest publish ms"], int(took * 1000))
    if well and node.troubles == troubles:
        if answer is None:
            stage.complain("publishing ends", f"{node} answered nothing for {took:.3f} s")
        elif took > 2.0 + slack():
            stage.complain("publishing ends", f"{node} took {took:.3f} s to answer {said}")
    if answer is None:
        return None
    match answer.status_code, answer.json() if answer.status_code == 200 else {}:
        case 200, {"result": {"offset": offset, "epoch": epoch}}:
            return Position(epoch, offset)
        case (200, {"error": {"code": 100}}) | (503, _):
            stage.counts["publishing refused"] += 1
            return None
    stage.complain("publishing ends", f"{node} answered {said}")
    return None
