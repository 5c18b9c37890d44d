"""The servers behind one address: which keeps what, a link to each, and where to turn when slots move."""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import Any, Final

from redis.exceptions import (
    AskError,
    ClusterDownError,
    MovedError,
    ReadOnlyError,
    ResponseError,
    TryAgainError,
)

from hubbub.brokers.base import BrokerUnavailable
from hubbub.brokers.redis.address import Address
from hubbub.brokers.redis.dial import Dialer, Host, Opened, Server, why
from hubbub.brokers.redis.link import Link
from hubbub.brokers.redis.names import SLOTS, Names, slot_of
from hubbub.brokers.redis.scripts import Script

logger = logging.getLogger("hubbub.broker")

LOOK_INTERVAL: Final = 5.0
"""Seconds between two looks at how a Cluster is laid out."""
RETRIES: Final = 4
"""Servers that one request is taken to, as slots move."""
RETRY_PAUSE: Final = 0.1


class _Moving(Exception):
    """The server asked keeps that slot no longer, or not yet."""


class Servers:
    """Links to the servers of one address. Shared by a broker and its presence; each starts and stops it."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self.names = Names(address.prefix, address.db)
        self.moved: Callable[[], None] | None = None
        """Called when slots have changed hands."""
        self._dialer = Dialer(address)
        self._name = "hubbub"
        self._users = 0
        self._links: dict[Host, Link] = {}
        self._map: list[Host] = []
        self._look: asyncio.Task[None] | None = None
        self._watch: asyncio.Task[None] | None = None

    async def start(self, node_id: str) -> None:
        """Find the servers and connect. Raises `BrokerUnavailable` where that fails."""
        self._users += 1
        if self._users > 1:
            return
        self._name = f"hubbub-{node_id}"
        try:
            await self._look_around()
            await self._reach_one()
        except BaseException:
            await self.stop()
            raise
        if self.address.cluster:
            self._watch = asyncio.get_running_loop().create_task(self._keep_looking())

    async def _reach_one(self) -> None:
        """A Cluster with a node missing can be worked with; servers of which none answers cannot."""
        tries = [link.first() for link in self._links.values()]
        failures = [end for end in await asyncio.gather(*tries, return_exceptions=True) if end]
        if len(failures) == len(tries):
            raise failures[0]

    async def stop(self) -> None:
        """Let go of every link, once the last user stops."""
        if self._users == 0:
            return
        self._users -= 1
        if self._users:
            return
        for task in (self._watch, self._look):
            if task is not None:
                task.cancel()
                await asyncio.wait([task])
        self._watch = self._look = None
        links, self._links, self._map = list(self._links.values()), {}, []
        for link in links:
            await link.close()

    @property
    def hosts(self) -> list[Host]:
        """The servers that keep something."""
        return list(self._links)

    def host_of(self, name: bytes) -> Host:
        """The server that keeps a key or a sharded channel. Raises `BrokerUnavailable` where none does."""
        if not self._map:
            raise BrokerUnavailable("it is not connected")
        host = self._map[slot_of(name)] if self.address.cluster else self._map[0]
        if host not in self._links:
            raise BrokerUnavailable("no server of the Cluster keeps that slot")
        return host

    def keeps(self, host: Host, slot: int) -> bool:
        """Whether a server keeps a slot."""
        return not self.address.cluster or self._map[slot] == host

    async def open(self, host: Host) -> Opened:
        """A connection of its own to a server, for Pub/Sub. Raises `BrokerUnavailable`."""
        if self.address.service:
            [server] = await self._dialer.servers()
            return await self._dialer.open(server.host, self._name)
        return await self._dialer.open(host, self._name)

    def trouble(self) -> str:
        """What is wrong with the links; empty where nothing is."""
        if not self._links:
            return "not connected"
        return "; ".join(
            f"{host[0]}:{host[1]}: {link.trouble}" for host, link in self._links.items() if link.trouble
        )

    async def run(self, script: Script, keys: tuple[bytes, ...], *arguments: Any) -> Any:
        """Run a script where its keys are. Raises `BrokerUnavailable`."""
        return await self._take(keys[0], lambda link: link.run(script, keys, *arguments))

    async def run_and_wait(
        self, replicas: int, milliseconds: int, script: Script, keys: tuple[bytes, ...], *arguments: Any
    ) -> tuple[Any, int]:
        """Run a script where its keys are; returns how many replicas have it, too. Raises as `run` does."""
        answer: tuple[Any, int] = await self._take(
            keys[0], lambda link: link.run_and_wait(replicas, milliseconds, script, keys, *arguments)
        )
        return answer

    async def call(self, name: bytes, *command: Any) -> Any:
        """Ask the server that keeps `name`. Raises `BrokerUnavailable`."""
        return await self._take(name, lambda link: link.call(*command))

    async def call_at(self, host: Host, *command: Any) -> Any:
        """Ask one server. Raises `BrokerUnavailable`."""
        if host not in self._links:
            raise BrokerUnavailable("no such server")
        try:
            return await self._links[host].call(*command)
        except ResponseError as exc:
            raise BrokerUnavailable(why(exc)) from exc

    async def _take(self, name: bytes, ask: Callable[[Link], Any]) -> Any:
        """Take a request to the server that keeps a name, and after it where that name has moved."""
        # The link holds the deadline of one request; a timeout here costs only those that move.
        deadline = asyncio.get_running_loop().time() + self.address.deadline
        try:
            return await self._ask(name, ask)
        except _Moving as exc:
            trouble = str(exc)
        try:
            async with asyncio.timeout_at(deadline):
                for _ in range(RETRIES):
                    await self.look_again()
                    try:
                        return await self._ask(name, ask)
                    except _Moving as exc:
                        trouble = str(exc)
                        await asyncio.sleep(RETRY_PAUSE)
        except TimeoutError:
            pass
        raise BrokerUnavailable(trouble)

    async def _ask(self, name: bytes, ask: Callable[[Link], Any]) -> Any:
        link = self._links[self.host_of(name)]
        try:
            return await ask(link)
        except (MovedError, ClusterDownError, TryAgainError, AskError) as exc:
            if not self.address.cluster:
                sentence = f"the server is part of a Cluster ({why(exc)}); give redis+cluster://"
                raise BrokerUnavailable(sentence) from exc
            raise _Moving(why(exc)) from exc  # a slot on the move answers as soon as it has moved as a whole
        except ReadOnlyError as exc:
            link.give_up("the server has become a replica")
            raise BrokerUnavailable(why(exc)) from exc
        except ResponseError as exc:
            raise BrokerUnavailable(why(exc)) from exc

    async def look_again(self) -> None:
        """Find out anew which server keeps what; who asks at the same time shares the answer."""
        if self._look is None or self._look.done():
            self._look = asyncio.get_running_loop().create_task(self._look_quietly())
        await asyncio.wait([self._look])

    async def _look_quietly(self) -> None:
        with contextlib.suppress(BrokerUnavailable):
            await self._look_around()

    async def _keep_looking(self) -> None:
        while True:
            await asyncio.sleep(LOOK_INTERVAL)
            await self.look_again()

    async def _look_around(self) -> None:
        servers = await self._dialer.servers(tuple(self._links))
        if self.address.service:
            # One link, whoever is the master; it asks the Sentinels whenever it connects.
            servers = [Server(self.address.hosts[0])]
        hosts = [server.host for server in servers]
        for host in hosts:
            if host not in self._links:
                self._links[host] = Link(
                    lambda host=host: self.open(host),  # type: ignore[misc]
                    deadline=self.address.deadline,
                    lost=self._look_for_another,
                )
        before, self._map = self._map, lay_out(servers)
        for host in [host for host in self._links if host not in hosts]:
            await self._links.pop(host).close()
        if before and before != self._map and self.moved is not None:
            self.moved()

    def _look_for_another(self) -> None:
        if self.address.cluster and (self._look is None or self._look.done()):
            self._look = asyncio.get_running_loop().create_task(self._look_quietly())


def lay_out(servers: list[Server]) -> list[Host]:
    """Who keeps each slot; a slot that nobody keeps is with nobody."""
    if len(servers) == 1 and servers[0].slots == ((0, SLOTS - 1),):
        return [servers[0].host] * SLOTS
    slots: list[Host] = [("", 0)] * SLOTS
    for server in servers:
        for first, last in server.slots:
            slots[first : last + 1] = [server.host] * (last + 1 - first)
    return slots
