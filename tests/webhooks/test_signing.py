"""Signatures: made as documented, and taken from whoever has a secret alone."""

import hashlib
import hmac

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hubbub.webhooks import sign, verify

BODY = b'{"client_id":"alice"}'
NOW = 1_800_000_000


def test_a_signature_is_what_the_documentation_says() -> None:
    """HMAC-SHA256 of the time, a dot and the body."""
    digest = hmac.new(b"secret", b"1800000000." + BODY, hashlib.sha256).hexdigest()
    assert sign(["secret"], BODY, NOW) == f"t=1800000000,v1={digest}"


def test_a_secret_is_replaced_without_a_gap() -> None:
    """With the old one and the new one, whoever knows either is content."""
    header = sign(["old", "new"], BODY, NOW)
    assert header.count("v1=") == 2
    assert verify(["old"], header, BODY, NOW)
    assert verify(["new"], header, BODY, NOW)
    assert verify(["newer", "new"], header, BODY, NOW)
    assert not verify(["newer"], header, BODY, NOW)


@pytest.mark.parametrize(
    ("body", "now", "good"),
    [
        (BODY, NOW, True),
        (BODY, NOW + 299, True),
        (BODY, NOW - 299, True),
        (BODY, NOW + 301, False),
        (BODY, NOW - 301, False),
        (BODY + b" ", NOW, False),
    ],
)
def test_it_is_for_this_body_and_for_a_while(body: bytes, now: int, good: bool) -> None:
    """What somebody recorded is worth nothing later."""
    assert verify(["secret"], sign(["secret"], BODY, NOW), body, now) is good


def test_the_time_is_signed_too() -> None:
    """An old request is not made young by another time."""
    header = sign(["secret"], BODY, NOW).replace(f"t={NOW}", f"t={NOW + 1000}")
    assert not verify(["secret"], header, BODY, NOW + 1000)


@pytest.mark.parametrize(
    "header",
    [
        "",
        "t=",
        f"t={NOW}",
        "v1=abc",
        f"t={NOW},t={NOW},v1=x",
        "t=²,v1=x",
        "t=-1,v1=x",
        f"t={'9' * 5000},v1=x",
    ],
)
def test_garbage_is_no_signature(header: str) -> None:
    """And raises nothing."""
    assert not verify(["secret"], header, BODY, NOW)


@settings(derandomize=True, deadline=None)
@given(st.text(max_size=100))
def test_no_text_is_taken_for_one(header: str) -> None:
    """Whatever it is."""
    assert not verify(["secret"], header, BODY, NOW)
