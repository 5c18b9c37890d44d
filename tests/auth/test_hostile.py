"""Whatever is sent as a token: it is good, or it is a bad token, and nothing else ever happens."""

import asyncio
import json
from contextlib import suppress
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from hubbub.auth import BadToken, Claims, Tokens
from hubbub.auth.introspection import Introspection
from hubbub.auth.minting import inspect
from hubbub.auth.reading import Rules, Scope

from .making import SECRET, encoded, forged, pair, saying, token

VERIFIER = Tokens(SECRET, keys=[pair().public_jwk, pair("RS256").public_pem, pair("EdDSA").public_jwk])
GOOD = [token(), *(token(pair(kind).private_jwk) for kind in ("ES256", "RS256", "EdDSA"))]
SCOPES = {"read": Scope({"a": ["join"]}, ["info"])}

some = settings(derandomize=True, deadline=None, max_examples=150)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)
MEMBERS = ("alg", "kid", "typ", "jku", "jwk", "x5u", "x5c", "crit", "b64", "enc", "zip")
CLAIMS = (
    "sub",
    "exp",
    "nbf",
    "iat",
    "iss",
    "aud",
    "jti",
    "client_id",
    "groups",
    "channels",
    "channel",
    "info",
    "scope",
    "scp",
)


async def never(url: str = "") -> str:
    """Nobody is to be asked."""
    raise AssertionError("somebody was asked")


def judged(text: str, verifier: Any = VERIFIER) -> Claims | None:
    """The claims of a token, None for a bad one."""
    try:
        claims: Claims = asyncio.run(verifier.verify(text))
    except BadToken:
        return None
    return claims


@some
@given(st.text(max_size=300) | st.binary(max_size=300).map(lambda data: data.decode("latin-1")))
def test_any_text(text: str) -> None:
    """Is no token."""
    assert judged(text) is None
    with suppress(BadToken):
        inspect(text)


@some
@given(st.lists(st.binary(max_size=100), min_size=2, max_size=4))
def test_any_bytes_in_the_form_of_a_token(parts: list[bytes]) -> None:
    """Is no token either."""
    assert judged(".".join(map(encoded, parts))) is None


@some
@given(
    st.sampled_from(GOOD),
    st.integers(0, 10**6),
    st.characters(),
    st.sampled_from(["put", "cut", "swap", "end"]),
)
def test_a_good_token_with_a_change(good: str, place: int, character: str, how: str) -> None:
    """Is a bad one."""
    place %= len(good)
    match how:
        case "put":
            bad = good[:place] + character + good[place:]
        case "cut":
            bad = good[:place] + good[place + 1 :]
        case "swap":
            bad = good[:place] + character + good[place + 1 :]
        case _:
            bad = good[:place]
    assert bad == good or judged(bad) is None


@some
@given(st.dictionaries(st.sampled_from(MEMBERS) | st.text(max_size=5), JSON, max_size=4), st.booleans())
def test_any_header_under_a_good_signature(members: dict[str, Any], named: bool) -> None:
    """Leads nowhere that it should not."""
    header = {"alg": "HS256", **members} if named else members
    claims = judged(forged(header, saying()))
    if claims is not None:
        assert header["alg"] == "HS256"
        assert not {"jku", "jwk", "x5u", "x5c", "crit", "b64"} & set(header)


@some
@given(st.dictionaries(st.sampled_from(CLAIMS) | st.text(max_size=5), JSON, max_size=5))
def test_any_claims_under_a_good_signature(said: dict[str, Any]) -> None:
    """Are taken or refused; those that are taken are of the right kind."""
    verifier = Tokens(SECRET, scopes=SCOPES)
    claims = judged(forged({"alg": "HS256"}, {**saying(), **said}), verifier)
    if claims is not None:
        assert isinstance(claims.subject, str)
        assert all(isinstance(group, str) for group in claims.groups)
        assert claims.grants is not None
        assert claims.expires_at is not None


@some
@given(st.binary(max_size=200) | JSON.map(lambda value: json.dumps(value).encode()))
def test_any_payload_under_a_good_signature(payload: bytes) -> None:
    """Is refused where it is no object, and never ends otherwise."""
    assert judged(forged({"alg": "HS256"}, payload)) is None


@some
@given(st.text(max_size=100).filter(lambda text: not text.isascii() or " " in text))
def test_any_text_as_an_opaque_token(text: str) -> None:
    """Nobody is asked about what cannot be one."""
    assert judged(text, Introspection(never, "client", "secret", Rules())) is None
