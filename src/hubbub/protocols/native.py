"""The native wire format in JSON: spec/protocol.md, word for word."""

from typing import Any, ClassVar, Final, assert_never

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType, field

from hubbub.core import codes
from hubbub.core.messages import (
    ALL,
    Alive,
    AreYouThere,
    BadCommand,
    Command,
    CommandId,
    Connected,
    Disconnecting,
    Dropped,
    Failed,
    GetHistory,
    GetPresence,
    GetPresenceStats,
    Hello,
    HistoryReply,
    Kind,
    Message,
    Ping,
    Pong,
    Position,
    PresenceReply,
    PresenceStatsReply,
    Publication,
    Publish,
    Published,
    Refresh,
    Refreshed,
    Removed,
    Rpc,
    RpcReply,
    Subscribe,
    Subscribed,
    TimedOut,
    Unsubscribe,
    Unsubscribed,
    shown_name,
)

MAX_ID_BYTES: Final = 255
MAX_HISTORY: Final = 1000
OWN: Final = (ALL, "$client", "$user")
"""What is a client's own without joining it, as the wire calls it."""

# What a client may send, one struct per `type`.


class _In(Struct, tag_field="type", frozen=True):
    id: int | str | None = None


class _Connect(_In, tag="connect", frozen=True, kw_only=True):
    recover: dict[str, Position] = {}
    groups: dict[str, Position | None] | list[str] = {}
    token: str = ""

    def command(self) -> Command:
        for name in self.recover:
            if name not in OWN:
                raise BadCommand(
                    f"connect: field `recover` names {name[:60]!r}; give {', '.join(OWN)}", self.id
                )
        groups = self.groups if isinstance(self.groups, dict) else dict.fromkeys(self.groups)
        return Hello(self.id, self.recover, groups, self.token)


class _JoinGroup(_In, tag="join_group", frozen=True, kw_only=True):
    group_name: str
    recover: Position | None = None
    token: str = ""

    def command(self) -> Command:
        return Subscribe(self.id, self.group_name, self.recover, self.token)


class _LeaveGroup(_In, tag="leave_group", frozen=True, kw_only=True):
    group_name: str

    def command(self) -> Command:
        return Unsubscribe(self.id, self.group_name)


class _ChatMessage(_In, tag="chat_message", frozen=True, kw_only=True):
    group_name: str
    message: Raw

    def command(self) -> Command:
        return Publish(self.id, self.group_name, self.message, Kind.CHAT)


class _Publish(_In, tag="publish", frozen=True, kw_only=True):
    group_name: str
    data: Raw

    def command(self) -> Command:
        return Publish(self.id, self.group_name, self.data, Kind.MESSAGE)


class _Presence(_In, tag="presence", frozen=True, kw_only=True):
    group_name: str

    def command(self) -> Command:
        return GetPresence(self.id, self.group_name)


class _PresenceStats(_In, tag="presence_stats", frozen=True, kw_only=True):
    group_name: str

    def command(self) -> Command:
        return GetPresenceStats(self.id, self.group_name)


class _History(_In, tag="history", frozen=True, kw_only=True):
    group_name: str
    limit: int = 0
    since: Position | None = None
    reverse: bool = False

    def command(self) -> Command:
        if not -1 <= self.limit <= MAX_HISTORY:
            raise BadCommand(
                f"field `limit` is {self.limit}; give 0 (the position alone) to {MAX_HISTORY}, or -1 for all",
                self.id,
            )
        return GetHistory(self.id, self.group_name, self.limit, self.since, self.reverse)


class _Rpc(_In, tag="rpc", frozen=True, kw_only=True):
    method: str
    data: Raw = Raw(b"null")

    def command(self) -> Command:
        return Rpc(self.id, self.method, self.data)


class _Refresh(_In, tag="refresh", frozen=True, kw_only=True):
    token: str

    def command(self) -> Command:
        return Refresh(self.id, self.token)


class _Ping(_In, tag="ping", frozen=True):
    def command(self) -> Command:
        return Ping(self.id)


class _Pong(_In, tag="pong", frozen=True):
    def command(self) -> Command:
        return Pong(self.id)


_Incoming = (
    _Connect
    | _JoinGroup
    | _LeaveGroup
    | _ChatMessage
    | _Publish
    | _Presence
    | _PresenceStats
    | _History
    | _Rpc
    | _Refresh
    | _Ping
    | _Pong
)
_decode = msgspec.json.Decoder(_Incoming).decode
_TYPES: Final = ", ".join(sorted(cls.__struct_config__.tag for cls in _Incoming.__args__))

# What a server sends. Absent fields are UNSET and stay off the wire.


class _Out(Struct, tag_field="type", omit_defaults=True):
    pass


class _Reply(_Out):
    id: int | str | UnsetType = UNSET


class _ConnectionEstablished(_Reply, tag="connection_established", kw_only=True):
    client_id: str
    timestamp: str
    total_connections: int
    positions: dict[str, Position] | None = None
    recovered: dict[str, bool] | None = None
    expires_in: int | None = None


class _GroupJoined(_Reply, tag="group_joined", kw_only=True):
    group_name: str
    epoch: str | UnsetType = UNSET
    offset: int | UnsetType = UNSET
    recovered: bool | UnsetType = UNSET


class _GroupLeft(_Reply, tag="group_left", kw_only=True):
    group_name: str


class _Published(_Reply, tag="published", kw_only=True):
    group_name: str
    epoch: str | UnsetType = UNSET
    offset: int | UnsetType = UNSET


class _PresenceOut(_Reply, tag="presence", kw_only=True):
    group_name: str
    members: dict[str, Any]


class _PresenceStatsOut(_Reply, tag="presence_stats", kw_only=True):
    group_name: str
    connections: int
    clients: int


class _HistoryOut(_Reply, tag="history", kw_only=True):
    group_name: str
    messages: list[Any]
    epoch: str
    offset: int


class _RpcResult(_Reply, tag="rpc_result", kw_only=True):
    data: Raw


class _RefreshedOut(_Reply, tag="refreshed", kw_only=True):
    expires_in: int | None = None


class _ErrorOut(_Reply, tag="error", kw_only=True):
    code: int
    message: str
    temporary: bool = False


class _PongOut(_Reply, tag="pong", kw_only=True):
    timestamp: str


class _PingOut(_Out, tag="ping"):
    timestamp: str


class _ConnectionTimeout(_Out, tag="connection_timeout"):
    message: str


class _GroupRemoved(_Out, tag="group_removed"):
    group_name: str
    code: int
    reason: str


class _MessagesDropped(_Out, tag="messages_dropped"):
    channel: str
    count: int


class _Disconnect(_Out, tag="disconnect"):
    code: int
    reason: str
    reconnect: bool


class _ChatMessageOut(_Out, tag="chat_message"):
    group_name: str
    from_: str = field(name="from")
    message: Raw
    timestamp: str
    offset: int = 0
    tags: dict[str, str] | None = None
    epoch: str = ""


class _GroupMessage(_Out, tag="group_message"):
    group_name: str
    data: Raw
    timestamp: str
    offset: int = 0
    tags: dict[str, str] | None = None
    from_: str = field(name="from", default="")
    epoch: str = ""


class _Everybody(_Out):
    data: Raw
    timestamp: str
    offset: int = 0
    tags: dict[str, str] | None = None
    epoch: str = ""


class _BroadcastMessage(_Everybody, tag="broadcast_message"):
    pass


class _PersonalNotification(_Everybody, tag="personal_notification"):
    channel: str = ""


class _SystemNotification(_Out, tag="system_notification"):
    timestamp: str
    data: Raw
    offset: int = 0
    epoch: str = ""


class _MemberJoined(_Out, tag="member_joined"):
    group_name: str
    member: Raw
    timestamp: str


class _MemberLeft(_MemberJoined, tag="member_left"):
    pass


_encode = msgspec.json.Encoder().encode


class NativeJson:
    """One JSON object a text frame, each with a `type`."""

    name: ClassVar = "hubbub.v1"
    binary: ClassVar = False

    def decode(self, payload: bytes) -> tuple[Command]:
        """The command of one frame; raises `BadCommand` with a sentence that names the field."""
        try:
            incoming = _decode(payload)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
            raise _explain(payload, exc) from exc
        if type(incoming.id) is str and len(incoming.id) > MAX_ID_BYTES:
            raise BadCommand(f"field `id` is longer than {MAX_ID_BYTES} characters; shorten it")
        return (incoming.command(),)

    def encode(self, message: Message) -> bytes:
        """The JSON text of one message."""
        return _encode(_outgoing(message))


def _outgoing(message: Message) -> _Out:
    match message:
        case Publication():
            return _publication(message)
        case Connected(client_id, timestamp, total_connections, id, positions, recovered, expires_in):
            return _ConnectionEstablished(
                id=_known(id),
                client_id=client_id,
                timestamp=timestamp,
                total_connections=total_connections,
                positions=positions,
                recovered=recovered,
                expires_in=expires_in,
            )
        case Subscribed(id, channel, position, recovered):
            return _GroupJoined(
                id=_known(id),
                group_name=channel,
                epoch=position.epoch if position else UNSET,
                offset=position.offset if position else UNSET,
                recovered=UNSET if recovered is None else recovered,
            )
        case Unsubscribed(id, channel):
            return _GroupLeft(id=_known(id), group_name=channel)
        case Published(id, channel, position):
            return _Published(
                id=_known(id),
                group_name=channel,
                epoch=position.epoch if position else UNSET,
                offset=position.offset if position else UNSET,
            )
        case PresenceReply(id, channel, members):
            return _PresenceOut(id=_known(id), group_name=channel, members=members)
        case PresenceStatsReply(id, channel, connections, clients):
            return _PresenceStatsOut(
                id=_known(id), group_name=channel, connections=connections, clients=clients
            )
        case HistoryReply(id, channel, publications, position):
            return _HistoryOut(
                id=_known(id),
                group_name=channel,
                messages=[_publication(publication) for publication in publications],
                epoch=position.epoch,
                offset=position.offset,
            )
        case RpcReply(id, data):
            return _RpcResult(id=_known(id), data=data)
        case Refreshed(id, expires_in):
            return _RefreshedOut(id=_known(id), expires_in=expires_in)
        case Failed(id, error, sentence):
            return _ErrorOut(
                id=_known(id),
                code=error.code,
                message=sentence or error.message,
                temporary=error.temporary,
            )
        case Alive(id, timestamp):
            return _PongOut(id=_known(id), timestamp=timestamp)
        case AreYouThere(timestamp):
            return _PingOut(timestamp)
        case TimedOut(sentence):
            return _ConnectionTimeout(sentence)
        case Removed(channel, reason):
            return _GroupRemoved(channel, reason.code, reason.reason)
        case Dropped(channel, count):
            return _MessagesDropped(channel, count)
        case Disconnecting(reason):
            return _Disconnect(reason.code, reason.reason, reason.reconnect)
        case _:
            assert_never(message)


def _publication(publication: Publication) -> _Out:
    p = publication
    match p.kind:
        case Kind.CHAT:
            return _ChatMessageOut(p.channel, p.client_id, p.data, p.timestamp, p.offset, p.tags, p.epoch)
        case Kind.SYSTEM:
            return _SystemNotification(p.timestamp, p.data, p.offset, p.epoch)
        case Kind.JOINED:
            return _MemberJoined(p.channel, p.data, p.timestamp)
        case Kind.LEFT:
            return _MemberLeft(p.channel, p.data, p.timestamp)
        case Kind.GAP:
            return _GroupJoined(
                group_name=shown_name(p.channel), epoch=p.epoch, offset=p.offset, recovered=False
            )
        case Kind.MESSAGE if p.channel == ALL:
            return _BroadcastMessage(p.data, p.timestamp, p.offset, p.tags, p.epoch)
        case Kind.MESSAGE if p.channel[0] == "$":
            channel = shown_name(p.channel) if p.offset else ""
            return _PersonalNotification(p.data, p.timestamp, p.offset, p.tags, p.epoch, channel)
        case Kind.MESSAGE:
            return _GroupMessage(p.channel, p.data, p.timestamp, p.offset, p.tags, p.client_id, p.epoch)
        case _:
            assert_never(p.kind)


def _known(id: CommandId) -> int | str | UnsetType:
    return UNSET if id is None else id


def _explain(payload: bytes, cause: Exception) -> BadCommand:
    """Say in a sentence what is wrong with a frame that is no legal command, and find its `id`."""
    try:
        message = msgspec.json.decode(payload)
    except RecursionError:
        return BadCommand("the message is nested too deeply; flatten it")
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        return BadCommand(f"the message is not JSON ({exc}); send one JSON object a frame")
    if not isinstance(message, dict):
        return BadCommand(f"the message is {_json_type(message)}; send a JSON object with a `type`")
    id = message.get("id")
    if not isinstance(id, int | str) or isinstance(id, bool):
        id = None
    type_ = message.get("type")
    if "type" not in message:
        return BadCommand(f"field `type` is missing; give one of {_TYPES}", id)
    if not isinstance(type_, str) or type_ not in _TYPES.split(", "):
        error = codes.METHOD_NOT_FOUND if isinstance(type_, str) else None
        shown = repr(type_)[:60]
        return BadCommand(f"field `type` is {shown}; give one of {_TYPES}", id, error)
    return BadCommand(f"{type_}: {_field_sentence(str(cause))}", id)


def _field_sentence(reason: str) -> str:
    """msgspec's reason, with the field named first."""
    what, _, path = reason.partition(" - at `$")
    missing = "Object missing required field "
    if what.startswith(missing):
        inner = f" in `{path[1:-1]}`" if path else ""
        return f"field {what.removeprefix(missing)}{inner} is missing"
    where = f"field `{path[1:-1]}`: " if path else ""
    return f"{where}{what[0].lower()}{what[1:]}"


def _json_type(value: object) -> str:
    names = {list: "an array", str: "a string", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number")
