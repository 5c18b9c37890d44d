"""The hub: one node's coordinator, and what an application embeds."""

import asyncio
import logging
import secrets
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, ClassVar
from weakref import WeakSet

from msgspec import Raw

from hubbub.auth import ApiKeys, Verifier
from hubbub.brokers.base import Broker, BrokerUnavailable, HistoryPage, Presence, PublishOptions, open_broker
from hubbub.core import codes
from hubbub.core.channels import BadName, Namespace, Namespaces, check_client_id, check_group, check_name
from hubbub.core.codes import CloseReason
from hubbub.core.messages import (
    ALL,
    BadCommand,
    Kind,
    Member,
    Position,
    Publication,
    client_channel,
)
from hubbub.core.registry import Registry
from hubbub.hub.attendance import Attendance
from hubbub.hub.background import advance
from hubbub.hub.clock import timestamp
from hubbub.hub.cluster import Cluster
from hubbub.hub.commands import Commands
from hubbub.hub.connection import Connection
from hubbub.hub.connections import Connections
from hubbub.hub.continuity import Continuity
from hubbub.hub.deliveries import Deliveries
from hubbub.hub.expiry import Expiry
from hubbub.hub.gate import Gate
from hubbub.hub.histories import Histories
from hubbub.hub.hooks import Hooks, to_json
from hubbub.hub.interest import Interest
from hubbub.hub.membership import Membership
from hubbub.hub.occupancy import Occupancy
from hubbub.hub.options import Options
from hubbub.hub.permits import Permits
from hubbub.hub.ports import Companion
from hubbub.hub.registration import Registration
from hubbub.hub.revocations import REVOKED, Revocations
from hubbub.hub.users import Users
from hubbub.observability import Metrics

if TYPE_CHECKING:
    from fastapi import APIRouter

logger = logging.getLogger("hubbub")

BROKER_PAUSE = 1.0
"""Seconds till a broker that is waited for is tried again."""


class NotStarted(RuntimeError):
    """The hub is used before its lifespan began or after it ended."""


class Hub(Registration):
    """Everything one process needs for real-time push.

    >>> hub = Hub(namespaces={"orders": Namespace(history_size=100)})
    >>> app = FastAPI(lifespan=hub.lifespan)
    >>> app.include_router(hub.router)
    >>> await hub.publish("orders:42", {"status": "shipped"})
    """

    running: ClassVar[WeakSet["Hub"]] = WeakSet()
    """The hubs of this process that have started; the fast transport finds its own among them."""

    def __init__(
        self,
        broker: str = "memory://",
        *,
        namespaces: Mapping[str, Namespace] | None = None,
        default_namespace: Namespace | None = None,
        options: Options | None = None,
        auth: Verifier | None = None,
    ) -> None:
        """With `auth`, clients need a token, and what it says counts; see docs/authentication.md."""
        self.options = options or Options()
        self._loop: asyncio.AbstractEventLoop | None = None
        named = {REVOKED: Revocations.namespace(self.options.revocation_ttl), **(namespaces or {})}
        self.namespaces = Namespaces(named, default_namespace or Namespace())
        self.auth = auth
        self.node_id = secrets.token_hex(4)
        self.broker: Broker
        self.presence_store: Presence
        self.broker, self.presence_store = open_broker(broker)
        self.metrics = Metrics()
        self.api_keys = ApiKeys(self.options.api_keys)
        super().__init__(Hooks(self.options.hook_timeout))
        self.registry: Registry[Connection] = Registry(lambda c: self.namespaces.of(c).slow_policy)
        self.interest = Interest(self.broker, self.registry.__contains__)
        self.membership = Membership(self)
        self.commands = Commands(self)
        self.connections = Connections(self)
        self.deliveries = Deliveries(self)
        self.histories = Histories(self.broker)
        self.continuity = Continuity(self)
        self.attendance = Attendance(self)
        self.cluster = Cluster(self)
        self.gate = Gate(self)
        self.permits = Permits(self)
        self.expiry = Expiry(self)
        self.occupancy = Occupancy(self)
        self.users = Users(self)
        self.companions: list[Companion] = []
        """What starts before the hub lets anybody in, and stops when all have left."""
        self.revocations = Revocations(self)
        self.started_at = time.time()
        self._tasks: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._router: APIRouter | None = None
        self.metrics.live(self._gauges())

    # Embedding.

    @property
    def router(self) -> "APIRouter":
        """Routes for a FastAPI app: the WebSocket, the HTTP API, metrics and health."""
        if self._router is None:
            from hubbub.http.app import build_router

            self._router = build_router(self)
        return self._router

    @asynccontextmanager
    async def lifespan(self, app: object = None) -> AsyncIterator[None]:
        """Start with the application and stop with it."""
        await self.start()
        try:
            yield
        finally:
            await self.stop()

    async def start(self) -> None:
        """Connect to the broker and begin to work, in the running event loop."""
        if self._loop is not None:
            raise NotStarted("this hub has started already; make another one, or include this one once")
        self._loop = asyncio.get_running_loop()
        self.connections.let_in()
        try:
            for companion in self.companions:
                await companion.start()
            await self._reach_broker()
            await self.interest.hold(ALL)
            if self.namespaces.of(ALL).has_history:
                self.continuity.begin(ALL, (await self.broker.history(ALL, limit=0)).position)
            if self.auth is not None:
                await self.auth.start()
                await self.revocations.start()
            await self.cluster.start()
        except BaseException:
            await self._let_go()
            raise
        self._housekeep(self._loop.time())
        Hub.running.add(self)

    async def _reach_broker(self) -> None:
        """Connect to the broker, or wait for it where that is wanted."""
        while True:
            try:
                await self.broker.start(self.deliveries, self.node_id)
                await self.presence_store.start(self.node_id)
            except BrokerUnavailable as exc:
                if not self.options.wait_for_broker:
                    raise
                logger.warning("waiting for the broker: %s", exc)
                await asyncio.sleep(BROKER_PAUSE)
            else:
                return

    async def stop(self) -> None:
        """Close every connection, with a code that lets clients come back, and let go of the broker."""
        if self._loop is None:
            return
        Hub.running.discard(self)
        if self._timer is not None:
            self._timer.cancel()
        self.connections.send_away()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=self.options.hook_timeout)
        for task in self._tasks:
            task.cancel()
        await self.cluster.stop()
        await self._let_go()

    async def _let_go(self) -> None:
        """Let go of the broker and of all that works with it."""
        self.revocations.stop()
        if self.auth is not None:
            await self.auth.stop()
        await self.occupancy.stop()
        await self.continuity.stop()
        await self.attendance.stop()
        await self.interest.stop()
        await self.presence_store.stop()
        await self.broker.stop()
        for companion in self.companions:
            await companion.stop()
        self._loop = None

    # Publishing.

    async def publish(
        self,
        channel: str,
        data: object,
        *,
        key: str = "",
        tags: dict[str, str] | None = None,
        idempotency_key: str = "",
        skip_history: bool = False,
    ) -> Position | None:
        """Publish to everybody who listens to the channel, on every node.

        `data` is anything that JSON can say, a msgspec Struct, a dataclass or a pydantic model. Returns the
        position in the channel's history, None without one. Waits while this node has more than
        `backlog_bytes` to send. Raises `BadName` for a channel that is not legal and `BrokerUnavailable`.
        """
        check_name(channel, "channel")
        if tags:
            to_json(tags)  # what cannot be said on the wire fails here, at the publisher's
        return await self.publish_raw(
            channel,
            to_json(data),
            key=key,
            tags=tags,
            idempotency_key=idempotency_key,
            skip_history=skip_history,
        )

    async def broadcast(self, data: object) -> None:
        """Publish to every connection on every node."""
        await self.publish_raw(ALL, to_json(data))

    async def notify(self, client_id: str, data: object) -> None:
        """Publish to every connection of one client, on every node."""
        check_client_id(client_id)
        await self.publish_raw(client_channel(client_id), to_json(data))

    async def publish_raw(
        self,
        channel: str,
        data: Any,
        *,
        kind: Kind = Kind.MESSAGE,
        client_id: str = "",
        key: str = "",
        tags: dict[str, str] | None = None,
        idempotency_key: str = "",
        skip_history: bool = False,
    ) -> Position | None:
        """As `publish`, for data that is JSON text already."""
        if self._loop is None:
            raise NotStarted(
                "the hub is not running; give its lifespan to the app: FastAPI(lifespan=hub.lifespan)"
            )
        if channel == REVOKED and kind is not Kind.SYSTEM:
            raise BadName("channel is '$revoked', which is the hub's own; see `invalidate`")
        await self.deliveries.room()
        namespace = self.namespaces.of(channel)
        ephemeral = skip_history or kind in (Kind.JOINED, Kind.LEFT)
        if namespace.has_history and isinstance(data, Raw):
            data = data.copy()  # else what is kept would keep the whole request it came in
        publication = Publication(
            channel=channel,
            data=data,
            timestamp=self.timestamp(),
            kind=kind,
            client_id=client_id,
            key=key,
            tags=tags,
        )
        self.metrics.publication(publication)
        return await self.broker.publish(
            publication,
            PublishOptions(
                history_size=0 if ephemeral else namespace.history_size,
                history_ttl=namespace.history_ttl,
                idempotency_key=idempotency_key,
            ),
        )

    def part(self, connection: Connection, channel: str) -> None:
        """A connection listens to a channel no longer."""
        if self.registry.leave(connection, channel):
            self.interest.release(channel)
            self.occupancy.look(channel)
            if channel != ALL:
                self.continuity.end(channel)

    # Asking.

    async def presence(self, channel: str) -> dict[str, Member]:
        """Everybody in a channel, by connection id. Raises `BadCommand` where presence is off."""
        self._require(self.namespaces.of(channel).presence, "presence", channel)
        return await self.presence_store.list(channel)

    async def presence_stats(self, channel: str) -> tuple[int, int]:
        """How many connections and different clients are in a channel."""
        self._require(self.namespaces.of(channel).presence, "presence", channel)
        return await self.presence_store.count(channel)

    async def history(
        self, channel: str, *, since: Position | None = None, limit: int = -1, reverse: bool = False
    ) -> HistoryPage:
        """A channel's history. Raises `BadCommand` where there is none."""
        self._require(self.namespaces.of(channel).has_history, "history", channel)
        return await self.broker.history(channel, since=since, limit=limit, reverse=reverse)

    @staticmethod
    def _require(available: bool, what: str, channel: str) -> None:
        if not available:
            sentence = f"{what} is off for {channel!r}; its namespace's options turn it on"
            raise BadCommand(sentence, error=codes.NOT_AVAILABLE)

    @property
    def is_running(self) -> bool:
        """Whether it has started and not stopped."""
        return self._loop is not None

    @property
    def total_connections(self) -> int:
        """Open connections on all nodes, as far as these have said."""
        return len(self.connections) + sum(node.connections for node in self.cluster.peers)

    def groups(self, pattern: str = "*") -> dict[str, int]:
        """Groups with members on this node, by name, that fit a glob pattern."""
        return {
            channel: members
            for channel, members in self.registry.channels()
            if channel[0] != "$" and fnmatchcase(channel, pattern)
        }

    async def not_ready(self, timeout: float) -> str:
        """Why clients should not be sent to this node now; empty where they should."""
        if self._loop is None:
            return "the hub is not running"
        try:
            async with asyncio.timeout(timeout):
                await self.broker.ping()
        except (BrokerUnavailable, TimeoutError) as exc:
            return f"the broker does not answer: {exc}"
        return ""

    def uptime(self) -> int:
        """Seconds since the hub was made."""
        return int(time.time() - self.started_at)

    # Acting on clients.

    async def disconnect(
        self, *, client: str = "", user: str = "", reason: CloseReason = codes.FORCE_DISCONNECT
    ) -> int:
        """Close every connection of a client or a user, on every node; returns how many were on this one."""
        closed = self.connections.disconnect(client, user, reason)
        await self.cluster.disconnect(client, user, reason)
        return closed

    async def subscribe(self, channel: str, *, client: str = "", user: str = "") -> None:
        """Put every connection of a client or a user, on every node, into a channel.

        Each is told by `group_joined`.
        """
        check_group(channel, "channel")
        await self.connections.subscribe(channel, client, user)
        await self.cluster.join(channel, client, user)

    async def unsubscribe(self, channel: str, *, client: str = "", user: str = "") -> None:
        """Take every connection of a client or a user, on every node, out of a channel.

        Each is told by `group_removed`.
        """
        check_group(channel, "channel")
        await self.connections.unsubscribe(channel, client, user)
        await self.cluster.leave(channel, client, user)

    async def invalidate(
        self, *, user: str = "", token_id: str = "", issued_before: float | None = None
    ) -> None:
        """Let tokens be good no longer, on every node, and close what they have opened.

        Those of a user, the one of an id, or with `issued_before` alone all of that age (in seconds since the
        epoch; a user's without it are those issued till now). Raises `ValueError` where nothing is named, and
        `BadCommand` in a hub that takes no tokens.
        """
        if self.auth is None:
            raise BadCommand("no tokens are taken here; see `disconnect`", error=codes.NOT_AVAILABLE)
        if not user and not token_id and issued_before is None:
            raise ValueError("name a user, a token_id or issued_before")
        await self.revocations.revoke(user, token_id, issued_before)

    # Time.

    def now(self) -> float:
        """Seconds on the event loop's clock."""
        return self._loop.time() if self._loop is not None else time.monotonic()

    @staticmethod
    def timestamp() -> str:
        """The time of day as the wire shows it: ISO 8601 with a UTC offset."""
        return timestamp()

    def _housekeep(self, expected: float) -> None:
        """Everything that happens by the clock: the connections' signs of life, the loop's own lag."""
        assert self._loop is not None
        now = self._loop.time()
        self.metrics.lag.observe(max(0.0, now - expected))
        self.connections.look_after(now)
        self.expiry.look_after()
        self.continuity.look_after(now)
        self.attendance.look_after(now)
        self.cluster.look_after(now)
        self.metrics.show_gauges(now)
        at = now + self.connections.resolution
        self._timer = self._loop.call_at(at, self._housekeep, at)

    def later(self, seconds: float, what: Callable[..., object], *arguments: Any) -> asyncio.TimerHandle:
        """Call something after a while."""
        assert self._loop is not None
        return self._loop.call_later(seconds, what, *arguments)

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run something in the background, and hold on to it until it is done."""
        assert self._loop is not None
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def begin(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None] | None:
        """Do it as far as that takes no waiting, and the rest, if there is any, in the background.

        See `advance` for the work that may be begun so. All of it is done in the background where something
        is on its way, so that no newcomer is given what was published before it came; and where the broker is
        out of this process, since then there is always something to wait for.
        """
        if self.broker.remote or self.deliveries.under_way:
            return self.spawn(work)
        rest = advance(work)
        return None if rest is None else self.spawn(rest)

    def _gauges(self) -> dict[str, tuple[str, Callable[[], float]]]:
        return {
            "websocket_connections_total": ("Open connections.", lambda: len(self.connections)),
            "hubbub_channels": ("Channels with listeners.", lambda: len(self.registry)),
            "hubbub_groups": ("Groups with members.", lambda: len(self.groups())),
            "hubbub_subscriptions": ("Group memberships.", lambda: sum(self.groups().values())),
            "hubbub_backlog_bytes": ("Bytes waiting for a fan-out.", lambda: self.deliveries.backlog),
        }
