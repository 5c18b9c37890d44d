"""What the server does to clients: puts them into channels and takes them out, amid their own joins."""

import asyncio

import pytest

from hubbub.core.channels import BadName
from hubbub.core.codes import CloseReason
from hubbub.core.messages import ALL
from hubbub.hub import ConnectRequest, Hub, Identity, SessionInfo

from .inprocess import Client, a_hub, enter, run, settled, turns, until
from .staged import staged_hub


async def three(hub: Hub) -> tuple[Client, Client, Client]:
    """Ann at a phone and at a tablet, and bob."""

    @hub.on_connect
    def who(request: ConnectRequest) -> Identity:
        return Identity(user="bob" if request.client_id == "laptop" else "ann")

    return await enter(hub, "phone"), await enter(hub, "tablet"), await enter(hub, "laptop")


@pytest.mark.parametrize(
    ("who", "in_it"),
    [
        ({"user": "ann"}, [True, True, False]),
        ({"client": "tablet"}, [False, True, False]),
        ({"user": "ann", "client": "phone"}, [True, False, False]),
        ({"user": "bob", "client": "phone"}, [False, False, False]),
        ({"user": "nobody"}, [False, False, False]),
    ],
    ids=str,
)
def test_connections_are_named_by_user_and_by_client(who: dict[str, str], in_it: list[bool]) -> None:
    """By both, it must be both."""

    async def scenario() -> None:
        hub = a_hub()
        async with hub.lifespan():
            clients = await three(hub)
            await hub.subscribe("news", **who)
            assert [bool(client.heard("group_joined")) for client in clients] == in_it
            await hub.publish("news", 1)
            await turns()
            assert [bool(client.heard("group_message")) for client in clients] == in_it

            await hub.unsubscribe("news", **who)
            assert [bool(client.heard("group_removed")) for client in clients] == in_it
            assert hub.groups() == {}
            assert await hub.presence("news") == {}

            assert await hub.disconnect(**who, reason=CloseReason(4001, "enough")) == sum(in_it)
            for client, closed in zip(clients, in_it, strict=True):
                assert client.closed == (CloseReason(4001, "enough") if closed else None)

    run(scenario())


def test_a_client_is_told_of_what_is_done_to_it() -> None:
    """By messages without an id, since it asked for nothing."""

    async def scenario() -> None:
        hub = a_hub(history_size=5)
        async with hub.lifespan():
            alice = await enter(hub)
            position = await hub.publish("news", 1)
            assert position is not None
            await hub.subscribe("news", client="alice")
            assert await alice.hear() == {
                "type": "group_joined",
                "group_name": "news",
                "epoch": position.epoch,
                "offset": 1,
            }
            await hub.unsubscribe("news", client="alice")
            removed = await alice.hear()
            assert removed == {
                "type": "group_removed",
                "group_name": "news",
                "code": 2000,
                "reason": "server unsubscribed",
            }
            await hub.disconnect(client="alice")
            assert await alice.hear() == {
                "type": "disconnect",
                "code": 3503,
                "reason": "force disconnect",
                "reconnect": False,
            }

    run(scenario())


def test_one_that_is_not_in_is_not_taken_out() -> None:
    """And hears nothing of it."""

    async def scenario() -> None:
        hub = a_hub()
        async with hub.lifespan():
            alice = await enter(hub)
            await hub.unsubscribe("news", client="alice")
            await alice.settle()
            assert not alice.heard("group_removed")

    run(scenario())


@pytest.mark.parametrize("channel", ["", "$all", "$client:bob", "tab\tbed", "x" * 256])
def test_only_groups_can_be_put_upon_a_client(channel: str) -> None:
    """Neither a reserved channel nor an illegal name."""

    async def scenario() -> None:
        hub = a_hub()
        async with hub.lifespan():
            await enter(hub)
            for act in (hub.subscribe, hub.unsubscribe):
                with pytest.raises(BadName, match="channel"):
                    await act(channel, client="alice")

    run(scenario())


def test_the_server_need_not_ask_itself() -> None:
    """The hook decides on what clients ask for."""

    async def scenario() -> None:
        hub = a_hub()
        hub.on_subscribe("news")(lambda _: False)
        async with hub.lifespan():
            alice = await enter(hub)
            assert (await alice.join("news"))["code"] == 103
            await hub.subscribe("news", client="alice")
            assert (await alice.hear())["type"] == "group_joined"

    run(scenario())


@pytest.mark.parametrize("how", ["unsubscribe", "leave"])
def test_taken_out_while_it_joins(how: str) -> None:
    """The server takes it out while its join waits for the broker, or it leaves while the server puts it in.

    In or out, its session and the registry agree; and once it has gone, it has gone.
    """

    async def scenario() -> None:
        hub, broker, stage = staged_hub()
        async with hub.lifespan():
            alice = await enter(hub)
            stage.shut("subscribe news")
            if how == "unsubscribe":
                alice.say("join_group", id=1, group_name="news")
                await until(lambda: stage.reached("subscribe news"))
                taking = asyncio.create_task(hub.unsubscribe("news", client="alice"))
                await turns()
                stage.open("subscribe news")
                await taking
            else:
                joining = asyncio.create_task(hub.subscribe("news", client="alice"))
                await until(lambda: stage.reached("subscribe news"))
                alice.say("leave_group", id=1, group_name="news")
                await turns()
                stage.open("subscribe news")
                await joining
            await settled()
            assert ("news" in alice.connection.session.channels) is (hub.groups() == {"news": 1})
            alice.vanish()
            await settled()
            assert hub.groups() == {}
            assert broker.subscribed == {ALL}

    run(scenario())


@pytest.mark.parametrize("outcome", ["refused", "unavailable"])
def test_told_that_it_is_in_only_when_it_is(outcome: str) -> None:
    """The server puts it in while its own join is under way, and that fails: nobody has said that it is in.

    Or both may end well in the end; but who hears `group_joined` last is a member.
    """

    async def scenario() -> None:
        hub, _, stage = staged_hub()
        if outcome == "refused":

            @hub.on_subscribe("news")
            async def refuse(session: SessionInfo) -> bool:
                async with stage.call("ask about", "news"):
                    return False

            first = "ask about news"
        else:
            first = "subscribe news"
            stage.fail(first)
        async with hub.lifespan():
            alice = await enter(hub)
            stage.shut(first)
            alice.say("join_group", id=1, group_name="news")
            await until(lambda: stage.reached(first))
            putting = asyncio.create_task(hub.subscribe("news", client="alice"))
            await turns()
            told_early = alice.heard("group_joined")
            stage.open(first)
            await asyncio.wait([putting])
            putting.exception()
            await settled()
            # While a hook is asked about the client's join, the server may put it in: then it is in.
            assert not told_early or outcome == "refused"
            assert bool(alice.heard("group_joined")) is (hub.groups() == {"news": 1})

    run(scenario())


def test_taken_out_while_its_presence_is_written() -> None:
    """What was written is taken back."""

    async def scenario() -> None:
        hub, _, stage = staged_hub()
        async with hub.lifespan():
            alice = await enter(hub)
            stage.shut("add news")
            alice.say("join_group", id=1, group_name="news")
            await until(lambda: stage.reached("add news"))
            taking = asyncio.create_task(hub.unsubscribe("news", client="alice"))
            await turns()
            stage.open("add news")
            await taking
            await settled()
            assert hub.groups() == {}
            assert await hub.presence("news") == {}

    run(scenario())


def test_gone_while_its_presence_is_written() -> None:
    """What is written late is taken back."""

    async def scenario() -> None:
        hub, _, stage = staged_hub()
        async with hub.lifespan():
            alice = await enter(hub)
            stage.shut("add news")
            alice.say("join_group", id=1, group_name="news")
            await until(lambda: stage.reached("add news"))
            alice.vanish()
            await turns()
            stage.open("add news")
            await settled()
            assert await hub.presence("news") == {}

    run(scenario())


def test_a_member_whose_presence_cannot_be_written_is_there_all_the_same() -> None:
    """It has joined, and is shown as soon as presence can be told."""

    async def scenario() -> None:
        hub, _, stage = staged_hub()
        async with hub.lifespan():
            alice = await enter(hub)
            for call in ("add news", "replace news"):
                stage.fail(call)
            assert (await alice.join("news"))["type"] == "group_joined"
            await until(lambda: stage.reached("replace news"))
            assert await hub.presence("news") == {}
            for call in ("add news", "replace news"):
                stage.fail(call, failing=False)
            await settled()
            assert list(await hub.presence("news")) == [alice.connection.id]
            answers = [message["type"] for message in alice.messages if message.get("id") == 1]
            assert answers == ["group_joined"]

    run(scenario())


def test_an_entry_that_cannot_be_removed_is_gone_as_soon_as_it_can() -> None:
    """Presence does not show for good who has left while it could not be told."""

    async def scenario() -> None:
        hub, _, stage = staged_hub()
        async with hub.lifespan():
            alice, bob = await enter(hub), await enter(hub, "bob")
            for client in (alice, bob):
                await client.join("news")
            for call in ("remove news", "replace news"):
                stage.fail(call)
            await alice.ask("leave_group", group_name="news")
            await until(lambda: stage.reached("replace news"))
            assert len(await hub.presence("news")) == 2
            stage.fail("replace news", failing=False)
            await settled()
            assert list(await hub.presence("news")) == [bob.connection.id]

    run(scenario())


@pytest.mark.parametrize(
    "failing",
    [
        "remove news",
        "the hook",
    ],
)
def test_a_leave_has_one_answer(failing: str) -> None:
    """It has left, whatever becomes of telling the rest of the world."""

    async def scenario() -> None:
        hub, _, stage = staged_hub()
        stage.fail(failing)

        @hub.on_unsubscribe("news")
        def left(session: SessionInfo) -> None:
            if failing == "the hook":
                raise RuntimeError("the hook's own fault")

        async with hub.lifespan():
            alice = await enter(hub)
            await alice.join("news")
            alice.say("leave_group", id="leave", group_name="news")
            await settled()
            answers = [message["type"] for message in alice.messages if message.get("id") == "leave"]
            assert answers == ["group_left"]

    run(scenario())


def test_a_join_that_the_broker_fails_changes_nothing() -> None:
    """An error that is temporary; the connection lives and may try again."""

    async def scenario() -> None:
        hub, broker, stage = staged_hub(history_size=5)
        async with hub.lifespan():
            alice = await enter(hub)
            for failing in ("subscribe news", "history news"):
                stage.fail(failing)
                answer = await alice.join("news")
                assert (answer["type"], answer["code"], answer["temporary"]) == ("error", 100, True)
                assert alice.connection.session.channels == {}
                assert hub.groups() == {}
                await settled()
                assert "news" not in broker.subscribed
                stage.fail(failing, failing=False)
            assert (await alice.join("news"))["type"] == "group_joined"

    run(scenario())


@pytest.mark.parametrize("hook", ["subscribe", "unsubscribe"])
def test_a_hook_may_act_on_the_client_it_is_asked_about(hook: str) -> None:
    """Who joins the lobby is put into another group as well, and taken out of it again."""

    async def scenario() -> None:
        hub = a_hub(hook_timeout=0.5)

        @hub.on_subscribe("lobby")
        async def joins(session: SessionInfo) -> None:
            if hook == "subscribe":
                await hub.subscribe("news", client=session.client_id)

        @hub.on_unsubscribe("lobby")
        async def leaves(session: SessionInfo) -> None:
            if hook == "unsubscribe":
                await hub.unsubscribe("news", client=session.client_id)

        async with hub.lifespan():
            alice = await enter(hub)
            assert (await alice.join("lobby"))["type"] == "group_joined"
            if hook == "subscribe":
                assert hub.groups() == {"lobby": 1, "news": 1}
                return
            await alice.join("news")
            await alice.ask("leave_group", group_name="lobby")
            await settled()
            assert hub.groups() == {}

    run(scenario())
