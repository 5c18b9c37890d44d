"""The backend is told what happens: in order, signed, until it says that it has it, and within bounds."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest

from hubbub.hub import Hub, SessionInfo
from hubbub.webhooks import WebhookOptions, Webhooks, attach_webhooks

from ..hub.inprocess import a_hub, enter, run, turns, until
from .backend import SECRET, Backend, Reply, Request, answer, asking, counted, die, hang, yes


def ids(events: list[dict[str, Any]]) -> list[str]:
    """What names them."""
    return [event["id"] for event in events]


def attached(backend: Backend, **options: Any) -> tuple[Hub, Webhooks]:
    """A hub that tells this backend, before it is started."""
    hub = a_hub()
    webhooks = attach_webhooks(
        hub, WebhookOptions(**{"events": backend.url("events"), "secrets": (SECRET,)} | options)
    )
    assert webhooks is not None
    return hub, webhooks


def gone(webhooks: Webhooks, number: int, *, info: Any = None) -> None:
    """So many clients have left."""
    for n in range(number):
        session = SessionInfo(connection_id=f"x-{n}", client_id=f"c{n}", user="u", info=info)
        webhooks.notifications.disconnected(session)


def test_a_client_that_leaves_is_told_of() -> None:
    """Who it was, when, and on which node; signed."""

    async def scenario() -> None:
        async with asking("events") as (hub, backend):
            client = await enter(hub, "alice", address="192.0.2.7")
            connection = client.connection.id
            client.vanish()
            await until(lambda: backend.events("disconnect"))
            [event] = backend.events("disconnect")
            assert event["client"] == connection
            assert (event["client_id"], event["address"]) == ("alice", "192.0.2.7")
            assert event["time"].startswith(time.strftime("%Y-", time.gmtime()))
            request = backend.asked("events")[-1]
            assert request.json["node"] == hub.node_id
            assert request.is_signed(now=time.time())
            await until(lambda: counted(hub, "events_waiting") == 0)
            assert counted(hub, "events_delivered_total") >= 1

    run(scenario())


def test_connections_and_channels_are_told_of() -> None:
    """In the order of their happening."""

    async def scenario() -> None:
        async with asking("events") as (hub, backend):
            alice, bob = await enter(hub, "alice"), await enter(hub, "bob")
            await alice.join("news")
            await bob.join("news")
            await until(lambda: backend.events("occupied"))
            alice.vanish()
            bob.vanish()
            await until(lambda: backend.events("vacated"))
            await until(lambda: len(backend.events("disconnect")) == 2)
            told = [(e["type"], e.get("client_id") or e.get("channel")) for e in backend.events()]
            assert told[:3] == [("connect", "alice"), ("connect", "bob"), ("occupied", "news")]
            assert set(told[3:]) == {("disconnect", "alice"), ("disconnect", "bob"), ("vacated", "news")}
            assert len(told) == 6

    run(scenario())


def test_a_channel_is_told_of_as_often_as_it_changes() -> None:
    """The last word is how it is."""

    async def scenario() -> None:
        async with asking("events") as (hub, backend):
            client = await enter(hub)
            for n in range(1, 4):
                await client.join("news")
                await until(lambda n=n: len(backend.events("occupied")) == n)
                await client.ask("leave_group", group_name="news")
                await until(lambda n=n: len(backend.events("vacated")) == n)
            told = [event["type"] for event in backend.events("occupied", "vacated")]
            assert told == ["occupied", "vacated"] * 3
            assert {event["channel"] for event in backend.events("occupied", "vacated")} == {"news"}

    run(scenario())


def test_what_waits_goes_out_in_batches() -> None:
    """In order, each with an id of its own."""

    async def scenario() -> None:
        async with Backend() as backend:
            hub, webhooks = attached(backend)
            async with hub.lifespan():
                gone(webhooks, 250)
                await until(lambda: len(backend.events()) == 250)
            assert [len(r.json["events"]) for r in backend.asked("events")] == [100, 100, 50]
            assert [event["client_id"] for event in backend.events()] == [f"c{n}" for n in range(250)]
            assert len(set(ids(backend.events()))) == 250

    run(scenario())


def test_a_batch_is_no_larger_than_is_good() -> None:
    """Whatever is said of its clients."""

    async def scenario() -> None:
        async with Backend() as backend:
            hub, webhooks = attached(backend)
            async with hub.lifespan():
                gone(webhooks, 8, info="x" * 100_000)
                await until(lambda: len(backend.events()) == 8)
            assert all(len(request.body) < 300_000 for request in backend.requests)

    run(scenario())


def test_they_outlive_a_backend_that_restarts() -> None:
    """What was told while it was away comes later, with the ids it had."""

    async def scenario() -> None:
        async with Backend() as backend:
            hub, webhooks = attached(backend)
            async with hub.lifespan():
                backend.on("events", answer(500))
                gone(webhooks, 3)
                await until(lambda: len(backend.asked("events")) == 1)
                first = ids(backend.events())
                await backend.stop()
                gone(webhooks, 2)
                backend.requests.clear()
                backend.on("events", answer(204, body=b""))
                await backend.start()
                await until(lambda: counted(hub, "events_waiting") == 0)
                assert ids(backend.events())[: len(first)] == first
                assert [event["client_id"] for event in backend.events()] == ["c0", "c1", "c2", "c0", "c1"]
                assert counted(hub, "events_delivered_total") == 5

    run(scenario())


@pytest.mark.parametrize("behaviour", [answer(500), answer(404), answer(302), answer(429), die])
def test_they_are_told_again_until_they_are_taken(behaviour: Any) -> None:
    """Whatever went wrong; what arrives twice has one id."""

    async def scenario() -> None:
        async with Backend() as backend:
            hub, webhooks = attached(backend)
            async with hub.lifespan():
                backend.on("events", behaviour)
                gone(webhooks, 1)
                await until(lambda: len(backend.asked("events")) >= 2)
                backend.on("events", yes())
                await until(lambda: counted(hub, "events_delivered_total") == 1)
            if behaviour is not die:
                assert len(backend.events()) >= 3
            assert len(set(ids(backend.events()))) == 1

    run(scenario())


@pytest.mark.parametrize("status", [400, 413, 422])
def test_what_is_never_taken_holds_up_nobody(status: int) -> None:
    """It is dropped, counted and logged; what comes behind it is delivered."""

    async def scenario() -> None:
        async with Backend() as backend:
            hub, webhooks = attached(backend)

            async def picky(request: Request, reply: Reply) -> None:
                bad = any(event.get("user") == "u" for event in request.json["events"])
                await answer(status if bad else 200)(request, reply)

            backend.on("events", picky)
            async with hub.lifespan():
                gone(webhooks, 2)
                await until(lambda: counted(hub, "events_dropped_total", reason="rejected") == 2)
                webhooks.notifications.disconnected(SessionInfo(connection_id="x", client_id="fine"))
                await until(lambda: counted(hub, "events_delivered_total") == 1)

    run(scenario())


def test_as_many_wait_as_there_is_room_for(caplog: pytest.LogCaptureFixture) -> None:
    """The rest is dropped, counted, and logged in a line."""

    async def scenario(bounds: dict[str, int], most: Callable[[int], bool]) -> None:
        async with Backend() as backend:
            hub, webhooks = attached(backend, drain_timeout=0.01, **bounds)
            backend.on("events", hang)
            async with hub.lifespan():
                gone(webhooks, 100)
                waiting = int(counted(hub, "events_waiting"))
                assert most(waiting)
                assert counted(hub, "events_dropped_total", reason="full") == 100 - waiting
            # At the end there is no time for what waits.
            assert counted(hub, "events_dropped_total", reason="shutdown") == waiting
            assert counted(hub, "events_waiting") == 0

    for bounds, most in (
        ({"max_events": 30}, lambda waiting: waiting == 30),
        ({"max_event_bytes": 5000}, lambda waiting: 10 < waiting < 50),
    ):
        caplog.clear()
        run(scenario(bounds, most))
        assert len([r for r in caplog.records if "too many wait" in r.getMessage()]) == 1


def test_what_is_too_old_is_dropped() -> None:
    """Nobody wants to know it any more, and what is young is not held up by it."""

    async def scenario() -> None:
        async with Backend() as backend:
            hub, webhooks = attached(backend, patience=0.05)
            backend.on("events", answer(503))
            async with hub.lifespan():
                gone(webhooks, 3)
                await until(lambda: counted(hub, "events_dropped_total", reason="expired") == 3)
                backend.on("events", yes())
                gone(webhooks, 1)
                await until(lambda: counted(hub, "events_delivered_total") == 1)

    run(scenario())


def test_at_the_end_what_waits_is_delivered() -> None:
    """Also those who are sent away then."""

    async def scenario() -> None:
        async with Backend() as backend:
            hub, webhooks = attached(backend)
            backend.on("events", answer(500))
            async with hub.lifespan():
                for n in range(150):
                    await enter(hub, f"c{n}")
                gone(webhooks, 1)
                await until(lambda: backend.asked("events"))
                backend.on("events", yes())
            told = {event["client_id"] for event in backend.events("disconnect")}
            assert told == {f"c{n}" for n in range(150)}
            assert counted(hub, "events_dropped_total", reason="shutdown") == 0

    run(scenario())


def test_a_backend_that_hangs_does_not_hold_up_the_end() -> None:
    """The hub stops in bounded time, and leaves no task behind."""

    async def scenario() -> None:
        async with Backend() as backend:
            hub, webhooks = attached(backend, drain_timeout=0.1)
            backend.on("events", hang)
            before = asyncio.all_tasks()
            async with hub.lifespan():
                gone(webhooks, 10)
                await until(lambda: backend.at_once)
            await backend.stop()
            await turns()
            assert asyncio.all_tasks() <= before
            # After the end nothing is remembered for ever either.
            gone(webhooks, 1)
            assert len(webhooks.notifications) == 0

    run(scenario())


def test_a_hub_starts_and_stops_more_than_once() -> None:
    """With its webhooks."""

    async def scenario() -> None:
        async with Backend() as backend:
            hub, _ = attached(backend, connect=backend.url("connect"))
            for n in range(2):
                async with hub.lifespan():
                    await enter(hub, f"c{n}")
            assert [request.json["client_id"] for request in backend.asked("connect")] == ["c0", "c1"]
            assert [event["client_id"] for event in backend.events("disconnect")] == ["c0", "c1"]

    run(scenario())
