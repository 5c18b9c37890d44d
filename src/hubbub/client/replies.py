"""What calls give."""

from typing import Any, Generic, TypeVar

from msgspec import Struct

from hubbub.core.messages import Position

M = TypeVar("M")


class History(Struct, Generic[M], frozen=True):
    """Messages of a group's history, and the position of its newest."""

    messages: list[M]
    position: Position


class Member(Struct, frozen=True):
    """A connection that is in a group.

    user: empty where the application has named none.
    info: what the application shows of it, None where that is nothing.
    """

    client_id: str
    user: str = ""
    info: Any = None


class PresenceStats(Struct, frozen=True):
    """How many connections are in a group, and how many different clients."""

    connections: int
    clients: int
