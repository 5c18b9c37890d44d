"""At the door: who a client is, whether it is let in, and how it is greeted."""

import asyncio
import contextlib
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from hubbub.hub import ConnectRequest, Hub, Identity, Refuse, SessionInfo

from .inprocess import a_hub, enter, run, settled


async def knock(hub: Hub, client_id: str | None = "alice", **fields: Any) -> Identity:
    """Ask to be let in, and do not come in after all; who one would have been."""
    admission = await hub.connections.admit(
        ConnectRequest(client_id=client_id, path=f"/ws/{client_id}", **fields)
    )
    hub.connections.withdraw(admission)
    return admission.identity


def refused(hub: Hub) -> float:
    """How many handshakes were turned away, by the metric."""
    return hub.metrics.registry.get_sample_value("hubbub_connections_refused_total") or 0


def test_without_a_hook_everybody_is_who_they_say() -> None:
    """The id of the path, or a UUID4 of our own."""

    async def scenario() -> None:
        hub = a_hub()
        async with hub.lifespan():
            assert (await knock(hub, "alice")).client_id == "alice"
            made = [(await knock(hub, None)).client_id for _ in range(2)]
            assert made[0] != made[1]
            assert all(uuid.UUID(id).version == 4 for id in made if id)

    run(scenario())


def test_the_greeting_comes_first_and_names_the_client() -> None:
    """With the time of day and how many are here."""

    async def scenario() -> None:
        hub = a_hub()
        async with hub.lifespan():
            first, second = await enter(hub, "alice"), await enter(hub, None)
            greeting = first.messages[0]
            assert greeting | {"timestamp": ""} == {
                "type": "connection_established",
                "client_id": "alice",
                "timestamp": "",
                "total_connections": 1,
            }
            at = datetime.fromisoformat(greeting["timestamp"])
            assert at.utcoffset() == timedelta(0)
            assert datetime.now(UTC) - at < timedelta(seconds=60)
            assert second.messages[0]["total_connections"] == 2
            assert uuid.UUID(second.messages[0]["client_id"])

    run(scenario())


def test_one_id_may_be_on_many_connections() -> None:
    """All of them are that client's."""

    async def scenario() -> None:
        hub = a_hub()
        async with hub.lifespan():
            tabs = [await enter(hub, "alice") for _ in range(3)]
            other = await enter(hub, "bob")
            await hub.notify("alice", {"n": 1})
            for tab in tabs:
                assert (await tab.hear())["type"] == "personal_notification"
            await other.settle()
            assert len(other.heard("personal_notification")) == 1  # the one of settling
            assert len({tab.connection.id for tab in tabs}) == 3

    run(scenario())


def test_a_hook_says_who_it_is() -> None:
    """User, client id and info; what the handshake says is before it."""

    async def scenario() -> None:
        hub = a_hub()
        asked: list[ConnectRequest] = []

        @hub.on_connect
        async def who(request: ConnectRequest) -> Identity:
            asked.append(request)
            return Identity(user="ann", client_id="ann-1", info={"role": "admin"})

        seen: list[SessionInfo] = []
        hub.on_disconnect(seen.append)
        async with hub.lifespan():
            alice = await enter(
                hub,
                "alice",
                headers={"cookie": "session=abc; theme=dark=er; broken", "user-agent": "test"},
                query={"lang": "de"},
                address="192.0.2.7",
            )
            assert alice.messages[0]["client_id"] == "ann-1"
            [request] = asked
            assert request.client_id == "alice"
            assert request.path == "/ws/alice"
            assert request.cookies == {"session": "abc", "theme": "dark=er"}
            assert request.query == {"lang": "de"}
            assert request.headers["user-agent"] == "test"
            assert request.address == "192.0.2.7"

            await alice.join("news")
            [(id, member)] = (await hub.presence("news")).items()
            assert id == alice.connection.id
            assert (member.client_id, member.user, bytes(member.info or b"")) == (
                "ann-1",
                "ann",
                b'{"role":"admin"}',
            )
            assert [c.id for c in hub.connections.of(user="ann")] == [id]
            await hub.publish("$user:ann", "hello")
            assert (await alice.hear("personal_notification"))["data"] == "hello"
            alice.vanish()
            await settled()
        assert seen == [
            SessionInfo(
                connection_id=id,
                client_id="ann-1",
                user="ann",
                info={"role": "admin"},
                address="192.0.2.7",
            )
        ]

    run(scenario())


def test_the_first_hook_that_knows_it_decides() -> None:
    """One that returns nothing leaves it to the next; when none knows it, it is who it says."""

    async def scenario() -> None:
        hub = a_hub()
        asked: list[str] = []

        @hub.on_connect
        def shy(request: ConnectRequest) -> None:
            asked.append("shy")

        @hub.on_connect
        async def knowing(request: ConnectRequest) -> Identity | None:
            asked.append("knowing")
            return Identity(user="ann") if request.client_id == "alice" else None

        @hub.on_connect
        def last(request: ConnectRequest) -> None:
            asked.append("last")

        async with hub.lifespan():
            assert (await knock(hub, "alice")).user == "ann"
            assert asked == ["shy", "knowing"]
            asked.clear()
            assert await knock(hub, "bob") == Identity(client_id="bob")
            assert asked == ["shy", "knowing", "last"]

    run(scenario())


def test_a_hook_says_no() -> None:
    """With the status and the reason it gives; false is a plain no."""

    async def scenario() -> None:
        hub = a_hub()

        @hub.on_connect
        def who(request: ConnectRequest) -> bool:
            if request.client_id == "mallory":
                raise Refuse("go away", status=451)
            return False

        async with hub.lifespan():
            with pytest.raises(Refuse) as no:
                await knock(hub, "mallory")
            assert (no.value.status, no.value.reason) == (451, "go away")
            with pytest.raises(Refuse) as no:
                await knock(hub, "alice")
            assert (no.value.status, no.value.reason) == (403, "refused")
            assert refused(hub) == 2
            assert hub.total_connections == 0
            assert len(hub.interest) == 1

    run(scenario())


@pytest.mark.parametrize("how", ["raises", "takes too long"])
def test_a_hook_that_fails_lets_nobody_in(how: str, caplog: pytest.LogCaptureFixture) -> None:
    """It is logged; the client learns nothing of why."""

    async def scenario() -> None:
        hub = a_hub(hook_timeout=0.02)

        @hub.on_connect
        async def who(request: ConnectRequest) -> None:
            if how == "raises":
                raise LookupError("the secret of the database")
            await asyncio.Event().wait()

        async with hub.lifespan():
            with pytest.raises(Refuse) as no:
                await knock(hub)
            assert no.value.status == (500 if how == "raises" else 503)
            assert "secret" not in no.value.reason
            assert refused(hub) == 1

    run(scenario())
    [record] = caplog.records
    assert record.levelname == "ERROR"
    assert record.exc_info is not None
    assert ("raised" if how == "raises" else "longer than 0.02 seconds") in record.getMessage()


@pytest.mark.parametrize("id", ["", "tab\tbed", "\x7f", "x" * 256, "ä" * 128, "\ud800"])
@pytest.mark.parametrize("from_hook", [False, True], ids=["of the path", "of a hook"])
def test_an_illegal_client_id_is_turned_away(id: str, from_hook: bool) -> None:
    """It would be a channel's name."""

    async def scenario() -> None:
        hub = a_hub()
        if from_hook:
            hub.on_connect(lambda _: Identity(client_id=id))
        async with hub.lifespan():
            if from_hook and not id:
                assert (await knock(hub, "alice")).client_id == "alice"
                return
            with pytest.raises(Refuse, match="client_id") as no:
                await knock(hub, "alice" if from_hook else id)
            assert no.value.status == 400
            assert refused(hub) == 1

    run(scenario())


@pytest.mark.parametrize("user", ["tab\tbed", "x" * 256])
def test_an_illegal_user_is_turned_away(user: str) -> None:
    """It would be a channel's name, too."""

    async def scenario() -> None:
        hub = a_hub()
        hub.on_connect(lambda _: Identity(user=user))
        async with hub.lifespan():
            outcome = None
            with contextlib.suppress(Refuse):
                outcome = await knock(hub)
            assert outcome is None

    run(scenario())


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_hub_that_does_not_run_lets_nobody_in(when: str) -> None:
    """Come back later, says the status."""

    async def scenario() -> None:
        hub = a_hub()
        if when == "after":
            async with hub.lifespan():
                pass
        with pytest.raises(Refuse, match="not running") as no:
            await knock(hub)
        assert no.value.status == 503

    run(scenario())


def test_whoever_comes_in_while_the_hub_stops_is_closed() -> None:
    """Its handshake was under way when the good-byes were said."""

    async def scenario() -> None:
        hub = a_hub()
        knocked, decided = asyncio.Event(), asyncio.Event()

        @hub.on_connect
        async def who(request: ConnectRequest) -> None:
            knocked.set()
            await decided.wait()

        entered = []

        async def come_in() -> None:
            with contextlib.suppress(Refuse):
                entered.append(await enter(hub))

        async with hub.lifespan():
            hub.spawn(come_in())
            await knocked.wait()
            asyncio.get_running_loop().call_soon(decided.set)
        assert all(client.closed is not None for client in entered)
        assert hub.total_connections == 0

    run(scenario())
