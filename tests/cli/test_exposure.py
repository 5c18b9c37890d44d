"""Beyond loopback: nothing is served that is open to everybody, unless that is said to be wanted."""

from pathlib import Path

import pytest
from fastapi import APIRouter, FastAPI
from starlette.middleware.cors import CORSMiddleware

from hubbub.auth import ApiKeys
from hubbub.auth.minting import new_secret
from hubbub.auth.tokens import Tokens
from hubbub.hub import ConnectRequest, Hub, Identity
from hubbub.server import CannotServe, check_app_exposure, check_exposure, hubs_of
from hubbub.settings import Settings

from .conftest import Command
from .running import Running, Server

SECRET = new_secret()
TOKENS = {"token_secret": SECRET}
KEYS = {"api_keys": "sesame"}


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(f"HUBBUB_{name.upper()}", raising=False)


def outside(**settings: object) -> Settings:
    """Settings of a server that other machines can reach."""
    return Settings.model_validate({"host": "192.0.2.1", **settings})


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost"])
def test_on_loopback_all_may_be_open(host: str) -> None:
    """Whoever reaches it is on this machine."""
    check_exposure(Settings(host=host))


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "::", "192.0.2.1", "2001:db8::1", "example.com", "::ffff:1.2.3.4"]
)
def test_elsewhere_it_takes_tokens_and_keys(host: str) -> None:
    """Or the word that says that it is wanted."""
    with pytest.raises(CannotServe, match=f"^{host} can be reached from other machines, and clients are not"):
        check_exposure(Settings(host=host))
    check_exposure(Settings(host=host, insecure=True))
    check_exposure(Settings.model_validate({"host": host, **TOKENS, **KEYS}))


def test_the_refusal_names_what_is_open_and_both_ways_on() -> None:
    """One line."""
    asking = {"webhook_connect": "https://backend.example/connect"}
    for settings, opened, way in (
        (asking, "the API needs no key", "give --api-keys, or give --insecure"),
        (KEYS, "clients are not authenticated", "configure tokens (--token-secret), or give --insecure"),
    ):
        with pytest.raises(CannotServe) as refused:
            check_exposure(outside(**settings))
        sentence = str(refused.value)
        assert sentence == f"192.0.2.1 can be reached from other machines, and {opened}; {way}"


def test_tokens_close_the_api_too() -> None:
    """Who has neither a key nor a token for it is not let in there."""
    check_exposure(outside(**TOKENS))


def test_a_backend_that_is_asked_about_clients_will_do(tmp_path: Path) -> None:
    """And so will keys in a file."""
    check_exposure(outside(webhook_connect="https://backend.example/connect", api_keys_file="keys.json"))
    with pytest.raises(CannotServe):
        check_exposure(outside(webhook_events="https://backend.example/events", **KEYS))


async def opaque(*request: object) -> None:
    """An app that nobody can look into."""


def an_app(*hubs: Hub) -> FastAPI:
    """An app that includes hubs, each in another way."""
    app = FastAPI()
    for depth, hub in enumerate(hubs):
        router = hub.router
        for _ in range(depth):
            outer = APIRouter()
            outer.include_router(router, prefix="/deeper")
            router = outer
        app.include_router(router, prefix=f"/hub{depth}")
    return app


def test_the_hubs_of_an_app_are_found_at_any_depth() -> None:
    """In routers, in apps that are mounted, behind middleware."""
    hubs = [Hub() for _ in range(4)]
    app = an_app(*hubs[:3])
    app.mount("/mounted", an_app(hubs[3]))
    found = hubs_of(CORSMiddleware(app))
    assert {hub.node_id for hub in found} == {hub.node_id for hub in hubs}
    assert hubs_of(FastAPI()) == []
    assert hubs_of(opaque) == []


def a_guarded_hub() -> Hub:
    """A hub with tokens and a key."""
    hub = Hub(auth=Tokens(SECRET))
    hub.api_keys = ApiKeys(["sesame"])
    return hub


def test_of_an_app_the_hubs_count_and_not_the_settings() -> None:
    """Its hubs know nothing of these."""
    hub = Hub()
    with pytest.raises(CannotServe, match=r"give Hub an auth=\.\.\. and set its api_keys, or give"):
        check_app_exposure(outside(**TOKENS, **KEYS), an_app(hub))
    check_app_exposure(outside(insecure=True), an_app(hub))
    check_app_exposure(Settings(host="127.0.0.1"), an_app(hub))
    check_app_exposure(outside(), an_app(a_guarded_hub()))


def test_every_hub_of_an_app_has_to_be_guarded() -> None:
    """One open door is one too many; and an app that cannot be looked into is taken to be open."""
    for app in (an_app(a_guarded_hub(), Hub()), FastAPI(), opaque):
        with pytest.raises(CannotServe):
            check_app_exposure(outside(), app)


def test_a_connect_hook_asks_who_a_client_is() -> None:
    """So it will do in place of tokens."""
    hub = Hub()
    hub.api_keys = ApiKeys(["sesame"])

    @hub.on_connect
    async def who(request: ConnectRequest) -> Identity:
        return Identity(user="ann")

    check_app_exposure(outside(), an_app(hub))


OPEN_APP = """
from fastapi import FastAPI
from hubbub import Hub
hub = Hub()
app = FastAPI(lifespan=hub.lifespan)
app.include_router(hub.router)
"""


@pytest.mark.parametrize("workers", ["1", "2"])
def test_an_app_that_is_open_is_not_served_to_others(tmp_path: Path, workers: str) -> None:
    """By one process or by several; keys in the environment are not its keys."""
    (tmp_path / "main.py").write_text(OPEN_APP)
    env = {"HUBBUB_API_KEYS": "sesame", "HUBBUB_TOKEN_SECRET": SECRET}
    how = ("serve", "main:app", "--host", "0.0.0.0", "--port", "0", "--workers", workers)
    with Running(*how, env=env, cwd=tmp_path) as server:
        assert server.ended() == 2
        assert server.err.startswith("hubbub: 0.0.0.0 can be reached from other machines")


def test_with_tokens_and_keys_it_is_served(command: Command) -> None:
    """And then the API and the stats want the key."""
    env = {"HUBBUB_TOKEN_SECRET": SECRET, "HUBBUB_API_KEYS": "sesame"}
    with Server("--host", "0.0.0.0", env=env) as server:
        for path in ("/stats", "/metrics"):
            assert server.get(path).status_code == 401
        assert server.get("/healthz").status_code == 200
        assert server.post("/api/info", {})["detail"].startswith("an API key is needed")
        assert command("stats", "--url", server.url, "--api-key", "sesame").code == 0
