"""The contract of a wire format, and the table of those we ship."""

from collections.abc import Iterable
from functools import cache
from importlib import import_module
from typing import Final, Protocol, cast

from hubbub.core.messages import Command, Message


class WireProtocol(Protocol):
    """Turns what arrives into commands and messages into what leaves. Stateless: one serves everybody."""

    @property
    def name(self) -> str:
        """Its WebSocket subprotocol."""

    @property
    def binary(self) -> bool:
        """Whether it travels in binary frames."""

    def decode(self, payload: bytes) -> Iterable[Command]:
        """The commands of one frame, in order; raises `BadCommand` at one that is not legal."""

    def encode(self, message: Message) -> bytes:
        """The payload of one frame."""


PROTOCOLS: Final = {
    "hubbub.v1": "hubbub.protocols.native:NativeJson",
    "hubbub.v1.msgpack": "hubbub.protocols.native:NativeMsgpack",
}
"""Subprotocol to the class that speaks it; the first is spoken where a client names none."""


@cache
def protocol(name: str) -> WireProtocol:
    """The wire format of a subprotocol in `PROTOCOLS`."""
    module, _, cls = PROTOCOLS[name].partition(":")
    return cast("WireProtocol", getattr(import_module(module), cls)())


def choose(offered: Iterable[str]) -> tuple[WireProtocol, str | None]:
    """The wire format for a client that offers these subprotocols, and the one to name in the answer."""
    for name in offered:
        if name in PROTOCOLS:
            return protocol(name), name
    return protocol(next(iter(PROTOCOLS))), None
