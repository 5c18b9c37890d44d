"""A master with a replica, watched over by three Sentinels."""

from contextlib import ExitStack
from typing import Any, Final

from .running import Running
from .valkey import HOST, Valkey, in_step
from .waiting import until

NAME: Final = "mymaster"
_WATCH: Final = (f"down-after-milliseconds {NAME} 1000", f"failover-timeout {NAME} 2000")
# How often Sentinels look at the servers and speak with each other, in ms. By default they find each other in
# 2 s, see a new replica in 10 s, and let one that takes itself for the master do so for 8 s.
#
# During a failover they ask for INFO each second, whatever is set here, so what they judge by its age has to
# take longer. They promote no replica whose last INFO is older than three INFO periods or, with the master
# down, five PING periods. And they turn a promoted one back into a replica four PUBLISH periods after an INFO
# that says it is a master, unless the one that leads the failover has told them by then.
_HASTE: Final = ("INFO-PERIOD", 500, "PING-PERIOD", 400, "PUBLISH-PERIOD", 500, "ASK-PERIOD", 100)


class SentinelSet(Running):
    """Two servers of which one is the master, and three Sentinels that promote the other when it fails."""

    def __init__(self) -> None:
        self.servers: list[Valkey] = []
        self.sentinels: list[Valkey] = []
        self._stack = ExitStack()

    @property
    def url(self) -> str:
        """Where the Sentinels answer and what they call the master, as a broker's URL."""
        return f"redis+sentinel://{','.join(one.address for one in self.sentinels)}/{NAME}"

    def start(self) -> None:
        """Start all, and wait until the replica is in step and the Sentinels know it and each other."""
        master = self._stack.enter_context(Valkey())
        replica = self._stack.enter_context(Valkey(replicaof=f"{HOST} {master.port}"))
        self.servers = [master, replica]
        # The Sentinels know the replica at once where it is there when they first ask the master.
        until(lambda: in_step(replica, master), "the replica is in step")
        for _ in range(3):
            watch = [f"monitor {NAME} {HOST} {master.port} 2", *_WATCH]
            sentinel = self._stack.enter_context(Valkey(sentinel=watch))
            sentinel.run("SENTINEL", "DEBUG", *_HASTE)
            self.sentinels.append(sentinel)
        self.settle()

    def close(self) -> None:
        """End all."""
        self._stack.close()

    def master(self) -> Valkey:
        """The server that the Sentinels name as the master."""
        return self._named_by(next(one for one in self.sentinels if one.running))

    def replica(self) -> Valkey:
        """The other one."""
        master = self.master()
        return next(server for server in self.servers if server is not master)

    def fail_over(self) -> Valkey:
        """Kill the master; returns the one that the Sentinels have agreed on in its place.

        What the replica has not got yet is lost; `settle` first where a test must not lose anything.
        """
        master = self.master()
        master.kill()
        return self._successor(master)

    def switch_over(self) -> Valkey:
        """Have the Sentinels swap the roles of the two servers; returns the new master.

        The old one follows it some seconds later; `settle` waits for that.
        """
        master = self.master()
        next(one for one in self.sentinels if one.running).run("SENTINEL", "FAILOVER", NAME)
        return self._successor(master)

    def revive(self, *, as_master: bool = False) -> Valkey:
        """Start the killed server again as a replica, in step when this returns.

        With `as_master` it comes back as the master that it was, as it does where nobody has told it, and
        this returns at once: for a second or two there are two, until the Sentinels turn it into a replica.
        """
        master = self.master()
        [killed] = [server for server in self.servers if not server.running]
        killed.configure(replicaof="no one" if as_master else f"{HOST} {master.port}")
        killed.start()
        if not as_master:
            self.settle()
        return killed

    def settle(self) -> None:
        """Wait until the replica has what the master has, and the Sentinels find nothing amiss."""
        until(lambda: in_step(self.replica(), self.master()), "the replica is in step")
        until(
            lambda: all(self._is_content(one) for one in self.sentinels if one.running),
            "the Sentinels know both servers and each other",
        )

    def _is_content(self, sentinel: Valkey) -> bool:
        master = sentinel.run("SENTINEL", "MASTER", NAME)
        replicas = sentinel.run("SENTINEL", "REPLICAS", NAME)
        others = sentinel.run("SENTINEL", "SENTINELS", NAME)
        return (
            master["flags"] == "master"
            and [(one["flags"], one["master-link-status"]) for one in replicas] == [("slave", "ok")]
            and len(others) == len(self.sentinels) - 1
            # `master_down` among the flags is an opinion of the last master, which they keep.
            and all("s_down" not in one["flags"] for one in others if self._runs(one))
        )

    def _runs(self, sentinel: dict[str, Any]) -> bool:
        return any(one.running and str(one.port) == sentinel["port"] for one in self.sentinels)

    def _successor(self, predecessor: Valkey) -> Valkey:
        def agreed() -> list[Valkey]:
            named = {self._named_by(sentinel) for sentinel in self.sentinels if sentinel.running}
            return [
                one for one in named if named == {one} != {predecessor} and one.run("ROLE")[0] == "master"
            ]

        [successor] = until(agreed, f"the Sentinels agree on a master in place of {predecessor}")
        return successor

    def _named_by(self, sentinel: Valkey) -> Valkey:
        _, port = sentinel.run("SENTINEL", "GET-MASTER-ADDR-BY-NAME", NAME)
        return next(server for server in self.servers if server.port == int(port))
