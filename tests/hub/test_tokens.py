"""Tokens at the door and in first words: who is let in, as whom, and that nobody takes another's place."""

import asyncio
import time
import uuid
from typing import Any

import pytest

from hubbub.auth import Claims
from hubbub.core import codes
from hubbub.core.channels import Namespace
from hubbub.core.grants import Grants
from hubbub.hub import ConnectRequest, Identity

from ..auth.making import OTHER_SECRET, token
from .guarded import (
    Slow,
    bearing,
    closed,
    come,
    counted,
    guarded,
    left_behind,
    speak,
    staged_and_guarded,
    turned_away,
)
from .inprocess import enter, run, running, settled, speaker, turns, until

WAYS: dict[str, Any] = {
    "header": lambda text: {"headers": {"authorization": f"Bearer {text}"}},
    "header in small letters": lambda text: {"headers": {"authorization": f"bearer {text}"}},
    "subprotocol": lambda text: {"headers": {"sec-websocket-protocol": f"bearer.{text}"}},
    "subprotocol among others": lambda text: {
        "headers": {"sec-websocket-protocol": f"hubbub.v1, bearer.{text} , other"}
    },
    "query": lambda text: {"query": {"token": text}},
}

BAD: dict[str, Any] = {
    "forged": lambda: token(OTHER_SECRET),
    "expired": lambda: token(exp=time.time() - 60),
    "without an end": lambda: token(exp=None),
    "for one group": lambda: token(channel="news"),
    "with a reserved group": lambda: token(groups=["$all"]),
    "with a reserved client id": lambda: token(client_id="a/b"),
    "no token at all": lambda: "abc",
    "empty parts": lambda: "..",
}

bad = pytest.mark.parametrize("kind", BAD)


@pytest.mark.parametrize("way", WAYS)
def test_a_token_at_the_door_says_who_it_is(way: str) -> None:
    """By every way that a handshake has; the query is one where that is allowed."""

    async def scenario() -> None:
        async with running(guarded(token_in_query=way == "query")) as hub:
            client = await enter(hub, None, **WAYS[way](token(sub="ann", info={"role": "cook"})))
            assert client.connection.session.user == "ann"
            assert client.connection.identity.info == {"role": "cook"}
            assert uuid.UUID(client.messages[0]["client_id"]).version == 4

    run(scenario())


def test_a_token_in_the_query_is_none_unless_that_is_allowed() -> None:
    """Logs and histories of browsers keep addresses."""

    async def scenario() -> None:
        async with running(guarded()) as hub:
            assert (await turned_away(hub, query={"token": token()})).status == 401

    run(scenario())


def test_a_token_in_the_first_words_says_who_it_is() -> None:
    """Nothing is sent before it, and nobody can be reached before it."""

    async def scenario() -> None:
        async with running(guarded()) as hub:
            client = await speaker(hub, None)
            await turns()
            assert client.messages == []
            assert hub.connections.of() == []
            greeting = await client.ask("connect", token=token(sub="ann"))
            assert greeting["type"] == "connection_established"
            assert 50 <= greeting["expires_in"] <= 60
            assert client.connection.session.user == "ann"
            await hub.publish("$user:ann", 1)
            assert (await client.hear("personal_notification"))["data"] == 1

    run(scenario())


def test_the_token_of_the_handshake_counts_though_others_are_named() -> None:
    """The header before the subprotocol, both before the first words."""

    async def scenario() -> None:
        async with running(guarded(token_in_query=True)) as hub:
            ann, bob, eve = (token(sub=name) for name in ("ann", "bob", "eve"))
            headers = {"authorization": f"Bearer {ann}", "sec-websocket-protocol": f"bearer.{bob}"}
            client = await enter(hub, None, headers=headers, query={"token": eve})
            assert client.connection.session.user == "ann"
            del headers["authorization"]
            client = await speaker(hub, None, headers=headers)
            assert (await client.ask("connect", token=eve))["type"] == "connection_established"
            assert client.connection.session.user == "bob"

    run(scenario())


def test_nobody_comes_in_without_a_token() -> None:
    """Neither at the door nor by words."""

    async def scenario() -> None:
        async with running(guarded()) as hub:
            for headers in ({}, {"authorization": "Bearer "}, {"authorization": "Basic YTpi"}):
                refused = await turned_away(hub, headers=headers)
                assert (refused.status, refused.error.code) == (401, 101)
            client, answer = await speak(hub)
            assert (answer["type"], answer["code"]) == ("error", 101)
            assert (await client.join("news"))["code"] == 107
            assert hub.connections.of() == []
            assert hub.groups() == {}
            client.vanish()
            await settled()
            assert left_behind(hub) == {}

    run(scenario())


@bad
def test_a_bad_token_is_refused_at_the_door(kind: str) -> None:
    """With 401, whatever is wrong with it; and it leaves no trace but in a metric."""

    async def scenario() -> None:
        async with running(guarded()) as hub:
            refused = await turned_away(hub, headers=bearing(BAD[kind]()))
            assert refused.status == 401
            assert refused.error.code == (109 if kind == "expired" else 101)
            assert counted(hub, "connections_refused") == 1
            await settled()
            assert left_behind(hub) == {}

    run(scenario())


@bad
def test_a_bad_token_is_refused_in_the_first_words(kind: str) -> None:
    """The client is told and may try again; it is nobody until then."""

    async def scenario() -> None:
        async with running(guarded()) as hub:
            client, answer = await speak(hub, token=BAD[kind]())
            assert answer["type"] == "error"
            assert answer["code"] == (109 if kind == "expired" else 101)
            assert hub.connections.of() == []
            again = await client.ask("connect", token=token())
            assert again["type"] == "connection_established"
            assert client.connection.session.user == "alice"

    run(scenario())


def test_bad_tokens_are_counted_by_what_is_wrong() -> None:
    """Expired ones are everyday life, others are not."""

    async def scenario() -> None:
        async with running(guarded()) as hub:
            await turned_away(hub, headers=bearing(BAD["forged"]()))
            await turned_away(hub, headers=bearing(BAD["expired"]()))
            revoked = token()
            await hub.invalidate(user="alice")
            await turned_away(hub, headers=bearing(revoked))
            for reason in ("invalid", "expired", "revoked"):
                assert counted(hub, "bad_tokens", reason=reason) == 1

    run(scenario())


# Another's client id.


@pytest.mark.parametrize(
    ("claims", "allowed"),
    [
        ({"sub": "ann"}, True),
        ({"sub": "x", "client_id": "ann"}, True),
        ({"sub": "ann", "client_id": "phone"}, False),
        ({"sub": "bob"}, False),
        ({"sub": "Ann"}, False),
        ({"sub": "аnn"}, False),  # noqa: RUF001 - the first letter is Cyrillic
        ({"sub": "ann "}, False),
        ({"sub": None}, False),
        ({"sub": None, "client_id": "bob"}, False),
    ],
)
@pytest.mark.parametrize("first", [False, True], ids=["at the door", "in first words"])
def test_the_id_of_the_path_is_the_tokens(claims: dict[str, Any], allowed: bool, first: bool) -> None:
    """The claim `client_id` is who it is, or the subject where there is none; nobody else."""

    async def scenario() -> None:
        async with running(guarded()) as hub:
            if allowed and first:
                _, answer = await speak(hub, "ann", token=token(**claims))
                assert answer["client_id"] == "ann"
            elif allowed:
                client = await enter(hub, "ann", headers=bearing(token(**claims)))
                assert client.messages[0]["client_id"] == "ann"
            elif first:
                _, answer = await speak(hub, "ann", token=token(**claims))
                assert (answer["type"], answer["code"]) == ("error", 103)
            else:
                refused = await turned_away(hub, "ann", headers=bearing(token(**claims)))
                assert (refused.status, refused.error.code) == (403, 103)
            await hub.notify("ann", "a secret")
            for client in hub.connections.of(client="ann"):
                assert client.identity.user == (claims["sub"] or "")
            assert bool(hub.connections.of(client="ann")) is allowed

    run(scenario())


def test_without_an_id_in_the_path_the_claim_names_the_client() -> None:
    """And without both it gets one of ours: the subject is the user's name, not the client's."""

    async def scenario() -> None:
        async with running(guarded()) as hub:
            assert (await come(hub, client_id=None, sub="ann")).messages[0]["client_id"] != "ann"
            client = await enter(hub, None, headers=bearing(token(sub="ann", client_id="phone")))
            assert client.messages[0]["client_id"] == "phone"
            uuids = [(await come(hub, sub=None)).messages[0]["client_id"] for _ in range(2)]
            assert len({str(uuid.UUID(each)) for each in uuids}) == 2

    run(scenario())


def test_an_id_is_not_taken_over_by_a_refresh() -> None:
    """A fresh token of the same user that names another client is refused, and changes nothing."""

    async def scenario() -> None:
        async with running(guarded()) as hub:
            bob = await come(hub, "bob", sub="bob")
            eve = await enter(hub, "eve-1", headers=bearing(token(sub="eve", client_id="eve-1")))
            for claims in (
                {"sub": "eve", "client_id": "bob"},
                {"sub": "bob"},
                {"sub": "bob", "client_id": "eve-1"},
            ):
                answer = await eve.ask("refresh", token=token(**claims))
                assert (answer["type"], answer["code"]) == ("error", 103)
            assert (eve.connection.session.client_id, eve.connection.session.user) == ("eve-1", "eve")
            await hub.notify("bob", "a secret")
            await hub.publish("$user:bob", "another one")
            await eve.settle()
            assert [m["data"] for m in eve.heard("personal_notification") if "mark" not in m["data"]] == []
            await bob.settle()
            assert len(bob.heard("personal_notification")) == 3

    run(scenario())


def test_an_id_is_not_taken_over_by_coming_back() -> None:
    """Positions of another's own channels open nothing: they are read of the channels of who it is."""

    async def scenario() -> None:
        own = {name: Namespace(history_size=10, presence=False) for name in ("$all", "$client", "$user")}
        hub = guarded(namespaces=own)
        async with running(hub):
            bob = await come(hub, "bob", sub="bob")
            positions = bob.messages[0]["positions"]
            bob.vanish()
            await hub.notify("bob", "a secret")
            await hub.publish("$user:bob", "another one")
            client, answer = await speak(hub, "bob", token=token(sub="eve"), recover=positions)
            assert answer["code"] == 103
            answer = await client.ask("connect", token=token(sub="bob", client_id="eve"), recover=positions)
            assert answer["code"] == 103
            thief, answer = await speak(hub, "eve", token=token(sub="eve"), recover=positions)
            assert answer["recovered"]["$client"] is answer["recovered"]["$user"] is False
            await thief.settle()
            assert [m["data"] for m in thief.heard("personal_notification") if "mark" not in m["data"]] == []

    run(scenario())


# Who comes without a token.


def test_strangers_are_let_in_where_that_is_allowed() -> None:
    """They are nobody: a user's name comes from a token alone."""

    async def scenario() -> None:
        async with running(guarded(anonymous=True)) as hub:
            stranger = await enter(hub, None)
            assert stranger.connection.session.user == ""
            assert "expires_in" not in stranger.messages[0]
            assert (await stranger.join("news"))["type"] == "group_joined"
            ann = await come(hub, sub="ann")
            assert ann.connection.session.user == "ann"
            assert (await turned_away(hub, headers=bearing(BAD["forged"]()))).status == 401

    run(scenario())


def test_strangers_take_nobodys_id() -> None:
    """A path names whose token is shown, also where others need none."""

    async def scenario() -> None:
        async with running(guarded(anonymous=True)) as hub:
            ann = await come(hub, "ann", sub="ann")
            assert (await turned_away(hub, "ann")).status == 401
            _, answer = await speak(hub, "ann")
            assert answer["code"] == 101
            assert hub.connections.of(client="ann") == [ann.connection]

    run(scenario())


def test_who_is_no_stranger_says_so_with_the_first_words() -> None:
    """Also where strangers are let in, a token counts wherever it comes."""

    async def scenario() -> None:
        async with running(guarded(anonymous=True)) as hub:
            ann, _ = await speak(hub, None, token=token(sub="ann"))
            assert ann.connection.session.user == "ann"
            _, answer = await speak(hub, None, token=BAD["forged"]())
            assert answer["code"] == 101
            stranger, answer = await speak(hub, None)
            assert answer["type"] == "connection_established"
            assert stranger.connection.session.user == ""

    run(scenario())


# Hooks.


@pytest.mark.parametrize("first", [False, True], ids=["at the door", "in first words"])
def test_a_hook_can_vouch_for_who_has_no_token(first: bool) -> None:
    """By a cookie, for instance; one that says nothing vouches for nobody."""

    async def scenario() -> None:
        hub = guarded()

        @hub.on_connect
        def by_cookie(request: ConnectRequest) -> Identity | None:
            user = request.cookies.get("session")
            return Identity(user=user, client_id=user) if user else None

        async with running(hub):
            headers = {"cookie": "session=ann"}
            if first:
                client = await speaker(hub, None, headers=headers)
                await client.ask("connect")
            else:
                client = await enter(hub, None, headers=headers)
            assert client.connection.session.user == "ann"
            if first:
                assert (await speak(hub))[1]["code"] == 101
            else:
                assert (await turned_away(hub)).status == 401
            # A bad token is not made good by a cookie.
            both = headers | bearing(BAD["forged"]())
            assert (await turned_away(hub, headers=both)).status == 401

    run(scenario())


@pytest.mark.parametrize("anonymous", [False, True])
def test_who_a_hook_vouches_for_takes_no_other_id(anonymous: bool) -> None:
    """It is the user's name, or the id that the hook says."""

    async def scenario() -> None:
        hub = guarded(anonymous=anonymous)
        hub.on_connect(lambda request: Identity(user="eve") if request.cookies else None)
        async with running(hub):
            await come(hub, "bob", sub="bob")
            await enter(hub, "eve", headers={"cookie": "session=eve"})
            assert (await turned_away(hub, "bob", headers={"cookie": "session=eve"})).status in (401, 403)

    run(scenario())


@pytest.mark.parametrize("said", [Identity(), None, True, "ann"])
def test_a_hook_that_names_nobody_vouches_for_nobody(said: object) -> None:
    """Only an identity that says something does."""

    async def scenario() -> None:
        hub = guarded()
        hub.on_connect(lambda _: said)
        async with running(hub):
            assert (await turned_away(hub)).status == 401

    run(scenario())


def test_a_hook_adds_to_what_the_token_says() -> None:
    """What it leaves unsaid stays; and it can say no to a good token."""

    async def scenario() -> None:
        hub = guarded()

        @hub.on_connect
        def decorate(request: ConnectRequest) -> Identity | bool:
            if request.query.get("banned"):
                return False
            return Identity(info={"level": 3}, groups=("lobby",))

        async with running(hub):
            ann = await come(hub, "ann", sub="ann", jti="t-1", channels={"lobby": ["publish"]})
            identity = ann.connection.identity
            assert (identity.user, identity.token_id, identity.info) == ("ann", "t-1", {"level": 3})
            assert identity.grants == Grants.of({"lobby": ["publish"]})
            assert identity.expires_at is not None
            assert (await ann.hear("group_joined"))["group_name"] == "lobby"
            headers = bearing(token())
            assert (await turned_away(hub, headers=headers, query={"banned": "1"})).status == 403

    run(scenario())


def test_a_hook_is_asked_of_nobody_whose_token_is_bad() -> None:
    """It may be dear."""

    async def scenario() -> None:
        hub, asked = guarded(), []
        hub.on_connect(asked.append)
        async with running(hub):
            await turned_away(hub, headers=bearing(BAD["forged"]()))
            assert asked == []
            await enter(hub, None, headers=bearing(token()))
            assert len(asked) == 1

    run(scenario())


# Groups that the server joins.


@pytest.mark.parametrize("first", [False, True], ids=["at the door", "in first words"])
def test_the_groups_of_a_token_are_joined_by_the_server(first: bool) -> None:
    """Whatever their namespace leaves to clients, and hooks are not asked."""

    async def scenario() -> None:
        hub = guarded(join="nobody")
        asked: list[str] = []
        hub.on_subscribe("*")(lambda _, channel: asked.append(channel))
        async with running(hub):
            groups = ["staff", "lobby"]
            if first:
                client, _ = await speak(hub, token=token(groups=groups))
            else:
                client = await come(hub, groups=groups)
            joined = [await client.hear("group_joined") for _ in groups]
            assert [message["group_name"] for message in joined] == groups
            await hub.publish("staff", 1)
            assert (await client.hear("group_message"))["data"] == 1
            assert (await client.join("other"))["code"] == 103
            assert asked == []

    run(scenario())


def test_a_client_may_come_back_to_the_groups_of_its_token() -> None:
    """It names them with its positions, and is given what it missed; others are as closed as ever."""

    async def scenario() -> None:
        async with running(guarded(join="nobody", history_size=10)) as hub:
            client = await come(hub, groups=["staff", "lobby"])
            positions = {}
            for _ in range(2):
                joined = await client.hear("group_joined")
                positions[joined["group_name"]] = {"epoch": joined["epoch"], "offset": joined["offset"]}
            client.vanish()
            await hub.publish("staff", "missed")
            client, _ = await speak(
                hub,
                token=token(groups=["staff", "lobby"]),
                groups={"staff": positions["staff"], "other": None},
            )
            answers = [await client.hear("group_joined", "error") for _ in range(3)]
            by_name = {m["group_name"]: m for m in answers if m["type"] == "group_joined"}
            assert set(by_name) == {"staff", "lobby"}
            assert by_name["staff"]["recovered"] is True
            assert [m["code"] for m in answers if m["type"] == "error"] == [103]
            assert [m["data"] for m in client.heard("group_message")] == ["missed"]

    run(scenario())


def test_who_cannot_be_put_into_the_groups_of_its_token_does_not_stay_without() -> None:
    """It has nobody to ask for them, so it comes back."""

    async def scenario() -> None:
        hub, _, stage = staged_and_guarded(join="nobody")
        async with running(hub):
            stage.fail("subscribe staff")
            client = await come(hub, groups=["staff"])
            await until(lambda: client.closed)
            assert client.closed is not None
            assert client.closed.reconnect
            await settled()
            assert left_behind(hub) == {}

    run(scenario())


# When nobody can say.


@pytest.mark.parametrize("way", ["door", "words", "group", "refresh"])
def test_a_token_that_cannot_be_verified_now_is_a_temporary_refusal(way: str) -> None:
    """Neither a yes nor a no."""

    async def scenario() -> None:
        verifier = Slow()
        verifier.known = {"good": Claims(subject="ann"), "group": Claims(subject="ann", channel="news")}
        async with running(guarded(auth=verifier, join="token")) as hub:
            client = await enter(hub, None, headers=bearing("good"))
            silent = await speaker(hub, None)
            verifier.available = False
            if way == "door":
                refused = await turned_away(hub, headers=bearing("good"))
                assert (refused.status, refused.error.code, refused.error.temporary) == (503, 100, True)
                return
            answers = {
                "words": lambda: silent.ask("connect", token="good"),
                "group": lambda: client.join("news", token="group"),
                "refresh": lambda: client.ask("refresh", token="good"),
            }
            answer = await answers[way]()
            assert (answer["type"], answer["code"], answer["temporary"]) == ("error", 100, True)
            verifier.available = True
            assert (await answers[way]())["type"] != "error"

    run(scenario())


# First words may be said again.


def test_a_refused_connect_may_be_repeated_until_the_deadline() -> None:
    """The deadline runs from the handshake on, however often it tries."""

    async def scenario() -> None:
        async with running(guarded(handshake_timeout=0.3)) as hub:
            client = await speaker(hub)
            tries = 0
            while client.closed is None and tries < 9:
                answer = await client.ask("connect", token=token(OTHER_SECRET))
                assert answer["code"] == 101
                tries += 1
                await asyncio.sleep(0.02)
            await until(lambda: client.closed)
            assert client.closed is not None
            assert client.closed.code == 3502
            await settled()
            assert left_behind(hub) == {}

    run(scenario())


def test_who_could_not_be_verified_in_time_comes_back() -> None:
    """It is no fault of the client's, and another time is as good."""

    async def scenario() -> None:
        verifier = Slow()
        verifier.available = False
        async with running(guarded(auth=verifier, handshake_timeout=0.05)) as hub:
            client, answer = await speak(hub, token="good")
            assert answer["temporary"] is True
            await until(lambda: client.closed)
            assert client.closed is not None
            assert client.closed.reconnect
            await settled()
            assert left_behind(hub) == {}

    run(scenario())


@pytest.mark.parametrize("fails", ["$client:ann", "$user:ann"])
def test_who_says_it_again_after_a_failure_can_be_reached(fails: str) -> None:
    """The broker did not answer the first time; nothing of that is left half done."""

    async def scenario() -> None:
        hub, broker, stage = staged_and_guarded()
        async with running(hub):
            stage.fail(f"subscribe {fails}")
            client = await speaker(hub, "ann")
            answer = await client.ask("connect", token=token(sub="ann"))
            assert (answer["type"], answer["code"]) == ("error", 100)
            stage.fail(f"subscribe {fails}", failing=False)
            answer = await client.ask("connect", token=token(sub="ann"))
            assert answer["type"] == "connection_established"
            assert broker.subscribed >= {"$client:ann", "$user:ann"}
            await hub.notify("ann", 1)
            await hub.publish("$user:ann", 2)
            assert [(await client.hear("personal_notification"))["data"] for _ in range(2)] == [1, 2]
            client.vanish()
            await settled()
            assert left_behind(hub) == {}

    run(scenario())


def test_who_says_it_again_is_who_the_later_token_says() -> None:
    """Where the first one came to nothing."""

    async def scenario() -> None:
        hub, _, stage = staged_and_guarded()
        async with running(hub):
            stage.fail("subscribe $user:ann")
            client = await speaker(hub, None)
            assert (await client.ask("connect", token=token(sub="ann")))["code"] == 100
            assert (await client.ask("connect", token=token(sub="bob")))["type"] == "connection_established"
            assert client.connection.session.user == "bob"
            assert hub.connections.of(user="ann") == []

    run(scenario())


@pytest.mark.parametrize("step", ["verify", "hook", "subscribe $client:ann", "subscribe $user:ann"])
def test_who_vanishes_while_it_is_found_out_who_it_is_leaves_nothing(step: str) -> None:
    """Whatever takes its time."""

    async def scenario() -> None:
        hub, _, stage = staged_and_guarded(max_connections=1)
        gate, waiting = asyncio.Event(), asyncio.Event()
        verify = hub.auth.verify

        async def wait(at: str) -> None:
            if at == step:
                waiting.set()
                await gate.wait()

        async def slowly(text: str) -> Any:
            await wait("verify")
            return await verify(text)

        hub.auth.verify = slowly
        hub.on_connect(lambda _: wait("hook"))
        async with running(hub):
            if step.startswith("subscribe"):
                stage.shut(step)
            client = await speaker(hub, "ann")
            client.say("connect", id=1, token=token(sub="ann"))
            await until(lambda: waiting.is_set() or stage.reached(step))
            client.vanish()
            assert hub.total_connections == 0
            gate.set()
            stage.open(step)
            await settled()
            assert left_behind(hub) == {}
            assert client.messages == []
            await come(hub)

    run(scenario())


def test_a_verifier_that_hangs_lets_the_client_come_back() -> None:
    """At the door and in first words, within the time of a handshake."""

    class Hanging(Slow):
        hangs = True

        async def verify(self, token: str) -> Claims:
            if self.hangs:
                await asyncio.Event().wait()
            return await super().verify(token)

    async def scenario() -> None:
        verifier = Hanging(good=Claims(subject="ann"))
        async with running(guarded(auth=verifier, handshake_timeout=0.2)) as hub:
            refused = await turned_away(hub, headers=bearing("good"))
            assert (refused.status, refused.retry_after) == (503, 1.0)
            client, answer = await speak(hub, None, token="good")
            assert (answer["type"], answer["code"], answer["temporary"]) == ("error", 100, True)
            assert await closed(client) == codes.SERVER_ERROR  # its time was ours: it comes back
            verifier.hangs = False
            _, answer = await speak(hub, None, token="good")
            assert answer["type"] == "connection_established"

    run(scenario())
