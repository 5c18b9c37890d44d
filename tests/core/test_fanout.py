"""The fan-out: to every member that was there, in order, once, in slices, encoded once per format."""

import contextlib
from collections import Counter, deque
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from hubbub.core import fanout as fanout_module
from hubbub.core.channels import SlowPolicy
from hubbub.core.fanout import BATCH_BYTES, BUDGET, SLICE, Audience, Fanout
from hubbub.core.messages import Publication
from hubbub.core.registry import Registry

from .helpers import (
    NOW,
    FakeMember,
    ReadableFormat,
    a_gap,
    a_publication,
    an_audience,
    at_offsets,
    data_of,
    drain,
    steady,
)


@pytest.fixture
def fanout() -> Fanout[FakeMember]:
    """A fan-out as a node has it."""
    return Fanout()


@pytest.fixture
def text() -> ReadableFormat:
    """The format that most members speak."""
    return ReadableFormat()


def many(number: int, format: ReadableFormat) -> list[FakeMember]:
    """So many members."""
    return [FakeMember(format) for _ in range(number)]


# One publication, one channel.


def test_every_member_gets_a_publication(fanout: Fanout[FakeMember], text: ReadableFormat) -> None:
    """In the next turn, and then there is nothing more to do."""
    members = many(3, text)
    assert not fanout.active

    fanout.publish(an_audience(*members), a_publication("hello"))
    assert fanout.active
    fanout.tick(NOW)

    assert [member.received for member in members] == [["hello"]] * 3
    assert not fanout.active
    assert fanout.tick(NOW) == []


def test_everybody_gets_the_same_bytes(fanout: Fanout[FakeMember], text: ReadableFormat) -> None:
    """Encoded once, shared by all: not equal bytes but one object."""
    members = many(300, text)

    fanout.publish(an_audience(*members), a_publication("hello"))
    drain(fanout)

    assert text.framed == {"hello": 1}
    assert len({id(member.writes[0]) for member in members}) == 1


def test_each_format_encodes_once(fanout: Fanout[FakeMember]) -> None:
    """However the members of the formats alternate, and only the formats that somebody speaks."""
    json, binary, unused = ReadableFormat("json"), ReadableFormat("binary"), ReadableFormat("unused")
    members = [FakeMember(json if number % 3 else binary) for number in range(400)]
    audience = an_audience(*members)

    fanout.publish(audience, a_publication(1))
    fanout.publish(audience, a_publication(2))
    drain(fanout)

    assert json.framed == binary.framed == {"1": 1, "2": 1}
    assert not unused.framed
    assert all(member.received == ["1", "2"] for member in members)
    assert {name for member in members if member.format is json for name, _, _ in member.frames} == {"json"}


def test_what_has_gathered_goes_out_in_one_write(fanout: Fanout[FakeMember], text: ReadableFormat) -> None:
    """A burst batches by itself."""
    member = FakeMember(text)
    audience = an_audience(member)
    for number in range(10):
        fanout.publish(audience, a_publication(number))

    (finished,) = fanout.tick(NOW)

    assert member.received == [str(number) for number in range(10)]
    assert len(member.writes) == 1
    assert len(finished.publications) == 10


def test_nobody_is_there_so_nothing_waits(fanout: Fanout[FakeMember]) -> None:
    """A publication to an empty channel is done at once."""
    fanout.publish(an_audience(), a_publication())

    assert not fanout.active
    assert fanout.backlog == 0


def test_everybody_left_before_the_turn(fanout: Fanout[FakeMember], text: ReadableFormat) -> None:
    """The job ends, having served nobody, and the backlog is empty again."""
    member, publication = FakeMember(text), a_publication()
    audience = an_audience(member)
    fanout.publish(audience, publication)
    audience.leave(member)
    fanout.publish(audience, a_publication(2))

    (finished,) = fanout.tick(NOW)

    assert (finished.publications, finished.members, finished.bytes) == ([publication], 0, 0)
    assert not text.framed
    assert member.received == []
    assert (fanout.active, fanout.backlog, audience.active) == (False, 0, False)


# What a member gets is fixed by when it joined and left.


def test_who_joins_while_publications_wait_gets_only_the_later_ones(
    fanout: Fanout[FakeMember], text: ReadableFormat
) -> None:
    """What was published before it joined is not for it, even if it was not sent yet."""
    early, late, latest = many(3, text)
    audience = an_audience(early)
    fanout.publish(audience, a_publication(1))
    audience.join(late)
    fanout.publish(audience, a_publication(2))
    audience.join(latest)
    fanout.tick(NOW)
    fanout.publish(audience, a_publication(3))
    fanout.tick(NOW)

    assert [member.received for member in (early, late, latest)] == [["1", "2", "3"], ["2", "3"], ["3"]]


def test_who_joins_while_a_job_runs_is_not_in_it(text: ReadableFormat) -> None:
    """A job goes to those who were there when it began."""
    fanout: Fanout[FakeMember] = Fanout(slice_size=1)
    early, also_early, late = many(3, text)
    audience = an_audience(early, also_early)
    fanout.publish(audience, a_publication(1))
    fanout.tick(NOW)
    audience.join(late)
    drain(fanout)

    assert [member.received for member in (early, also_early, late)] == [["1"], ["1"], []]


def test_who_leaves_gets_nothing_more(text: ReadableFormat) -> None:
    """Neither of what waits nor of the job that is under way."""
    fanout: Fanout[FakeMember] = Fanout(slice_size=1)
    first, second = many(2, text)
    audience = an_audience(first, second)
    fanout.publish(audience, a_publication(1))
    fanout.tick(NOW)
    fanout.publish(audience, a_publication(2))
    audience.leave(first)
    audience.leave(second)
    drain(fanout)

    assert (first.received, second.received) == (["1"], [])
    assert fanout.backlog == 0


def test_who_comes_back_is_not_given_what_it_left(text: ReadableFormat) -> None:
    """Out and in again, while a job runs and more waits: only what comes after counts."""
    fanout: Fanout[FakeMember] = Fanout(slice_size=1)
    first, second = many(2, text)
    audience = an_audience(first, second)
    fanout.publish(audience, a_publication(1))
    fanout.tick(NOW)
    fanout.publish(audience, a_publication(2))
    audience.leave(second)
    audience.join(second)
    fanout.publish(audience, a_publication(3))
    drain(fanout)

    assert (first.received, second.received) == (["1", "2", "3"], ["3"])


def test_a_late_member_may_leave_again(fanout: Fanout[FakeMember], text: ReadableFormat) -> None:
    """And come back even later."""
    early, late = many(2, text)
    audience = an_audience(early)
    fanout.publish(audience, a_publication(1))
    audience.join(late)
    fanout.publish(audience, a_publication(2))
    audience.leave(late)
    audience.join(late)
    fanout.publish(audience, a_publication(3))
    drain(fanout)

    assert (early.received, late.received) == (["1", "2", "3"], ["3"])


def test_joining_twice_takes_nothing_away(fanout: Fanout[FakeMember], text: ReadableFormat) -> None:
    """Who is a member already goes on getting what was published since it first joined."""
    member = FakeMember(text)
    audience = an_audience(member)
    fanout.publish(audience, a_publication(1))
    audience.join(member)
    drain(fanout)

    assert member.received == ["1"]


def test_leaving_without_having_joined_changes_nothing(
    fanout: Fanout[FakeMember], text: ReadableFormat
) -> None:
    """Nor does it, while a job runs, take anything from the one who joins next."""
    member, stranger = many(2, text)
    audience = an_audience(member)
    fanout.publish(audience, a_publication(1))
    audience.begin(NOW)
    audience.leave(stranger)
    audience.join(stranger)
    fanout.publish(audience, a_publication(2))
    drain(fanout)

    assert (member.received, stranger.received) == (["1", "2"], ["2"])


# Batches.


def test_a_batch_is_limited_in_bytes(fanout: Fanout[FakeMember], text: ReadableFormat) -> None:
    """What has gathered beyond it goes out in the following turns, in order."""
    member = FakeMember(text)
    audience = an_audience(member)
    data = [str(number) * (BATCH_BYTES // 4) for number in range(10)]
    for each in data:
        fanout.publish(audience, a_publication(each))

    portions = [len(done.publications) for done in drain(fanout)]

    assert portions == [4, 4, 2]
    assert member.received == data
    assert max(map(len, member.writes)) < BATCH_BYTES * 1.01


def test_one_publication_may_be_larger_than_a_batch(fanout: Fanout[FakeMember], text: ReadableFormat) -> None:
    """It goes alone."""
    member = FakeMember(text)
    audience = an_audience(member)
    for size in (BATCH_BYTES * 2, BATCH_BYTES, 1):
        fanout.publish(audience, a_publication("x" * size))

    assert [len(done.publications) for done in drain(fanout)] == [1, 1, 1]
    assert [len(data) for data in member.received] == [BATCH_BYTES * 2, BATCH_BYTES, 1]


def test_who_joins_late_is_skipped_across_batches(
    fanout: Fanout[FakeMember], text: ReadableFormat, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was before it may be more than one batch, and end in the middle of one."""
    monkeypatch.setattr(fanout_module, "BATCH_BYTES", 2)
    early, late, later = many(3, text)
    audience = an_audience(early)
    for number in range(3):
        fanout.publish(audience, a_publication(number))
    audience.join(late)
    fanout.publish(audience, a_publication(3))
    fanout.tick(NOW)
    audience.join(later)
    fanout.publish(audience, a_publication(4))
    drain(fanout)

    assert early.received == ["0", "1", "2", "3", "4"]
    assert late.received == ["3", "4"]
    assert later.received == ["4"]


# Turns.


def test_a_turn_serves_a_slice_of_each_job(text: ReadableFormat) -> None:
    """Job by job, and what is left over comes in the next turns."""
    fanout: Fanout[FakeMember] = Fanout(slice_size=2, budget=100)
    news, chat = many(5, text), many(3, text)
    fanout.publish(an_audience(*news), a_publication("n"))
    fanout.publish(an_audience(*chat), a_publication("c"))

    served = []
    while fanout.active:
        fanout.tick(NOW)
        served.append([sum(bool(member.received) for member in members) for members in (news, chat)])

    assert served == [[2, 2], [4, 3], [5, 3]]


def test_a_turn_spends_no_more_than_its_budget(text: ReadableFormat) -> None:
    """The jobs it did not come to are the first of the next."""
    fanout: Fanout[FakeMember] = Fanout(slice_size=2, budget=3)
    channels = [many(2, text) for _ in range(4)]
    for members in channels:
        fanout.publish(an_audience(*members), a_publication())

    served = []
    while fanout.active:
        fanout.tick(NOW)
        served.append([sum(bool(member.received) for member in members) for members in channels])

    assert served == [[2, 1, 0, 0], [2, 1, 2, 1], [2, 2, 2, 2]]


def test_a_small_channel_is_served_while_a_large_one_is_under_way(text: ReadableFormat) -> None:
    """Twenty members wait two turns at most, while five thousand take forty."""
    fanout: Fanout[FakeMember] = Fanout()
    large, small = many(5_000, text), many(20, text)
    crowd, few = an_audience(*large), an_audience(*small)
    fanout.publish(crowd, a_publication("large"))
    turns = 0
    waited: list[int] = []
    asked = 0
    while crowd.active:
        if not few.active:
            fanout.publish(few, a_publication("small"))
            asked = turns
        before = len(small[-1].received)
        fanout.tick(NOW)
        turns += 1
        if len(small[-1].received) > before:
            waited.append(turns - asked)

    assert turns == -(-5_000 // SLICE)
    assert max(waited) <= 2
    assert len(waited) >= turns // 2
    assert all(member.received == ["large"] for member in large)


def test_a_small_channel_waits_for_at_most_a_slice_of_every_large_one(text: ReadableFormat) -> None:
    """With six broadcasts under way, a turn comes to two of them."""
    fanout: Fanout[FakeMember] = Fanout()
    for number in range(6):
        fanout.publish(an_audience(*many(1_000, text), channel=f"large{number}"), a_publication())
    small = FakeMember(text)
    fanout.tick(NOW)
    fanout.publish(an_audience(small), a_publication("small"))

    turns = 0
    while not small.received:
        fanout.tick(NOW)
        turns += 1

    assert turns <= 6 * SLICE // BUDGET + 1


def test_a_turn_writes_to_a_connection_once(fanout: Fanout[FakeMember], text: ReadableFormat) -> None:
    """However many of its channels had something to say."""
    member, other = many(2, text)
    for channel in ("a", "b", "c"):
        audience = an_audience(member, channel=channel)
        fanout.publish(audience, a_publication(f"{channel}1", channel=channel))
        fanout.publish(audience, a_publication(f"{channel}2", channel=channel))
    fanout.publish(an_audience(other), a_publication(1))

    fanout.tick(NOW)

    assert member.received == ["a1", "a2", "b1", "b2", "c1", "c2"]
    assert len(member.writes) == 1
    assert other.received == ["1"]


def test_a_turn_writes_once_also_to_who_joined_late(fanout: Fanout[FakeMember], text: ReadableFormat) -> None:
    """Its parts of several channels go out together."""
    early, late = many(2, text)
    for channel in ("a", "b"):
        audience = an_audience(early, channel=channel)
        fanout.publish(audience, a_publication(f"{channel}1", channel=channel))
        audience.join(late)
        fanout.publish(audience, a_publication(f"{channel}2", channel=channel))

    fanout.tick(NOW)

    assert early.received == ["a1", "a2", "b1", "b2"]
    assert late.received == ["a2", "b2"]
    assert len(early.writes) == len(late.writes) == 1


# Slow members.


@pytest.mark.parametrize("policy", SlowPolicy)
def test_a_slow_member_is_given_the_frames_to_keep(
    fanout: Fanout[FakeMember], text: ReadableFormat, policy: SlowPolicy
) -> None:
    """With the policy of the channel, one by one and beside their publications; the others are written to."""
    slow, fast = FakeMember(text, slow=True), FakeMember(text)
    publications = [a_publication(1), a_publication(2)]
    audience = an_audience(slow, fast, policy=policy)
    for publication in publications:
        fanout.publish(audience, publication)

    fanout.tick(NOW)

    ((item, given),) = slow.queued
    assert given is policy
    assert item.publications == publications
    assert item.frames == [b"text news 1\n", b"text news 2\n"]
    assert fast.received == ["1", "2"]
    assert not slow.writes
    assert not fast.queued


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_slow_member_that_joined_late_keeps_only_its_part(
    fanout: Fanout[FakeMember], text: ReadableFormat, jobs: int
) -> None:
    """As a fast one would get only its part; also where several channels have something to say."""
    early = FakeMember(text)
    slow, fast = FakeMember(text, slow=True), FakeMember(text)
    audience = an_audience(early)
    fanout.publish(audience, a_publication(1))
    audience.join(slow)
    audience.join(fast)
    fanout.publish(audience, a_publication(2))
    if jobs == 2:
        fanout.publish(an_audience(many(1, text)[0], channel="other"), a_publication())

    fanout.tick(NOW)

    assert [item.frames for item, _ in slow.queued] == [[b"text news 2\n"]]
    assert [item.publications for item, _ in slow.queued] == [[a_publication(2)]]
    assert fast.writes == [b"text news 2\n"]
    assert early.received == ["1", "2"]


# What happens while a turn is under way.


@pytest.mark.parametrize("slow", [False, True])
def test_members_may_leave_while_a_turn_writes(text: ReadableFormat, slow: bool) -> None:
    """One that is closed as slow, or takes others with it, leaves the rest of the turn intact."""
    fanout: Fanout[FakeMember] = Fanout()
    registry: Registry[FakeMember] = Registry(lambda _: SlowPolicy.DISCONNECT)
    before, closing, after = FakeMember(text), FakeMember(text, slow=slow), FakeMember(text)
    for member in (before, closing, after):
        registry.join(member, "news")
    audience = registry.audience("news")
    assert audience is not None

    def end() -> None:
        registry.leave(closing, "news")
        registry.leave(before, "news")

    closing.on_write = end
    fanout.publish(audience, a_publication(1))
    fanout.publish(audience, a_publication(2))
    fanout.tick(NOW)
    fanout.publish(audience, a_publication(3))
    drain(fanout)

    assert before.received == closing.received == ["1", "2"]
    assert after.received == ["1", "2", "3"]
    assert fanout.backlog == 0


def test_what_is_published_while_a_turn_is_under_way_goes_out_in_the_next(
    fanout: Fanout[FakeMember], text: ReadableFormat
) -> None:
    """Into the same channel or into another, nothing is lost and nothing overtakes."""
    news, chat = many(2, text)
    news_audience, chat_audience = an_audience(news), an_audience(chat, channel="chat")

    def publish_more() -> None:
        news.on_write = None
        fanout.publish(news_audience, a_publication(2))
        fanout.publish(chat_audience, a_publication("c", channel="chat"))

    news.on_write = publish_more
    fanout.publish(news_audience, a_publication(1))
    fanout.tick(NOW)
    assert (news.received, chat.received) == (["1"], [])
    assert fanout.active

    fanout.tick(NOW)
    assert (news.received, chat.received) == (["1", "2"], ["c"])
    assert (fanout.active, fanout.backlog) == (False, 0)


class PickyFormat(ReadableFormat):
    """A format in which one publication cannot be said."""

    def frame(self, message: Publication, /) -> bytes:
        if data_of(message) == "unspeakable":
            raise UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogates not allowed")
        return super().frame(message)


@pytest.mark.parametrize("channels_at_once", [1, 2])
def test_a_publication_that_cannot_be_encoded_stops_nobody_else(channels_at_once: int) -> None:
    """Its own channel goes on, other channels lose nothing, and the backlog becomes empty."""
    fanout: Fanout[FakeMember] = Fanout()
    picky = PickyFormat()
    reader, other = many(2, picky)
    audience, others = an_audience(reader), an_audience(other, channel="other")
    if channels_at_once == 2:
        fanout.publish(others, a_publication("before", channel="other"))
    fanout.publish(audience, a_publication("unspeakable"))
    for _ in range(10):
        with contextlib.suppress(UnicodeEncodeError):
            fanout.tick(NOW)

    fanout.publish(audience, a_publication("hello"))
    fanout.publish(others, a_publication("after", channel="other"))
    for _ in range(10):
        with contextlib.suppress(UnicodeEncodeError):
            fanout.tick(NOW)

    assert other.received[-1:] == ["after"]
    assert len(other.received) == channels_at_once
    assert reader.received == ["hello"]
    assert (fanout.active, fanout.backlog) == (False, 0)


# Statistics.


def test_a_finished_job_says_what_it_did(text: ReadableFormat) -> None:
    """Its publications, how many it went to, in how many bytes on the wire, and since when."""
    fanout: Fanout[FakeMember] = Fanout(slice_size=2)
    members = many(5, text)
    audience = an_audience(*members)
    publications = [a_publication("one"), a_publication("two")]
    for publication in publications:
        fanout.publish(audience, publication)

    assert fanout.tick(10.0) == []
    assert fanout.tick(11.0) == []
    (finished,) = fanout.tick(12.0)

    assert finished.publications == publications
    assert finished.members == 5
    assert finished.bytes == sum(member.bytes_received for member in members)
    assert finished.started == 10.0


@steady
@given(
    formats=st.lists(st.integers(0, 2), min_size=1, max_size=12),
    slow=st.sets(st.integers(0, 11)),
    slice_size=st.integers(1, 5),
    bursts=st.lists(st.integers(1, 3), min_size=1, max_size=4),
)
def test_the_statistics_count_what_was_handed_over(
    formats: list[int], slow: set[int], slice_size: int, bursts: list[int]
) -> None:
    """Members and bytes, with any mixture of formats and slow members in any slices."""
    fanout: Fanout[FakeMember] = Fanout(slice_size)
    spoken = [ReadableFormat("x" * 3**size) for size in range(3)]
    members = [FakeMember(spoken[kind], slow=number in slow) for number, kind in enumerate(formats)]
    audience = an_audience(*members)
    numbers = count()
    for burst in bursts:
        for _ in range(burst):
            fanout.publish(audience, a_publication(next(numbers)))
        before = sum(member.bytes_received for member in members)
        (finished,) = drain(fanout)
        assert len(finished.publications) == burst
        assert finished.members == len(members)
        assert finished.bytes == sum(member.bytes_received for member in members) - before


def test_the_statistics_leave_out_who_left(text: ReadableFormat) -> None:
    """A member that was gone before its turn got nothing."""
    fanout: Fanout[FakeMember] = Fanout(slice_size=1)
    staying, leaving = many(2, text)
    audience = an_audience(staying, leaving)
    fanout.publish(audience, a_publication())
    fanout.tick(NOW)
    audience.leave(leaving)

    (finished,) = drain(fanout)

    assert finished.members == 1
    assert finished.bytes == staying.bytes_received


def test_the_statistics_count_only_the_part_of_who_came_late(
    fanout: Fanout[FakeMember], text: ReadableFormat
) -> None:
    """What was not for it is not counted."""
    early, late = many(2, text)
    audience = an_audience(early)
    fanout.publish(audience, a_publication(1))
    audience.join(late)
    fanout.publish(audience, a_publication(2))

    (finished,) = drain(fanout)

    assert finished.bytes == early.bytes_received + late.bytes_received


def test_the_backlog_is_what_is_not_yet_on_its_way_to_everybody(text: ReadableFormat) -> None:
    """In bytes of data; it falls when a job ends, not before."""
    fanout: Fanout[FakeMember] = Fanout(slice_size=1)
    audience = an_audience(*many(2, text))
    fanout.publish(audience, a_publication("four"))
    fanout.publish(audience, a_publication("sixsix"))
    backlogs = [fanout.backlog]
    while fanout.active:
        fanout.tick(NOW)
        backlogs.append(fanout.backlog)

    assert backlogs == [10, 10, 0]


# Anything, in any order.


MEMBERS = 4
LITTLE = 8
"""Bytes of a batch, so that a handful of publications makes several."""


# Channels with a history: newcomers that know some of it, and gaps.


def publish_all(
    fanout: Fanout[FakeMember], audience: Audience[FakeMember], *publications: Publication
) -> None:
    """Accept all of these."""
    for publication in publications:
        fanout.publish(audience, publication)


@pytest.mark.parametrize("apart", [False, True], ids=["in one batch", "one by one"])
def test_who_knows_the_history_is_not_given_it_again(
    fanout: Fanout[FakeMember], text: ReadableFormat, apart: bool
) -> None:
    """The history was ahead of the deliveries: a newcomer has read what the others are yet to be given."""
    member, newcomer = many(2, text)
    audience = an_audience(member)
    publish_all(fanout, audience, *at_offsets(1, 2, 3))
    drain(fanout)

    audience.join(newcomer, after=5)
    for publication in at_offsets(4, 5, 6, 7):
        fanout.publish(audience, publication)
        if apart:
            drain(fanout)
    drain(fanout)

    assert newcomer.received == ["6", "7"]
    assert member.received == ["1", "2", "3", "4", "5", "6", "7"]


def test_who_knows_all_that_has_come_by_is_given_everything(
    fanout: Fanout[FakeMember], text: ReadableFormat
) -> None:
    """Also while some of that waits for its turn."""
    member, newcomer = many(2, text)
    audience = an_audience(member)
    publish_all(fanout, audience, *at_offsets(1, 2, 3))

    audience.join(newcomer, after=3)
    publish_all(fanout, audience, *at_offsets(4, 5))
    drain(fanout)

    assert newcomer.received == ["4", "5"]


def test_who_comes_back_knows_something_else(fanout: Fanout[FakeMember], text: ReadableFormat) -> None:
    """What it knew the last time is forgotten with its leaving."""
    member, newcomer = many(2, text)
    audience = an_audience(member)

    audience.join(newcomer, after=5)
    audience.leave(newcomer)
    audience.join(newcomer, after=0)
    publish_all(fanout, audience, *at_offsets(1, 2))
    drain(fanout)

    assert newcomer.received == ["1", "2"]


@pytest.mark.parametrize("apart", [False, True], ids=["in one batch", "one by one"])
@pytest.mark.parametrize("place", [0, 1])
def test_what_no_history_keeps_does_not_hide_what_is_known(
    fanout: Fanout[FakeMember], text: ReadableFormat, place: int, apart: bool
) -> None:
    """An announcement between publications that a newcomer has read already."""
    member, newcomer = many(2, text)
    audience = an_audience(member)
    publications = at_offsets(1, 2, 3)
    publications.insert(place, a_publication("joined"))

    audience.join(newcomer, after=2)
    for publication in publications:
        fanout.publish(audience, publication)
        if apart:
            drain(fanout)
    drain(fanout)

    assert [data for data in newcomer.received if data != "joined"] == ["3"]


def test_a_gap_is_told_in_its_place(fanout: Fanout[FakeMember], text: ReadableFormat) -> None:
    """Between what came before it and what comes after; to everybody who was there."""
    member = FakeMember(text)
    audience = an_audience(member)

    publish_all(fanout, audience, *at_offsets(1), a_gap(7), *at_offsets(8))
    newcomer = FakeMember(text)
    audience.join(newcomer, after=8)
    publish_all(fanout, audience, *at_offsets(9))
    drain(fanout)

    assert member.received == ["1", "gap@7", "8", "9"]
    assert newcomer.received == ["9"]


def test_after_a_gap_offsets_may_begin_anew(fanout: Fanout[FakeMember], text: ReadableFormat) -> None:
    """What somebody knew of the old history says nothing of the new one."""
    early, newcomer, late = many(3, text)
    audience = an_audience(early)
    publish_all(fanout, audience, *at_offsets(*range(90, 101)))
    drain(fanout)

    audience.join(newcomer, after=105)
    publish_all(fanout, audience, a_gap(1, "new"), *at_offsets(2, 3))
    drain(fanout)
    audience.join(late, after=4)
    publish_all(fanout, audience, *at_offsets(4, 5))
    drain(fanout)

    assert audience.top == 5
    assert early.received[-5:] == ["gap@1", "2", "3", "4", "5"]
    assert newcomer.received == ["gap@1", "2", "3", "4", "5"]
    assert late.received == ["5"]


def test_who_comes_while_a_gap_waits_is_watched_past_it(
    fanout: Fanout[FakeMember], text: ReadableFormat
) -> None:
    """What waits of the old history is above what it knows of the new one, and is not for it."""
    member, newcomer = many(2, text)
    audience = an_audience(member)

    publish_all(fanout, audience, *at_offsets(11, 12), a_gap(3, "new"), *at_offsets(4))
    audience.join(newcomer, after=5)
    drain(fanout)
    publish_all(fanout, audience, *at_offsets(5, 6))
    drain(fanout)

    assert newcomer.received == ["6"]
    assert member.received == ["11", "12", "gap@3", "4", "5", "6"]


@pytest.mark.parametrize(
    "epochs",
    [pytest.param(["a", "a"], id="known from a gap before"), pytest.param(["a"], id="the first")],
)
def test_a_gap_in_the_same_history_leaves_what_is_known(
    fanout: Fanout[FakeMember], text: ReadableFormat, epochs: list[str]
) -> None:
    """A newcomer has read further than what the others are told next."""
    member, newcomer = many(2, text)
    audience = an_audience(member)
    for epoch in epochs[1:]:
        publish_all(fanout, audience, a_gap(1, epoch))
        drain(fanout)

    audience.join(newcomer, after=12, epoch=epochs[0])
    publish_all(fanout, audience, a_gap(10, epochs[0]), *at_offsets(11, 12, 13))
    drain(fanout)

    assert newcomer.received == ["13"]
    assert member.received[-4:] == ["gap@10", "11", "12", "13"]


@steady
@given(
    events=st.lists(
        st.one_of(
            st.just("publish"),
            st.just("publish"),
            st.just("turn"),
            st.integers(0, 3),  # somebody joins, who knows so many that are still to come
        ),
        max_size=30,
    )
)
def test_everybody_is_given_exactly_what_follows_on_what_they_know(events: list[str | int]) -> None:
    """Whenever they join, and however far the history is ahead of the deliveries."""
    fanout: Fanout[FakeMember] = Fanout()
    text = ReadableFormat()
    audience = an_audience(FakeMember(text))
    offset = 0
    known: dict[FakeMember, int] = {}
    for event in [*events, *["publish"] * 4]:
        if event == "publish":
            offset += 1
            publish_all(fanout, audience, *at_offsets(offset))
        elif event == "turn":
            fanout.tick(NOW)
        else:
            member = FakeMember(text)
            known[member] = offset + int(event)
            audience.join(member, after=known[member])
    drain(fanout)

    for member, after in known.items():
        assert member.received == [str(number) for number in range(after + 1, offset + 1)]


class AHubOfMembersWhoComeAndGo(RuleBasedStateMachine):
    """What each member is owed, beside what it gets."""

    CHANNELS = ("a", "b", "c")

    def __init__(self) -> None:
        super().__init__()
        self.formats = [ReadableFormat("json"), ReadableFormat("binary")]
        self.members = [FakeMember(self.formats[number % 2]) for number in range(MEMBERS)]
        self.registry: Registry[FakeMember] = Registry(lambda _: SlowPolicy.LATEST)
        # What waits for a member of a channel; a stay that has ended is owed nothing.
        self.owed: dict[tuple[FakeMember, str], deque[str]] = {}
        self.seen = dict.fromkeys(self.members, 0)
        self.numbers = count()
        self.accepted: set[str] = set()
        self.finished: set[str] = set()
        self.now = NOW

    @initialize(slice_size=st.integers(1, 4), more=st.integers(0, 6))
    def start(self, slice_size: int, more: int) -> None:
        self.slice, self.budget = slice_size, slice_size + more
        self.fanout: Fanout[FakeMember] = Fanout(self.slice, self.budget)

    @rule(number=st.integers(0, MEMBERS - 1), channel=st.sampled_from(CHANNELS))
    def join_or_leave(self, number: int, channel: str) -> None:
        member = self.members[number]
        if (member, channel) in self.owed:
            del self.owed[member, channel]
            self.registry.leave(member, channel)
        else:
            self.owed[member, channel] = deque()
            self.registry.join(member, channel)

    @rule(number=st.integers(0, MEMBERS - 1), channel=st.sampled_from(CHANNELS))
    def leave_and_come_back(self, number: int, channel: str) -> None:
        for _ in range(2):
            self.join_or_leave(number, channel)

    @rule(number=st.integers(0, MEMBERS - 1))
    def slow_down_or_recover(self, number: int) -> None:
        self.members[number].slow = not self.members[number].slow

    @rule(channel=st.sampled_from(CHANNELS), times=st.integers(1, 4), padding=st.sampled_from([0, 0, 4, 30]))
    def publish(self, channel: str, times: int, padding: int) -> None:
        for _ in range(times):
            data = f"{next(self.numbers)}".rjust(padding, "0")
            audience = self.registry.audience(channel)
            if audience is None:
                continue
            self.fanout.publish(audience, a_publication(data, channel=channel))
            self.accepted.add(data)
            for (_, joined), owed in self.owed.items():
                if joined == channel:
                    owed.append(data)

    @rule()
    def tick(self) -> None:
        writes = {member: len(member.writes) for member in self.members}
        queued = {member: len(member.queued) for member in self.members}
        self.now += 1
        for done in self.fanout.tick(self.now):
            batch = [data_of(publication) for publication in done.publications]
            assert len(batch) == len(self.accepted.intersection(batch) - self.finished)
            assert sum(map(len, batch[:-1])) < LITTLE
            assert done.started <= self.now
            self.finished.update(batch)

        served: Counter[str] = Counter()
        for member in self.members:
            assert len(member.writes) - writes[member] <= (0 if member.slow else 1)
            assert not (len(member.queued) - queued[member] and not member.slow)
            new = member.frames[self.seen[member] :]
            self.seen[member] += len(new)
            for name, channel, data in new:
                assert name == member.format.name
                assert (member, channel) in self.owed, "nothing comes after leaving"
                assert self.owed[member, channel].popleft() == data, "everything, in order, once"
            served.update({channel for _, channel, _ in new})
        assert all(members <= self.slice for members in served.values())
        assert served.total() <= self.budget

    @invariant()
    def it_encodes_once(self) -> None:
        for format in self.formats:
            assert all(times == 1 for times in format.framed.values())

    @invariant()
    def the_backlog_is_what_is_not_finished(self) -> None:
        if hasattr(self, "fanout"):
            waiting = self.accepted - self.finished
            assert self.fanout.backlog == sum(map(len, waiting))
            assert self.fanout.active == bool(waiting)

    def teardown(self) -> None:
        turns = 0
        while hasattr(self, "fanout") and self.fanout.active:
            self.tick()
            self.it_encodes_once()
            turns += 1
            assert turns < 10_000
        assert not any(self.owed.values()), "whoever stays gets everything"
        assert self.accepted == self.finished
        assert not hasattr(self, "fanout") or self.fanout.backlog == 0


def test_every_member_gets_what_was_published_while_it_was_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """In order, once, and within slices, budget and batches, whoever joins, leaves, publishes and lags."""
    monkeypatch.setattr(fanout_module, "BATCH_BYTES", LITTLE)

    run_state_machine_as_test(AHubOfMembersWhoComeAndGo, settings=steady)
