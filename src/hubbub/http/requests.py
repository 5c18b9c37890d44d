"""What the methods of the server API take: JSON objects, in shapes that published server SDKs know."""

import base64
from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from hubbub.core import codes
from hubbub.core.messages import BadCommand, Position


class _Payload(Struct, kw_only=True):
    data: Raw | UnsetType = UNSET
    b64data: str = ""
    skip_history: bool = False
    tags: dict[str, str] | None = None
    idempotency_key: str = ""
    key: str = ""
    version: int = 0

    def json(self) -> Raw:
        """The data to publish, as JSON text."""
        if self.version:
            raise BadCommand("field `version` is not supported; leave it out", error=codes.NOT_AVAILABLE)
        if not isinstance(self.data, UnsetType):
            return self.data
        if not self.b64data:
            raise BadCommand("field `data` is missing; give any JSON")
        try:
            decoded = base64.b64decode(self.b64data, validate=True)
            msgspec.json.decode(decoded)
        except (ValueError, RecursionError) as exc:  # no ASCII, no base64, no UTF-8, no JSON
            raise BadCommand("field `b64data` must be base64 of JSON text") from exc
        return Raw(decoded)


class PublishRequest(_Payload, kw_only=True):
    """Publish into one channel."""

    channel: str


class BroadcastRequest(_Payload, kw_only=True):
    """Publish the same into several channels."""

    channels: list[str]


class WhoRequest(Struct, kw_only=True):
    """Names connections by user, or by client id or connection id (`client`); at least one."""

    user: str = ""
    client: str = ""
    session: str = ""

    def who(self) -> dict[str, str]:
        """As arguments for the hub."""
        if self.session:
            # Passed over in silence, it would reach more connections than were meant.
            raise BadCommand("field `session` is not supported; name a `client`", error=codes.NOT_AVAILABLE)
        if not self.user and not self.client:
            raise BadCommand("fields `user` and `client` are both missing; give one")
        return {"user": self.user, "client": self.client}


class SubscribeRequest(WhoRequest, kw_only=True):
    """Put connections into a channel, or take them out."""

    channel: str


class InvalidateRequest(Struct, kw_only=True):
    """Names tokens by user, by their own id, or by when they were issued (seconds since the epoch)."""

    user: str = ""
    token_id: str = ""
    issued_before: Annotated[float, Meta(ge=0)] | None = None


class DisconnectReason(Struct):
    """The close code and reason a client sees."""

    code: int
    reason: str = ""


class DisconnectRequest(WhoRequest, kw_only=True):
    """Close connections."""

    disconnect: DisconnectReason | None = None
    whitelist: list[str] = []


class ChannelRequest(Struct):
    """Names one channel."""

    channel: str


class HistoryRequest(Struct):
    """Read a channel's history; `limit` 0 for the position alone, -1 for as many as one answer holds."""

    channel: str
    limit: int = 0
    since: Position | None = None
    reverse: bool = False


class ChannelsRequest(Struct):
    """List channels with members by glob pattern."""

    pattern: str = "*"


class NoRequest(Struct):
    """Takes nothing."""


class ConnectionsRequest(Struct):
    """List connections of one user, of one client, or all."""

    user: str = ""
    client: str = ""


class BatchRequest(Struct):
    """Several methods in one request, answered in order."""

    commands: list[dict[str, Raw]]
    parallel: bool = False
