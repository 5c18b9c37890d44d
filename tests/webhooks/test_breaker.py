"""The breaker: opens on failures, lets a probe through, closes on a success."""

from hypothesis import given, settings
from hypothesis import strategies as st

from hubbub.webhooks.breaker import IN_A_ROW, WINDOW, Breaker, Pauses, Permit

NORMAL = Permit.NORMAL


def a_breaker() -> Breaker:
    """One whose pauses are not left to chance."""
    return Breaker(Pauses(first=1.0, longest=4.0), draw=lambda: 0.5)


def fail(breaker: Breaker, times: int, now: float = 0.0) -> list[bool]:
    """So many calls are let through and fail; which of them opened it."""
    opened = []
    for _ in range(times):
        permit = breaker.ask(now)
        assert permit is not None
        opened.append(breaker.failed(permit, now))
    return opened


def test_failures_in_a_row_open_it() -> None:
    """The last of them says so, once."""
    breaker = a_breaker()
    assert fail(breaker, IN_A_ROW) == [False] * (IN_A_ROW - 1) + [True]
    assert breaker.is_open
    assert breaker.ask(0.9) is None


def test_a_success_in_between_keeps_it_closed() -> None:
    """As long as fewer than half fail."""
    breaker = a_breaker()
    for _ in range(5):
        assert not any(fail(breaker, IN_A_ROW - 2))
        for _ in range(IN_A_ROW):
            breaker.succeeded(NORMAL)
    assert not breaker.is_open


def test_half_of_the_last_open_it() -> None:
    """Though never two in a row fail."""
    breaker = a_breaker()
    for _ in range(WINDOW // 2 - 1):
        assert fail(breaker, 1) == [False]
        breaker.succeeded(NORMAL)
    assert fail(breaker, 1) == [True]


def test_after_a_pause_one_call_probes() -> None:
    """The others are turned away until it is known how that went."""
    breaker = a_breaker()
    fail(breaker, IN_A_ROW)
    assert breaker.ask(0.99) is None
    assert breaker.ask(1.0) is Permit.PROBE
    assert breaker.ask(1.0) is None
    assert breaker.succeeded(Permit.PROBE)
    assert not breaker.is_open
    assert breaker.ask(1.0) is NORMAL


def test_a_probe_that_fails_makes_the_next_pause_longer() -> None:
    """Up to the longest; a success makes it short again."""
    breaker = a_breaker()
    fail(breaker, IN_A_ROW)
    now = 1.0
    for pause in (2.0, 4.0, 4.0):
        assert breaker.ask(now) is Permit.PROBE
        assert not breaker.failed(Permit.PROBE, now)
        assert breaker.ask(now + pause - 0.01) is None
        now += pause
    assert breaker.ask(now) is Permit.PROBE
    breaker.succeeded(Permit.PROBE)
    fail(breaker, IN_A_ROW, now)
    assert breaker.ask(now + 1.0) is Permit.PROBE


def test_a_probe_of_which_nothing_is_known_makes_way_for_another() -> None:
    """Else it would be open for ever."""
    breaker = a_breaker()
    fail(breaker, IN_A_ROW)
    assert breaker.ask(1.0) is Permit.PROBE
    breaker.abandoned(Permit.PROBE)
    assert breaker.ask(1.0) is Permit.PROBE


def test_calls_from_before_change_nothing_while_it_is_open() -> None:
    """Neither their failures nor their successes: the probe alone counts."""
    breaker = a_breaker()
    fail(breaker, IN_A_ROW)
    assert not breaker.failed(NORMAL, 0.5)
    assert not breaker.succeeded(NORMAL)
    assert breaker.is_open
    assert breaker.ask(1.0) is Permit.PROBE


@settings(derandomize=True, deadline=None)
@given(st.lists(st.sampled_from(["ok", "fail", "abandon", "wait"]), max_size=200), st.floats(0, 0.999))
def test_it_always_lets_somebody_through_in_the_end(steps: list[str], drawn: float) -> None:
    """Whatever happened: after the longest pause a call is let through, and its success closes it."""
    breaker = Breaker(Pauses(first=1.0, longest=4.0), draw=lambda: drawn)
    now = 0.0
    for step in steps:
        permit = breaker.ask(now)
        if step == "wait" or permit is None:
            now += 1.0
        if permit is None:
            continue
        if step == "ok":
            breaker.succeeded(permit)
        elif step == "fail":
            breaker.failed(permit, now)
        else:
            breaker.abandoned(permit)
    permit = breaker.ask(now + 5.0)
    assert permit is not None
    breaker.succeeded(permit)
    assert not breaker.is_open
