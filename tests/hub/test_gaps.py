"""What is lost between the broker and this node: had again from the history, or said aloud."""

from typing import Any

import pytest

from hubbub.core.channels import Namespace
from hubbub.core.messages import Kind, Publication
from hubbub.hub import Hub

from .histories import LossyBroker, Reader, a_hub_over, a_publication, follow
from .inprocess import Client, enter, quick, run, settled, turns, until
from .staged import staged_hub


def a_lossy_hub(**settings: Any) -> tuple[Hub, LossyBroker]:
    """A hub whose deliveries a test can lose, and its broker."""
    broker = LossyBroker()
    settings = {"history_size": 100, "announce_disconnects": False} | settings
    return a_hub_over(broker, **settings), broker


async def members_of(hub: Hub, *groups: str, number: int = 3) -> list[Client]:
    """So many members of these groups."""
    clients = [await enter(hub, f"client{n}") for n in range(number)]
    for client in clients:
        for group in groups:
            await client.join(group)
    return clients


def stands(broker: LossyBroker, client: Client, channel: str) -> bool:
    """Whether a client has everything; it fails where there is a hole in it."""
    return follow(broker, client, channel).position == broker.stream(channel).position


async def all_stand(broker: LossyBroker, clients: list[Client], *channels: str) -> list[Reader]:
    """Wait until every client has everything of these channels."""
    await until(lambda: all(stands(broker, client, name) for client in clients for name in channels))
    return [follow(broker, client, name) for client in clients for name in channels]


def lose_data(*lost: object) -> Any:
    """Lose the publications with this data."""
    texts = {str(data).encode() for data in lost}
    return lambda publication: bytes(publication.data) in texts


@pytest.mark.parametrize("lost", [[1], [2, 3], [1, 3, 5], [1, 2, 3, 4, 5]], ids=str)
def test_what_is_lost_is_had_again_with_the_next(lost: list[int]) -> None:
    """Members see no hole, nothing twice, and nothing out of order."""

    async def scenario() -> None:
        hub, broker = a_lossy_hub()
        async with hub.lifespan():
            members = await members_of(hub, "news")
            broker.lost = lose_data(*lost)
            for number in range(1, 8):
                await hub.publish("news", number)
                await turns(number % 3)
            for reader in await all_stand(broker, members, "news"):
                assert reader.given == list(range(1, 8))
                assert reader.gaps == []

    run(scenario())


def test_what_is_lost_without_a_next_is_had_by_the_check_of_positions() -> None:
    """In every channel whose position is not the broker's; the others are left alone."""

    async def scenario() -> None:
        hub, broker = a_lossy_hub(position_interval=0.05, **quick())
        async with hub.lifespan():
            members = await members_of(hub, "news", "sport", "quiet")
            broker.lost = lose_data(2, 3)
            for group in ("news", "sport"):
                for number in (1, 2, 3):
                    await hub.publish(group, number)
            for reader in await all_stand(broker, members, "news", "sport", "quiet"):
                assert reader.gaps == []

    run(scenario())


def test_broadcasts_and_notifications_are_healed_too() -> None:
    """Where they have a history."""

    async def scenario() -> None:
        kept = Namespace(history_size=10, presence=False)
        hub, broker = a_lossy_hub(namespaces={"$all": kept, "$client": kept})
        async with hub.lifespan():
            members = await members_of(hub)
            broker.lost = lose_data(1)
            for number in (1, 2):
                await hub.broadcast(number)
                for client in members:
                    await hub.notify(client.connection.session.client_id, number)
            for client in members:
                own = f"$client:{client.connection.session.client_id}"
                for reader in await all_stand(broker, [client], "$all", own):
                    assert reader.given == [1, 2]

    run(scenario())


def test_a_broker_that_was_away_has_its_channels_compared() -> None:
    """Nothing need be published for that, nor any time pass."""

    async def scenario() -> None:
        hub, broker = a_lossy_hub()
        async with hub.lifespan():
            members = await members_of(hub, "news", "sport")
            broker.lost = lambda _: True
            for group in ("news", "sport"):
                await hub.publish(group, 1)
            broker.lost = lambda _: False
            hub.deliveries.interrupted(["news", "sport", "nobody is here"])
            await all_stand(broker, members, "news", "sport")

    run(scenario())


def test_a_broker_that_does_not_answer_is_asked_again() -> None:
    """What is missing comes when it is back; what came meanwhile comes after that."""

    async def scenario() -> None:
        hub, broker, stage = staged_hub(history_size=10)
        async with hub.lifespan():
            alice = await enter(hub)
            await alice.join("news")
            sink, broker._sink = broker._sink, None
            await hub.publish("news", 1)
            broker._sink = sink
            for call in ("positions ", "history news"):
                stage.fail(call)
            stage.log.clear()
            hub.deliveries.interrupted(["news"])
            await until(lambda: stage.reached("positions "))
            stage.fail("positions ", failing=False)
            await until(lambda: stage.reached("history news"))
            await hub.publish("news", 2)
            await turns()
            assert alice.heard("group_message") == []
            stage.fail("history news", failing=False)
            await until(lambda: len(alice.heard("group_message")) == 2)
            assert [message["data"] for message in alice.heard("group_message")] == [1, 2]

    run(scenario())


def test_a_doubt_that_nothing_comes_of_is_not_noticed() -> None:
    """However often, while things are published."""

    async def scenario() -> None:
        hub, broker = a_lossy_hub()
        async with hub.lifespan():
            members = await members_of(hub, "news")
            for number in range(50):
                hub.continuity.doubt(["news"])
                await hub.publish("news", number)
                await turns(number % 4)
            for reader in await all_stand(broker, members, "news"):
                assert reader.given == list(range(1, 51))
                assert reader.gaps == []

    run(scenario())


def test_what_the_history_has_lost_is_said_in_its_place() -> None:
    """A `group_joined` that nobody asked for, with the position from which everything follows again."""

    async def scenario() -> None:
        hub, broker = a_lossy_hub()
        async with hub.lifespan():
            members = await members_of(hub, "news")
            await hub.publish("news", "before")
            broker.lost = lose_data(2)
            await hub.publish("news", 2)
            await broker.remove_history("news")
            await hub.publish("news", "after")
            for reader in await all_stand(broker, members, "news"):
                assert len(reader.gaps) == 1
            await hub.publish("news", "later")
            await all_stand(broker, members, "news")
            for client in members:
                told = client.messages[2:]
                assert [m["type"] for m in told] == ["group_message", "group_joined", "group_message"]
                assert told[1] == {
                    "type": "group_joined",
                    "group_name": "news",
                    "epoch": broker.stream("news").epoch,
                    "offset": 3,
                    "recovered": False,
                }
                assert [told[0]["data"], told[2]["data"]] == ["before", "later"]

    run(scenario())


def test_a_gap_in_what_is_a_clients_own_goes_by_its_shown_name() -> None:
    """Without whose it is, as everywhere on the wire."""

    async def scenario() -> None:
        kept = Namespace(history_size=10, presence=False)
        hub, broker = a_lossy_hub(namespaces={"$all": kept, "$client": kept})
        async with hub.lifespan():
            alice = await enter(hub)
            for channel in ("$all", "$client:alice"):
                broker.begin_anew(channel)
            await hub.broadcast(1)
            await hub.notify("alice", 2)
            await all_stand(broker, [alice], "$all", "$client:alice")
            names = {message["group_name"] for message in alice.heard("group_joined")}
            assert names == {"$all", "$client"}

    run(scenario())


def test_a_history_that_begins_anew_is_said_and_followed() -> None:
    """With its epoch, and offsets that count from the beginning."""

    async def scenario() -> None:
        hub, broker = a_lossy_hub()
        async with hub.lifespan():
            members = await members_of(hub, "news")
            for number in range(5):
                await hub.publish("news", number)
            broker.begin_anew("news")
            for number in range(5):
                await hub.publish("news", number)
            for reader in await all_stand(broker, members, "news"):
                assert len(reader.gaps) == 1

    run(scenario())


def test_a_history_that_goes_on_in_a_new_epoch_tells_it_with_the_next_message() -> None:
    """Once; and nothing is missing."""

    async def scenario() -> None:
        hub, broker = a_lossy_hub()
        async with hub.lifespan():
            members = await members_of(hub, "news")
            await hub.publish("news", 1)
            broker.go_on("news")
            for number in (2, 3):
                await hub.publish("news", number)
                await turns()
            for reader in await all_stand(broker, members, "news"):
                assert reader.given == [1, 2, 3]
            for client in members:
                epochs = [message.get("epoch") for message in client.heard("group_message")]
                assert epochs == [None, broker.stream("news").epoch, None]

    run(scenario())


def test_a_new_epoch_that_a_check_finds_is_told_with_the_next_message() -> None:
    """Nothing need be said before: positions of the old epoch are as good till then."""

    async def scenario() -> None:
        hub, broker = a_lossy_hub(position_interval=0.05, **quick())
        async with hub.lifespan():
            [alice] = await members_of(hub, "news", number=1)
            await hub.publish("news", 1)
            broker.go_on("news")
            epoch = broker.stream("news").epoch
            await until(lambda: hub.continuity._trails["news"].epoch == epoch)
            assert len(alice.heard("group_message", "group_joined")) == 2
            await hub.publish("news", 2)
            await alice.settle()
            assert alice.heard("group_message")[-1]["epoch"] == epoch

    run(scenario())


def test_what_no_history_keeps_is_not_held_up() -> None:
    """An announcement has no offset, and is passed on whatever is missing."""

    async def scenario() -> None:
        hub, _, stage = staged_hub(history_size=10)
        async with hub.lifespan():
            alice = await enter(hub)
            await alice.join("news")
            stage.shut("history news")
            hub.continuity._trails["news"].broken = True
            await hub.publish("news", "held")
            hub.deliveries.deliver(a_publication("news", 0, kind=Kind.JOINED))
            await alice.hear("member_joined")
            assert alice.heard("group_message") == []
            stage.open("history news")
            assert (await alice.hear("group_message"))["data"] == "held"

    run(scenario())


def test_who_joins_while_it_is_healed_has_no_hole_either() -> None:
    """Whether it comes back or comes anew."""

    async def scenario() -> None:
        hub, broker = a_lossy_hub()
        async with hub.lifespan():
            members = await members_of(hub, "news")
            epoch = broker.stream("news").epoch
            for number in range(1, 6):
                await hub.publish("news", number)
            broker.lost = lose_data(*range(6, 40, 2))
            newcomers = [await enter(hub, f"newcomer{number}") for number in range(10)]
            for number, newcomer in enumerate(newcomers):
                recover = {"recover": {"epoch": epoch, "offset": number}} if number % 2 else {}
                newcomer.say("join_group", id="j", group_name="news", **recover)
                for more in range(3):
                    await hub.publish("news", 6 + 3 * number + more)
                    await turns(more)
            await hub.publish("news", "last")
            for reader in await all_stand(broker, [*members, *newcomers], "news"):
                assert reader.gaps == []

    run(scenario())


def test_members_that_leave_take_the_healing_with_them() -> None:
    """A broker that does not answer is not asked for nobody's sake."""

    async def scenario() -> None:
        hub, broker, stage = staged_hub(history_size=10)
        async with hub.lifespan():
            alice = await enter(hub)
            await alice.join("news")
            stage.shut("history news")
            sink, broker._sink = broker._sink, None
            await hub.publish("news", 1)
            broker._sink = sink
            await hub.publish("news", 2)
            await until(lambda: stage.log[-1] == "history news")
            await alice.ask("leave_group", group_name="news")
            await settled()
            assert len(hub.continuity) == 0
            assert hub.continuity._mending == {}

    run(scenario())


def test_what_arrives_late_of_an_epoch_that_is_over_keeps_nobody_busy() -> None:
    """It left before the history went on elsewhere; that it is of no use is known after one more reading."""

    async def scenario() -> None:
        hub, _, stage = staged_hub(history_size=10)
        async with hub.lifespan():
            alice = await enter(hub)
            await alice.join("news")
            late: Publication = a_publication("news", 1, offset=1)
            hub.deliveries.deliver(late, "an epoch that is over")
            await turns(200)
            assert stage.log.count("history news") < 5

    run(scenario())


def test_the_metrics_count_what_was_healed_and_what_was_not() -> None:
    """For whoever watches the way to the broker."""

    async def scenario() -> None:
        hub, broker = a_lossy_hub()

        def counted(name: str) -> float:
            return hub.metrics.registry.get_sample_value(f"hubbub_{name}_total") or 0

        async with hub.lifespan():
            members = await members_of(hub, "news")
            broker.lost = lose_data(1, 2)
            for number in (1, 2, 3):
                await hub.publish("news", number)
            await all_stand(broker, members, "news")
            assert counted("healed") >= 2
            assert counted("gaps") == 0
            broker.begin_anew("news")
            await hub.publish("news", 4)
            await all_stand(broker, members, "news")
            assert counted("gaps") == 1

    run(scenario())
