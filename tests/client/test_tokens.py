"""Tokens of a client: how they travel, and where they come from."""

import asyncio
import itertools
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from hubbub.client import (
    BadTokenError,
    Client,
    ConnectError,
    InvalidURLError,
    RefusedError,
    WebSocketClient,
)

from .scripted import AT_ONCE, connected, run, scripted_server

SECRET = "the-token"


def test_a_token_goes_along_as_a_header() -> None:
    """And not in the URL, which is written into logs."""

    async def scenario() -> None:
        async with connected(token=SECRET, headers={"X-Other": "y"}) as (client, peer, _):
            assert peer.headers["Authorization"] == f"Bearer {SECRET}"
            assert peer.headers["X-Other"] == "y"
            assert SECRET not in peer.path
            assert SECRET not in repr(client) + repr(vars(client)) + repr(vars(client._life))

    run(scenario())


@pytest.mark.parametrize("token", [None, ""])
def test_without_one_nothing_goes_along(token: str | None) -> None:
    """An empty one is none."""

    async def scenario() -> None:
        async with connected(token=token) as (_, peer, _):
            assert "Authorization" not in peer.headers

    run(scenario())


def counting() -> Callable[[], str]:
    """A plain function that has another token each time."""
    numbers = itertools.count(1)
    return lambda: f"token-{next(numbers)}"


def counting_later() -> Callable[[], Awaitable[str]]:
    """As `counting`, for whoever has to ask somebody first."""
    count = counting()

    async def ask() -> str:
        await asyncio.sleep(0)
        return count()

    return ask


@pytest.mark.parametrize("source", [counting, counting_later])
def test_a_function_is_asked_before_each_attempt(source: Callable[[], Any]) -> None:
    """So that a client which comes back brings a fresh one, also after it was refused."""

    async def scenario() -> None:
        async with connected(token=source()) as (_, peer, server):
            assert peer.headers["Authorization"] == "Bearer token-1"
            server.refuse(401, "the token is not good: the token has expired")
            peer.cut()
            assert (await server.peer()).headers["Authorization"] == "Bearer token-3"

    run(scenario())


def test_a_function_that_fails_is_asked_again_when_coming_back() -> None:
    """Its source may be down for a while; at the first attempt the caller is told."""
    answers = iter(["first", None, "a b", "second"])

    def source() -> str:
        answer = next(answers)
        if answer is None:
            raise OSError("the backend is down")
        return answer

    async def scenario() -> None:
        async with connected(token=source) as (_, peer, server):
            peer.cut()
            assert (await server.peer()).headers["Authorization"] == "Bearer second"
        async with scripted_server() as server:
            client = WebSocketClient(server.url, "alice", proxy=None, token=lambda: 1 / 0)  # type: ignore[arg-type,return-value]
            with pytest.raises(ConnectError, match="No token could be had: ZeroDivisionError"):
                await client.connect()
            assert server.connections == 0

    run(scenario())


@pytest.mark.parametrize("token", ["a b", "a\nb", "a\r\nX-Admin: 1", "tökén", "\x7f"])
def test_a_token_that_no_header_can_carry(token: str) -> None:
    """Is refused where it is given, and not repeated."""
    with pytest.raises(BadTokenError) as refused:
        WebSocketClient("ws://localhost:8000", token=token)
    assert token not in str(refused.value)


def test_two_things_for_one_header() -> None:
    """Which of them is meant is no guess of ours."""
    with pytest.raises(BadTokenError, match="headers"):
        WebSocketClient("ws://localhost:8000", token=SECRET, headers={"authorization": "Basic x"})
    with pytest.raises(BadTokenError, match="URL"):
        WebSocketClient("ws://ann:pw@localhost:8000", token=SECRET)


def test_a_redirect_to_somewhere_else_does_not_get_it() -> None:
    """Only the server that it was meant for sees it."""

    async def scenario() -> None:
        async with scripted_server() as other, scripted_server() as server:
            server.refuse(302, Location=f"ws://127.0.0.1:{other.port}/ws/alice")
            async with WebSocketClient(server.url, "alice", proxy=None, token=SECRET, backoff=AT_ONCE):
                assert "Authorization" not in (await other.peer()).headers

    run(scenario())


def test_a_server_that_refuses_a_token_says_why() -> None:
    """The error has the status, and the token is not in its sentence."""

    async def scenario() -> None:
        async with scripted_server() as server:
            server.refuse(401, "the token is not good: the token has expired")
            with pytest.raises(RefusedError, match="has expired") as refused:
                await WebSocketClient(server.url, "alice", proxy=None, token=SECRET).connect()
            assert refused.value.status == 401
            assert SECRET not in str(refused.value)

    run(scenario())


def test_no_log_at_any_level_holds_a_token(caplog: pytest.LogCaptureFixture) -> None:
    """Nor a sentence, nor what a client looks like: in the handshake, a refresh and a refusal."""
    caplog.set_level(logging.DEBUG)
    sentences: list[str] = []

    async def scenario() -> None:
        async with scripted_server(greets=False) as server:
            client = Client(server.url, token=lambda: "hush-hush", proxy=None, backoff=AT_ONCE)
            connecting = asyncio.create_task(client.connect())
            peer = await server.peer()
            hello = await peer.hear()
            await peer.say("connection_established", id=hello["id"], client_id="a", expires_in=0.1)
            await connecting
            assert (await peer.hear())["token"] == "hush-hush"
            sentences.extend([repr(client), repr(client._options)])
            await client.disconnect()
            server.refuse(401, "no")
            with pytest.raises(RefusedError) as refused:
                await client.connect()
            sentences.append(str(refused.value))
        for url in ("ws://ada:hush-hush@host/#x", "ws://ada:hush-hush@host:0", "ftp://host?token=hush-hush"):
            with pytest.raises(InvalidURLError) as wrong:
                Client(url)
            sentences.append(str(wrong.value))

    run(scenario())
    # The server of this test is in the same process, and says what it has heard.
    logged = [each.getMessage() for each in caplog.records if not each.name.startswith("websockets.server")]
    assert "hush-hush" not in " ".join(logged + sentences)
