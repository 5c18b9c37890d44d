"""What is every client's own, with a history: broadcasts and notifications that nobody misses after all."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from hubbub.core import codes
from hubbub.core.channels import Namespace
from hubbub.core.session import Limits
from hubbub.hub import ConnectRequest, Hub, Identity, Refuse, SessionInfo

from .histories import LossyBroker, a_hub_over, follow
from .inprocess import Client, JsonMessage, arrive, enter, quick, run, settled, speaker, turns, until
from .staged import staged_hub

SIZE = 10


def own(size: int = SIZE) -> dict[str, Namespace]:
    """Histories for all that is a client's own."""
    return {name: Namespace(history_size=size, presence=False) for name in ("$all", "$client", "$user")}


def a_hub_with_own_history(**settings: Any) -> tuple[Hub, LossyBroker]:
    """A hub that keeps broadcasts and notifications, and its broker."""
    broker = LossyBroker()
    settings = {"namespaces": own(), "announce_disconnects": False} | settings
    return a_hub_over(broker, **settings), broker


def everybody_is_ann(hub: Hub) -> None:
    """Whoever comes is a client of this user."""

    @hub.on_connect
    def identify(request: ConnectRequest) -> Identity:
        return Identity(user="ann")


async def greeted(client: Client, **fields: object) -> JsonMessage:
    """Say `connect`, and return the greeting."""
    client.say("connect", **fields)
    return await client.hear("connection_established")


def position(broker: LossyBroker, channel: str) -> dict[str, object]:
    """Where a channel stands, as on the wire."""
    at = broker.stream(channel).position
    return {"epoch": at.epoch, "offset": at.offset}


def data_of(client: Client, *message_types: str) -> list[object]:
    """The data of every message of these types so far."""
    return [message["data"] for message in client.heard(*message_types)]


def left_behind(hub: Hub) -> dict[str, object]:
    """What clients could leave, by name; empty where there is nothing. `$all` stays."""
    left = {
        "connections": len(hub.connections),
        "silent": len(hub.connections._silent),
        "channels": len(hub.registry),
        "taps": dict(hub.deliveries._taps),
        "trails": set(hub.continuity._trails) - {"$all"},
        "held": dict(hub.interest._held),
        "subscriptions": len(hub.interest) - 1,
        "heartbeats": len(hub.connections._heartbeat),
    }
    # `$all` is held from the start to the end of the hub.
    left["held"] = {name: times for name, times in hub.interest._held.items() if (name, times) != ("$all", 1)}
    return {name: what for name, what in left.items() if what}


# The greeting.


def test_without_histories_the_greeting_has_no_positions() -> None:
    """Nothing of it is on the wire."""

    async def scenario() -> None:
        hub = a_hub_over(LossyBroker())
        async with hub.lifespan():
            greeting = (await enter(hub)).messages[0]
            assert greeting.keys() == {"type", "client_id", "timestamp", "total_connections"}

    run(scenario())


def test_the_greeting_says_where_everything_stands() -> None:
    """By the names that every client calls its own by."""

    async def scenario() -> None:
        hub, broker = a_hub_with_own_history()
        everybody_is_ann(hub)
        async with hub.lifespan():
            await hub.broadcast(1)
            await hub.broadcast(2)
            await hub.notify("alice", 3)
            greeting = (await enter(hub)).messages[0]
            assert greeting["positions"] == {
                "$all": position(broker, "$all") | {"offset": 2},
                "$client": position(broker, "$client:alice") | {"offset": 1},
                "$user": position(broker, "$user:ann") | {"offset": 0},
            }
            assert "recovered" not in greeting
            assert "id" not in greeting

    run(scenario())


def test_only_what_has_a_history_has_a_position() -> None:
    """And a client without a user has none of `$user`."""

    async def scenario() -> None:
        hub, broker = a_hub_with_own_history(
            namespaces={"$user": own()["$user"], "$client": own()["$client"]}
        )
        async with hub.lifespan():
            greeting = (await enter(hub)).messages[0]
            assert greeting["positions"] == {"$client": position(broker, "$client:alice")}

    run(scenario())


def test_live_messages_follow_the_greeting_with_their_offsets() -> None:
    """A notification says of which channel its offset is, since a client may have two."""

    async def scenario() -> None:
        hub, _ = a_hub_with_own_history()
        everybody_is_ann(hub)
        async with hub.lifespan():
            await hub.broadcast("before")
            alice = await enter(hub)
            await hub.broadcast("all")
            await hub.notify("alice", "client")
            await hub.publish("$user:ann", "user")
            await until(lambda: len(alice.messages) == 4)
            shown = [(m["type"], m.get("channel"), m["offset"], m["data"]) for m in alice.messages[1:]]
            assert sorted(shown, key=str) == [
                ("broadcast_message", None, 2, "all"),
                ("personal_notification", "$client", 1, "client"),
                ("personal_notification", "$user", 1, "user"),
            ]

    run(scenario())


# The first words.


def test_who_speaks_first_is_sent_nothing_before() -> None:
    """Not even what is published to everybody; then it is greeted, with its own id."""

    async def scenario() -> None:
        hub, broker = a_hub_with_own_history()
        async with hub.lifespan():
            alice = await speaker(hub)
            await hub.broadcast(1)
            await hub.notify("alice", 2)
            await turns()
            assert alice.writes == []
            greeting = await greeted(alice, id="c-1")
            assert greeting["id"] == "c-1"
            assert greeting["client_id"] == "alice"
            assert greeting["positions"]["$all"] == position(broker, "$all") | {"offset": 1}
            assert "recovered" not in greeting
            await alice.settle()
            assert data_of(alice, "broadcast_message") == []

    run(scenario())


def test_who_speaks_first_may_have_nothing_to_say() -> None:
    """With no histories either; `connect` alone is enough, and what is behind it is handled after it."""

    async def scenario() -> None:
        hub = a_hub_over(LossyBroker())
        async with hub.lifespan():
            alice = await speaker(hub)
            alice.say("connect")
            alice.say("join_group", group_name="news")
            await alice.hear("group_joined")
            assert [message["type"] for message in alice.messages] == [
                "connection_established",
                "group_joined",
            ]

    run(scenario())


def test_who_did_not_ask_to_speak_first_is_greeted_at_once() -> None:
    """And is told so, should it say `connect` all the same."""

    async def scenario() -> None:
        hub, _ = a_hub_with_own_history()
        async with hub.lifespan():
            for query in ({}, {"connect": "last"}, {"connect": ""}, {"connected": "first"}):
                alice = await arrive(hub, query=query)
                assert alice.messages[0]["type"] == "connection_established"
                refused = await alice.ask("connect")
                assert (refused["type"], refused["code"]) == ("error", 107)
                assert "?connect=first" in refused["message"]
                assert alice.closed is None

    run(scenario())


def test_a_second_connect_is_an_error_and_no_more() -> None:
    """The connection goes on as it was."""

    async def scenario() -> None:
        hub, _ = a_hub_with_own_history()
        async with hub.lifespan():
            alice = await speaker(hub)
            await greeted(alice)
            assert (await alice.ask("connect", groups=["news"]))["code"] == 107
            assert (await alice.join("news"))["type"] == "group_joined"
            assert hub.groups() == {"news": 1}

    run(scenario())


@pytest.mark.parametrize("behind", [0, 1, 5])
def test_what_was_missed_comes_after_the_greeting_and_before_what_is_new(behind: int) -> None:
    """Exactly that, in order, of broadcasts and notifications alike."""

    async def scenario() -> None:
        hub, broker = a_hub_with_own_history()
        everybody_is_ann(hub)
        async with hub.lifespan():
            first = await enter(hub)
            for number in range(3):
                await hub.broadcast(f"seen {number}")
                await hub.notify("alice", f"seen {number}")
                await hub.publish("$user:ann", f"seen {number}")
            channels = {"$all": "$all", "$client": "$client:alice", "$user": "$user:ann"}
            await until(lambda: len(first.messages) == 10)
            recover = {name: position(broker, channel) for name, channel in channels.items()}
            first.vanish()
            for number in range(behind):
                await hub.broadcast(f"missed {number}")
                await hub.notify("alice", f"missed {number}")
                await hub.publish("$user:ann", f"missed {number}")

            alice = await speaker(hub)
            greeting = await greeted(alice, recover=recover)
            assert greeting["recovered"] == {"$all": True, "$client": True, "$user": True}
            assert greeting["positions"] == recover
            await hub.broadcast("new")
            await alice.settle()
            missed = [f"missed {number}" for number in range(behind)]
            assert data_of(alice, "broadcast_message") == [*missed, "new"]
            notices = alice.heard("personal_notification")
            for name in ("$client", "$user"):
                data = [m["data"] for m in notices if m["channel"] == name and "mark" not in m["data"]]
                assert data == missed
            for channel in channels.values():
                assert follow(broker, alice, channel).position == broker.stream(channel).position

    run(scenario())


def test_what_a_client_asks_for_alone_is_recovered() -> None:
    """Of the rest it is told where it stands."""

    async def scenario() -> None:
        hub, broker = a_hub_with_own_history()
        async with hub.lifespan():
            before = position(broker, "$all")
            await hub.broadcast(1)
            await hub.notify("alice", 2)
            alice = await speaker(hub)
            greeting = await greeted(alice, recover={"$all": before})
            assert greeting["recovered"] == {"$all": True}
            assert greeting["positions"] == {"$all": before, "$client": position(broker, "$client:alice")}
            await alice.settle()
            assert data_of(alice, "broadcast_message") == [1]

    run(scenario())


@pytest.mark.parametrize(
    "recover",
    [
        {"offset": 4},
        {"offset": 2**63},
        {"offset": 10**30},
        {"offset": -1},
        {"offset": -(2**63)},
        {"epoch": "elsewhere", "offset": 1},
        {"epoch": "", "offset": 0},
    ],
    ids=str,
)
def test_a_position_that_names_nothing_is_not_recovered_from(recover: dict[str, object]) -> None:
    """Nothing is given that the client could not place; it follows from where the history stands."""

    async def scenario() -> None:
        hub, broker = a_hub_with_own_history()
        async with hub.lifespan():
            for number in range(3):
                await hub.broadcast(number)
            stands = position(broker, "$all")
            alice = await speaker(hub)
            greeting = await greeted(alice, recover={"$all": stands | recover})
            assert greeting["recovered"] == {"$all": False}
            assert greeting["positions"]["$all"] == stands
            await hub.broadcast("new")
            await alice.settle()
            assert data_of(alice, "broadcast_message") == ["new"]

    run(scenario())


def test_what_is_gone_from_the_history_is_not_recovered() -> None:
    """Not even in part."""

    async def scenario() -> None:
        hub, broker = a_hub_with_own_history(namespaces=own(2))
        async with hub.lifespan():
            before = position(broker, "$all")
            for number in range(3):
                await hub.broadcast(number)
            alice = await speaker(hub)
            greeting = await greeted(alice, recover={"$all": before})
            assert greeting["recovered"] == {"$all": False}
            await alice.settle()
            assert data_of(alice, "broadcast_message") == []

    run(scenario())


def test_what_has_no_history_is_not_recovered() -> None:
    """Nor is what a client without a user does not have; both are said."""

    async def scenario() -> None:
        hub, broker = a_hub_with_own_history(namespaces={"$all": own()["$all"]})
        async with hub.lifespan():
            alice = await speaker(hub)
            at = position(broker, "$all")
            greeting = await greeted(alice, recover={"$all": at, "$client": at, "$user": at})
            assert greeting["recovered"] == {"$all": True, "$client": False, "$user": False}
            assert greeting["positions"] == {"$all": at}

    run(scenario())


def test_a_history_that_goes_on_elsewhere_is_recovered_in_its_new_epoch() -> None:
    """What the client has, it has; what comes after is of the epoch that it is told."""

    async def scenario() -> None:
        hub, broker = a_hub_with_own_history()
        async with hub.lifespan():
            await hub.broadcast(1)
            before = position(broker, "$all")
            await hub.broadcast(2)
            broker.go_on("$all")
            alice = await speaker(hub)
            greeting = await greeted(alice, recover={"$all": before})
            assert greeting["recovered"] == {"$all": True}
            assert greeting["positions"]["$all"] == position(broker, "$all") | {"offset": 1}
            await hub.broadcast(3)
            await alice.settle()
            assert data_of(alice, "broadcast_message") == [2, 3]
            assert follow(broker, alice, "$all").position == broker.stream("$all").position

    run(scenario())


WRONG: dict[str, dict[str, object]] = {
    "recover in text": {"recover": "$all"},
    "recover as an array": {"recover": ["$all"]},
    "a position in text": {"recover": {"$all": "17"}},
    "a position that is none": {"recover": {"$all": None}},
    "an offset in text": {"recover": {"$all": {"epoch": "e", "offset": "17"}}},
    "an offset with a fraction": {"recover": {"$all": {"epoch": "e", "offset": 1.5}}},
    "no offset": {"recover": {"$all": {"epoch": "e"}}},
    "no epoch": {"recover": {"$all": {"offset": 1}}},
    "what is not its own": {"recover": {"news": {"epoch": "e", "offset": 1}}},
    "another's": {"recover": {"$client:bob": {"epoch": "e", "offset": 1}}},
    "groups in text": {"groups": "news"},
    "a group that is a number": {"groups": [1]},
    "a group with a position in text": {"groups": {"news": "17"}},
    "a group with half a position": {"groups": {"news": {"epoch": "e"}}},
    "a group that is not the client's to name": {"groups": ["$all"]},
    "a group without a name": {"groups": {"": None}},
}


@pytest.mark.parametrize("fields", WRONG.values(), ids=WRONG)
def test_first_words_that_are_not_legal_are_answered_and_may_be_said_again(fields: dict[str, object]) -> None:
    """With error 107 and the id; nothing has happened yet."""

    async def scenario() -> None:
        hub, _ = a_hub_with_own_history()
        async with hub.lifespan():
            alice = await speaker(hub)
            refused = await alice.ask("connect", **fields)
            assert (refused["type"], refused["code"]) == ("error", 107)
            assert len(alice.messages) == 1
            assert alice.closed is None
            assert (await greeted(alice))["client_id"] == "alice"

    run(scenario())


def test_too_many_groups_in_the_first_words() -> None:
    """None is joined, and the client may name fewer."""

    async def scenario() -> None:
        hub, _ = a_hub_with_own_history(limits=Limits(groups=2))
        async with hub.lifespan():
            alice = await speaker(hub)
            assert (await alice.ask("connect", groups=["a", "b", "c"]))["code"] == 106
            assert hub.groups() == {}
            await greeted(alice, groups=["a", "b"])
            await until(lambda: hub.groups() == {"a": 1, "b": 1})

    run(scenario())


def test_who_goes_on_talking_nonsense_is_closed() -> None:
    """As anywhere else."""

    async def scenario() -> None:
        hub, _ = a_hub_with_own_history(limits=Limits(errors=3))
        async with hub.lifespan():
            alice = await speaker(hub)
            for _ in range(3):
                alice.say("connect", recover=1)
            assert alice.closed == codes.TOO_MANY_ERRORS
            await settled()
            assert left_behind(hub) == {}

    run(scenario())


@pytest.mark.parametrize(
    ("message_type", "fields"), [("join_group", {"group_name": "news"}), ("rpc", {"method": "vote"})]
)
def test_who_says_something_else_first_is_told_what_comes_first(
    message_type: str, fields: dict[str, object]
) -> None:
    """Nothing else is done before; the connection can still be used."""

    async def scenario() -> None:
        hub, _ = a_hub_with_own_history()
        async with hub.lifespan():
            alice = await speaker(hub)
            error = await alice.ask(message_type, **fields)
            assert (error["type"], error["code"]) == ("error", 107)
            assert "`connect` comes first" in error["message"]
            assert hub.groups() == {}
            await greeted(alice)

    run(scenario())


def test_signs_of_life_are_no_first_words() -> None:
    """They are taken, and do not keep a client from being closed that never says `connect`."""

    async def scenario() -> None:
        hub, _ = a_hub_with_own_history(handshake_timeout=0.05)
        async with hub.lifespan():
            alice = await speaker(hub)
            alice.say("pong")
            assert (await alice.ask("ping"))["type"] == "pong"
            await until(lambda: alice.closed == codes.STALE)

    run(scenario())


def test_who_never_speaks_is_closed_as_stale() -> None:
    """Once the handshake has taken its time; nobody else is, and hooks hear of nobody."""

    async def scenario() -> None:
        hub, _ = a_hub_with_own_history(handshake_timeout=0.05)
        heard: list[SessionInfo] = []
        hub.on_disconnect(heard.append)
        async with hub.lifespan():
            silent, quick_one = await speaker(hub), await speaker(hub, "bob")
            await greeted(quick_one)
            await until(lambda: silent.closed)
            assert silent.closed == codes.STALE
            assert [message["type"] for message in silent.messages] == ["disconnect"]
            await settled()
            assert quick_one.closed is None
            assert [session.client_id for session in heard] == []
            quick_one.vanish()
            await settled()
            assert [session.client_id for session in heard] == ["bob"]
            assert left_behind(hub) == {}

    run(scenario())


def test_who_vanishes_before_it_has_spoken_leaves_nothing_behind() -> None:
    """Whether it was attached or only let in."""

    async def scenario() -> None:
        hub, _ = a_hub_with_own_history()
        async with hub.lifespan():
            alice = await speaker(hub)
            for query in ({}, {"connect": "first"}):
                admission = await hub.connections.admit(
                    ConnectRequest(client_id="bob", path="/ws/bob", query=query)
                )
                hub.connections.withdraw(admission)
            alice.vanish()
            await settled()
            assert left_behind(hub) == {}

    run(scenario())


# Where things go wrong on the way.


def a_staged_hub_with_own_history(**settings: Any) -> Any:
    """The same on a stage."""
    return staged_hub(namespaces=own(), announce_disconnects=False, **settings)


@pytest.mark.parametrize("after", [False, True], ids=["before the reading", "after the reading"])
@pytest.mark.parametrize("asks", [False, True], ids=["fresh", "recovering"])
def test_what_is_published_while_a_client_comes_in_arrives_once(asks: bool, after: bool) -> None:
    """Broadcasts and notifications, wherever the reading of each history stands."""

    async def scenario() -> None:
        hub, broker, stage = a_staged_hub_with_own_history()
        async with hub.lifespan():
            at = {
                name: {"epoch": broker._stream(channel, 0.0).epoch, "offset": 0}
                for name, channel in (("$all", "$all"), ("$client", "$client:alice"))
            }
            alice = await speaker(hub)
            await hub.broadcast("a0")
            await hub.notify("alice", "c0")
            for number, channel in enumerate(["$all", "$client:alice"], 1):
                stage.shut(f"history {channel}", after=after)
                if number == 1:
                    alice.say("connect", **({"recover": at} if asks else {}))
                await until(lambda channel=channel: stage.log[-1] == f"history {channel}")  # type: ignore[misc]
                await turns(3)
                await hub.broadcast(f"a{number}")
                await hub.notify("alice", f"c{number}")
                if number == 1:
                    stage.shut("history $client:alice", after=after)
                stage.open(f"history {channel}")
            greeting = await alice.hear("connection_established")
            await hub.broadcast("a3")
            await hub.notify("alice", "c3")
            await until(lambda: data_of(alice, "personal_notification")[-1:] == ["c3"])
            await until(lambda: data_of(alice, "broadcast_message")[-1:] == ["a3"])
            for name, letter, type_ in (
                ("$all", "a", "broadcast_message"),
                ("$client", "c", "personal_notification"),
            ):
                start = greeting["positions"][name]["offset"]
                assert data_of(alice, type_) == [f"{letter}{number}" for number in range(start, 4)]
            if asks:
                assert greeting["recovered"] == {"$all": True, "$client": True}

    run(scenario())


def test_a_broker_that_does_not_answer_is_said_and_the_client_may_try_again() -> None:
    """A temporary error; the next try finds everything."""

    async def scenario() -> None:
        hub, _, stage = a_staged_hub_with_own_history()
        async with hub.lifespan():
            alice = await speaker(hub)
            stage.fail("history $client:alice")
            refused = await alice.ask("connect", groups=["news"])
            assert (refused["type"], refused["code"], refused["temporary"]) == ("error", 100, True)
            assert hub.groups() == {}
            stage.fail("history $client:alice", failing=False)
            await greeted(alice, groups=["news"])
            await until(lambda: hub.groups() == {"news": 1})

    run(scenario())


def test_a_group_that_is_refused_is_named() -> None:
    """One of the `connect` or of the token, for good or for now; the others are joined."""

    async def scenario() -> None:
        hub, _, stage = a_staged_hub_with_own_history(history_size=5)

        @hub.on_connect
        def identify(request: ConnectRequest) -> Identity:
            return Identity(user="ann", groups=("own",))

        @hub.on_subscribe("closed")
        def closed(session: SessionInfo) -> bool:
            return False

        async with hub.lifespan():
            alice = await speaker(hub)
            stage.fail("history own")
            await greeted(alice, id="c", groups=["closed", "room:1#bob", "open"])
            await alice.hear("group_joined")
            refused = [(m["group_name"], m["code"], m["id"]) for m in alice.heard("error")]
            assert refused == [("own", 100, "c"), ("closed", 103, "c"), ("room:1#bob", 103, "c")]
            assert [m.get("temporary", False) for m in alice.heard("error")] == [True, False, False]
            assert "group_name" not in await alice.join("closed")

    run(scenario())


def test_a_try_that_failed_leaves_nothing_behind() -> None:
    """Once the client is in, nothing watches for it but itself."""

    async def scenario() -> None:
        hub, _, stage = a_staged_hub_with_own_history()
        async with hub.lifespan():
            alice = await speaker(hub)
            stage.fail("history $client:alice")
            assert (await alice.ask("connect"))["code"] == 100
            stage.fail("history $client:alice", failing=False)
            await greeted(alice)
            assert hub.deliveries._taps == {}

    run(scenario())


@pytest.mark.parametrize(
    "channel",
    ["$all", "$client:alice"],
)
def test_who_vanishes_while_it_is_greeted_leaves_nothing_behind(channel: str) -> None:
    """In the middle of the reading of one history or the other."""

    async def scenario() -> None:
        hub, _, stage = a_staged_hub_with_own_history()
        async with hub.lifespan():
            alice = await speaker(hub)
            stage.shut(f"history {channel}")
            alice.say("connect", groups=["news"])
            await until(lambda: stage.log[-1] == f"history {channel}")
            alice.vanish()
            await turns()
            stage.open(f"history {channel}")
            await settled()
            assert left_behind(hub) == {}
            assert hub.groups() == {}

    run(scenario())


def test_hooks_are_not_asked_about_who_has_vanished() -> None:
    """They would be asked about a client that nobody has heard of."""

    async def scenario() -> None:
        hub, _, stage = a_staged_hub_with_own_history()
        asked: list[str] = []

        @hub.on_subscribe("news")
        def may_join(session: SessionInfo) -> None:
            asked.append(session.client_id)

        async with hub.lifespan():
            alice = await speaker(hub)
            stage.shut("history $client:alice")
            alice.say("connect", groups=["news"])
            await until(lambda: stage.log[-1] == "history $client:alice")
            alice.vanish()
            stage.open("history $client:alice")
            await settled()
            assert asked == []

    run(scenario())


def test_who_vanishes_with_its_first_words_is_no_fault_of_the_server(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Nothing is logged as one."""

    async def scenario() -> None:
        hub, _ = a_hub_with_own_history()
        async with hub.lifespan():
            alice = await speaker(hub)
            alice.say("connect")
            alice.vanish()
            await settled()
            assert left_behind(hub) == {}

    run(scenario())
    assert [record for record in caplog.records if record.exc_info] == []


def test_who_has_spoken_is_not_closed_for_silence() -> None:
    """However long the broker takes: to be told to stay away, a client must have done something wrong."""

    async def scenario() -> None:
        hub, _, stage = a_staged_hub_with_own_history(handshake_timeout=0.05)
        async with hub.lifespan():
            alice, silent = await speaker(hub), await speaker(hub, "silent")
            stage.shut("history $all")
            alice.say("connect")
            await until(lambda: silent.closed)
            await turns()
            stage.open("history $all")
            assert (await alice.hear())["type"] == "connection_established"

    run(scenario())


def test_a_hub_that_stops_sends_away_who_has_not_spoken_yet() -> None:
    """With the code that lets clients come back, as everybody else."""

    async def scenario() -> None:
        hub, _ = a_hub_with_own_history()
        async with hub.lifespan():
            alice = await speaker(hub)
        assert alice.closed == codes.SHUTDOWN

    run(scenario())


def test_who_is_disconnected_before_it_has_spoken_stays_out() -> None:
    """Else whoever was thrown out comes in by its first words."""

    async def scenario() -> None:
        hub, _ = a_hub_with_own_history()
        everybody_is_ann(hub)
        async with hub.lifespan():
            alice = await speaker(hub)
            await hub.disconnect(user="ann")
            assert alice.closed == codes.FORCE_DISCONNECT

    run(scenario())


def test_who_has_not_spoken_yet_is_not_asked_for_a_sign_of_life() -> None:
    """Nothing is sent to it before; and whatever it answered would be illegal."""

    async def scenario() -> None:
        hub, _ = a_hub_with_own_history(**quick())
        async with hub.lifespan():
            alice, other = await speaker(hub), await enter(hub, "bob")
            await other.hear("ping")
            await turns()
            assert alice.messages == []

    run(scenario())


# What happens between the door and the greeting.


async def at_the_door(hub: Hub, meanwhile: Callable[[], Any]) -> Client:
    """A client that is let in; what happens meanwhile; and the client is attached."""
    admission = await hub.connections.admit(ConnectRequest(client_id="alice", path="/ws/alice"))
    await meanwhile()
    return Client(hub, admission)


def test_what_is_published_while_the_handshake_is_answered_arrives_once() -> None:
    """It is after the position that the greeting tells, or is not given."""

    async def scenario() -> None:
        hub, broker = a_hub_with_own_history()
        async with hub.lifespan():

            async def meanwhile() -> None:
                for number in range(3):
                    await hub.broadcast(number)
                    await hub.notify("alice", number)

            alice = await at_the_door(hub, meanwhile)
            await hub.broadcast("new")
            await alice.settle()
            for channel in ("$all", "$client:alice"):
                assert follow(broker, alice, channel).position == broker.stream(channel).position

    run(scenario())


@pytest.mark.parametrize("what", ["goes on", "begins anew"])
def test_a_history_that_changes_its_epoch_while_the_handshake_is_answered(what: str) -> None:
    """The others are told; the newcomer must not count on in offsets of another history."""

    async def scenario() -> None:
        hub, broker = a_hub_with_own_history()
        async with hub.lifespan():
            witness = await enter(hub, "witness")
            for number in range(5):
                await hub.broadcast(number)

            async def meanwhile() -> None:
                broker.go_on("$all") if what == "goes on" else broker.begin_anew("$all")
                await hub.broadcast("first of the new epoch")
                await until(lambda: follow(broker, witness, "$all").position == top())

            def top() -> object:
                return broker.stream("$all").position

            alice = await at_the_door(hub, meanwhile)
            await hub.broadcast("new")
            for client in (witness, alice):
                await client.settle()
                assert data_of(client, "broadcast_message")[-1] == "new"
                assert follow(broker, client, "$all").position == top()

    run(scenario())


def test_what_is_healed_while_the_handshake_is_answered_is_not_missing() -> None:
    """It was lost on its way to this node, and had from the history after the newcomer's own reading."""

    async def scenario() -> None:
        hub, broker = a_hub_with_own_history()
        async with hub.lifespan():
            witness = await enter(hub, "witness")

            async def meanwhile() -> None:
                broker.lost = lambda _: True
                await hub.broadcast("lost")
                broker.lost = lambda _: False
                hub.continuity.doubt(["$all"])
                await witness.hear("broadcast_message")

            alice = await at_the_door(hub, meanwhile)
            await hub.broadcast("new")
            await alice.settle()
            assert follow(broker, alice, "$all").position == broker.stream("$all").position

    run(scenario())


# Groups in the first words.


def test_groups_are_joined_with_the_first_words() -> None:
    """After the greeting, each with what was missed of it; one that is only named begins where it stands."""

    async def scenario() -> None:
        hub, broker = a_hub_with_own_history(history_size=10)
        async with hub.lifespan():
            for number in range(4):
                await hub.publish("news", number)
                await hub.publish("sport", number)
            at = position(broker, "news")
            alice = await speaker(hub)
            greeting = await greeted(alice, id=7, groups={"news": at | {"offset": 2}, "sport": None})
            assert greeting["id"] == 7
            await until(lambda: len(alice.heard("group_joined")) == 2)
            await turns()
            told = [(m["type"], m.get("group_name"), m.get("offset")) for m in alice.messages[1:]]
            assert told == [
                ("group_joined", "news", 2),
                ("group_message", "news", 3),
                ("group_message", "news", 4),
                ("group_joined", "sport", 4),
            ]
            news, sport = alice.heard("group_joined")
            assert news["recovered"] is True
            assert "recovered" not in sport
            assert all("id" not in joined for joined in (news, sport))

    run(scenario())


def test_groups_may_be_named_in_a_list() -> None:
    """A name that stands there twice is one group."""

    async def scenario() -> None:
        hub, _ = a_hub_with_own_history()
        async with hub.lifespan():
            alice = await speaker(hub)
            await greeted(alice, groups=["b", "a", "b"])
            await alice.settle()
            assert [joined["group_name"] for joined in alice.heard("group_joined")] == ["b", "a"]

    run(scenario())


def test_a_group_that_a_hook_refuses_is_said_by_its_name_and_the_others_are_joined() -> None:
    """The error has the id of the `connect`."""

    async def scenario() -> None:
        hub, _ = a_hub_with_own_history()

        @hub.on_subscribe("secret")
        def no(session: SessionInfo) -> None:
            raise Refuse("not for you")

        @hub.on_subscribe("closed")
        def nobody(session: SessionInfo) -> bool:
            return False

        async with hub.lifespan():
            alice = await speaker(hub)
            await greeted(alice, id="c", groups=["first", "secret", "closed", "last"])
            await until(lambda: alice.heard("group_joined")[-1:] and len(alice.messages) == 5)
            errors = alice.heard("error")
            assert [(error["id"], error["code"]) for error in errors] == [("c", 103), ("c", 103)]
            assert "'secret'" in errors[0]["message"]
            assert "not for you" in errors[0]["message"]
            assert "'closed'" in errors[1]["message"]
            assert hub.groups() == {"first": 1, "last": 1}

    run(scenario())


def test_a_group_that_the_broker_cannot_tell_of_keeps_none_of_the_others() -> None:
    """It is said by its name, as a temporary error."""

    async def scenario() -> None:
        hub, _, stage = a_staged_hub_with_own_history()
        async with hub.lifespan():
            stage.fail("subscribe broken")
            alice = await speaker(hub)
            await greeted(alice, id="c", groups=["first", "broken", "last"])
            error = await alice.hear("error")
            assert (error["id"], error["code"], error["temporary"]) == ("c", 100, True)
            assert "'broken'" in error["message"]
            await settled()
            assert hub.groups() == {"first": 1, "last": 1}

    run(scenario())


def test_what_was_sent_behind_a_connect_that_failed_does_not_end_the_connection() -> None:
    """The broker was out of reach for a moment: no fault of the client's, who may come back."""

    async def scenario() -> None:
        hub, _, stage = a_staged_hub_with_own_history()
        async with hub.lifespan():
            alice = await speaker(hub)
            stage.fail("history $all")
            alice.say("connect", id=1)
            alice.say("join_group", id=2, group_name="news")
            await settled()
            assert alice.messages[0]["code"] == 100
            assert alice.closed is None or alice.closed.reconnect

    run(scenario())


def test_many_come_in_at_once_while_everything_is_published() -> None:
    """Each is told where it begins, and given all that follows, once."""

    async def scenario() -> None:
        hub, broker = a_hub_with_own_history(namespaces=own(1000))
        everybody_is_ann(hub)
        async with hub.lifespan():
            before = {"$all": position(broker, "$all"), "$user": position(broker, "$user:ann")}
            clients: list[Client] = []

            async def come_in(number: int) -> None:
                client = await speaker(hub, f"client{number}")
                clients.append(client)
                await turns(number % 7)
                client.say("connect", **({"recover": before} if number % 2 else {}))
                await client.hear("connection_established")

            async def publish() -> None:
                for number in range(100):
                    await hub.broadcast(number)
                    await hub.publish("$user:ann", number)
                    await asyncio.sleep(0)

            await asyncio.gather(publish(), *(come_in(number) for number in range(50)))
            for client in clients:
                await client.settle()
                for channel in ("$all", "$user:ann"):
                    assert follow(broker, client, channel).position == broker.stream(channel).position

    run(scenario())
