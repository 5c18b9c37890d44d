"""The hooks that ask the backend. Whatever goes wrong is a no."""

import logging
import re
from collections.abc import Callable
from typing import Any, Final, TypeVar

from msgspec import UNSET, Raw
from msgspec.structs import replace

from hubbub.core import codes
from hubbub.core.channels import check_group
from hubbub.core.codes import CloseReason, Error
from hubbub.core.grants import Grants
from hubbub.hub import ConnectRequest, Hub, Identity, Instead, Refuse, SessionInfo
from hubbub.hub.connection import Connection
from hubbub.webhooks.endpoint import Endpoint
from hubbub.webhooks.metrics import Outcome, WebhookMetrics
from hubbub.webhooks.options import WebhookOptions
from hubbub.webhooks.post import Header, NoAnswer, Poster
from hubbub.webhooks.shapes import (
    Answer,
    Call,
    ConnectCall,
    ConnectResult,
    Goodbye,
    PublishCall,
    PublishResult,
    RefreshCall,
    RefreshResult,
    Refusal,
    RpcCall,
    RpcResult,
    SubscribeCall,
    SubscribeResult,
    decoder,
)

logger = logging.getLogger("hubbub.webhooks")

R = TypeVar("R")

FIRST_THAT_STOPS: Final = 4500
_FITS_INTO_A_HEADER: Final = re.compile(
    rb"[\x21-\x7e\x80-\xff]([\t\x20-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?"
)
_ADDRESS: Final = "x-forwarded-for"


class Calls:
    """Asks the backend on behalf of one hub; its methods are that hub's hooks."""

    def __init__(
        self,
        hub: Hub,
        options: WebhookOptions,
        poster: Poster,
        metrics: WebhookMetrics,
    ) -> None:
        self._hub = hub
        self._headers = options.headers
        self.endpoints = {
            name: Endpoint(name, url, poster, options, metrics)
            for name, url in options.urls().items()
            if name != "events"
        }

    async def connect(self, request: ConnectRequest) -> Identity:
        """Who is at the door."""
        call = ConnectCall(
            client_id=request.client_id or "",
            transport=request.transport,
            path=request.path,
            address=request.address,
        )
        result = await self._ask("connect", call, _connect, headers=self._passed_on(request))
        joined = result.channels if isinstance(result.channels, list) else []
        groups = dict.fromkeys([*result.groups, *joined, *result.subs])
        try:
            for group in groups:
                check_group(group, "a group")
            grants = Grants.of(result.channels) if isinstance(result.channels, dict) else None
        except ValueError as exc:
            raise self._garbage("connect", exc) from exc
        return Identity(
            user=result.user,
            client_id=result.client_id or None,
            info=result.info,
            groups=tuple(groups),
            grants=grants,
            expires_at=float(result.expire_at) if result.expire_at else None,
        )

    async def subscribe(self, session: SessionInfo, channel: str) -> bool:
        """Whether a client may join."""
        call = SubscribeCall(**_known_of(session), channel=channel)
        await self._ask("subscribe", call, _subscribe, session)
        return True

    async def publish(self, session: SessionInfo, data: Any, channel: str) -> object:
        """Whether a client may publish, and what."""
        call = PublishCall(**_known_of(session), channel=channel, data=data)
        result = await self._ask("publish", call, _publish, session)
        return True if result.data is UNSET else Instead(result.data)

    async def rpc(self, session: SessionInfo, method: str, data: Raw) -> Raw:
        """What a method returns."""
        call = RpcCall(**_known_of(session), method=method, data=data)
        result = await self._ask("rpc", call, _rpc, session)
        return Raw(b"null") if result.data is UNSET else result.data

    async def refresh(self, session: SessionInfo) -> Identity:
        """Till when a client may stay."""
        call = RefreshCall(**_known_of(session))
        result = await self._ask("refresh", call, _refresh, session)
        connection = self._connection(session)
        if result.expired:
            raise Refuse(codes.EXPIRED.message, code=codes.EXPIRED.code)
        if connection is None:
            raise Refuse("the connection has ended")
        known = connection.identity
        return replace(
            known,  # what it may do, say, is not asked anew
            info=known.info if result.info is UNSET else result.info,
            expires_at=float(result.expire_at) if result.expire_at else None,
        )

    async def _ask(
        self,
        name: str,
        call: Call,
        decode: Callable[[bytes], Answer[R]],
        session: SessionInfo | None = None,
        headers: list[Header] | None = None,
    ) -> R:
        """The result. Raises `Refuse` for everything else."""
        endpoint = self.endpoints[name]
        try:
            answer = await endpoint.ask(call, decode, headers or ())
        except NoAnswer as exc:
            raise _unavailable() from exc
        if answer.result is not None:
            endpoint.count(Outcome.OK)
            return answer.result
        endpoint.count(Outcome.REFUSED)
        if answer.disconnect is not None:
            raise self._close(session, answer.disconnect)
        assert answer.error is not None
        raise _refused(answer.error)

    def _close(self, session: SessionInfo | None, goodbye: Goodbye) -> Refuse:
        """Close the connection, or turn away the client at the door."""
        if session is None:
            comes_back = goodbye.code < FIRST_THAT_STOPS
            return Refuse(goodbye.reason or "refused", status=503 if comes_back else 403)
        connection = self._connection(session)
        if connection is not None:
            connection.close(CloseReason(goodbye.code, goodbye.reason))
        return Refuse(goodbye.reason or "refused")

    def _connection(self, session: SessionInfo) -> Connection | None:
        """The connection that a hook was asked about; None where it has ended."""
        connections = self._hub.connections.of(client=session.client_id)
        return next((c for c in connections if c.id == session.connection_id), None)

    def _garbage(self, name: str, why: Exception) -> Refuse:
        logger.warning("webhook %s: %s; that counts as a no", name, why)
        self.endpoints[name].count(Outcome.GARBAGE)
        return _unavailable()

    def _passed_on(self, request: ConnectRequest) -> list[Header]:
        """Those of the handshake's headers that the backend gets to see."""
        # Whatever the client says of its address, this is the one that it comes from.
        values = {name: request.headers.get(name, "") for name in self._headers} | {_ADDRESS: request.address}
        headers = []
        for name, text in values.items():
            try:
                value = text.strip().encode("latin-1", "surrogateescape")
            except UnicodeEncodeError:
                continue
            if _FITS_INTO_A_HEADER.fullmatch(value):
                headers.append((name.encode(), value))
        return headers


_connect: Final = decoder(ConnectResult)
_subscribe: Final = decoder(SubscribeResult)
_publish: Final = decoder(PublishResult)
_rpc: Final = decoder(RpcResult)
_refresh: Final = decoder(RefreshResult)


def _known_of(session: SessionInfo) -> dict[str, Any]:
    return {
        "client": session.connection_id,
        "client_id": session.client_id,
        "user": session.user,
        "transport": session.transport,
        "info": session.info,
    }


def _unavailable() -> Refuse:
    return Refuse("the backend does not answer; try again later", status=503, code=codes.INTERNAL.code)


def _refused(refusal: Refusal) -> Refuse:
    refused = Refuse(refusal.message, status=503 if refusal.temporary else 403, code=refusal.code)
    refused.error = Error(refusal.code, refusal.message, refusal.temporary)
    return refused
