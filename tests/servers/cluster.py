"""A cluster of three primaries that share the slots, with or without a replica each."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Final, NamedTuple

from redis.cluster import RedisCluster
from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot

from .running import Running
from .valkey import HOST, Directive, Valkey, in_step
from .waiting import until

_PRIMARIES: Final = 3
_SETTINGS: Final[dict[str, Directive]] = {
    "cluster_enabled": "yes",
    "cluster_node_timeout": 2000,  # milliseconds without an answer until a node is suspected
    "cluster_require_full_coverage": "no",  # the other slots are served while one primary is down
    "cluster_allow_replica_migration": "no",  # a replica stays with its primary, whatever slots move
}


class Peer(NamedTuple):
    """What a node knows of one of the nodes, itself among them."""

    id: str
    port: int
    flags: frozenset[str]
    primary: str
    """The id of the one that it replicates, or `-`."""
    link: str
    slots: frozenset[int]

    @property
    def failed(self) -> bool:
        """Whether the cluster has agreed that it failed."""
        return "fail" in self.flags

    @property
    def well(self) -> bool:
        """Whether nothing is amiss with it."""
        return self.link == "connected" and not self.flags & {"fail", "fail?", "handshake", "noaddr"}


class Cluster(Running):
    """Three primaries that have found each other, and with `replicas` one more node for each.

    The nodes can be stopped, killed, frozen and started one by one too; `settle` waits until all are well.
    """

    def __init__(self, *, replicas: bool = False, **config: Directive) -> None:
        self.nodes: list[Valkey] = []
        self._size = _PRIMARIES * 2 if replicas else _PRIMARIES
        self._config = _SETTINGS | config
        self._stack = ExitStack()

    @property
    def url(self) -> str:
        """Where its first three nodes answer, as a broker's URL."""
        return f"redis+cluster://{','.join(node.address for node in self.nodes[:_PRIMARIES])}"

    def client(self, **options: Any) -> RedisCluster:
        """A client of the whole cluster, to be closed by the caller."""
        return RedisCluster(HOST, self._any().port, **options)

    def start(self) -> None:
        """Start all nodes, and wait until each finds the cluster whole."""
        for epoch in range(1, self._size + 1):
            node = self._stack.enter_context(Valkey(**self._config))
            self.nodes.append(node)
            # One of its own each, so that no two have the same right to a slot.
            node.run("CLUSTER", "SET-CONFIG-EPOCH", epoch)
            if node is not self.nodes[0]:
                node.run("CLUSTER", "MEET", HOST, self.nodes[0].port)
        primaries, replicas = self.nodes[:_PRIMARIES], self.nodes[_PRIMARIES:]
        for index, primary in enumerate(primaries):
            first, after = (REDIS_CLUSTER_HASH_SLOTS * at // _PRIMARIES for at in (index, index + 1))
            primary.run("CLUSTER", "ADDSLOTSRANGE", first, after - 1)
        until(self._is_connected, "the nodes know each other")
        for primary, replica in zip(primaries, replicas, strict=False):
            replica.run("CLUSTER", "REPLICATE", self._id(primary))
        self.settle()

    def close(self) -> None:
        """End all."""
        self._stack.close()

    def owner_of(self, key: str) -> Valkey:
        """The primary that a key belongs to, be it down or not."""
        return self.owner_of_slot(key_slot(key.encode()))

    def owner_of_slot(self, slot: int) -> Valkey:
        """The primary that a slot belongs to, be it down or not."""
        return next(self._node(peer) for peer in self._peers() if slot in peer.slots)

    def replica_of(self, primary: Valkey) -> Valkey:
        """The node that takes over from this one when it fails."""
        id = next(peer.id for peer in self._peers() if peer.port == primary.port)
        return next(self._node(peer) for peer in self._peers() if peer.primary == id)

    def kill(self, node: Valkey) -> None:
        """Kill a node, and wait until the others have agreed that it failed."""
        node.kill()
        until(
            lambda: all(
                peer.failed
                for other in self._running()
                for peer in self._peers(other)
                if peer.port == node.port
            ),
            f"the others know that {node} failed",
        )

    def restart(self, node: Valkey) -> None:
        """Start a node that was stopped or killed, and wait until all are well."""
        node.start()
        self.settle()

    def fail_over(self, primary: Valkey) -> Valkey:
        """Kill a primary; returns its replica once that has taken over and all know of it.

        What the replica has not got yet is lost; `settle` first where a test must not lose anything.
        """
        replica = self.replica_of(primary)
        primary.kill()
        self._wait_for_primary(replica)
        return replica

    def switch_over(self, primary: Valkey) -> Valkey:
        """Have a primary and its replica swap their roles; returns the new primary."""
        replica = self.replica_of(primary)
        replica.run("CLUSTER", "FAILOVER")
        self._wait_for_primary(replica)
        return replica

    def move_slot(self, slot: int, to: Valkey) -> None:
        """Move a slot with its keys to another primary."""
        with self.moving_slot(slot, to):
            pass

    @contextmanager
    def moving_slot(self, slot: int, to: Valkey) -> Iterator[None]:
        """Move a slot. Within the block it is on its way: its keys have gone, and its owner answers ASK."""
        owner = self.owner_of_slot(slot)
        to.run("CLUSTER", "SETSLOT", slot, "IMPORTING", self._id(owner))
        owner.run("CLUSTER", "SETSLOT", slot, "MIGRATING", self._id(to))
        while keys := owner.run("CLUSTER", "GETKEYSINSLOT", slot, 100):
            owner.run("MIGRATE", HOST, to.port, "", 0, 5000, "KEYS", *keys)
        yield
        # In this order the slot has an owner at every moment.
        to.run("CLUSTER", "SETSLOT", slot, "NODE", self._id(to))
        owner.run("CLUSTER", "SETSLOT", slot, "NODE", self._id(to))
        self.settle()

    def settle(self) -> None:
        """Wait until all nodes that run are well and know the same owners, and the replicas are in step."""
        until(self._is_whole, "the nodes agree")
        until(self._is_in_step, "the replicas are in step")

    def _is_connected(self) -> bool:
        """Whether each node that runs knows all, and is connected to those that run."""
        ports = {node.port for node in self.nodes}
        views = [self._peers(node) for node in self._running()]
        return all(
            {peer.port for peer in view} == ports
            and all(peer.well for peer in view if self._node(peer).running)
            for view in views
        )

    def _is_whole(self) -> bool:
        """Whether besides they agree on who is whose replica and who owns which slots, and serve them."""
        views = {
            frozenset((peer.id, peer.primary, peer.slots) for peer in self._peers(node))
            for node in self._running()
        }
        return (
            self._is_connected()
            and len(views) == 1
            and all("cluster_state:ok" in node.run("CLUSTER", "INFO") for node in self._running())
        )

    def _is_in_step(self) -> bool:
        nodes = {peer.id: self._node(peer) for peer in self._peers()}
        return all(
            in_step(nodes[peer.id], nodes[peer.primary])
            for peer in self._peers()
            if peer.primary in nodes and nodes[peer.id].running and nodes[peer.primary].running
        )

    def _wait_for_primary(self, promoted: Valkey) -> None:
        until(
            lambda: all(
                peer.slots
                for node in self._running()
                for peer in self._peers(node)
                if peer.port == promoted.port
            ),
            f"{promoted} takes over",
        )

    def _running(self) -> list[Valkey]:
        return [node for node in self.nodes if node.running]

    def _any(self) -> Valkey:
        return self._running()[0]

    def _id(self, node: Valkey) -> str:
        id: str = node.run("CLUSTER", "MYID")
        return id

    def _node(self, peer: Peer) -> Valkey:
        return next(node for node in self.nodes if node.port == peer.port)

    def _peers(self, node: Valkey | None = None) -> list[Peer]:
        lines = (node or self._any()).run("CLUSTER", "NODES").splitlines()
        return [_read(line) for line in lines]


def _read(line: str) -> Peer:
    """One line of CLUSTER NODES."""
    id, address, flags, primary, _, _, _, link, *slots = line.split()
    port = address.partition("@")[0].rpartition(":")[2]
    owned: set[int] = set()
    for one in slots:
        # In brackets are those that are on their way in or out.
        if not one.startswith("["):
            first, _, last = one.partition("-")
            owned.update(range(int(first), int(last or first) + 1))
    return Peer(id, int(port), frozenset(flags.split(",")), primary, link, frozenset(owned))
