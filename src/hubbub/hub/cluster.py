"""The other nodes: who they are, what is on them, and how to act on clients wherever these are connected."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable
from itertools import count
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import msgspec
from msgspec import Struct

from hubbub import __version__
from hubbub.brokers.base import BrokerUnavailable
from hubbub.core.codes import CloseReason
from hubbub.hub.background import quietly

if TYPE_CHECKING:
    from hubbub.hub.hub import Hub

logger = logging.getLogger("hubbub.cluster")

BEAT_INTERVAL: Final = 1.0
"""Seconds between two signs of life of a node."""
LIFETIME: Final = 3.5
"""Seconds without a sign of life after which a node counts as gone."""
ANSWER_TIME: Final = 1.0
"""Seconds that other nodes have for an answer."""
FRESH: Final = 1.0
"""Seconds that the groups of all nodes are remembered."""


class NodeInfo(Struct, frozen=True):
    """A node as the others see it. `uptime` is in seconds."""

    uid: str
    name: str
    version: str
    connections: int
    users: int
    subscriptions: int
    channels: int
    uptime: int


class Beat(Struct, frozen=True, tag="beat"):
    """A sign of life; with `asks`, of a node that wants to know the others."""

    origin: str
    node: NodeInfo
    asks: bool = False


class Bye(Struct, frozen=True, tag="bye"):
    """A node stops."""

    origin: str


class Disconnect(Struct, frozen=True, tag="disconnect"):
    """Close every connection of a client or a user."""

    origin: str
    client: str
    user: str
    code: int
    reason: str


class Join(Struct, frozen=True, tag="join"):
    """Put every connection of a client or a user into a channel."""

    origin: str
    channel: str
    client: str
    user: str


class Leave(Struct, frozen=True, tag="leave"):
    """Take every connection of a client or a user out of a channel."""

    origin: str
    channel: str
    client: str
    user: str


class Ask(Struct, frozen=True, tag="ask"):
    """Ask every node something; `what` names a question that `Cluster.answers` knows."""

    origin: str
    number: int
    what: str
    arguments: dict[str, str]


class Answer(Struct, frozen=True, tag="answer"):
    """A node's answer."""

    origin: str
    number: int
    data: Any


Control: TypeAlias = Beat | Bye | Disconnect | Join | Leave | Ask | Answer

_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(Control).decode


class Cluster:
    """What this node knows of the others, and what it tells them."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._peers: dict[str, tuple[NodeInfo, float]] = {}
        self._next_beat = float("-inf")
        self._numbers = count(1)
        self._asked: dict[int, tuple[dict[str, Any], asyncio.Event]] = {}
        self._groups: tuple[float, dict[str, int]] = (float("-inf"), {})
        self.answers: dict[str, Callable[[dict[str, str]], Any]] = {
            "groups": lambda arguments: hub.groups(arguments.get("pattern", "*")),
            "connections": lambda arguments: hub.connections.describe(**arguments),
        }

    @property
    def peers(self) -> list[NodeInfo]:
        """The other nodes, as they last said."""
        return [node for node, _ in self._peers.values()]

    def this_node(self) -> NodeInfo:
        """This node, as it is now."""
        hub = self._hub
        groups = hub.groups()
        return NodeInfo(
            uid=hub.node_id,
            name=f"{os.uname().nodename}_{os.getpid()}",
            version=__version__,
            connections=len(hub.connections),
            users=hub.connections.users(),
            subscriptions=sum(groups.values()),
            channels=len(groups),
            uptime=hub.uptime(),
        )

    async def start(self) -> None:
        """Say hello, and get to know the others."""
        await self._send(Beat(self._hub.node_id, self.this_node(), asks=True))

    async def stop(self) -> None:
        """Say good-bye."""
        self._peers.clear()
        try:
            await self._send(Bye(self._hub.node_id))
        except BrokerUnavailable as exc:
            logger.info("the other nodes could not be told good-bye: %s", exc)

    def look_after(self, now: float) -> None:
        """What happens by the clock: a sign of life now and then, and a look at who gave none."""
        for uid, (_, heard) in list(self._peers.items()):
            if now - heard > LIFETIME:
                del self._peers[uid]
        if now >= self._next_beat:
            self._next_beat = now + BEAT_INTERVAL
            self._hub.spawn(self._beat())

    async def disconnect(self, client: str, user: str, reason: CloseReason) -> None:
        """Have the other nodes close connections. Raises `BrokerUnavailable`."""
        await self._send(Disconnect(self._hub.node_id, client, user, reason.code, reason.reason))

    async def join(self, channel: str, client: str, user: str) -> None:
        """Have the other nodes put connections into a channel. Raises `BrokerUnavailable`."""
        await self._send(Join(self._hub.node_id, channel, client, user))

    async def leave(self, channel: str, client: str, user: str) -> None:
        """Have the other nodes take connections out of a channel. Raises `BrokerUnavailable`."""
        await self._send(Leave(self._hub.node_id, channel, client, user))

    async def groups(self, pattern: str = "*") -> dict[str, int]:
        """Groups with members on any node, and how many they have."""
        total: dict[str, int] = {}
        for groups in await self._ask("groups", pattern=pattern):
            for name, members in groups.items():
                total[name] = total.get(name, 0) + members
        return total

    async def count_groups(self) -> int:
        """How many groups have members on any node; where there are several nodes, a second old at most."""
        if not self.peers:
            return len(self._hub.groups())
        then, groups = self._groups
        if self._hub.now() - then > FRESH:
            groups = await self.groups()
            self._groups = (self._hub.now(), groups)
        return len(groups)

    async def connections(self, client: str, user: str) -> dict[str, Any]:
        """The connections of a client, of a user, or all, on any node, by connection id."""
        total: dict[str, Any] = {}
        for connections in await self._ask("connections", client=client, user=user):
            total |= connections
        return total

    def receive(self, data: bytes) -> None:
        """A control message arrived."""
        try:
            message = _decode(data)
        except (msgspec.DecodeError, ValueError, RecursionError) as exc:
            self._hub.deliveries.garbage("control", str(exc))
            return
        if message.origin != self._hub.node_id and self._hub.is_running:
            self._obey(message)

    def _obey(self, message: Control) -> None:
        hub = self._hub
        match message:
            case Beat(origin, node, asks):
                self._peers[origin] = (node, hub.now())
                if asks:
                    hub.spawn(self._beat())
            case Bye(origin):
                self._peers.pop(origin, None)
            case Disconnect(_, client, user, code, reason):
                hub.connections.disconnect(client, user, CloseReason(code, reason))
            case Join(_, channel, client, user):
                hub.spawn(quietly(hub.connections.subscribe(channel, client, user), "a subscription"))
            case Leave(_, channel, client, user):
                hub.spawn(quietly(hub.connections.unsubscribe(channel, client, user), "an unsubscription"))
            case Ask():
                hub.spawn(quietly(self._answer(message), "an answer to another node"))
            case Answer(origin, number, answer):
                asked = self._asked.get(number)
                if asked is not None:
                    asked[0][origin] = answer
                    asked[1].set()

    async def _answer(self, question: Ask) -> None:
        answer = self.answers.get(question.what)
        if answer is not None:
            reply = Answer(self._hub.node_id, question.number, answer(question.arguments))
            await self._hub.broker.control(_encode(reply), question.origin)

    async def _ask(self, what: str, **arguments: str) -> list[Any]:
        """What every node says, this one included; who stays silent for a second is left out."""
        own = self.answers[what](arguments)
        peers = set(self._peers)
        if not peers:
            return [own]
        number = next(self._numbers)
        heard, changed = self._asked[number] = ({}, asyncio.Event())
        try:
            async with asyncio.timeout(ANSWER_TIME):
                await self._send(Ask(self._hub.node_id, number, what, arguments))
                while not heard.keys() >= peers & self._peers.keys():
                    changed.clear()
                    await changed.wait()
        except (TimeoutError, BrokerUnavailable) as exc:
            missing = ", ".join(sorted(peers - heard.keys()))
            logger.warning("nodes %s did not say their %s: %s", missing, what, exc or "no answer in time")
        finally:
            del self._asked[number]
        return [own, *heard.values()]

    async def _beat(self) -> None:
        try:
            await self._send(Beat(self._hub.node_id, self.this_node()))
        except BrokerUnavailable as exc:
            logger.debug("no sign of life could be sent: %s", exc)

    def _send(self, message: Control) -> Awaitable[None]:
        return self._hub.broker.control(_encode(message))
