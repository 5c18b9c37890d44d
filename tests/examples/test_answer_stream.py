"""The answer stream: every token once and in order, whatever happens to the line."""

import asyncio
from typing import Any

import pytest

from .relay import relay
from .running import Client, Server, client, command, run, until

QUESTION = command("answer_stream", "python")[-1]


@pytest.fixture(scope="module")
def answer(servers: dict[str, Server]) -> str:
    """The whole answer to the question, as the history has it in the end; it is the same each time."""

    async def scenario() -> str:
        async with client(servers["hubbub"]) as asker:
            channel, begin = await ask(asker)
            await asker.say("join_group", group_name=channel, recover=begin)
            while "done" not in (await asker.hear("group_message"))["data"]:
                pass
            await asker.say("history", group_name=channel, limit=-1)
            *tokens, last = [message["data"] for message in (await asker.hear("history"))["messages"]]
            assert last == {"done": True}
            return "".join(token["token"] for token in tokens)

    return run(scenario())


async def ask(asker: Client) -> tuple[str, dict[str, Any]]:
    """Ask the question: the answer's channel, and the position where it begins."""
    await asker.say("rpc", method="ask", data={"text": QUESTION})
    data = (await asker.hear("rpc_result"))["data"]
    return data["channel"], data["begin"]


def test_the_terminal_program_prints_the_answer_as_it_comes(server: Server, answer: str) -> None:
    """The first words are there long before the last ones."""

    async def scenario() -> None:
        async with server.program() as program:
            assert program.stdout is not None
            first = await program.stdout.read(20)
            rest, _ = await program.communicate()
            assert len(first) <= 20
            assert (first + rest).decode() == f"{answer}\n"
            assert program.returncode == 0
        assert answer.startswith(f"You ask: {QUESTION} Every token")

    run(scenario())


def test_a_reader_that_is_cut_off_prints_each_token_once_and_in_order(server: Server, answer: str) -> None:
    """The answer goes on meanwhile; what was missed comes first, then what is new."""

    async def scenario() -> None:
        async with relay(server.address) as line, server.program(line.address) as program:
            assert program.stdout is not None
            printed = await program.stdout.readuntil(b"Every ")
            line.cut()
            await passed(server, offset_of(answer, "off"))
