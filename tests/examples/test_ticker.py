"""The ticker: prices for who watches, and for who falls behind the newest ones and a word about the rest."""

import asyncio
import re
import signal

from .running import Server, client, run

BURST = 20
PADDING = "." * 900_000
"""A burst of these does not fit into what the kernel keeps for a reader, which is 4 MiB and a little."""


def test_the_terminal_program_shows_prices(server: Server) -> None:
    """A bid and an ask of each symbol that was asked for, as they change."""

    async def scenario() -> None:
        async with server.program() as program:
            shown = [await line_of(program) for _ in range(16)]
        quotes = [re.fullmatch(r"(HUB|PUB)  (bid|ask)  (\d+\.\d\d)", line) for line in shown]
        assert all(quotes), shown
        sides = {quote.group(1, 2) for quote in quotes if quote}
        assert sides == {("HUB", "bid"), ("HUB", "ask"), ("PUB", "bid"), ("PUB", "ask")}
        assert len({quote[3] for quote in quotes if quote}) > 4

    run(scenario())


def test_a_program_that_was_stopped_goes_on_with_the_newest_price(server: Server) -> None:
    """Ctrl+Z, a burst of prices, `fg`: whatever is left out is told before the next price is shown."""

    async def scenario() -> None:
        async with server.program() as program:
            await line_of(program)
            program.send_signal(signal.SIGSTOP)
            for number in range(BURST):
                quote = {"symbol": "HUB", "side": "last", "price": number, "padding": PADDING}
                await server.api("publish", channel="ticker:HUB", data=quote, key="last")
            program.send_signal(signal.SIGCONT)
            shown, left_out, told = 0, 0, 0
            while shown < BURST:
                line = await line_of(program)
                if gap := re.fullmatch(r"\((\d+) older quotes of ticker:HUB left out\)", line):
                    told += int(gap[1])
                if quote := re.fullmatch(r"HUB  last  (\d+)\.00", line):
                    left_out += int(quote[1]) - shown
                    assert left_out <= told
                    shown = int(quote[1]) + 1
            assert left_out > 0

    run(scenario())


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
