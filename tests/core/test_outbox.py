"""What waits for a slow connection: bounded, in order, and nothing goes away unsaid."""

from collections import Counter
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubbub.core.channels import SlowPolicy
from hubbub.core.outbox import Outbox, Outcome

from .helpers import steady

DISCONNECT, DROP_OLDEST, LATEST = SlowPolicy
KEPT, DROPPED, OVERFLOW = Outcome


def fill(outbox: Outbox, policy: SlowPolicy, *frames: bytes, channel: str = "news") -> list[Outcome]:
    """Put these frames under one policy."""
    return [outbox.put(channel, frame, policy) for frame in frames]


def test_what_waited_goes_out_joined_and_in_order() -> None:
    """Publications of every policy and replies, as they came; the outbox is empty and usable afterwards."""
    outbox = Outbox(100)
    outbox.put("a", b"1", DISCONNECT)
    outbox.put_reply(b"2")
    outbox.put("b", b"3", DROP_OLDEST)
    outbox.put("c", b"4", LATEST)
    outbox.put("a", b"5", DISCONNECT)

    assert (len(outbox), outbox.size) == (5, 5)
    assert outbox.take_all() == b"12345"
    assert (len(outbox), outbox.size) == (0, 0)
    assert outbox.take_all() == b""
    assert outbox.dropped == {}

    assert fill(outbox, LATEST, b"6", b"7") == [KEPT, DROPPED]
    assert outbox.take_all() == b"7"
    assert fill(outbox, DROP_OLDEST, b"8", b"9" * 100) == [KEPT, DROPPED]
    assert outbox.take_all() == b"9" * 100


def test_a_frame_may_fill_the_bound_to_the_last_byte() -> None:
    """The limit itself is still within it."""
    outbox = Outbox(4)

    assert fill(outbox, DISCONNECT, b"abc", b"d") == [KEPT, KEPT]
    assert outbox.size == 4


def test_disconnect_overflows_past_the_bound() -> None:
    """Nothing may be dropped, so the connection is too slow to keep; what waited still waits."""
    outbox = Outbox(4)

    assert fill(outbox, DISCONNECT, b"abc", b"de") == [KEPT, OVERFLOW]
    assert outbox.dropped == {}
    assert outbox.take_all() == b"abc"


def test_drop_oldest_makes_room_for_the_new() -> None:
    """As many as needed go, from the oldest, and are counted."""
    outbox = Outbox(4)

    assert fill(outbox, DROP_OLDEST, b"1", b"2", b"3", b"4", b"567") == [KEPT] * 4 + [DROPPED]
    assert outbox.dropped == {"news": 3}
    assert outbox.take_all() == b"4567"


def test_latest_keeps_only_the_newest_of_each_key() -> None:
    """Another key or another channel is another slot; the newest takes its place at the end."""
    outbox = Outbox(100)

    outcomes = [
        outbox.put("prices", b"a1", LATEST, "a"),
        outbox.put("prices", b"b1", LATEST, "b"),
        outbox.put("moods", b"m1", LATEST, "a"),
        outbox.put("prices", b"a2", LATEST, "a"),
        outbox.put("prices", b"a3", LATEST, "a"),
    ]

    assert outcomes == [KEPT, KEPT, KEPT, DROPPED, DROPPED]
    assert outbox.dropped == {"prices": 2}
    assert outbox.take_all() == b"b1m1a3"


def test_latest_gives_way_when_the_bound_is_reached() -> None:
    """Different keys fill the outbox too; then the oldest slot goes, and may be filled anew."""
    outbox = Outbox(4)
    for key in "ab":
        outbox.put("prices", key.encode() * 2, LATEST, key)

    assert outbox.put("prices", b"cc", LATEST, "c") is DROPPED
    assert outbox.put("prices", b"AA", LATEST, "a") is DROPPED
    assert outbox.dropped == {"prices": 2}
    assert outbox.take_all() == b"ccAA"


def test_a_reply_makes_droppable_publications_give_way() -> None:
    """An answer is worth more than what may be dropped anyway."""
    outbox = Outbox(4)
    fill(outbox, DROP_OLDEST, b"12", b"34")

    assert outbox.put_reply(b"567") is DROPPED
    assert outbox.dropped == {"news": 2}
    assert outbox.take_all() == b"567"


def test_a_reply_overflows_where_nothing_may_be_dropped() -> None:
    """A client that asks and does not read is not kept."""
    outbox = Outbox(4)
    outbox.put_reply(b"123")

    assert outbox.put_reply(b"45") is OVERFLOW
    assert outbox.take_all() == b"123"


def test_a_droppable_frame_gives_way_to_what_may_not_be_dropped() -> None:
    """It is dropped itself rather than the connection."""
    outbox = Outbox(4)
    outbox.put_reply(b"123")

    assert fill(outbox, DROP_OLDEST, b"45") == [DROPPED]
    assert fill(outbox, LATEST, b"45") == [DROPPED]
    assert outbox.dropped == {"news": 2}
    assert outbox.take_all() == b"123"


@pytest.mark.parametrize("policy", [DROP_OLDEST, LATEST])
def test_a_frame_that_can_never_fit_takes_no_other_with_it(policy: SlowPolicy) -> None:
    """Dropping what waits would not make enough room, so only the newcomer goes."""
    outbox = Outbox(4)
    fill(outbox, DROP_OLDEST, b"1", b"2", channel="other")

    assert fill(outbox, policy, b"too long") == [DROPPED]
    assert outbox.take_all() == b"12"
    assert outbox.dropped == {"news": 1}


def test_drops_are_told_once_and_then_counted_anew() -> None:
    """Per channel; taking what waits does not forget them."""
    outbox = Outbox(1)
    fill(outbox, DROP_OLDEST, b"1", b"2", b"3", channel="a")
    fill(outbox, LATEST, b"4", b"5", channel="b")
    outbox.take_all()

    assert outbox.take_dropped() == {"a": 3, "b": 1}
    assert outbox.take_dropped() == {}
    fill(outbox, LATEST, b"6", b"7", channel="b")
    assert outbox.take_dropped() == {"b": 1}


class Put(NamedTuple):
    """One frame that asks to wait; without a policy it is a reply."""

    policy: SlowPolicy | None
    channel: str
    key: str
    size: int


LIMIT = 40
puts = st.lists(
    st.builds(
        Put,
        st.sampled_from([None, *SlowPolicy]),
        st.sampled_from("ab"),
        st.sampled_from("xyz"),
        st.integers(4, LIMIT + 2) | st.integers(4, 12),
    ),
    max_size=40,
)


@steady
@given(puts)
def test_the_bound_the_order_and_the_counts_hold_under_any_load(puts: list[Put]) -> None:
    """Whatever is put, under whatever mixture of policies, until the connection overflows."""
    outbox = Outbox(LIMIT)
    accepted: list[tuple[Put, bytes]] = []
    for number, put in enumerate(puts):
        frame = f"{number:03}".encode().ljust(put.size - 1, b".") + b"\n"
        before = sum(outbox.dropped.values())
        if put.policy is None:
            outcome = outbox.put_reply(frame)
        else:
            outcome = outbox.put(put.channel, frame, put.policy, put.key)
        assert outbox.size <= LIMIT
        if outcome is OVERFLOW:
            assert put.policy in (None, DISCONNECT)
            break
        assert (outcome is DROPPED) == (sum(outbox.dropped.values()) > before)
        accepted.append((put, frame))

    overflowed = len(accepted) < len(puts)
    size, waiting = outbox.size, len(outbox)
    sent = outbox.take_all().splitlines(keepends=True)
    assert sum(map(len, sent)) == size
    assert len(sent) == waiting
    assert sent == [frame for _, frame in accepted if frame in sent], "in the order they came, once"

    gone = [put for put, frame in accepted if frame not in sent]
    assert Counter(put.channel for put in gone) == Counter(outbox.take_dropped()), "put minus delivered"
    assert all(put.policy in (DROP_OLDEST, LATEST) for put in gone), "the others are never dropped"

    delivered = [put for put, frame in accepted if frame in sent]
    slots = [(put.channel, put.key) for put in delivered if put.policy is LATEST]
    assert len(slots) == len(set(slots)), "one of each key"
    if overflowed:
        undroppable = sum(put.size for put in delivered if put.policy in (None, DISCONNECT))
        assert undroppable + puts[len(accepted)].size > LIMIT, "dropping all that may be would not help"


@steady
@given(st.lists(st.integers(1, 20), max_size=60))
def test_drop_oldest_keeps_the_longest_tail_that_fits(sizes: list[int]) -> None:
    """Not one more goes than has to."""
    outbox = Outbox(LIMIT)
    frames = [bytes([number]) * size for number, size in enumerate(sizes, 1)]

    fill(outbox, DROP_OLDEST, *frames)

    tails = [frames[start:] for start in range(len(frames) + 1)]
    longest = next(tail for tail in tails if sum(map(len, tail)) <= LIMIT)
    assert outbox.take_all() == b"".join(longest)
    assert sum(outbox.dropped.values()) == len(frames) - len(longest)


@steady
@given(st.lists(st.sampled_from("xyz"), max_size=40))
def test_latest_delivers_the_newest_of_each_key(keys: list[str]) -> None:
    """In the order in which the newest came."""
    outbox = Outbox(1000)
    for number, key in enumerate(keys):
        outbox.put("prices", f"{key}{number:02} ".encode(), LATEST, key)

    newest = {key: number for number, key in enumerate(keys)}
    in_order = sorted(newest.items(), key=lambda item: item[1])
    assert outbox.take_all().decode() == "".join(f"{key}{number:02} " for key, number in in_order)
    assert sum(outbox.dropped.values()) == len(keys) - len(newest)


def test_a_full_outbox_costs_no_more_per_frame_than_an_empty_one() -> None:
    """A hundred thousand drops while fifty thousand wait; with a walk to the oldest this would take hours."""
    outbox = Outbox(50_000)

    outcomes = Counter(fill(outbox, DROP_OLDEST, *[b"x"] * 150_000))

    assert outcomes == {KEPT: 50_000, DROPPED: 100_000}
    assert outbox.dropped == {"news": 100_000}
    assert len(outbox) == 50_000
