"""A newcomer's way into a channel with history: what it missed, what arrives meanwhile, and then live."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final, NamedTuple

from hubbub.brokers.base import HistoryPage
from hubbub.core.messages import Kind, Position, Publication
from hubbub.core.stream import merge, missed
from hubbub.core.trail import MOST_HELD

if TYPE_CHECKING:
    from hubbub.hub.hub import Hub

TRIES: Final = 3
"""How often a history is read, where what arrives meanwhile does not fit to it."""


class Start(NamedTuple):
    """Where a newcomer begins.

    position: told to it. recovered: whether it is given all that it missed, None where it did not ask.
    missed: what it is given first. known: the position after that, from which it follows live.
    """

    position: Position
    recovered: bool | None
    missed: list[Publication]
    known: Position


class Approach:
    """Reads the history while live publications gather, and joins the two without a gap or a duplicate.

    Call `read`, then `start` where the newcomer is registered, without an `await` in between; and `close` in
    any case. What the broker delivers later of what the history has shown, the audience passes over.
    """

    def __init__(self, hub: Hub, channel: str, recover: Position | None = None) -> None:
        self._hub = hub
        self._channel = channel
        self._recover = recover
        self._page: HistoryPage | None = None
        self._live: deque[tuple[Publication, str]] = deque(maxlen=MOST_HELD)
        hub.deliveries.tap(channel, self._tap)

    @property
    def sound(self) -> bool:
        """Whether the newcomer can begin where it asked for, or at the newest, as things stand now."""
        return self._page is not None and self._joined() is not None and not self._overtaken()

    async def read(self) -> None:
        """Read the history, again where what arrives meanwhile does not fit. Raises `BrokerUnavailable`."""
        hub, channel = self._hub, self._channel
        for _ in range(TRIES):
            limit = 0 if self._recover is None else -1
            self._page = page = await hub.histories.read(channel, self._recover, limit)
            # Members of one audience stand in one epoch.
            if not hub.continuity.agrees(channel, page.position.epoch):
                await hub.continuity.agree(channel, page.position.epoch)
            if self.sound:
                return

    def start(self) -> Start:
        """Where the newcomer begins."""
        assert self._page is not None, "read first"
        asked = self._recover is not None
        joined = self._joined()
        if joined is not None and not self._overtaken():
            since, rest = joined
            if since is not None:
                return Start(since, True, rest, self._known())
        # Begin at the newest that was seen: what was missed is gone, or nobody asked for it.
        known = self._known()
        passed = self._hub.continuity.position(self._channel)
        if passed is not None and self._overtaken():
            known = passed
        return Start(known, False if asked else None, [], known)

    def close(self) -> None:
        """Gather no more; idempotent."""
        self._hub.deliveries.untap(self._channel, self._tap)

    def _tap(self, publication: Publication, epoch: str) -> None:
        if publication.offset and publication.kind is not Kind.GAP:
            self._live.append((publication, epoch))

    def _joined(self) -> tuple[Position | None, list[Publication]] | None:
        """From where (None where that is lost) and what was missed; None where there is a hole in it."""
        assert self._page is not None
        page, found = self._page, None
        if self._recover is not None and page.since is not None:
            found = missed(page.publications, page.since, page.position)
        since = page.since if found is not None else None
        if not found and not self._live:
            return since, []
        rest = merge(found or [], self._of(page.position.epoch), (since or page.position).offset)
        return None if rest is None else (since, rest)

    def _known(self) -> Position:
        """The newest that the history or the live publications have shown."""
        assert self._page is not None
        epoch = self._page.position.epoch
        if not self._live:
            return self._page.position
        return Position(epoch, max([self._page.position.offset, *(p.offset for p in self._of(epoch))]))

    def _overtaken(self) -> bool:
        """Whether members were given more, or of another epoch, than the history has shown here.

        Then what lies between was passed on before the newcomer is one of them, and is not passed on again.
        """
        passed, known = self._hub.continuity.position(self._channel), self._known()
        return passed is not None and (passed.epoch != known.epoch or passed.offset > known.offset)

    def _of(self, epoch: str) -> list[Publication]:
        return [publication for publication, of in self._live if of == epoch] if self._live else []
