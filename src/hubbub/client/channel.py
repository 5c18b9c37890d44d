"""One name that the client follows: up to where it has everything, and who listens.

The rules are those of `spec/protocol.md` under *Groups*, *Epochs* and *Gaps*; the core is `Channel.take`.
"""

from collections.abc import Callable, Iterable
from typing import Final

from hubbub.client.listener import Gap, Item, Listener
from hubbub.client.wire import Envelope
from hubbub.core.messages import Position

OWN: Final = ("$all", "$client", "$user")
"""What is a client's own: followed without being joined."""


class Channel:
    """A group, or one of `$all`, `$client` and `$user`.

    held: the position up to which everything has come; None where there is no history, or nothing is known.
    """

    def __init__(self, name: str, held: Position | None = None) -> None:
        self.name = name
        self.held = held
        self.number = 0
        self.listeners: tuple[Listener, ...] = ()
        self.pinned: Item | None = None  # taken from a loop or handlers that had not dealt with it
        self.unclaimed: Listener | None = None  # what waits since a join, for the first loop to come
        self.hole_is_told = False  # by a `messages_dropped`, and no message has come since

    # What arrives.

    def take(self, envelope: Envelope, on_gap: Callable[[Item], None]) -> Item | None:
        """Place a message; None for one that was had before. A hole before it is told."""
        before = position = self.held
        offset = envelope.offset
        if offset:
            epoch = envelope.epoch
            if before is None:
                position = Position(epoch, offset) if epoch else None
            elif not epoch or epoch == before.epoch:
                expected = before.offset + 1
                if offset != expected:
                    if offset < expected:
                        return None
                    gap = self.gap(Position(before.epoch, offset - 1))
                    if not self.hole_is_told:
                        on_gap(gap)
                    before = self.held
                position = Position(before.epoch if before else "", offset)
            else:
                position = Position(epoch, offset)
        self.hole_is_told = False
        self.held = position
        self.number += 1
        return Item(self.number, self, before, position, envelope)

    def gap(self, position: Position | None) -> Item:
        """Messages are missing here; it goes on from this position."""
        self.number += 1
        item = Item(self.number, self, self.held, position, Gap(self.name, position))
        self.held = position
        return item

    @property
    def is_crowded(self) -> bool:
        """Whether a listener has no room for one more, and wants the connection closed for that."""
        return any(each.is_crowded for each in self.listeners)

    # Who listens.

    def attach(self, listener: Listener) -> None:
        """Have a listener given what comes from now on."""
        self.listeners += (listener,)
        self.pinned = None

    def detach(self, listener: Listener) -> None:
        """A listener has gone; what it had not dealt with was not given."""
        if listener in self.listeners:
            self.listeners = tuple(each for each in self.listeners if each is not listener)
            oldest = listener.oldest_of(self)
            if oldest is not None:
                self.pin(oldest)

    def pin(self, item: Item) -> None:
        """This was not given, and nobody will be given it now."""
        if self.pinned is None or item.number < self.pinned.number:
            self.pinned = item

    def rewind(self) -> None:
        """The program connects again: where nobody has listened on, it is given what it was not given."""
        if self.pinned is not None and not self.listeners:
            self.held = self.pinned.before or self.held
            self.pinned = None

    def claim(self) -> Listener | None:
        """What has waited for a loop since somebody joined who is gone."""
        listener, self.unclaimed = self.unclaimed, None
        return listener

    def given(self, waiting: Iterable[Item | None]) -> Position | None:
        """The position up to which the program was given everything, with what waits for handlers."""
        items = [self.pinned, *waiting, *(each.oldest_of(self) for each in self.listeners)]
        oldest = min((item for item in items if item is not None), key=_number, default=None)
        return self.held if oldest is None else oldest.before


def _number(item: Item) -> int:
    return item.number
