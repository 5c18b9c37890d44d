"""The native wire format in MessagePack: the messages of the JSON one, as maps in binary frames.

Whatever is published is JSON for everybody: what a client sends becomes JSON first, so what it says, and what
is wrong with it, cannot differ between the formats; and a publication is turned once, however many get it.
"""

import json
from itertools import chain
from math import isfinite
from typing import Any, ClassVar, Final, TypeVar

import msgspec
from msgspec import Raw, Struct, structs

from hubbub.core.messages import BadCommand, Command, Message
from hubbub.protocols.native.incoming import command, id_of, type_name
from hubbub.protocols.native.outgoing import outgoing

_to_json = msgspec.json.Encoder().encode
_to_msgpack = msgspec.msgpack.Encoder().encode
_of_json = msgspec.json.Decoder().decode
_of_msgpack = msgspec.msgpack.Decoder().decode

S = TypeVar("S", bound=Struct)

_JSON_TYPES: Final = frozenset({dict, list, str, int, float, bool, type(None)})
_LONGEST_INTEGER: Final = 19
"""Digits of an integer that MessagePack holds in any case."""


class NativeMsgpack:
    """One MessagePack map a binary frame, each with a `type`."""

    name: ClassVar = "hubbub.v1.msgpack"
    binary: ClassVar = True

    def decode(self, payload: bytes) -> tuple[Command]:
        """The command of one frame; raises `BadCommand` with a sentence that names the field."""
        try:
            message = _of_msgpack(payload)
        except RecursionError as exc:
            raise BadCommand("the message is nested too deeply; flatten it") from exc
        except (msgspec.DecodeError, UnicodeDecodeError) as exc:
            raise BadCommand(f"the message is not MessagePack ({exc}); send one map a frame") from exc
        if type(message) is not dict:
            raise BadCommand(f"the message is {type_name(message)}; send a map with a `type`")
        wrong = _not_json(message)
        if wrong:
            raise BadCommand(f"the message holds {wrong}, which JSON has not; {_INSTEAD}", id_of(message))
        try:
            return (command(_to_json(message)),)
        except RecursionError as exc:
            raise BadCommand("the message is nested too deeply; flatten it") from exc

    def encode(self, message: Message) -> bytes:
        """The MessagePack map of one message."""
        return _to_msgpack(_packed(outgoing(message)))


_INSTEAD: Final = "send text, finite numbers, lists and maps with keys of text"


def _not_json(message: dict[Any, Any]) -> str:
    """What of a message has no JSON; empty where all of it has. Level by level, since a value is cheap so."""
    dicts: list[dict[Any, Any]] = [message]
    lists: list[list[Any]] = []
    while dicts or lists:
        if not {str}.issuperset(map(type, chain.from_iterable(dicts))):
            return "a key that is no text"
        level = [*chain.from_iterable(map(dict.values, dicts)), *chain.from_iterable(lists)]
        types = set(map(type, level))
        if not types <= _JSON_TYPES:
            return "binary data" if bytes in types else "an extension type"
        if float in types and not all(isfinite(value) for value in level if type(value) is float):
            return "a number that is not finite"
        dicts = [value for value in level if type(value) is dict] if dict in types else []
        lists = [value for value in level if type(value) is list] if list in types else []
    return ""


def _packed(struct: S) -> S:
    """A message with all JSON in it turned into MessagePack."""
    changes: dict[str, Any] = {}
    for name in struct.__struct_fields__:
        match getattr(struct, name):
            case Raw() as text:
                changes[name] = _pack(text)
            case [Struct(), *_] as items:
                changes[name] = [_packed(item) for item in items]
            case dict() as items:
                changes[name] = {k: _packed(v) if isinstance(v, Struct) else v for k, v in items.items()}
    return structs.replace(struct, **changes)


def _pack(text: Raw) -> Raw:
    """JSON text in MessagePack. Nobody is kept from a message because of what somebody can write in it."""
    try:
        return Raw(_to_msgpack(_of_json(text)))
    except RecursionError:
        return Raw(_to_msgpack(bytes(text).decode()))  # the JSON itself, as a string
    except (msgspec.DecodeError, OverflowError):
        return Raw(_to_msgpack(json.loads(bytes(text), parse_int=_integer)))


def _integer(digits: str) -> int | float:
    """An integer, or the nearest double: a reader whose numbers are doubles has that from JSON, too."""
    if len(digits) <= _LONGEST_INTEGER:
        return int(digits)
    number = int(digits) if len(digits) <= _LONGEST_INTEGER + 1 else float(digits)
    return number if -(2**63) <= number < 2**64 else float(number)
