"""The chat: names, rooms, what may be said, who is here, and the page."""

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from websockets.exceptions import InvalidStatus

from ..page.browser import Tab, launch
from .running import ROOT, Client, Server, client, run, until


@asynccontextmanager
async def person(server: Server, name: str, room: str = "lobby") -> AsyncIterator[Client]:
    """Somebody who has entered a room."""
    async with client(server, f"?name={name}") as entered:
        await entered.say("join_group", group_name=f"room:{room}")
        await entered.hear("group_joined")
        yield entered


async def say(speaker: Client, message: object, room: str = "lobby") -> str:
    """Say something; the server's reason where it refuses, else nothing."""
    await speaker.say("chat_message", id=1, group_name=f"room:{room}", message=message)
    answer = await speaker.hear("published", "error")
    return answer.get("message", "")


def test_two_people_chat(server: Server) -> None:
    """Each hears what the other says, under the name they gave."""

    async def scenario() -> None:
        async with person(server, "alice") as alice, person(server, "Zoë") as zoe:
            await alice.say("chat_message", group_name="room:lobby", message="hello")
            heard = await zoe.hear("chat_message")
            assert (heard["from"], heard["message"]) == ("alice", "hello")
            await zoe.say("chat_message", group_name="room:lobby", message="hi")
            assert [(await alice.hear("chat_message"))["from"] for _ in range(2)] == ["alice", "Zoë"]

    run(scenario())


@pytest.mark.parametrize("query", ["", "?name=", "?name=a%20b", "?name=" + "x" * 21])
def test_nobody_comes_in_without_a_name(server: Server, query: str) -> None:
    """The handshake is refused."""

    async def scenario() -> None:
        with pytest.raises(InvalidStatus) as refusal:
            async with client(server, query):
                pass
        assert refusal.value.response.status_code == 401

    run(scenario())


@pytest.mark.parametrize("group", ["room:attic", "lobby", "room:lobby:attic"])
def test_only_rooms_that_exist_can_be_entered(server: Server, group: str) -> None:
    """Any other group is refused, and one cannot speak in a room that is not there."""

    async def scenario() -> None:
        async with person(server, "alice") as alice:
            await alice.say("join_group", group_name=group)
            assert (await alice.hear("group_joined", "error"))["code"] == 103
            assert await say(alice, "hello?", room="attic") == "permission denied"

    run(scenario())


def test_a_message_is_text_that_is_not_too_long(server: Server) -> None:
    """The speaker is told why not, and nobody hears it."""

    async def scenario() -> None:
        async with person(server, "alice", "kitchen") as alice, person(server, "bob", "kitchen") as bob:
            for message in ("x" * 501, "", {"text": "hello"}):
                reason = await say(alice, message, room="kitchen")
                assert reason == "a message is text of 1 to 500 characters"
            assert await say(alice, "x" * 500, room="kitchen") == ""
            assert (await bob.hear("chat_message"))["message"] == "x" * 500

    run(scenario())


def test_the_app_tells_who_is_in_which_room(server: Server) -> None:
    """With two windows one is there once; who leaves is gone, and those who stay are told."""

    async def scenario() -> None:
        async with person(server, "alice", "balcony") as alice:
            async with person(server, "bob", "balcony"), person(server, "bob", "balcony"):
                await until(lambda: in_balcony(server, ["alice", "bob"]))
            while (await alice.hear("member_left"))["member"]["client_id"] != "bob":
                pass
            await until(lambda: in_balcony(server, ["alice"]))

    async def in_balcony(server: Server, names: list[str]) -> bool:
        return (await server.get("/rooms")).json()["balcony"] == names

    run(scenario())


def test_who_comes_back_is_given_what_was_said_meanwhile(server: Server) -> None:
    """The page's way: it joins again with the position of the last message that it saw."""

    async def scenario() -> None:
        async with person(server, "alice") as alice:
            async with client(server, "?name=bob") as bob:
                await bob.say("join_group", group_name="room:lobby")
                joined = await bob.hear("group_joined")
            await say(alice, "one")
            await say(alice, "two")
            position = {"epoch": joined["epoch"], "offset": joined["offset"]}
            async with client(server, "?name=bob") as bob:
                await bob.say("join_group", group_name="room:lobby", recover=position)
                assert (await bob.hear("group_joined"))["recovered"] is True
                assert [(await bob.hear("chat_message"))["message"] for _ in range(2)] == ["one", "two"]

    run(scenario())


def test_the_page_is_a_chat_in_a_browser(servers: dict[str, Server]) -> None:
    """Two windows talk with each other, and one that was cut off catches up."""
    server = servers["hubbub"]
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("no browser to show the page in")
    with launch(chromium) as browser, browser.tab(f"{server.http}/") as ann:
        enter(ann, "ann")
        ann.wait_for_text("#status", "ann")
        with browser.tab(f"{server.http}/") as ben:
            enter(ben, "ben")
            for tab in (ann, ben):
                tab.wait_for_text("#status", "Here: ann, ben")
            ann.enter("#say input", "<b>hello</b>")
            for tab in (ann, ben):
                tab.wait_for_text("#log", "ann: <b>hello</b>")
            come_back = {"code": 3011, "reason": "force reconnect"}
            run(server.api("disconnect", client="ann", disconnect=come_back))
            ben.enter("#say input", "are you there?")
            ann.wait_for_text("#log", "ben: are you there?")
            for tab in (ann, ben):
                assert tab.text("#log") == "ann: <b>hello</b>\nben: are you there?"
            assert ben.problems == []
        ann.wait_for("document.querySelector('#status').innerText === 'Here: ann'")
        assert ann.problems == []


def test_the_app_serves_the_page(server: Server) -> None:
    """At the address that the docstring names."""
    page = run(server.get("/"))
    assert page.headers["content-type"].startswith("text/html")
    assert page.text == (ROOT / "examples" / "chat.html").read_text(encoding="utf-8")


def enter(tab: Tab, name: str) -> None:
    """Come in under a name."""
    tab.wait_for("document.querySelector('nav a') !== null")
    tab.enter("#enter input", name)
