"""Guards that hold on all nodes: what is revoked is revoked everywhere, and users are counted as a whole."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any

import pytest

from hubbub.auth import Tokens
from hubbub.brokers.base import BrokerUnavailable
from hubbub.core.codes import CloseReason
from hubbub.hub import Hub, Identity, Options, Refuse
from hubbub.hub.revocations import REVOKED
from hubbub.publisher import AsyncPublisher
from hubbub.testing import MemoryClient

from ..auth.making import SECRET, token
from ..servers import Proxy, Valkey
from .several import an_address, nodes, run, until

ON_DISK: dict[str, Any] = {"appendonly": "yes", "appendfsync": "always"}


def guarded(number: int = 2, **settings: Any) -> Any:
    """So many hubs that take tokens, on one broker."""
    return nodes(number, auth=Tokens(SECRET), **settings)


def bearing(text: str) -> dict[str, Any]:
    """What a handshake with this token says."""
    return {"headers": {"authorization": f"Bearer {text}"}}


def of(hub: Hub, user: str = "ann", **claims: Any) -> MemoryClient:
    """A client of a user, with a token of its own."""
    return MemoryClient(hub, **bearing(token(sub=user, **claims)))


async def closed(client: MemoryClient) -> CloseReason:
    """Why the client was closed, once it is."""
    await until(lambda: client.closed)
    assert client.closed is not None
    return client.closed


async def lets_in(hub: Hub, text: str) -> bool:
    """Whether a token opens a connection here."""
    try:
        async with MemoryClient(hub, **bearing(text)):
            return True
    except Refuse as refused:
        return refused.error.code != 101


async def insist(hub: Hub, **named: Any) -> None:
    """Revoke till it is done."""
    while True:
        try:
            await hub.invalidate(**named)
        except BrokerUnavailable:
            await asyncio.sleep(0.05)
        else:
            return


@asynccontextmanager
async def one_more(address: str, **settings: Any) -> AsyncIterator[Hub]:
    """A node that starts later."""
    hub = Hub(address, auth=Tokens(SECRET), **settings)
    async with hub.lifespan():
        yield hub


async def until_refused(hub: Hub, text: str) -> None:
    """Wait until a token opens nothing here."""
    while await lets_in(hub, text):  # noqa: ASYNC110 - nothing announces it
        await asyncio.sleep(0.01)


# Revocations.


@pytest.mark.parametrize("named", [{"user": "ann"}, {"token_id": "t-1"}, {"issued_before": 1}], ids=str)
def test_what_one_node_revokes_is_revoked_on_all(named: dict[str, Any]) -> None:
    """Connections are closed and tokens refused; also by a node that starts later."""

    async def scenario() -> None:
        address, now = an_address(), time.time()
        who = {"issued_before": now - 10} if "issued_before" in named else named
        old, fresh = token(sub="ann", jti="t-1", iat=now - 20), token(sub="bob", jti="t-2", iat=now)
        async with guarded(address=address) as (one, two), AsyncExitStack() as stack:
            closing = [
                await stack.enter_async_context(MemoryClient(hub, **bearing(old))) for hub in (one, two)
            ]
            staying = [
                await stack.enter_async_context(MemoryClient(hub, **bearing(fresh))) for hub in (one, two)
            ]
            await one.invalidate(**who)
            for client in closing:
                assert (await closed(client)).code == 3500
            async with one_more(address) as later:
                for hub in (one, two, later):
                    assert not await lets_in(hub, old)
                    assert await lets_in(hub, fresh)
            assert not any(client.closed for client in staying)

    run(scenario)


def test_what_was_revoked_outlives_the_nodes() -> None:
    """All of them stop; the one that comes next knows."""

    async def scenario() -> None:
        address, text = an_address(), token(sub="ann")
        async with guarded(address=address) as (one, _):
            await one.invalidate(user="ann")
        async with one_more(address) as later:
            assert not await lets_in(later, text)

    run(scenario)


def test_what_was_revoked_outlives_a_restart_of_the_server() -> None:
    """It is on disk; and the nodes go on to hear what is revoked after it."""

    async def scenario() -> None:
        with Valkey(**ON_DISK) as server:
            address = an_address(server.url)
            ann, bob = token(sub="ann"), token(sub="bob")
            async with guarded(address=address) as (one, two), MemoryClient(two, **bearing(bob)) as client:
                await one.invalidate(user="ann")
                await until_refused(two, ann)
                server.kill()
                with pytest.raises(BrokerUnavailable):
                    await one.invalidate(user="bob")
                server.start()
                await insist(one, user="bob")
                assert (await closed(client)).code == 3500
                async with one_more(address) as later:
                    for hub in (one, two, later):
                        await until_refused(hub, ann)
                        await until_refused(hub, bob)

    run(scenario)


def test_a_server_that_forgets_takes_nothing_back() -> None:
    """Nodes that know go on to refuse, tell those who come later, and hear what is revoked after it."""

    async def scenario() -> None:
        with Valkey() as server:
            address = an_address(server.url)
            ann, bob = token(sub="ann"), token(sub="bob")
            async with guarded(address=address) as (one, two), MemoryClient(two, **bearing(bob)) as client:
                await one.invalidate(user="ann")
                await until_refused(two, ann)
                server.kill()
                server.start()
                await insist(two, user="carol")
                await until(lambda: one.revocations.covers("carol", "", 0.0))
                assert client.closed is None
                async with one_more(address) as later:
                    for hub in (one, two, later):
                        await until_refused(hub, ann)
                await insist(one, user="bob")
                assert (await closed(client)).code == 3500

    run(scenario)


def test_what_was_revoked_while_a_node_was_cut_off_reaches_it() -> None:
    """Once it is back, and its connections end then."""

    async def scenario() -> None:
        with Valkey() as server, Proxy(server.port) as proxy:
            address = an_address(server.url)
            beside = address.replace(server.url, proxy.url)
            async with one_more(address) as one, one_more(beside) as two, of(two) as client:
                proxy.black_hole()
                await one.invalidate(user="ann")
                assert client.closed is None
                proxy.heal()
                assert (await closed(client)).code == 3500
                assert not await lets_in(two, token(sub="ann", iat=time.time() - 60))

    run(scenario)


def test_who_publishes_past_the_hubs_revokes_nothing() -> None:
    """A process that may publish is not one that may throw out."""

    async def scenario() -> None:
        address = an_address()
        async with guarded(address=address) as (one, two), of(two) as client:
            async with AsyncPublisher(address) as publisher:
                with suppress(ValueError):  # it may say so itself
                    await publisher.publish(REVOKED, {"before": 1e12, "user": "ann"})
            await one.notify(client.greeting["client_id"], "mark")
            await client.receive("personal_notification")
            assert client.closed is None
            for hub in (one, two):
                assert await lets_in(hub, token(sub="ann"))
            async with one_more(address) as later:
                assert await lets_in(later, token(sub="ann"))

    run(scenario)


# Connections of a user.

TWO = Options(connections_per_user=2)


async def until_counted(hub: Hub, number: int, user: str = "ann") -> None:
    """Wait until presence knows of so many connections of a user, on all nodes."""
    while True:
        try:
            if (await hub.presence_store.count(f"$user:{user}"))[0] == number:
                return
        except BrokerUnavailable:
            pass
        await asyncio.sleep(0.01)


async def is_one_too_many(hub: Hub, user: str = "ann") -> bool:
    """Whether one more connection of a user is not kept; it is gone again in any case."""
    limited = "hubbub_limited_total", {"limit": "connections_per_user"}
    before = hub.metrics.registry.get_sample_value(*limited) or 0
    at_first = (await hub.presence_store.count(f"$user:{user}"))[0]
    client = of(hub, user)
    try:
        async with client:
            await until(lambda: client.closed or not hub._tasks)  # one of them counts it
            over = client.closed is not None
    except Refuse as refused:
        over = refused.status == 429 and refused.error.code == 106
    if client.closed:
        assert client.closed.code == 3504
    assert (hub.metrics.registry.get_sample_value(*limited) or 0) == before + over
    await until_counted(hub, at_first, user)
    return over


def test_a_users_connections_count_on_all_nodes() -> None:
    """One that is too many is closed, wherever it comes; and when one leaves there is room."""

    async def scenario() -> None:
        async with guarded(options=TWO) as (one, two), of(one) as first:
            async with of(two) as second:
                await until_counted(one, 2)
                for hub in (one, two):
                    assert await is_one_too_many(hub)
                    assert not await is_one_too_many(hub, "bob")
                assert first.closed is second.closed is None
            await until_counted(one, 1)
            assert not await is_one_too_many(one)
            assert not await is_one_too_many(two)

    run(scenario)


def test_who_hooks_vouch_for_counts_as_well() -> None:
    """A user is a user, by token or not."""

    async def scenario() -> None:
        async with nodes(2, options=TWO) as hubs:
            for hub in hubs:
                hub.on_connect(lambda _: Identity(user="ann"))
            one, two = hubs
            async with MemoryClient(one), MemoryClient(two):
                await until_counted(one, 2)
                async with MemoryClient(two) as third:
                    assert (await closed(third)).code == 3504

    run(scenario)


def test_a_node_that_stops_leaves_room() -> None:
    """Its connections are no longer counted."""

    async def scenario() -> None:
        address = an_address()
        async with guarded(1, address=address, options=TWO) as [one], of(one):
            async with one_more(address, options=TWO) as two:
                client = await of(two).__aenter__()
                await until_counted(one, 2)
                assert await is_one_too_many(one)
            assert client.closed is not None
            await until_counted(one, 1)
            assert not await is_one_too_many(one)

    run(scenario)


def test_a_crowd_of_one_user_is_not_more_than_it_may_be() -> None:
    """However many come at once, on whichever node."""

    async def scenario() -> None:
        async with guarded(options=TWO) as hubs, AsyncExitStack() as stack:
            crowd = [of(hub) for hub in hubs for _ in range(6)]

            async def come(client: MemoryClient) -> None:
                with suppress(Refuse):
                    await stack.enter_async_context(client)

            await asyncio.gather(*map(come, crowd))
            await until(lambda: sum(len(hub.connections) for hub in hubs) <= 2)
            assert all(client.closed.code == 3504 for client in crowd if client.closed)

    run(scenario)


@pytest.mark.parametrize("keep_data", [True, False], ids=["with its data", "empty"])
def test_a_users_connections_count_after_a_restart_of_the_server(keep_data: bool) -> None:
    """What it has forgotten of them it is told again."""

    async def scenario() -> None:
        with Valkey(**ON_DISK) as server:
            async with guarded(address=an_address(server.url), options=TWO) as (one, two):
                async with of(one) as first, of(two) as second:
                    await until_counted(one, 2)
                    server.restart(keep_data=keep_data)
                    await until_counted(one, 2)
                    await until_counted(two, 2)
                    for hub in (one, two):
                        assert await is_one_too_many(hub)
                    assert first.closed is second.closed is None
                await until_counted(one, 0)

    run(scenario)


def test_who_left_while_the_server_was_away_is_not_counted() -> None:
    """Its place is free once the server is back."""

    async def scenario() -> None:
        with Valkey(**ON_DISK) as server:
            async with guarded(address=an_address(server.url), options=TWO) as (one, two), of(one):
                async with of(two):
                    await until_counted(one, 2)
                    server.kill()
                await until(lambda: len(two.connections) == 0)
                server.start()
                await until_counted(one, 1)
                assert not await is_one_too_many(two)

    run(scenario)
