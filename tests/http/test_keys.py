"""API keys: needed where there are any, in either header, and nothing told to whoever has none."""

from collections.abc import Iterator

import httpx
import pytest

from hubbub.auth import ApiKeys

from ..hub.inprocess import a_hub, run
from .sites import Site, api_of, serving

KEYS = ("first-key", "second key")
GUARDED = ["/broadcast", "/notify/alice", "/api/publish", "/api/batch", "/api/info", "/api/nonsense"]
BODY = {"channel": "news", "data": 1, "commands": []}

RIGHT: dict[str, dict[str, str]] = {
    "X-API-Key": {"X-API-Key": "first-key"},
    "lower case": {"x-api-key": "first-key"},
    "the other one": {"X-API-Key": KEYS[1]},
    "Authorization": {"Authorization": "apikey first-key"},
    "Authorization in capitals": {"Authorization": "APIKEY first-key"},
    "Authorization with room": {"Authorization": "apikey   first-key"},
    "beside another scheme": {"X-API-Key": "first-key", "Authorization": "Bearer something"},
}
WRONG: dict[str, dict[str, str]] = {
    "none": {},
    "wrong": {"X-API-Key": "wrong"},
    "empty": {"X-API-Key": ""},
    "a beginning": {"X-API-Key": "first-ke"},
    "more": {"X-API-Key": "first-keyy"},
    "in capitals": {"X-API-Key": "FIRST-KEY"},
    "both": {"X-API-Key": "first-key,second"},
    "no text": {"X-API-Key": "\x80\xff"},
    "another scheme": {"Authorization": "Bearer first-key"},
    "no scheme": {"Authorization": "first-key"},
    "the scheme alone": {"Authorization": "apikey"},
    "wrong in Authorization": {"Authorization": "apikey wrong"},
    "wrong beside a right one": {"X-API-Key": "wrong", "Authorization": "apikey first-key"},
}


def post(paths: list[str], headers: dict[str, str], *, keys: tuple[str, ...] = KEYS) -> list[httpx.Response]:
    """What a hub with these keys answers at each path."""
    raw = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]

    async def scenario() -> list[httpx.Response]:
        async with api_of(a_hub(api_keys=keys)) as api:
            return [await api.http.post(path, json=BODY, headers=raw) for path in paths]

    return run(scenario())


@pytest.mark.parametrize("right", RIGHT)
def test_a_key_opens(right: str) -> None:
    """Either of them, in either header."""
    assert [answer.status_code for answer in post(GUARDED, RIGHT[right])] == [200, 200, 200, 200, 200, 404]


def test_a_key_may_be_any_text() -> None:
    """What a client sends of it is UTF-8."""
    key = "schlüssel"
    sent = {"X-API-Key": key.encode().decode("latin-1")}

    [answer] = post(["/broadcast"], sent, keys=(key,))
    assert answer.status_code == 200


@pytest.mark.parametrize("wrong", WRONG)
def test_without_a_key_nothing_opens(wrong: str) -> None:
    """The answer is the same for all, whatever was sent and whether there is such a method."""
    for answer in post(GUARDED, WRONG[wrong]):
        assert answer.status_code == 401, answer.url
        assert answer.json() == {"detail": "an API key is needed: send it as X-API-Key"}
        assert answer.headers["www-authenticate"] == "apikey"


def test_without_keys_it_is_open() -> None:
    """Also to those who send one; an empty key is none."""
    for keys in ((), ("",)):
        for headers in ({}, {"X-API-Key": "anything"}):
            answers = post(GUARDED, headers, keys=keys)
            assert [answer.status_code for answer in answers] == [200, 200, 200, 200, 200, 404]


def test_the_key_is_asked_for_before_the_body_is_read() -> None:
    """Whoever has none learns nothing of what a body should be, and has none read."""
    for body in (b"", b"no JSON", b"x" * 2**21):

        async def scenario(body: bytes = body) -> httpx.Response:
            async with api_of(a_hub(api_keys=KEYS)) as api:
                return await api.http.post("/broadcast", content=body)

        assert run(scenario()).status_code == 401


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with serving(api_keys="one, two") as site:
        yield site


def test_keys_of_the_settings_hold_on_a_server(site: Site) -> None:
    """Separated by commas."""
    for key, status in (("one", 200), ("two", 200), ("one, two", 401)):
        for path in ("/api/info", "/broadcast"):
            answer = site.http.post(path, json={}, headers={"X-API-Key": key})
            assert answer.status_code == status


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/openapi.json", "/docs"])
def test_what_tells_nothing_of_clients_needs_no_key(site: Site, path: str) -> None:
    """Nor does the WebSocket."""
    assert site.http.get(path).status_code == 200
    with site.client("alice"):
        pass


def test_stats_need_a_key_unless_they_were_opened(site: Site) -> None:
    """By a setting."""
    for path in ("/stats", "/metrics"):
        assert site.http.get(path).status_code == 401
        assert site.http.get(path, headers={"X-API-Key": "one"}).status_code == 200
    with serving(api_keys="one", open_stats=True) as open_site:
        for path in ("/stats", "/metrics"):
            assert open_site.http.get(path).status_code == 200


def test_keys_are_said_to_be_there() -> None:
    """As truth."""
    assert not ApiKeys()
    assert not ApiKeys(("",))
    assert ApiKeys(("key",))
