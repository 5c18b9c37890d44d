"""The two formats of the wire, JSON in text frames and MessagePack in binary ones, and what comes in them."""

import dataclasses
import sys
from collections.abc import Callable
from typing import Annotated, Any, Final, TypeAlias, get_args, get_type_hints

import msgspec
from msgspec import Raw, Struct

Message: TypeAlias = dict[str, Any]
"""One message as it came: a JSON object with a `type`."""

NOTHING: Final = Raw()
PUBLICATIONS: Final = frozenset(
    {"group_message", "chat_message", "broadcast_message", "personal_notification", "system_notification"}
)


Offset: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]


class Envelope(Struct, gc=False):
    """A message that somebody published, with what they published still in its own format."""

    type: str
    group_name: str = ""
    data: Raw = NOTHING
    message: Raw = NOTHING
    sender: str = msgspec.field(default="", name="from")
    timestamp: str = ""
    offset: Offset = 0
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
    """An adapter where pydantic is asked for, by a model of its own or one within; None where it is not.

    The client does not need pydantic. Who has its types has imported it.
    """
    pydantic = sys.modules.get("pydantic")
    if pydantic is None or not _holds_pydantic(type_, set()):
        return None
    return pydantic.TypeAdapter(type_)


def _holds_pydantic(type_: Any, seen: set[int]) -> bool:
    """Whether a type is one of pydantic's, or has one in it."""
    if id(type_) in seen:
        return False
    seen.add(id(type_))
    # What stands in an `Annotated` may be an object of a class of pydantic's.
    kind = type_ if isinstance(type_, type) else type(type_)
    if kind.__module__.partition(".")[0] in ("pydantic", "annotated_types"):
        return True
    if hasattr(type_, "__pydantic_core_schema__") or hasattr(type_, "__get_pydantic_core_schema__"):
        return True
    within: list[Any] = list(get_args(type_))
    if hasattr(type_, "__required_keys__") or dataclasses.is_dataclass(type_):
        within += get_type_hints(type_, include_extras=True).values()
    return any(_holds_pydantic(each, seen) for each in within)


def _to_builtins(value: object) -> object:
    pydantic_core = sys.modules.get("pydantic_core")
    if pydantic_core is not None:
        try:
            plain: object = pydantic_core.to_jsonable_python(value)
        except ValueError:  # not one of pydantic's either
            pass
        else:
            return plain
    raise TypeError(f"A {type(value).__name__} cannot be sent: it has no form in JSON.")


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
