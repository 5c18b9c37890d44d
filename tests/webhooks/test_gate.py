"""The gate: so many inside, so many in front of it, in the order of their coming."""

import asyncio

import pytest

from hubbub.webhooks.gate import Full, Gate, TurnedAway

from ..hub.inprocess import run, turns


def test_as_many_are_inside_as_it_is_wide() -> None:
    """The next waits until one leaves; who came first goes first."""

    async def scenario() -> None:
        gate, inside = Gate(2, 10), []

        async def come(name: str) -> None:
            await gate.enter()
            inside.append(name)

        tasks = [asyncio.create_task(come(name)) for name in "abcd"]
        await turns()
        assert inside == ["a", "b"]
        assert gate.waiting == 2
        gate.leave()
        await turns()
        assert inside == ["a", "b", "c"]
        gate.leave()
        gate.leave()
        await asyncio.gather(*tasks)
        assert inside == ["a", "b", "c", "d"]

    run(scenario())


def test_past_the_queue_there_is_no_waiting() -> None:
    """Whoever comes then is told at once."""

    async def scenario() -> None:
        gate = Gate(1, 1)
        await gate.enter()
        waiting = asyncio.create_task(gate.enter())
        await turns()
        with pytest.raises(Full):
            await gate.enter()
        gate.leave()
        await waiting

    run(scenario())


def test_who_waits_can_be_sent_away() -> None:
    """Who is inside stays, and its leaving makes room."""

    async def scenario() -> None:
        gate = Gate(1, 5)
        await gate.enter()
        waiting = [asyncio.create_task(gate.enter()) for _ in range(5)]
        await turns()
        gate.turn_away()
        results = await asyncio.gather(*waiting, return_exceptions=True)
        assert all(isinstance(result, TurnedAway) for result in results)
        gate.leave()
        await gate.enter()

    run(scenario())


@pytest.mark.parametrize("given_first", [False, True])
def test_who_gives_up_takes_no_place(given_first: bool) -> None:
    """Also when its turn came in the very moment."""

    async def scenario() -> None:
        gate = Gate(1, 5)
        await gate.enter()
        waiting = asyncio.create_task(gate.enter())
        await turns()
        if given_first:
            gate.leave()
            waiting.cancel()
        else:
            waiting.cancel()
            await turns()
            gate.leave()
        await asyncio.gather(waiting, return_exceptions=True)
        assert gate.waiting == 0
        async with asyncio.timeout(1):
            await gate.enter()

    run(scenario())
