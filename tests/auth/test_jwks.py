"""Keys by URL: few fetches whatever tokens say, and servers that are down, slow, huge or strange."""

import asyncio
import threading
import time

import pytest

from hubbub.auth import AuthUnavailable, BadToken, Tokens
from hubbub.auth.fetching import fetch
from hubbub.auth.jwks import Pace, PublishedKeys
from hubbub.testing.clock import FakeClock

from .making import SECRET, pair, run, token, until
from .web import Answer, Web

OLD, NEW = pair(), pair(number=1)
PROMPT = Pace(pause=0.0)
"""Tries again at once."""


def published(url: str, clock: FakeClock | None = None, *, patience: float = 5.0, **pace: float) -> Tokens:
    """A verifier with the keys at a URL."""

    keys = PublishedKeys(
        lambda: fetch(url, patience=patience),
        pace=Pace(**{"pause": 0.0, **pace}),
        clock=clock or time.monotonic,
    )
    return Tokens(sources=[keys])


async def refused(verifier: Tokens, bad: str) -> str:
    """Why a token is refused."""
    with pytest.raises(BadToken) as raised:
        await verifier.verify(bad)
    return str(raised.value)


def test_keys_are_fetched_once(web: Web) -> None:
    """By all who want them at the same time, before the start as well as after it."""
    url = web.publish(OLD.public_jwk)
    good = token(OLD.private_jwk)

    async def scenario() -> None:
        for started in (True, False):
            web.asked.clear()
            verifier = Tokens(jwks_url=url)
            if started:
                await verifier.start()
            answers = await asyncio.gather(*(verifier.verify(good) for _ in range(50)))
            assert {claims.subject for claims in answers} == {"alice"}
            await verifier.stop()
            assert web.count("/jwks") == 1

    run(scenario())


def test_one_who_gives_up_takes_nobody_along(web: Web) -> None:
    """The fetch that both waited for goes on."""
    url = web.publish(OLD.public_jwk)
    gate = threading.Event()
    web.routes["/jwks"].gate = gate  # type: ignore[union-attr]

    async def scenario() -> None:
        verifier = Tokens(jwks_url=url)
        gives_up, stays = (asyncio.ensure_future(verifier.verify(token(OLD.private_jwk))) for _ in range(2))
        await until(lambda: web.asked)
        gives_up.cancel()
        gate.set()
        assert (await stays).subject == "alice"
        assert gives_up.cancelled()
        assert web.count("/jwks") == 1

    run(scenario())


def test_a_new_key_is_found_by_its_name(web: Web) -> None:
    """Without a restart and without waiting for the old keys to run out."""
    url = web.publish(OLD.public_jwk)

    async def scenario() -> None:
        verifier = Tokens(jwks_url=url)
        await verifier.verify(token(OLD.private_jwk))
        web.publish(NEW.public_jwk)
        news = await asyncio.gather(*(verifier.verify(token(NEW.private_jwk)) for _ in range(20)))
        assert len(news) == 20
        assert "not known" in await refused(verifier, token(OLD.private_jwk))
        assert web.count("/jwks") == 2

    run(scenario())


def test_a_flood_of_unknown_names_fetches_once_in_half_a_minute(web: Web) -> None:
    """Whether they come at once or one after the other; honest tokens pass meanwhile."""
    url = web.publish(OLD.public_jwk)
    clock = FakeClock()
    flood = [token(SECRET if n % 2 else NEW.private_pem, kid=f"unknown-{n}") for n in range(100)]
    flood = [bad for bad in flood if bad]

    async def scenario() -> None:
        verifier = published(url, clock)
        await verifier.start()
        for fetches in (2, 3):
            await asyncio.gather(*(refused(verifier, bad) for bad in flood))
            for bad in flood:
                await refused(verifier, bad)
                await verifier.verify(token(OLD.private_jwk))
            assert web.count("/jwks") == fetches
            clock.advance(29.9)
            await refused(verifier, flood[0])
            assert web.count("/jwks") == fetches
            clock.advance(0.2)

    run(scenario())


def test_a_bad_signature_fetches_nothing(web: Web) -> None:
    """By a name that is known, or by none."""
    url = web.publish(OLD.public_jwk)

    async def scenario() -> None:
        verifier = published(url, unknown=0)
        for bad in (token(NEW.private_pem, kid=OLD.kid), token(NEW.private_pem), token(SECRET)):
            assert "signature" in await refused(verifier, bad)
        assert web.count("/jwks") == 1

    run(scenario())


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("", 600), ("max-age=300", 300), ("max-age=1", 60), ("no-store", 60), ("max-age=99999999", 86400)],
)
def test_keys_are_kept_as_long_as_their_server_says(web: Web, header: str, seconds: float) -> None:
    """Within bounds; they are refreshed before they run out, and nobody waits for that."""
    url = web.publish(OLD.public_jwk, cache_control=header)
    clock = FakeClock()
    good = token(OLD.private_jwk)

    async def scenario() -> None:
        verifier = published(url, clock, stale=10**6)
        await verifier.start()
        clock.advance(seconds * 0.79)
        await verifier.verify(good)
        assert web.count("/jwks") == 1
        gate = web.routes["/jwks"].gate = threading.Event()  # type: ignore[union-attr]
        clock.advance(seconds * 0.02)
        for _ in range(5):
            await verifier.verify(good)
        await until(lambda: web.count("/jwks") == 2)
        gate.set()

    run(scenario())


def test_a_key_that_was_taken_back_is_gone_when_its_time_is_over(web: Web) -> None:
    """Who comes after a long silence waits for the keys of now."""
    url = web.publish(OLD.public_jwk)
    clock = FakeClock()

    async def scenario() -> None:
        verifier = published(url, clock, unknown=10**9)
        await verifier.verify(token(OLD.private_jwk))
        web.publish(NEW.public_jwk)
        clock.advance(601)
        await refused(verifier, token(OLD.private_jwk))
        assert web.count("/jwks") >= 2

    run(scenario())


def test_old_keys_stay_while_their_server_is_down(web: Web) -> None:
    """For a day; then nobody can say any more. When it is back, all is well."""
    url = web.publish(OLD.public_jwk)
    clock = FakeClock()
    good = token(OLD.private_jwk)

    async def scenario() -> None:
        verifier = published(url, clock)
        await verifier.verify(good)
        web.routes.clear()
        for _ in range(4):
            clock.advance(86400 / 4 - 1)
            assert (await verifier.verify(good)).subject == "alice"
        with pytest.raises(AuthUnavailable, match="status 404"):
            await verifier.verify(token(NEW.private_jwk))
        clock.advance(10)
        with pytest.raises(AuthUnavailable, match="keys cannot be fetched"):
            await verifier.verify(good)
        web.publish(OLD.public_jwk)
        assert (await verifier.verify(good)).subject == "alice"

    run(scenario())


def test_a_server_that_fails_is_asked_ever_more_rarely(web: Web) -> None:
    """However many tokens come meanwhile."""
    clock = FakeClock()

    async def scenario() -> None:
        verifier = published(web.url + "/jwks", clock, pause=1, longest_pause=8)
        await verifier.start()
        asked = []
        for _ in range(40):
            for _ in range(3):
                with pytest.raises(AuthUnavailable):
                    await verifier.verify(token(OLD.private_pem))
            clock.advance(1)
            asked.append(web.count("/jwks"))
        assert asked[:8] == [1, 2, 2, 3, 3, 3, 3, 4]
        assert asked[-1] == 8
        clock.advance(8)
        web.publish(OLD.public_jwk)
        assert (await verifier.verify(token(OLD.private_jwk))).subject == "alice"

    run(scenario())


STRANGE: dict[str, Answer] = {
    "huge": Answer(b'{"keys":[' + b" " * 2**20 + b"]}"),
    "redirecting": Answer(status=302, headers={"location": "http://169.254.169.254/latest"}),
    "failing": Answer(status=500),
    "compressed": Answer(b"\x1f\x8b", headers={"content-encoding": "gzip"}),
    "no JSON": Answer(b"<html>"),
    "no text": Answer(b"\xff\xfe\0"),
    "nested": Answer(b"[" * 100_000),
    "a list": Answer([1]),
    "no set": Answer({"hello": 1}),
    "no list": Answer({"keys": {"a": 1}}),
    "no keys": Answer({"keys": [1, "a", None, {}, {"kty": "RSA"}, {"kty": 1}, {"kty": []}]}),
    "too many": Answer({"keys": [OLD.public_jwk] * 101}),
    "a secret": Answer(
        {"keys": [{"kty": "oct", "k": "eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHg", "kid": "s"}]}
    ),
    "nothing": Answer(b""),
}


@pytest.mark.parametrize("strange", STRANGE)
def test_what_is_no_set_of_keys_is_not_taken_for_one(web: Web, strange: str) -> None:
    """Nobody can say then what a token is worth; a redirect is not followed."""
    web.routes["/jwks"] = STRANGE[strange]

    async def scenario() -> None:
        verifier = published(web.url + "/jwks")
        with pytest.raises(AuthUnavailable, match="keys cannot be fetched: "):
            await verifier.verify(token("x" * 32, kid="s"))
        web.publish(OLD.public_jwk)
        assert (await verifier.verify(token(OLD.private_jwk))).subject == "alice"
        assert {each.path for each in web.asked} == {"/jwks"}

    run(scenario())


def test_what_cannot_be_used_is_passed_over(web: Web) -> None:
    """Sets hold keys of kinds that are yet to be invented; a secret in one is never used."""
    secret = {"kty": "oct", "k": "eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHg", "kid": "s"}
    url = web.publish(
        {"kty": "AKP", "alg": "ML-DSA-44"}, secret, {"kty": "EC", "crv": "P-1"}, OLD.private_jwk
    )

    async def scenario() -> None:
        verifier = published(url)
        assert (await verifier.verify(token(OLD.private_jwk))).subject == "alice"
        await refused(verifier, token("x" * 32, kid="s"))

    run(scenario())


def test_a_slow_server_is_not_waited_for_for_ever(web: Web) -> None:
    """Nor one that sends a byte now and then."""
    gate = threading.Event()
    web.routes["/jwks"] = Answer(gate=gate)

    async def scenario() -> None:
        verifier = published(web.url + "/jwks", patience=0.1)
        with pytest.raises(AuthUnavailable, match=r"did not answer within 0\.1 seconds"):
            await verifier.verify(token(OLD.private_jwk))
        gate.set()

    run(scenario())


def test_nobody_there_is_nobody_there() -> None:
    """Keys that were never fetched are no reason to call a token bad."""

    async def scenario() -> None:
        verifier = published("http://127.0.0.1:1/jwks")
        await verifier.start()
        with pytest.raises(AuthUnavailable, match="cannot be reached"):
            await verifier.verify(token(OLD.private_jwk))
        await verifier.stop()
        await verifier.stop()

    run(scenario())


def test_keys_at_hand_hold_while_others_cannot_be_fetched() -> None:
    """And only what they cannot tell is left open."""

    async def scenario() -> None:
        verifier = Tokens(SECRET, jwks_url="http://127.0.0.1:1/jwks")
        assert (await verifier.verify(token())).subject == "alice"
        with pytest.raises(AuthUnavailable):
            await verifier.verify(token(OLD.private_jwk))

    run(scenario())


def test_stopping_ends_a_fetch(web: Web) -> None:
    """Whoever waits for it is told that he will not learn it."""
    gate = threading.Event()
    web.routes["/jwks"] = Answer(gate=gate)

    async def scenario() -> None:
        verifier = published(web.url + "/jwks")
        waiting = asyncio.ensure_future(verifier.verify(token(OLD.private_jwk)))
        await until(lambda: web.asked)
        await verifier.stop()
        with pytest.raises(AuthUnavailable):
            await waiting
        gate.set()

    run(scenario())
