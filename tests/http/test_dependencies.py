"""Connect hooks whose parameters FastAPI fills in."""

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Any

import pytest
from fastapi import Cookie, Depends, Header, HTTPException, Request

from hubbub import ConnectRequest, Hub, Identity, Refuse
from hubbub.testing import MemoryClient

SESSIONS = {"s-1": "alice"}


def session_user(session: Annotated[str, Cookie()] = "") -> str:
    """As an application has it for its routes."""
    if session not in SESSIONS:
        raise HTTPException(401, "log in first")
    return SESSIONS[session]


def connect(hub: Hub, **request: Any) -> dict[str, Any]:
    """What a client is greeted with."""

    async def scenario() -> dict[str, Any]:
        async with hub.lifespan(), MemoryClient(hub, **request) as client:
            [connection] = hub.connections.of()
            return client.greeting | {"user": connection.session.user}

    return asyncio.run(scenario())


def test_a_dependency_says_who_it_is() -> None:
    """By a cookie, through what other routes use, too."""
    hub = Hub()

    @hub.on_connect
    async def who(request: ConnectRequest, user: Annotated[str, Depends(session_user)]) -> Identity:
        return Identity(user=user, client_id=f"{user}-{request.query['tab']}")

    greeting = connect(hub, headers={"cookie": "a=b; session=s-1"}, query={"tab": "3"})
    assert (greeting["client_id"], greeting["user"]) == ("alice-3", "alice")


@pytest.mark.parametrize(
    ("headers", "status", "words"),
    [
        ({"cookie": "session=stolen"}, 401, "log in first"),
        ({}, 401, "log in first"),
    ],
)
def test_what_a_dependency_refuses_is_refused(headers: dict[str, str], status: int, words: str) -> None:
    """With its status and its sentence."""
    hub = Hub()

    @hub.on_connect
    def who(request: ConnectRequest, user: str = Depends(session_user)) -> Identity:
        raise AssertionError("nobody is let in")

    with pytest.raises(Refuse, match=words) as refused:
        connect(hub, headers=headers)
    assert refused.value.status == status


def test_a_missing_header_is_named() -> None:
    """As for a route."""
    hub = Hub()

    @hub.on_connect
    def who(request: ConnectRequest, x_tenant: Annotated[str, Header()]) -> Identity:
        return Identity(user=x_tenant)

    assert connect(hub, headers={"x-tenant": "acme"})["user"] == "acme"
    with pytest.raises(Refuse, match="x-tenant") as refused:
        connect(hub)
    assert refused.value.status == 422


def test_dependencies_may_take_the_request_and_tidy_up() -> None:
    """Those with `yield` end when the client was let in."""
    hub, events = Hub(), []

    async def database(request: Request) -> AsyncIterator[str]:
        events.append(f"open for {request.url.path}")
        yield "database"
        events.append("closed")

    @hub.on_connect
    async def who(request: ConnectRequest, db: Annotated[str, Depends(database)]) -> Identity:
        events.append(f"asked {db}")
        return Identity(user="bob")

    assert connect(hub, client_id="bob")["user"] == "bob"
    assert events == ["open for /ws", "asked database", "closed"]


def test_a_dependency_that_raises_means_no() -> None:
    """And says nothing of why."""
    hub = Hub()

    def broken() -> str:
        raise RuntimeError("the password is 1234")

    @hub.on_connect
    def who(request: ConnectRequest, user: Annotated[str, Depends(broken)]) -> Identity:
        return Identity(user=user)

    with pytest.raises(Refuse) as refused:
        connect(hub)
    assert refused.value.status == 500
    assert "1234" not in refused.value.reason
