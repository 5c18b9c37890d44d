"""Authentication: tokens that say who a client is, and keys that open the server API."""

from typing import TYPE_CHECKING, Any

from hubbub.auth.apikeys import ApiKeys, BadKeys, NotAllowed, Rights
from hubbub.auth.claims import AuthUnavailable, BadToken, Claims, Verifier

if TYPE_CHECKING:
    from hubbub.auth.oauth import OAuth
    from hubbub.auth.reading import Scope
    from hubbub.auth.tokens import Tokens

__all__ = [
    "ApiKeys",
    "AuthUnavailable",
    "BadKeys",
    "BadToken",
    "Claims",
    "NotAllowed",
    "OAuth",
    "Rights",
    "Scope",
    "Tokens",
    "Verifier",
]

_HOMES = {"OAuth": "oauth", "Scope": "reading", "Tokens": "tokens"}


def __getattr__(name: str) -> Any:
    # On demand: cryptography and an HTTP client are for those alone who verify tokens.
    if name not in _HOMES:
        raise AttributeError(f"module 'hubbub.auth' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"hubbub.auth.{_HOMES[name]}"), name)
