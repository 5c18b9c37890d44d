"""The answer stream: every token once and in order, whatever happens to the line."""

from typing import Any

import pytest
from examples.answer_stream import WISDOM, read

from .relay import relay
from .running import Client, Server, client, command, run, until

QUESTION = command("answer_stream", "python")[-1]
ANSWER = [f"{word} " for word in f"You ask: {QUESTION} {WISDOM}".split()]

Position = dict[str, Any]


async def ask(asker: Client) -> tuple[str, Position]:
    """Ask the question: the answer's channel, and the position where it begins."""
    await asker.say("rpc", method="ask", data={"text": QUESTION})
    data = (await asker.hear("rpc_result"))["data"]
    return data["channel"], data["begin"]


async def written(server: Server, channel: str, count: int) -> bool:
    """Whether so many tokens of an answer are there."""
    return (await server.api("history", channel=channel))["offset"] >= count


@pytest.mark.parametrize("text", ["", "?" * 201])
def test_a_question_that_does_not_fit_is_refused(server: Server, text: str) -> None:
    """The sentence names the field."""

    async def scenario() -> None:
        async with client(server) as asker:
            await asker.say("rpc", method="ask", data={"text": text})
            assert "text" in (await asker.hear("rpc_result", "error"))["message"]

    run(scenario())


def test_nobody_writes_into_somebody_elses_answer(server: Server) -> None:
    """What clients publish is refused."""

    async def scenario() -> None:
        async with client(server) as forger:
            channel, _ = await ask(forger)
            await forger.say("publish", id=1, group_name=channel, data={"token": "lies "})
            assert (await forger.hear("published", "error"))["message"] == "permission denied"

    run(scenario())


def test_an_answer_that_is_not_kept_is_not_given_in_part(server: Server) -> None:
    """A position of another history: the reader is told so, and gets nothing but what is new."""

    async def scenario() -> None:
        async with client(server) as reader:
            channel, begin = await ask(reader)
            await until(lambda: written(server, channel, 5))
            await reader.say("join_group", group_name=channel, recover=begin | {"epoch": "elsewhen"})
            joined = await reader.hear("group_joined")
            assert joined["recovered"] is False
            await reader.say("ping")
            message = await reader.hear("group_message", "pong")
            assert message.get("offset", 0) in (0, joined["offset"] + 1)

    run(scenario())


def test_the_terminal_program_prints_the_answer_over_a_line_that_breaks(servers: dict[str, Server]) -> None:
    """Whoever reads it notices nothing."""
    server = servers["hubbub"]

    async def scenario() -> None:
        async with relay(server.address, breaks_after=1500) as line, server.program(line.address) as program:
            printed, _ = await program.communicate()
        assert printed.decode() == "".join(ANSWER) + "\n"
        assert line.lines > 3

    run(scenario())


def test_a_reader_that_is_cut_off_again_and_again_gets_each_token_once(server: Server) -> None:
    """The line breaks after so many bytes, which is in the middle of a message as often as not."""

    async def scenario() -> None:
        async with relay(server.address, breaks_after=800) as line:
            tokens = [token async for token in read(f"ws://{line.address}", QUESTION)]
        assert tokens == ANSWER
        assert line.lines > 3

    run(scenario())


def test_on_the_wire_exactly_what_was_missed_comes_first(server: Server) -> None:
    """Every offset once, from the first to the last, with no hole where the two connections meet."""

    async def scenario() -> None:
        heard: list[dict[str, Any]] = []
        async with client(server) as reader:
            channel, begin = await ask(reader)
            await reader.say("join_group", group_name=channel, recover=begin)
            assert (await reader.hear("group_joined"))["recovered"] is True
            heard += [await reader.hear("group_message") for _ in range(5)]
            reader.socket.transport.abort()
        await until(lambda: written(server, channel, len(ANSWER) // 2))
        position = {"epoch": begin["epoch"], "offset": 5}
        async with client(server) as reader:
            await reader.say("join_group", group_name=channel, recover=position)
            joined = await reader.hear("group_joined")
            assert joined["recovered"] is True
            assert {"epoch": joined["epoch"], "offset": joined["offset"]} == position
            heard += [await reader.hear("group_message") for _ in range(len(ANSWER) + 1 - 5)]
            await reader.say("ping")
            assert (await reader.hear("group_message", "pong"))["type"] == "pong"
        assert [message["offset"] for message in heard] == list(range(1, len(ANSWER) + 2))
        assert [message["data"] for message in heard] == [
            *({"token": token} for token in ANSWER),
            {"done": True},
        ]

    run(scenario())
