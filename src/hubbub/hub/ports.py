"""What the hub needs of a transport."""

from collections.abc import Callable
from typing import Protocol

from hubbub.core.messages import Message


class Transport(Protocol):
    """How bytes of one connection leave. It writes and closes; reading is its own affair.

    It reports back-pressure by calling the connection's `pause_writing` and `resume_writing`, what it reads
    by `receive`, and its end, exactly once and whatever the cause, by `lost`.
    """

    @property
    def write(self) -> Callable[[bytes], None]:
        """Put ready frames on the wire; never blocks, never fails."""

    def close(self, code: int, reason: str) -> None:
        """Say why and close; what was written before goes out first. Idempotent."""

    def pause_reading(self) -> None:
        """Take nothing more off the wire: a command is under way."""

    def resume_reading(self) -> None:
        """Go on reading."""


class Companion(Protocol):
    """Something that lives as long as a hub does."""

    async def start(self) -> None:
        """The hub starts, in the running event loop. An exception keeps it from starting."""

    async def stop(self) -> None:
        """The hub has stopped; idempotent."""


class Format(Protocol):
    """How messages become frames of one transport in one protocol; shared by all that use the same."""

    def frame(self, message: Message, /) -> bytes:
        """The frame of one message."""

    @property
    def transport(self) -> str:
        """The transport's name."""

    @property
    def probe(self) -> bytes:
        """Bytes that make the peer give a sign of life by itself, sent beside the `ping` message."""
