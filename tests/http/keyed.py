"""Hubs with keys and tokens, and how tests of who may do what ask them."""

import json
import time
from pathlib import Path
from typing import Any, NamedTuple

import httpx

from hubbub.auth import ApiKeys
from hubbub.auth.apikeys import hash_key
from hubbub.auth.minting import new_secret, sign
from hubbub.core.channels import Namespace
from hubbub.hub import Hub

from ..hub.inprocess import run
from .sites import Api, api_of, app_of, serving

SECRET = new_secret()
KEPT = Namespace(history_size=10)


class Route(NamedTuple):
    """One route: what is sent to it, and by which right it opens; "" is open to all."""

    verb: str
    path: str
    right: str
    body: Any = None


def entry(name: str, **scope: Any) -> dict[str, Any]:
    """A key as it stands in a file; the key itself is its name, twice."""
    return {"name": name, "hash": hash_key(name * 2), **scope}


def key(name: str) -> dict[str, str]:
    """The headers that carry it."""
    return {"X-API-Key": name * 2}


def bearer(**claims: Any) -> dict[str, str]:
    """The headers that carry a token."""
    return {
        "Authorization": f"Bearer {sign({'sub': 'shop', 'exp': int(time.time()) + 60, **claims}, SECRET)}"
    }


def a_hub(tmp_path: Path, *entries: dict[str, Any], **options: Any) -> Hub:
    """A hub with these keys in a file, and other options of its keys and of itself."""
    file = tmp_path / "keys.json"
    file.write_text(json.dumps(entries))
    auth = options.pop("auth", None)
    hub = Hub(auth=auth, default_namespace=KEPT)
    hub.api_keys = ApiKeys(options.pop("keys", ()), file=file if entries else None, **options)
    return hub


async def ask(api: Api, route: Route, headers: dict[str, str] | None = None) -> httpx.Response:
    """What a route answers."""
    return await api.http.request(route.verb, route.path, json=route.body, headers=headers)


def answers(hub: Hub, *asked: tuple[Route, dict[str, str] | None]) -> list[httpx.Response]:
    """What the routes answer, one after the other."""

    async def scenario() -> list[httpx.Response]:
        async with api_of(hub) as api:
            return [await ask(api, route, headers) for route, headers in asked]

    return run(scenario())


def post(hub: Hub, method: str, headers: dict[str, str], **body: Any) -> httpx.Response:
    """What one method answers."""
    [answer] = answers(hub, (Route("POST", f"/api/{method}", method, body), headers))
    return answer


def site_of(hub: Hub, **settings: Any) -> Any:
    """A real server with this hub."""
    return serving(app_of(hub), **settings)
