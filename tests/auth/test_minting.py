"""Making tokens and keys, and looking into them: what the command line does."""

import json
import time
import warnings

import pytest
from joserfc.jwk import ECKey

from hubbub.auth import BadToken, Tokens
from hubbub.auth.minting import KINDS, inspect, new_key_pair, new_secret, sign

from .making import SECRET, forged, pair, saying, token, verified


def test_a_new_secret_is_a_good_one() -> None:
    """Never the same, and fit for a setting: no comma, no space."""
    secrets = {new_secret() for _ in range(20)}
    assert len(secrets) == 20
    for secret in secrets:
        assert secret.replace("-", "").replace("_", "").isalnum()
        assert verified(Tokens(secret), token(secret)).subject == "alice"


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_key_pair_is_a_good_one(kind: str) -> None:
    """Its parts fit in every form; the public ones hold nothing private."""
    keys = new_key_pair(kind)
    assert keys.algorithm == kind
    assert "PRIVATE" in keys.private_pem
    assert "PRIVATE" not in keys.public_pem
    assert "d" in keys.private_jwk
    assert not {"d", "p", "q", "dp", "dq", "qi"} & set(keys.public_jwk)
    for private in (keys.private_pem, keys.private_jwk, json.dumps(keys.private_jwk)):
        signed = sign(saying(), private)
        assert inspect(signed).header["alg"] == kind
        for public in (keys.public_pem, keys.public_jwk, {"keys": [keys.public_jwk]}):
            assert verified(Tokens(public), signed).subject == "alice"


def test_a_name_is_put_in() -> None:
    """The key's own, or another."""
    assert "kid" not in inspect(token()).header
    assert inspect(token(pair().private_jwk)).header["kid"] == pair().kid
    assert inspect(token(pair().private_jwk, kid="2")).header["kid"] == "2"


def test_signing_says_what_is_wrong() -> None:
    """In a sentence."""
    weak = ECKey.generate_key("secp256k1").as_pem(private=True).decode()
    for key, algorithm, match in [
        ("short", "", "32 or more"),
        (pair().public_pem, "", "a public key only verifies"),
        (pair().private_pem * 2, "", "one private key"),
        (pair().private_pem, "RS256", "cannot sign by RS256; it can by ES256"),
        (SECRET, "HS512", "cannot sign by HS512; it can by HS256"),
        (SECRET, "none", "cannot sign by none"),
        (weak, "", "none of the algorithms"),
        ("{}", "", "kind None"),
    ]:
        with pytest.raises(ValueError, match=match):
            sign(saying(), key, algorithm)
    with pytest.raises(ValueError, match="no kind of key pair; give one of RS256"):
        new_key_pair("DSA")


def test_signing_warns_nobody() -> None:
    """Of what is our choice."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert verified(Tokens(pair("EdDSA").public_pem), token(pair("EdDSA").private_pem)).subject == "alice"


def test_looking_into_a_token_needs_no_key() -> None:
    """Nor need it be a good one; but it has to be one."""
    said = saying(exp=time.time() - 1000)
    seen = inspect(f" {forged({'alg': 'none', 'jku': 'https://x.example'}, said)}\n")
    assert seen.header == {"alg": "none", "jku": "https://x.example"}
    assert seen.claims == said
    for bad in ("", "a.b", "a.b.c", "e30.W10.", "e30.e30.e30.e30", "é.é.é", "\ud800.."):
        with pytest.raises(BadToken):
            inspect(bad)
