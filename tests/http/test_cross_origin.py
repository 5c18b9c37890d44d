"""Pages of other origins: kept out unless they are allowed, over HTTP and at the WebSocket's door alike."""

from collections.abc import Iterator

import pytest
from websockets.exceptions import InvalidStatus

from .sites import Site, eventually, serving

OURS, FOREIGN = "https://app.example", "https://evil.example"


@pytest.fixture(scope="module")
def closed() -> Iterator[Site]:
    with serving() as site:
        yield site


@pytest.fixture(scope="module")
def some() -> Iterator[Site]:
    with serving(allowed_origins=f"{OURS}, http://localhost:3000") as site:
        yield site


@pytest.fixture(scope="module")
def every() -> Iterator[Site]:
    with serving(allowed_origins="*") as site:
        yield site


def enters(site: Site, origin: str | None) -> bool:
    """Whether a page of this origin may connect."""
    refusals = []
    try:
        with site.client("alice", origin=origin):
            return True
    except InvalidStatus as exc:
        refusals.append(exc.response)
    [refusal] = refusals
    assert refusal.status_code == 403
    assert b"allowed_origins" in (refusal.body or b"")
    return False


def may_ask(site: Site, origin: str) -> bool:
    """Whether a browser lets a page of this origin ask, and read the answer."""
    preflight = site.http.options(
        "/broadcast",
        headers={
            "Origin": origin,
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "x-api-key, content-type",
        },
    )
    answer = site.http.post("/broadcast", json={}, headers={"Origin": origin})
    assert answer.status_code == 200
    allowed = [
        response.headers.get("access-control-allow-origin") in (origin, "*")
        for response in (preflight, answer)
    ]
    assert allowed[0] == allowed[1]
    if allowed[0]:
        assert preflight.status_code == 200
        assert "x-api-key" in preflight.headers["access-control-allow-headers"].lower()
    return allowed[0]


def test_by_default_only_the_servers_own_pages(closed: Site) -> None:
    """And programs, which send no origin."""
    assert enters(closed, None)
    assert enters(closed, closed.url)
    for origin in (OURS, FOREIGN, "null", "http://127.0.0.1:1", closed.url + "0", ""):
        assert not enters(closed, origin), origin
    assert not may_ask(closed, OURS)


def test_an_origin_that_is_none(closed: Site) -> None:
    """It is no page of ours, whatever it is."""
    assert not enters(closed, "https://[broken")


def test_those_that_are_allowed(some: Site) -> None:
    """Each by its full name."""
    for origin in (OURS, "http://localhost:3000"):
        assert enters(some, origin)
        assert may_ask(some, origin)
    assert enters(some, some.url)
    for origin in (FOREIGN, "http://app.example", "https://app.example:444", "http://localhost:3001"):
        assert not enters(some, origin), origin
        assert not may_ask(some, origin), origin


def test_all_of_them(every: Site) -> None:
    """Where that is said to be wanted."""
    for origin in (OURS, FOREIGN, "null"):
        assert enters(every, origin)
        assert may_ask(every, origin)


def test_who_is_kept_out_is_counted(closed: Site) -> None:
    """As a handshake that was turned away."""

    def refused() -> float:
        [line] = [
            line
            for line in closed.http.get("/metrics").text.splitlines()
            if line.startswith("hubbub_connections_refused_total ")
        ]
        return float(line.split()[1])

    before = refused()
    assert not enters(closed, FOREIGN)
    eventually(lambda: refused() == before + 1)
