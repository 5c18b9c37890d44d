"""Opens connections to servers, and asks Sentinels and Clusters where those are."""

import asyncio
import contextlib
import ssl
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, TypeVar

from redis.asyncio import Connection
from redis.asyncio.connection import SSLConnection, UnixDomainSocketConnection
from redis.exceptions import RedisError

from hubbub.brokers.base import BrokerUnavailable
from hubbub.brokers.redis.address import Address
from hubbub.brokers.redis.names import SLOTS

Host = tuple[str, int]
T = TypeVar("T")


class Unsuitable(Exception):
    """There is a server, but none that can be worked with; the sentence says why."""


@dataclass(frozen=True, slots=True)
class Server:
    """One server that takes writes, and the slots it keeps."""

    host: Host
    slots: tuple[tuple[int, int], ...] = ((0, SLOTS - 1),)


FAILURES: Final = (RedisError, OSError, TimeoutError, Unsuitable, UnicodeError)
"""What goes wrong when servers are dialled."""


class Opened(NamedTuple):
    """A connection, and the name of the process at its other end."""

    connection: Any
    run_id: str


def why(exc: BaseException) -> str:
    """An error as a short sentence."""
    return str(exc).strip().rstrip(".") or type(exc).__name__


class Dialer:
    """Connects to what an address names."""

    def __init__(self, address: Address) -> None:
        self._address = address

    async def servers(self, known: tuple[Host, ...] = ()) -> list[Server]:
        """The servers that take writes, now. `known` are nodes of the Cluster to ask first."""
        address = self._address
        if address.service:
            return [Server(await self._ask_sentinels())]
        if address.cluster:
            return await self._ask_cluster((*known, *address.hosts))
        return [Server(address.hosts[0] if address.hosts else ("", 0))]

    async def open(self, host: Host, name: str) -> Opened:
        """Connect, log in and make sure that this server takes writes.

        Raises `BrokerUnavailable` where that cannot be within the deadline.
        """
        connection = self._make(host, name)
        try:
            async with asyncio.timeout(self._address.deadline):
                await connection.connect()
                info = await self._ask(connection, "INFO", "server")
                check_role((await self._ask(connection, "ROLE"))[0], host)
        except FAILURES as exc:
            await hang_up(connection)
            raise BrokerUnavailable(why(exc)) from exc
        except BaseException:
            await hang_up(connection)
            raise
        return Opened(connection, run_id_of(info))

    async def _ask(self, connection: Any, *command: Any) -> Any:
        await connection.send_command(*command)
        return await connection.read_response()

    def _make(self, host: Host, name: str) -> Any:
        address = self._address
        if address.path:
            return UnixDomainSocketConnection(
                path=address.path, db=address.db, client_name=name, **self._login(), **self._limits()
            )
        return self._tcp(host, db=address.db, client_name=name, **self._login())

    def _tcp(self, host: Host, **options: Any) -> Any:
        kind = SSLConnection if self._address.tls else Connection
        return kind(
            host=host[0], port=host[1], socket_keepalive=True, **options, **self._limits(), **self._tls()
        )

    def _login(self) -> dict[str, Any]:
        return {"username": self._address.username, "password": self._address.password}

    def _limits(self) -> dict[str, Any]:
        # RESP2, since on its subscribed connections nothing but messages and confirmations comes in.
        return {
            "socket_timeout": None,
            "socket_connect_timeout": self._address.deadline,
            "protocol": 2,
            "driver_info": None,
        }

    def _tls(self) -> dict[str, Any]:
        if not self._address.tls:
            return {}
        return {"ssl_ca_certs": self._address.tls_ca, "ssl_cert_reqs": ssl.CERT_REQUIRED}

    async def _ask_sentinels(self) -> Host:
        address = self._address
        login = {"username": address.sentinel_username, "password": address.sentinel_password}

        def read(answer: Any, asked: Host) -> Host:
            if not answer:
                raise Unsuitable(f"no Sentinel knows {address.service!r}")
            return answer[0].decode(), int(answer[1])

        command = ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", address.service)
        return await self._first_to_say(address.hosts, lambda host: self._tcp(host, **login), read, *command)

    async def _ask_cluster(self, hosts: Iterable[Host]) -> list[Server]:
        def make(host: Host) -> Any:
            return self._tcp(host, **self._login())

        return await self._first_to_say(list(dict.fromkeys(hosts)), make, servers_of, "CLUSTER", "SLOTS")

    async def _first_to_say(
        self,
        hosts: Sequence[Host],
        make: Callable[[Host], Any],
        read: Callable[[Any, Host], T],
        *command: str,
    ) -> T:
        """What the first of the hosts says that says anything; each has its share of the time."""
        failure: Exception = Unsuitable("no host is known")
        loop = asyncio.get_running_loop()
        until = loop.time() + self._address.deadline
        for number, host in enumerate(hosts):
            connection = make(host)
            try:
                async with asyncio.timeout((until - loop.time()) / (len(hosts) - number)):
                    await connection.connect()
                    return read(await self._ask(connection, *command), host)
            except FAILURES as exc:
                failure = exc
            finally:
                await hang_up(connection)
        raise BrokerUnavailable(why(failure)) from failure


async def hang_up(connection: Any) -> None:
    """Let go of a connection, in whatever state it is."""
    with contextlib.suppress(*FAILURES):
        await connection.disconnect(nowait=True)


def check_role(role: Any, host: Host) -> None:
    """Refuse a server that takes no writes. Raises `Unsuitable`."""
    if role not in (b"master", "master"):
        raise Unsuitable(f"{host[0]}:{host[1]} is a replica")


def run_id_of(info: Any) -> str:
    """The name of the process, of what `INFO server` says in redis-py's shape or the server's."""
    if isinstance(info, Mapping):
        return str(info.get("run_id", ""))
    for line in bytes(info).splitlines():
        name, _, value = line.partition(b":")
        if name == b"run_id":
            return value.decode("ascii")
    return ""


def servers_of(answer: Any, asked: Host) -> list[Server]:
    """Read what `CLUSTER SLOTS` says, in redis-py's shape or the server's."""
    slots: dict[Host, list[tuple[int, int]]] = {}
    if isinstance(answer, Mapping):
        rows = [(*span, entry["primary"]) for span, entry in answer.items()]
    else:
        rows = [(row[0], row[1], row[2]) for row in answer]
    for first, last, primary in rows:
        name = primary[0].decode() if isinstance(primary[0], bytes) else str(primary[0] or "")
        slots.setdefault((name or asked[0], int(primary[1])), []).append((int(first), int(last)))
    if not slots:
        raise Unsuitable("the Cluster has given its slots to nobody")
    return [Server(host, tuple(spans)) for host, spans in slots.items()]
