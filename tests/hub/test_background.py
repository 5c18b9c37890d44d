"""Work that begins at once and goes on in the background."""

import asyncio
from collections.abc import Awaitable

import pytest

from hubbub.hub.background import advance


def test_what_waits_for_nothing_is_done_at_once() -> None:
    """Without an event loop, even."""
    done = []

    async def work() -> None:
        done.append(await inner())

    async def inner() -> int:
        return 3

    assert advance(work()) is None
    assert done == [3]


def test_what_waits_goes_on_where_it_is_awaited() -> None:
    """Futures, turns of the loop, results and exceptions all find their way."""

    async def scenario() -> None:
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        seen: list[object] = []

        async def work() -> None:
            seen.append("begun")
            seen.append(await future)
            await asyncio.sleep(0)
            try:
                await failing()
            except ZeroDivisionError:
                seen.append("caught")
            async with asyncio.timeout(5):  # in a task by now
                await asyncio.sleep(0)

        rest = advance(work())
        assert seen == ["begun"]
        assert rest is not None
        task = asyncio.create_task(rest)
        future.set_result(7)
        await task
        assert seen == ["begun", 7, "caught"]

    asyncio.run(scenario())


async def failing() -> None:
    await asyncio.sleep(0)
    raise ZeroDivisionError


def test_what_it_raises_is_raised() -> None:
    """At once, or to whoever awaits the rest."""
    with pytest.raises(ZeroDivisionError):
        advance(dividing(None))

    async def scenario() -> None:
        rest = advance(dividing(asyncio.sleep(0)))
        assert rest is not None
        with pytest.raises(ZeroDivisionError):
            await rest

    asyncio.run(scenario())


async def dividing(first: Awaitable[None] | None) -> None:
    if first is not None:
        await first
    raise ZeroDivisionError


def test_cancelling_the_rest_cancels_the_work() -> None:
    """It can clean up, and wait while it does."""

    async def scenario() -> None:
        cleaned = []

        async def work() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                await asyncio.sleep(0)
                cleaned.append(True)

        rest = advance(work())
        assert rest is not None
        task = asyncio.create_task(rest)
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert cleaned == [True]

    asyncio.run(scenario())
