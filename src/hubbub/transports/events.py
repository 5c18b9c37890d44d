"""Server-sent events as this server sends them (WHATWG HTML §9.2), and the ids by which a stream goes on.

An `EventSource` remembers one id, that of the last event, and names it when it comes back. So an id holds the
positions of everything that the stream is of. The text of an event is made once for all who get it; what
differs is its id, and each stream puts its own in front. What the hub takes for a frame is therefore the text
and what the id has to know of it, and only the transport makes bytes for the wire of the two.
"""

import zlib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as NoBase64
from collections.abc import Iterable
from typing import ClassVar, Final

import msgspec
from msgspec import Struct

from hubbub.core.messages import (
    ALL,
    AreYouThere,
    Connected,
    Failed,
    Kind,
    Message,
    Position,
    Publication,
    Removed,
    Subscribed,
    shown_name,
)
from hubbub.protocols.base import WireProtocol

OWN: Final = (ALL, "$client", "$user")
"""What is a client's own without joining it, as events call it."""
PING: Final = b": ping\n\n"
"""A comment, which every reader passes over."""
_VERSION: Final = b"\x01"
_WIDEST: Final = 8  # bytes of an offset
_NEXT: Final = b"\ndata: "
_TYPE_AT: Final = len('{"type":"')


class Refusal(Struct, array_like=True):
    """What an `error` says, for who answers with a status in its stead."""

    code: int
    sentence: str
    group: str
    temporary: bool


class Event(Struct, array_like=True):
    """One event: its text but for the id, and what it means to the stream.

    moves: names with the epoch and offset that they have come to; without an epoch that is the one they are
    in, and without an offset they are not followed any longer.
    """

    type: str
    text: bytes
    moves: list[tuple[str, str, int | None]] = []
    refusal: Refusal | None = None


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Event).decode


class EventFormat:
    """Messages of a protocol that speaks JSON, as events."""

    probe: ClassVar = b""
    transport: ClassVar = "sse"

    def __init__(self, protocol: WireProtocol) -> None:
        self._encode = protocol.encode
        self._last: tuple[bytes, list[Event]] = (b"", [])

    def frame(self, message: Message) -> bytes:
        """The event of one message, with its length in front."""
        event = _encode(self._event(message))
        return len(event).to_bytes(4) + event

    def events(self, data: bytes) -> list[Event]:
        """The events in what was joined of frames; the same bytes go to many streams one after another."""
        if self._last[0] is not data:
            events, at = [], 0
            while at < len(data):
                start = at + 4
                at = start + int.from_bytes(data[at:start])
                events.append(_decode(memoryview(data)[start:at]))
            self._last = (data, events)
        return self._last[1]

    def _event(self, message: Message) -> Event:
        if isinstance(message, AreYouThere):
            return Event("ping", PING)
        payload = self._encode(message)
        type = payload[_TYPE_AT : payload.index(b'"', _TYPE_AT)]
        if b"\n" in payload or b"\r" in payload:
            # Whitespace of somebody's JSON would end the line, and what follows it be another field.
            payload = _NEXT.join(payload.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n"))
        text = b"event: " + type + _NEXT + payload + b"\n\n"
        return Event(type.decode(), text, _moves(message), _refusal(message))


def _moves(message: Message) -> list[tuple[str, str, int | None]]:
    match message:
        case Publication(channel=channel, epoch=epoch, offset=offset, kind=kind):
            return [(shown_name(channel), epoch, offset)] if offset or kind is Kind.GAP else []
        case Subscribed(channel=channel, position=Position(epoch, offset)):
            return [(channel, epoch, offset)]
        case Subscribed(channel=channel):
            return [(channel, "", None)]
        case Connected(positions=positions):
            known = [(name, at.epoch, at.offset) for name, at in (positions or {}).items()]
            return [*((name, "", None) for name in OWN), *known]
        case Removed(channel=channel):
            return [(channel, "", None)]
        case _:
            return []


def _refusal(message: Message) -> Refusal | None:
    if not isinstance(message, Failed):
        return None
    error = message.error
    return Refusal(error.code, message.message or error.message, message.channel, error.temporary)


class Bookmark:
    """The positions of one stream, as the id of its latest event tells them.

    A name stands there by its checksum: an id goes with every event, and back in a header. Two names of one
    sum would need histories of one epoch as well to be taken for each other.
    """

    __slots__ = ("_entries", "_epochs")

    def __init__(self) -> None:
        self._epochs: dict[str, str] = {}
        self._entries: dict[str, bytes] = {}

    def move(self, moves: Iterable[tuple[str, str, int | None]]) -> None:
        """Take over what an event has told."""
        for name, epoch, offset in moves:
            if offset is None:
                self._entries.pop(name, None)
                self._epochs.pop(name, None)
            elif epoch or name in self._epochs:
                self.put(name, epoch or self._epochs[name], offset)

    @property
    def id(self) -> bytes:
        """The id of an event that brings the stream to where it stands; empty where there is no position."""
        if not self._entries:
            return b""
        return urlsafe_b64encode(_VERSION + b"".join(self._entries.values())).rstrip(b"=")

    def put(self, name: str, epoch: str, offset: int) -> None:
        """Note where the stream stands in one history."""
        self._epochs[name] = epoch
        text = epoch.encode()
        size = (offset.bit_length() + 7) // 8
        self._entries[name] = b"%b%c%b%c%b" % (_sum(name), len(text), text, size, offset.to_bytes(size))


def _sum(name: str) -> bytes:
    return zlib.crc32(name.encode()).to_bytes(4)


def read_id(id: str, names: Iterable[str]) -> dict[str, Position]:
    """The positions of these names in an id. Raises `ValueError` for what is no id of this server's."""
    try:
        data = urlsafe_b64decode(id + "=" * (-len(id) % 4))
    except (NoBase64, ValueError) as exc:
        raise ValueError("an id is base64") from exc
    if data[:1] != _VERSION:
        raise ValueError("an id of another kind")
    found: dict[bytes, Position] = {}
    at = 1
    while at < len(data):
        name, at = data[at : at + 4], at + 4
        epoch, at = _text(data, at)
        offset, at = _text(data, at)
        if len(offset) > _WIDEST:
            raise ValueError("an offset that nobody has come to")
        found[name] = Position(epoch.decode(), int.from_bytes(offset))
    return {name: found[_sum(name)] for name in names if _sum(name) in found}


def _text(data: bytes, at: int) -> tuple[bytes, int]:
    end = at + 1 + data[at] if at < len(data) else len(data) + 1
    if end > len(data):
        raise ValueError("an id that is cut short")
    return data[at + 1 : end], end
