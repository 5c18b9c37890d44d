"""Both publishers behind one face, and what the test modules share."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, Final, TypeVar

from hubbub import AsyncPublisher, Hub, Namespace, Position, Publisher
from hubbub.brokers.base import BrokerUnavailable

from ..servers import shared

T = TypeVar("T")

DEADLINE: Final = 30.0
AT_MOST: Final = 2.0
"""Seconds within which a publish has failed, where it fails."""
FACES: Final = ("sync", "async")
KINDS: Final = ("standalone", "sentinel", "cluster")
NAMESPACES: Final = {
    "orders": Namespace(history_size=100),
    "short": Namespace(history_size=2, history_ttl=60),
    "$client": Namespace(history_size=10, presence=False),
}


def run(scenario: Coroutine[Any, Any, T]) -> T:
    """Run one scenario on a fresh event loop; one that hangs fails."""

    async def bounded() -> T:
        async with asyncio.timeout(DEADLINE):
            return await scenario

    return asyncio.run(bounded())


def under_prefix(url: str, options: str = "") -> str:
    """The URL of servers, under a prefix that nobody else uses."""
    return f"{url}?prefix=test{secrets.token_hex(4)}{options}"


def shared_url(kind: str) -> str:
    """The URL of shared servers, under a prefix of its own."""
    servers = {"standalone": shared.standalone, "sentinel": shared.sentinel_set, "cluster": shared.cluster}
    return under_prefix(servers[kind]().url)


class Face:
    """A publisher whose methods are awaited, whichever it is: the one that waits does so in a thread."""

    def __init__(self, publisher: Publisher | AsyncPublisher) -> None:
        self.publisher = publisher

    async def publish(self, channel: str, data: object, **options: Any) -> Position | None:
        """As the publisher's."""
        return await self._do(self.publisher.publish, channel, data, **options)

    async def broadcast(self, data: object) -> None:
        """As the publisher's."""
        await self._do(self.publisher.broadcast, data)

    async def notify(self, client_id: str, data: object) -> None:
        """As the publisher's."""
        await self._do(self.publisher.notify, client_id, data)

    async def insist(self, channel: str, data: object) -> Position:
        """Publish, again and again until it works."""
        while True:
            try:
                position = await self.publish(channel, data)
            except BrokerUnavailable:
                await asyncio.sleep(0.05)
            else:
                assert position is not None
                return position

    async def _do(self, method: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        if isinstance(self.publisher, Publisher):
            return await asyncio.to_thread(method, *arguments, **options)
        answer: Awaitable[Any] = method(*arguments, **options)
        return await answer


@asynccontextmanager
async def opened(face: str, url: str, **options: Any) -> AsyncIterator[Face]:
    """A publisher with the namespaces of these tests; it is closed with the block."""
    options = {"namespaces": NAMESPACES} | options
    if face == "sync":
        with Publisher(url, **options) as waiting:
            yield Face(waiting)
    else:
        async with AsyncPublisher(url, **options) as publisher:
            yield Face(publisher)


@asynccontextmanager
async def hub_on(url: str) -> AsyncIterator[Hub]:
    """A hub with the namespaces of these tests."""
    hub = Hub(url, namespaces=NAMESPACES)
    async with hub.lifespan():
        yield hub
