"""A channel's bounded history, and the merge that joins it to live publications without gap or duplicate.

Theory of operation. Offsets count a channel's publications from 1 without holes; the stream keeps the newest
of them within its bounds, but never forgets the offset of the newest it has seen. A reader who holds
position p has missed nothing iff every offset above p is still here. Where one is not, the answer is None:
never a part of what was missed.
"""

from collections import deque
from collections.abc import Iterable

from msgspec import structs

from hubbub.core.messages import Position, Publication


class Stream:
    """The newest publications of one channel. Time enters as `now`, in seconds of any steady clock."""

    __slots__ = ("_entries", "epoch", "top")

    def __init__(self, epoch: str) -> None:
        self.epoch = epoch
        self.top = 0
        self._entries: deque[tuple[float, Publication]] = deque()

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def position(self) -> Position:
        """The position of the newest publication, kept or not."""
        return Position(self.epoch, self.top)

    def append(self, publication: Publication, *, now: float, size: int, ttl: float) -> Publication:
        """Keep a publication as the newest, and return it with its offset.

        Of the kept ones, the oldest go until at most `size` remain; each goes after `ttl` seconds.
        """
        self.top += 1
        placed = structs.replace(publication, offset=self.top)
        self._entries.append((now + ttl, placed))
        while len(self._entries) > size:
            self._entries.popleft()
        self.expire(now)
        return placed

    def expire(self, now: float) -> None:
        """Let go of what has outlived its time."""
        # Entries go strictly from the oldest, so that what remains has no hole even if ttl changed.
        while self._entries and self._entries[0][0] <= now:
            self._entries.popleft()

    def clear(self) -> None:
        """Let go of every publication; offsets go on from where they were."""
        self._entries.clear()

    def read(self, *, since: int | None = None, limit: int = -1, reverse: bool = False) -> list[Publication]:
        """Publications after offset `since` (before it, with `reverse`), at most `limit` (-1: all).

        Without `since` the reading begins at the oldest, or with `reverse` at the newest.
        """
        entries: Iterable[tuple[float, Publication]] = reversed(self._entries) if reverse else self._entries
        found: list[Publication] = []
        for _, publication in entries:
            if len(found) == limit:
                break
            if since is None or (publication.offset < since if reverse else publication.offset > since):
                found.append(publication)
        return found

    def missed_since(self, position: Position) -> list[Publication] | None:
        """Exactly what a reader at `position` has missed, or None where that can no longer be told."""
        return missed(self.read(since=position.offset), position, self.position)


def missed(publications: list[Publication], position: Position, top: Position) -> list[Publication] | None:
    """Check that `publications` are all that lies between `position` and `top`; None where they are not."""
    if position.epoch != top.epoch or not 0 <= position.offset <= top.offset:
        return None
    expected = range(position.offset + 1, top.offset + 1)
    if len(publications) != len(expected):
        return None
    if any(publication.offset != offset for publication, offset in zip(publications, expected, strict=True)):
        return None
    return publications


def merge(
    recovered: Iterable[Publication], buffered: Iterable[Publication], after: int
) -> list[Publication] | None:
    """Join what was read from the history with what arrived live meanwhile.

    Returns every publication with an offset above `after`, once, in order; None where one is missing.
    """
    by_offset = {p.offset: p for p in (*recovered, *buffered) if p.offset > after}
    merged = [by_offset[offset] for offset in sorted(by_offset)]
    if merged and merged[-1].offset - after != len(merged):
        return None
    return merged
