"""What can be broken: servers of each kind with the faults that befall them, and the faults of nodes.

A setup is a context in which real servers run. Its faults are a table of names; each fault is a method that
breaks something, waits for as long as it is told, and has put it right when it returns. What Sentinels and
Clusters do about it, they do meanwhile.
"""

import random
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import ClassVar, Final, NamedTuple, Self

from redis.crc import key_slot

from ..servers import Cluster, Proxy, SentinelSet, Valkey, everyone, subscribers
from .nodes import Node
from .records import Loss

PRESENCE_TTL: Final = 3


class Breakage(NamedTuple):
    """A fault that can be chosen.

    do: breaks something for so many seconds and heals it; runs in a thread of its own.
    lasts: the least and the most seconds. red: nodes must not call themselves ready while it lasts.
    """

    do: Callable[[float], None]
    loses: Loss
    lasts: tuple[float, float]
    red: bool = True


class Setup:
    """Servers, and what can be done to them."""

    kind: ClassVar[str]

    def __init__(self, groups: Sequence[str], rng: random.Random) -> None:
        self.groups = groups
        self.rng = rng
        self.stack = ExitStack()

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stack.close()
            raise
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stack.close()

    def start(self) -> None:
        """Start the servers."""
        raise NotImplementedError

    @property
    def url(self) -> str:
        """What nodes are given as their broker."""
        raise NotImplementedError

    @property
    def faults(self) -> Mapping[str, Breakage]:
        """What can be broken, by name."""
        raise NotImplementedError


class _Alone(Setup):
    config: ClassVar[Mapping[str, str]]

    def start(self) -> None:
        self.server = self.stack.enter_context(Valkey(**self.config))
        self.proxy = self.stack.enter_context(Proxy(self.server.port))

    @property
    def url(self) -> str:
        return f"{self.proxy.url}?presence_ttl={PRESENCE_TTL}"

    @property
    def faults(self) -> Mapping[str, Breakage]:
        return {
            "pause": Breakage(self.pause, Loss.NOTHING, (1.0, 5.0)),
            "black-hole": Breakage(self.black_hole, Loss.NOTHING, (1.0, 5.0)),
            "silence": Breakage(self.silence, Loss.NOTHING, (1.0, 5.0)),
            "slow": Breakage(self.slow, Loss.NOTHING, (2.0, 5.0), red=False),
            "cut": Breakage(self.cut, Loss.NOTHING, (1.0, 4.0), red=False),
        }

    def pause(self, seconds: float) -> None:
        """The server is frozen."""
        self.server.pause()
        try:
            time.sleep(seconds)
        finally:
            self.server.resume()

    def black_hole(self, seconds: float) -> None:
        """Pub/Sub is dead behind connections that look well, while commands work."""
        self.proxy.black_hole(subscribers)
        time.sleep(seconds)
        self.proxy.heal()

    def silence(self, seconds: float) -> None:
        """Nothing gets through at all."""
        self.proxy.black_hole(everyone)
        time.sleep(seconds)
        self.proxy.heal()

    def slow(self, seconds: float) -> None:
        """Each way takes a good part of a second."""
        self.proxy.delay(self.rng.uniform(0.05, 0.5))
        time.sleep(seconds)
        self.proxy.heal()

    def cut(self, seconds: float) -> None:
        """Connections are cut again and again, all or only those of Pub/Sub."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.proxy.cut(self.rng.choice((everyone, subscribers)))
            time.sleep(self.rng.uniform(0.05, 1.0))

    def restart_after_kill(self, seconds: float) -> None:
        """The server is killed, and comes back with what is on its disk."""
        self.server.kill()
        time.sleep(seconds)
        self.server.start()


class Keeping(_Alone):
    """One server that has every write on disk before it answers."""

    kind = "keeping"
    config: ClassVar[Mapping[str, str]] = {"appendonly": "yes", "appendfsync": "always"}

    @property
    def faults(self) -> Mapping[str, Breakage]:
        return {
            "kill": Breakage(self.restart_after_kill, Loss.NOTHING, (0.0, 5.0)),
            "restart": Breakage(self.restart, Loss.NOTHING, (0.0, 0.0)),
            **super().faults,
        }

    def restart(self, seconds: float) -> None:
        """The server is restarted in good order."""
        self.server.restart()


class Forgetful(_Alone):
    """One server that keeps nothing on disk."""

    kind = "forgetful"
    config: ClassVar[Mapping[str, str]] = {}

    @property
    def faults(self) -> Mapping[str, Breakage]:
        return {
            "restart-empty": Breakage(self.restart_after_kill, Loss.ALL, (0.0, 5.0)),
            "flush": Breakage(self.flush, Loss.ALL, (0.0, 0.0)),
            **super().faults,
        }

    def flush(self, seconds: float) -> None:
        """Somebody empties the running server."""
        self.server.run("FLUSHALL")


class Watched(Setup):
    """A master with a replica and Sentinels; what is acknowledged may not have reached the replica."""

    kind = "sentinel"
    replicas: ClassVar[int] = 0
    loses: ClassVar[Loss] = Loss.TAIL

    def start(self) -> None:
        self.set = self.stack.enter_context(SentinelSet())

    @property
    def url(self) -> str:
        return f"{self.set.url}?presence_ttl={PRESENCE_TTL}&replicas={self.replicas}"

    @property
    def faults(self) -> Mapping[str, Breakage]:
        return {
            "failover": Breakage(self.fail_over, self.loses, (0.0, 2.0), red=False),
            "promotion": Breakage(self.switch_over, self.loses, (0.0, 0.0), red=False),
            "pause-master": Breakage(self.pause_master, self.loses, (0.5, 6.0), red=False),
            "pause-replica": Breakage(self.pause_replica, Loss.NOTHING, (0.5, 5.0), red=False),
            "fall-behind": Breakage(self.fall_behind, self.loses, (0.3, 1.2), red=False),
        }

    def fail_over(self, seconds: float) -> None:
        """The master is killed, its replica promoted; the killed one comes back as a replica."""
        self.set.fail_over()
        time.sleep(seconds)
        self.set.revive()

    def switch_over(self, seconds: float) -> None:
        """The Sentinels are told to swap the two."""
        self.set.switch_over()
        self.set.settle()

    def pause_master(self, seconds: float) -> None:
        """The master is frozen, perhaps till its replica is promoted; then there are two for a while."""
        master = self.set.master()
        master.pause()
        try:
            time.sleep(seconds)
        finally:
            master.resume()
        self.set.settle()

    def pause_replica(self, seconds: float) -> None:
        """The replica is frozen."""
        replica = self.set.replica()
        replica.pause()
        try:
            time.sleep(seconds)
        finally:
            replica.resume()
        self.set.settle()

    def fall_behind(self, seconds: float) -> None:
        """The replica misses what is published for a while, and takes over without it."""
        master, replica = self.set.master(), self.set.replica()
        replica.pause()
        try:
            # What was sent to it already, it will find when it wakes up; the rest is for nobody.
            master.run("CLIENT", "KILL", "TYPE", "replica")
            time.sleep(seconds)
            master.kill()
        finally:
            replica.resume()
        self.set.fail_over()
        self.set.revive()


class Confirmed(Watched):
    """As `Watched`, where a publication counts only when the replica has it."""

    kind = "sentinel-wait"
    replicas = 1
    loses = Loss.UNCONFIRMED


class _Clustered(Setup):
    def owner(self) -> Valkey:
        """The server that keeps some group."""
        return self.cluster.owner_of(f"{{{self.rng.choice(self.groups)}}}")

    @property
    def url(self) -> str:
        return f"{self.cluster.url}?presence_ttl={PRESENCE_TTL}"

    cluster: Cluster

    def pause(self, seconds: float) -> None:
        """A server is frozen."""
        server = self.owner()
        server.pause()
        try:
            time.sleep(seconds)
        finally:
            server.resume()
        self.cluster.settle()


class Sharded(_Clustered):
    """A Cluster without replicas whose servers have every write on disk before they answer."""

    kind = "cluster"

    def start(self) -> None:
        self.cluster = self.stack.enter_context(Cluster(appendonly="yes", appendfsync="always"))

    @property
    def faults(self) -> Mapping[str, Breakage]:
        return {
            "lose-server": Breakage(self.lose_server, Loss.NOTHING, (0.0, 5.0)),
            "pause": Breakage(self.pause, Loss.NOTHING, (1.0, 5.0)),
            "move-slot": Breakage(self.move_slot, Loss.NOTHING, (0.0, 0.5), red=False),
        }

    def lose_server(self, seconds: float) -> None:
        """A server is killed, and comes back with what is on its disk."""
        server = self.owner()
        server.kill()
        time.sleep(seconds)
        self.cluster.restart(server)

    def move_slot(self, seconds: float) -> None:
        """A group moves to another server."""
        slot = key_slot(self.rng.choice(self.groups).encode())
        owner = self.cluster.owner_of_slot(slot)
        to = self.rng.choice([node for node in self.cluster.nodes if node is not owner])
        with self.cluster.moving_slot(slot, to):
            time.sleep(seconds)


class Replicated(_Clustered):
    """A Cluster in which each server has a replica."""

    kind = "cluster-replicas"

    def start(self) -> None:
        self.cluster = self.stack.enter_context(Cluster(replicas=True))

    @property
    def faults(self) -> Mapping[str, Breakage]:
        return {
            "cluster-failover": Breakage(self.fail_over, Loss.TAIL, (0.0, 2.0), red=False),
            "cluster-swap": Breakage(self.swap, Loss.NOTHING, (0.0, 0.0), red=False),
            "pause-primary": Breakage(self.pause, Loss.TAIL, (1.0, 6.0), red=False),
        }

    def fail_over(self, seconds: float) -> None:
        """A server is killed, its replica takes over, and it comes back as a replica."""
        server = self.owner()
        self.cluster.fail_over(server)
        time.sleep(seconds)
        self.cluster.restart(server)

    def swap(self, seconds: float) -> None:
        """A server and its replica swap their roles, in good order."""
        self.cluster.switch_over(self.owner())
        self.cluster.settle()


SETUPS: Final[Mapping[str, type[Setup]]] = {
    setup.kind: setup for setup in (Keeping, Forgetful, Watched, Confirmed, Sharded, Replicated)
}


def kill_node(node: Node, seconds: float) -> None:
    """A node is killed and started again."""
    node.kill()
    time.sleep(seconds)
    node.launch()


def pause_node(node: Node, seconds: float) -> None:
    """A node is frozen."""
    node.pause()
    try:
        time.sleep(seconds)
    finally:
        node.resume()


class Harm(NamedTuple):
    """A fault of a node, by its like for servers."""

    do: Callable[[Node, float], None]
    lasts: tuple[float, float]


NODE_FAULTS: Final[Mapping[str, Harm]] = {
    "kill-node": Harm(kill_node, (0.0, 4.0)),
    "pause-node": Harm(pause_node, (0.5, PRESENCE_TTL + 3.0)),
}
