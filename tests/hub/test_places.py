"""Places of a node, an address and a user: given back, in whatever way a connection ends or never begins."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

import pytest

from hubbub.auth import Claims
from hubbub.core import codes
from hubbub.hub import ConnectRequest, Hub, Refuse

from ..auth.making import OTHER_SECRET, token
from .guarded import Slow, bearing, closed, come, guarded, left_behind, no_room, turned_away
from .inprocess import Client, enter, quick, run, running, settled, until
from .staged import Stage, staged_hub

Way = Callable[[Hub, Stage, Slow], Awaitable[None]]
REQUEST = ConnectRequest(client_id=None, path="/ws", address="192.0.2.9", headers=bearing("good"))
FIRST = ConnectRequest(client_id=None, path="/ws", address="192.0.2.9", query={"connect": "first"})


@contextmanager
def expecting(*errors: type[BaseException]) -> Iterator[None]:
    """It does not come in."""
    with pytest.raises(errors):
        yield


async def _in(hub: Hub, request: ConnectRequest = REQUEST) -> Client:
    return Client(hub, await hub.connections.admit(request))


async def vanishes(hub: Hub, stage: Stage, verifier: Slow) -> None:
    (await _in(hub)).vanish()


async def says_goodbye_twice(hub: Hub, stage: Stage, verifier: Slow) -> None:
    client = await _in(hub)
    client.vanish(codes.NORMAL)
    client.vanish(codes.NORMAL)
    client.connection.close(codes.SHUTDOWN)


async def is_disconnected(hub: Hub, stage: Stage, verifier: Slow) -> None:
    client = await _in(hub)
    await hub.disconnect(user="ann")
    assert (await closed(client)).code == 3503


async def is_withdrawn(hub: Hub, stage: Stage, verifier: Slow) -> None:
    admission = await hub.connections.admit(REQUEST)
    hub.connections.withdraw(admission)
    hub.connections.withdraw(admission)


async def is_sent_away_at_the_door(hub: Hub, stage: Stage, verifier: Slow) -> None:
    admission = await hub.connections.admit(REQUEST)
    await hub.disconnect(user="ann")
    assert Client(hub, admission).closed is not None


async def is_revoked(hub: Hub, stage: Stage, verifier: Slow) -> None:
    client = await _in(hub)
    await hub.invalidate(user="ann")
    assert (await closed(client)).code == 3500


async def floods(hub: Hub, stage: Stage, verifier: Slow) -> None:
    client = await _in(hub)
    for _ in range(100):
        client.say("ping")
    assert (await closed(client)).code == 3509


async def has_a_bad_token(hub: Hub, stage: Stage, verifier: Slow) -> None:
    verifier.known.clear()
    with expecting(Refuse):
        await _in(hub)


async def cannot_be_verified(hub: Hub, stage: Stage, verifier: Slow) -> None:
    verifier.available = False
    with expecting(Refuse):
        await _in(hub)


async def is_refused_by_a_hook(hub: Hub, stage: Stage, verifier: Slow) -> None:
    hub.on_connect(lambda _: False)
    with expecting(Refuse):
        await _in(hub)


async def finds_a_hook_that_fails(hub: Hub, stage: Stage, verifier: Slow) -> None:
    hub.on_connect(lambda request: request.nonsense)
    with expecting(Refuse):
        await _in(hub)


async def finds_a_hook_that_hangs(hub: Hub, stage: Stage, verifier: Slow) -> None:
    hub.on_connect(lambda _: asyncio.Event().wait())
    with expecting(Refuse):
        await _in(hub)


async def finds_a_verifier_that_breaks(hub: Hub, stage: Stage, verifier: Slow) -> None:
    verifier.known = None
    with expecting(TypeError):
        await _in(hub)


async def finds_no_broker(hub: Hub, stage: Stage, verifier: Slow) -> None:
    stage.fail("subscribe $user:ann")
    with expecting(Refuse):
        await _in(hub)


async def gives_up_before_a_hook(hub: Hub, stage: Stage, verifier: Slow) -> None:
    asked = asyncio.Event()

    async def hook(request: ConnectRequest) -> None:
        asked.set()
        await asyncio.Event().wait()

    hub.on_connect(hook)
    knocking = asyncio.create_task(_in(hub))
    await asked.wait()
    knocking.cancel()
    with expecting(asyncio.CancelledError):
        await knocking


async def gives_up_before_the_broker(hub: Hub, stage: Stage, verifier: Slow) -> None:
    stage.shut("subscribe $user:ann")
    knocking = asyncio.create_task(_in(hub))
    await until(lambda: stage.reached("subscribe $user:ann"))
    knocking.cancel()
    with expecting(asyncio.CancelledError):
        await knocking
    stage.open("subscribe $user:ann")


async def never_speaks(hub: Hub, stage: Stage, verifier: Slow) -> None:
    assert (await closed(await _in(hub, FIRST))).code == 3502


async def vanishes_without_a_word(hub: Hub, stage: Stage, verifier: Slow) -> None:
    (await _in(hub, FIRST)).vanish()


async def vanishes_after_a_bad_word(hub: Hub, stage: Stage, verifier: Slow) -> None:
    client = await _in(hub, FIRST)
    assert (await client.ask("connect", token="bad"))["code"] == 101
    client.vanish()


async def vanishes_while_its_words_are_heard(hub: Hub, stage: Stage, verifier: Slow) -> None:
    client = await _in(hub, FIRST)
    stage.shut("subscribe $user:ann")
    client.say("connect", token="good")
    await until(lambda: stage.reached("subscribe $user:ann"))
    client.vanish()
    stage.open("subscribe $user:ann")


async def floods_before_it_has_spoken(hub: Hub, stage: Stage, verifier: Slow) -> None:
    client = await _in(hub, FIRST)
    for _ in range(100):
        client.say("ping")
    assert (await closed(client)).code == 3509


async def sends_garbage_before_it_has_spoken(hub: Hub, stage: Stage, verifier: Slow) -> None:
    client = await _in(hub, FIRST)
    for _ in range(20):
        client.connection.receive(b"\xff{")
    assert (await closed(client)).code == 3509


async def speaks_and_leaves(hub: Hub, stage: Stage, verifier: Slow) -> None:
    client = await _in(hub, FIRST)
    await client.ask("connect", token="good", groups=["news"])
    client.vanish()


WAYS: dict[str, Way] = {
    way.__name__.replace("_", " "): way
    for way in (
        vanishes,
        says_goodbye_twice,
        is_disconnected,
        is_withdrawn,
        is_sent_away_at_the_door,
        is_revoked,
        floods,
        has_a_bad_token,
        cannot_be_verified,
        is_refused_by_a_hook,
        finds_a_hook_that_fails,
        finds_a_hook_that_hangs,
        finds_a_verifier_that_breaks,
        finds_no_broker,
        gives_up_before_a_hook,
        gives_up_before_the_broker,
        never_speaks,
        vanishes_without_a_word,
        vanishes_after_a_bad_word,
        vanishes_while_its_words_are_heard,
        floods_before_it_has_spoken,
        sends_garbage_before_it_has_spoken,
        speaks_and_leaves,
    )
}


@pytest.mark.parametrize("way", WAYS)
def test_a_place_is_given_back(way: str) -> None:
    """However it ends: the next one comes in, once, and then it is full as before."""

    async def scenario() -> None:
        verifier = Slow(good=Claims(subject="ann", client_id="phone", issued_at=1.0))
        hub, _, stage = staged_hub(
            auth=verifier,
            max_connections=1,
            connections_per_address=1,
            connections_per_user=1,
            handshake_timeout=0.1,
            hook_timeout=0.02,
            messages_burst=20,
            messages_per_second=1,
        )
        async with running(hub):
            await WAYS[way](hub, stage, verifier)
            await settled()
            assert left_behind(hub) == {}
            hub.hooks.connect.clear()
            hub.revocations._known.clear()
            stage.fail("subscribe $user:ann", failing=False)
            verifier.known, verifier.available = {"good": Claims(subject="ann")}, True
            client = await _in(hub)
            await settled()
            assert client.closed is None
            await no_room(hub, "connections")

    run(scenario())


def test_an_idle_connection_gives_its_place_back() -> None:
    """Who gives no sign of life is not there."""

    async def scenario() -> None:
        async with running(guarded(**{**quick(), "grace_timeout": 0.1}, max_connections=1)) as hub:
            client = await come(hub, sub="ann", groups=["news"])
            assert (await closed(client)).code == 3012
            await settled()
            assert left_behind(hub) == {}
            await enter(hub, None, headers=bearing(token()))

    run(scenario())


def test_forged_tokens_use_up_no_place() -> None:
    """A thousand of them leave as much room as there was."""

    async def scenario() -> None:
        async with running(guarded(max_connections=2, connections_per_address=2)) as hub:
            bad = bearing(token(OTHER_SECRET))
            for _ in range(200):
                assert (await turned_away(hub, headers=bad, address="192.0.2.1")).status == 401
            assert left_behind(hub) == {}
            for _ in range(2):
                await enter(hub, None, headers=bearing(token()), address="192.0.2.1")

    run(scenario())
