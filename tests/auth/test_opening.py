"""A verifier from settings: each works, and what is wrong with one is said in a sentence."""

import json
from pathlib import Path
from typing import Any

import pytest

from hubbub.auth import OAuth, Tokens
from hubbub.core.grants import Action
from hubbub.settings import Settings

from .making import OTHER_SECRET, SECRET, pair, run, token, verified
from .web import Answer, Web


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(f"HUBBUB_{name.upper()}", raising=False)


def test_without_settings_nothing_verifies() -> None:
    """Which is for others to judge."""
    assert Settings().verifier() is None


def test_secrets_and_files_of_keys_work_together(tmp_path: Path) -> None:
    """Several of each, separated by commas."""
    one, two = tmp_path / "one.pem", tmp_path / "two.json"
    one.write_text(pair().public_pem)
    two.write_text(json.dumps(pair(number=1).public_jwk))
    verifier = Settings(token_secret=f"{SECRET}, {OTHER_SECRET}", token_keys=f"{one},{two}").verifier()  # type: ignore[arg-type]
    assert isinstance(verifier, Tokens)
    keys: list[Any] = [SECRET, OTHER_SECRET, pair().private_pem, pair(number=1).private_jwk]
    assert verified(verifier, *map(token, keys)).subject == "alice"


def test_what_a_token_has_to_say_can_be_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """As variables of the environment, too."""
    monkeypatch.setenv("HUBBUB_TOKEN_SECRET", SECRET)
    monkeypatch.setenv("HUBBUB_TOKEN_ISSUER", "shop")
    monkeypatch.setenv("HUBBUB_TOKEN_AUDIENCE", "chat,mail")
    monkeypatch.setenv("HUBBUB_TOKEN_ALGORITHMS", "HS256")
    monkeypatch.setenv("HUBBUB_TOKEN_CLAIMS", "groups")
    monkeypatch.setenv("HUBBUB_TOKEN_SCOPES", '{"read": {"channels": {"chat:*": ["join"]}, "api": ["info"]}}')
    verifier = Settings().verifier()
    assert verifier is not None
    claims = verified(verifier, token(iss="shop", aud="mail", scope="read", groups=["a"], client_id="x"))
    assert (claims.groups, claims.client_id, claims.api) == (("a",), "", {"info"})
    assert claims.grants is not None
    assert claims.grants.allow(Action.JOIN, "chat:1")


def test_keys_can_be_at_a_url(web: Web) -> None:
    """Or an issuer, or a place to ask at."""
    keys = pair()
    url = web.publish(keys.public_jwk)
    web.routes["/.well-known/openid-configuration"] = Answer({"issuer": web.url, "jwks_uri": url})
    web.routes["/introspect"] = Answer({"active": True, "sub": "bob"})
    asks = {
        "introspection_client": "c",
        "introspection_secret": "s",
        "introspection_url": web.url + "/introspect",
    }
    for settings, good, subject in [
        ({"token_jwks_url": url}, token(keys.private_jwk), "alice"),
        ({"oidc_issuer": web.url}, token(keys.private_jwk, iss=web.url), "alice"),
        (asks, "opaque", "bob"),
        ({**asks, "token_secret": SECRET}, token(), "alice"),
        ({**asks, "token_secret": SECRET}, "opaque", "bob"),
        ({**asks, "oidc_issuer": web.url}, "opaque", "bob"),
    ]:

        async def scenario(settings: dict[str, Any] = settings, good: str = good) -> str:
            verifier = Settings(**settings).verifier()
            assert isinstance(verifier, Tokens | OAuth)
            await verifier.start()
            try:
                return (await verifier.verify(good)).subject
            finally:
                await verifier.stop()

        assert run(scenario()) == subject


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"token_secret": "short"}, "a token secret of 5 bytes can be guessed; take 32 or more"),
        ({"token_keys": "/nowhere/keys.pem"}, "key file /nowhere/keys.pem cannot be read"),
        (
            {"token_jwks_url": "http://keys.example/"},
            "the URL of keys is 'http://keys.example/': without TLS",
        ),
        ({"token_secret": SECRET, "token_algorithms": "none"}, "'none' is no algorithm"),
        ({"token_secret": SECRET, "token_claims": "email"}, "email cannot be among the claims"),
        ({"token_secret": SECRET, "token_scopes": "{"}, "scopes are no JSON object of objects"),
        ({"token_secret": SECRET, "token_scopes": '{"a": {"chanels": {}}}'}, "scope 'a' holds chanels"),
        (
            {"token_secret": SECRET, "token_scopes": '{"a": {"channels": {"b": ["fly"]}}}'},
            "scope 'a': .*'fly'",
        ),
        ({"token_secret": SECRET, "token_scopes": '{"a": {"channels": []}}'}, "scope 'a': channels"),
        ({"token_issuer": "shop"}, "an issuer of tokens without a key"),
        ({"token_audience": "chat"}, "an audience of tokens without a key"),
        ({"token_secret": SECRET, "oidc_issuer": "https://login.example"}, "not both"),
        ({"oidc_issuer": "https://login.example", "token_issuer": "shop"}, "give one of them"),
        ({"oidc_issuer": "login.example"}, "https://"),
        ({"introspection_url": "https://login.example/ask"}, "a client and its secret"),
    ],
)
def test_wrong_settings_get_a_sentence(settings: dict[str, Any], match: str) -> None:
    """One line, which shows no secret."""
    with pytest.raises(ValueError, match=match) as raised:
        Settings(**settings).verifier()
    assert "\n" not in str(raised.value)
    assert SECRET not in str(raised.value)


def test_settings_do_not_show_secrets() -> None:
    """In a log or a traceback."""
    shown = repr(Settings(token_secret=SECRET, introspection_secret="hush"))  # type: ignore[arg-type]
    assert SECRET not in shown
    assert "hush" not in shown
