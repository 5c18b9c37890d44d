"""From the claims of a token to what they mean here; everything in them is checked."""

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from hubbub.auth.claims import BadToken, Claims
from hubbub.core.channels import BadName, check_client_id, check_group, check_name
from hubbub.core.grants import ACTIONS, Grants

MOST_GROUPS: Final = 128
MOST_SCOPES: Final = 256
MOST_INFO: Final = 4096
"""Bytes of JSON that claim `info` may have."""
LATEST: Final = 253402300799
"""The end of the year 9999; a later time is a mistake."""
OWN_CLAIMS: Final = frozenset({"client_id", "groups", "channels", "channel", "info"})
"""What tokens made for Hubbub say, and tokens of an identity provider may mean otherwise."""


@dataclass(frozen=True, slots=True)
class Scope:
    """What an OAuth scope opens: actions by pattern of channels, and methods of the server API."""

    channels: Mapping[str, Iterable[str]] = field(default_factory=dict)
    api: Collection[str] = ()

    def __post_init__(self) -> None:
        for what, value in (("channels", self.channels), ("api", self.api)):
            if isinstance(value, str) or not isinstance(value, Mapping if what == "channels" else Collection):
                raise ValueError(f"{what} of a scope is {value!r}; give {_SHAPES[what]}")  # noqa: TRY004
        if not all(isinstance(method, str) for method in self.api):
            raise ValueError(f"api of a scope is {self.api!r}; give {_SHAPES['api']}")
        try:
            grants = _grants(dict(self.channels))
        except ValueError as exc:
            raise ValueError(f"channels of a scope: {exc}") from exc
        object.__setattr__(self, "channels", dict(grants.by_pattern))
        object.__setattr__(self, "api", frozenset(self.api))


_SHAPES: Final = {
    "channels": "an object of patterns and lists of actions",
    "api": "a list of methods of the server API",
}


def _grants(channels: Mapping[str, Any]) -> Grants:
    """Grants from patterns that have the form of a group's name. Raises `ValueError`."""
    for pattern, actions in channels.items():
        if not isinstance(pattern, str):
            raise ValueError("a pattern is no text")  # noqa: TRY004
        check_group(pattern, "a pattern")
        if not isinstance(actions, list | tuple | set | frozenset):
            raise ValueError(f"the actions of {pattern!r} are no list")  # noqa: TRY004
    return Grants.of(channels)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What a token has to say to be taken, and what its claims mean.

    issuer, audience: what `iss` and `aud` must be. leeway: seconds that clocks may differ. scopes: what each
    scope opens. claims: those of `OWN_CLAIMS` that mean something. any_audience: whether a token for an
    audience is taken where no audience is configured, because somebody else has judged it already.
    """

    issuer: str = ""
    audience: tuple[str, ...] = ()
    leeway: float = 5.0
    require_exp: bool = True
    scopes: Mapping[str, Scope] = field(default_factory=dict)
    claims: Collection[str] = OWN_CLAIMS
    any_audience: bool = False

    def __post_init__(self) -> None:
        audience = (self.audience,) if isinstance(self.audience, str) else tuple(self.audience)
        object.__setattr__(self, "audience", tuple(each for each in audience if each))
        if not (math.isfinite(self.leeway) and 0 <= self.leeway <= 3600):
            raise ValueError(
                f"leeway is {self.leeway}; give the seconds that clocks may differ, at most 3600"
            )
        if foreign := set(self.claims) - OWN_CLAIMS:
            raise ValueError(
                f"{', '.join(sorted(foreign))} cannot be among the claims; "
                f"these can: {', '.join(sorted(OWN_CLAIMS))}"
            )

    def read(self, claims: Mapping[str, Any], now: float) -> Claims:
        """The claims of a token that was found genuine. Raises `BadToken`, which names the claim."""
        expires_at, issued_at = self._times(claims, now)
        self._parties(claims)
        said = claims.keys() & self.claims
        scopes = _scopes(claims)
        grants = _channels(claims) if "channels" in said else None
        api: frozenset[str] = frozenset()
        if self.scopes:
            grants, api = self._opened(scopes, grants)
        return Claims(
            subject=_subject(claims),
            client_id=_name(claims, "client_id") if "client_id" in said else "",
            groups=_groups(claims) if "groups" in said else (),
            grants=grants,
            channel=_name(claims, "channel") if "channel" in said else "",
            info=_info(claims) if "info" in said else None,
            expires_at=expires_at,
            issued_at=issued_at,
            token_id=_text(claims, "jti") if "jti" in claims else "",
            api=api,
            scopes=scopes,
            raw=claims,
        )

    def _times(self, claims: Mapping[str, Any], now: float) -> tuple[float | None, float | None]:
        expires_at = _time(claims, "exp")
        if expires_at is None and self.require_exp:
            raise BadToken("claim exp is missing: the token would never end")
        if expires_at is not None and now >= expires_at + self.leeway:
            raise BadToken("the token has expired", expired=True)
        not_before = _time(claims, "nbf")
        if not_before is not None and now < not_before - self.leeway:
            raise BadToken("the token is not valid yet (claim nbf)")
        issued_at = _time(claims, "iat")
        if issued_at is not None and now < issued_at - self.leeway:
            raise BadToken("the token was issued in the future (claim iat); are the clocks set?")
        return expires_at, issued_at

    def _parties(self, claims: Mapping[str, Any]) -> None:
        issuer = _text(claims, "iss")
        if self.issuer and issuer != self.issuer:
            raise BadToken("the token is from another issuer (claim iss)")
        if "aud" not in claims:
            if self.audience:
                raise BadToken("the token is for nobody in particular: claim aud is missing")
            return
        given = claims["aud"]
        audience = [given] if isinstance(given, str) else given
        if not isinstance(audience, list) or not all(isinstance(each, str) for each in audience):
            raise BadToken("claim aud is neither text nor a list of texts")
        if not self.audience and self.any_audience:
            return
        if not any(each in self.audience for each in audience):
            # RFC 7519 §4.1.3: who finds himself not meant refuses, also who has never said who he is.
            raise BadToken("the token is for another audience (claim aud)")

    def _opened(self, scopes: tuple[str, ...], grants: Grants | None) -> tuple[Grants | None, frozenset[str]]:
        """What the token grants along with its scopes."""
        opened = [scope for name in scopes if (scope := self.scopes.get(name)) is not None]
        by_pattern = tuple(item for scope in opened for item in scope.channels.items())
        if any(scope.channels for scope in self.scopes.values()):
            # Where scopes decide about channels, a token without any of them opens none.
            grants = Grants((*(grants.by_pattern if grants else ()), *by_pattern))  # type: ignore[arg-type]
        return grants, frozenset(method for scope in opened for method in scope.api)


def _time(claims: Mapping[str, Any], name: str) -> float | None:
    if name not in claims:
        return None
    value = claims[name]
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= LATEST:
        raise BadToken(f"claim {name} is no time in seconds since 1970")
    return float(value)


def _text(claims: Mapping[str, Any], name: str) -> str:
    if name not in claims:
        return ""
    value = claims[name]
    if not isinstance(value, str):
        raise BadToken(f"claim {name} is no text")
    if len(value) > 1024:
        raise BadToken(f"claim {name} is longer than 1024 characters")
    return value


def _subject(claims: Mapping[str, Any]) -> str:
    subject = _text(claims, "sub")
    try:
        return check_name(subject, "claim sub") if subject else ""
    except BadName as exc:
        raise BadToken(str(exc)) from exc


def _name(claims: Mapping[str, Any], name: str) -> str:
    value = _text(claims, name)
    if not value:
        return ""
    try:
        return check_client_id(value) if name == "client_id" else check_group(value, f"claim {name}")
    except BadName as exc:
        raise BadToken(str(exc) if name in str(exc) else f"claim {name}: {exc}") from exc


def _groups(claims: Mapping[str, Any]) -> tuple[str, ...]:
    groups = claims["groups"]
    if not isinstance(groups, list) or not all(isinstance(group, str) for group in groups):
        raise BadToken("claim groups is no list of texts")
    if len(groups) > MOST_GROUPS:
        raise BadToken(f"claim groups names {len(groups)} groups; {MOST_GROUPS} are the most")
    try:
        return tuple(dict.fromkeys(check_group(group, "claim groups") for group in groups))
    except BadName as exc:
        raise BadToken(str(exc)) from exc


def _channels(claims: Mapping[str, Any]) -> Grants | None:
    channels = claims["channels"]
    if isinstance(channels, list):
        if not all(isinstance(pattern, str) for pattern in channels):
            raise BadToken("claim channels is no list of patterns")
        channels = dict.fromkeys(channels, ACTIONS)
    if not isinstance(channels, dict):
        raise BadToken("claim channels is neither a list of patterns nor an object of patterns and actions")
    try:
        return _grants(channels)
    except (ValueError, TypeError) as exc:
        raise BadToken(f"claim channels: {exc}") from exc


def _info(claims: Mapping[str, Any]) -> Any:
    info = claims["info"]
    if info is not None and len(msgspec.json.encode(info)) > MOST_INFO:
        raise BadToken(f"claim info is larger than {MOST_INFO} bytes")
    return info


def _scopes(claims: Mapping[str, Any]) -> tuple[str, ...]:
    for name in ("scope", "scp"):
        if name in claims:
            value = claims[name]
            scopes = value.split() if isinstance(value, str) else value
            if not isinstance(scopes, list) or not all(isinstance(scope, str) for scope in scopes):
                raise BadToken(f"claim {name} is neither text nor a list of texts")
            if len(scopes) > MOST_SCOPES:
                raise BadToken(f"claim {name} names {len(scopes)} scopes; {MOST_SCOPES} are the most")
            return tuple(dict.fromkeys(scopes))
    return ()
