"""Who may do what in a channel: what a client was granted, and what its namespace leaves to whom.

A grant names channels by pattern and what may be done in them. In a pattern `*` stands for one or more
characters other than `:` and `#`, so that `orders:*` covers `orders:42` and neither `orders:42:notes` nor
another user's `orders:42#bob`; `**` stands for any characters at all. All else stands for itself, code point
by code point: names that merely look alike are different names.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Final

MOST_PATTERNS: Final = 256
"""Patterns that one client may be granted."""
LONGEST_PATTERN: Final = 255
"""Characters; no name has more."""
SEPARATORS: Final = ":#"
"""What `*` does not stand for."""


class Action(StrEnum):
    """What can be done in a channel."""

    JOIN = "join"
    PUBLISH = "publish"
    PRESENCE = "presence"
    HISTORY = "history"


ACTIONS: Final = frozenset(Action)


class Who(StrEnum):
    """To whom a namespace leaves an action."""

    EVERYONE = "everyone"
    """Every client that was let in."""
    MEMBERS = "members"
    """Those who have joined the channel."""
    TOKEN = "token"  # noqa: S105  it is no secret
    """Those whose token grants it."""
    NOBODY = "nobody"
    """No client; the server alone."""


class _Pattern:
    """A pattern made ready: all ways to match are followed at once, one bit for each place in the pattern.

    So a name costs one step a character, whatever it is and whatever the pattern is; there is no way back
    that a hostile name could make long.
    """

    __slots__ = ("_end", "_others", "_prefix", "_steps")

    def __init__(self, pattern: str) -> None:
        self._prefix, *parts = re.split(r"(\*\*|\*)", pattern)
        place = one = more = anything = 0
        own: dict[str, int] = {}
        for part in parts:
            if part == "**":
                anything |= 1 << place
            elif part == "*":
                one |= 1 << place
                place += 1
                more |= 1 << place
            else:
                for character in part:
                    own[character] = own.get(character, 0) | 1 << place
                    place += 1
        self._end = 1 << place
        # By character: the places that go on to the next, and those that stay where they are.
        self._others = (one, more | anything)
        self._steps = {c: (places | one, more | anything) for c, places in own.items()}
        self._steps |= {c: (own.get(c, 0), anything) for c in SEPARATORS}

    def matches(self, channel: str) -> bool:
        if not channel.startswith(self._prefix):
            return False
        places, steps, others = 1, self._steps, self._others
        for character in channel[len(self._prefix) :]:
            go, stay = steps.get(character, others)
            places = (places & go) << 1 | places & stay
            if not places:
                return False
        return places & self._end != 0


_ready: Final = lru_cache(maxsize=1024)(_Pattern)


def matches(pattern: str, channel: str) -> bool:
    """Whether a channel is one of those that a pattern names."""
    return _ready(pattern).matches(channel)


@dataclass(frozen=True, slots=True)
class Grants:
    """All that a client was granted, by pattern. An action that no pattern grants is refused."""

    by_pattern: tuple[tuple[str, frozenset[Action]], ...] = ()

    @classmethod
    def of(cls, channels: Mapping[str, Iterable[str]]) -> "Grants":
        """From patterns and the names of actions. Raises `ValueError` with a sentence."""
        if len(channels) > MOST_PATTERNS:
            raise ValueError(
                f"{len(channels)} patterns of channels are too many; name at most {MOST_PATTERNS}"
            )
        if any(len(pattern) > LONGEST_PATTERN for pattern in channels):
            raise ValueError(f"a pattern is longer than {LONGEST_PATTERN} characters, which no name is")
        try:
            return cls(tuple((p, frozenset(map(Action, names))) for p, names in channels.items()))
        except ValueError as exc:
            raise ValueError(f"{exc}; the actions are {', '.join(Action)}") from exc

    def allow(self, action: Action, channel: str) -> bool:
        """Whether one of the patterns grants this action in this channel."""
        return any(action in actions and matches(pattern, channel) for pattern, actions in self.by_pattern)


def owners(channel: str) -> frozenset[str] | None:
    """The users to whom a channel belongs, None where it belongs to nobody in particular.

    In `<namespace>:…#<user>` what follows the last `#` names its user, or several between commas.
    """
    head, mark, users = channel.rpartition("#")
    if not mark or ":" not in head:
        return None
    return frozenset(users.split(","))
