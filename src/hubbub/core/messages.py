"""What travels: commands from clients, replies and pushes to them, and publications between nodes.

Every message is a frozen struct that is legal once it exists; the wire formats in `hubbub.protocols` turn
them into bytes and back. `id` is the client's own mark on a command, echoed in its reply.
"""

from enum import StrEnum
from typing import Final, TypeAlias

from msgspec import Raw, Struct

from hubbub.core.codes import CloseReason, Error

CommandId: TypeAlias = str | int | None

ALL: Final = "$all"
"""The channel of every connection."""


def client_channel(client_id: str) -> str:
    """The channel of one client's connections."""
    return f"$client:{client_id}"


def user_channel(user: str) -> str:
    """The channel of one user's connections."""
    return f"$user:{user}"


def shown_name(channel: str) -> str:
    """A channel as its members know it: of what is a client's own, without whose it is."""
    return channel.partition(":")[0] if channel[0] == "$" else channel


class Position(Struct, frozen=True):
    """Where a channel's history stands.

    An offset alone can lie: when the history is lost and starts anew, offset 7 names another publication.
    So each history carries an epoch, chosen at random when it begins, and positions of different epochs
    cannot be compared.
    """

    epoch: str
    offset: int


class Kind(StrEnum):
    """What a publication is, which decides its name on the wire."""

    MESSAGE = "message"
    CHAT = "chat"
    SYSTEM = "system"
    JOINED = "joined"
    LEFT = "left"
    GAP = "gap"
    """Publications are lost that cannot be had again; the channel goes on after this position."""


class Publication(Struct, frozen=True, kw_only=True):
    """One message in a channel.

    `data` is JSON text. `client_id` is the sender's, where a client sent it. `offset` is its place in the
    channel's history, 0 where there is none; `epoch` is set where the members do not know it yet. `key`
    conflates: a slow reader of a `latest` channel keeps
    only the newest publication of each key. `timestamp` is ISO 8601 with a UTC offset.
    """

    channel: str
    data: Raw
    timestamp: str
    kind: Kind = Kind.MESSAGE
    client_id: str = ""
    offset: int = 0
    key: str = ""
    tags: dict[str, str] | None = None
    epoch: str = ""


class Member(Struct, frozen=True, omit_defaults=True):
    """A connection as presence shows it."""

    client_id: str
    user: str = ""
    info: Raw | None = None


# Commands.


class Connect(Struct, frozen=True):
    """The connection was let in under this client id (and user, where somebody vouched for one)."""

    client_id: str
    user: str = ""


class Hello(Struct, frozen=True):
    """The first words of a client that asked to speak first.

    `recover` are its positions in what is its own (`$all`, `$client`, `$user`), `groups` those to join with
    its positions there, None for a group it does not come back to.
    """

    id: CommandId
    recover: dict[str, Position]
    groups: dict[str, Position | None]
    token: str = ""


class Subscribe(Struct, frozen=True):
    """Join a channel; with `recover`, be given first what was missed since that position.

    `token` is for this channel, where its client's own does not grant it.
    """

    id: CommandId
    channel: str
    recover: Position | None = None
    token: str = ""


class Unsubscribe(Struct, frozen=True):
    """Leave a channel."""

    id: CommandId
    channel: str


class Publish(Struct, frozen=True):
    """Publish into a channel, as chat or as a plain message."""

    id: CommandId
    channel: str
    data: Raw
    kind: Kind


class GetPresence(Struct, frozen=True):
    """Ask who is in a channel."""

    id: CommandId
    channel: str


class GetPresenceStats(Struct, frozen=True):
    """Ask how many are in a channel."""

    id: CommandId
    channel: str


class GetHistory(Struct, frozen=True):
    """Ask for publications of a channel's history; `limit` 0 asks for the position alone."""

    id: CommandId
    channel: str
    limit: int = 0
    since: Position | None = None
    reverse: bool = False


class Rpc(Struct, frozen=True):
    """Call a method of the application."""

    id: CommandId
    method: str
    data: Raw


class Refresh(Struct, frozen=True):
    """Bring a fresh token in place of one that expires."""

    id: CommandId
    token: str


class Ping(Struct, frozen=True):
    """Ask for a sign of life."""

    id: CommandId = None


class Pong(Struct, frozen=True):
    """A sign of life."""

    id: CommandId = None


Command: TypeAlias = (
    Connect
    | Hello
    | Subscribe
    | Unsubscribe
    | Publish
    | GetPresence
    | GetPresenceStats
    | GetHistory
    | Rpc
    | Refresh
    | Ping
    | Pong
)


class BadCommand(Exception):
    """The bytes are no legal command; the sentence names the field and what would be right."""

    def __init__(self, message: str, id: CommandId = None, error: Error | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.id = id
        self.error = error


# Replies and pushes.


class Connected(Struct, frozen=True):
    """The first message on a connection.

    `positions` are those of what is the client's own and has a history, by its shown name; `recovered` says
    of those that were asked for whether all that was missed follows. `expires_in` are the seconds that the
    token is good for, None where there is no end to them.
    """

    client_id: str
    timestamp: str
    total_connections: int
    id: CommandId = None
    positions: dict[str, Position] | None = None
    recovered: dict[str, bool] | None = None
    expires_in: int | None = None


class Subscribed(Struct, frozen=True):
    """Joined; live publications follow the position. `recovered` answers a `recover`, else it is None."""

    id: CommandId
    channel: str
    position: Position | None = None
    recovered: bool | None = None


class Unsubscribed(Struct, frozen=True):
    """Left, as asked."""

    id: CommandId
    channel: str


class Published(Struct, frozen=True):
    """The publication is in the channel."""

    id: CommandId
    channel: str
    position: Position | None = None


class PresenceReply(Struct, frozen=True):
    """Who is in the channel, by connection id."""

    id: CommandId
    channel: str
    members: dict[str, Member]


class PresenceStatsReply(Struct, frozen=True):
    """How many connections and how many different clients are in the channel."""

    id: CommandId
    channel: str
    connections: int
    clients: int


class HistoryReply(Struct, frozen=True):
    """Publications of a channel's history and the position of its newest."""

    id: CommandId
    channel: str
    publications: list[Publication]
    position: Position


class RpcReply(Struct, frozen=True):
    """What the application's method returned, as JSON text."""

    id: CommandId
    data: Raw


class Refreshed(Struct, frozen=True):
    """The fresh token counts; `expires_in` as in `Connected`."""

    id: CommandId
    expires_in: int | None = None


class Failed(Struct, frozen=True):
    """A command failed; the connection lives on.

    `channel` is set where the command asked for several, and only this one failed.
    """

    id: CommandId
    error: Error
    message: str = ""
    channel: str = ""


class Alive(Struct, frozen=True):
    """The answer to a ping."""

    id: CommandId
    timestamp: str


class AreYouThere(Struct, frozen=True):
    """The server asks a silent client for a sign of life."""

    timestamp: str


class TimedOut(Struct, frozen=True):
    """The client stayed silent; the connection closes."""

    message: str


class Removed(Struct, frozen=True):
    """The server took the connection out of a channel."""

    channel: str
    reason: CloseReason


class Dropped(Struct, frozen=True):
    """`count` publications of a channel were dropped for this slow connection: a gap, said out loud."""

    channel: str
    count: int


class Disconnecting(Struct, frozen=True):
    """The server closes the connection next."""

    reason: CloseReason


Push: TypeAlias = Publication | Connected | AreYouThere | TimedOut | Removed | Dropped | Disconnecting
Reply: TypeAlias = (
    Subscribed
    | Unsubscribed
    | Published
    | PresenceReply
    | PresenceStatsReply
    | HistoryReply
    | RpcReply
    | Refreshed
    | Failed
    | Alive
)
Message: TypeAlias = Reply | Push
