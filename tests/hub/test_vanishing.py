"""A connection that vanishes, at whatever moment, leaves nothing behind; and who is to know is told once."""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from hubbub.core import codes
from hubbub.core.messages import ALL
from hubbub.hub import ConnectRequest, Hub, Identity, Refuse, SessionInfo

from .inprocess import Client, enter, run, settled
from .staged import staged_hub

ENDS: dict[str, Callable[[Client], None]] = {
    "vanishes": Client.vanish,
    "is closed": lambda client: client.connection.close(codes.FORCE_DISCONNECT),
}

NAMESPACES: dict[str, dict[str, Any]] = {
    "plain": {"presence": False},
    "with presence": {"presence": True, "join_leave": True},
    "with history": {"presence": True, "join_leave": True, "history_size": 10},
    "alone": {"presence": True, "join_leave": True, "history_size": 10},
}


@dataclass
class Story:
    """What came of a join during which the connection ended."""

    at: str = ""
    """The step at which it ended."""
    joined: int = 0
    """How often the client was told that it is in."""
    left: int = 0
    """Calls of the unsubscribe hook."""
    disconnected: int = 0
    """Calls of the disconnect hook."""
    told: list[str] = field(default_factory=list)
    """What the other member was told, by message type."""
    remains: dict[str, object] = field(default_factory=dict)
    """What is left of it, by place."""


async def tell(number: int, end: Callable[[Client], None], namespace: str) -> Story:
    """Join a channel that another is in (unless alone), and end at the step of that number."""
    hub, broker, stage = staged_hub(**NAMESPACES[namespace])
    story = Story()
    steps = 0

    @hub.on_subscribe("news")
    async def allow(session: SessionInfo) -> bool:
        async with stage.call("ask about", "news"):
            return True

    @hub.on_unsubscribe("news")
    def left(session: SessionInfo) -> None:
        story.left += session.client_id == "alice"

    @hub.on_disconnect
    def disconnected(session: SessionInfo) -> None:
        story.disconnected += session.client_id == "alice"

    def at_step(step: str) -> None:
        nonlocal steps
        steps += 1
        if steps == number:
            story.at = step
            end(alice)

    async with hub.lifespan():
        witness = await enter(hub, "witness")
        if namespace != "alone":
            await witness.join("news")
        await settled()
        watched = set(broker.subscribed)
        alice = await enter(hub, "alice")
        witness.messages.clear()

        stage.at_step = at_step
        alice.say("join_group", id=1, group_name="news")
        await settled()
        stage.at_step = None
        alice.vanish()
        await settled()

        story.joined = len(alice.heard("group_joined"))
        story.told = [message["type"] for message in witness.heard("member_joined", "member_left")]
        story.remains = remains(hub, alice) | {
            place: left
            for place, left in {
                "presence": set(await hub.presence_store.list("news")) - {witness.connection.id},
                "broker": broker.subscribed - watched,
            }.items()
            if left
        }
        witness.vanish()
        await settled()
        assert broker.subscribed == {ALL}
        assert len(hub.interest) == 1
    return story


def remains(hub: Hub, client: Client) -> dict[str, object]:
    """What a hub still knows of a client."""
    channels = [
        name for name, _ in hub.registry.channels() if client.connection in hub.registry.members(name)
    ]
    return {"registry": channels} if channels else {}


def stories(namespace: str, end: str) -> Iterator[Story]:
    """The story of an end at each step of the join in turn; the last is of one that comes after it."""
    number = 0
    while True:
        number += 1
        story = run(tell(number, ENDS[end], namespace))
        yield story
        if not story.at:
            assert number > 2, "a join has steps"
            return


everywhere = pytest.mark.parametrize("namespace", NAMESPACES)
however = pytest.mark.parametrize("end", ENDS)


@everywhere
@however
def test_it_leaves_nothing(namespace: str, end: str) -> None:
    """No membership, no presence entry, no interest, no task."""
    for story in stories(namespace, end):
        assert story.remains == {}, story


@everywhere
@however
def test_the_disconnect_hook_is_called_once(namespace: str, end: str) -> None:
    """However it ended."""
    for story in stories(namespace, end):
        assert story.disconnected == 1, story


@everywhere
@however
def test_the_unsubscribe_hook_is_called_once_for_each_that_was_in(namespace: str, end: str) -> None:
    """And not for one that never was."""
    for story in stories(namespace, end):
        assert story.left == story.joined, story


@pytest.mark.parametrize(
    "namespace",
    ["plain", "with presence", "with history"],
)
@however
def test_members_are_told_of_both_or_of_neither(namespace: str, end: str) -> None:
    """Somebody joined and left, in this order, or there is nothing to tell."""
    for story in stories(namespace, end):
        assert story.told in ([], ["member_joined", "member_left"]), story


@pytest.mark.parametrize("failing", ["subscribe $client:alice", "subscribe $user:ann"])
def test_one_that_is_not_let_in_leaves_nothing(failing: str) -> None:
    """The broker does not answer at the door."""

    async def scenario() -> None:
        hub, broker, stage = staged_hub()
        hub.on_connect(lambda _: Identity(user="ann"))
        async with hub.lifespan():
            stage.fail(failing)
            with pytest.raises(Refuse) as refused:
                await hub.connections.admit(ConnectRequest(client_id="alice", path="/ws/alice"))
            assert refused.value.status == 503
            await settled()
            assert broker.subscribed == {ALL}

    run(scenario())


@pytest.mark.parametrize(
    "waits_for",
    ["before subscribe $client:alice", "before subscribe $user:ann"],
)
def test_one_that_gives_up_at_the_door_leaves_nothing(waits_for: str) -> None:
    """The handshake took longer than its deadline."""

    async def scenario() -> None:
        hub, broker, stage = staged_hub()
        hub.on_connect(lambda _: Identity(user="ann"))
        async with hub.lifespan():
            knocking = asyncio.create_task(
                hub.connections.admit(ConnectRequest(client_id="alice", path="/ws/alice"))
            )
            stage.at_step = lambda step: knocking.cancel() if step == waits_for else None
            await asyncio.wait([knocking])
            assert knocking.cancelled()
            await settled()
            assert broker.subscribed == {ALL}

    run(scenario())


def test_one_that_was_let_in_and_did_not_come_leaves_nothing() -> None:
    """The transport withdraws it: for instance, the socket was gone when the answer was ready."""

    async def scenario() -> None:
        hub, broker, _ = staged_hub()
        hub.on_connect(lambda _: Identity(user="ann"))
        async with hub.lifespan():
            identity = await hub.connections.admit(ConnectRequest(client_id="alice", path="/ws/alice"))
            assert broker.subscribed == {ALL, "$client:alice", "$user:ann"}
            hub.connections.withdraw(identity)
            await settled()
            assert broker.subscribed == {ALL}
            assert hub.total_connections == 0

    run(scenario())


def test_all_that_a_connection_held_is_let_go_of() -> None:
    """In groups, on several connections of one user, in presence: in the end there is nothing."""

    async def scenario() -> None:
        hub, broker, _ = staged_hub()
        hub.on_connect(lambda _: Identity(user="ann"))
        async with hub.lifespan():
            clients = [await enter(hub, name) for name in ("phone", "phone", "tab")]
            for client in clients:
                for group in ("news", "sport", "a:b"):
                    await client.join(group)
            assert hub.groups() == {"news": 3, "sport": 3, "a:b": 3}
            assert hub.total_connections == 3
            for client in clients:
                client.vanish()
                assert client.connection not in hub.connections.of()
            assert hub.total_connections == 0
            assert hub.groups() == {}
            assert len(hub.registry) == 0
            await settled()
            assert broker.subscribed == {ALL}
            for group in ("news", "sport", "a:b"):
                assert await hub.presence(group) == {}

    run(scenario())


def test_the_last_word_counts_once() -> None:
    """A transport that reports the end again, or after a close, changes nothing."""

    async def scenario() -> None:
        hub, _, _ = staged_hub()
        ended: list[str] = []
        hub.on_disconnect(lambda session: ended.append(session.client_id))
        async with hub.lifespan():
            alice = await enter(hub, "alice")
            await alice.join("news")
            alice.vanish()
            alice.vanish()
            alice.connection.close(codes.SHUTDOWN)
            bob = await enter(hub, "bob")
            bob.connection.close(codes.FORCE_DISCONNECT)
            bob.vanish()
            await settled()
            assert ended == ["alice", "bob"]
            assert hub.total_connections == 0

    run(scenario())
