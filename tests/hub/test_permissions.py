"""Who may do what in a channel: namespaces, grants, owners, tokens for one group; hooks only say no."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from hubbub.core.channels import Namespace
from hubbub.core.grants import Action, Grants
from hubbub.hub import Hub, Identity, Refuse, SessionInfo

from ..auth.making import OTHER_SECRET, token
from .guarded import bearing, come, counted, guarded, left_behind, speak, staged_and_guarded
from .inprocess import Client, JsonMessage, enter, run, running, settled, turns, until

GROUP = "room:1"
ANNS = "room:1#ann"
LEVELS = ("everyone", "members", "token", "nobody")
OPTIONS = {
    Action.JOIN: "join",
    Action.PUBLISH: "publish",
    Action.PRESENCE: "see_presence",
    Action.HISTORY: "see_history",
}
WAYS: dict[Action, dict[str, Callable[[Client, str], Awaitable[JsonMessage]]]] = {
    Action.JOIN: {"join_group": lambda client, group: client.join(group)},
    Action.PUBLISH: {
        "publish": lambda client, group: client.ask("publish", group_name=group, data=1),
        "chat_message": lambda client, group: client.ask("chat_message", group_name=group, message=1),
    },
    Action.PRESENCE: {
        "presence": lambda client, group: client.ask("presence", group_name=group),
        "presence_stats": lambda client, group: client.ask("presence_stats", group_name=group),
    },
    Action.HISTORY: {"history": lambda client, group: client.ask("history", group_name=group, limit=-1)},
}

MAY: dict[str, dict[str, bool]] = {
    "anonymous": {"everyone": True, "members": False, "token": False, "nobody": False},
    "user": {"everyone": True, "members": False, "token": False, "nobody": False},
    "member": {"everyone": True, "members": True, "token": False, "nobody": False},
    "granted": {"everyone": True, "members": True, "token": True, "nobody": False},
    "granted otherwise": {"everyone": False, "members": False, "token": False, "nobody": False},
    "member granted otherwise": {"everyone": False, "members": False, "token": False, "nobody": False},
    "owner": {"everyone": True, "members": False, "token": True, "nobody": False},
    "owner granted": {"everyone": True, "members": True, "token": True, "nobody": False},
    "owner granted otherwise": {"everyone": False, "members": False, "token": False, "nobody": False},
    "another's": {"everyone": False, "members": False, "token": False, "nobody": False},
    "another's granted": {"everyone": False, "members": False, "token": False, "nobody": False},
    "anonymous, a user's": {"everyone": False, "members": False, "token": False, "nobody": False},
}
"""By who it is: to which levels it may do what is left to them."""


async def somebody(hub: Hub, who: str, action: Action) -> tuple[Client, str]:
    """One of the kinds of clients, and the group that it goes for."""
    group = ANNS if "owner" in who or "'s" in who else GROUP
    claims: dict[str, Any] = {"sub": "eve" if "another" in who else "ann"}
    if "otherwise" in who:
        claims["channels"] = {
            group: [each for each in Action if each != action],
            "room:*": [],
            "rooms:**": list(Action),
            f"{group}x": list(Action),
            group[:-1]: list(Action),
        }
    elif "granted" in who:
        claims["channels"] = {group: [action]}
    if "anonymous" in who:
        return await enter(hub, None), group
    client = await come(hub, client_id=who.partition(" ")[0] if who.startswith("member") else None, **claims)
    if who.startswith("member"):
        await hub.subscribe(group, client="member")
        await client.hear("group_joined")
    return client, group


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("action", list(Action))
def test_what_is_left_to_whom(action: Action, level: str) -> None:
    """Everybody tries it; who may not is told so, and nothing has happened."""
    if (action, level) == (Action.JOIN, "members"):
        with pytest.raises(ValueError, match="join"):
            Namespace(join="members")
        return

    async def scenario() -> None:
        namespace = Namespace(**{"history_size": 10, OPTIONS[action]: level})
        async with running(guarded(anonymous=True, namespaces={"room": namespace})) as hub:
            for who, may in MAY.items():
                if action is Action.JOIN and who.startswith("member"):
                    continue
                client, group = await somebody(hub, who, action)
                for way, attempt in WAYS[action].items():
                    before = counted(hub, "denied", action=action), (await hub.history(group)).position.offset
                    answer = await attempt(client, group)
                    after = counted(hub, "denied", action=action), (await hub.history(group)).position.offset
                    allowed = answer["type"] != "error"
                    assert allowed is may[level], (who, way, answer)
                    if not allowed:
                        assert answer["code"] == 103
                        assert after == (before[0] + 1, before[1])
                        assert action is not Action.JOIN or client.connection.session.channels == {}
                    assert client.closed is None
                client.vanish()
                await settled()
            assert left_behind(hub) == {}

    run(scenario())


@pytest.mark.parametrize("level", LEVELS)
def test_the_server_is_not_bound(level: str) -> None:
    """What is left to nobody is left to it."""

    async def scenario() -> None:
        join = "nobody" if level == "members" else level
        options = {"publish": level, "see_presence": level, "see_history": level, "join": join}
        async with running(guarded(history_size=10, **options)) as hub:
            ann = await come(hub, "ann", sub="ann", channels={})
            for group in (GROUP, "room:1#bob"):
                await hub.subscribe(group, user="ann")
                assert (await ann.hear("group_joined"))["group_name"] == group
                await hub.publish(group, "from the server")
                assert (await ann.hear("group_message"))["data"] == "from the server"
                assert len((await hub.history(group)).publications) == 1
                assert [m.user for m in (await hub.presence(group)).values()] == ["ann"]
                await hub.unsubscribe(group, user="ann")
                await ann.hear("group_removed")

    run(scenario())


@pytest.mark.parametrize("grants", [None, {}, {"other": ["join"]}], ids=["open", "granted nothing", "other"])
def test_leaving_is_always_allowed(grants: dict[str, list[str]] | None) -> None:
    """Whoever put it there."""

    async def scenario() -> None:
        async with running(guarded(join="nobody")) as hub:
            ann = await come(hub, "ann", sub="ann", channels=grants)
            for group in (GROUP, ANNS, "room:1#bob"):
                await hub.subscribe(group, client="ann")
                await ann.hear("group_joined")
                assert (await ann.ask("leave_group", group_name=group))["type"] == "group_left"
                assert hub.groups() == {}
                assert (await ann.ask("leave_group", group_name=group))["type"] == "group_left"

    run(scenario())


# Grants.


def test_grants_limit_what_namespaces_leave_open() -> None:
    """A token that speaks of channels speaks of all of them; one without the claim speaks of none."""

    async def scenario() -> None:
        async with running(guarded()) as hub:
            for channels, may in ((None, True), ({}, False), ([], False), ({"lobby": []}, False)):
                client = await come(hub, channels=channels)
                assert ((await client.join("lobby"))["type"] == "group_joined") is may
            client = await come(hub, channels=["lobby"])
            assert (await client.join("lobby"))["type"] == "group_joined"
            assert (await client.join("lobby2"))["code"] == 103

    run(scenario())


@pytest.mark.parametrize(
    ("pattern", "group", "may"),
    [
        ("orders:*", "orders:42", True),
        ("orders:*", "orders:42:notes", False),
        ("orders:*", "orders:", False),
        ("orders:*", "orders:42#ann", False),
        ("orders:*#ann", "orders:42#ann", True),
        ("orders:*", "Orders:42", False),
        ("orders:*", "оrders:42", False),  # noqa: RUF001 - the first letter is Cyrillic
        ("orders:*", "orders：42", False),  # noqa: RUF001 - a full-width colon
        ("orders:*", "xorders:42", False),
        ("orders:**", "orders:42:notes", True),
        ("**", "anything:at#all", False),
        ("**", "anything:at#ann", True),
        ("**", "anything:at", True),
        ("*", "lobby", True),
        ("*", "orders:42", False),
        ("a.c", "abc", False),
        ("[ab]", "a", False),
        ("orders:?", "orders:1", False),
        ("orders:%2A", "orders:*", False),
        ("caf\u00e9", "cafe\u0301", False),
    ],
)
def test_patterns_cover_what_they_say(pattern: str, group: str, may: bool) -> None:
    """No wildcard reaches over a separator, nor into what is somebody's; look-alikes are other names."""

    async def scenario() -> None:
        async with running(guarded(join="token")) as hub:
            client = await come(hub, sub="ann", channels=[pattern])
            assert ((await client.join(group))["type"] == "group_joined") is may

    run(scenario())


def test_grants_are_no_way_to_wildcards_in_names() -> None:
    """A client that names a pattern names a group of that very name."""

    async def scenario() -> None:
        async with running(guarded(join="token")) as hub:
            client = await come(hub, sub="ann", channels=["orders:*"])
            assert (await client.join("orders:*"))["type"] == "group_joined"
            await hub.publish("orders:42", "a secret")
            await client.settle()
            assert client.heard("group_message") == []
            assert (await client.join("*"))["code"] == 103
            assert (await client.join("**"))["code"] == 103

    run(scenario())


@pytest.mark.parametrize("name", ["$all", "$client:bob", "$user:bob", "$revoked", "$", "$orders:1"])
def test_reserved_names_are_open_to_no_client(name: str) -> None:
    """Whatever its token grants: no action, and not by first words either."""

    async def scenario() -> None:
        async with running(guarded(history_size=10)) as hub:
            bob = await come(hub, "bob", sub="bob")
            eve = await come(hub, "eve", sub="eve", channels=["**", "*"])
            for ways in WAYS.values():
                for attempt in ways.values():
                    assert (await attempt(eve, name))["code"] == 107
            answer = await eve.ask("join_group", group_name=name, token=token(sub="eve", channel="news"))
            assert answer["code"] == 107
            _, answer = await speak(hub, token=token(channels=["**"]), groups={name: None})
            assert answer["code"] == 107
            _, answer = await speak(hub, token=token(), recover={name: {"epoch": "e", "offset": 0}})
            assert answer["type"] == "error" or name == "$all"
            await bob.settle()
            assert [m["type"] for m in bob.messages[1:]] == ["personal_notification"]  # that of settling

    run(scenario())


# What belongs to users.


@pytest.mark.parametrize(
    ("group", "users"),
    [
        ("inbox:1#ann", {"ann"}),
        ("inbox:#ann", {"ann"}),
        ("inbox:1#ann,bob", {"ann", "bob"}),
        ("nowhere:1#ann", {"ann"}),
        ("inbox:1#bob#ann", {"ann"}),
        ("a:b:c#ann", {"ann"}),
        ("inbox:1#", set()),
        ("inbox:1#Ann", set()),
        ("inbox:1# ann", set()),
        ("inbox:1#*", set()),
        ("inbox:1#,", set()),
        ("inbox#ann", {"ann", "bob", ""}),
        ("inbox:1", {"ann", "bob", ""}),
    ],
)
def test_what_belongs_to_users_is_theirs_alone(group: str, users: set[str]) -> None:
    """To do anything at all with; who has no name owns nothing."""

    async def scenario() -> None:
        namespace = Namespace(history_size=10, see_presence="everyone", see_history="everyone")
        hub = guarded(anonymous=True, namespaces={"inbox": namespace}, history_size=10)
        hub.namespaces = hub.namespaces.__class__({"inbox": namespace}, namespace)
        async with running(hub):
            for user in ("ann", "bob", ""):
                client = await come(hub, sub=user) if user else await enter(hub, None)
                for ways in reversed(WAYS.values()):
                    for way, attempt in ways.items():
                        answer = await attempt(client, group)
                        assert (answer["type"] != "error") is (user in users), (user, way, answer)
                client.vanish()

    run(scenario())


# Tokens for one group.


def test_a_token_for_a_group_opens_that_group_alone() -> None:
    """Where neither the namespace nor the client's own token does."""

    async def scenario() -> None:
        async with running(guarded(join="token")) as hub:
            for channels in (None, {"other": ["join"]}):
                client = await come(hub, sub="ann", channels=channels)
                assert (await client.join("news"))["code"] == 103
                ticket = token(sub="ann", channel="news")
                assert (await client.join("sport", token=ticket))["code"] == 103
                assert (await client.join("news", token=ticket))["type"] == "group_joined"
                assert (await client.join("sport"))["code"] == 103
                client.vanish()

    run(scenario())


@pytest.mark.parametrize(
    ("claims", "code"),
    [
        ({"sub": "bob", "channel": "news"}, 103),
        ({"sub": None, "channel": "news"}, 103),
        ({"sub": "ann", "channel": "news*"}, 103),
        ({"sub": "ann"}, 103),
        ({"sub": "ann", "channels": ["news"]}, 103),
        ({"sub": "ann", "groups": ["news"]}, 103),
        ({"sub": "ann", "channel": "news", "exp": 1}, 109),
        ({"sub": "ann", "channel": "news", "key": OTHER_SECRET}, 101),
        ({"sub": "ann", "channel": "$all"}, 101),
    ],
)
def test_no_other_token_opens_a_group(claims: dict[str, Any], code: int) -> None:
    """Another user's, nobody's, one to connect with, an old one, a forged one."""

    async def scenario() -> None:
        async with running(guarded(join="token")) as hub:
            client = await come(hub, sub="ann")
            answer = await client.join("news", token=token(**claims))
            assert (answer["type"], answer["code"]) == ("error", code)
            assert hub.groups() == {}

    run(scenario())


def test_a_revoked_token_opens_no_group() -> None:
    """By its id, or as one of its user's."""

    async def scenario() -> None:
        async with running(guarded(join="token", anonymous=True)) as hub:
            stranger = await enter(hub, None)
            ticket = token(sub=None, channel="news", jti="t-1")
            await hub.invalidate(token_id="t-1")
            assert (await stranger.join("news", token=ticket))["code"] == 101
            fresh = token(sub=None, channel="news", jti="t-2")
            assert (await stranger.join("news", token=fresh))["type"] == "group_joined"

    run(scenario())


def test_hooks_are_asked_of_who_has_a_token_for_the_group() -> None:
    """And a no of theirs leaves it as it was before: without any right to it."""

    async def scenario() -> None:
        hub = guarded()
        answer = False
        hub.on_subscribe("news")(lambda _: answer)
        async with running(hub):
            client = await come(hub, sub="ann", channels=["news"])
            ticket = token(sub="ann", channel="news")
            assert (await client.join("news", token=ticket))["code"] == 103
            answer = True
            assert (await client.join("news"))["type"] == "group_joined"
            await client.ask("refresh", token=token(sub="ann", channels={}))
            assert hub.groups() == {}

    run(scenario())


def test_where_no_tokens_are_taken_one_for_a_group_opens_nothing() -> None:
    """Nobody could say whether it is good."""

    async def scenario() -> None:
        async with running(join="token") as hub:
            client = await enter(hub)
            assert (await client.join("news", token=token(channel="news")))["code"] == 103

    run(scenario())


# Hooks.


def _raise() -> None:
    raise LookupError("the database is away")


NO: dict[str, Callable[[], Any]] = {
    "says no": lambda: False,
    "raises": _raise,
    "hangs": lambda: asyncio.Event().wait(),
}


@pytest.mark.parametrize("kind", ["subscribe", "publish"])
@pytest.mark.parametrize("way", NO)
def test_a_hook_can_say_no_to_what_is_granted(way: str, kind: str) -> None:
    """Also where it cannot say anything."""

    async def scenario() -> None:
        hub = guarded(hook_timeout=0.02, history_size=10)
        getattr(hub, f"on_{kind}")("news")(lambda *_: NO[way]())
        async with running(hub):
            client = await come(hub, channels=["news"])
            if kind == "subscribe":
                answer = await client.join("news")
                assert hub.groups() == {}
            else:
                answer = await client.ask("publish", group_name="news", data=1)
                assert (await hub.history("news")).publications == []
            assert answer["type"] == "error"

    run(scenario())


@pytest.mark.parametrize("kind", ["subscribe", "publish"])
@pytest.mark.parametrize("level", ["token", "nobody"])
def test_a_hook_cannot_open_what_is_closed(level: str, kind: str) -> None:
    """It is not even asked."""

    async def scenario() -> None:
        hub = guarded(join=level, publish=level)
        asked: list[SessionInfo] = []

        def yes(session: SessionInfo, *data: object) -> bool:
            asked.append(session)
            return True

        getattr(hub, f"on_{kind}")("*")(yes)
        async with running(hub):
            attempt = WAYS[Action.JOIN if kind == "subscribe" else Action.PUBLISH]
            for claims in ({}, {"channels": {"other": ["join", "publish"]}}):
                client = await come(hub, **claims)
                for ask in attempt.values():
                    assert (await ask(client, "news"))["code"] == 103
            assert asked == []

    run(scenario())


@pytest.mark.parametrize("way", NO)
def test_a_connect_hook_that_cannot_say_yes_says_no(way: str) -> None:
    """A good token is not enough then, and nothing is left of it."""

    async def scenario() -> None:
        hub = guarded(hook_timeout=0.02)
        hub.on_connect(lambda _: NO[way]())
        async with running(hub):
            with pytest.raises(Refuse):
                await come(hub)
            _, answer = await speak(hub, token=token())
            assert answer["type"] == "error"
            assert hub.connections.of() == []

    run(scenario())


def test_a_hook_grants_what_it_names() -> None:
    """It may say what a client can do, with a token or in place of one."""

    async def scenario() -> None:
        hub = guarded(join="token")
        hub.on_connect(lambda _: Identity(user="ann", grants=Grants.of({"news": ["join"]})))
        async with running(hub):
            for headers in ({}, bearing(token(sub="ann", channels=["sport"]))):
                client = await enter(hub, None, headers=headers)
                assert (await client.join("news"))["type"] == "group_joined"
                assert (await client.join("sport"))["code"] == 103

    run(scenario())


# What else might show what one may not see.


@pytest.mark.parametrize("claims", [{}, {"channels": {"news": ["join"]}}], ids=["nobody may", "not granted"])
def test_a_history_that_one_may_not_see_is_not_seen_by_joining(claims: dict[str, Any]) -> None:
    """With a position from before anything was published, for instance."""

    async def scenario() -> None:
        level = "members" if claims else "nobody"
        async with running(guarded(history_size=10, see_history=level)) as hub:
            await hub.publish("news", "before it came")
            client = await come(hub, **claims)
            joined = await client.join("news")
            await client.ask("leave_group", group_name="news")
            await client.join("news", recover={"epoch": joined["epoch"], "offset": 0})
            await client.settle()
            assert client.heard("group_message") == []

    run(scenario())


def test_who_was_taken_out_is_no_member_any_longer() -> None:
    """What is left to members is not left to it."""

    async def scenario() -> None:
        async with running(guarded(join="nobody", publish="members", history_size=10)) as hub:
            ann = await come(hub, "ann", sub="ann")
            await hub.subscribe("news", user="ann")
            await ann.hear("group_joined")
            assert (await ann.ask("publish", group_name="news", data=1))["type"] == "published"
            await hub.unsubscribe("news", user="ann")
            await ann.hear("group_removed")
            for action in (Action.PUBLISH, Action.PRESENCE, Action.HISTORY):
                for attempt in WAYS[action].values():
                    assert (await attempt(ann, "news"))["code"] == 103

    run(scenario())


def test_who_is_being_taken_out_does_not_slip_back_in() -> None:
    """By a join in the very moment, which nobody would have been asked about since it was a member still."""

    async def scenario() -> None:
        hub, _, stage = staged_and_guarded()
        hub.on_subscribe("news")(lambda _: False)
        async with running(hub):
            ann = await come(hub, sub="ann")
            await hub.subscribe("news", user="ann")
            stage.shut("add sport")
            one = asyncio.create_task(hub.subscribe("sport", user="ann"))
            await until(lambda: stage.reached("add sport"))
            other = asyncio.create_task(hub.unsubscribe("news", user="ann"))
            await turns()
            ann.say("join_group", id=1, group_name="news")
            await turns()
            stage.open("add sport")
            await asyncio.gather(one, other)
            assert (await ann.hear("error"))["id"] == 1
            assert hub.groups() == {"sport": 1}

    run(scenario())


def test_who_is_still_joining_is_no_member_yet() -> None:
    """Not before it was let in."""

    async def scenario() -> None:
        hub = guarded(publish="members")
        gate = asyncio.Event()

        @hub.on_subscribe("news")
        async def ask(session: SessionInfo) -> bool:
            await gate.wait()
            return False

        async with running(hub):
            ann = await come(hub, sub="ann")
            ann.say("join_group", id="a", group_name="news")
            ann.say("publish", id="b", group_name="news", data=1)
            gate.set()
            await until(lambda: len(ann.heard("error")) == 2)
            assert [m["id"] for m in ann.heard("error")] == ["a", "b"]

    run(scenario())
