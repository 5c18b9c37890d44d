"""What travels over Redis: publications between nodes, and those of publishers that know nothing of us."""

from typing import Final

import msgspec
from msgspec import Raw, Struct

from hubbub.core.messages import Kind, Member, Publication


class Garbage(ValueError):
    """Something on our channels that we did not put there."""


class _Wire(Struct, array_like=True):
    """A publication, but for what its channel and position say; `data` is JSON text."""

    kind: Kind
    timestamp: str
    data: bytes
    client_id: str = ""
    key: str = ""
    tags: dict[str, str] | None = None


class _Entry(Struct, array_like=True):
    """A member, and the node that it is connected to."""

    node: str
    client_id: str
    user: str
    info: str | None  # JSON text; as str, since the servers' MessagePack knows no bytes


class _Chat(Struct):
    """What others publish to `chat_<group>`."""

    message: Raw
    sender: str = msgspec.field(default="", name="from")
    timestamp: str = ""


_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(_Wire).decode
_decode_entry: Final = msgspec.msgpack.Decoder(_Entry).decode
_decode_chat: Final = msgspec.json.Decoder(_Chat).decode
_BROKEN: Final = (msgspec.DecodeError, ValueError, RecursionError)


def pack(publication: Publication) -> bytes:
    """A publication as it travels and is kept."""
    wire = _Wire(
        publication.kind,
        publication.timestamp,
        bytes(publication.data),
        publication.client_id,
        publication.key,
        publication.tags,
    )
    return _encode(wire)


def unpack(data: bytes, channel: str, offset: int = 0) -> Publication:
    """A publication that was kept. Raises `Garbage`."""
    try:
        wire = _decode(data)
    except _BROKEN as exc:
        raise Garbage(f"no publication: {exc}") from exc
    if wire.kind is Kind.GAP:
        raise Garbage("a gap is nothing that travels")
    return Publication(
        channel=channel,
        data=Raw(wire.data),
        timestamp=wire.timestamp,
        kind=wire.kind,
        client_id=wire.client_id,
        offset=offset,
        key=wire.key,
        tags=wire.tags,
    )


def unpack_live(message: bytes, channel: str) -> tuple[Publication, str]:
    """A publication that arrived, with the epoch of its offset: `epoch,offset,data`. Raises `Garbage`."""
    try:
        epoch, offset, data = message.split(b",", 2)
        return unpack(data, channel, int(offset)), epoch.decode("ascii")
    except ValueError as exc:
        raise Garbage(f"no publication: {exc}") from exc


def pack_live(data: bytes) -> bytes:
    """A packed publication without history, as it is published."""
    return b",0," + data


def raw_system(message: bytes, channel: str, now: str) -> Publication:
    """Any JSON on `system_broadcast`. Raises `Garbage`."""
    try:
        msgspec.json.decode(message)
    except _BROKEN as exc:
        raise Garbage(f"no JSON: {exc}") from exc
    return Publication(channel=channel, data=Raw(message), timestamp=now, kind=Kind.SYSTEM)


def raw_chat(message: bytes, channel: str, now: str) -> Publication:
    """The JSON of a chat message on `chat_<group>`: `from`, `message`, `timestamp`. Raises `Garbage`."""
    try:
        msgspec.json.decode(message)  # the parts that stay text are checked too
        chat = _decode_chat(message)
    except _BROKEN as exc:
        raise Garbage(f"no chat message: {exc}") from exc
    return Publication(
        channel=channel,
        data=chat.message.copy(),
        timestamp=chat.timestamp or now,
        kind=Kind.CHAT,
        client_id=chat.sender,
    )


def pack_entry(node: str, member: Member) -> bytes:
    """A member as presence keeps it."""
    info = None if member.info is None else bytes(member.info).decode()
    return _encode(_Entry(node, member.client_id, member.user, info))


def unpack_entry(data: bytes) -> Member:
    """A member that presence has kept. Raises `Garbage`."""
    try:
        entry = _decode_entry(data)
    except _BROKEN as exc:
        raise Garbage(f"no presence entry: {exc}") from exc
    return Member(entry.client_id, entry.user, None if entry.info is None else Raw(entry.info.encode()))
