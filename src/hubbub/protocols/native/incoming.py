"""What a client may send, and the command that it is; the same in every encoding."""

from typing import Final

import msgspec
from msgspec import Raw, Struct

from hubbub.core import codes
from hubbub.core.messages import (
    ALL,
    BadCommand,
    Command,
    CommandId,
    GetHistory,
    GetPresence,
    GetPresenceStats,
    Hello,
    Kind,
    Ping,
    Pong,
    Position,
    Publish,
    Refresh,
    Rpc,
    Subscribe,
    Unsubscribe,
)

MAX_ID_BYTES: Final = 255
MAX_HISTORY: Final = 1000
OWN: Final = (ALL, "$client", "$user")
"""What is a client's own without joining it, as the wire calls it."""


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


def command(payload: bytes) -> Command:
    """The command of one JSON text; raises `BadCommand` with a sentence that names the field."""
    try:
        incoming = _decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise _explain(payload, exc) from exc
    if type(incoming.id) is str and len(incoming.id) > MAX_ID_BYTES:
        raise BadCommand(f"field `id` is longer than {MAX_ID_BYTES} characters; shorten it")
    made: Command = incoming.command()
    return made


def id_of(message: dict[str, object]) -> CommandId:
    """The `id` of a message, whatever else is wrong with it; None where it has none to be said again."""
    id = message.get("id")
    if isinstance(id, str):
        return id if len(id) <= MAX_ID_BYTES else None
    return id if isinstance(id, int) and not isinstance(id, bool) else None


def _explain(payload: bytes, cause: Exception) -> BadCommand:
    """Say in a sentence what is wrong with a frame that is no legal command, and find its `id`."""
    try:
        message = msgspec.json.decode(payload)
    except RecursionError:
        return BadCommand("the message is nested too deeply; flatten it")
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        return BadCommand(f"the message is not JSON ({exc}); send one JSON object a frame")
    if not isinstance(message, dict):
        return BadCommand(f"the message is {type_name(message)}; send a JSON object with a `type`")
    id = id_of(message)
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


def type_name(value: object) -> str:
    """What a value that is no object is called."""
    names = {
        list: "an array",
        str: "a string",
        bool: "a boolean",
        int: "a number",
        float: "a number",
        type(None): "null",
        bytes: "binary data",
    }
    return names.get(type(value), "an extension type")
