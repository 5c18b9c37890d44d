"""Token buckets: how much in a while and how much at once, whatever the clock does."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubbub.core.bucket import Bucket

from .helpers import NOW, steady

# Whole numbers and fractions of them: so that what is expected can be reckoned without rounding.
amounts = st.integers(0, 12).map(Fraction)
pauses = st.fractions(0, 5, max_denominator=8)
steps = st.lists(st.tuples(pauses, amounts), max_size=40)


def test_a_bucket_begins_full() -> None:
    """All of a burst can be had at once, and no more."""
    bucket = Bucket(rate=1, burst=3, now=NOW)

    assert [bucket.take(NOW) for _ in range(5)] == [True, True, True, False, False]


def test_what_was_taken_comes_back_with_time() -> None:
    """At its rate, and not before."""
    bucket = Bucket(rate=2, burst=1, now=NOW)
    assert bucket.take(NOW)

    assert not bucket.take(NOW + 0.25)
    assert bucket.take(NOW + 0.5)
    assert not bucket.take(NOW + 0.75)


def test_asking_in_vain_costs_nothing() -> None:
    """Whoever is told no a thousand times waits no longer for it."""
    bucket = Bucket(rate=1, burst=1, now=NOW)
    bucket.take(NOW)
    for step in range(1000):
        assert not bucket.take(NOW + step / 1024)

    assert bucket.take(NOW + 1)


def test_a_long_rest_saves_up_a_burst_and_no_more() -> None:
    """Not even one of a year."""
    bucket = Bucket(rate=100, burst=5, now=NOW)

    later = NOW + 365 * 86400
    assert [bucket.take(later) for _ in range(6)] == [True] * 5 + [False]


def test_many_at_once_are_taken_whole_or_not_at_all() -> None:
    """A message has all of its bytes or none."""
    bucket = Bucket(rate=1, burst=10, now=NOW)

    assert bucket.take(NOW, 7)
    assert not bucket.take(NOW, 4)
    assert bucket.take(NOW, 3)


def test_more_than_a_burst_is_never_there() -> None:
    """However long one waits."""
    bucket = Bucket(rate=1, burst=10, now=NOW)

    assert not bucket.take(NOW + 1_000_000, 11)
    assert bucket.take(NOW + 1_000_000, 10)


def test_nothing_can_always_be_taken() -> None:
    """A frame without bytes costs none."""
    bucket = Bucket(rate=1, burst=1, now=NOW)

    assert bucket.take(NOW)
    assert bucket.take(NOW, 0)


def test_a_clock_that_stands_still_gives_nothing() -> None:
    """Nor does it take anything away."""
    bucket = Bucket(rate=1024, burst=2, now=NOW)

    assert sum(bucket.take(NOW) for _ in range(100)) == 2
    assert bucket.take(NOW + 1 / 1024)


@pytest.mark.parametrize("back", [1e-9, 1.0, 1e9], ids=str)
def test_a_clock_that_goes_back_costs_nothing(back: float) -> None:
    """What is there can be had, and the next second counts from where the clock is now."""
    bucket = Bucket(rate=1, burst=3, now=NOW)
    assert bucket.take(NOW)

    assert bucket.take(NOW - back)
    assert bucket.take(NOW - back)
    assert not bucket.take(NOW - back)
    assert bucket.take(NOW - back + 1)


def test_a_clock_that_leaps_ahead_gives_a_burst_at_most() -> None:
    """A machine that was asleep wakes up to no flood."""
    bucket = Bucket(rate=1, burst=3, now=NOW)
    for _ in range(3):
        bucket.take(NOW)

    assert sum(bucket.take(NOW + 1e12) for _ in range(10)) == 3


def test_the_wait_is_as_long_as_it_takes() -> None:
    """Nothing where there is enough, and else till there is."""
    bucket = Bucket(rate=4, burst=2, now=NOW)
    assert bucket.wait() == 0

    assert bucket.take(NOW, 2)
    assert bucket.wait() == 0.25
    assert bucket.wait(2) == 0.5
    assert not bucket.take(NOW + 0.125)
    assert bucket.wait() == 0.125


@steady
@given(rate=st.integers(1, 5), burst=st.integers(1, 10), steps=steps)
def test_no_stretch_of_time_has_more_than_its_share(
    rate: int, burst: int, steps: list[tuple[Fraction, Fraction]]
) -> None:
    """Of all that ends now, each stretch allows a burst and its length in tokens; what fits them is taken."""
    now = Fraction(0)
    bucket = Bucket(Fraction(rate), Fraction(burst), now)  # type: ignore[arg-type]
    taken: list[tuple[Fraction, Fraction]] = []

    for pause, amount in steps:
        now += pause
        fits, total = amount <= burst, amount
        for moment, earlier in reversed(taken):
            total += earlier
            fits = fits and total <= burst + rate * (now - moment)
        assert bucket.take(now, amount) is fits  # type: ignore[arg-type]
        if fits:
            taken.append((now, amount))


@steady
@given(rate=st.integers(1, 5), burst=st.integers(1, 10), steps=steps, amount=st.integers(1, 10))
def test_after_the_wait_there_is_enough_and_not_before(
    rate: int, burst: int, steps: list[tuple[Fraction, Fraction]], amount: int
) -> None:
    """Whoever is sent away for so long is let in afterwards."""
    amount = min(amount, burst)
    now = Fraction(0)
    buckets = [Bucket(Fraction(rate), Fraction(burst), now) for _ in range(2)]  # type: ignore[arg-type]
    for pause, each in steps:
        now += pause
        for bucket in buckets:
            bucket.take(now, each)  # type: ignore[arg-type]

    wait = Fraction(buckets[0].wait(amount))
    if wait > 0:
        assert not buckets[0].take(now + wait * Fraction(15, 16), amount)  # type: ignore[arg-type]
    assert buckets[1].take(now + wait, amount)  # type: ignore[arg-type]


@steady
@given(
    rate=st.floats(0.01, 1e4),
    burst=st.integers(1, 100),
    moments=st.lists(st.floats(-1e9, 1e9, allow_nan=False), max_size=50),
)
def test_no_clock_makes_more_than_a_burst_of_a_moment(rate: float, burst: int, moments: list[float]) -> None:
    """Wherever it goes, and however often: who asks at one time has a burst at most."""
    bucket = Bucket(rate, burst, 0.0)
    for moment in moments:
        assert sum(bucket.take(moment) for _ in range(burst + 2)) <= burst
