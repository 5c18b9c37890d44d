"""`/hubbub.js`: the JavaScript client, for pages of any origin."""

import httpx
import pytest

from hubbub.auth.minting import new_secret
from hubbub.auth.tokens import Tokens
from hubbub.http.javascript import FILE
from hubbub.hub import Hub

from ..hub.inprocess import run
from .sites import asking


def get(hub: Hub, method: str = "GET", **headers: str) -> httpx.Response:
    """Ask for the module."""

    async def asked() -> httpx.Response:
        async with asking(hub) as http:
            return await http.request(method, "/hubbub.js", headers=headers)

    return run(asked())


def test_anybody_may_have_it() -> None:
    """Without a key, also where everything else asks for one, and from a page of another origin."""
    hub = Hub(auth=Tokens(new_secret()))
    answer = get(hub, Origin="https://elsewhere.example")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/javascript; charset=utf-8"
    assert answer.headers["access-control-allow-origin"] == "*"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.content == FILE.read_bytes()


@pytest.mark.parametrize("known", ['"{}"', 'W/"{}"', '"another", "{}"'])
def test_who_has_it_is_not_sent_it_again(known: str) -> None:
    """As long as it is the same."""
    first = get(Hub())
    assert first.headers["cache-control"] == "no-cache"
    again = get(Hub(), **{"If-None-Match": known.format(first.headers["etag"].strip('"'))})
    assert (again.status_code, again.content) == (304, b"")
    assert get(Hub(), **{"If-None-Match": '"another"'}).status_code == 200


def test_its_head_can_be_asked_for() -> None:
    """With the length and nothing else."""
    answer = get(Hub(), "HEAD")
    assert (answer.status_code, answer.content) == (200, b"")
    assert int(answer.headers["content-length"]) == FILE.stat().st_size
