"""How long to wait before the next attempt."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubbub.client import Backoff


def test_the_ceiling_doubles_with_each_failure_up_to_the_cap() -> None:
    """100 ms at first, 20 s in the end."""
    backoff = Backoff()

    assert [backoff.ceiling(failures) for failures in range(4)] == [0.1, 0.2, 0.4, 0.8]
    assert backoff.ceiling(7) == pytest.approx(12.8)
    assert backoff.ceiling(8) == 20.0


@given(failures=st.integers(0, 10**9), draw=st.floats(0, 1, exclude_max=True))
def test_a_delay_lies_between_nothing_and_the_ceiling(failures: int, draw: float) -> None:
    """However the dice fall and however long a server is away."""
    backoff = Backoff(draw=lambda: draw)

    assert 0 <= backoff.delay(failures) <= backoff.ceiling(failures) <= 20.0


def test_the_jitter_is_full() -> None:
    """The delay is drawn from the whole range, not from its upper part."""
    backoff = Backoff(draw=random.Random(7).random)
    delays = [backoff.delay(3) for _ in range(1000)]

    assert min(delays) < 0.01
    assert max(delays) > 0.79
    assert 0.35 < sum(delays) / len(delays) < 0.45


@pytest.mark.parametrize(("base", "cap"), [(0.0, 1.0), (-1.0, 1.0), (2.0, 1.0)])
def test_a_senseless_range_is_refused(base: float, cap: float) -> None:
    """A base of nothing would hammer a server; a base beyond the cap says two things."""
    with pytest.raises(ValueError, match="0 < base <= cap"):
        Backoff(base, cap)
