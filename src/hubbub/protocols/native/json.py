"""The native wire format in JSON: spec/protocol.md, word for word."""

from typing import ClassVar

import msgspec

from hubbub.core.messages import Command, Message
from hubbub.protocols.native.incoming import command
from hubbub.protocols.native.outgoing import outgoing

_encode = msgspec.json.Encoder().encode


class NativeJson:
    """One JSON object a text frame, each with a `type`."""

    name: ClassVar = "hubbub.v1"
    binary: ClassVar = False

    def decode(self, payload: bytes) -> tuple[Command]:
        """The command of one frame; raises `BadCommand` with a sentence that names the field."""
        return (command(payload),)

    def encode(self, message: Message) -> bytes:
        """The JSON text of one message."""
        return _encode(outgoing(message))
