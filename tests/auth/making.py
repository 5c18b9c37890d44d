"""Keys and tokens, good ones and those that somebody might try."""

import asyncio
import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable, Coroutine
from functools import cache
from typing import Any, TypeVar

from hubbub.auth import Claims, Verifier
from hubbub.auth.minting import KeyPair, new_key_pair, sign

T = TypeVar("T")

SECRET = "a secret of more than thirty-two bytes"
OTHER_SECRET = "another secret of more than thirty-two bytes"
DEADLINE = 10.0
"""Seconds that anything may take."""


def run(scenario: Coroutine[Any, Any, T]) -> T:
    """Run one scenario on a fresh event loop; one that hangs fails, and so does what fails unseen."""

    async def watched() -> T:
        unseen: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: unseen.append(context))
        async with asyncio.timeout(DEADLINE):
            result = await scenario
        assert not unseen, unseen
        return result

    return asyncio.run(watched())


async def until(condition: Callable[[], Any]) -> None:
    """Let others run till it is true; `run` has the deadline."""
    while not condition():  # noqa: ASYNC110  what is waited for happens in another thread
        await asyncio.sleep(0.002)


@cache
def pair(kind: str = "ES256", number: int = 0) -> KeyPair:
    """One key pair of a kind for all tests, or another by its number."""
    return new_key_pair(kind)


def saying(**claims: Any) -> dict[str, Any]:
    """Claims of a token that is good for a minute; those that are None are left out."""
    now = time.time()
    said = {"sub": "alice", "exp": now + 60, "iat": now, **claims}
    return {name: value for name, value in said.items() if value is not None}


def token(key: Any = SECRET, *, algorithm: str = "", kid: str = "", **claims: Any) -> str:
    """A token that says this, signed by that key."""
    return sign(saying(**claims), key, algorithm, kid)


def encoded(data: bytes) -> str:
    """Base64url as tokens have it."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def forged(header: dict[str, Any], claims: Any, secret: bytes = SECRET.encode()) -> str:
    """A token with any header at all, and an HMAC with SHA-256 by any bytes at all."""
    body = claims if isinstance(claims, bytes) else json.dumps(claims).encode()
    signed = f"{encoded(json.dumps(header).encode())}.{encoded(body)}"
    return f"{signed}.{encoded(hmac.new(secret, signed.encode(), hashlib.sha256).digest())}"


def verified(verifier: Verifier, *tokens: str) -> Claims:
    """The claims of the last of these tokens, each of which is good."""

    async def scenario() -> Claims:
        for each in tokens:
            claims = await verifier.verify(each)
        return claims

    return run(scenario())
