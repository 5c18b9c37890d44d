"""The two formats of the wire, JSON in text frames and MessagePack in binary ones, and what comes in them."""

import dataclasses
from collections.abc import Callable
from typing import Any, Final, TypeAlias

import msgspec
from msgspec import Raw, Struct

Message: TypeAlias = dict[str, Any]
"""One message as it came: a JSON object with a `type`."""

NOTHING: Final = Raw()
PUBLICATIONS: Final = frozenset(
    {"group_message", "chat_message", "broadcast_message", "personal_notification", "system_notification"}
)


class Envelope(Struct, gc=False):
    """A message that somebody published, with what they published still in its own format."""

    type: str
    group_name: str = ""
    data: Raw = NOTHING
    message: Raw = NOTHING
    sender: str = msgspec.field(default="", name="from")
    timestamp: str = ""
    offset: int = 0
    epoch: str = ""
    channel: str = ""
    tags: dict[str, str] | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Format:
    """How messages are written and read; one that cannot be read raises a ValueError.

    subprotocol: its name in the handshake.
    binary: whether it travels in binary frames.
    envelope: reads a publication.
    """

    subprotocol: str
    binary: bool
    encode: Callable[[object], str | bytes]
    decode: Callable[[bytes], Any]
    envelope: Callable[[bytes], Envelope]

    def reader(self, type_: Any) -> Callable[[Raw], Any]:
        """What turns published data into this type; raises a ValueError where it does not fit."""
        adapter = _pydantic_adapter(type_)
        if adapter is None:
            module = msgspec.msgpack if self.binary else msgspec.json
            decode: Callable[[Raw], Any] = module.Decoder(type_).decode
            return decode
        if self.binary:
            return lambda raw: adapter.validate_python(msgspec.msgpack.decode(raw))
        return lambda raw: adapter.validate_json(bytes(raw))


def _pydantic_adapter(type_: Any) -> Any:
    """An adapter for a pydantic model; the client does not need pydantic, but takes its models."""
    if not hasattr(type_, "__pydantic_validator__") or not hasattr(type_, "model_fields"):
        return None
    from pydantic import TypeAdapter

    return TypeAdapter(type_)


def _to_builtins(value: object) -> object:
    dump = getattr(value, "model_dump", None)
    if dump is None:
        raise TypeError(f"A {type(value).__name__} cannot be sent: it has no form in JSON.")
    return dump(mode="json")


def _json_text(value: object) -> str:
    return msgspec.json.encode(value, enc_hook=_to_builtins).decode()


def _msgpack_bytes(value: object) -> bytes:
    return msgspec.msgpack.encode(value, enc_hook=_to_builtins)


JSON: Final = Format(
    "hubbub.v1", False, _json_text, msgspec.json.decode, msgspec.json.Decoder(Envelope).decode
)
MSGPACK: Final = Format(
    "hubbub.v1.msgpack",
    True,
    _msgpack_bytes,
    msgspec.msgpack.decode,
    msgspec.msgpack.Decoder(Envelope).decode,
)
