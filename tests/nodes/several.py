"""Hubs that share a server, their clients, and what tests ask of them."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from hubbub.core.channels import Namespace
from hubbub.hub import Hub, Options
from hubbub.testing import MemoryClient

from ..servers import shared

DEADLINE = 20.0
JsonObject = dict[str, Any]

HISTORY = Namespace(history_size=1000, history_ttl=300)
OWN = {name: Namespace(history_size=100, presence=False) for name in ("$all", "$client", "$user")}


def run(scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run a scenario to its end, within bounds."""

    async def bounded() -> None:
        async with asyncio.timeout(DEADLINE):
            await scenario()

    asyncio.run(bounded())


async def until(condition: Callable[[], object]) -> None:
    """Wait for what no message announces."""
    while not condition():  # noqa: ASYNC110 - what is waited for sets no event
        await asyncio.sleep(0.01)


def an_address(server: str | None = None, **options: object) -> str:
    """A broker URL under a prefix of its own; of the shared server, where none is given."""
    settings = {"prefix": f"test{secrets.token_hex(4)}", "probe_interval": 0.2, **options}
    query = "&".join(f"{name}={value}" for name, value in settings.items())
    return f"{server or shared.standalone().url}?{query}"


@asynccontextmanager
async def nodes(
    number: int = 2, *, address: str | None = None, options: Options | None = None, **settings: Any
) -> AsyncIterator[list[Hub]]:
    """So many hubs on one broker, which know each other."""
    address = address or an_address()
    async with AsyncExitStack() as stack:
        hubs = [Hub(address, options=options, **settings) for _ in range(number)]
        for hub in hubs:
            await stack.enter_async_context(hub.lifespan())
        await until(lambda: all(len(hub.cluster.peers) == number - 1 for hub in hubs))
        yield hubs


async def heard(client: MemoryClient, *types: str, count: int = 1) -> list[JsonObject]:
    """The next messages of these types."""
    found: list[JsonObject] = []
    while len(found) < count:
        message = await client.receive(timeout=DEADLINE)
        if message["type"] in types:
            found.append(message)
    return found
