"""Keys that verify tokens: each with the algorithms of its kind, and no others.

That is what keeps a public key from ever being taken for an HMAC secret: the key says which algorithms it is
for, the token only chooses among these.
"""

import hmac
import re
import warnings
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final, Protocol, TypeAlias

import msgspec
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, JWKRegistry, OctKey, OKPKey, RSAKey
from joserfc.jws import JWSRegistry

KeyMaterial: TypeAlias = str | bytes | Mapping[str, Any]
"""An HMAC secret, PEM text, or a JWK or JWK set, as text or as an object."""

MOST_KEYS: Final = 100
"""Keys that one source may hold."""
MOST_TRIES: Final = 16
"""Keys that are tried on one token."""

RSA_ALGORITHMS: Final = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
CURVES: Final[Mapping[str, tuple[str, ...]]] = {
    "P-256": ("ES256",),
    "P-384": ("ES384",),
    "P-521": ("ES512",),
    "Ed25519": ("EdDSA", "Ed25519"),
}
HMAC_BYTES: Final = {"HS256": 32, "HS384": 48, "HS512": 64}
"""A secret is to be as long as the hash, RFC 7518 §3.2."""
ALGORITHMS: Final = frozenset(
    {*HMAC_BYTES, *RSA_ALGORITHMS, *(name for all_ in CURVES.values() for name in all_)}
)
RSA_BITS: Final = range(2048, 8193)

_PEM: Final = re.compile(r"-----BEGIN ([A-Z0-9 ]+)-----.*?-----END \1-----", re.DOTALL)
_ASYMMETRIC: Final[tuple[type[RSAKey | ECKey | OKPKey], ...]] = (RSAKey, ECKey, OKPKey)
_PRIVATE: Final = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "key_ops"})

SignatureKey: TypeAlias = OctKey | RSAKey | ECKey | OKPKey


class Key:
    """One key, ready to verify with."""

    __slots__ = ("_key", "_macs", "algorithms", "kid")

    def __init__(self, key: SignatureKey) -> None:
        """Raises `ValueError` where it can verify nothing."""
        algorithms = _algorithms_of(key)
        if isinstance(key, OctKey):
            if "verify" not in (key.get("key_ops") or ("verify",)):
                raise ValueError("a key whose key_ops do not hold verify cannot be used")
        else:
            public = {name: value for name, value in key.as_dict().items() if name not in _PRIVATE}
            key = type(key).import_key(public)  # of a private key all we ever need is this
        if (key.get("use") or "sig") != "sig":
            raise ValueError("a key for encryption verifies no tokens")
        if key.alg:
            algorithms &= {key.alg}
            if not algorithms:
                raise ValueError(f"a key for {key.alg} cannot be used")
        self._key = key
        self._macs: dict[str, hmac.HMAC] = {}
        if isinstance(key, OctKey):
            self._macs = {name: hmac.new(key.raw_value, digestmod=f"sha{name[2:]}") for name in algorithms}
        self.kid = key.kid or ""
        self.algorithms = algorithms

    def verify(self, algorithm: str, message: bytes, signature: bytes) -> bool:
        """Whether it is this key's signature, by one of its algorithms."""
        mac = self._macs.get(algorithm)
        if mac is not None:
            # What joserfc does, but for looking up the hash and the key anew for every client at the door.
            mac = mac.copy()
            mac.update(message)
            return hmac.compare_digest(mac.digest(), signature)
        return JWSRegistry.algorithms[algorithm].verify(message, signature, self._key)


def _algorithms_of(key: SignatureKey) -> frozenset[str]:
    if isinstance(key, OctKey):
        return secret_algorithms(key.raw_value)
    if isinstance(key, RSAKey):
        if key.raw_value.key_size not in RSA_BITS:
            raise ValueError(
                f"an RSA key of {key.raw_value.key_size} bits cannot be used; "
                f"take one of {RSA_BITS.start} to {RSA_BITS.stop - 1}"
            )
        return frozenset(RSA_ALGORITHMS)
    algorithms = CURVES.get(key.curve_name)
    if algorithms is None:
        raise ValueError(f"a key on {key.curve_name} cannot be used; the curves are {', '.join(CURVES)}")
    return frozenset(algorithms)


def secret_algorithms(secret: bytes) -> frozenset[str]:
    """What an HMAC secret of this length is good for. Raises `ValueError` where that is nothing."""
    algorithms = frozenset(name for name, length in HMAC_BYTES.items() if len(secret) >= length)
    if not algorithms:
        raise ValueError(
            f"a token secret of {len(secret)} bytes can be guessed; "
            "take 32 or more, `hubbub token secret` makes one"
        )
    return algorithms


def read_keys(material: KeyMaterial, *, published: bool = False) -> list[Key]:
    """The keys in a secret, in PEM, in a JWK or in a JWK set. Raises `ValueError` with a sentence.

    Of a set, those that are of no use here are passed over (RFC 7517 §5). Where keys were published for
    anybody to read, HMAC secrets are of no use.
    """
    return [Key(key) for key in raw_keys(material)] if not _is_set(material) else _of_set(material, published)


def raw_keys(material: KeyMaterial) -> list[SignatureKey]:
    """What is in a secret, in PEM or in a JWK, as joserfc has it: to sign with, if private."""
    if isinstance(material, Mapping):
        return [_of_jwk(material)]
    text = material.decode("utf-8", "surrogateescape") if isinstance(material, bytes) else material
    if "-----BEGIN " in text:  # wherever: what holds a public key never becomes a secret
        return _of_pem(text)
    if text.lstrip().startswith("{"):
        return [_of_jwk(_of_json(text))]
    secret = text.encode("utf-8", "surrogateescape")
    secret_algorithms(secret)
    return [_import(OctKey, secret, "a token secret")]


def _is_set(material: KeyMaterial) -> bool:
    document = material if isinstance(material, Mapping) else _document(material)
    return document is not None and "keys" in document


def _document(text: str | bytes) -> Mapping[str, Any] | None:
    start = text.lstrip()[:1]
    return _of_json(text) if start in ("{", b"{") else None


def _of_json(text: str | bytes) -> Mapping[str, Any]:
    try:
        document = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError, UnicodeError) as exc:
        raise ValueError(f"what looks like a JSON web key is no JSON: {exc}") from None
    assert isinstance(document, dict)  # it begins with {
    return document


def _of_set(material: KeyMaterial, published: bool) -> list[Key]:
    document = material if isinstance(material, Mapping) else _of_json(material)
    entries = document["keys"]
    if not isinstance(entries, list):
        raise ValueError("a JWK set needs a list named keys")  # noqa: TRY004  one kind of error for bad keys
    if len(entries) > MOST_KEYS:
        raise ValueError(f"a JWK set of {len(entries)} keys is too large; {MOST_KEYS} are the most")
    keys, why = [], "it is empty"
    for entry in entries:
        if published and isinstance(entry, dict) and entry.get("kty") == "oct":
            why = "a published secret is none"
            continue
        try:
            keys.append(Key(_of_jwk(entry)))
        except ValueError as exc:
            why = str(exc)
    if not keys:
        raise ValueError(f"a JWK set has no key that can be used: {why}")
    return keys


def _of_jwk(entry: object) -> SignatureKey:
    if not isinstance(entry, Mapping):
        raise ValueError("a JSON web key is no object")  # noqa: TRY004
    kind = JWKRegistry.key_types.get(str(entry.get("kty")))
    if kind is None:
        raise ValueError(f"a JSON web key of kind {entry.get('kty')!r} cannot be used")
    return _import(kind, dict(entry), "a JSON web key")


def _of_pem(text: str) -> list[SignatureKey]:
    blocks = [match[0] for match in _PEM.finditer(text) if match[1] != "EC PARAMETERS"]
    if not blocks:
        raise ValueError("a PEM key has no end")
    if len(blocks) > MOST_KEYS:
        raise ValueError(f"{len(blocks)} PEM keys are too many; {MOST_KEYS} are the most")
    return [_of_pem_block(block.encode("utf-8", "surrogateescape")) for block in blocks]


def _of_pem_block(block: bytes) -> SignatureKey:
    for kind in _ASYMMETRIC:
        try:
            return _import(kind, block, "a PEM key")
        except _OtherKind:
            continue
    raise ValueError("a PEM key is of a kind that cannot be used; RSA, EC and Ed25519 can")


class _OtherKind(Exception):
    """The key is fine, and not of this kind."""


def _import(kind: type[SignatureKey], value: bytes | dict[str, Any], what: str) -> SignatureKey:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what joserfc warns of is refused or checked by us
            return kind.import_key(value)
    except JoseError as exc:
        if isinstance(value, bytes):
            raise _OtherKind from exc
        raise ValueError(f"{what} cannot be read: {exc}") from exc
    # Their parsers raise what comes: a KeyError for a curve, a TypeError for a number, a struct.error.
    except Exception as exc:
        raise ValueError(f"{what} cannot be read: {str(exc) or type(exc).__name__}") from exc


class Ring:
    """The keys of one source, found by algorithm and name."""

    def __init__(self, keys: Iterable[Key], algorithms: Collection[str] = ()) -> None:
        """Of these algorithms alone, where any are given."""
        self._named: dict[tuple[str, str], list[Key]] = {}
        self._nameless: dict[str, list[Key]] = {}
        self._all: dict[str, list[Key]] = {}
        self._kids: set[str] = set()
        for key in keys:
            for algorithm in key.algorithms if not algorithms else key.algorithms & frozenset(algorithms):
                self._put(key, algorithm)

    def _put(self, key: Key, algorithm: str) -> None:
        homes = [self._all.setdefault(algorithm, [])]
        if key.kid:
            self._kids.add(key.kid)
            homes.append(self._named.setdefault((algorithm, key.kid), []))
        else:
            homes.append(self._nameless.setdefault(algorithm, []))
        for home in homes:
            if len(home) < MOST_TRIES:
                home.append(key)

    def fitting(self, algorithm: str, kid: str) -> list[Key]:
        """The keys to try: those of that name or else those without any; all where no name is given."""
        if not kid:
            return self._all.get(algorithm, _NONE)
        return self._named.get((algorithm, kid)) or self._nameless.get(algorithm, _NONE)

    def knows(self, kid: str) -> bool:
        """Whether a key of that name is here."""
        return kid in self._kids


_NONE: Final[list[Key]] = []


class KeySource(Protocol):
    """Where keys come from, now and after they were changed."""

    async def start(self) -> None:
        """Get ready, in the running event loop."""

    async def stop(self) -> None:
        """Let go of everything; idempotent."""

    async def ring(self) -> Ring:
        """The keys of now; costs nothing most of the time. Raises `AuthUnavailable`."""

    async def renewed(self, kid: str) -> Ring | None:
        """The keys once more, for a name that they did not hold; None where that is not to be expected.

        Raises `AuthUnavailable`.
        """


class FixedKeys:
    """Keys that were given, for good."""

    def __init__(self, material: Iterable[KeyMaterial], algorithms: Collection[str] = ()) -> None:
        """Raises `ValueError` with a sentence."""
        keys = [key for each in material for key in read_keys(each)]
        check_fit(keys, algorithms)
        self._ring = Ring(keys, algorithms)

    async def start(self) -> None:
        """Nothing to do."""

    async def stop(self) -> None:
        """Nothing to do."""

    async def ring(self) -> Ring:
        """Always the same."""
        return self._ring

    async def renewed(self, kid: str) -> Ring | None:
        """Never."""
        return None


def check_fit(keys: Iterable[Key], algorithms: Collection[str]) -> None:
    """Raise `ValueError` where one of the keys is for none of the algorithms that were given."""
    for key in keys:
        if algorithms and not key.algorithms.intersection(algorithms):
            raise ValueError(
                f"a key for {', '.join(sorted(key.algorithms))} is of no use "
                f"where tokens are to be signed by {', '.join(algorithms)}"
            )
