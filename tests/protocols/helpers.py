"""What the tests of the wire share: the vectors, the messages of the code, and the codec both speak of."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Raw, Struct

from hubbub.core import messages
from hubbub.core.codes import CloseReason, Error
from hubbub.core.messages import Command, Member, Message, Position, Publication
from hubbub.protocols.native import incoming, outgoing

SPEC = Path(__file__).parents[2] / "spec"

Vector = dict[str, Any]


def vectors(file: str, table: str = "vectors") -> list[Vector]:
    """One table of a file of vectors."""
    text = (SPEC / "vectors" / "native" / file).read_text(encoding="utf-8")
    return json.loads(text)[table]


def name_of(vector: Vector) -> str:
    """A vector's name, for the report."""
    return vector["name"]


def named(name: str, table: list[Vector]) -> Vector:
    """The one vector of this name."""
    [vector] = [vector for vector in table if vector["name"] == name]
    return vector


def text_of(written: Any) -> Any:
    """A string of a vector, where `[[piece, times], …]` stands for a long one; anything else as it is."""
    if isinstance(written, list):
        return "".join(piece * times for piece, times in written)
    return written


# The messages of the core, as the vectors write them.


def as_written(value: Any) -> Any:
    """A command as a vector writes it: its class as `type`, every field, JSON as its text."""
    match value:
        case Raw():
            return bytes(value).decode()
        case Struct():
            return {field: as_written(getattr(value, field)) for field in value.__struct_fields__}
        case dict():
            return {name: as_written(each) for name, each in value.items()}
        case _:
            return value


def command_as_written(command: Command) -> dict[str, Any]:
    """A command with the name of its class. A token that is none is left out: vectors are older."""
    fields = as_written(command)
    if not fields.get("token"):
        fields.pop("token", None)
    return {"type": type(command).__name__, **fields}


def message(written: dict[str, Any]) -> Message:
    """The message a vector writes; a field that it leaves out has the default of the core."""
    fields = dict(written)
    cls = getattr(messages, fields.pop("type"))
    return cls(**{name: _field(name, value) for name, value in fields.items()})


def _field(name: str, value: Any) -> Any:
    if value is None:
        return None
    match name:
        case "data":
            return Raw(value.encode())
        case "error":
            return Error(**value)
        case "kind":
            return messages.Kind(value)
        case "members":
            return {id: Member(**_member(member)) for id, member in value.items()}
        case "position":
            return Position(**value)
        case "positions":
            return {name: Position(**position) for name, position in value.items()}
        case "publications":
            return [_publication(publication) for publication in value]
        case "reason":
            return CloseReason(**value)
        case _:
            return value


def _member(written: dict[str, str]) -> dict[str, Any]:
    return written | {"info": Raw(written["info"].encode())} if "info" in written else written


def _publication(written: dict[str, Any]) -> Publication:
    return Publication(**{name: _field(name, value) for name, value in written.items()})


# The messages of the wire, as the codec declares them.

StructType = type[Struct]


def client_messages() -> dict[str, StructType]:
    """What a client may send, by `type`."""
    return {cls.__struct_config__.tag: cls for cls in _with_subclasses(incoming._In) if _is_message(cls)}


def server_messages() -> dict[str, StructType]:
    """What a server sends, by `type`."""
    return {cls.__struct_config__.tag: cls for cls in _with_subclasses(outgoing._Out) if _is_message(cls)}


def _with_subclasses(cls: StructType) -> Iterator[StructType]:
    yield cls
    for subclass in cls.__subclasses__():
        yield from _with_subclasses(subclass)


def _is_message(cls: StructType) -> bool:
    # A base that is never sent has no `tag`, and msgspec gives it the name of its class.
    return cls.__struct_config__.tag != cls.__name__


def fields_of(cls: StructType) -> dict[str, bool]:
    """A message's fields on the wire, and whether each can be absent."""
    return {field.encode_name: not field.required for field in msgspec.structs.fields(cls)}
