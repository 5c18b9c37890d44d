"""Reads of histories that are shared: few, and never older than the asking."""

import asyncio
from contextlib import suppress

from hubbub.brokers.base import BrokerUnavailable
from hubbub.core.messages import Position

from .inprocess import turns
from .staged import staged_hub


def test_a_crowd_that_asks_at_once_reads_once() -> None:
    """Each question of it: another position or another channel is another one."""

    async def scenario() -> None:
        hub, _, stage = staged_hub(history_size=10)
        async with hub.lifespan():
            since = (await hub.publish("news", 1), await hub.publish("news", 2))
            stage.log.clear()
            pages = await asyncio.gather(
                *(hub.histories.read("news", since[0], -1) for _ in range(50)),
                *(hub.histories.read("news", since[1], -1) for _ in range(50)),
                *(hub.histories.read("sport", None, 0) for _ in range(50)),
            )
            assert sorted(stage.log) == ["history news", "history news", "history sport"]
            assert [len(page.publications) for page in pages] == [1] * 50 + [0] * 100

    asyncio.run(scenario())


def test_who_asks_later_is_not_given_what_was_read_before() -> None:
    """Something may have been published since; a reading that is under way may have passed it."""

    async def scenario() -> None:
        hub, _, stage = staged_hub(history_size=10)
        async with hub.lifespan():
            since = Position((await hub.publish("news", 1)).epoch, 0)
            stage.shut("history news", after=True)
            early = asyncio.ensure_future(hub.histories.read("news", since, -1))
            await turns()
            await hub.publish("news", 2)
            late = asyncio.ensure_future(hub.histories.read("news", since, -1))
            await turns()
            stage.open("history news")
            assert len((await early).publications) == 1
            assert len((await late).publications) == 2

    asyncio.run(scenario())


def test_who_gives_up_takes_nobody_along() -> None:
    """The others are still answered."""

    async def scenario() -> None:
        hub, _, stage = staged_hub(history_size=10)
        async with hub.lifespan():
            stage.shut("history news")
            gives_up, stays = (asyncio.ensure_future(hub.histories.read("news", None, 0)) for _ in range(2))
            await turns()
            gives_up.cancel()
            with suppress(asyncio.CancelledError):
                await gives_up
            stage.open("history news")
            assert (await stays).position.offset == 0
            assert stage.log.count("history news") == 1

    asyncio.run(scenario())


def test_a_failure_is_everybodys() -> None:
    """And of those alone who asked then."""

    async def scenario() -> None:
        hub, _, stage = staged_hub(history_size=10)
        async with hub.lifespan():
            stage.fail("history news")
            answers = await asyncio.gather(
                *(hub.histories.read("news", None, 0) for _ in range(3)), return_exceptions=True
            )
            assert [type(answer) for answer in answers] == [BrokerUnavailable] * 3
            stage.fail("history news", failing=False)
            assert (await hub.histories.read("news", None, 0)).position.offset == 0

    asyncio.run(scenario())
