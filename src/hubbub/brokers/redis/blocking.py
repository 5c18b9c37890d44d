"""Publishing by threads that wait, over redis-py's connections without an event loop.

Theory of operation. A connection says at its beginning which process is at its other end, and a script is
told so by the connection that it runs over; so a new epoch begins when, and only when, another process serves
the data. What was never sent, and what a server turned away, is tried again till the deadline. What was sent
and not answered fails, since nothing is known of its effect. Each process has connections of its own: after a
fork those of the parent are let alone.
"""

import contextlib
import math
import os
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Final, TypeVar

from redis.connection import Connection, SSLConnection, UnixDomainSocketConnection
from redis.exceptions import (
    AskError,
    BusyLoadingError,
    ClusterDownError,
    MovedError,
    NoScriptError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TryAgainError,
)

from hubbub.brokers.base import BrokerUnavailable, PublishOptions
from hubbub.brokers.redis.address import Address
from hubbub.brokers.redis.dial import Host, Server, Unsuitable, check_role, run_id_of, servers_of, why
from hubbub.brokers.redis.link import FIRST_PAUSE, LONGEST_PAUSE, RUN_ID
from hubbub.brokers.redis.names import Names, slot_of
from hubbub.brokers.redis.publishing import Request, prepare
from hubbub.brokers.redis.servers import lay_out
from hubbub.core.messages import Position, Publication

T = TypeVar("T")

MOST_CONNECTIONS: Final = 64
"""Connections of one process at most: so many threads publish at a time, others wait for their turn."""
IDLE: Final = 30.0
"""Seconds after which an idle connection is not trusted any more: firewalls forget such ones in silence."""

NAME: Final = "hubbub-publisher"
_NO_EFFECT: Final = (
    MovedError,
    AskError,
    ClusterDownError,
    TryAgainError,
    ReadOnlyError,
    BusyLoadingError,
)
"""How a server says that it has not begun what it was asked."""


class _Unsent(Exception):
    """There is no connection to send it over; the sentence says why."""


class _InTime:
    """A connection that is given up where an answer has not come at the time `until`.

    Once it is `over` it must not be used: redis-py would connect again, maybe to another process.
    """

    until: float
    over = False

    def disconnect(self, *arguments: Any, **options: Any) -> None:
        self.over = True
        super().disconnect(*arguments, **options)  # type: ignore[misc]

    def read_response(self, *arguments: Any, **options: Any) -> Any:
        connection: Any = self
        if not connection.can_read(max(0.0, self.until - time.monotonic())):
            connection.disconnect()
            raise TimeoutError("no answer in time")
        return super().read_response(*arguments, **options)  # type: ignore[misc]


class _Tcp(_InTime, Connection):
    pass


class _Tls(_InTime, SSLConnection):
    pass


class _Unix(_InTime, UnixDomainSocketConnection):
    pass


class _Line:
    """A connection that is open, and the name of the process at its other end."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self.run_id = ""
        self.idle_since = math.inf

    def ask(self, *command: Any, until: float) -> Any:
        """Ask the server. Raises `RedisError` and `OSError`."""
        if self._connection.over:
            raise ConnectionError("the connection was closed")
        self._connection.until = until
        self._connection.send_command(*command, check_health=False)
        return self._connection.read_response()

    def run(self, request: Request, until: float) -> Any:
        """Do what a request says. Raises as `ask` does."""
        if request.script is None:
            return self.ask(*request.arguments, until=until)
        script, keys = request.script, request.keys
        arguments = [self.run_id if each is RUN_ID else each for each in request.arguments]
        try:
            return self.ask("EVALSHA", script.digest, len(keys), *keys, *arguments, until=until)
        except NoScriptError:  # it is new to this server
            return self.ask("EVAL", script.source, len(keys), *keys, *arguments, until=until)

    def is_good(self, now: float) -> bool:
        """Whether it can be used again: its server has not closed it, nor said what nobody asked."""
        try:
            fresh = now - self.idle_since < IDLE and not self._connection.over
            return fresh and not self._connection.can_read(0)
        except (RedisError, OSError):
            return False

    def close(self) -> None:
        """Let go of it."""
        self._connection.disconnect()


class _Pool:
    """The connections of one process."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.room = threading.BoundedSemaphore(MOST_CONNECTIONS)
        self._lock = threading.Lock()
        self._idle: dict[Host, list[_Line]] = {}
        self._closed = False

    def take(self, host: Host) -> _Line | None:
        """An idle connection to a server, if there is a good one."""
        while True:
            with self._lock:
                idle = self._idle.get(host)
                if not idle:
                    return None
                line = idle.pop()
            if line.is_good(time.monotonic()):
                return line
            line.close()

    def put(self, host: Host, line: _Line) -> None:
        """This one is idle now."""
        line.idle_since = time.monotonic()
        with self._lock:
            if not self._closed:
                self._idle.setdefault(host, []).append(line)
                return
        line.close()

    def drop(self, host: Host) -> None:
        """Let go of the idle ones to this server: what became of one has become of all, maybe."""
        with self._lock:
            lines = self._idle.pop(host, [])
        for line in lines:
            line.close()

    def close(self) -> None:
        """Let go of the idle ones, and of each other one when it would be idle."""
        with self._lock:
            self._closed = True
            hosts = list(self._idle)
        for host in hosts:
            self.drop(host)


class BlockingServers:
    """The servers of one address, for any number of threads."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._names = Names(address.prefix, address.db)
        self._pool = _Pool()
        self._map: list[Host] = []

    def publish(self, publication: Publication, options: PublishOptions) -> Position | None:
        """Append to the channel's history and send, as one step. Raises `BrokerUnavailable`."""
        request = prepare(self._names, self._address, publication, options)

        def ask(line: _Line, until: float) -> Position | None:
            answer = line.run(request, until)
            if request.script is None:
                return None
            if request.replicas:
                # It speaks of what this very connection has written.
                left = int((until - time.monotonic()) * 900)
                reached = line.ask("WAIT", request.replicas, max(1, min(request.wait, left)), until=until)
                request.check_replicas(reached)
            return Request.position(answer)

        return self._take(request.name, ask)

    def close(self) -> None:
        """Let go of the connections; idempotent."""
        self._pool_here().close()

    def _pool_here(self) -> _Pool:
        """This process's own connections."""
        if self._pool.pid != os.getpid():
            # Its lock may have been held by a thread that is not here, so nothing of it is touched.
            self._pool = _Pool()
        return self._pool

    def _take(self, name: bytes, ask: Callable[[_Line, float], Position | None]) -> Position | None:
        """Take a request to the server that keeps a name, again as long as it was not begun."""
        until = time.monotonic() + self._address.deadline
        pause = 0.0
        while True:
            host = None
            try:
                host = self._host_of(name, until)
                with self._line(host, until) as line:
                    return ask(line, until)
            except (_Unsent, *_NO_EFFECT) as exc:
                if isinstance(exc, MovedError) and not self._address.cluster:
                    raise BrokerUnavailable(
                        f"the server is part of a Cluster ({why(exc)}); give redis+cluster://"
                    ) from exc
                self._doubt(host)
                if time.monotonic() + pause >= until:
                    raise BrokerUnavailable(why(exc)) from exc
            except ResponseError as exc:
                raise BrokerUnavailable(why(exc)) from exc
            except (RedisError, OSError) as exc:
                self._doubt(host)
                raise BrokerUnavailable(why(exc)) from exc
            time.sleep(pause)
            pause = min(max(FIRST_PAUSE, 2 * pause), LONGEST_PAUSE)

    def _doubt(self, host: Host | None) -> None:
        """Something was amiss with a server: look anew where it is, and who keeps what."""
        self._map = []
        if host is not None:
            self._pool_here().drop(host)

    @contextlib.contextmanager
    def _line(self, host: Host, until: float) -> Iterator[_Line]:
        """A connection for one request at a time."""
        pool = self._pool_here()
        if not pool.room.acquire(timeout=max(0.0, until - time.monotonic())):
            raise _Unsent(f"{MOST_CONNECTIONS} threads are publishing already")
        try:
            line = pool.take(host) or self._open(host, until)
            try:
                yield line
            except ResponseError:
                pool.put(host, line)  # a proper answer
                raise
            except BaseException:
                line.close()
                raise
            pool.put(host, line)
        finally:
            pool.room.release()

    # Where the servers are.

    def _host_of(self, name: bytes, until: float) -> Host:
        """The server that keeps a name. Raises `_Unsent`."""
        address = self._address
        if not address.cluster:
            return address.hosts[0] if address.hosts else ("", 0)
        layout = self._map or self._look(until)
        host = layout[slot_of(name)]
        if not host[0]:
            raise _Unsent("no server of the Cluster keeps that slot")
        return host

    def _look(self, until: float) -> list[Host]:
        """Ask the Cluster who keeps what. Raises `_Unsent`."""

        def ask(host: Host, until: float) -> list[Server]:
            return servers_of(self._ask(host, until, "CLUSTER", "SLOTS"), host)

        self._map = layout = lay_out(self._any(ask, until))
        return layout

    def _master(self, until: float) -> Host:
        """Ask the Sentinels who is the master. Raises `_Unsent`."""

        def ask(host: Host, until: float) -> Host:
            found = self._ask(host, until, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._address.service)
            if not found:
                raise Unsuitable(f"no Sentinel knows {self._address.service!r}")
            return found[0].decode(), int(found[1])

        return self._any(ask, until)

    def _any(self, ask: Callable[[Host, float], T], until: float) -> T:
        """What the first of the hosts says that says anything; each has its share of the time."""
        failure: Exception = Unsuitable("no host is known")
        hosts = self._address.hosts
        for number, host in enumerate(hosts):
            now = time.monotonic()
            try:
                return ask(host, now + (until - now) / (len(hosts) - number))
            except (RedisError, OSError, Unsuitable, UnicodeError) as exc:
                failure = exc
        raise _Unsent(why(failure)) from failure

    def _ask(self, host: Host, until: float, *command: Any) -> Any:
        """What a Sentinel or a node of the Cluster says, over a connection that ends with it."""
        address = self._address
        if address.service:
            login = {"username": address.sentinel_username, "password": address.sentinel_password}
            connection = self._tcp(host, until, **login)
        else:
            connection = self._make(host, until)
        try:
            connection.connect()
            return _Line(connection).ask(*command, until=until)
        finally:
            connection.disconnect()

    # Connecting.

    def _open(self, host: Host, until: float) -> _Line:
        """Connect, and make sure that this server takes writes. Raises `_Unsent`."""
        if self._address.service:
            host = self._master(until)
        connection = self._make(host, until)
        line = _Line(connection)
        try:
            connection.connect()
            check_role(line.ask("ROLE", until=until)[0], host)
            line.run_id = run_id_of(line.ask("INFO", "server", until=until))
        except (RedisError, OSError, Unsuitable, UnicodeError) as exc:
            connection.disconnect()
            raise _Unsent(why(exc)) from exc
        except BaseException:
            connection.disconnect()
            raise
        return line

    def _make(self, host: Host, until: float) -> Any:
        """A connection to a server that is not open yet."""
        address = self._address
        options: dict[str, Any] = {
            "username": address.username,
            "password": address.password,
            "db": address.db,
            "client_name": NAME,
        }
        if address.path:
            return _connection(_Unix, until, path=address.path, **options)
        return self._tcp(host, until, **options)

    def _tcp(self, host: Host, until: float, **options: Any) -> Any:
        options |= {"host": host[0], "port": host[1]}
        if self._address.tls:
            tls = {"ssl_ca_certs": self._address.tls_ca, "ssl_cert_reqs": ssl.CERT_REQUIRED}
            return _connection(_Tls, until, **options, **tls)
        return _connection(_Tcp, until, **options)


def _connection(kind: Any, until: float, **options: Any) -> Any:
    """A connection that is not open yet, and does not take longer to be."""
    left = max(0.01, until - time.monotonic())
    connection = kind(
        socket_timeout=left,
        socket_connect_timeout=left / 2,  # a name may have two addresses of which one is dead
        protocol=2,
        driver_info=None,
        **options,
    )
    connection.until = until
    return connection
