"""The application's say on joining, leaving and publishing, and its word at the end of a connection."""

import asyncio
from typing import Any

import pytest

from hubbub.core.messages import BadCommand
from hubbub.hub import Hub, Refuse, SessionInfo

from .inprocess import a_hub, enter, run, settled, turns, until

NO: dict[str, tuple[Any, int, str]] = {
    "false": (lambda: False, 103, "permission denied"),
    "refuse": (lambda: _raise(Refuse("not on Mondays")), 103, "not on Mondays"),
    "refuse with a code": (lambda: _raise(Refuse("no such order", code=102)), 102, "no such order"),
    "raises": (lambda: _raise(LookupError("the secret of the database")), 100, "internal error"),
    "takes too long": (lambda: asyncio.Event().wait(), 100, "internal error"),
}
YES: dict[str, Any] = {"true": lambda: True, "nothing": lambda: None}


def _raise(exc: Exception) -> None:
    raise exc


def a_hub_where(kind: str, act: Any, *, asynchronous: bool) -> Hub:
    """A hub whose hook of this kind does this for the channel `guarded`."""
    hub = a_hub(hook_timeout=0.02, history_size=10)
    if asynchronous:

        async def hook(session: SessionInfo, *data: object) -> object:
            outcome = act()
            return await outcome if asyncio.iscoroutine(outcome) else outcome

    else:

        def hook(session: SessionInfo, *data: object) -> object:  # type: ignore[misc]
            return act()

    {"subscribe": hub.on_subscribe, "publish": hub.on_publish}[kind]("guarded")(hook)
    return hub


@pytest.mark.parametrize("asynchronous", [False, True], ids=["function", "coroutine"])
@pytest.mark.parametrize("no", NO)
def test_a_no_is_an_error_and_the_connection_lives(
    no: str, asynchronous: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Only what is the hook's own fault is logged, and of that the client learns nothing."""
    act, code, sentence = NO[no]

    async def scenario() -> None:
        hub = a_hub_where("subscribe", act, asynchronous=asynchronous)
        async with hub.lifespan():
            alice = await enter(hub)
            answer = await alice.join("guarded")
            assert (answer["type"], answer["code"], answer["message"]) == ("error", code, sentence)
            assert hub.groups() == {}
            assert alice.connection.session.channels == {}
            assert (await alice.join("open"))["type"] == "group_joined"
            assert (await alice.ask("ping"))["type"] == "pong"
            assert alice.closed is None
            count = hub.metrics.registry.get_sample_value("hubbub_error_answers_total", {"code": str(code)})
            assert count == 1

    run(scenario())
    assert len(caplog.records) == (1 if code == 100 else 0)
    assert all(record.name == "hubbub.hooks" and record.exc_info for record in caplog.records)


@pytest.mark.parametrize("no", ["raises", "takes too long"])
def test_a_failing_hook_is_a_temporary_error(no: str) -> None:
    """As every error 100: a client may try again."""

    async def scenario() -> None:
        hub = a_hub_where("subscribe", NO[no][0], asynchronous=True)
        async with hub.lifespan():
            alice = await enter(hub)
            assert (await alice.join("guarded")).get("temporary") is True

    run(scenario())


@pytest.mark.parametrize("asynchronous", [False, True], ids=["function", "coroutine"])
@pytest.mark.parametrize("yes", YES)
def test_a_yes_lets_it_in(yes: str, asynchronous: bool) -> None:
    """As does a hook that returns nothing."""

    async def scenario() -> None:
        hub = a_hub_where("subscribe", YES[yes], asynchronous=asynchronous)
        async with hub.lifespan():
            alice = await enter(hub)
            assert (await alice.join("guarded"))["type"] == "group_joined"
            assert hub.groups() == {"guarded": 1}

    run(scenario())


@pytest.mark.parametrize("no", NO)
def test_a_publication_that_is_refused_reaches_nobody(no: str) -> None:
    """Neither the members nor the history."""
    act, code, sentence = NO[no]

    async def scenario() -> None:
        hub = a_hub_where("publish", act, asynchronous=True)
        async with hub.lifespan():
            alice, bob = await enter(hub, "alice"), await enter(hub, "bob")
            await bob.join("guarded")
            for fields in ({"message": "hi"}, {"data": 1}):
                kind = "chat_message" if "message" in fields else "publish"
                answer = await alice.ask(kind, group_name="guarded", **fields)
                assert (answer["type"], answer["code"], answer["message"]) == ("error", code, sentence)
            await bob.settle()
            assert not bob.heard("chat_message", "group_message")
            assert (await hub.history("guarded")).publications == []
            assert alice.closed is None

    run(scenario())


def test_the_publish_hook_sees_what_is_published() -> None:
    """Decoded, with who and where; what it lets through arrives as it was sent."""

    async def scenario() -> None:
        hub = a_hub()
        seen: list[tuple[str, object, int]] = []

        @hub.on_publish("room:{number}")
        async def may_say(session: SessionInfo, data: object, number: int) -> bool:
            seen.append((session.client_id, data, number))
            return data != "spam"

        async with hub.lifespan():
            alice, bob = await enter(hub, "alice"), await enter(hub, "bob")
            await bob.join("room:7")
            sent = await alice.ask("chat_message", group_name="room:7", message={"ä": [1.50, None]})
            assert sent["type"] == "published"
            arrived = await bob.hear("chat_message")
            assert arrived["message"] == {"ä": [1.5, None]}
            assert arrived["from"] == "alice"
            assert (await alice.ask("publish", group_name="room:7", data="spam"))["code"] == 103
            assert seen == [("alice", {"ä": [1.5, None]}, 7), ("alice", "spam", 7)]

    run(scenario())


def test_what_the_server_publishes_is_not_asked_about() -> None:
    """The hook decides on what clients publish."""

    async def scenario() -> None:
        hub = a_hub_where("publish", lambda: False, asynchronous=False)
        async with hub.lifespan():
            bob = await enter(hub, "bob")
            await bob.join("guarded")
            await hub.publish("guarded", 1)
            assert (await bob.hear("group_message"))["data"] == 1

    run(scenario())


def test_fields_of_a_pattern_are_typed() -> None:
    """As the hook's signature says, text without one; a hook takes what it names."""

    async def scenario() -> None:
        hub = a_hub()
        seen: list[tuple[object, ...]] = []

        @hub.on_subscribe("orders:{order_id}")
        async def order(session: SessionInfo, order_id: int) -> None:
            seen.append(("order", order_id))

        @hub.on_subscribe("geo:{lat}:{on}:{name}")
        def geo(session: SessionInfo, lat: float, on: bool, name) -> None:  # type: ignore[no-untyped-def]
            seen.append(("geo", lat, on, name))

        @hub.on_subscribe("shop:{shop}:{item}")
        def shop(session: SessionInfo, item: str) -> None:
            seen.append(("shop", item))

        @hub.on_subscribe("a.c")
        def literally(session: SessionInfo) -> None:
            seen.append(("a.c",))

        @hub.on_subscribe()
        def anything(session: SessionInfo, channel: str) -> bool:
            seen.append(("anything", channel))
            return False

        async with hub.lifespan():
            alice = await enter(hub)
            for group in (
                "orders:42",
                "geo:48.5:true:münchen",
                "shop:1:2",
                "a.c",
                "abc",
                "orders:1:2",
                "orders:",
            ):
                await alice.join(group)
        assert seen == [
            ("order", 42),
            ("geo", 48.5, True, "münchen"),
            ("shop", "2"),
            ("a.c",),
            ("anything", "abc"),
            ("anything", "orders:1:2"),
            ("anything", "orders:"),
        ]

    run(scenario())


def test_what_has_the_shape_but_not_the_type_is_refused() -> None:
    """A hook guards names of its shape; none slips by because it could not even be asked."""

    async def scenario() -> None:
        hub = a_hub()
        hub.on_subscribe("orders:{order_id}")(_watch_order)
        async with hub.lifespan():
            alice = await enter(hub)
            refused = await alice.join("orders:forty-two")
            assert (refused["type"], refused["code"]) == ("error", 103)
            assert hub.groups() == {}

    run(scenario())


def _watch_order(session: SessionInfo, order_id: int) -> bool:
    return True


def test_the_first_pattern_that_fits_is_asked() -> None:
    """In the order in which the hooks were given."""

    async def scenario() -> None:
        hub = a_hub()
        hub.on_subscribe("news:{which}")(lambda _, which: which == "local")
        hub.on_subscribe("news:world")(lambda _: True)
        async with hub.lifespan():
            alice = await enter(hub)
            assert (await alice.join("news:local"))["type"] == "group_joined"
            assert (await alice.join("news:world"))["code"] == 103
            assert (await alice.join("elsewhere"))["type"] == "group_joined"

    run(scenario())


def test_leaving_is_told_once_however_it_came_about() -> None:
    """Asked for, done by the server, or because the connection ended; with the pattern's fields."""

    async def scenario() -> None:
        hub = a_hub()
        left: list[tuple[str, int]] = []

        @hub.on_unsubscribe("room:{number}")
        async def gone(session: SessionInfo, number: int) -> None:
            left.append((session.client_id, number))

        async with hub.lifespan():
            alice, bob, carol = [await enter(hub, name) for name in ("alice", "bob", "carol")]
            for client in (alice, bob, carol):
                await client.join("room:1")
                await client.join("room:2")
                await client.join("hall")
            await alice.ask("leave_group", group_name="room:1")
            await alice.ask("leave_group", group_name="room:1")
            await alice.ask("leave_group", group_name="room:3")
            await alice.ask("leave_group", group_name="hall")
            await settled()
            assert left == [("alice", 1)]
            await hub.unsubscribe("room:2", client="bob")
            await hub.unsubscribe("room:2", client="bob")
            await settled()
            assert left == [("alice", 1), ("bob", 2)]
            for client in (alice, bob, carol):
                client.vanish()
            await settled()
            assert sorted(left[2:]) == [("alice", 2), ("bob", 1), ("carol", 1), ("carol", 2)]

    run(scenario())


def test_the_end_is_told_once_of_each_connection() -> None:
    """To every hook; one that fails does not keep it from the others."""

    async def scenario() -> None:
        hub = a_hub()
        ended: list[tuple[str, str]] = []

        @hub.on_disconnect
        def failing(session: SessionInfo) -> None:
            ended.append(("failing", session.connection_id))
            raise LookupError("its own fault")

        @hub.on_disconnect
        async def told(session: SessionInfo) -> None:
            await turns(3)
            ended.append(("told", session.connection_id))

        async with hub.lifespan():
            tabs = [await enter(hub, "alice") for _ in range(2)]
            ids = [tab.connection.id for tab in tabs]
            tabs[0].vanish()
            await settled()
            assert sorted(ended) == [("failing", ids[0]), ("told", ids[0])]
        # The other one was closed by the hub's end, which waits for the hooks.
        assert sorted(ended) == sorted((hook, id) for hook in ("failing", "told") for id in ids)
        assert tabs[1].closed is not None
        assert tabs[1].closed.code == 3001

    run(scenario())


def test_commands_wait_for_the_one_under_way() -> None:
    """Reading pauses while a hook decides; what came meanwhile is done after it, in order."""

    async def scenario() -> None:
        hub = a_hub()
        may_go_on = asyncio.Event()
        asked: list[str] = []

        @hub.on_subscribe()
        async def slow(session: SessionInfo, channel: str) -> None:
            asked.append(channel)
            if channel == "slow":
                await may_go_on.wait()

        async with hub.lifespan():
            alice = await enter(hub)
            alice.say("join_group", id=1, group_name="slow")
            alice.say("ping", id=2)
            alice.say("join_group", id=3, group_name="quick")
            alice.connection.receive(b"no JSON")
            alice.say("leave_group", id=5, group_name="slow")
            alice.say("ping", id=6)
            await until(lambda: asked)
            await turns()
            assert asked == ["slow"]
            assert not alice.read_from
            assert len(alice.messages) == 1

            may_go_on.set()
            await until(lambda: alice.messages[-1].get("id") == 6)
            assert [(m["type"], m.get("id")) for m in alice.messages[1:]] == [
                ("group_joined", 1),
                ("pong", 2),
                ("group_joined", 3),
                ("error", None),
                ("group_left", 5),
                ("pong", 6),
            ]
            assert alice.read_from

    run(scenario())


def test_other_clients_do_not_wait() -> None:
    """A hook that takes its time holds up one client alone."""

    async def scenario() -> None:
        hub = a_hub()
        may_go_on = asyncio.Event()

        @hub.on_subscribe("slow")
        async def slow(session: SessionInfo) -> None:
            await may_go_on.wait()

        async with hub.lifespan():
            alice, bob = await enter(hub, "alice"), await enter(hub, "bob")
            alice.say("join_group", group_name="slow")
            await turns()
            assert (await bob.join("news"))["type"] == "group_joined"
            assert len(alice.messages) == 1
            may_go_on.set()
            await alice.hear("group_joined")

    run(scenario())


def test_a_hook_may_answer_with_an_error_of_its_own() -> None:
    """A `BadCommand` says what is wrong with the request."""

    async def scenario() -> None:
        hub = a_hub()

        @hub.on_subscribe("news")
        def picky(session: SessionInfo) -> None:
            raise BadCommand("field `group_name`: try `news:local`")

        async with hub.lifespan():
            alice = await enter(hub)
            answer = await alice.join("news")
            assert (answer["code"], answer["message"]) == (107, "field `group_name`: try `news:local`")

    run(scenario())
