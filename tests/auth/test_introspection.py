"""Opaque tokens: asked about once, by few at a time, and remembered for a while."""

import asyncio
import threading
import time
from typing import Any

import pytest

from hubbub.auth import AuthUnavailable, BadToken, OAuth, Scope, Tokens
from hubbub.auth.introspection import KEEP_BAD, KEEP_GOOD, Introspection
from hubbub.auth.reading import Rules
from hubbub.testing.clock import FakeClock

from .making import SECRET, pair, run, token, until
from .web import Answer, Asked, Web

KEYS = pair()


def knowing(web: Web, **tokens: dict[str, Any]) -> str:
    """Have the server know these opaque tokens; where to ask."""

    def answer(asked: Asked) -> Answer:
        said = tokens.get(asked.form["token"])
        return Answer({"active": False} if said is None else {"active": True, **said})

    web.routes["/introspect"] = answer
    return web.url + "/introspect"


def asking(web: Web, **more: Any) -> OAuth:
    """A verifier that asks the server."""
    return OAuth(introspection_url=web.url + "/introspect", client="hub bub", secret="s:1", **more)


def test_an_opaque_token_is_asked_about(web: Web) -> None:
    """With the credentials of a client, as RFC 6749 has them written."""
    knowing(web, good={"sub": "alice", "scope": "read", "aud": "account", "exp": None, "username": None})

    async def scenario() -> None:
        verifier = asking(web, scopes={"read": Scope(api=["publish"])})
        await verifier.start()
        claims = await verifier.verify("good")
        assert (claims.subject, claims.api, claims.expires_at) == ("alice", {"publish"}, None)
        [asked] = web.asked
        assert asked.form == {"token": "good", "token_type_hint": "access_token"}
        assert asked.credentials == "hub+bub:s%3A1"
        with pytest.raises(BadToken, match="not active"):
            await verifier.verify("bad")
        await verifier.stop()
        await verifier.stop()

    run(scenario())


def test_a_signed_token_is_asked_about_where_there_are_no_keys(web: Web) -> None:
    """And verified where there are some of our own."""
    knowing(web, **{token(KEYS.private_jwk, sub="x", exp=1, iat=1): {"sub": "asked"}})

    async def scenario() -> None:
        said = token(KEYS.private_jwk, sub="x", exp=1, iat=1)
        with pytest.raises(BadToken):  # ECDSA signs anew each time
            await asking(web).verify(said)
        assert web.count("/introspect") == 1
        own = asking(web, tokens=Tokens(SECRET))
        assert (await own.verify(token())).subject == "alice"
        assert web.count("/introspect") == 1

    run(scenario())


def test_what_is_said_of_a_token_is_checked(web: Web) -> None:
    """As if the token had said it."""
    now = time.time()
    knowing(
        web,
        expired={"sub": "alice", "exp": now - 100},
        early={"sub": "alice", "nbf": now + 100},
        others={"sub": "alice", "aud": "shop"},
        nobodys={"sub": "alice"},
        odd={"sub": 1, "aud": "chat"},
        good={"sub": "alice", "aud": ["chat"], "exp": now + 100},
    )

    async def scenario() -> None:
        verifier = asking(web, audience="chat")
        for bad in ("expired", "early", "others", "nobodys", "odd"):
            with pytest.raises(BadToken):
                await verifier.verify(bad)
        assert (await verifier.verify("good")).subject == "alice"

    run(scenario())


@pytest.mark.parametrize("active", ["true", 1, None, [], {}, False])
def test_only_true_is_true(web: Web, active: Any) -> None:
    """An answer that is not clear is a no."""
    web.routes["/introspect"] = Answer({"active": active, "sub": "alice"})

    async def scenario() -> None:
        with pytest.raises(BadToken, match="not active"):
            await asking(web).verify("token")

    run(scenario())


@pytest.mark.parametrize(
    "answer",
    [
        Answer(status=500),
        Answer(status=401),
        Answer(status=302, headers={"location": "/elsewhere"}),
        Answer(b"<html>"),
        Answer([True]),
        Answer({"active": True, "sub": "x" * 2**19}),
        Answer({"active": True}, headers={"content-encoding": "br"}),
    ],
    ids=lambda answer: f"{answer.status} {answer.body()[:12]!r}",
)
def test_a_server_that_does_not_answer_well_is_no_judge(web: Web, answer: Answer) -> None:
    """Nobody knows then, nothing is kept, and the next question may be answered."""
    web.routes["/introspect"] = answer

    async def scenario() -> None:
        verifier = asking(web)
        with pytest.raises(AuthUnavailable):
            await verifier.verify("good")
        knowing(web, good={"sub": "alice"})
        assert (await verifier.verify("good")).subject == "alice"
        assert {each.path for each in web.asked} == {"/introspect"}

    run(scenario())


@pytest.mark.parametrize(
    "bad", ["", " ", "a b", "a\n", "tök", "\ud800", "a=b", "x" * 8193, "a&token=b", "\0"]
)
def test_what_is_no_token_is_not_asked_about(web: Web, bad: str) -> None:
    """RFC 6750 says which characters there are."""
    knowing(web)

    async def scenario() -> None:
        with pytest.raises(BadToken):
            await asking(web).verify(bad)
        assert not web.asked

    run(scenario())


def introspection(web: Web, clock: FakeClock | None = None, **bounds: Any) -> Introspection:
    """One with its own clock and bounds."""

    async def locate() -> str:
        return web.url + "/introspect"

    rules = Rules(require_exp=False, any_audience=True)
    return Introspection(locate, "hubbub", "secret", rules, clock=clock or time.time, **bounds)


def test_answers_are_kept_for_a_while(web: Web) -> None:
    """Good ones for longer than bad ones, and never past the token's end."""
    clock = FakeClock(1_000_000.0)
    knowing(web, good={"sub": "alice"}, ending={"sub": "bob", "exp": clock() + 20})

    async def scenario() -> None:
        asked = introspection(web, clock)
        for _ in range(3):
            await asked.verify("good")
            await asked.verify("ending")
            with pytest.raises(BadToken, match="not active"):
                await asked.verify("bad")
        assert len(web.asked) == 3
        clock.advance(KEEP_BAD)
        with pytest.raises(BadToken):
            await asked.verify("bad")
        assert len(web.asked) == 4
        clock.advance(26 - KEEP_BAD)
        await asked.verify("good")
        with pytest.raises(BadToken, match="expired"):
            await asked.verify("ending")
        clock.advance(KEEP_GOOD - 26)
        await asked.verify("good")
        assert [each.form["token"] for each in web.asked[4:]] == ["ending", "good"]

    run(scenario())


def test_a_flood_of_bad_tokens_forgets_no_good_one(web: Web) -> None:
    """What is kept is bounded, each kind for itself."""
    knowing(web, good={"sub": "alice"}, other={"sub": "bob"}, third={"sub": "carol"})

    async def scenario() -> None:
        asked = introspection(web, most_kept=2)
        await asked.verify("good")
        for number in range(20):
            with pytest.raises(BadToken):
                await asked.verify(f"bad-{number}")
        await asked.verify("good")
        assert len(web.asked) == 21
        for name in ("other", "good", "third", "good", "other"):  # the one used least recently goes
            await asked.verify(name)
        assert [each.form["token"] for each in web.asked[21:]] == ["other", "third", "other"]

    run(scenario())


def test_a_crowd_with_one_token_asks_once(web: Web) -> None:
    """Also where one of them gives up, and where the answer is no."""
    knowing(web, good={"sub": "alice"})

    async def scenario() -> None:
        asked = introspection(web)
        await asked.start()
        gives_up = asyncio.ensure_future(asked.verify("good"))
        crowd = [asyncio.ensure_future(asked.verify("good")) for _ in range(50)]
        await asyncio.sleep(0)
        gives_up.cancel()
        assert {claims.subject for claims in await asyncio.gather(*crowd)} == {"alice"}
        no = await asyncio.gather(*(asked.verify("bad") for _ in range(50)), return_exceptions=True)
        assert {type(each) for each in no} == {BadToken}
        assert len(web.asked) == 2
        await asked.stop()

    run(scenario())


def test_few_are_asked_about_at_once(web: Web) -> None:
    """However many tokens come; those who would wait too long are told so."""
    gate = threading.Event()
    web.routes["/introspect"] = Answer({"active": True, "sub": "alice"}, gate=gate)

    async def scenario() -> None:
        asked = introspection(web, at_once=3, most_waiting=20)
        await asked.start()
        crowd = [asyncio.ensure_future(asked.verify(f"token-{number}")) for number in range(30)]
        await until(lambda: len(web.asked) == 3)
        await until(lambda: sum(each.done() for each in crowd) == 10)
        gate.set()
        answers = await asyncio.gather(*crowd, return_exceptions=True)
        assert sum(isinstance(each, AuthUnavailable) for each in answers) == 10
        assert web.most_at_once == 3
        await asked.stop()

    run(scenario())


def test_a_slow_server_is_not_waited_for_for_ever(web: Web) -> None:
    """Whether it has been asked yet or not."""
    gate = threading.Event()
    web.routes["/introspect"] = Answer({"active": True}, gate=gate)

    async def scenario() -> None:
        asked = introspection(web, at_once=1, patience=0.2)
        await asked.start()
        answers = await asyncio.gather(asked.verify("one"), asked.verify("two"), return_exceptions=True)
        assert [type(each) for each in answers] == [AuthUnavailable] * 2
        gate.set()
        await asked.stop()

    run(scenario())


def test_stopping_leaves_nobody_waiting(web: Web) -> None:
    """It is not known then what the token was worth."""
    gate = threading.Event()
    web.routes["/introspect"] = Answer({"active": True}, gate=gate)

    async def scenario() -> None:
        asked = introspection(web)
        await asked.start()
        waiting = asyncio.ensure_future(asked.verify("one"))
        await until(lambda: web.asked)
        await asked.stop()
        with pytest.raises(AuthUnavailable, match="any more"):
            await waiting
        gate.set()

    run(scenario())
