"""Signed tokens (JWT): whose signature counts, and what they may say."""

import asyncio
import re
import time
from binascii import a2b_base64
from collections.abc import Collection, Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar, Final, NamedTuple

import msgspec
from joserfc.util import urlsafe_b64decode

from hubbub.auth.claims import AuthUnavailable, BadToken, Claims
from hubbub.auth.jwks import PublishedKeys
from hubbub.auth.keyfiles import KeyFiles
from hubbub.auth.keys import ALGORITHMS, FixedKeys, KeyMaterial, KeySource
from hubbub.auth.reading import OWN_CLAIMS, Rules, Scope

MOST_BYTES: Final = 8192
"""A longer token is refused before anything is done with it."""
LONGEST_KID: Final = 255
TYPES: Final = frozenset({"jwt", "at+jwt", "application/jwt", "application/at+jwt"})
"""Others are signed by the same keys for other ends (RFC 8725 §3.11): a logout token lets nobody in."""
NEVER: Final = ("jku", "x5u", "jwk", "x5c", "crit", "b64")
"""Members of a header that would have us fetch keys, take them from the token or read it in another way."""

_FORM: Final = re.compile(r"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)")


class Header(msgspec.Struct, frozen=True):
    """What a token says of its signature; believed in nothing but the choice among our keys."""

    alg: str
    kid: str = ""
    typ: str = "JWT"
    jku: Any = msgspec.UNSET
    x5u: Any = msgspec.UNSET
    jwk: Any = msgspec.UNSET
    x5c: Any = msgspec.UNSET
    crit: Any = msgspec.UNSET
    b64: Any = msgspec.UNSET


class Parts(NamedTuple):
    """A token taken apart; nothing in it is proven yet."""

    header: Header
    signed: bytes
    signature: bytes
    payload: bytes


_URL_SAFE: Final = bytes.maketrans(b"-_", b"+/")
_decode_header: Final = msgspec.json.Decoder(Header).decode
_decode_claims: Final = msgspec.json.Decoder(dict[str, Any]).decode


def take_apart(token: str) -> Parts:
    """The parts of a token. Raises `BadToken`."""
    if len(token) > MOST_BYTES:
        raise BadToken(f"the token is longer than {MOST_BYTES} bytes")
    match = _FORM.fullmatch(token)
    if match is None:
        raise BadToken("the token is no JWT: three parts in base64url with dots between them")
    head, body, proof = match.groups()
    try:
        signed = token[: match.end(2)].encode()
        # Base64 has several texts for the same bytes, of which the library takes one. That matters for the
        # signature alone, since it covers all else.
        return Parts(_header(head), signed, urlsafe_b64decode(proof.encode()), _bytes(body))
    except ValueError:
        raise BadToken("the token cannot be read: its base64url is none") from None


def _bytes(part: str) -> bytes:
    # Of the alphabet alone, as `_FORM` has it; the library's way takes twice as long.
    return a2b_base64(part.encode().translate(_URL_SAFE) + b"==")


@lru_cache(maxsize=256)
def _header(part: str) -> Header:
    """The header of a token, checked. Raises `BadToken`.

    Tokens by one key begin alike; remembering how saves a fifth of the time that a token takes.
    """
    try:
        header = _decode_header(_bytes(part))
    except (ValueError, RecursionError):
        raise BadToken("the token cannot be read: its header is no JSON object with an alg") from None
    for name in NEVER:
        if getattr(header, name) is not msgspec.UNSET:
            raise BadToken(f"the token's header has {name}, which is not accepted")
    if len(header.kid) > LONGEST_KID:
        raise BadToken("the token's header has a kid that is too long")
    if header.typ.lower() not in TYPES:
        raise BadToken("the token's header has a typ other than JWT and at+jwt: it is for something else")
    return header


def is_signed(token: str) -> bool:
    """Whether it looks like a JWT, as opposed to a token that means something to its issuer alone."""
    return token.count(".") == 2


class Tokens:
    """Verifies signed tokens: `Hub(auth=Tokens("a secret of 32 bytes or more"))`.

    keys: more of them: HMAC secrets, PEM, JWK or JWK sets, as text or objects, and `Path`s of files, which
    are read again when they change. jwks_url: where keys are published. issuer, audience: what a token has to
    say in `iss` and `aud`. algorithms: those that are accepted; without any, those that fit each key. scopes:
    what OAuth scopes open. claims: those of client_id, groups, channels, channel and info that mean
    something; all, unless given. leeway: seconds that clocks may differ. insecure: allow a jwks_url without
    TLS.
    """

    taskless: ClassVar = True
    """`verify` does not ask in which task it is."""

    def __init__(
        self,
        *secrets: KeyMaterial | Path,
        keys: Iterable[KeyMaterial | Path] = (),
        jwks_url: str = "",
        issuer: str = "",
        audience: str | Collection[str] = (),
        algorithms: Collection[str] = (),
        scopes: Mapping[str, Scope] | None = None,
        claims: Collection[str] = OWN_CLAIMS,
        leeway: float = 5.0,
        require_exp: bool = True,
        insecure: bool = False,
        sources: Collection[KeySource] = (),
    ) -> None:
        """Raises `ValueError` with a sentence."""
        algorithms = check_algorithms(algorithms)
        given = [*secrets, *keys]
        material = [key for key in given if not isinstance(key, Path)]
        paths = [key for key in given if isinstance(key, Path)]
        self._sources: list[KeySource] = []
        if material:
            self._sources.append(FixedKeys(material, algorithms))
        if paths:
            self._sources.append(KeyFiles(paths, algorithms))
        if jwks_url:
            self._sources.append(PublishedKeys.at(jwks_url, algorithms, insecure=insecure))
        self._sources.extend(sources)
        if not self._sources:
            raise ValueError("tokens need a key: give a secret, a key, a file of keys or a jwks_url")
        self._algorithms = frozenset(algorithms or ALGORITHMS)
        self._rules = Rules(
            issuer=issuer,
            audience=(audience,) if isinstance(audience, str) else tuple(audience),
            leeway=leeway,
            require_exp=require_exp,
            scopes=scopes or {},
            claims=claims,
        )

    async def start(self) -> None:
        """Fetch what keys are to be fetched; where that fails, it is tried again when they are needed."""
        await asyncio.gather(*(source.start() for source in self._sources))

    async def stop(self) -> None:
        """Let go of everything; idempotent."""
        await asyncio.gather(*(source.stop() for source in self._sources))

    async def verify(self, token: str) -> Claims:
        """The claims of a token. Raises `BadToken` and `AuthUnavailable`."""
        parts = take_apart(token)
        await self._check_signature(parts)
        try:
            claims = _decode_claims(parts.payload)
        except (ValueError, RecursionError):
            raise BadToken("the token's claims are no JSON object, or nested too deeply") from None
        return self._rules.read(claims, time.time())

    async def _check_signature(self, parts: Parts) -> None:
        """Return if one of the keys has made it."""
        algorithm, kid = parts.header.alg, parts.header.kid
        if algorithm not in self._algorithms:
            raise BadToken("the token is signed by an algorithm that is not accepted here (header alg)")
        unavailable: AuthUnavailable | None = None
        known = False
        sources = self._sources
        for renew in (False, True):
            answering = []
            for source in sources:
                try:
                    ring = await (source.renewed(kid) if renew else source.ring())
                except AuthUnavailable as exc:
                    unavailable = exc
                    continue
                answering.append(source)
                if ring is None:
                    continue
                known = known or ring.knows(kid)
                for key in ring.fitting(algorithm, kid):
                    if key.verify(algorithm, parts.signed, parts.signature):
                        return
            if known or not kid:  # keys that are there already are not fetched again for a bad signature
                break
            sources = answering
        if unavailable is not None and not known:
            raise unavailable
        if kid and not known:
            raise BadToken("the token is signed by a key that is not known here (header kid)")
        raise BadToken("the token's signature is not by one of the keys here")


def check_algorithms(algorithms: Collection[str]) -> tuple[str, ...]:
    """The algorithms as they were given. Raises `ValueError` for those that are none."""
    names = (algorithms,) if isinstance(algorithms, str) else tuple(algorithms)
    for name in names:
        if name not in ALGORITHMS:
            raise ValueError(
                f"{name!r} is no algorithm for tokens; give some of {', '.join(sorted(ALGORITHMS))}"
            )
    return names
