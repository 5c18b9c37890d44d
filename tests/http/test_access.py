"""What each route asks for, as a table; and tokens that open the API."""

import time
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus

from hubbub.auth import AuthUnavailable, Claims
from hubbub.auth.apikeys import METHODS as RIGHTS
from hubbub.auth.minting import new_secret, sign
from hubbub.auth.reading import Scope
from hubbub.auth.tokens import Tokens
from hubbub.http.api import METHODS
from hubbub.hub import Hub

from ..hub.inprocess import run
from .keyed import SECRET, Route, a_hub, answers, ask, bearer, entry, key, post, site_of
from .sites import api_of, app_of

GROUP = {"channel": "orders:1"}
WHO = {"user": "ann"}

ROUTES = [
    Route("GET", "/healthz", ""),
    Route("GET", "/readyz", ""),
    Route("GET", "/openapi.json", ""),
    Route("GET", "/docs", ""),
    Route("GET", "/stats", "stats"),
    Route("GET", "/metrics", "metrics"),
    Route("POST", "/broadcast", "broadcast_all", {}),
    Route("POST", "/notify/alice", "notify", {}),
    Route("POST", "/api/publish", "publish", {**GROUP, "data": 1}),
    Route("POST", "/api/broadcast", "broadcast", {"channels": ["orders:1", "orders:2"], "data": 1}),
    Route("POST", "/api/subscribe", "subscribe", GROUP | WHO),
    Route("POST", "/api/unsubscribe", "unsubscribe", GROUP | WHO),
    Route("POST", "/api/disconnect", "disconnect", WHO),
    Route("POST", "/api/refresh", "refresh", WHO),
    Route("POST", "/api/invalidate", "invalidate", WHO),
    Route("POST", "/api/presence", "presence", GROUP),
    Route("POST", "/api/presence_stats", "presence_stats", GROUP),
    Route("POST", "/api/history", "history", GROUP),
    Route("POST", "/api/history_remove", "history_remove", GROUP),
    Route("POST", "/api/channels", "channels", {}),
    Route("POST", "/api/info", "info", {}),
    Route("POST", "/api/connections", "connections", {}),
]
IDS = [route.path for route in ROUTES]


def test_every_route_is_in_the_table() -> None:
    """A new one has to say what it asks for. Streams are let in as WebSockets are."""
    described = {path for path in app_of(Hub()).openapi()["paths"] if not path.startswith("/sse")}
    paths = {route.path.replace("alice", "{client_id}") for route in ROUTES} - {"/openapi.json", "/docs"}
    assert paths | {"/api/batch"} == described
    assert {route.right for route in ROUTES if route.right} == RIGHTS
    assert set(METHODS) - {"batch"} <= RIGHTS


@pytest.mark.parametrize("route", ROUTES, ids=IDS)
def test_whom_a_route_lets_in(route: Route, tmp_path: Path) -> None:
    """Nobody without a key or with a wrong one; of keys with a scope, the one that names it."""
    others = sorted(RIGHTS - {route.right})
    hub = a_hub(
        tmp_path,
        entry("all"),
        entry("own", allow=[route.right or "info"]),
        entry("others", allow=others),
        auth=Tokens(SECRET, scopes={"own": Scope(api=[route.right]), "others": Scope(api=others)}),
    )
    without = [None, key("wrong"), {"Authorization": "Bearer nonsense"}]
    lacking = [key("others"), bearer(), bearer(scope="others")]
    opening = [key("all"), key("own"), bearer(scope="own")]
    statuses = [
        answer.status_code
        for answer in answers(hub, *((route, headers) for headers in [*without, *lacking, *opening]))
    ]
    assert statuses == ([401] * 3 + [403] * 3 if route.right else [200] * 6) + [200] * 3


@pytest.mark.parametrize("route", ROUTES, ids=IDS)
def test_without_keys_and_tokens_all_is_open(route: Route, tmp_path: Path) -> None:
    """As on a machine of one's own."""
    assert [answer.status_code for answer in answers(a_hub(tmp_path), (route, None))] == [200]


@pytest.mark.parametrize("route", [route for route in ROUTES if route.right], ids=lambda route: route.path)
def test_with_tokens_alone_nothing_is_open_without_one(route: Route, tmp_path: Path) -> None:
    """Whoever asks clients who they are does not mean to leave the API to everybody."""
    [answer] = answers(a_hub(tmp_path, auth=Tokens(SECRET)), (route, None))
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert "Authorization: Bearer" in answer.json()["detail"]


def test_stats_and_metrics_can_be_left_open(tmp_path: Path) -> None:
    """And nothing else is along with them."""
    hub = a_hub(tmp_path, keys=["secret"], public=("stats", "metrics"))
    opened = {
        route.right
        for route, answer in zip(ROUTES, answers(hub, *((route, None) for route in ROUTES)), strict=True)
        if answer.status_code == 200
    }
    assert opened == {"", "stats", "metrics"}


# Tokens.


def test_a_token_is_bound_to_its_channels(tmp_path: Path) -> None:
    """Action by action."""
    scopes = {"shop": Scope({"orders:*": ["publish", "history"]}, ["publish", "history", "presence"])}
    hub = a_hub(tmp_path, auth=Tokens(SECRET, scopes=scopes))
    for method, channel, status in (
        ("publish", "orders:1", 200),
        ("history", "orders:1", 200),
        ("presence", "orders:1", 403),
        ("publish", "news", 403),
        ("subscribe", "orders:1", 403),
    ):
        answer = post(hub, method, bearer(scope="shop"), channel=channel, data=1, user="ann")
        assert answer.status_code == status, (method, channel)


def test_what_is_wrong_with_a_token_is_said(tmp_path: Path) -> None:
    """Expired, forged, revoked: 401, with the challenge that tells a client to get another."""
    hub = a_hub(tmp_path, auth=Tokens(SECRET, scopes={"all": Scope(api=sorted(RIGHTS))}))
    info = Route("POST", "/api/info", "info", {})
    forged = {"Authorization": f"Bearer {sign({'sub': 'shop', 'exp': 2_000_000_000}, new_secret())}"}

    async def scenario() -> None:
        async with api_of(hub) as api:
            good = bearer(scope="all", jti="t1", iat=int(time.time()) - 1)
            assert (await ask(api, info, good)).status_code == 200
            revoke = Route("POST", "/api/invalidate", "invalidate", {"token_id": "t1"})
            assert (await ask(api, revoke, good)).json() == {"result": {}}
            for headers, word in (
                (bearer(exp=1_000_000_000), "expired"),
                (forged, "signature"),
                (good, "revoked"),
                ({"Authorization": "Bearer "}, "token"),
                ({"Authorization": "Bearer a.b.c"}, "token"),
            ):
                answer = await ask(api, info, headers)
                assert answer.status_code == 401
                assert word in answer.json()["detail"]
                assert answer.headers["www-authenticate"] == 'Bearer error="invalid_token"'

    run(scenario())


def test_a_wrong_key_is_not_made_good_by_a_token(tmp_path: Path) -> None:
    """Which of the two is meant is no guess of ours."""
    hub = a_hub(tmp_path, keys=["secret"], auth=Tokens(SECRET, scopes={"info": Scope(api=["info"])}))
    assert post(hub, "info", bearer(scope="info")).status_code == 200
    assert post(hub, "info", bearer(scope="info") | key("wrong")).status_code == 401
    assert post(hub, "info", bearer(scope="nothing") | {"X-API-Key": "secret"}).status_code == 200


class Unreachable:
    """A verifier whose authorization server is down."""

    async def start(self) -> None:
        """Nothing to get ready."""

    async def stop(self) -> None:
        """Nothing to let go of."""

    async def verify(self, token: str) -> Claims:
        raise AuthUnavailable("down")


def test_when_tokens_cannot_be_verified_it_says_so(tmp_path: Path) -> None:
    """503: it is not the caller's fault; keys go on to work."""
    hub = a_hub(tmp_path, keys=["secret"], auth=Unreachable())
    answer = post(hub, "info", bearer())
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert "down" not in answer.text
    assert post(hub, "info", {"X-API-Key": "secret"}).status_code == 200


# Revoking.


@pytest.mark.parametrize("body", [{"user": "ann"}, {"token_id": "t1"}, {"user": "ann", "issued_before": 4e9}])
def test_invalidate_closes_what_a_token_opened(body: dict[str, Any], tmp_path: Path) -> None:
    """And the token opens nothing any more."""
    token = bearer(sub="ann", jti="t1", iat=int(time.time()) - 1)
    with site_of(a_hub(tmp_path, keys=["secret"], auth=Tokens(SECRET))) as site:
        site.http.headers["X-API-Key"] = "secret"
        with site.client("ann", additional_headers=token) as ann:
            assert site.api("invalidate", **body) == {}
            code, _ = ann.closed_with()
            assert code is not None
            assert 3500 <= code < 4000
        with pytest.raises(InvalidStatus, match="401"), site.client("ann", additional_headers=token):
            pass


@pytest.mark.parametrize(
    "body", [{}, {"user": ""}, {"user": 7}, {"issued_before": "now"}, {"issued_before": -1}]
)
def test_invalidate_wants_somebody_named(body: dict[str, Any], tmp_path: Path) -> None:
    """An empty request must not revoke all there are."""
    answer = post(a_hub(tmp_path), "invalidate", {}, **body)
    assert answer.json()["error"]["code"] == 107
