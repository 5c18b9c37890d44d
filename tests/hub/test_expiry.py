"""Tokens that run out while their connections are open: what counts until then, and what happens then."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest

from hubbub.auth import Tokens
from hubbub.core.grants import Grants
from hubbub.hub import Hub, Identity, Refuse, SessionInfo

from ..auth.making import OTHER_SECRET, SECRET, token
from .guarded import bearing, closed, come, guarded, left_behind, speak
from .inprocess import Client, enter, quick, run, running, settled, turns, until

SOON = 0.05
"""Seconds of grace where the end is to be seen."""
COMMANDS: dict[str, dict[str, Any]] = {
    "join_group": {"group_name": "news"},
    "publish": {"group_name": "news", "data": 1},
    "chat_message": {"group_name": "news", "message": 1},
    "presence": {"group_name": "news"},
    "presence_stats": {"group_name": "news"},
    "history": {"group_name": "news"},
    "rpc": {"method": "add"},
}


def just_over() -> float:
    """A time that has passed, and that clocks which differ a little may yet take for one to come."""
    return time.time() - 0.5


def expiring(grace: float = 60.0, **settings: Any) -> Hub:
    """A hub that looks at its tokens all the time."""
    return guarded(**{**quick(), "expiry_grace": grace, "history_size": 10, **settings})


def groups_of(client: Client) -> set[str]:
    """The groups that a client is in."""
    return set(client.connection.session.channels)


# Running out.


@pytest.mark.parametrize("first", [False, True], ids=["at the door", "in first words"])
def test_a_client_is_told_how_long_its_token_is_good(first: bool) -> None:
    """In whole seconds, and nothing where there is no end to it."""

    async def scenario() -> None:
        async with running(expiring(auth=Tokens(SECRET, require_exp=False))) as hub:
            for exp, told in ((time.time() + 100, (98, 99)), (just_over(), (0,)), (None, (None,))):
                if first:
                    _, greeting = await speak(hub, token=token(exp=exp))
                else:
                    greeting = (await come(hub, exp=exp)).messages[0]
                assert greeting.get("expires_in") in told

    run(scenario())


@pytest.mark.parametrize("command", COMMANDS)
def test_after_its_end_nothing_is_done_for_a_token(command: str) -> None:
    """But to be told so; the connection goes on, and so it does for a command after it."""

    async def scenario() -> None:
        hub, done = expiring(), []
        hub.rpc("add")(done.append)
        async with running(hub):
            client = await come(hub, sub="ann", exp=just_over())
            await hub.subscribe("news", user="ann")
            await client.hear("group_joined")
            for group in ("news", "sport"):
                answer = await client.ask(command, **{**COMMANDS[command], "group_name": group})
                assert (answer["type"], answer["code"]) == ("error", 109)
            assert groups_of(client) == {"news"}
            assert (await hub.history("news")).publications == []
            assert done == []
            assert client.read_from
            assert (await client.ask("ping"))["type"] == "pong"
            assert client.closed is None

    run(scenario())


def test_after_its_end_a_client_is_still_given_what_it_listens_to() -> None:
    """And may leave; for as long as the grace lasts."""

    async def scenario() -> None:
        async with running(expiring()) as hub:
            client = await come(hub, sub="ann", exp=just_over())
            await hub.subscribe("news", user="ann")
            await hub.publish("news", 1)
            assert (await client.hear("group_message"))["data"] == 1
            assert (await client.ask("leave_group", group_name="news"))["type"] == "group_left"

    run(scenario())


def test_who_brings_no_fresh_token_is_closed() -> None:
    """After the grace, by a code that lets it come back; and nothing is left of it."""

    async def scenario() -> None:
        async with running(expiring(SOON)) as hub:
            witness = await come(hub)
            client = await come(hub, sub="ann", exp=time.time() + 0.2, groups=["news", "room:1#ann"])
            for _ in range(2):
                await client.hear("group_joined")
            assert (await client.join("sport"))["type"] == "group_joined"
            reason = await closed(client)
            assert (reason.code, reason.reconnect) == (3005, True)
            assert client.heard("disconnect")[0]["code"] == 3005
            assert time.time() >= client.connection.identity.expires_at + SOON
            assert witness.closed is None
            witness.vanish()
            await settled()
            assert left_behind(hub) == {}

    run(scenario())


def test_many_expire_at_once_and_others_do_not() -> None:
    """Each by its own token."""

    async def scenario() -> None:
        async with running(expiring(SOON)) as hub:
            going = [await come(hub, sub=f"u{n}", exp=just_over()) for n in range(50)]
            staying = [await come(hub, sub=f"u{n}") for n in range(50)]
            for client in going:
                assert (await closed(client)).code == 3005
            assert all(client.closed is None for client in staying)
            for client in staying:
                client.vanish()
            await settled()
            assert left_behind(hub) == {}

    run(scenario())


def test_a_token_without_an_end_has_none() -> None:
    """Where such are taken."""

    async def scenario() -> None:
        async with running(expiring(SOON, auth=Tokens(SECRET, require_exp=False))) as hub:
            endless = await come(hub, exp=None)
            ending = await come(hub, exp=just_over())
            await closed(ending)
            assert endless.closed is None
            answer = await endless.ask("refresh", token=token(exp=just_over()))
            assert answer["expires_in"] == 0
            assert (await closed(endless)).code == 3005

    run(scenario())


def test_who_leaves_before_its_token_ends_leaves_nothing() -> None:
    """Nobody looks after it any longer."""

    async def scenario() -> None:
        async with running(expiring(SOON)) as hub:
            for exp in (time.time() + 30, just_over()):
                (await come(hub, exp=exp)).vanish()
                client, _ = await speak(hub, token=token(exp=exp))
                client.vanish()
            await settled()
            assert left_behind(hub) == {}

    run(scenario())


# A fresh one.


@pytest.mark.parametrize("late", [False, True], ids=["in time", "within the grace"])
def test_a_fresh_token_takes_the_place_of_the_old_one(late: bool) -> None:
    """The connection goes on as before, for as long as the fresh one is good."""

    async def scenario() -> None:
        async with running(expiring(0.3)) as hub:
            client = await come(hub, sub="ann", exp=just_over() if late else None or time.time() + 1)
            if late:
                assert (await client.join("news"))["code"] == 109
            answer = await client.ask("refresh", token=token(sub="ann", exp=time.time() + 100, jti="t-2"))
            assert answer["type"] == "refreshed"
            assert answer["expires_in"] in (98, 99)
            assert client.connection.identity.token_id == "t-2"
            witness = await come(hub, exp=just_over())
            await closed(witness)
            assert client.closed is None
            assert (await client.join("news"))["type"] == "group_joined"
            assert (await client.ask("refresh", token=token(sub="ann", exp=just_over())))["expires_in"] == 0
            assert (await closed(client)).code == 3005

    run(scenario())


REFUSED: dict[str, tuple[Callable[[], str], int]] = {
    "another user's": (lambda: token(sub="bob"), 103),
    "nobody's": (lambda: token(sub=None), 103),
    "another client's": (lambda: token(sub="ann", client_id="other"), 103),
    "for one group": (lambda: token(sub="ann", channel="news"), 101),
    "forged": (lambda: token(OTHER_SECRET, sub="ann"), 101),
    "expired": (lambda: token(sub="ann", exp=time.time() - 60), 109),
    "none": (lambda: "", 101),
}


def test_a_token_that_is_refused_changes_nothing() -> None:
    """The earlier one counts, and ends when it ends."""

    async def scenario() -> None:
        async with running(expiring(0.3)) as hub:
            clients = []
            for kind, (made, code) in REFUSED.items():
                client = await come(hub, sub="ann", client_id=kind, exp=time.time() + 0.5, groups=["news"])
                await client.hear("group_joined")
                identity = client.connection.identity
                answer = await client.ask("refresh", token=made())
                assert (answer["type"], answer["code"]) == ("error", code), kind
                assert client.connection.identity == identity
                assert groups_of(client) == {"news"}
                assert client.closed is None
                clients.append(client)
            for client in clients:
                assert (await closed(client)).code == 3005

    run(scenario())


def test_a_revoked_token_is_not_a_fresh_one() -> None:
    """Though it has not expired."""

    async def scenario() -> None:
        async with running(expiring()) as hub:
            client = await come(hub, sub="ann", jti="t-1")
            await hub.invalidate(token_id="t-2")
            assert (await client.ask("refresh", token=token(sub="ann", jti="t-2")))["code"] == 101
            assert client.connection.identity.token_id == "t-1"

    run(scenario())


def test_a_fresh_token_of_the_same_client_may_name_it() -> None:
    """By the id under which it came."""

    async def scenario() -> None:
        async with running(expiring()) as hub:
            client = await come(hub, "ann", sub="ann")
            answer = await client.ask("refresh", token=token(sub="ann", client_id="ann"))
            assert answer["type"] == "refreshed"

    run(scenario())


def test_where_no_tokens_are_taken_there_is_nothing_to_refresh() -> None:
    """It is told so."""

    async def scenario() -> None:
        async with running() as hub:
            assert (await (await enter(hub)).ask("refresh", token=token()))["code"] == 108

    run(scenario())


def test_a_fresh_token_that_grants_less_takes_out_of_groups() -> None:
    """Of those that it does not grant; a token for a group and the server's word count for themselves."""

    async def scenario() -> None:
        async with running(expiring(join="token")) as hub:
            client = await come(hub, sub="ann", channels=["a", "b"], groups=["own", "kept"])
            for group in ("a", "b"):
                await client.join(group)
            assert (await client.join("c", token=token(sub="ann", channel="c")))["type"] == "group_joined"
            await hub.subscribe("d", user="ann")
            await until(lambda: groups_of(client) == {"a", "b", "c", "d", "own", "kept"})
            await client.ask("refresh", token=token(sub="ann", channels=["b"], groups=["kept"]))
            removed = client.heard("group_removed")
            assert {message["group_name"] for message in removed} == {"a", "own"}
            assert {(message["code"], message["reason"]) for message in removed} == {
                (2000, "no longer granted")
            }
            assert groups_of(client) == {"b", "c", "d", "kept"}
            assert (await client.join("a"))["code"] == 103
            await hub.publish("a", "a secret")
            await client.settle()
            assert client.heard("group_message") == []

    run(scenario())


def test_who_has_left_a_group_of_a_token_has_no_right_to_it_left() -> None:
    """To come back takes that token again."""

    async def scenario() -> None:
        async with running(expiring()) as hub:
            client = await come(hub, sub="ann", channels=["c"])
            await client.join("c", token=token(sub="ann", channel="c"))
            await client.ask("leave_group", group_name="c")
            await client.join("c")
            await client.ask("refresh", token=token(sub="ann", channels={}))
            assert groups_of(client) == set()

    run(scenario())


def test_a_fresh_token_with_more_groups_puts_into_them() -> None:
    """Whatever their namespace leaves to clients."""

    async def scenario() -> None:
        async with running(expiring(join="nobody")) as hub:
            client = await come(hub, sub="ann", groups=["a"])
            await client.hear("group_joined")
            await client.ask("refresh", token=token(sub="ann", groups=["a", "b"]))
            assert groups_of(client) == {"a", "b"}
            await client.ask("refresh", token=token(sub="ann"))
            assert groups_of(client) == set()

    run(scenario())


def test_what_was_taken_away_while_a_hook_was_asked_is_not_joined() -> None:
    """The join was permitted by what counts no longer."""

    async def scenario() -> None:
        hub = expiring(join="token")
        asked, gate = asyncio.Event(), asyncio.Event()

        @hub.on_subscribe("news")
        async def ask(session: SessionInfo) -> None:
            asked.set()
            await gate.wait()

        @hub.on_refresh
        async def narrow(session: SessionInfo) -> Identity:
            await asked.wait()
            return Identity(user="ann", grants=Grants.of({}), expires_at=time.time() + 60)

        async with running(hub):
            # It has to ask before its token ends, also where the machine is busy.
            client = await come(hub, sub="ann", channels=["news"], exp=time.time() + 1)
            client.say("join_group", id=1, group_name="news")
            await until(lambda: client.connection.identity.grants == Grants.of({}))
            gate.set()
            assert (await client.hear("error", "group_joined"))["type"] == "error"
            assert groups_of(client) == set()

    run(scenario())


@pytest.mark.parametrize(
    ("said", "group", "may"),
    [
        (Identity(grants=Grants.of({"lobby": ["join"]})), "news", False),
        (Identity(grants=Grants.of({"sport": ["join"]})), "sport", True),
        (Identity(groups=("news",)), "news", True),
    ],
    ids=["narrowed", "widened", "groups"],
)
def test_what_a_hook_has_said_outlives_a_fresh_token(said: Identity, group: str, may: bool) -> None:
    """Else a client would only have to send its token once more to be rid of it."""

    async def scenario() -> None:
        hub = expiring(join="token")
        hub.on_connect(lambda _: said)
        async with running(hub):
            first = token(sub="ann", channels=["news"] if not may else ["other"])
            client = await enter(hub, None, headers=bearing(first))
            assert ((await client.join(group))["type"] == "group_joined") is may
            assert (await client.ask("refresh", token=first))["type"] == "refreshed"
            assert (group in groups_of(client)) is may
            assert ((await client.join(group))["type"] == "group_joined") is may

    run(scenario())


# Hooks.


def test_a_hook_prolongs_without_the_client() -> None:
    """It is asked once the token has expired, about the session that it is."""

    async def scenario() -> None:
        hub = expiring()
        asked: list[SessionInfo] = []

        @hub.on_refresh
        async def prolong(session: SessionInfo) -> Identity:
            asked.append(session)
            return Identity(user="ann", expires_at=time.time() + 60)

        async with running(hub):
            client = await come(hub, "ann", sub="ann", exp=just_over())
            await until(lambda: client.connection.identity.expires_at > time.time())
            assert [(session.client_id, session.user) for session in asked] == [("ann", "ann")]
            assert (await client.join("news"))["type"] == "group_joined"

    run(scenario())


def test_a_hook_that_prolongs_gives_and_takes_nothing_else() -> None:
    """What it leaves unsaid stays: who it is, what it may do, where it is, and what names its token."""

    async def scenario() -> None:
        hub = expiring(join="token")
        hub.on_refresh(lambda _: Identity(expires_at=time.time() + 60))
        async with running(hub):
            claims = {"sub": "ann", "channels": ["a"], "groups": ["own"], "jti": "t-1", "info": 1}
            client = await come(hub, "ann", **claims, exp=just_over())
            before = client.connection.identity
            await until(lambda: client.connection.identity.expires_at > time.time())
            await client.join("a")
            assert groups_of(client) == {"a", "own"}
            assert (await client.join("b"))["code"] == 103
            after = client.connection.identity
            assert (after.user, after.client_id, after.info) == ("ann", "ann", 1)
            assert (after.grants, after.groups, after.token_id) == (before.grants, ("own",), "t-1")
            assert (await client.ask("refresh", token=token(**claims)))["type"] == "refreshed"
            await hub.invalidate(user="ann")
            assert (await closed(client)).code == 3500

    run(scenario())


def test_a_hook_makes_nobody_another_user() -> None:
    """Who it would be then is for another connection; this one has ended."""

    async def scenario() -> None:
        hub = expiring()
        hub.on_refresh(lambda _: Identity(user="bob", expires_at=time.time() + 60))
        async with running(hub):
            client = await come(hub, "ann", sub="ann", exp=just_over())
            assert (await closed(client)).code == 3005

    run(scenario())


def _refuse(session: SessionInfo) -> None:
    raise Refuse("the account is locked")


def _fail(session: SessionInfo) -> None:
    raise LookupError("the database is away")


def test_a_hook_that_says_no_ends_it_at_once() -> None:
    """Without any grace."""

    async def scenario() -> None:
        hub = expiring(60)
        hub.on_refresh(_refuse)
        async with running(hub):
            client = await come(hub, exp=just_over())
            assert (await closed(client)).code == 3005
            await settled()
            assert left_behind(hub) == {}

    run(scenario())


UNHELPFUL: dict[str, Callable[[SessionInfo], Any]] = {
    "raises": _fail,
    "hangs": lambda _: asyncio.Event().wait(),
    "says nothing": lambda _: None,
    "says something else": lambda _: True,
}


def test_a_hook_that_does_not_prolong_leaves_it_to_the_grace() -> None:
    """The client may bring a fresh token meanwhile, and is closed where it does not."""

    async def scenario() -> None:
        hub = expiring(0.8, hook_timeout=0.02)
        hub.on_refresh(lambda session: UNHELPFUL[session.user](session))
        async with running(hub):
            bringing = [await come(hub, sub=way, exp=just_over()) for way in UNHELPFUL]
            waiting = [await come(hub, sub=way, exp=just_over()) for way in UNHELPFUL]
            await turns()
            for client, way in zip(bringing, UNHELPFUL, strict=True):
                assert (await client.ask("refresh", token=token(sub=way)))["type"] == "refreshed"
            for client in waiting:
                assert (await closed(client)).code == 3005
            assert all(client.closed is None for client in bringing)

    run(scenario())


def test_the_first_hook_that_says_something_counts() -> None:
    """As at the door; one that fails has said nothing."""

    async def scenario() -> None:
        hub = expiring()
        later: list[SessionInfo] = []
        hub.on_refresh(lambda _: None)
        hub.on_refresh(_fail)
        hub.on_refresh(lambda _: Identity(expires_at=time.time() + 60))
        hub.on_refresh(later.append)
        async with running(hub):
            client = await come(hub, exp=just_over())
            await until(lambda: client.connection.identity.expires_at > time.time())
            assert later == []

    run(scenario())


def test_who_vanishes_while_a_hook_is_asked_leaves_nothing() -> None:
    """What it says then is for nobody."""

    async def scenario() -> None:
        hub = expiring()
        asked, gate = asyncio.Event(), asyncio.Event()

        @hub.on_refresh
        async def slowly(session: SessionInfo) -> Identity:
            asked.set()
            await gate.wait()
            return Identity(expires_at=time.time() + 60, groups=("news",))

        async with running(hub):
            client = await come(hub, exp=just_over())
            await asked.wait()
            client.vanish()
            gate.set()
            await settled()
            assert left_behind(hub) == {}

    run(scenario())


def test_who_a_hook_vouched_for_expires_as_it_said() -> None:
    """With no token at all, and also where no tokens are taken."""

    async def scenario() -> None:
        for hub in (expiring(SOON), expiring(SOON, auth=None)):
            hub.on_connect(lambda _: Identity(user="ann", expires_at=just_over()))
            async with running(hub):
                client = await enter(hub, None)
                assert client.messages[0]["expires_in"] == 0
                assert (await closed(client)).code == 3005

    run(scenario())
