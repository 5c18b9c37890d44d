"""Who calls the HTTP side, and whether that may be done: by API key, or by a token of the application's."""

from typing import Any, Final

from fastapi import Request, Security
from fastapi.security import APIKeyHeader, HTTPBearer
from starlette.exceptions import HTTPException

from hubbub.auth import AuthUnavailable, BadToken, NotAllowed, Rights
from hubbub.auth.apikeys import EVERYTHING
from hubbub.hub import Hub

SECURED: Final = [
    Security(APIKeyHeader(name="X-API-Key", scheme_name="ApiKey", auto_error=False)),
    Security(HTTPBearer(scheme_name="Token", auto_error=False)),
]
"""Dependencies that say in the API's description what is asked for; `authorise` is what asks."""
REFUSALS: Final[dict[int | str, dict[str, Any]]] = {
    401: {"description": "An API key or a token is needed, or is not good"},
    403: {"description": "The key or the token does not open this"},
    503: {"description": "The broker does not answer, or tokens cannot be verified now"},
}
NEEDS_KEY: Final = "an API key is needed: send it as X-API-Key"
NEEDS_TOKEN: Final = "a token is needed: send it as `Authorization: Bearer …`"  # noqa: S105
NEEDS_EITHER: Final = f"{NEEDS_KEY}, or a token as `Authorization: Bearer …`"


async def authorise(hub: Hub, request: Request, method: str = "", *channels: str) -> Rights:
    """What the caller may do, once that holds this method on these channels. Raises 401, 403 or 503."""
    if hub.api_keys.is_public(method):
        return EVERYTHING
    rights = await _identify(hub, request)
    if method:
        try:
            rights.check(method, channels)
        except NotAllowed as exc:
            raise forbidden(exc) from exc
    return rights


def forbidden(exc: NotAllowed) -> HTTPException:
    """A right that is lacking, as an answer."""
    return HTTPException(403, str(exc))


async def _identify(hub: Hub, request: Request) -> Rights:
    """What the caller may do. Without keys and tokens everybody may do everything."""
    if not hub.api_keys and hub.auth is None:
        return EVERYTHING
    rights = hub.api_keys.find(request.headers)
    if rights is not None:
        return rights
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if hub.auth is not None and scheme.lower() == "bearer" and not hub.api_keys.given(request.headers):
        return await _bearer(hub, token.strip())
    if hub.auth is None:
        raise _unauthorised(NEEDS_KEY, "apikey")
    raise _unauthorised(NEEDS_EITHER if hub.api_keys else NEEDS_TOKEN, "Bearer")


async def _bearer(hub: Hub, token: str) -> Rights:
    assert hub.auth is not None
    try:
        claims = await hub.auth.verify(token)
    except BadToken as exc:
        hub.metrics.bad_token("expired" if exc.expired else "invalid")
        raise _unauthorised(f"the token is not good: {exc}", 'Bearer error="invalid_token"') from exc
    except AuthUnavailable as exc:
        raise HTTPException(503, "tokens cannot be verified now; come back", {"Retry-After": "1"}) from exc
    if hub.revocations.covers(claims.subject, claims.token_id, claims.issued_at):
        hub.metrics.bad_token("revoked")
        raise _unauthorised("the token was revoked", 'Bearer error="invalid_token"')
    return Rights(who="this token", methods=claims.api, grants=claims.grants)


def _unauthorised(sentence: str, challenge: str) -> HTTPException:
    return HTTPException(401, sentence, {"WWW-Authenticate": challenge})
