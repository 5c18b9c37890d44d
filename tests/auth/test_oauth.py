"""An authorization server: found from its URL, asked about opaque tokens, and believed in nothing else."""

from typing import Any

import pytest

from hubbub.auth import AuthUnavailable, BadToken, OAuth, Scope, Tokens
from hubbub.auth.jwks import Pace
from hubbub.core.grants import Action

from .making import SECRET, pair, run, token
from .test_introspection import knowing
from .web import Answer, Web

KEYS, OTHER = pair(), pair(number=1)
PROMPT = Pace(pause=0.0)
OPENID = "/.well-known/openid-configuration"
RFC8414 = "/.well-known/oauth-authorization-server"


def issuing(web: Web, realm: str = "", *, at: str = "", **document: Any) -> str:
    """Have the server be an issuer; its URL."""
    issuer = web.url + realm
    said = {"issuer": issuer, "jwks_uri": web.publish(KEYS.public_jwk), **document}
    web.routes[at or realm.rstrip("/") + OPENID] = Answer(said)
    return issuer


@pytest.mark.parametrize("realm", ["", "/", "/realms/chat", "/realms/chat/"])
def test_an_issuer_is_all_it_takes(web: Web, realm: str) -> None:
    """With the audience that we are; what other issuers sign is refused, and what is for others."""
    issuer = issuing(web, realm)

    async def scenario() -> None:
        verifier = OAuth(issuer, audience="chat")
        await verifier.start()
        claims = await verifier.verify(token(KEYS.private_jwk, iss=issuer, aud="chat"))
        assert claims.subject == "alice"
        for bad in (
            token(KEYS.private_jwk, iss=issuer + "x", aud="chat"),
            token(KEYS.private_jwk, iss=issuer, aud="shop"),
            token(KEYS.private_jwk, iss=issuer),
            token(KEYS.private_jwk, aud="chat"),
            token(OTHER.private_jwk, iss=issuer, aud="chat"),
            token(OTHER.private_jwk, iss=issuer, aud="chat", kid=KEYS.kid),
            "opaque",
        ):
            with pytest.raises(BadToken):
                await verifier.verify(bad)
        await verifier.stop()

    run(scenario())


@pytest.mark.parametrize(("realm", "path"), [("", RFC8414), ("/realms/chat", RFC8414 + "/realms/chat")])
def test_a_server_without_openid_is_found_too(web: Web, realm: str, path: str) -> None:
    """RFC 8414 puts the path of the issuer behind the well-known one."""
    issuer = issuing(web, realm, at=path)

    async def scenario() -> None:
        assert (await OAuth(issuer).verify(token(KEYS.private_jwk, iss=issuer))).subject == "alice"

    run(scenario())


WRONG: dict[str, dict[str, Any]] = {
    "says it is another": {"issuer": "https://login.example"},
    "says it is almost the same": {"issuer": "http://127.0.0.1/"},
    "does not say who it is": {"issuer": None},
    "has no keys": {"jwks_uri": None},
    "has strange keys": {"jwks_uri": ["https://1.1.1.1"]},
    "leads to a cloud's credentials": {"jwks_uri": "https://169.254.169.254/latest/meta-data"},
    "leads to another port without TLS": {"jwks_uri": "http://127.0.0.1:1/jwks"},
    "leads to a file": {"jwks_uri": "file:///etc/passwd"},
}


@pytest.mark.parametrize("wrong", WRONG)
def test_an_issuer_is_believed_nothing_that_it_may_not_say(web: Web, wrong: str) -> None:
    """No token is good then, and none is bad; nothing else was asked for."""
    issuer = issuing(web, **WRONG[wrong])

    async def scenario() -> None:
        verifier = OAuth(issuer)
        await verifier.start()
        with pytest.raises(AuthUnavailable):
            await verifier.verify(token(KEYS.private_jwk, iss=issuer))
        assert {each.path for each in web.asked} == {OPENID}

    run(scenario())


@pytest.mark.parametrize(
    "answer", [Answer(status=500), Answer(status=302, headers={"location": "/x"}), Answer(b"{")]
)
def test_discovery_that_fails_is_tried_again(web: Web, answer: Answer) -> None:
    """And a redirect is no way to another document."""
    issuer = issuing(web)
    good = web.routes[OPENID]
    web.routes[OPENID] = answer

    async def scenario() -> None:
        verifier = OAuth(issuer, pace=PROMPT)
        with pytest.raises(AuthUnavailable):
            await verifier.verify(token(KEYS.private_jwk, iss=issuer))
        web.routes[OPENID] = good
        assert (await verifier.verify(token(KEYS.private_jwk, iss=issuer))).subject == "alice"
        assert {each.path for each in web.asked} == {OPENID, "/jwks"}

    run(scenario())


def test_a_providers_own_claims_mean_nothing_here(web: Web) -> None:
    """Unless they are named: its groups are its own, and its client_id is an application."""
    issuer = issuing(web)
    said = token(
        KEYS.private_jwk, iss=issuer, client_id="web-app", groups=["/staff"], channels=["**"], scope="read"
    )
    scopes = {"read": Scope({"chat:*": ["join"]})}

    async def scenario() -> None:
        claims = await OAuth(issuer, scopes=scopes).verify(said)
        assert (claims.client_id, claims.groups) == ("", ())
        assert claims.grants is not None
        assert claims.grants.allow(Action.JOIN, "chat:1")
        assert not claims.grants.allow(Action.JOIN, "shop:1")
        assert (await OAuth(issuer, claims=["groups"]).verify(said)).groups == ("/staff",)

    run(scenario())


def test_a_configuration_that_cannot_work_is_refused() -> None:
    """In a sentence."""
    for arguments, match in [
        ({}, "needs an issuer"),
        ({"issuer": "http://login.example"}, "without TLS"),
        ({"issuer": "login.example"}, "https://"),
        ({"issuer": "https://login.example?x=1"}, "without a query"),
        ({"issuer": "https://login.example", "tokens": Tokens(SECRET)}, "two sources"),
        ({"introspection_url": "https://login.example/ask"}, "a client and its secret"),
        ({"client": "hubbub", "secret": "s"}, "needs an introspection URL"),
        ({"client": "a", "secret": "s", "introspection_url": "http://login.example/ask"}, "without TLS"),
        ({"issuer": "https://login.example", "algorithms": ["none"]}, "'none' is no algorithm"),
    ]:
        with pytest.raises(ValueError, match=match):
            OAuth(**arguments)


def test_the_issuer_says_where_to_ask(web: Web) -> None:
    """Signed tokens are not asked about, opaque ones are."""
    issuer = issuing(web, introspection_endpoint=knowing(web, good={"sub": "bob"}))

    async def scenario() -> None:
        verifier = OAuth(issuer, client="hubbub", secret="s")
        assert (await verifier.verify("good")).subject == "bob"
        assert (await verifier.verify(token(KEYS.private_jwk, iss=issuer))).subject == "alice"
        with pytest.raises(BadToken, match="signature"):
            await verifier.verify(token(OTHER.private_pem, iss=issuer))
        assert web.count("/introspect") == 1

    run(scenario())
