"""Tokens of an authorization server: found from its issuer URL, signed or opaque."""

import asyncio
from collections.abc import Collection, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from hubbub.auth.claims import Claims
from hubbub.auth.fetching import PATIENCE, CannotFetch, Document, check_outside, check_url, fetch
from hubbub.auth.introspection import Introspection
from hubbub.auth.jwks import USUAL_PACE, Pace, PublishedKeys
from hubbub.auth.reading import Rules, Scope
from hubbub.auth.tokens import Tokens, check_algorithms, is_signed

NO_CLAIMS: Final[frozenset[str]] = frozenset()
NOT_HERE: Final = range(400, 500)


class Discovery:
    """What an issuer says of itself: OpenID Connect Discovery, or else RFC 8414."""

    def __init__(self, issuer: str, *, insecure: bool = False) -> None:
        """Raises `ValueError` for a URL that is not to be trusted."""
        self.issuer = check_url(issuer, "the issuer", insecure=insecure)
        if urlsplit(issuer).query:
            raise ValueError(f"the issuer is {issuer!r}; give it without a query")
        self._insecure = insecure
        self._document: dict[str, Any] | None = None

    async def read(self) -> dict[str, Any]:
        """Fetch the document. Raises `CannotFetch`."""
        parts = urlsplit(self.issuer)
        path = parts.path.rstrip("/")
        base = f"{parts.scheme}://{parts.netloc}"
        try:
            document = await fetch(f"{base}{path}/.well-known/openid-configuration")
        except CannotFetch as exc:
            if exc.status not in NOT_HERE:
                raise
            document = await fetch(f"{base}/.well-known/oauth-authorization-server{path}")
        said = document.content.get("issuer")
        if said != self.issuer:  # RFC 8414 §3.3: or anybody could speak for anybody
            raise CannotFetch(f"the issuer says it is {said!r}, and {self.issuer!r} was asked for")
        self._document = document.content
        return document.content

    async def jwks(self) -> Document:
        """The issuer's keys, as its document of now says. Raises `CannotFetch`."""
        try:
            async with asyncio.timeout(PATIENCE):  # for all of it
                return await fetch(await self._endpoint(await self.read(), "jwks_uri"))
        except TimeoutError as exc:
            raise CannotFetch(f"{self.issuer} did not answer within {PATIENCE:g} seconds") from exc

    async def introspection_endpoint(self) -> str:
        """Where to ask about tokens. Raises `CannotFetch`."""
        return await self._endpoint(self._document or await self.read(), "introspection_endpoint")

    async def _endpoint(self, document: dict[str, Any], name: str) -> str:
        url = document.get(name)
        if not isinstance(url, str):
            raise CannotFetch(f"the document of {self.issuer} has no {name}")
        return await check_outside(url, name, base=self.issuer, insecure=self._insecure)


class OAuth:
    """Verifies what an authorization server has issued: `OAuth("https://login.example", audience="chat")`.

    Signed tokens are verified by the issuer's keys. Opaque ones are asked about, where `client` and `secret`
    are given: at `introspection_url`, or where the issuer says. Tokens of other makers can be taken besides:
    `tokens` verifies all signed ones then, and no issuer is needed.

    claims: those of client_id, groups, channels, channel and info that mean here what they say; none, unless
    given, since identity providers have meanings of their own for some. The rest is as for `Tokens`.
    """

    def __init__(
        self,
        issuer: str = "",
        *,
        audience: str | Collection[str] = (),
        algorithms: Collection[str] = (),
        scopes: Mapping[str, Scope] | None = None,
        claims: Collection[str] = NO_CLAIMS,
        client: str = "",
        secret: str = "",
        introspection_url: str = "",
        tokens: Tokens | None = None,
        leeway: float = 5.0,
        insecure: bool = False,
        pace: Pace = USUAL_PACE,
    ) -> None:
        """Raises `ValueError` with a sentence."""
        if issuer and tokens is not None:
            raise ValueError("an issuer and tokens of one's own are two sources of keys; give one of them")
        audience = (audience,) if isinstance(audience, str) else tuple(audience)
        discovery = Discovery(issuer, insecure=insecure) if issuer else None
        self._signed = tokens
        if discovery is not None:
            self._signed = Tokens(
                sources=[PublishedKeys(discovery.jwks, check_algorithms(algorithms), pace=pace)],
                issuer=issuer,
                audience=audience,
                algorithms=algorithms,
                scopes=scopes,
                claims=claims,
                leeway=leeway,
            )
        self._opaque: Introspection | None = None
        if client or secret or introspection_url:
            rules = Rules(
                audience=audience,
                leeway=leeway,
                require_exp=False,
                scopes=scopes or {},
                claims=claims,
                any_audience=True,  # the server knows who asks, and whom the token is for
            )
            if not (client and secret):
                raise ValueError("asking about tokens needs a client and its secret; give both")
            if introspection_url:
                check_url(introspection_url, "the introspection URL", insecure=insecure)
            elif discovery is None:
                raise ValueError(
                    "asking about tokens needs an introspection URL, or an issuer that names one"
                )

            async def locate() -> str:
                return introspection_url or await discovery.introspection_endpoint()  # type: ignore[union-attr]

            self._opaque = Introspection(locate, client, secret, rules)
        if self._signed is None and self._opaque is None:
            raise ValueError("OAuth needs an issuer, or an introspection URL with a client and its secret")

    async def start(self) -> None:
        """Get ready; where the issuer cannot be reached, it is tried again when it is needed."""
        await asyncio.gather(*(each.start() for each in (self._signed, self._opaque) if each is not None))

    async def stop(self) -> None:
        """Let go of everything; idempotent."""
        await asyncio.gather(*(each.stop() for each in (self._signed, self._opaque) if each is not None))

    async def verify(self, token: str) -> Claims:
        """The claims of a token. Raises `BadToken` and `AuthUnavailable`."""
        if self._opaque is None or (self._signed is not None and is_signed(token)):
            assert self._signed is not None  # one of the two is there
            return await self._signed.verify(token)
        return await self._opaque.verify(token)
