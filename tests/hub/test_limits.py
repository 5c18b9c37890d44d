"""Limits: how many come in, at what pace, and how much each may say."""

import asyncio

import pytest
from websockets.exceptions import InvalidStatus

from hubbub.core import codes
from hubbub.core.session import Limits
from hubbub.hub import Identity, Options, Refuse
from hubbub.hub.gate import PER_TURN
from hubbub.hub.options import LIMITS

from ..auth.making import token
from ..http.sites import app_of, serving
from .guarded import an_address, bearing, come, counted, guarded, left_behind, no_room, speak, turned_away
from .inprocess import Client, a_hub, arrive, enter, run, running, settled, speaker, turns, until
from .staged import staged_hub

PUBLISH = {"group_name": "news", "data": 1}


@pytest.mark.parametrize("limit", sorted(LIMITS))
def test_none_is_said_by_zero(limit: str) -> None:
    """And nothing by a negative number."""
    assert getattr(Options(**{limit: 0}), limit) == 0
    with pytest.raises(ValueError, match=f"{limit} is -1"):
        Options(**{limit: -1})


@pytest.mark.parametrize("option", ["messages_burst", "arrivals_burst", "bytes_burst", "expiry_grace"])
def test_what_is_no_limit_cannot_be_none(option: str) -> None:
    """A burst of nothing would let nothing through."""
    with pytest.raises(ValueError, match=option):
        Options(**{option: 0})


# Connections of a node.


def test_a_full_node_lets_nobody_in_until_somebody_has_left() -> None:
    """Those who speak first count from the handshake on."""

    async def scenario() -> None:
        async with running(max_connections=3) as hub:
            clients = [await enter(hub), await enter(hub), await speaker(hub)]
            await no_room(hub, "connections")
            for client in clients:
                client.vanish()
                fresh = await enter(hub)
                await no_room(hub, "connections")
            fresh.vanish()
            await enter(hub)

    run(scenario())


def test_without_limits_everybody_comes_in() -> None:
    """From one address, of one user, all at once."""

    async def scenario() -> None:
        hub = guarded(**dict.fromkeys(LIMITS, 0), arrivals_burst=1, messages_burst=1, bytes_burst=1)
        async with running(hub):
            address = an_address()
            clients = await asyncio.gather(
                *(enter(hub, None, address=address, headers=bearing(token(sub="ann"))) for _ in range(150))
            )
            for client in clients:
                for _ in range(20):
                    client.say("ping")
                assert len(client.heard("pong")) == 20
                client.connection.seen(100_000)
            await settled()
            assert not any(client.closed for client in clients)
            assert len(hub.connections) == 150
            for limit in LIMITS:
                assert counted(hub, "limited", limit=limit) == 0

    run(scenario())


# Connections of an address.

SAME: dict[str, tuple[str, ...]] = {
    "itself": ("192.0.2.1",),
    "mapped into IPv6": ("::ffff:192.0.2.1", "::FFFF:c000:201", "192.0.2.1", "0:0:0:0:0:ffff:192.0.2.1"),
    "a household's": ("2001:db8::1", "2001:db8::2", "2001:0DB8:0:0:ffff::9", "2001:db8:0:0:1:2:3:4"),
    "with a zone": ("fe80::1%eth0", "fe80::2%eth1", "fe80::3"),
}
OTHERS: dict[str, str] = {
    "192.0.2.1": "192.0.2.2",
    "2001:db8::1": "2001:db8:0:1::1",
    "::ffff:192.0.2.1": "::ffff:192.0.2.2",
    "fe80::1%eth0": "fe80:0:0:1::1",
}
UNCOUNTED = (
    "127.0.0.1",
    "127.8.8.8",
    "::1",
    "::ffff:127.0.0.1",
    "10.1.2.3",
    "::ffff:10.1.2.3",
    "fd00::7",
    "",
    "unix",
    "unknown",
    "192.0.2.1:80",
)


@pytest.mark.parametrize("kind", SAME)
def test_an_address_has_so_many_places(kind: str) -> None:
    """However it is written, and with IPv6 so has its network; others have their own."""
    addresses = SAME[kind]

    async def scenario() -> None:
        async with running(connections_per_address=4) as hub:
            clients = [await enter(hub, address=addresses[n % len(addresses)]) for n in range(4)]
            for address in addresses:
                await no_room(hub, "connections_per_address", status=429, address=address)
            await enter(hub, address=OTHERS[addresses[0]])
            clients[-1].vanish()
            await enter(hub, address=addresses[0])
            await no_room(hub, "connections_per_address", status=429, address=addresses[-1])

    run(scenario())


@pytest.mark.parametrize("address", UNCOUNTED)
def test_where_many_are_behind_one_address_it_has_no_limit(address: str) -> None:
    """This machine, a trusted proxy that did not say for whom, and what is no address at all."""

    async def scenario() -> None:
        proxies = ("127.0.0.1", "10.0.0.0/8", "fd00::/8")
        async with running(connections_per_address=1, trusted_proxies=proxies) as hub:
            for client in [await enter(hub, address=address) for _ in range(5)]:
                client.vanish()
            await settled()
            assert left_behind(hub) == {}

    run(scenario())


def test_what_a_proxy_may_not_say_is_found_at_the_start() -> None:
    """A limit that is not counted as it was meant is found out too late."""
    for wrong in ("proxy.example", "10.0.0.1/8"):
        with pytest.raises(ValueError, match=wrong):
            a_hub(trusted_proxies=(wrong,))
    a_hub(trusted_proxies=("*",))


# Connections of a user.


@pytest.mark.parametrize("first", [False, True], ids=["at the door", "in first words"])
def test_a_user_has_so_many_connections(first: bool) -> None:
    """Under whatever client ids; others have their own, and nobody in particular has no limit."""

    async def scenario() -> None:
        async with running(guarded(connections_per_user=2, anonymous=True)) as hub:
            clients = [await come(hub, sub="ann", client_id=f"c{n}") for n in range(2)]
            for _ in range(2):
                await settled()
                if first:
                    refused, answer = await speak(hub, token=token(sub="ann"))
                    assert (answer["type"], answer["code"]) == ("error", 106)
                    refused.vanish()
                else:
                    refuse = await turned_away(hub, headers=bearing(token(sub="ann")))
                    assert (refuse.status, refuse.error.code) == (429, 106)
                await come(hub, sub="bob")
            assert counted(hub, "limited", limit="connections_per_user") == 2
            assert len([await enter(hub, None) for _ in range(5)]) == 5
            clients[0].vanish()
            await come(hub, sub="ann")

    run(scenario())


def test_of_a_users_connections_that_come_at_once_as_many_stay_as_may() -> None:
    """Those who are one too many are closed, and no more than those."""

    async def scenario() -> None:
        hub, _, stage = staged_hub(connections_per_user=3)
        hub.on_connect(lambda _: Identity(user="ann"))
        async with running(hub):
            stage.shut("subscribe $user:ann")
            knocking = [asyncio.create_task(arrive(hub, None)) for _ in range(8)]
            await until(lambda: stage.reached("subscribe $user:ann"))
            await turns()
            stage.open("subscribe $user:ann")
            clients = await asyncio.gather(*knocking)
            await settled()
            over = [client for client in clients if client.closed]
            assert {client.closed for client in over} == {codes.CONNECTION_LIMIT}
            assert len(over) == 5
            assert len(hub.connections) == 3
            assert (await hub.presence_store.count("$user:ann"))[0] == 3
            for client in clients:
                client.vanish()
            await settled()
            assert left_behind(hub) == {}

    run(scenario())


def test_a_broker_that_does_not_answer_closes_no_users_connection() -> None:
    """Who is one too many is not known then; and what was not counted is counted later, or let go of."""

    async def scenario() -> None:
        hub, _, stage = staged_hub(connections_per_user=3)
        hub.on_connect(lambda _: Identity(user="ann"))
        async with running(hub):
            stage.fail("add $user:ann")
            stage.fail("replace $user:ann")
            client = await enter(hub, None)
            await until(lambda: stage.reached("replace $user:ann"))
            stage.fail("add $user:ann", failing=False)
            stage.fail("replace $user:ann", failing=False)
            hub.attendance.doubt(["$user:ann"])
            await settled()
            assert client.closed is None
            assert (await hub.presence_store.count("$user:ann"))[0] == 1
            client.vanish()
            await settled()
            assert left_behind(hub) == {}

    run(scenario())


# Arrivals.


def test_newcomers_are_shed_past_their_pace() -> None:
    """So many at once and so many a second; who is refused is told when there is room again."""

    async def scenario() -> None:
        async with running(arrivals_per_second=20, arrivals_burst=5) as hub:
            for _ in range(5):
                await enter(hub)
            refused = await no_room(hub, "arrivals")
            assert refused.retry_after is not None
            assert 0 < refused.retry_after <= 0.05
            refusals = 0
            while len(hub.connections) < 6:
                try:
                    await enter(hub)
                except Refuse:
                    refusals += 1
                    await asyncio.sleep(0.001)
            assert refusals > 0
            await no_room(hub, "arrivals")

    run(scenario())


def test_those_who_are_in_do_not_feel_who_comes() -> None:
    """A crowd of 500 is let in by some a turn; in between a message is answered."""

    async def scenario() -> None:
        async with running() as hub:
            alice = await enter(hub, "alice")
            await alice.join("news")
            crowd = [asyncio.create_task(enter(hub, f"c{n}")) for n in range(500)]
            most, before, inside_at_answer = 0, 0, None
            alice.say("publish", id=1, **PUBLISH)
            while before < len(crowd):
                await asyncio.sleep(0)
                now = len(hub.connections) - 1
                most, before = max(most, now - before), now
                if inside_at_answer is None and alice.heard("published"):
                    inside_at_answer = now
            assert 0 < most <= PER_TURN
            assert inside_at_answer is not None
            assert inside_at_answer <= 5 * PER_TURN
            for client in await asyncio.gather(*crowd):
                client.vanish()
            alice.vanish()
            await settled()
            assert left_behind(hub) == {}
            assert hub.gate._queue is None

    run(scenario())


def test_who_gives_up_in_the_crowd_leaves_its_place() -> None:
    """And holds up nobody who came after it."""

    async def scenario() -> None:
        async with running(max_connections=200) as hub:
            crowd = [asyncio.create_task(enter(hub, None, address=an_address())) for _ in range(200)]
            await asyncio.sleep(0)
            await no_room(hub, "connections")
            for task in crowd[PER_TURN : PER_TURN + 100]:
                task.cancel()
            outcomes = await asyncio.gather(*crowd, return_exceptions=True)
            came = [client for client in outcomes if isinstance(client, Client)]
            assert len(came) == len(hub.connections) == 100
            for client in came:
                client.vanish()
            await settled()
            assert left_behind(hub) == {}

    run(scenario())


# How much one may say.


def test_who_says_too_much_is_not_heard() -> None:
    """Past its budget a message is passed over and answered with an error; some in a row close it."""

    async def scenario() -> None:
        async with running(messages_per_second=0.001, messages_burst=5, history_size=50) as hub:
            alice, bob = await enter(hub, "alice"), await enter(hub, "bob")
            for _ in range(5):
                assert (await alice.ask("publish", **PUBLISH))["type"] == "published"
            for over in range(1, 10):
                alice.say("publish", id=1, **PUBLISH)
                said = [(message["code"], message["temporary"]) for message in alice.heard("error")]
                assert said == [(111, True)] * over
                assert alice.closed is None
            alice.say("publish", **PUBLISH)
            assert alice.closed == codes.TOO_MANY_ERRORS
            assert counted(hub, "limited", limit="messages_per_second") == 10
            assert len((await hub.history("news")).publications) == 5
            # What another says has a budget of its own.
            assert (await bob.ask("publish", **PUBLISH))["type"] == "published"
            assert bob.closed is None

    run(scenario())


def test_a_budget_fills_up_again() -> None:
    """At its rate, and up to its burst."""

    async def scenario() -> None:
        async with running(messages_per_second=50, messages_burst=2) as hub:
            alice = await enter(hub)
            began = hub.now()
            heard = 0
            while heard < 12:
                alice.say("ping")
                if alice.heard("pong")[heard:]:
                    heard += 1
                else:
                    await asyncio.sleep(0.02)
                assert alice.closed is None
            assert hub.now() - began >= 10 / 50 - 0.001
            assert counted(hub, "limited", limit="messages_per_second") > 0

    run(scenario())


@pytest.mark.parametrize("size", [100, 2000])
def test_who_sends_too_many_bytes_is_not_heard(size: int) -> None:
    """In small messages or in large ones; small ones go on where a large one was too much."""

    async def scenario() -> None:
        limits = {"bytes_per_second": 0.001, "bytes_burst": 5000, "messages_per_second": 0}
        async with running(max_message_bytes=2500, **limits) as hub:
            alice = await enter(hub)
            payload, sent = b'{"type": "ping", "padding": "%s"}' % (b"x" * (size - 31)), 0
            while not alice.heard("error"):
                alice.connection.receive(payload)
                sent += len(payload)
                assert sent <= 5000 + size
            assert sent > 5000
            assert alice.heard("error")[0]["code"] == 111
            if size == 2000:
                assert (await alice.ask("ping"))["type"] == "pong"
            assert alice.closed is None
            for _ in range(60):
                alice.say("ping", padding="x" * 2000)
            assert alice.closed == codes.TOO_MANY_ERRORS
            assert counted(hub, "limited", limit="bytes_per_second") >= 10
            assert counted(hub, "limited", limit="messages_per_second") == 0

    run(scenario())


def test_a_message_as_large_as_may_be_can_be_said() -> None:
    """Whatever the budget, or it could never be sent at all."""

    async def scenario() -> None:
        async with running(bytes_per_second=1000, bytes_burst=10, max_message_bytes=3000) as hub:
            alice = await enter(hub)
            alice.connection.receive(b'{"type": "ping", "padding": "%s"}' % (b"x" * 2900))
            assert len(alice.heard("pong")) == 1

    run(scenario())


@pytest.mark.parametrize("options", [{"messages_burst": 50}, {"bytes_burst": 50 * 100}], ids=str)
def test_a_flood_of_control_frames_is_closed(options: dict[str, int]) -> None:
    """Pings and fragments have the same budget, and no answer that could say no."""

    async def scenario() -> None:
        async with running(
            messages_per_second=1, bytes_per_second=1, max_message_bytes=1000, **options
        ) as hub:
            alice, bob = await enter(hub, "alice"), await enter(hub, "bob")
            for _ in range(50):
                alice.connection.seen(100)
            assert alice.closed is None
            alice.connection.seen(100)
            assert alice.closed == codes.TOO_MANY_ERRORS
            assert counted(hub, "limited", limit=f"{next(iter(options)).partition('_')[0]}_per_second") == 1
            bob.connection.seen(100)
            assert bob.closed is None
            alice.connection.seen(100)

    run(scenario())


def test_what_waits_behind_a_command_is_counted_when_it_comes() -> None:
    """So that a slow hook is no way to pile up messages."""

    async def scenario() -> None:
        hub = a_hub(messages_per_second=0.001, messages_burst=10)
        gate = asyncio.Event()
        hub.on_subscribe("slow")(lambda _: gate.wait())
        async with running(hub):
            alice = await enter(hub)
            alice.say("join_group", id=0, group_name="slow")
            for n in range(1, 15):
                alice.say("ping", id=n)
            assert len(alice.heard("error")) == 5
            assert alice.heard("pong") == []
            gate.set()
            await until(lambda: len(alice.heard("pong")) == 9)
            await settled()
            assert len(alice.messages) == 1 + 5 + 1 + 9
            assert alice.closed is None

    run(scenario())


def test_one_connections_flood_leaves_its_users_others_alone() -> None:
    """Each connection has a budget, also of one client."""

    async def scenario() -> None:
        async with running(guarded(messages_per_second=1, messages_burst=3)) as hub:
            loud, quiet = [await come(hub, sub="ann", client_id="phone") for _ in range(2)]
            for _ in range(20):
                loud.say("ping")
            assert loud.closed == codes.TOO_MANY_ERRORS
            assert (await quiet.ask("ping"))["type"] == "pong"

    run(scenario())


def test_a_connection_is_in_so_many_groups() -> None:
    """By joining, and by its first words; the server may put it into more."""

    async def scenario() -> None:
        async with running(guarded(limits=Limits(groups=3))) as hub:
            alice = await come(hub, "alice", groups=["a"])
            await alice.hear("group_joined")
            for group in ("b", "c"):
                assert (await alice.join(group))["type"] == "group_joined"
            assert (await alice.join("d"))["code"] == 106
            assert (await alice.join("a"))["type"] == "group_joined"
            await hub.subscribe("e", client="alice")
            assert (await alice.hear("group_joined"))["group_name"] == "e"
            _, answer = await speak(hub, token=token(), groups=list("abcd"))
            assert answer["code"] == 106
            assert counted(hub, "limited", limit="groups_per_connection") == 2

    run(scenario())


# As a client sees it.


def test_a_refusal_says_when_to_come_back() -> None:
    """In the answer to the handshake, in whole seconds."""
    hub = a_hub(max_connections=1, arrivals_per_second=0.1, arrivals_burst=3)
    with serving(app_of(hub)) as site, site.client():
        for after in ("5", "5", None):
            with pytest.raises(InvalidStatus) as refused, site.socket():
                pass
            response = refused.value.response
            assert response.status_code == 503
            if after is None:
                assert 1 <= int(response.headers["Retry-After"]) <= 10
            else:
                assert response.headers["Retry-After"] == after
