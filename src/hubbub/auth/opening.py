"""A verifier from plain values, as settings hold them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from hubbub.auth.claims import Verifier
from hubbub.auth.oauth import OAuth
from hubbub.auth.reading import OWN_CLAIMS, Scope
from hubbub.auth.tokens import Tokens


def open_verifier(
    *,
    secrets: Sequence[str] = (),
    key_files: Sequence[str] = (),
    jwks_url: str = "",
    issuer: str = "",
    audience: Sequence[str] = (),
    algorithms: Sequence[str] = (),
    scopes: str = "",
    claims: Sequence[str] = (),
    oidc_issuer: str = "",
    introspection_url: str = "",
    introspection_client: str = "",
    introspection_secret: str = "",
) -> Verifier | None:
    """What verifies tokens with these settings, None where none of them says how.

    scopes: a JSON object, as for `read_scopes`. claims: those that mean something; where none are named, all
    in tokens with keys of our own, and none in those of an authorization server. Raises `ValueError` with a
    sentence.
    """
    opened = read_scopes(scopes)
    own = bool(secrets or key_files or jwks_url)
    asks = bool(introspection_url or introspection_client or introspection_secret)
    if not own and not oidc_issuer and not asks:
        lost = {"an issuer": issuer, "an audience": audience, "algorithms": algorithms, "scopes": scopes}
        if found := next((what for what, value in lost.items() if value), ""):
            raise ValueError(
                f"{found} of tokens without a key means nothing; give a secret, keys or oidc_issuer"
            )
        return None
    if own and oidc_issuer:
        raise ValueError("tokens are verified by oidc_issuer's keys or by others; give either, not both")
    if oidc_issuer and issuer and issuer != oidc_issuer:
        raise ValueError("the issuer of tokens is oidc_issuer already; give one of them")
    tokens = None
    if own:
        tokens = Tokens(
            *secrets,
            *map(Path, key_files),
            jwks_url=jwks_url,
            issuer=issuer,
            audience=audience,
            algorithms=algorithms,
            scopes=opened,
            claims=claims or OWN_CLAIMS,
        )
        if not asks:
            return tokens
    return OAuth(
        oidc_issuer,
        audience=audience,
        algorithms=algorithms,
        scopes=opened,
        claims=claims,
        client=introspection_client,
        secret=introspection_secret,
        introspection_url=introspection_url,
        tokens=tokens,
    )


def read_scopes(text: str) -> dict[str, Scope]:
    """Scopes from a JSON object: `{"chat:read": {"channels": {"chat:*": ["join"]}, "api": ["publish"]}}`.

    Raises `ValueError` with a sentence.
    """
    if not text.strip():
        return {}
    try:
        scopes = msgspec.json.decode(text, type=dict[str, dict[str, Any]])
    except (ValueError, RecursionError) as exc:
        raise ValueError(f"scopes are no JSON object of objects: {exc}") from None
    return {name: _scope(name, scope) for name, scope in scopes.items()}


def _scope(name: str, scope: Mapping[str, Any]) -> Scope:
    if foreign := set(scope) - {"channels", "api"}:
        raise ValueError(f"scope {name!r} holds {', '.join(sorted(foreign))}; it can hold channels and api")
    try:
        return Scope(scope.get("channels", {}), scope.get("api", ()))
    except (ValueError, TypeError) as exc:
        raise ValueError(f"scope {name!r}: {exc}") from exc
