"""Clients that leave are announced to those who stay, and a storm of them costs few announcements."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from hubbub.core import departures

from .inprocess import Client, JsonMessage, enter, quick, run, running, turns, until

INTERVAL = 0.15
"""Seconds between two announcements, in these tests."""


@pytest.fixture(autouse=True)
def _hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(departures, "INTERVAL", INTERVAL)


def announced(client: Client) -> list[JsonMessage]:
    """Every announcement that a client was given."""
    return client.heard("system_notification")


def ids_of(announcements: list[JsonMessage]) -> list[str]:
    """The client ids of announcements, in order."""
    return [
        id for each in announcements for id in each["data"].get("client_ids", [each["data"]["client_id"]])
    ]


def test_the_last_connection_of_a_client_is_announced() -> None:
    """As the contract has it, and not the ones before it."""

    async def scenario() -> None:
        async with running(**quick()) as hub:
            witness = await enter(hub, "witness")
            tabs = [await enter(hub, "alice") for _ in range(2)]
            other = await enter(hub, "bob")
            tabs[0].vanish()
            other.vanish()
            notification = await witness.hear("system_notification")
            assert ids_of([notification]) == ["bob"]
            tabs[1].vanish()
            notification = await witness.hear("system_notification")
            data = notification["data"]
            assert notification | {"timestamp": "", "data": ""} == {
                "type": "system_notification",
                "timestamp": "",
                "data": "",
            }
            assert data | {"timestamp": ""} == {
                "event": "client_disconnected",
                "client_id": "alice",
                "timestamp": "",
            }
            for timestamp in (data["timestamp"], notification["timestamp"]):
                assert datetime.fromisoformat(timestamp).utcoffset() == timedelta(0)

    run(scenario())


def test_a_storm_is_one_announcement() -> None:
    """It lists the ids; the next one comes an interval later."""

    async def scenario() -> None:
        async with running(**quick()) as hub:
            witness = await enter(hub, "witness")
            first = [await enter(hub, f"first{n}") for n in range(100)]
            second = [await enter(hub, f"second{n}") for n in range(100)]
            for client in first:
                client.vanish()
            await until(lambda: announced(witness))
            for client in second:
                client.vanish()
            await until(lambda: len(announced(witness)) > 1)
            assert len(announced(witness)) == 2
            times = [datetime.fromisoformat(each["timestamp"]) for each in announced(witness)]
            # Each was taken a little before it got its timestamp, and not always as little.
            assert times[1] - times[0] > timedelta(seconds=INTERVAL * 0.5)
            assert sorted(ids_of(announced(witness))) == sorted(
                f"{name}{n}" for name in ("first", "second") for n in range(100)
            )
            assert announced(witness)[0]["data"]["client_id"] == "first0"

    run(scenario())


def test_a_great_storm_is_told_in_portions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everybody is named, up to a bound; past it they are counted."""
    monkeypatch.setattr(departures, "LISTED", 10)
    monkeypatch.setattr(departures, "REMEMBERED", 25)
    monkeypatch.setattr(departures, "INTERVAL", 0.01)

    async def scenario() -> None:
        async with running(**quick()) as hub:
            witness = await enter(hub, "witness")
            leavers = [await enter(hub, f"c{n}") for n in range(40)]
            for client in leavers:
                client.vanish()
            await until(lambda: len(announced(witness)) == 3)
            datas: list[dict[str, Any]] = [each["data"] for each in announced(witness)]
            assert [len(data["client_ids"]) for data in datas] == [10, 10, 5]
            assert sum(data["unnamed"] for data in datas) == 15
            assert ids_of(announced(witness)) == [f"c{n}" for n in range(25)]

    run(scenario())


def test_deliveries_stay_few_when_all_leave() -> None:
    """Each of a hundred leavers costs the others nothing: all of them share one message."""

    async def scenario() -> None:
        async with running(**quick()) as hub:
            stayers = [await enter(hub, f"stays{n}") for n in range(20)]
            leavers = [await enter(hub, f"leaves{n}") for n in range(100)]
            for client in leavers:
                client.vanish()
            await until(lambda: all(announced(client) for client in stayers))
            sent = hub.metrics.registry.get_sample_value(
                "websocket_messages_sent_total", {"message_type": "system_notification"}
            )
            assert sent == len(stayers)

    run(scenario())


def test_it_can_be_switched_off() -> None:
    """Then nobody is told."""

    async def scenario() -> None:
        async with running(**quick(), announce_disconnects=False) as hub:
            witness, alice = await enter(hub, "witness"), await enter(hub, "alice")
            alice.vanish()
            beats = _beats(hub)
            await until(lambda: _beats(hub) > beats + 3)
            await turns()
            assert not announced(witness)

    run(scenario())


def test_whoever_comes_later_is_not_told_of_those_who_left_unseen() -> None:
    """The last to leave leaves nobody who could be told."""

    async def scenario() -> None:
        async with running(**quick()) as hub:
            alice = await enter(hub, "alice")
            alice.vanish()
            beats = _beats(hub)
            await until(lambda: _beats(hub) > beats + 1)
            witness = await enter(hub, "witness")
            beats = _beats(hub)
            await until(lambda: _beats(hub) > beats + 3)
            assert not announced(witness)

    run(scenario())


def _beats(hub: Any) -> float:
    """How often the hub has kept house."""
    return hub.metrics.registry.get_sample_value("hubbub_event_loop_lag_seconds_count") or 0
