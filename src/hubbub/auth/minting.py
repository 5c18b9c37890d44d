"""Making tokens, secrets and keys, and looking into tokens: what `hubbub token` does."""

import secrets
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey
from joserfc.jws import JWSRegistry
from joserfc.util import urlsafe_b64decode

from hubbub.auth.claims import BadToken
from hubbub.auth.keys import (
    CURVES,
    HMAC_BYTES,
    RSA_ALGORITHMS,
    KeyMaterial,
    SignatureKey,
    raw_keys,
    secret_algorithms,
)

RSA_SIZE: Final = 2048


@dataclass(frozen=True, slots=True)
class Inspected:
    """What a token says; nobody has looked whether it is genuine."""

    header: dict[str, Any]
    claims: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyPair:
    """A key to sign with and the one that verifies; `kid` is in both JWKs, PEM has no room for it."""

    algorithm: str
    kid: str
    private_pem: str
    public_pem: str
    private_jwk: dict[str, Any]
    public_jwk: dict[str, Any]


def sign(claims: Mapping[str, Any], key: KeyMaterial, algorithm: str = "", kid: str = "") -> str:
    """A token with these claims. Raises `ValueError` with a sentence.

    key: a secret, a private PEM or a private JWK. algorithm: the usual one of its kind, unless given. kid:
    the key's own, unless given.
    """
    [found, *others] = raw_keys(key)
    if others or not found.is_private:
        raise ValueError("a token is signed by one secret or one private key; a public key only verifies")
    possible = signing_algorithms(found)
    algorithm = algorithm or possible[0]
    if algorithm not in possible:
        raise ValueError(f"the key cannot sign by {algorithm}; it can by {', '.join(possible)}")
    header = {"alg": algorithm, "kid": kid or found.kid} if kid or found.kid else {"alg": algorithm}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # RFC 9864 renames EdDSA, which verifiers do not know yet
        return jwt.encode(header, dict(claims), found, registry=JWSRegistry(algorithms=[algorithm]))


def signing_algorithms(key: SignatureKey) -> tuple[str, ...]:
    """By which a key can sign, the usual one first. Raises `ValueError`."""
    if isinstance(key, OctKey):
        possible: tuple[str, ...] = tuple(
            name for name in HMAC_BYTES if name in secret_algorithms(key.raw_value)
        )
    else:
        possible = RSA_ALGORITHMS if isinstance(key, RSAKey) else CURVES.get(key.curve_name, ())
    possible = tuple(name for name in possible if key.alg in (None, name))
    if not possible:
        raise ValueError("the key signs by none of the algorithms for tokens")
    return possible


def inspect(token: str) -> Inspected:
    """What a token says, without a look at its signature. Raises `BadToken` for what is none."""
    parts = token.strip().split(".")
    if len(parts) != 3:
        raise BadToken("the token is no JWT: three parts in base64url with dots between them")
    said = []
    for part in parts[:2]:
        try:
            said.append(msgspec.json.decode(urlsafe_b64decode(part.encode()), type=dict[str, Any]))
        except (ValueError, RecursionError):
            raise BadToken("the token's header or claims are no JSON object in base64url") from None
    return Inspected(*said)


def new_secret() -> str:
    """A secret for HS256: 43 characters with 256 random bits."""
    return secrets.token_urlsafe(32)


KINDS: Final = ("RS256", "ES256", "ES384", "ES512", "EdDSA")


def new_key_pair(kind: str = "ES256") -> KeyPair:
    """A new key pair for one of `KINDS`. Raises `ValueError`."""
    key: RSAKey | ECKey | OKPKey
    match kind:
        case "RS256":
            key = RSAKey.generate_key(RSA_SIZE)
        case "ES256" | "ES384" | "ES512":
            [curve] = [curve for curve, algorithms in CURVES.items() if kind in algorithms]
            key = ECKey.generate_key(curve)
        case "EdDSA":
            key = OKPKey.generate_key("Ed25519")
        case _:
            raise ValueError(f"{kind!r} is no kind of key pair; give one of {', '.join(KINDS)}")
    kid = key.thumbprint()
    marks = {"kid": kid, "use": "sig", "alg": kind}
    return KeyPair(
        algorithm=kind,
        kid=kid,
        private_pem=key.as_pem(private=True).decode(),
        public_pem=key.as_pem(private=False).decode(),
        private_jwk={**key.as_dict(private=True), **marks},
        public_jwk={**key.as_dict(private=False), **marks},
    )
