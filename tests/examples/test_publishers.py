"""The programs that publish beside a server: what they tell, whom, and what they do when they cannot."""

import asyncio
import contextlib
import json
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from ..servers import Valkey
from ..servers.ports import free_port
from .running import DEFAULT_ADDRESS, NO_TLS, ROOT, Server, client, commands, run, until

DEFAULT_BROKER = "redis://127.0.0.1:6379"
EXAMPLES = ("flask_shop", "publish_script")


@pytest.fixture(scope="module")
def broker() -> Iterator[str]:
    """The URL of a server of their own."""
    with Valkey() as valkey:
        yield valkey.url


@asynccontextmanager
async def started(
    example: str, *words: str, broker: str, more: tuple[str, ...] = ()
) -> AsyncIterator[asyncio.subprocess.Process]:
    """The command of an example that begins with these words, with this broker; it ends with the block."""
    [command] = [found for found in commands(example) if found[: len(words)] == list(words)]
    program, *arguments = [word.replace(DEFAULT_BROKER, broker) for word in command]
    path = sys.executable if program == "python" else str(Path(sys.executable).with_name(program))
    process = await asyncio.create_subprocess_exec(
        path,
        *arguments,
        *more,
        cwd=ROOT,
        env=os.environ | {"BROKER": broker, "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.communicate()


async def address_of(process: asyncio.subprocess.Process) -> str:
    """The host and port that it says it answers on."""
    assert process.stdout is not None
    said = ""
    while not (found := re.search(r"http://(127\.0\.0\.1:\d+)", said)):
        line = (await process.stdout.readline()).decode()
        assert line, said
        said += line
    return found[1]


@asynccontextmanager
async def serving(example: str, broker: str) -> AsyncIterator[Server]:
    """The server that runs beside an example."""
    async with started(example, "hubbub", "serve", broker=broker, more=("--port", "0")) as process:
        yield Server(example, await address_of(process))


@asynccontextmanager
async def following(example: str, server: Server, broker: str) -> AsyncIterator[asyncio.StreamReader]:
    """What the example's `hubbub subscribe` prints, from when it has joined."""
    more = ("--json", "--url", server.http)
    async with started(example, "hubbub", "subscribe", broker=broker, more=more) as process:
        await until(lambda: has_members(server))
        assert process.stdout is not None
        yield process.stdout


async def has_members(server: Server) -> bool:
    """Whether somebody is in a group."""
    return (await server.get("/stats")).json()["subscriptions"] > 0


@pytest.mark.parametrize("example", EXAMPLES)
def test_the_docstring_gives_the_commands_that_run_it(example: str) -> None:
    """A server, the program itself, and who follows it; the tests here run them."""
    serving, using, *others = commands(example)
    assert serving[:4] == ["hubbub", "serve", "--broker", DEFAULT_BROKER]
    assert f"examples.{example}" in using
    assert ["hubbub", "subscribe"] in [words[:2] for words in others]
    assert {words[0] for words in others} <= {"hubbub", "curl"}


def test_a_script_tells_people_how_far_it_is(broker: str) -> None:
    """Each of those it works for, and whoever follows the job; a second run shows no step again."""
    example = "publish_script"

    async def scenario() -> None:
        async with (
            serving(example, broker) as server,
            following(example, server, broker) as shown,
            client(server, "/alice") as alice,
            client(server, "/bob") as bob,
        ):
            for _ in range(2):
                async with started(example, "python", broker=broker) as script:
                    said, _ = await script.communicate()
                    assert said.decode().splitlines() == [
                        "alice: told, as number 1",
                        "bob: told, as number 2",
                    ]
                    assert script.returncode == 0
                for person in (alice, bob):
                    text = (await person.hear("personal_notification"))["data"]["text"]
                    assert re.fullmatch(r"Your invoice for \d{4}-\d\d is ready\.", text)
            lines = [json.loads(await shown.readline()) for _ in range(4)]
            steps = [line["data"] for line in lines if line["type"] == "group_message"]
            assert steps == [
                {"customer": "alice", "done": 1, "of": 2},
                {"customer": "bob", "done": 2, "of": 2},
            ]
            assert [line["type"] for line in lines].count("personal_notification") == 2

    run(scenario())


def test_a_script_that_cannot_tell_anybody_says_so() -> None:
    """In a sentence, and with an exit code that a scheduler sees."""

    async def scenario() -> None:
        nowhere = f"redis://127.0.0.1:{free_port()}"
        async with started("publish_script", "python", broker=nowhere) as script:
            said, _ = await script.communicate()
            assert said.decode().startswith("nobody can be told: ")
            assert len(said.splitlines()) == 1
            assert script.returncode == 1

    run(scenario())


@asynccontextmanager
async def shop(broker: str) -> AsyncIterator[httpx.AsyncClient]:
    """The Flask app, run by the docstring's command on a port that is free, and a browser in it."""
    async with (
        started("flask_shop", "flask", broker=broker, more=("--port", str(free_port()))) as process,
        httpx.AsyncClient(base_url=f"http://{await address_of(process)}", verify=NO_TLS) as browser,
    ):
        yield browser


def test_a_flask_app_tells_what_becomes_of_an_order(broker: str) -> None:
    """Whoever waits for the order is told, and who comes back is given what was missed."""
    example = "flask_shop"

    async def scenario() -> None:
        async with (
            serving(example, broker) as server,
            following(example, server, broker) as shown,
            shop(broker) as browser,
            client(server) as waiting,
        ):
            await waiting.say("join_group", group_name="orders:42")
            joined = await waiting.hear("group_joined")
            assert (await browser.get("/orders/42")).json() == {"status": "ordered"}
            for status in ("packed", "shipped"):
                answer = await browser.put("/orders/42", data={"status": status})
                assert (answer.status_code, answer.json()) == (200, {"status": status})
                assert (await waiting.hear("group_message"))["data"] == {"status": status}
                assert json.loads(await shown.readline())["data"] == {"status": status}
            assert (await browser.get("/orders/42")).json() == {"status": "shipped"}
            async with client(server) as late:
                position = {"epoch": joined["epoch"], "offset": joined["offset"]}
                await late.say("join_group", group_name="orders:42", recover=position)
                assert (await late.hear("group_joined"))["recovered"] is True
                missed = [(await late.hear("group_message"))["data"]["status"] for _ in range(2)]
                assert missed == ["packed", "shipped"]

    run(scenario())


def test_a_flask_app_ships_whether_or_not_somebody_can_be_told() -> None:
    """The broker is away; a status that there is not is refused all the same."""

    async def scenario() -> None:
        async with shop(f"redis://127.0.0.1:{free_port()}") as browser:
            assert (await browser.put("/orders/1", data={"status": "shipped"})).status_code == 202
            assert (await browser.get("/orders/1")).json() == {"status": "shipped"}
            assert (await browser.put("/orders/1", data={"status": "lost"})).status_code == 400

    run(scenario())


@pytest.mark.parametrize("example", EXAMPLES)
def test_the_addresses_in_a_docstring_are_those_of_the_default_ports(example: str) -> None:
    """Somebody who copies the commands one after another reaches the servers."""
    text = (ROOT / "examples" / f"{example}.py").read_text(encoding="utf-8")
    assert set(re.findall(r"redis://[^\s\")]+", text)) == {DEFAULT_BROKER}
    assert set(re.findall(r"http://([^\s\"/]+)", text)) <= {DEFAULT_ADDRESS, "127.0.0.1:5000"}
