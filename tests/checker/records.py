"""What a run writes down, in the order in which it happened. Times are seconds on one monotonic clock."""

from dataclasses import dataclass, field
from enum import IntEnum
from typing import NamedTuple, TypeAlias


class Position(NamedTuple):
    """A place in a group's history."""

    epoch: str
    offset: int

    def __str__(self) -> str:
        return f"{self.epoch}:{self.offset}"


def name_of(payload: str) -> str:
    """A publication's name: each try to publish it carries the same one and a number of its own.

    So a publication that was lost, and published anew by the next try, is told from one that was kept.
    """
    return payload.partition("/")[0]


class Loss(IntEnum):
    """What a fault may take from the servers' histories."""

    NOTHING = 0
    UNCONFIRMED = 1
    """The newest publications that nobody was told are safe."""
    TAIL = 2
    """The newest publications: those that no replica had yet."""
    ALL = 3


class Joined(NamedTuple):
    """The answer to a join: `asked` is the position that it was to recover from."""

    at: float
    position: Position
    recovered: bool | None
    asked: Position | None


class Notice(NamedTuple):
    """The server says unasked that something is lost, and where the group goes on."""

    at: float
    position: Position


class Got(NamedTuple):
    """A message of the group; `epoch` where the message told one."""

    at: float
    offset: int
    payload: str
    epoch: str = ""


class Left(NamedTuple):
    """The client has left the group, or the connection is gone."""

    at: float
    how: str


Entry: TypeAlias = Joined | Notice | Got | Left


class Publication(NamedTuple):
    """Something a publisher has sent; `position` where it was told that it is published."""

    group: str
    name: str
    sent: float
    answered: float
    position: Position | None


class Snapshot(NamedTuple):
    """A group's whole history as it was read at some time: the payloads from offset 1 on."""

    at: float
    group: str
    epoch: str
    payloads: list[str]


class Fault(NamedTuple):
    """Something that was broken from one time to another."""

    name: str
    began: float
    healed: float
    loses: Loss


@dataclass
class Record:
    """All of a run."""

    clients: dict[tuple[str, str], list[Entry]] = field(default_factory=dict)
    """By client and group."""
    publications: list[Publication] = field(default_factory=list)
    snapshots: list[Snapshot] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    markers: dict[str, Position] = field(default_factory=dict)
    """By group, what was published when all was well again: every client has to get there."""
