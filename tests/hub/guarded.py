"""Hubs that take tokens, who comes to their door, and what must not be left of it."""

import itertools
from typing import Any

import pytest

from hubbub.auth import AuthUnavailable, BadToken, Claims, Tokens
from hubbub.core import codes
from hubbub.core.messages import ALL
from hubbub.hub import ConnectRequest, Hub, Refuse
from hubbub.hub.revocations import REVOKED

from ..auth.making import SECRET, token
from .inprocess import Client, JsonMessage, a_hub, enter, speaker, until
from .staged import StagedBroker, staged_hub

_hosts = itertools.count(1)


class Slow:
    """A verifier that a test directs: what it was told of a token it says, or it waits, or cannot say."""

    def __init__(self, **known: Claims) -> None:
        self.known = known
        self.available = True
        self.asked: list[str] = []

    async def start(self) -> None:
        """There is nothing to get ready."""

    async def stop(self) -> None:
        """There is nothing to let go of."""

    async def verify(self, token: str) -> Claims:
        self.asked.append(token)
        if not self.available:
            raise AuthUnavailable("the issuer does not answer")
        if token not in self.known:
            raise BadToken("nobody knows it")
        return self.known[token]


def guarded(**settings: Any) -> Hub:
    """A hub that takes tokens; settings as for `a_hub`."""
    return a_hub(**{"auth": Tokens(SECRET), **settings})


def staged_and_guarded(**settings: Any) -> Any:
    """The same over a staged broker; with its broker and its stage."""
    return staged_hub(**{"auth": Tokens(SECRET), **settings})


def bearing(text: str) -> dict[str, str]:
    """The headers of a handshake with this token."""
    return {"authorization": f"Bearer {text}"}


async def come(hub: Hub, path_id: str | None = None, /, **claims: Any) -> Client:
    """A client that was let in by a token which says this, and greeted."""
    return await enter(hub, path_id, headers=bearing(token(**claims)))


async def speak(hub: Hub, client_id: str | None = None, **connect: Any) -> tuple[Client, JsonMessage]:
    """A client without a token at the door that has sent its first words, and the answer to them."""
    client = await speaker(hub, client_id)
    return client, await client.ask("connect", **connect)


async def turned_away(hub: Hub, client_id: str | None = None, *, path: str = "", **request: Any) -> Refuse:
    """Why a client is not let in."""
    path = path or ("/ws" if client_id is None else f"/ws/{client_id}")
    with pytest.raises(Refuse) as refused:
        await hub.connections.admit(ConnectRequest(client_id=client_id, path=path, **request))
    return refused.value


async def closed(client: Client) -> codes.CloseReason:
    """Why the client was closed, once it is."""
    await until(lambda: client.closed)
    assert client.closed is not None
    return client.closed


async def no_room(hub: Hub, limit: str, *, status: int = 503, **request: Any) -> Refuse:
    """A client is turned away by this limit; which is counted, and says when to come back."""
    before = counted(hub, "limited", limit=limit), counted(hub, "connections_refused")
    refused = await turned_away(hub, **request)
    assert (refused.status, refused.error.code, refused.error.temporary) == (status, 111, True)
    assert refused.retry_after is not None
    assert refused.retry_after > 0
    after = counted(hub, "limited", limit=limit), counted(hub, "connections_refused")
    assert after == (before[0] + 1, before[1] + 1)
    return refused


def counted(hub: Hub, metric: str, **labels: str) -> float:
    """What a counter of the hub stands at."""
    return hub.metrics.registry.get_sample_value(f"hubbub_{metric}_total", labels) or 0


def an_address() -> str:
    """An address that nobody had before."""
    number = next(_hosts)
    return f"192.0.{number // 250}.{number % 250 + 1}"


def left_behind(hub: Hub) -> dict[str, object]:
    """What a hub still holds of clients that are all gone, by place."""
    broker = hub.broker
    own = {ALL, REVOKED} if hub.auth is not None else {ALL}
    held = {
        "places": hub.gate._inside,
        "places of addresses": dict(hub.gate._by_address),
        "arriving": hub.connections._arriving,
        "silent": hub.connections._silent,
        "connections": len(hub.connections),
        "registry": [name for name, _ in hub.registry.channels()],
        "watched": hub.expiry._at,
        "due": hub.expiry._due,
        "turns": hub.membership._waiting,
        "interest": set(hub.interest._held) - own,
        "taps": set(hub.deliveries._taps) - own,
        "trails": set(hub.continuity._trails) - own,
        "broker": broker.subscribed - own if isinstance(broker, StagedBroker) else set(),
        "presence": getattr(hub.presence_store, "_channels", {}),
        "tasks": [task for task in hub._tasks if not task.done()],
    }
    return {place: what for place, what in held.items() if what}
