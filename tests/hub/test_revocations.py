"""Tokens that were revoked: their connections end, they open nothing any more, and every node knows."""

import asyncio
import json
import time
from typing import Any

import pytest
from msgspec import Raw

from hubbub.auth import Claims
from hubbub.brokers.base import PublishOptions
from hubbub.core.channels import BadName
from hubbub.core.messages import BadCommand, Kind, Publication
from hubbub.hub import ConnectRequest, Hub, Identity
from hubbub.hub.revocations import REVOKED

from ..auth.making import token
from ..http.sites import asking
from .guarded import (
    Slow,
    bearing,
    come,
    counted,
    guarded,
    left_behind,
    speak,
    staged_and_guarded,
    turned_away,
)
from .inprocess import Client, arrive, enter, run, running, settled, speaker, until

HEAD = {"x-api-key": "secret-of-the-application"}


async def is_refused(hub: Hub, text: str) -> bool:
    """Whether a token is refused as revoked, at the door and in first words alike."""
    before = counted(hub, "bad_tokens", reason="revoked")
    client, answer = await speak(hub, token=text)
    client.vanish()
    if answer["type"] != "error":
        (await enter(hub, None, headers=bearing(text))).vanish()
        return False
    assert answer["code"] == 101
    refused = await turned_away(hub, headers=bearing(text))
    assert (refused.status, refused.error.code) == (401, 101)
    assert counted(hub, "bad_tokens", reason="revoked") == before + 2
    return True


async def say(hub: Hub, data: bytes, kind: Kind = Kind.SYSTEM) -> None:
    """Publish into the nodes' own channel as whoever reaches the broker can."""
    publication = Publication(channel=REVOKED, data=Raw(data), timestamp=hub.timestamp(), kind=kind)
    await hub.broker.publish(publication, PublishOptions(history_size=100, history_ttl=60))


@pytest.mark.parametrize(
    ("named", "covered", "spared"),
    [
        ({"user": "ann"}, {"sub": "ann"}, {"sub": "bob"}),
        ({"user": "ann"}, {"sub": "ann", "iat": None}, {"sub": "Ann", "iat": None}),
        ({"user": "ann"}, {"sub": "ann", "jti": "t"}, {"sub": None}),
        ({"token_id": "t-1"}, {"sub": "ann", "jti": "t-1"}, {"sub": "ann", "jti": "t-2"}),
        ({"token_id": "t-1"}, {"sub": None, "jti": "t-1"}, {"sub": "ann"}),
        ({"token_id": "t-1"}, {"sub": "ann", "jti": "t-1", "iat": None}, {"sub": "t-1"}),
        ({"token_id": "t-1", "user": "ann"}, {"sub": "ann", "jti": "t-1"}, {"sub": "bob", "jti": "t-1"}),
        ({"issued_before": -50}, {"sub": "ann", "iat": -60}, {"sub": "ann", "iat": -40}),
        ({"issued_before": -50}, {"sub": "ann", "iat": None}, {"sub": "ann", "iat": -50}),
        ({"issued_before": -50, "user": "ann"}, {"sub": "ann", "iat": -60}, {"sub": "bob", "iat": -60}),
        ({"issued_before": -50, "user": "ann"}, {"sub": "ann", "iat": -60}, {"sub": "ann", "iat": -40}),
        (
            {"issued_before": -50, "token_id": "t"},
            {"sub": "ann", "iat": -60, "jti": "t"},
            {"sub": "a", "iat": -60},
        ),
    ],
)
def test_what_is_named_is_revoked_and_nothing_else(
    named: dict[str, Any], covered: dict[str, Any], spared: dict[str, Any]
) -> None:
    """Its connections are closed for good, it is refused from then on; others are as they were."""

    async def scenario() -> None:
        now = int(time.time())
        bad, good = (
            token(**{**claims, "iat": now + claims["iat"]} if claims.get("iat") else claims)
            for claims in (covered, spared)
        )
        who = {**named, "issued_before": now + named["issued_before"]} if "issued_before" in named else named
        async with running(guarded()) as hub:
            closing = [await enter(hub, None, headers=bearing(bad)), (await speak(hub, token=bad))[0]]
            staying = await enter(hub, None, headers=bearing(good))
            await closing[0].join("news")
            await hub.invalidate(**who)
            for client in closing:
                await until(lambda client=client: client.closed)
                assert client.closed is not None
                assert (client.closed.code, client.closed.reconnect) == (3500, False)
                assert client.heard("disconnect")[0]["code"] == 3500
            assert await is_refused(hub, bad)
            assert not await is_refused(hub, good)
            assert staying.closed is None
            staying.vanish()
            await settled()
            assert left_behind(hub) == {}

    run(scenario())


def test_what_is_issued_later_is_good_again() -> None:
    """A user who was thrown out may be let in again; a token that was named never."""

    async def scenario() -> None:
        async with running(guarded()) as hub:
            await hub.invalidate(user="ann")
            await hub.invalidate(token_id="t-1")
            assert await is_refused(hub, token(sub="ann", iat=time.time() - 1))
            assert not await is_refused(hub, token(sub="ann", iat=time.time() + 1))
            assert await is_refused(hub, token(sub="ann", iat=time.time() + 1, jti="t-1"))

    run(scenario())


def test_what_was_revoked_more_stays_so() -> None:
    """An earlier date takes nothing back, in whatever order they come."""

    async def scenario() -> None:
        async with running(guarded()) as hub:
            now = time.time()
            for before in (now - 10, now - 1000, now - 100):
                await hub.invalidate(user="ann", issued_before=before)
                await hub.invalidate(issued_before=before - 50)
            assert await is_refused(hub, token(sub="ann", iat=now - 11))
            assert not await is_refused(hub, token(sub="ann", iat=now - 9))
            assert await is_refused(hub, token(sub="bob", iat=now - 61))
            assert not await is_refused(hub, token(sub="bob", iat=now - 59))

    run(scenario())


def test_who_came_without_a_token_has_none_to_lose() -> None:
    """Strangers stay; who a hook vouched for goes where it is named."""

    async def scenario() -> None:
        hub = guarded(anonymous=True)
        hub.on_connect(lambda request: Identity(user="ann") if request.cookies else None)
        async with running(hub):
            stranger = await enter(hub, None)
            vouched = await enter(hub, None, headers={"cookie": "session=ann"})
            await hub.invalidate(issued_before=time.time())
            await hub.invalidate(token_id="t-1")
            await stranger.settle()
            assert vouched.closed is None
            await hub.invalidate(user="ann")
            await until(lambda: vouched.closed)
            assert stranger.closed is None
            await enter(hub, None, headers={"cookie": "session=ann"})

    run(scenario())


def test_a_token_of_a_group_that_is_revoked_opens_it_no_more() -> None:
    """The connection itself has another token, and stays."""

    async def scenario() -> None:
        async with running(guarded(join="token")) as hub:
            client = await come(hub, sub="ann", jti="own")
            ticket = token(sub="ann", channel="news", jti="t-1")
            await hub.invalidate(token_id="t-1")
            assert (await client.join("news", token=ticket))["code"] == 101
            assert client.closed is None

    run(scenario())


# At the door in the very moment.

STEPS = ("verify", "hook", "subscribe $client:ann", "subscribe $user:ann", "silent")


@pytest.mark.parametrize("first", [False, True], ids=["at the door", "in first words"])
@pytest.mark.parametrize("step", STEPS)
def test_who_is_at_the_door_does_not_slip_in(step: str, first: bool) -> None:
    """The token is revoked after it was looked at, and before its client is in."""

    async def scenario() -> None:
        hub, _, stage = staged_and_guarded()
        gate, waiting = asyncio.Event(), asyncio.Event()
        verify = hub.auth.verify

        async def wait(at: str) -> None:
            if at == step:
                waiting.set()
                await gate.wait()

        async def slowly(text: str) -> Claims:
            claims = await verify(text)
            await wait("verify")
            return claims

        hub.auth.verify = slowly
        hub.on_connect(lambda _: wait("hook"))
        async with running(hub):
            if step.startswith("subscribe"):
                stage.shut(step)
            text, client = token(sub="ann"), None
            if step == "silent":
                headers = bearing(text)
                client = (
                    await speaker(hub, "ann", headers=headers)
                    if first
                    else await arrive(hub, "ann", headers=headers)
                )
                await hub.invalidate(user="ann")
                client.say("connect", id=1)
            elif first:
                client = await speaker(hub, "ann")
                client.say("connect", id=1, token=text)
            else:
                request = ConnectRequest(client_id="ann", path="/ws/ann", headers=bearing(text))
                knocking = asyncio.create_task(hub.connections.admit(request))
            if step != "silent":
                await until(lambda: waiting.is_set() or stage.reached(step))
                await hub.invalidate(user="ann")
                gate.set()
                stage.open(step)
            if client is None:
                await asyncio.wait([knocking])
                if knocking.exception() is None:
                    client = Client(hub, knocking.result())
                    await until(lambda: client.closed)
                    assert client.closed.code == 3500
            elif step == "silent" or not first or (await client.hear())["type"] != "error":
                await until(lambda: client.closed)
                assert client.closed is not None
                assert client.closed.code == 3500
            assert hub.connections.of() == []
            if client is not None:
                client.vanish()
            await settled()
            assert left_behind(hub) == {}

    run(scenario())


def test_who_is_refreshing_in_the_very_moment_does_not_slip_through() -> None:
    """Neither by a token that was revoked while it was looked at, nor by one that is good by now."""

    async def scenario() -> None:
        verifier = Slow()
        now = time.time()
        verifier.known = {
            "old": Claims(subject="ann", token_id="t-1", issued_at=now - 10),
            "new": Claims(subject="ann", token_id="t-2", issued_at=now - 5),
        }
        async with running(guarded(auth=verifier)) as hub:
            client = await enter(hub, None, headers=bearing("old"))
            assert (await client.ask("refresh", token="new"))["type"] == "refreshed"
            await hub.invalidate(token_id="t-1")
            assert client.closed is None
            await hub.invalidate(token_id="t-2")
            await until(lambda: client.closed)

    run(scenario())


# What is in the channel.

GARBAGE = (
    b"",
    b"null",
    b"{}",
    b"[]",
    b'"ann"',
    b'{"user": "ann"}',
    b'{"before": "1e12", "user": "ann"}',
    b'{"before": null, "user": "ann"}',
    b'{"before": true}',
    b'{"before": 1e12, "user": 7}',
    b'{"before": 1e400}',
    b'{"before": NaN}',
    b'{"before": 1e12, "user": "\xff"}',
    b'{"before": 1e12',
    b'{"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
)


@pytest.mark.parametrize("garbage", GARBAGE, ids=lambda garbage: garbage[:24].decode("latin-1"))
def test_garbage_in_the_channel_revokes_nothing(garbage: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """It is counted; the node goes on, and one that starts later does so as well."""

    async def scenario() -> None:
        async with running(guarded()) as hub:
            client = await come(hub, sub="ann")
            await say(hub, garbage)
            await client.settle()
            assert client.closed is None
            assert counted(hub, "broker_garbage") == 1
            hub.revocations.stop()
            await hub.revocations.start()
            assert not await is_refused(hub, token(sub="ann"))
            await hub.invalidate(user="ann")
            await until(lambda: client.closed)

    run(scenario())


@pytest.mark.parametrize("kind", [kind for kind in Kind if kind is not Kind.SYSTEM])
def test_what_no_hub_has_said_revokes_nothing(kind: Kind) -> None:
    """Whoever publishes past the hubs publishes messages; the nodes' word is of another kind."""

    async def scenario() -> None:
        async with running(guarded()) as hub:
            client = await come(hub, sub="ann")
            await say(hub, json.dumps({"before": 1e12, "user": "ann"}).encode(), kind)
            await client.settle()
            assert client.closed is None
            assert not await is_refused(hub, token(sub="ann"))

    run(scenario())


def test_nobody_but_the_hub_publishes_there() -> None:
    """No client, not the application by mistake, and nobody by the server API; nor is it read or emptied."""

    async def scenario() -> None:
        data = {"before": 1e12, "user": "ann"}
        async with running(guarded(api_keys=("secret-of-the-application",))) as hub:
            ann = await come(hub, "ann", sub="ann", channels=["**", "*"])
            await hub.invalidate(user="bob")
            for ask in (
                ann.ask("publish", group_name=REVOKED, data=data),
                ann.ask("chat_message", group_name=REVOKED, message=data),
                ann.join(REVOKED),
                ann.ask("history", group_name=REVOKED, limit=-1),
            ):
                assert (await ask)["code"] == 107
            with pytest.raises(BadName):
                await hub.publish(REVOKED, data)
            async with asking(hub) as http:
                for method, fields in (
                    ("publish", {"channel": REVOKED, "data": data}),
                    ("broadcast", {"channels": [REVOKED], "data": data}),
                    ("history", {"channel": REVOKED, "limit": -1}),
                    ("history_remove", {"channel": REVOKED}),
                    ("subscribe", {"channel": REVOKED, "user": "ann"}),
                    ("presence", {"channel": REVOKED}),
                ):
                    answer = (await http.post(f"/api/{method}", json=fields, headers=HEAD)).json()
                    answer = answer.get("result", {}).get("responses", [answer])[0]
                    assert answer["error"]["code"] == 107, method
            assert ann.closed is None
            assert not await is_refused(hub, token(sub="ann"))
            assert await is_refused(hub, token(sub="bob", iat=time.time() - 1))
            assert hub.groups() == {}

    run(scenario())


@pytest.mark.parametrize("name", ["$revoked:x", "$revoked ", "$REVOKED"])
def test_other_names_are_other_channels(name: str) -> None:
    """What is published there is nobody's word."""

    async def scenario() -> None:
        async with running(guarded()) as hub:
            await hub.publish(name, {"before": 1e12, "user": "ann"})
            assert not await is_refused(hub, token(sub="ann"))

    run(scenario())


# Saying it.


def test_nothing_named_is_nothing_revoked() -> None:
    """Whoever means everybody says up to when."""

    async def scenario() -> None:
        async with running(guarded()) as hub:
            with pytest.raises(ValueError, match="name a user"):
                await hub.invalidate()

    run(scenario())


def test_where_no_tokens_are_taken_none_is_revoked() -> None:
    """To say so is better than to do nothing."""

    async def scenario() -> None:
        async with running() as hub:
            with pytest.raises(BadCommand):
                await hub.invalidate(user="ann")

    run(scenario())


def test_the_channel_costs_nothing_where_no_tokens_are_taken() -> None:
    """Nobody listens to it."""

    async def scenario() -> None:
        async with running() as hub:
            assert len(hub.interest) == 1
        async with running(guarded()) as hub:
            assert len(hub.interest) == 2

    run(scenario())


def test_no_client_sees_what_is_revoked() -> None:
    """It is told to nodes alone, and is in no list of groups."""

    async def scenario() -> None:
        async with running(guarded(see_presence="everyone", see_history="everyone")) as hub:
            ann = await come(hub, "ann", sub="ann")
            await hub.invalidate(user="bob")
            await hub.invalidate(token_id="t-1")
            await ann.settle()
            assert [m["type"] for m in ann.messages[1:]] == ["personal_notification"]
            assert hub.groups() == {}

    run(scenario())


def test_what_was_revoked_in_a_history_that_began_anew_is_learnt() -> None:
    """The broker lost its data while the node was cut off, and what was said since is in the gap."""

    async def scenario() -> None:
        async with running(guarded()) as hub:
            client = await come(hub, sub="bob")
            await hub.invalidate(user="ann")
            broker = hub.broker
            sink, broker._sink = broker._sink, None
            del broker._streams[REVOKED]
            await say(hub, b'{"before": 1e12, "user": "bob"}')
            broker._sink = sink
            hub.deliveries.interrupted([REVOKED])
            await until(lambda: client.closed)
            assert await is_refused(hub, token(sub="bob"))
            assert await is_refused(hub, token(sub="ann", iat=time.time() - 1))

    run(scenario())
