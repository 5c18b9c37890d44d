"""What a node knows of one channel's history as it comes by: no gap is passed on, none is passed over.

Theory of operation. Deliveries between nodes can be lost, and their offsets tell. While each follows the one
before, it is passed on as it comes. When one does not (an offset was skipped, or it is of another epoch), the
trail is *broken*: nothing more is passed on, what arrives is held, and the driver reads the history from the
trail's position and gives it to `mend`. That returns what was missing and what was held, in order and once;
or, where the history no longer has all of it, a publication of kind `GAP`, which tells the members where they
stand now and that something is lost. It is never silent and never partial.
"""

from collections import deque
from typing import Final

from msgspec import Raw, structs

from hubbub.core.messages import Kind, Position, Publication
from hubbub.core.stream import merge, missed

MOST_HELD: Final = 1000
"""Publications that are held while a trail is broken; older ones are left to the history."""


class Trail:
    """The deliveries of one channel with history on this node, from a known position on."""

    __slots__ = ("_held", "_untold", "broken", "channel", "epoch", "offset")

    def __init__(self, channel: str, position: Position) -> None:
        self.channel = channel
        self.epoch = position.epoch
        self.offset = position.offset
        self.broken = False
        self._untold = False  # the members do not know of the epoch yet
        self._held: deque[tuple[Publication, str]] | None = None

    @property
    def position(self) -> Position:
        """Up to here everything was passed on."""
        return Position(self.epoch, self.offset)

    def receive(self, publication: Publication, epoch: str) -> Publication | None:
        """Take what arrived with its epoch; returns it where it is to be passed on now.

        It is not where the members know it already, and where the trail is broken or breaks by it.
        """
        if not self.broken and epoch == self.epoch:
            if publication.offset == self.offset + 1:
                self.offset = publication.offset
                return self._tell(publication) if self._untold else publication
            if publication.offset <= self.offset:
                return None
        self.broken = True
        if self._held is None:
            self._held = deque(maxlen=MOST_HELD)
        self._held.append((publication, epoch))
        return None

    def mend(
        self, publications: list[Publication], position: Position, since: Position | None
    ) -> list[Publication]:
        """Take the history as it was read after the trail's position; returns what to pass on.

        `since` is the trail's position in terms of the history's epoch, None where it is not of that history.
        Where `broken` stays true, something came by that was not in the history yet: it is to be read again.
        """
        found = None if since is None else missed(publications, since, position)
        if found is None or since is None:
            start, rest = position, merge([], self._of(position.epoch), position.offset)
            self._untold = False
            passed = [_gap(self.channel, position)]
        else:
            start, rest = since, merge(found, self._of(position.epoch), since.offset)
            self._untold = self._untold or position.epoch != self.epoch
            passed = []
        # What is of another epoch came before this read, or is newer than it: one more read will tell.
        foreign = any(epoch != position.epoch for _, epoch in self._held or ())
        self.broken = rest is None or foreign
        hole = rest is None
        if rest is None:
            rest = found or []
        self.epoch = position.epoch
        self.offset = rest[-1].offset if rest else start.offset
        if hole and self._held is not None:
            later = [(p, e) for p, e in self._held if e == self.epoch and p.offset > self.offset]
            self._held = deque(later, MOST_HELD)
        else:
            self._held = None
        if rest and self._untold:
            rest[0] = self._tell(rest[0])
        return passed + rest

    def _of(self, epoch: str) -> list[Publication]:
        return [publication for publication, held in self._held or () if held == epoch]

    def _tell(self, publication: Publication) -> Publication:
        """The first of an epoch carries its name, so that the members know what their offsets are of."""
        self._untold = False
        return structs.replace(publication, epoch=self.epoch)


def _gap(channel: str, position: Position) -> Publication:
    return Publication(
        channel=channel,
        data=Raw(b"null"),
        timestamp="",
        kind=Kind.GAP,
        offset=position.offset,
        epoch=position.epoch,
    )
