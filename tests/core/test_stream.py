"""A channel's history: bounds by size and time, offsets without holes, and recovery that is whole or None."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from hubbub.core.messages import Position, Publication
from hubbub.core.stream import Stream, merge, missed

from .helpers import NOW, a_publication, at_offsets, offsets_of, steady


def a_stream(published: int = 0, *, size: int = 100, ttl: float = 60.0, now: float = NOW) -> Stream:
    """A stream into which so much was published."""
    stream = Stream("epoch")
    for number in range(published):
        stream.append(a_publication(number), now=now, size=size, ttl=ttl)
    return stream


def at(offset: int, epoch: str = "epoch") -> Position:
    """A position in `a_stream`, or of another epoch."""
    return Position(epoch, offset)


def test_a_new_stream_stands_at_offset_0_and_holds_nothing() -> None:
    """The position before the first publication."""
    stream = a_stream()

    assert stream.position == at(0)
    assert len(stream) == 0
    assert stream.read() == []


def test_offsets_count_from_1() -> None:
    """What `append` returns says where the publication stands, and is otherwise what was given."""
    stream = a_stream()

    placed = [stream.append(a_publication(n, key="k"), now=NOW, size=10, ttl=1) for n in "abc"]

    assert placed == [a_publication(n, key="k", offset=offset) for offset, n in enumerate("abc", 1)]
    assert stream.read() == placed
    assert stream.position == at(3)


def test_the_oldest_go_past_the_size() -> None:
    """Four of ten are kept: the newest."""
    assert offsets_of(a_stream(10, size=4).read()) == [7, 8, 9, 10]


def test_a_smaller_size_takes_hold_with_the_next_publication() -> None:
    """Options can change while a stream lives."""
    stream = a_stream(10)

    stream.append(a_publication(), now=NOW, size=3, ttl=60)

    assert offsets_of(stream.read()) == [9, 10, 11]


def test_a_size_of_0_keeps_nothing_but_counts() -> None:
    """The offset goes on, so that a reader notices what it missed."""
    stream = a_stream(3, size=0)

    assert len(stream) == 0
    assert stream.position == at(3)
    assert stream.missed_since(at(2)) is None


def test_a_publication_goes_when_its_time_is_over() -> None:
    """At the moment itself it is gone; just before, it is not."""
    stream = a_stream(2, ttl=5)

    stream.expire(NOW + 4.999)
    assert len(stream) == 2
    stream.expire(NOW + 5)
    assert len(stream) == 0
    assert stream.position == at(2)


def test_appending_lets_go_of_what_has_expired() -> None:
    """A busy stream needs nobody to sweep it."""
    stream = a_stream(3, ttl=5)

    stream.append(a_publication(), now=NOW + 6, size=100, ttl=5)

    assert offsets_of(stream.read()) == [4]


def test_a_publication_never_goes_before_an_older_one() -> None:
    """Even where its own time is shorter: what remains has no hole."""
    stream = a_stream(1, ttl=60)
    stream.append(a_publication(), now=NOW, size=10, ttl=1)

    stream.expire(NOW + 2)
    assert offsets_of(stream.read()) == [1, 2]
    stream.expire(NOW + 60)
    assert offsets_of(stream.read()) == []


def test_clearing_keeps_the_position() -> None:
    """Offsets go on from where they were, and nobody mistakes the old ones for the new."""
    stream = a_stream(3)

    stream.clear()
    stream.append(a_publication(), now=NOW, size=10, ttl=60)

    assert offsets_of(stream.read()) == [4]
    assert stream.missed_since(at(2)) is None
    assert offsets_of(stream.missed_since(at(3))) == [4]


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ({}, [3, 4, 5, 6]),
        ({"since": 4}, [5, 6]),
        ({"since": 0}, [3, 4, 5, 6]),
        ({"since": 6}, []),
        ({"since": 99}, []),
        ({"limit": 2}, [3, 4]),
        ({"limit": 0}, []),
        ({"limit": 99}, [3, 4, 5, 6]),
        ({"since": 3, "limit": 2}, [4, 5]),
        ({"reverse": True}, [6, 5, 4, 3]),
        ({"reverse": True, "limit": 2}, [6, 5]),
        ({"reverse": True, "since": 5}, [4, 3]),
        ({"reverse": True, "since": 5, "limit": 1}, [4]),
        ({"reverse": True, "since": 3}, []),
        ({"reverse": True, "since": 99}, [6, 5, 4, 3]),
    ],
    ids=str,
)
def test_reading_goes_forward_or_back_from_an_offset(question: dict[str, Any], answer: list[int]) -> None:
    """Offsets 3 to 6 are kept; the offset itself is never part of the answer."""
    assert offsets_of(a_stream(6, size=4).read(**question)) == answer


@pytest.mark.parametrize(
    ("position", "answer"),
    [
        (at(6), []),
        (at(5), [6]),
        (at(2), [3, 4, 5, 6]),
        (at(1), None),
        (at(0), None),
        (at(7), None),
        (at(-1), None),
        (at(-7), None),
        (at(6, "another"), None),
        (at(0, "another"), None),
    ],
    ids=str,
)
def test_what_was_missed_is_told_whole_or_not_at_all(position: Position, answer: list[int] | None) -> None:
    """Offsets 3 to 6 are kept, so a reader at 2 can be helped and one at 1 cannot."""
    assert offsets_of(a_stream(6, size=4).missed_since(position)) == answer


def test_nothing_was_missed_of_a_history_that_is_gone() -> None:
    """A reader at the top needs none of it."""
    stream = a_stream(6, ttl=1)
    stream.expire(NOW + 1)

    assert stream.missed_since(at(6)) == []
    assert stream.missed_since(at(5)) is None


class AStreamBesideANaiveOne(RuleBasedStateMachine):
    """Every publication there ever was, and which of them the rules still keep."""

    def __init__(self) -> None:
        super().__init__()
        self.stream = Stream("epoch")
        self.now = NOW
        self.ever: list[Publication] = []
        self.kept: list[tuple[float, Publication]] = []

    def _let_expire(self) -> None:
        while self.kept and self.kept[0][0] <= self.now:
            del self.kept[0]

    @rule(size=st.integers(0, 6), ttl=st.sampled_from([0.5, 2.0, 2.0, 2.0, 9.0]), times=st.integers(1, 3))
    def publish(self, size: int, ttl: float, times: int) -> None:
        for _ in range(times):
            placed = a_publication(len(self.ever), offset=len(self.ever) + 1)
            self.ever.append(placed)
            self.kept = [*self.kept, (self.now + ttl, placed)][-size:] if size else []
            self._let_expire()
            given = a_publication(placed.offset - 1)
            assert self.stream.append(given, now=self.now, size=size, ttl=ttl) == placed

    @rule(seconds=st.sampled_from([0.25, 0.5, 1.0, 4.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def expire(self) -> None:
        self._let_expire()
        self.stream.expire(self.now)

    @rule()
    def clear(self) -> None:
        self.kept.clear()
        self.stream.clear()

    @rule(
        below=st.none() | st.integers(-3, 10),
        limit=st.just(-1) | st.integers(0, 4),
        reverse=st.booleans(),
    )
    def read(self, below: int | None, limit: int, reverse: bool) -> None:
        since = None if below is None else len(self.ever) - below
        answer = [publication for _, publication in self.kept]
        if reverse:
            answer.reverse()
        if since is not None:
            answer = [p for p in answer if (p.offset < since if reverse else p.offset > since)]
        assert (
            self.stream.read(since=since, limit=limit, reverse=reverse)
            == answer[: None if limit < 0 else limit]
        )

    @rule(below=st.integers(-3, 10), epoch=st.sampled_from(["epoch", "epoch", "epoch", "another"]))
    def come_back(self, below: int, epoch: str) -> None:
        offset = len(self.ever) - below
        answer = None
        if epoch == "epoch" and 0 <= offset <= len(self.ever):
            missed_ones = self.ever[offset:]
            kept = [publication for _, publication in self.kept]
            answer = missed_ones if all(publication in kept for publication in missed_ones) else None
        assert self.stream.missed_since(Position(epoch, offset)) == answer

    @invariant()
    def there_is_no_hole_up_to_the_top(self) -> None:
        kept = [publication.offset for publication in self.stream.read()]
        assert self.stream.position == Position("epoch", len(self.ever))
        assert len(self.stream) == len(kept) == len(self.kept)
        assert kept == list(range(len(self.ever) + 1 - len(kept), len(self.ever) + 1))


def test_a_stream_does_what_a_naive_one_does() -> None:
    """Whatever is published, expires, is cleared and read, in whatever order."""
    run_state_machine_as_test(AStreamBesideANaiveOne, settings=steady)


@steady
@given(
    pauses=st.lists(st.integers(0, 4), max_size=30),
    size=st.integers(0, 8),
    ttl=st.integers(1, 10),
)
def test_kept_is_what_is_young_enough_and_among_the_newest(pauses: list[int], size: int, ttl: int) -> None:
    """With steady options both bounds hold at every moment, and nothing within them is missing."""
    stream = Stream("epoch")
    published: list[float] = []
    now = NOW
    for pause in pauses:
        now += pause
        stream.append(a_publication(), now=now, size=size, ttl=ttl)
        published.append(now)
        young = [offset for offset, then in enumerate(published, 1) if now < then + ttl]
        assert offsets_of(stream.read()) == (young[-size:] if size else [])


@steady
@given(
    published=st.lists(st.integers(1, 12), max_size=8),
    offset=st.integers(-2, 14),
    top=st.integers(0, 12),
    epoch=st.sampled_from(["epoch", "another"]),
)
def test_missed_accepts_exactly_what_lies_between(
    published: list[int], offset: int, top: int, epoch: str
) -> None:
    """A page from a broker with a hole, a repetition, a wrong order or a wrong end is no answer."""
    page = at_offsets(*published)
    complete = epoch == "epoch" and 0 <= offset <= top and published == list(range(offset + 1, top + 1))

    assert missed(page, Position("epoch", offset), Position(epoch, top)) == (page if complete else None)


@steady
@given(offset=st.integers(0, 12), length=st.integers(0, 12))
def test_missed_accepts_a_whole_page(offset: int, length: int) -> None:
    """However long it is."""
    page = at_offsets(*range(offset + 1, offset + length + 1))

    assert missed(page, at(offset), at(offset + length)) == page


@steady
@given(
    recovered=st.lists(st.integers(0, 12), max_size=12),
    buffered=st.lists(st.integers(0, 12), max_size=12),
    after=st.integers(0, 6),
)
def test_a_merge_is_whole_and_in_order_or_none(recovered: list[int], buffered: list[int], after: int) -> None:
    """None exactly when an offset is missing; never a duplicate, never what was known already."""
    wanted = {offset for offset in (*recovered, *buffered) if offset > after}
    whole = list(range(after + 1, max(wanted, default=after) + 1))

    merged = merge(at_offsets(*recovered), at_offsets(*buffered), after)

    assert offsets_of(merged) == (whole if wanted == set(whole) else None)


@steady
@given(
    after=st.integers(0, 50),
    length=st.integers(0, 12),
    read_to=st.integers(0, 12),
    live_from=st.integers(0, 12),
)
def test_a_merge_of_what_overlaps_has_no_gap(after: int, length: int, read_to: int, live_from: int) -> None:
    """History up to some offset, live from some offset: whole where they touch or overlap."""
    everything = range(after + 1, after + length + 1)
    recovered, buffered = at_offsets(*everything[:read_to]), at_offsets(*everything[live_from:])

    merged = merge(iter(recovered), iter(buffered), after)

    if live_from <= len(recovered):
        assert offsets_of(merged) == list(everything)
    elif buffered:
        assert merged is None
    else:
        assert merged == recovered


def test_a_merge_passes_over_what_has_no_offset() -> None:
    """An announcement that is not in the history is nothing that could be missed."""
    assert offsets_of(merge(at_offsets(4, 5), at_offsets(0, 5, 0, 6), 3)) == [4, 5, 6]
