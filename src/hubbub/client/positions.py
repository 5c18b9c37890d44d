"""Positions as a program keeps them: plain objects, as they stand on the wire."""

from collections.abc import Mapping
from typing import Any

from hubbub.core.messages import Position


def to_dicts(positions: Mapping[str, Position]) -> dict[str, dict[str, Any]]:
    """Something to be kept as JSON."""
    return {name: {"epoch": at.epoch, "offset": at.offset} for name, at in positions.items()}


def from_dicts(kept: Mapping[str, Position | Mapping[str, Any]]) -> dict[str, Position]:
    """What was kept; raises a ValueError where it is something else."""
    return {name: _position(name, at) for name, at in kept.items()}


def _position(name: str, kept: Position | Mapping[str, Any]) -> Position:
    match kept:
        case Position():
            return kept
        case {"epoch": str(epoch), "offset": int(offset)}:
            return Position(epoch, offset)
    raise ValueError(f"The position of {name!r} is {kept!r}; give what `positions` gave.")
