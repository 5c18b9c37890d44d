"""From where to listen: `--since`, and positions that are kept in a file."""

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from hubbub.cli.ends import WrongUsage
from hubbub.client import Position

START: Final = frozenset({"start", "0"})
_POSITION: Final = re.compile(r"(?P<epoch>.+):(?P<offset>[0-9]{1,18})", re.DOTALL)

Positions = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Beginning:
    """Where each group begins: at a position, with the oldest message that is kept, or with what comes.

    positions: those to go on from, also of groups that are not listened to now.
    from_start: the groups that begin with the oldest message.
    """

    positions: Positions
    from_start: frozenset[str] = frozenset()

    @classmethod
    def of(cls, groups: list[str], since: str | None, file: Path | None) -> "Beginning":
        """What the arguments say; what the file knows counts more, so that a command can be run again."""
        positions = dict(read_positions(file)) if file is not None else {}
        rest = [group for group in dict.fromkeys(groups) if group not in positions]
        if since is None:
            return cls(positions)
        if since in START:
            return cls(positions, frozenset(rest))
        found = _POSITION.fullmatch(since)
        if found is None:
            raise WrongUsage(f"--since is {since!r}; give a position as EPOCH:OFFSET, or start")
        if len(set(groups)) > 1:
            raise WrongUsage("--since EPOCH:OFFSET is about one group; of several, --positions keeps each")
        at = {"epoch": found["epoch"], "offset": int(found["offset"])}
        return cls(positions | dict.fromkeys(rest, at))


def read_positions(file: Path) -> Positions:
    """What was kept; nothing where the file is not there yet."""
    try:
        kept = json.loads(file.read_bytes())
    except FileNotFoundError:
        return {}
    except OSError as exc:
        raise WrongUsage(f"--positions {file} cannot be read: {exc.strerror}") from exc
    except (ValueError, RecursionError) as exc:
        raise WrongUsage(f"--positions {file} holds no JSON; name another file") from exc
    if not isinstance(kept, dict) or not all(map(_is_position, kept.values())):
        raise WrongUsage(f"--positions {file} holds something else than positions; name another file")
    return kept


def _is_position(value: object) -> bool:
    match value:
        case {"epoch": str(), "offset": int(offset)}:
            return offset >= 0
    return False


def write_positions(file: Path, positions: Positions) -> None:
    """Keep them; whoever reads the file sees the earlier ones or these, and nothing between."""
    draft = file.with_name(f"{file.name}.{os.getpid()}")
    try:
        try:
            draft.write_text(json.dumps(positions) + "\n")
            draft.replace(file)
        finally:
            draft.unlink(missing_ok=True)
    except OSError as exc:
        raise WrongUsage(f"--positions {file} cannot be written: {exc.strerror}") from exc


def as_dict(position: Position) -> dict[str, Any]:
    """A position as it stands in the file."""
    return {"epoch": position.epoch, "offset": position.offset}
