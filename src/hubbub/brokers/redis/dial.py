"""Opens connections to servers, and asks Sentinels and Clusters where those are."""

import asyncio
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from redis.asyncio import Connection, Redis
from redis.asyncio.connection import SSLConnection, UnixDomainSocketConnection
from redis.asyncio.sentinel import Sentinel
from redis.exceptions import RedisError

from hubbub.brokers.base import BrokerUnavailable
from hubbub.brokers.redis.address import Address
from hubbub.brokers.redis.names import SLOTS

Host = tuple[str, int]


class Unsuitable(Exception):
    """There is a server, but none that can be worked with; the sentence says why."""


@dataclass(frozen=True, slots=True)
class Server:
    """One server that takes writes, and the slots it keeps."""

    host: Host
    slots: tuple[tuple[int, int], ...] = ((0, SLOTS - 1),)


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
                role = (await self._ask(connection, "ROLE"))[0]
                _check_role(role, host)
        except (RedisError, OSError, TimeoutError, Unsuitable, UnicodeError) as exc:
            await connection.disconnect(nowait=True)
            raise BrokerUnavailable(why(exc)) from exc
        except BaseException:
            await connection.disconnect(nowait=True)
            raise
        return Opened(connection, _run_id(info))

    async def _ask(self, connection: Any, *command: Any) -> Any:
        await connection.send_command(*command)
        return await connection.read_response()

    def _make(self, host: Host, name: str) -> Any:
        address = self._address
        if address.path:
            return UnixDomainSocketConnection(
                path=address.path, db=address.db, client_name=name, **self._login(), **self._limits()
            )
        kind = SSLConnection if address.tls else Connection
        return kind(
            host=host[0],
            port=host[1],
            db=address.db,
            client_name=name,
            socket_keepalive=True,
            **self._login(),
            **self._limits(),
            **self._tls(),
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
        limits: Mapping[str, Any] = self._limits() | {"socket_timeout": address.deadline / 2}
        sentinel = Sentinel(  # type: ignore[no-untyped-call]
            list(address.hosts),
            sentinel_kwargs={
                "username": address.sentinel_username,
                "password": address.sentinel_password,
                **limits,
            },
        )
        try:
            async with asyncio.timeout(address.deadline):
                host, port = await sentinel.discover_master(address.service)
        except (RedisError, OSError, TimeoutError) as exc:
            raise BrokerUnavailable(f"no Sentinel knows {address.service!r}: {why(exc)}") from exc
        finally:
            for each in sentinel.sentinels:
                await each.aclose()
        return str(host), int(port)

    async def _ask_cluster(self, hosts: tuple[Host, ...]) -> list[Server]:
        failure: Exception = BrokerUnavailable("no node of the Cluster is known")
        for host in dict.fromkeys(hosts):
            client: Redis = Redis(
                host=host[0],
                port=host[1],
                ssl=self._address.tls,
                **self._login(),
                **(self._limits() | {"socket_timeout": self._address.deadline / 2}),
                **self._tls(),
            )
            try:
                async with asyncio.timeout(self._address.deadline / 2):
                    rows = await client.execute_command("CLUSTER SLOTS")  # type: ignore[no-untyped-call]
                return _servers(rows, host)
            except (RedisError, OSError, TimeoutError, Unsuitable) as exc:
                failure = exc
            finally:
                await client.aclose()
        raise BrokerUnavailable(f"no node of the Cluster answers: {why(failure)}") from failure


def _check_role(role: Any, host: Host) -> None:
    if role not in (b"master", "master"):
        raise Unsuitable(f"{host[0]}:{host[1]} is a replica")


def _run_id(info: Any) -> str:
    if isinstance(info, Mapping):
        return str(info.get("run_id", ""))
    for line in bytes(info).splitlines():
        name, _, value = line.partition(b":")
        if name == b"run_id":
            return value.decode("ascii")
    return ""


def _servers(answer: Any, asked: Host) -> list[Server]:
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
