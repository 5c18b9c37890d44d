"""The ticker: prices for who watches, and for who falls behind the newest ones and a word about the rest."""

import asyncio
import re
import signal

import pytest
from examples.ticker import watch

from .running import Server, client, run

PADDING = "." * 900_000
"""Makes a quote so large that the kernel soon has no room for more of them."""


def test_who_watches_is_shown_prices(server: Server, capfd: pytest.CaptureFixture[str]) -> None:
    """A bid and an ask of each symbol that was asked for, as they change."""

    async def scenario() -> list[str]:
        watching = asyncio.create_task(watch(server.ws, "HUB", "PUB"))
        shown = ""
        while shown.count("\n") < 16:
            await asyncio.sleep(0.01)
            shown += capfd.readouterr().out
        watching.cancel()
        await asyncio.wait({watching})
        assert watching.cancelled()
        return shown.splitlines()

    lines = run(scenario())
    quotes = [re.fullmatch(r"(HUB|PUB)  (bid|ask)  (\d+\.\d\d)", line) for line in lines]
    assert all(quotes), lines
    sides = {quote.group(1, 2) for quote in quotes if quote}
    assert sides == {("HUB", "bid"), ("HUB", "ask"), ("PUB", "bid"), ("PUB", "ask")}
    assert len({quote[3] for quote in quotes if quote}) > 4


def test_who_falls_behind_is_told_what_was_left_out(server: Server) -> None:
    """A word about the older quotes comes before the next newer one, and in the end there is the newest."""

    async def scenario() -> None:
        async with client(server, max_queue=1, compression=None) as reader:
            await reader.say("join_group", group_name="ticker:HUB")
            await reader.hear("group_joined")
            last = await publish_too_much(server)
            seen, left_out, told = 0, 0, 0
            while seen < last:
                message = await reader.hear("group_message", "messages_dropped")
                if message["type"] == "messages_dropped":
                    told += message["count"]
                elif message["data"]["side"] == "last":
                    left_out += message["data"]["price"] - seen - 1
                    seen = message["data"]["price"]
                    assert left_out <= told
            assert told > 0
            reader.socket.transport.abort()

    run(scenario())


def test_a_program_that_was_stopped_goes_on_with_the_newest_price(servers: dict[str, Server]) -> None:
    """Ctrl+Z, too many prices, `fg`."""
    server = servers["hubbub"]

    async def scenario() -> None:
        async with server.program() as program:
            await line_of(program)
            program.send_signal(signal.SIGSTOP)
            last = await publish_too_much(server)
            program.send_signal(signal.SIGCONT)
            lines = [await line_of(program)]
            while lines[-1] != f"HUB  last  {last}.00":
                lines.append(await line_of(program))
            assert any(re.fullmatch(r"\(\d+ older quotes of ticker:\w+ left out\)", line) for line in lines)

    run(scenario())


async def publish_too_much(server: Server) -> int:
    """Publish numbered quotes of a third kind until a reader cannot keep up; the number of the last."""
    before, number = await dropped(server), 0
    while await dropped(server) < before + 3:
        number += 1
        quote = {"symbol": "HUB", "side": "last", "price": number, "padding": PADDING}
        await server.api("publish", channel="ticker:HUB", data=quote, key="last")
    return number


async def dropped(server: Server) -> float:
    """How many publications the server has left out for slow readers."""
    metrics = (await server.get("/metrics")).text
    [count] = re.findall(r'^hubbub_dropped_total\{policy="latest"\} (\S+)$', metrics, re.MULTILINE)
    return float(count)


def test_a_symbol_that_is_not_listed_is_refused(server: Server) -> None:
    """With a word about those that are."""

    async def scenario() -> None:
        async with client(server) as reader:
            await reader.say("join_group", group_name="ticker:FOO")
            answer = await reader.hear("group_joined", "error")
            assert answer["message"] == "there is no FOO; there are HUB, PUB, SUB"

    run(scenario())


def test_a_client_makes_no_prices(server: Server) -> None:
    """What clients publish is refused."""

    async def scenario() -> None:
        async with client(server) as forger:
            quote = {"symbol": "HUB", "side": "bid", "price": 1}
            await forger.say("publish", id=1, group_name="ticker:HUB", data=quote)
            assert (await forger.hear("published", "error"))["message"] == "permission denied"

    run(scenario())


async def line_of(program: asyncio.subprocess.Process) -> str:
    """The next line that a program shows."""
    assert program.stdout is not None
    line = (await program.stdout.readline()).decode()
    assert line, "the program ended"
    return line.rstrip()
