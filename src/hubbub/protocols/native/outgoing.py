"""What a server sends: every message of the core as the struct of its `type`."""

from typing import Any, assert_never

from msgspec import UNSET, Raw, Struct, UnsetType, field

from hubbub.core.messages import (
    ALL,
    Alive,
    AreYouThere,
    CommandId,
    Connected,
    Disconnecting,
    Dropped,
    Failed,
    HistoryReply,
    Kind,
    Message,
    Position,
    PresenceReply,
    PresenceStatsReply,
    Publication,
    Published,
    Refreshed,
    Removed,
    RpcReply,
    Subscribed,
    TimedOut,
    Unsubscribed,
    shown_name,
)

# Absent fields are UNSET and stay off the wire.


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
    group_name: str = ""


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


def outgoing(message: Message) -> Struct:
    """The struct of a message, ready to be encoded."""
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
        case Failed(id, error, sentence, channel):
            return _ErrorOut(
                id=_known(id),
                code=error.code,
                message=sentence or error.message,
                temporary=error.temporary,
                group_name=channel,
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
