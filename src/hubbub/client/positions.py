"""Positions as they stand on the wire, and as a program keeps them: plain objects both times."""

from collections.abc import Mapping
from typing import Any, Final

from hubbub.core.messages import Position

MAX_OFFSET: Final = 2**63 - 1
"""No history has come so far; and a larger number could not be said in MessagePack."""


def to_dicts(positions: Mapping[str, Position]) -> dict[str, dict[str, Any]]:
    """Something to be kept as JSON."""
    return {name: {"epoch": at.epoch, "offset": at.offset} for name, at in positions.items()}


def from_dicts(kept: Mapping[str, Position | Mapping[str, Any]]) -> dict[str, Position]:
    """What was kept; raises a ValueError where it is something else."""
    return {name: _kept(name, at) for name, at in kept.items()}


def position_in(message: object) -> Position | None:
    """The position that stands in a message; None where there is no legal one."""
    match message:
        case {"epoch": str(epoch), "offset": int(offset)}:
            legal = 0 <= offset <= MAX_OFFSET and not isinstance(offset, bool)
            return Position(epoch, offset) if legal else None
    return None


def _kept(name: str, kept: Position | Mapping[str, Any]) -> Position:
    position = kept if isinstance(kept, Position) else position_in(kept)
    if position is None:
        raise ValueError(f"The position of {name!r} is {kept!r}; give what `positions` gave.")
    return position
