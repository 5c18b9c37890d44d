"""What a node passes on of one channel's history: no gap, no duplicate, or the word that some is lost."""

from collections import deque
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from hubbub.core.messages import Kind, Position, Publication
from hubbub.core.trail import MOST_HELD, Trail

from .helpers import a_publication, at_offsets, offsets_of, steady


def a_trail(offset: int = 0, epoch: str = "a") -> Trail:
    """A trail that stands there."""
    return Trail("news", Position(epoch, offset))


def arrives(trail: Trail, *offsets: int, epoch: str = "a") -> list[int]:
    """These publications arrive; which of them are passed on at once."""
    passed = [trail.receive(publication, epoch) for publication in at_offsets(*offsets)]
    return [publication.offset for publication in passed if publication is not None]


def mended(
    trail: Trail, *found: int, top: int, epoch: str = "a", since: int | None = None, lost: bool = False
) -> list[Publication]:
    """The history was read as far as `top`: what is passed on. `lost` is what knows nothing of the trail."""
    where = None if lost else Position(epoch, trail.offset if since is None else since)
    return trail.mend(at_offsets(*found), Position(epoch, top), where)


def test_what_follows_is_passed_on_as_it_is() -> None:
    """The very object, which the fan-out encodes once for everybody."""
    trail = a_trail(4)
    fifth = a_publication(offset=5)

    assert trail.receive(fifth, "a") is fifth
    assert trail.position == Position("a", 5)
    assert not trail.broken


@pytest.mark.parametrize("offset", [1, 3, 4])
def test_what_the_members_know_is_not_passed_on_again(offset: int) -> None:
    """An answer overtook a delivery; nothing is wrong."""
    trail = a_trail(4)

    assert arrives(trail, offset) == []
    assert trail.position == Position("a", 4)
    assert not trail.broken


def test_a_skipped_offset_breaks_it() -> None:
    """Nothing more is passed on, not even what would fit: it would come out of order."""
    trail = a_trail(4)

    assert arrives(trail, 6, 5, 7) == []
    assert trail.broken
    assert trail.position == Position("a", 4)


def test_an_offset_of_another_epoch_breaks_it() -> None:
    """Even one that would follow: it may be another history's."""
    trail = a_trail(4)

    assert arrives(trail, 5, epoch="b") == []
    assert trail.broken


def test_mending_gives_what_was_missing_and_what_was_held() -> None:
    """In order, each once, and then it goes on."""
    trail = a_trail(4)
    arrives(trail, 6, 7)

    assert offsets_of(mended(trail, 5, 6, top=6)) == [5, 6, 7]
    assert not trail.broken
    assert trail.position == Position("a", 7)
    assert arrives(trail, 8) == [8]


def test_what_was_held_when_it_was_mended_is_not_held_for_ever() -> None:
    """The next break begins with nothing."""
    trail = a_trail(4)
    arrives(trail, 6)
    mended(trail, 5, 6, top=6)
    arrives(trail, 8)

    assert offsets_of(mended(trail, 7, 8, top=8)) == [7, 8]


def test_a_doubt_that_nothing_came_of() -> None:
    """Nothing is passed on, and it goes on."""
    trail = a_trail(4)
    trail.broken = True

    assert mended(trail, top=4) == []
    assert not trail.broken
    assert arrives(trail, 5) == [5]


def test_a_doubt_while_the_next_was_on_its_way() -> None:
    """It is in the history, and passed over when it arrives."""
    trail = a_trail(4)
    trail.broken = True

    assert offsets_of(mended(trail, 5, top=5)) == [5]
    assert arrives(trail, 5, 6) == [6]


def test_what_was_lost_while_the_history_was_read_is_read_again() -> None:
    """What is whole goes out at once, the rest follows when it is."""
    trail = a_trail(4)
    arrives(trail, 6)

    arrives(trail, 8)  # and 7 was lost, after the reading
    assert offsets_of(mended(trail, 5, 6, top=6)) == [5, 6]
    assert trail.broken
    assert offsets_of(mended(trail, 7, 8, top=8)) == [7, 8]
    assert not trail.broken


def test_what_the_history_has_lost_is_a_gap() -> None:
    """One word of it, with where the members stand now; then what comes after."""
    trail = a_trail(4)
    arrives(trail, 9)

    [gap, ninth] = mended(trail, 7, 8, top=8)

    assert (gap.kind, gap.channel, gap.offset, gap.epoch) == (Kind.GAP, "news", 8, "a")
    assert bytes(gap.data) == b"null"
    assert ninth.offset == 9
    assert trail.position == Position("a", 9)
    assert not trail.broken


def test_a_part_of_what_was_missed_is_never_passed_on() -> None:
    """Who would be given it could not tell what is missing."""
    trail = a_trail(4)
    arrives(trail, 9)

    assert offsets_of(mended(trail, 7, 8, 9, top=9)) == [9]  # the gap's own


def test_a_history_that_began_anew_is_a_gap() -> None:
    """However its offsets compare with ours."""
    trail = a_trail(4)
    arrives(trail, 5, epoch="b")

    [gap] = mended(trail, 1, 2, 3, 4, 5, top=5, epoch="b", lost=True)

    assert (gap.kind, gap.offset, gap.epoch) == (Kind.GAP, 5, "b")
    assert trail.position == Position("b", 5)
    assert arrives(trail, 6, epoch="b") == [6]


def test_a_history_that_goes_on_in_a_new_epoch_is_none() -> None:
    """What it kept, the members have."""
    trail = a_trail(4)
    arrives(trail, 7, epoch="b")

    passed = mended(trail, 5, 6, 7, top=7, epoch="b")

    assert offsets_of(passed) == [5, 6, 7]
    assert all(publication.kind is Kind.MESSAGE for publication in passed)
    assert trail.position == Position("b", 7)


def test_the_first_publication_of_an_epoch_names_it() -> None:
    """So that the members know what its offset is of; the others need not."""
    trail = a_trail(4)
    arrives(trail, 7, epoch="b")

    passed = mended(trail, 5, 6, 7, top=7, epoch="b")

    assert [publication.epoch for publication in passed] == ["b", "", ""]
    eighth = a_publication(offset=8)
    assert trail.receive(eighth, "b") is eighth


@pytest.mark.parametrize("epochs", ["b", "bc", "bb"])
def test_an_epoch_of_which_nothing_came_yet_is_told_with_the_first_that_does(epochs: str) -> None:
    """Once, and the newest, however many there were meanwhile."""
    trail = a_trail(4)
    for epoch in epochs:
        trail.broken = True
        assert mended(trail, top=4, epoch=epoch) == []

    fifth, sixth = (trail.receive(publication, epochs[-1]) for publication in at_offsets(5, 6))

    assert fifth == replace_epoch(a_publication(5, offset=5), epochs[-1])
    assert sixth == a_publication(6, offset=6)


def test_a_gap_tells_the_epoch_itself() -> None:
    """The first publication after it need not."""
    trail = a_trail(4)
    trail.broken = True
    mended(trail, top=4, epoch="b")  # untold
    arrives(trail, 9, epoch="b")

    gap, ninth = mended(trail, 8, top=8, epoch="b")

    assert (gap.epoch, ninth.epoch) == ("b", "")
    assert trail.receive(a_publication(10, offset=10), "b") == a_publication(10, offset=10)


def test_what_arrives_of_an_epoch_that_was_not_read_yet_is_read_again() -> None:
    """The reading was too early; the next shows how they follow on each other."""
    trail = a_trail(4)
    arrives(trail, 6)
    arrives(trail, 7, epoch="b")

    assert offsets_of(mended(trail, 5, 6, top=6)) == [5, 6]
    assert trail.broken
    assert offsets_of(mended(trail, 7, top=7, epoch="b")) == [7]
    assert not trail.broken


def test_what_arrives_late_of_an_epoch_that_is_over_ends_nothing() -> None:
    """It was on its way when the history went on elsewhere, which is what the second reading says."""
    trail = a_trail(4)
    trail.broken = True
    mended(trail, top=4, epoch="b")

    arrives(trail, 5, epoch="a")
    for _ in range(2):
        assert mended(trail, top=4, epoch="b") == []

    assert not trail.broken


def test_only_so_many_are_held() -> None:
    """The history has the older ones."""
    trail = a_trail(0)
    last = 2 * MOST_HELD
    arrives(trail, *range(2, last + 1))

    first = mended(trail, *range(1, 11), top=10)
    assert offsets_of(first) == list(range(1, 11))
    assert trail.broken
    rest = mended(trail, *range(11, last), top=last - 1)
    assert offsets_of(rest) == list(range(11, last + 1))
    assert not trail.broken


def replace_epoch(publication: Publication, epoch: str) -> Publication:
    """The same, naming its epoch."""
    fields = {name: getattr(publication, name) for name in publication.__struct_fields__}
    return Publication(**fields | {"epoch": epoch})


# Against a history that is published to, cut short, and thrown back.


@dataclass(frozen=True)
class Known:
    """All that a history knows: its epoch, where earlier ones ended, and the publications it has kept."""

    epoch: str
    top: int = 0
    past: dict[str, int] = field(default_factory=dict)
    kept: tuple[tuple[int, int], ...] = ()  # offset, data


class Page(NamedTuple):
    """What a reading found, and whether that is all that was missed."""

    publications: list[Publication]
    position: Position
    since: Position | None
    whole: bool


class History:
    """A channel's history on servers that lose their last moments when they restart."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._data = 0
        self._epochs = 0
        self.now = Known(self._new_epoch())
        self._before: list[Known] = []
        self.names: dict[tuple[str, int], int] = {}
        """What each position names, for ever."""

    def _new_epoch(self) -> str:
        self._epochs += 1
        return f"epoch {self._epochs}"

    @property
    def position(self) -> Position:
        return Position(self.now.epoch, self.now.top)

    def publish(self) -> tuple[Publication, str]:
        """Append one; it and its epoch."""
        self._data += 1
        self._before.append(self.now)
        offset = self.now.top + 1
        kept = (*self.now.kept, (offset, self._data))[-self._size :]
        self.now = replace(self.now, top=offset, kept=kept)
        self.names[self.now.epoch, offset] = self._data
        return a_publication(self._data, offset=offset), self.now.epoch

    def forget(self) -> None:
        """What was kept has outlived its time; the position has not."""
        self.now = replace(self.now, kept=())

    def restart(self, lost: int) -> None:
        """Go on in a new epoch from where it stood so many publications ago; or from nothing."""
        if lost > len(self._before):
            self.now = Known(self._new_epoch())
        else:
            then = self._before[-lost] if lost else self.now
            epoch = self._new_epoch()
            past = then.past | {then.epoch: then.top}
            for offset in range(1, then.top + 1):
                self.names[epoch, offset] = self.names[then.epoch, offset]
            self.now = Known(epoch, then.top, past, then.kept)
        self._before = []

    def read(self, position: Position) -> Page:
        """What came after a position."""
        now = self.now
        ended = now.top if position.epoch == now.epoch else now.past.get(position.epoch)
        since = None
        if ended is not None and 0 <= position.offset <= ended:
            since = Position(now.epoch, position.offset)
        found = [
            a_publication(data, offset=offset)
            for offset, data in now.kept
            if since is None or offset > since.offset
        ]
        whole = since is not None and len(found) == now.top - since.offset
        return Page(found, self.position, since, whole)


class ATrailThroughBadTimes(RuleBasedStateMachine):
    """Deliveries are lost and repeated, histories thrown back and cut; a reader keeps its position."""

    def __init__(self) -> None:
        super().__init__()
        self.history = History(size=4)
        self.way: deque[tuple[Publication, str]] = deque()
        self.trail = Trail("news", self.history.position)
        self.reader = self.history.position
        self.page: Page | None = None
        self.stale = False

    def is_told(self, publication: Publication) -> None:
        """The reader is given one: it follows, or is a gap."""
        if publication.kind is Kind.GAP:
            assert publication.epoch
            self.reader = Position(publication.epoch, publication.offset)
            return
        epoch = publication.epoch or self.reader.epoch
        assert publication.offset == self.reader.offset + 1
        assert int(bytes(publication.data)) == self.history.names[epoch, publication.offset]
        self.reader = Position(epoch, publication.offset)

    @rule(times=st.integers(1, 3), lost=st.sampled_from([False, False, True]))
    def publish(self, times: int, lost: bool) -> None:
        for _ in range(times):
            sent = self.history.publish()
            if not lost:
                self.way.append(sent)

    @rule(again=st.sampled_from([False, False, False, True]), times=st.integers(1, 4))
    def deliver(self, again: bool, times: int) -> None:
        for _ in range(min(times, len(self.way))):
            publication, epoch = self.way[0] if again else self.way.popleft()
            passed = self.trail.receive(publication, epoch)
            if passed is not None:
                self.is_told(passed)

    @rule(lost=st.sampled_from([0, 0, 1, 2, 3, 99]))
    def restart(self, lost: int) -> None:
        self.history.restart(lost)

    @rule()
    def outlive(self) -> None:
        self.history.forget()

    @rule()
    def doubt(self) -> None:
        self.trail.broken = True

    @precondition(lambda self: self.trail.broken and self.page is None)
    @rule()
    def read(self) -> None:
        self.page = self.history.read(self.trail.position)

    @precondition(lambda self: self.page is not None)
    @rule()
    def hand_over(self) -> None:
        assert self.page is not None
        page, self.page = self.page, None
        passed = self.trail.mend(page.publications, page.position, page.since)
        gaps = [number for number, publication in enumerate(passed) if publication.kind is Kind.GAP]
        assert gaps == ([] if page.whole else [0])
        for publication in passed:
            self.is_told(publication)

    @invariant()
    def the_reader_has_what_was_passed_on_up_to_the_position(self) -> None:
        assert self.reader.offset == self.trail.offset
        if self.reader.epoch != self.trail.epoch:
            # It is told with the next. Till then its own position is as good: the histories agree so far.
            offsets = range(1, self.reader.offset + 1)
            names = self.history.names
            assert all(
                names[self.reader.epoch, offset] == names[self.trail.epoch, offset] for offset in offsets
            )

    def teardown(self) -> None:
        self.deliver(False, len(self.way))
        self.publish(1, False)
        self.deliver(False, 1)
        if self.page is not None:
            self.hand_over()
        for _ in range(2):
            if self.trail.broken:
                self.read()
                self.hand_over()
        assert not self.trail.broken
        assert self.trail.position == self.reader == self.history.position


def test_a_trail_never_leaves_a_hole_nor_says_there_is_one_where_there_is_none() -> None:
    """Whatever is lost, repeated, thrown back and read too late, in whatever order."""
    run_state_machine_as_test(ATrailThroughBadTimes, settings=steady)
