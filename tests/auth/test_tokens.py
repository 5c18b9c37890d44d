"""Signatures: what is taken for genuine, and every known way to have something else taken for it."""

import json
import time
import warnings
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import JWKRegistry
from joserfc.jws import JWSRegistry

from hubbub.auth import BadToken, Tokens
from hubbub.auth.keys import ALGORITHMS
from hubbub.auth.minting import KINDS, new_key_pair, new_secret
from hubbub.auth.tokens import MOST_BYTES

from .making import OTHER_SECRET, SECRET, encoded, forged, pair, run, saying, token, verified

LONG_SECRET = SECRET * 2


def refused(verifier: Tokens, bad: str, match: str) -> BadToken:
    """Why this token is refused."""
    with pytest.raises(BadToken, match=match) as raised:
        run(verifier.verify(bad))
    return raised.value


def test_a_secret_is_all_it_takes() -> None:
    """The first line that anybody writes."""
    assert verified(Tokens(SECRET), token()).subject == "alice"


@pytest.mark.parametrize("kind", KINDS)
def test_a_public_key_verifies_what_its_private_key_has_signed(kind: str) -> None:
    """As PEM, as a JWK and in a set; and nothing that another key of the kind has signed."""
    keys, other = pair(kind), pair(kind, 1)
    for public in (
        keys.public_pem,
        keys.public_jwk,
        json.dumps(keys.public_jwk),
        {"keys": [keys.public_jwk]},
    ):
        verifier = Tokens(keys=[public])
        assert verified(verifier, token(keys.private_pem), token(keys.private_jwk)).subject == "alice"
        refused(verifier, token(other.private_pem), "signature is not by one of the keys")


@pytest.mark.parametrize("algorithm", sorted(ALGORITHMS))
def test_every_algorithm_is_spoken(algorithm: str) -> None:
    """As an independent hand signs it."""
    kinds = {"RS": "RS256", "PS": "RS256", "Ed": "EdDSA"}
    secret = {"kty": "oct", "k": encoded(LONG_SECRET.encode())}
    keys = None if algorithm.startswith("HS") else pair(kinds.get(algorithm[:2], algorithm))
    private = secret if keys is None else {k: v for k, v in keys.private_jwk.items() if k != "alg"}
    public = secret if keys is None else keys.public_pem
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # EdDSA goes by two names
        registry = JWSRegistry(algorithms=[algorithm])
        signed = jwt.encode({"alg": algorithm}, saying(), JWKRegistry.import_key(private), registry=registry)

    assert verified(Tokens(keys=[public], algorithms=[algorithm]), signed).subject == "alice"


def test_several_keys_hold_at_once() -> None:
    """Of different kinds, with names and without."""
    verifier = Tokens(SECRET, OTHER_SECRET, keys=[pair().public_jwk, pair("RS256").public_pem])
    keys: list[Any] = [SECRET, OTHER_SECRET, pair().private_jwk, pair("RS256").private_pem]
    assert verified(verifier, *map(token, keys)).subject == "alice"
    refused(verifier, token(LONG_SECRET), "signature")


def test_a_name_chooses_the_key() -> None:
    """A token that names one key is not tried on others that have names."""
    verifier = Tokens(keys=[pair().public_jwk, pair(number=1).public_jwk])
    refused(verifier, token(pair().private_pem, kid=pair(number=1).kid), "signature")
    assert verified(verifier, token(pair().private_pem)).subject == "alice"  # without a name, on all


def test_a_name_that_nobody_has_is_said() -> None:
    """Unless there are keys without names, of which it may be one."""
    refused(Tokens(keys=[pair().public_jwk]), token(pair().private_pem, kid="other"), "key that is not known")
    assert verified(Tokens(SECRET), token(kid="anything")).subject == "alice"


@pytest.mark.parametrize("alg", ["none", "None", "NONE", "nOnE", ""])
def test_no_signature_is_no_signature(alg: str) -> None:
    """Whatever it is called, with an empty signature, without one and with a good one of another kind."""
    signed = forged({"alg": alg}, saying())
    head = signed.rpartition(".")[0]
    for verifier in (Tokens(SECRET), Tokens(pair().public_pem)):
        refused(verifier, signed, "algorithm")
        refused(verifier, f"{head}.", "no JWT")
        refused(verifier, head, "no JWT")


def test_a_public_key_is_no_secret() -> None:
    """Key confusion: an HMAC by the text of a public key, in every form that it may have come in."""
    for kind in KINDS:
        keys = pair(kind)
        texts = [
            keys.public_pem,
            keys.public_pem.strip(),
            json.dumps(keys.public_jwk),
            keys.public_jwk.get("x", ""),
        ]
        verifier = Tokens(keys.public_pem, keys.public_jwk)
        for text in texts:
            for header in ({"alg": "HS256"}, {"alg": "HS256", "kid": keys.kid}):
                refused(verifier, forged(header, saying(), text.encode()), "signature|key")


def test_a_public_key_is_not_taken_as_a_secret_either() -> None:
    """Whoever gives one where a secret belongs has the key used as what it is."""
    keys = pair()
    verifier = Tokens("\n# our key\n" + keys.public_pem)
    assert verified(verifier, token(keys.private_pem)).subject == "alice"
    refused(verifier, forged({"alg": "HS256"}, saying(), keys.public_pem.encode()), "signature")


def test_each_key_has_the_algorithms_of_its_kind() -> None:
    """A secret that is too short for a hash does not verify by it, nor one curve for another."""
    assert verified(Tokens(LONG_SECRET), token(LONG_SECRET, algorithm="HS512")).subject == "alice"
    long_enough = "x" * 48
    assert verified(Tokens(long_enough), token(long_enough, algorithm="HS384")).subject == "alice"
    refused(Tokens(SECRET), forged({"alg": "HS512"}, saying()), "signature")
    refused(Tokens(pair("ES384").public_pem), token(pair().private_pem), "signature")


def test_algorithms_can_be_pinned() -> None:
    """By the configuration and by the key; what else the key could do is refused."""
    keys = pair("RS256")
    pss = token(keys.private_pem, algorithm="PS256")
    assert verified(Tokens(keys.public_pem), pss).subject == "alice"
    refused(Tokens(keys.public_pem, algorithms=["RS256"]), pss, "algorithm that is not accepted")
    refused(Tokens(keys.public_jwk), pss, "signature")


def test_a_configuration_that_cannot_work_is_refused() -> None:
    """At once, and in a sentence."""
    for arguments, match in [
        ({}, "need a key"),
        ({"keys": [SECRET], "algorithms": ["none"]}, "'none' is no algorithm"),
        ({"keys": [SECRET], "algorithms": ["RS256"]}, "a key for HS256 is of no use"),
        ({"keys": [SECRET], "algorithms": ["HS512"]}, "a key for HS256 is of no use"),
        ({"keys": [SECRET], "leeway": -1}, "leeway"),
        ({"keys": [SECRET], "claims": ["email"]}, "email cannot be among the claims"),
        ({"jwks_url": "http://keys.example/jwks"}, "without TLS"),
        ({"jwks_url": "ftp://keys.example/jwks"}, "https://"),
        ({"jwks_url": "https://user:pw@keys.example/jwks"}, "password"),
    ]:
        with pytest.raises(ValueError, match=match):
            Tokens(**arguments)  # type: ignore[arg-type]


def test_a_secret_that_can_be_guessed_is_refused() -> None:
    """With the way to a better one."""
    with pytest.raises(
        ValueError, match=r"of 6 bytes can be guessed; take 32 or more, `hubbub token secret`"
    ):
        Tokens("secret")
    with pytest.raises(ValueError, match="31 bytes"):
        Tokens(b"x" * 31)
    for good in ("x" * 32, b"\xff" * 32, new_secret()):
        assert verified(Tokens(good), token(good)).subject == "alice"


@pytest.mark.parametrize(
    "member",
    [
        {"jku": "https://attacker.example/jwks"},
        {"x5u": "https://attacker.example/cert"},
        {"jwk": {"kty": "oct", "k": encoded(OTHER_SECRET.encode())}},
        {"x5c": ["MIIB"]},
        {"crit": ["exp"]},
        {"crit": []},
        {"b64": False},
        {"jku": None},
    ],
    ids=str,
)
def test_a_header_brings_no_keys_along(member: dict[str, Any]) -> None:
    """Nor does it say how to read the rest; whoever tries is refused, also with a good signature."""
    for secret in (SECRET, OTHER_SECRET):
        bad = forged({"alg": "HS256", **member}, saying(), secret.encode())
        refused(Tokens(SECRET), bad, f"header has {next(iter(member))}")


def test_tokens_for_something_else_are_refused() -> None:
    """Issuers sign more than access tokens by one key."""
    for good in ("JWT", "jwt", "at+jwt", "application/at+jwt"):
        assert verified(Tokens(SECRET), forged({"alg": "HS256", "typ": good}, saying())).subject == "alice"
    for bad in ("logout+jwt", "secevent+jwt", "", "JWE"):
        refused(Tokens(SECRET), forged({"alg": "HS256", "typ": bad}, saying()), "typ")


def test_a_huge_token_is_refused_before_anything_is_done_with_it() -> None:
    """A good one too."""
    good = token(note="x" * (MOST_BYTES * 3 // 4 - 400))
    assert len(good) <= MOST_BYTES
    assert verified(Tokens(SECRET), good).subject == "alice"
    refused(Tokens(SECRET), token(note="x" * MOST_BYTES), f"longer than {MOST_BYTES} bytes")
    started = time.process_time()
    refused(Tokens(SECRET), "a." * 10**7, "longer")
    assert time.process_time() - started < 1


def test_deep_claims_are_refused() -> None:
    """In the claims and in the header, with a good signature."""
    deep = b"[" * 5000 + b"]" * 5000
    refused(
        Tokens(SECRET), forged({"alg": "HS256"}, b'{"sub":' + deep[2500:-2500] + b"}"), "nested too deeply"
    )
    head = encoded(b'{"alg":' + deep[2500:-2500] + b"}")
    refused(Tokens(SECRET), f"{head}.e30.e30", "header is no JSON")


@pytest.mark.parametrize(
    "bad",
    [
        "",
        ".",
        "..",
        "a.b.c",
        "e30.e30.e30",
        "e30.e30.e30.e30",
        "bnVsbA.e30.e30",
        "W10.e30.e30",
        "IkhTMjU2Ig.e30.e30",
        "eyJhbGciOjF9.e30.e30",
        "eyJhbGciOiJIUzI1NiIsImtpZCI6MX0.e30.e30",
        " " + token(),
        token() + "\n",
        token() + "=",
        token().replace(".", " "),
        "ü.ü.ü",
        "\ud800.a.b",
        "\0",
        forged({"alg": "HS256"}, []),
        forged({"alg": "HS256"}, "text"),
        forged({"alg": "HS256"}, b""),
        forged({"alg": "HS256"}, b"\xff\xfe"),
        forged({"alg": "HS256"}, b'{"sub":"alice","exp":NaN}'),
        forged({"alg": "HS256", "kid": "x" * 256}, saying()),
    ],
)
def test_what_is_no_token_is_a_bad_token(bad: str) -> None:
    """And never any other error."""
    refused(Tokens(SECRET), bad, "^(the|claim)")


def test_a_signature_holds_for_every_bit() -> None:
    """Of the header, the claims and of itself."""
    good = token(pair().private_pem)
    verifier = Tokens(pair().public_pem)
    assert verified(verifier, good).subject == "alice"
    for place in range(0, len(good), 7):
        if good[place] != ".":
            other = "A" if good[place] != "A" else "B"
            refused(verifier, good[:place] + other + good[place + 1 :], "^(the|claim)")


def test_tokens_cannot_be_made_longer_by_what_does_not_count() -> None:
    """Base64 has several texts for the same bytes; one of them is a token."""
    good = token()
    last = good[-1]
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    twin = alphabet[alphabet.index(last) + 1]  # differs in the two bits that are padding
    refused(Tokens(SECRET), good[:-1] + twin, "base64url")


def test_a_key_for_encryption_verifies_nothing() -> None:
    """Nor one that is not for verifying; in a set they are passed over."""
    jwk = pair().public_jwk
    for bad in ({**jwk, "use": "enc"}, {**jwk, "alg": "ECDH-ES"}, {**jwk, "kty": "XYZ"}, {**jwk, "x": 1}):
        with pytest.raises(ValueError, match="key"):
            Tokens(bad)
        verifier = Tokens({"keys": [bad, pair(number=1).public_jwk]})
        refused(verifier, token(pair().private_pem), "signature")
        assert verified(verifier, token(pair(number=1).private_jwk)).subject == "alice"


def test_weak_keys_are_refused() -> None:
    """RSA of 1024 bits, curves that nobody asked for, secrets that are too short, sets that are too large."""
    weak = {"kty": "RSA", "n": encoded(b"\xff" * 128), "e": "AQAB"}
    huge = {"kty": "RSA", "n": encoded(b"\xff" * 2049), "e": "AQAB"}
    for bad, match in [
        (weak, "1024 bits"),
        (huge, "bits|cannot be read"),
        ({"kty": "oct", "k": "c2VjcmV0"}, "6 bytes"),
        ({"kty": "OKP", "crv": "X25519", "x": encoded(b"\x09" + bytes(31))}, "X25519"),
        ({"keys": [new_key_pair("EdDSA").public_jwk] * 101}, "too large"),
        ({"keys": []}, "no key that can be used"),
        ({"keys": 1}, "list named keys"),
        ("{", "no JSON"),
        ("-----BEGIN PUBLIC KEY-----", "no end"),
        ("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----", "cannot be read"),
    ]:
        with pytest.raises(ValueError, match=match):
            Tokens(bad)
