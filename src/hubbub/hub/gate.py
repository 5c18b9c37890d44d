"""Who comes in: first whether there is room, then who it is."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections import Counter, deque
from collections.abc import Coroutine
from functools import lru_cache
from ipaddress import IPv6Address, ip_address, ip_network
from typing import TYPE_CHECKING, Any, Final

from msgspec.structs import replace

from hubbub.auth import AuthUnavailable, BadToken, Claims
from hubbub.core import codes
from hubbub.core.bucket import Bucket
from hubbub.core.channels import BadName, check_client_id, check_group, check_name
from hubbub.core.messages import user_channel
from hubbub.hub.hooks import ConnectRequest, Identity, Refuse

if TYPE_CHECKING:
    from hubbub.hub.hub import Hub

logger = logging.getLogger("hubbub.gate")

PER_TURN: Final = 32
"""Clients that are let in per turn of the event loop: some ten milliseconds, then others have their say."""
BEARER: Final = "bearer."
"""Begins the subprotocol that carries a token, which is the one header that a browser lets a page choose."""
_HOUSEHOLD: Final = 64  # bits of an IPv6 address that one customer has to himself


NOBODY: Final = Identity()


class Gate:
    """Lets clients in, at a pace that those who are in do not feel, and finds out who they are."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        options = hub.options
        self._arrivals = None
        if options.arrivals_per_second:
            self._arrivals = Bucket(options.arrivals_per_second, options.arrivals_burst, hub.now())
        self._trusted = [ip_network(p) for p in options.trusted_proxies if p != "*"]
        self._place = lru_cache(maxsize=4096)(self._find_place)
        self._inside = 0
        self._by_address: Counter[str] = Counter()
        self._let_through = 0
        self._queue: deque[asyncio.Future[None]] | None = None

    # Room.

    async def enter(self, address: str) -> None:
        """Take a place; whoever took one calls `leave`, once. Raises `Refuse` where there is none."""
        hub, options = self._hub, self._hub.options
        if options.max_connections and self._inside >= options.max_connections:
            raise self._full("connections", 5.0)
        place = self._place(address)
        if place and self._by_address[place] >= options.connections_per_address > 0:
            raise self._full("connections_per_address", 5.0, status=429)
        # At last, so that one who gets no place anyway does not take the pace of others.
        if self._arrivals is not None and not self._arrivals.take(hub.now()):
            raise self._full("arrivals", self._arrivals.wait())
        self._inside += 1
        if place:
            self._by_address[place] += 1
        turn = self._take_turn()
        if turn is not None:
            try:
                await turn
            except BaseException:
                self.leave(address)
                raise

    def leave(self, address: str) -> None:
        """Give a place back."""
        self._inside -= 1
        place = self._place(address)
        if place:
            self._by_address[place] -= 1
            if not self._by_address[place]:
                del self._by_address[place]

    def _full(self, limit: str, wait: float, status: int = 503) -> Refuse:
        self._hub.metrics.limited(limit)
        return Refuse(
            "too many connections here now; come back later",
            status=status,
            code=codes.TOO_MANY_REQUESTS.code,
            retry_after=wait,
        )

    def _find_place(self, address: str) -> str:
        """What is counted for an address; nothing for this machine and for a proxy, behind which all are."""
        if not self._hub.options.connections_per_address:
            return ""
        try:
            ip = ip_address(address)
        except ValueError:
            return ""  # a Unix socket's, or a transport's without addresses
        if isinstance(ip, IPv6Address) and ip.ipv4_mapped:
            ip = ip.ipv4_mapped
        if ip.is_loopback or any(ip in network for network in self._trusted if network.version == ip.version):
            return ""
        if isinstance(ip, IPv6Address):
            return str(ip_network((ip, _HOUSEHOLD), strict=False))
        return str(ip)

    def _take_turn(self) -> asyncio.Future[None] | None:
        """What to wait for, so that no turn of the event loop lets in too many; None where that is now."""
        if self._queue is None:
            self._queue = deque()
            asyncio.get_running_loop().call_soon(self._next_turn)
        if self._let_through < PER_TURN:
            self._let_through += 1
            return None
        waiter = asyncio.get_running_loop().create_future()
        self._queue.append(waiter)
        return waiter

    def _next_turn(self) -> None:
        assert self._queue is not None
        self._let_through = 0
        while self._queue and self._let_through < PER_TURN:
            waiter = self._queue.popleft()
            if not waiter.done():
                waiter.set_result(None)
                self._let_through += 1
        if self._let_through:
            asyncio.get_running_loop().call_soon(self._next_turn)
        else:
            self._queue = None

    # Identity.

    def token_of(self, request: ConnectRequest) -> str:
        """The token that a handshake carries; empty where it carries none."""
        scheme, _, credentials = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return credentials.strip()
        for name in request.headers.get("sec-websocket-protocol", "").split(","):
            if name.strip().startswith(BEARER):
                return name.strip().removeprefix(BEARER)
        if self._hub.options.token_in_query:
            return request.query.get("token", "")
        return ""

    @property
    def asks_for_tokens(self) -> bool:
        """Whether nobody comes in without one, unless a hook vouches for it."""
        return self._hub.auth is not None and not self._hub.options.anonymous

    async def identify(self, request: ConnectRequest, token: str) -> Identity:
        """Who a client is: by its token, by what connect hooks say, and under which id. Raises `Refuse`."""
        try:
            return await self._identify(request, token)
        except BadName as exc:
            raise Refuse(str(exc), status=400, code=codes.BAD_REQUEST.code) from exc

    async def _identify(self, request: ConnectRequest, token: str) -> Identity:
        hub, identity = self._hub, NOBODY
        if request.client_id is not None:
            check_client_id(request.client_id)
        if hub.auth is not None and token:
            claims = await self.verify(token)
            identity = _identity(claims, request.client_id)
        if hub.hooks.connect:
            identity = await hub.hooks.identify(request, identity)
        # Who is merely described is not vouched for.
        if not token and self.asks_for_tokens and replace(identity, info=None) == NOBODY:
            raise Refuse(
                "a token is needed: send it as `Authorization: Bearer …`, as subprotocol `bearer.…`, "
                "or in the first message",
                status=401,
                code=codes.UNAUTHORIZED.code,
            )
        if hub.auth is not None and identity == NOBODY and request.client_id is not None:
            raise Refuse(
                f"the id {request.client_id!r} is for who has a token of that name; connect without an id",
                status=401,
                code=codes.UNAUTHORIZED.code,
            )
        if hub.auth is not None and request.client_id not in (None, identity.client_id or identity.user):
            raise Refuse(f"you are not {request.client_id!r}; connect as who you are", status=403)
        if identity.user:
            check_name(identity.user, "user")
            self.check_user(identity.user)
        client_id = identity.client_id or request.client_id or str(uuid.uuid4())
        if client_id == identity.client_id == request.client_id:
            return identity
        return replace(identity, client_id=check_client_id(client_id))

    async def verify(self, token: str) -> Claims:
        """A token's claims. Raises `Refuse`."""
        assert self._hub.auth is not None
        try:
            work = self._hub.auth.verify(token)
            # One that is not ours may take its time, and may want a task of its own.
            ours = getattr(self._hub.auth, "taskless", False)
            claims = await (work if ours else asyncio.create_task(self._in_time(work)))
        except BadToken as exc:
            self._hub.metrics.bad_token("expired" if exc.expired else "invalid")
            error = codes.TOKEN_EXPIRED if exc.expired else codes.UNAUTHORIZED
            raise Refuse(str(exc), status=401, code=error.code) from exc
        except AuthUnavailable as exc:
            raise Refuse(
                "tokens cannot be verified now; come back",
                status=503,
                code=codes.INTERNAL.code,
                retry_after=1.0,
            ) from exc
        if self._hub.revocations.covers(claims.subject, claims.token_id, claims.issued_at):
            self._hub.metrics.bad_token("revoked")
            raise Refuse("the token was revoked", status=401, code=codes.UNAUTHORIZED.code)
        return claims

    async def _in_time(self, work: Coroutine[Any, Any, Claims]) -> Claims:
        try:
            async with asyncio.timeout(self._hub.options.handshake_timeout):
                return await work
        except TimeoutError as exc:
            logger.error("verifying a token took too long")  # noqa: TRY400 - where it hangs is not in there
            raise AuthUnavailable("verifying took too long") from exc

    def check_user(self, user: str) -> None:
        """Refuse one more connection of a user who has enough on this node."""
        most = self._hub.options.connections_per_user
        if user and most and self._hub.registry.count(user_channel(user)) >= most:
            self._hub.metrics.limited("connections_per_user")
            raise Refuse(
                f"one user has at most {most} connections; close another one",
                status=429,
                code=codes.LIMIT_EXCEEDED.code,
                retry_after=5.0,
            )


def _identity(claims: Claims, client_id: str | None) -> Identity:
    """Who the bearer of a token is, at the door of this client id. Raises `Refuse`."""
    if claims.channel:
        raise Refuse("the token is for one group alone; send it with `join_group`", status=401, code=101)
    own = claims.client_id or claims.subject
    if client_id is not None and client_id != own:
        raise Refuse(f"the token is not that of {client_id!r}; connect as who you are", status=403)
    try:
        if claims.client_id:
            check_client_id(claims.client_id)
        for group in claims.groups:
            check_group(group, "a name in claim `groups`")
    except BadName as exc:
        raise Refuse(f"the token is not good: {exc}", status=401, code=codes.UNAUTHORIZED.code) from exc
    return Identity(
        user=claims.subject,
        client_id=claims.client_id or client_id,
        info=claims.info,
        groups=claims.groups,
        grants=claims.grants,
        expires_at=claims.expires_at,
        issued_at=claims.issued_at,
        token_id=claims.token_id,
    )


def refreshed(claims: Claims, identity: Identity) -> Identity:
    """Who the bearer of a later token is. Raises `Refuse` where it is somebody else's."""
    fresh = _identity(claims, identity.client_id if claims.client_id else None)
    if fresh.user != identity.user:
        raise Refuse("the token is another user's", code=codes.PERMISSION_DENIED.code)
    return Identity(
        user=identity.user,
        client_id=identity.client_id,
        info=fresh.info if fresh.info is not None else identity.info,
        groups=fresh.groups,
        grants=fresh.grants,
        expires_at=fresh.expires_at,
        issued_at=fresh.issued_at,
        token_id=fresh.token_id,
    )
