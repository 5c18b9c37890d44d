"""Metrics: the contract's three by their exact names, the others beside them, and values that are true."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from hubbub.core import codes
from hubbub.core.channels import Namespace, SlowPolicy
from hubbub.core.codes import CloseReason
from hubbub.core.fanout import BUDGET
from hubbub.hub import Identity, Refuse

from ..hub.inprocess import a_hub, enter, quick, run, settled, turns, until
from .sites import Api, api_of

Labels = dict[str, str]

KINDS = {
    "websocket_connections_total": "gauge",
    "websocket_messages_sent": "counter",
    "websocket_message_processing_seconds": "histogram",
    "hubbub_publications": "counter",
    "hubbub_sent_bytes": "counter",
    "hubbub_dropped": "counter",
    "hubbub_connections_opened": "counter",
    "hubbub_connections_closed": "counter",
    "hubbub_connections_refused": "counter",
    "hubbub_limited": "counter",
    "hubbub_denied": "counter",
    "hubbub_bad_tokens": "counter",
    "hubbub_error_answers": "counter",
    "hubbub_fanout_seconds": "histogram",
    "hubbub_event_loop_lag_seconds": "histogram",
    "hubbub_broker_garbage": "counter",
    "hubbub_healed": "counter",
    "hubbub_gaps": "counter",
    "hubbub_channels": "gauge",
    "hubbub_groups": "gauge",
    "hubbub_subscriptions": "gauge",
    "hubbub_backlog_bytes": "gauge",
}


class Scrape:
    """One look at `/metrics`."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.families = {family.name: family for family in text_string_to_metric_families(text)}

    def value(self, name: str, **labels: str) -> float:
        """The value of one sample; 0 where it is not there."""
        found = [sample.value for sample in self.samples(name) if sample.labels == labels]
        assert len(found) <= 1
        return found[0] if found else 0.0

    def samples(self, name: str) -> list[Any]:
        """Every sample of that name."""
        return [s for family in self.families.values() for s in family.samples if s.name == name]


async def scrape(api: Api) -> Scrape:
    """Look at the metrics now."""
    answer = await api.http.get("/metrics")
    assert answer.status_code == 200
    return Scrape(answer.text)


class Moved:
    """By how much samples have moved since."""

    def __init__(self, before: Scrape) -> None:
        self._before = before
        self._after = before

    def look(self, after: Scrape) -> None:
        """Take the second look."""
        self._after = after

    def by(self, name: str, **labels: str) -> float:
        """How much one sample has moved."""
        return self._after.value(name, **labels) - self._before.value(name, **labels)

    def all(self, name: str) -> dict[str, float]:
        """By value of its one label, every sample that has moved."""
        moved = {}
        for sample in self._after.samples(name):
            [value] = sample.labels.values()
            by = self.by(name, **sample.labels)
            if by:
                moved[value] = by
        return moved


@asynccontextmanager
async def watching(api: Api) -> AsyncIterator[Moved]:
    """What moves until all of this is done."""
    moved = Moved(await scrape(api))
    yield moved
    await settled()
    await until(lambda: not api.hub.deliveries.backlog)
    await turns()
    moved.look(await scrape(api))


def test_the_exposition_parses_and_is_whole() -> None:
    """Every metric is there before anything has happened, with a help text."""

    async def scenario() -> None:
        async with api_of() as api:
            families = (await scrape(api)).families
            described = {name: family.type for name, family in families.items() if "_created" not in name}
            assert described == KINDS
            assert all(family.documentation for family in families.values())

    run(scenario())


def test_the_contracts_three_have_their_exact_names() -> None:
    """As they are scraped."""

    async def scenario() -> None:
        async with api_of() as api:
            alice = await enter(api.hub)
            await alice.join("news")
            await api.hub.broadcast(1)
            await alice.hear("broadcast_message")
            text = (await scrape(api)).text
            for line in (
                "# TYPE websocket_connections_total gauge",
                "websocket_connections_total 1.0",
                "# TYPE websocket_messages_sent_total counter",
                'websocket_messages_sent_total{message_type="broadcast_message"} 1.0',
                "# TYPE websocket_message_processing_seconds histogram",
                "websocket_message_processing_seconds_count 1.0",
            ):
                assert line in text.splitlines()

    run(scenario())


def test_the_contracts_buckets() -> None:
    """Exactly these."""

    async def scenario() -> None:
        async with api_of() as api:
            buckets = (await scrape(api)).samples("websocket_message_processing_seconds_bucket")
            assert [float(sample.labels["le"]) for sample in buckets] == [
                0.001,
                0.005,
                0.01,
                0.05,
                0.1,
                0.5,
                1,
                5,
                float("inf"),
            ]

    run(scenario())


def test_connections_and_memberships() -> None:
    """Gauges follow what is there, down to nothing."""

    async def scenario() -> None:
        async with api_of() as api:

            async def gauges() -> tuple[float, ...]:
                look = await scrape(api)
                names = (
                    "websocket_connections_total",
                    "hubbub_groups",
                    "hubbub_subscriptions",
                    "hubbub_channels",
                )
                return tuple(look.value(name) for name in names)

            assert await gauges() == (0, 0, 0, 0)
            clients = [await enter(api.hub, name) for name in ("alice", "alice", "bob")]
            assert await gauges() == (3, 0, 0, 3)  # $all and two clients' own
            for client in clients:
                await client.join("news")
            await clients[0].join("sport")
            assert await gauges() == (3, 2, 4, 5)
            for client in clients:
                client.vanish()
            assert await gauges() == (0, 0, 0, 0)

    run(scenario())


def test_deliveries_by_message_type() -> None:
    """One for each connection that is given one, whatever the way."""

    async def scenario() -> None:
        async with api_of(namespaces={"told": Namespace(join_leave=True)}) as api:
            hub = api.hub
            alice, twin, bob = [await enter(hub, name) for name in ("alice", "alice", "bob")]
            async with watching(api) as moved:
                for client in (alice, bob):
                    await client.join("news")
                await hub.broadcast(1)
                await hub.notify("alice", 1)
                await hub.publish("news", 1)
                await hub.publish("nobody", 1)
                alice.say("chat_message", group_name="news", message="hi")
                await alice.ask("publish", group_name="news", data=1)
                await alice.ask("ping")
                await alice.ask("nonsense")
                await alice.ask("presence", group_name="news")
                await alice.ask("presence_stats", group_name="news")
                await bob.ask("leave_group", group_name="news")
                await hub.unsubscribe("news", client="alice")
                await bob.join("told:1")
                await twin.join("told:1")
                await settled()
                await twin.ask("leave_group", group_name="told:1")
            assert moved.all("websocket_messages_sent_total") == {
                "group_joined": 4,
                "broadcast_message": 3,
                "personal_notification": 2,
                "group_message": 4,
                "chat_message": 2,
                "published": 1,
                "pong": 1,
                "error": 1,
                "presence": 1,
                "presence_stats": 1,
                "group_left": 2,
                "group_removed": 1,
                "member_joined": 3,  # each hears of itself too
                "member_left": 1,
            }
            given = [m for client in (alice, twin, bob) for m in client.messages]
            counted = (await scrape(api)).samples("websocket_messages_sent_total")
            assert sum(sample.value for sample in counted) == len(given)

    run(scenario())


def test_history_and_recovery_are_counted() -> None:
    """A message that was missed is delivered as what it is."""

    async def scenario() -> None:
        async with api_of(history_size=10) as api:
            alice = await enter(api.hub)
            for n in range(5):
                await api.hub.publish("news", n)
            epoch = (await api.hub.history("news")).position.epoch
            async with watching(api) as moved:
                await alice.join("news", recover={"epoch": epoch, "offset": 2})
                await alice.ask("history", group_name="news", limit=2)
            assert moved.all("websocket_messages_sent_total") == {
                "group_joined": 1,
                "group_message": 3,
                "history": 1,
            }

    run(scenario())


def test_publications_and_bytes() -> None:
    """Accepted once each, whoever listens; bytes are those that went out."""

    async def scenario() -> None:
        async with api_of() as api:
            hub = api.hub
            clients = [await enter(hub, name) for name in ("alice", "bob", "carol")]
            for client in clients[:2]:
                await client.join("news")
            before = [sum(map(len, client.writes)) for client in clients]
            async with watching(api) as moved:
                for size in (1, 200, 70_000):
                    await hub.publish("news", "x" * size)
                await hub.publish("nobody", 1)
                await hub.broadcast({"n": 1})
                clients[0].say("chat_message", group_name="news", message="hi")
            assert moved.all("hubbub_publications_total") == {"message": 5, "chat": 1}
            written = sum(sum(map(len, client.writes)) for client in clients) - sum(before)
            assert moved.by("hubbub_sent_bytes_total") == written
            assert moved.by("hubbub_fanout_seconds_count") >= 2

    run(scenario())


def test_one_that_joins_or_leaves_meanwhile_is_not_counted() -> None:
    """Deliveries are those that were made."""

    async def scenario() -> None:
        async with api_of(presence=False, announce_disconnects=False) as api:
            hub = api.hub
            clients = [await enter(hub, f"c{n}") for n in range(BUDGET + 10)]
            for client in clients[:-1]:
                await client.join("news")
            async with watching(api) as moved:
                await hub.publish("news", "x")
                hub.registry.join(clients[-1].connection, "news")
                clients[3].vanish()  # before its turn
                await turns(1)  # the first have been served
                clients[-2].vanish()  # before its turn, too
            given = sum(len(client.heard("group_message")) for client in clients)
            assert given == len(clients) - 3
            assert moved.all("websocket_messages_sent_total") == {"group_message": given}

    run(scenario())


@pytest.mark.parametrize("policy", SlowPolicy)
def test_drops_are_counted_by_policy(policy: SlowPolicy) -> None:
    """What a slow client does not get, and that it is told so."""

    async def scenario() -> None:
        async with api_of(slow_policy=policy, outbox_bytes=1000) as api:
            hub = api.hub
            slow, quick_one = await enter(hub, "slow"), await enter(hub, "quick")
            for client in (slow, quick_one):
                await client.join("news")
            slow.connection.pause_writing()
            async with watching(api) as moved:
                for n in range(10):
                    await hub.publish("news", f"{n:0200}")
                    await quick_one.hear("group_message")
            dropped = moved.all("hubbub_dropped_total")
            assert list(dropped) == [policy.value]
            if policy is SlowPolicy.DISCONNECT:
                assert slow.closed is not None
                assert slow.closed.code == codes.SLOW.code
                assert moved.all("hubbub_connections_closed_total") == {"3008": 1}
                return
            slow.connection.resume_writing()
            await slow.settle()
            [told] = slow.heard("messages_dropped")
            assert told["count"] == dropped[policy.value]
            assert len(slow.heard("group_message")) + told["count"] == 10

    run(scenario())


def test_what_was_dropped_is_not_delivered() -> None:
    """What was given to connections, less what was dropped for slow ones, is what they got."""

    async def scenario() -> None:
        async with api_of(slow_policy="latest") as api:
            slow = await enter(api.hub, "slow")
            await slow.join("news")
            slow.connection.pause_writing()
            async with watching(api) as moved:
                for n in range(10):
                    await api.hub.publish("news", n)
                    await turns()
                slow.connection.resume_writing()
            dropped = moved.all("hubbub_dropped_total")["latest"]
            sent = moved.all("websocket_messages_sent_total")["group_message"]
            assert (sent, dropped) == (10, 9)
            assert len(slow.heard("group_message")) == sent - dropped

    run(scenario())


@pytest.mark.parametrize("message_type", ["ping", "disconnect", "messages_dropped"])
def test_what_the_server_says_by_itself_is_counted(message_type: str) -> None:
    """As everything else that is given to a connection."""

    async def scenario() -> None:
        async with api_of(slow_policy="latest", **quick()) as api:
            alice, bob = await enter(api.hub, "alice"), await enter(api.hub, "bob")
            await alice.join("news")
            async with watching(api) as moved:
                alice.connection.pause_writing()
                for n in range(2):
                    await api.hub.publish("news", n)
                    await turns()
                alice.connection.resume_writing()
                await alice.hear("ping")
                await api.hub.disconnect(client="alice")
            given = alice.heard(message_type) + bob.heard(message_type)
            assert given
            assert moved.all("websocket_messages_sent_total").get(message_type) == len(given)

    run(scenario())


def test_the_ends_of_connections_by_code() -> None:
    """Whoever ended them; every code that we do not know shares one label."""

    async def scenario() -> None:
        async with api_of() as api:
            hub = api.hub
            clients = {code: await enter(hub, f"c{code}") for code in range(1000, 5000, 7)}
            await enter(hub, "witness")
            async with watching(api) as moved:
                for code, client in clients.items():
                    client.vanish(CloseReason(code, ""))
                (await enter(hub)).vanish()
                (await enter(hub)).connection.close(codes.FORCE_DISCONNECT)
                await enter(hub)
                await hub.disconnect(client="alice", reason=CloseReason(4321, "enough"))
            closed = moved.all("hubbub_connections_closed_total")
            assert sum(closed.values()) == len(clients) + 3
            assert closed["1006"] == 1
            assert closed["3503"] == 1
            assert closed["other"] > len(clients) / 2
            assert moved.by("hubbub_connections_opened_total") == 3
            known = {str(reason.code) for reason in codes.CLOSE_REASONS} | {str(c) for c in range(1000, 1016)}
            assert set(closed) <= known | {"other"}

    run(scenario())


def test_labels_are_bounded_whatever_clients_do() -> None:
    """The number of series does not depend on what is sent, said or named."""

    async def scenario() -> None:
        async with api_of(announce_disconnects=False) as api:
            hub = api.hub

            async def go_wild(seed: int) -> None:
                client = await enter(hub, f"client{seed}")
                await client.join(f"group{seed}")
                await client.ask(f"type{seed}")
                await client.ask("rpc", method=f"method{seed}")
                await client.ask("chat_message", group_name=f"group{seed}", message=seed)
                await api.answer("publish", channel=f"channel{seed}", data=seed, key=f"key{seed}")
                await api.http.post(f"/api/method{seed}", json={})
                await api.http.post(f"/notify/somebody{seed}", json={})
                client.vanish(CloseReason(4000 + seed, f"reason{seed}"))
                await settled()

            await go_wild(0)
            series = _series((await scrape(api)).text)
            for seed in range(1, 30):
                await go_wild(seed)
            assert _series((await scrape(api)).text) == series

    run(scenario())


def _series(text: str) -> set[str]:
    return {line.rpartition(" ")[0] for line in text.splitlines() if not line.startswith("#")}


def test_refusals_and_errors() -> None:
    """Handshakes turned away, and error answers by code."""

    async def scenario() -> None:
        hub = a_hub()

        @hub.on_connect
        def who(request: Any) -> Identity | None:
            if request.client_id == "mallory":
                raise Refuse("go away")
            return None

        async with api_of(hub) as api:
            alice = await enter(hub)
            async with watching(api) as moved:
                for client_id in ("mallory", "tab\tbed"):
                    with pytest.raises(Refuse):
                        await enter(hub, client_id)
                alice.connection.receive(b"no JSON")
                await alice.ask("nonsense")
                await alice.ask("rpc", method="nonsense")
                await alice.ask("history", group_name="news")
                await alice.join("$all")
            assert moved.by("hubbub_connections_refused_total") == 2
            assert moved.all("hubbub_error_answers_total") == {"103": 1, "104": 2, "107": 2}
            assert moved.by("hubbub_connections_opened_total") == 0

    run(scenario())


def test_processing_is_timed_to_its_end() -> None:
    """One observation for each message of a client, with the time that a hook has taken."""

    async def scenario() -> None:
        hub = a_hub()

        @hub.rpc("slow")
        async def slow(session: Any) -> None:
            began = hub.now()
            await until(lambda: hub.now() > began + 0.06)

        async with api_of(hub) as api:
            alice = await enter(hub)
            async with watching(api) as moved:
                await alice.ask("ping")
                await alice.join("news")
                await alice.ask("rpc", method="slow")
                alice.say("pong")
                alice.connection.receive(b"no JSON")
            name = "websocket_message_processing_seconds"
            assert moved.by(f"{name}_count") == 5
            assert moved.by(f"{name}_bucket", le="0.05") <= 4
            assert moved.by(f"{name}_sum") >= 0.06

    run(scenario())


def test_two_hubs_do_not_mix() -> None:
    """Each counts its own, in one process."""

    async def scenario() -> None:
        async with api_of() as one, api_of() as other:
            await enter(one.hub)
            assert (await scrape(one)).value("websocket_connections_total") == 1
            assert (await scrape(other)).value("websocket_connections_total") == 0

    run(scenario())
