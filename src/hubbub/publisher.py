"""Publishing from other processes, a script, a worker or a web app, over the servers that the hubs share."""

import asyncio
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Final, NamedTuple, Self
from urllib.parse import urlsplit

from hubbub.brokers.base import BROKERS, BadBroker, BrokerUnavailable, PublishOptions
from hubbub.brokers.redis.address import Address, parse_address
from hubbub.brokers.redis.blocking import BlockingServers
from hubbub.brokers.redis.publishing import publish
from hubbub.brokers.redis.servers import Servers
from hubbub.core.channels import Namespace, Namespaces, check_client_id, check_name
from hubbub.core.json import to_json
from hubbub.core.messages import ALL, Position, Publication, client_channel

GRACE: Final = 0.2
"""Seconds past the deadline in which a broker that was not reached says why."""


class _Message(NamedTuple):
    """What is published, and how it is kept."""

    publication: Publication
    options: PublishOptions


class _Face:
    """What both publishers know: where the servers are, and what may be published there."""

    def __init__(
        self,
        url: str,
        *,
        namespaces: Mapping[str, Namespace] | None = None,
        default_namespace: Namespace | None = None,
    ) -> None:
        self._address = _address(url)
        self._namespaces = Namespaces(dict(namespaces or {}), default_namespace or Namespace())
        self._closed = False

    def _message(
        self,
        channel: str,
        data: object,
        *,
        key: str = "",
        tags: dict[str, str] | None = None,
        idempotency_key: str = "",
        skip_history: bool = False,
    ) -> _Message:
        """As a hub would publish it. Raises `BadName`, and what msgspec raises for data that is no JSON."""
        if self._closed:
            raise RuntimeError("the publisher is closed; make another one")
        check_name(channel, "channel")
        if tags:
            to_json(tags)  # what cannot be said on the wire fails here, as in a hub
        namespace = self._namespaces.of(channel)
        publication = Publication(
            channel=channel,
            data=to_json(data),
            timestamp=datetime.now(UTC).isoformat(),
            key=key,
            tags=tags,
        )
        options = PublishOptions(
            history_size=0 if skip_history else namespace.history_size,
            history_ttl=namespace.history_ttl,
            idempotency_key=idempotency_key,
        )
        return _Message(publication, options)

    def _note(self, client_id: str, data: object) -> _Message:
        """For every connection of one client."""
        check_client_id(client_id)
        return self._message(client_channel(client_id), data)


class Publisher(_Face):
    """Publishes to the clients of every hub on a broker; for code that waits.

    >>> with Publisher("redis://localhost:6379") as publisher:
    ...     publisher.publish("orders:42", {"status": "shipped"})

    `url` is the hubs' own, with its options; `namespaces` and `default_namespace` are as theirs, since who
    publishes keeps the history. Raises `BadBroker` for a URL that names no servers.

    One for a whole process is right: any number of threads may use it at once, and after a fork parent and
    child go on with connections of their own. It connects when it first publishes, and again when that is
    needed. Every method fails with `BrokerUnavailable` where the broker has not answered within the URL's
    `deadline` (1.5 seconds); nothing is known then of its effect.
    """

    def __init__(
        self,
        url: str,
        *,
        namespaces: Mapping[str, Namespace] | None = None,
        default_namespace: Namespace | None = None,
    ) -> None:
        super().__init__(url, namespaces=namespaces, default_namespace=default_namespace)
        self._servers = BlockingServers(self._address)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the connections; idempotent."""
        self._closed = True
        self._servers.close()

    def publish(
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
        position in the channel's history, None without one. Raises `BadName` for a channel that is not legal
        and `BrokerUnavailable`.
        """
        return self._servers.publish(
            *self._message(
                channel,
                data,
                key=key,
                tags=tags,
                idempotency_key=idempotency_key,
                skip_history=skip_history,
            )
        )

    def broadcast(self, data: object) -> None:
        """Publish to every connection on every node."""
        self._servers.publish(*self._message(ALL, data))

    def notify(self, client_id: str, data: object) -> None:
        """Publish to every connection of one client, on every node."""
        self._servers.publish(*self._note(client_id, data))


class AsyncPublisher(_Face):
    """Publishes to the clients of every hub on a broker; as `Publisher`, for one event loop.

    >>> async with AsyncPublisher("redis://localhost:6379") as publisher:
    ...     await publisher.publish("orders:42", {"status": "shipped"})

    Any number of tasks share its one connection to each server.
    """

    def __init__(
        self,
        url: str,
        *,
        namespaces: Mapping[str, Namespace] | None = None,
        default_namespace: Namespace | None = None,
    ) -> None:
        super().__init__(url, namespaces=namespaces, default_namespace=default_namespace)
        self._servers = Servers(self._address)
        self._starting: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Let go of the connections; idempotent."""
        self._closed = True
        if self._starting is not None:
            self._starting.cancel()
            await asyncio.wait([self._starting])
            self._starting = None
        await self._servers.stop()

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
        """Publish to everybody who listens to the channel, on every node; as `Publisher.publish`."""
        return await self._publish(
            self._message(
                channel,
                data,
                key=key,
                tags=tags,
                idempotency_key=idempotency_key,
                skip_history=skip_history,
            )
        )

    async def broadcast(self, data: object) -> None:
        """Publish to every connection on every node."""
        await self._publish(self._message(ALL, data))

    async def notify(self, client_id: str, data: object) -> None:
        """Publish to every connection of one client, on every node."""
        await self._publish(self._note(client_id, data))

    async def _publish(self, message: _Message) -> Position | None:
        deadline = self._address.deadline
        try:
            async with asyncio.timeout(deadline + GRACE):
                await asyncio.shield(self._started())
                return await publish(self._servers, *message)
        except TimeoutError as exc:
            trouble = self._servers.trouble() or f"no answer within {deadline:g} seconds"
            raise BrokerUnavailable(trouble) from exc

    def _started(self) -> asyncio.Task[None]:
        """The attempt to find the servers that is under way, or has succeeded."""
        starting = self._starting
        if starting is None or (starting.done() and (starting.cancelled() or starting.exception())):
            name = f"publisher-{secrets.token_hex(4)}"
            self._starting = starting = asyncio.get_running_loop().create_task(self._servers.start(name))
            starting.add_done_callback(_heard)  # who asked for it may be gone when it fails
        return starting


def _heard(task: asyncio.Task[Any]) -> None:
    if not task.cancelled():
        task.exception()


def _address(url: str) -> Address:
    """Where the servers are. Raises `BadBroker`."""
    try:
        scheme = urlsplit(url).scheme
    except ValueError as exc:
        raise BadBroker(f"the broker URL cannot be read: {exc}") from exc
    if scheme == "memory":
        raise BadBroker(
            "memory:// is inside one hub, where other processes cannot reach it; give both redis://host:6379"
        )
    if scheme not in BROKERS:
        known = ", ".join(f"{name}://" for name in BROKERS if name != "memory")
        raise BadBroker(f"no broker goes by {scheme + '://' if scheme else url!r}; give one of {known}")
    return parse_address(url)
