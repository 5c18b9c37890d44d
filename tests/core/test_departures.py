"""Announcements of who has left: at most one a second, everybody named once, within bounds."""

from hypothesis import given
from hypothesis import strategies as st

from hubbub.core.departures import INTERVAL, LISTED, REMEMBERED, Departures

from .helpers import NOW, steady


def departures(count: int) -> Departures:
    """So many clients have left."""
    departures = Departures()
    for number in range(count):
        departures.add(f"client-{number}")
    return departures


def test_the_first_to_leave_is_announced_at_once() -> None:
    """Nobody waits a second for a single departure."""
    assert departures(1).take(NOW) == (["client-0"], 0)
    assert departures(1).take(0.0) == (["client-0"], 0)


def test_nobody_left_so_nothing_is_said() -> None:
    """Nor does asking delay the next announcement."""
    nobody = Departures()

    assert nobody.take(NOW) is None
    nobody.add("ada")
    assert nobody.take(NOW) == (["ada"], 0)


def test_the_second_announcement_waits_for_its_second() -> None:
    """Who leaves meanwhile comes with it, in the order of leaving, and once."""
    leaving = departures(1)
    leaving.take(NOW)
    for name in ("ada", "bob", "ada"):
        leaving.add(name)

    assert leaving.take(NOW + 0.999 * INTERVAL) is None
    assert leaving.take(NOW + INTERVAL) == (["ada", "bob"], 0)
    assert leaving.take(NOW + 2 * INTERVAL) is None


def test_who_is_back_is_not_announced() -> None:
    """A client that came back in between has not left; where nobody has, nothing is said."""
    back = {"ada"}
    leaving = Departures(back.__contains__)
    for name in ("ada", "bob"):
        leaving.add(name)

    assert leaving.take(NOW) == (["bob"], 0)
    leaving.add("ada")
    assert leaving.take(NOW + INTERVAL) is None
    assert len(leaving) == 0


def test_a_storm_is_listed_in_portions() -> None:
    """One announcement names 500; the others come with the next."""
    storm = departures(2 * LISTED + 1)

    portions = [storm.take(NOW + second * INTERVAL) for second in range(4)]

    assert [portion and len(portion[0]) for portion in portions] == [LISTED, LISTED, 1, None]
    assert len(storm) == 0


def test_past_the_bound_departures_are_counted_without_names() -> None:
    """Memory stays bounded however many leave, and the number is right."""
    storm = departures(REMEMBERED + 3)

    assert len(storm) == REMEMBERED
    assert storm.take(NOW) == ([f"client-{number}" for number in range(LISTED)], 3)
    assert storm.take(NOW + INTERVAL) == ([f"client-{LISTED + number}" for number in range(LISTED)], 0)


def test_clearing_forgets_the_named_and_the_counted() -> None:
    """Nobody is there to be told."""
    storm = departures(REMEMBERED + 3)

    storm.clear()
    assert len(storm) == 0
    assert storm.take(NOW) is None
    storm.add("ada")
    assert storm.take(NOW) == (["ada"], 0)


@steady
@given(st.lists(st.tuples(st.integers(0, 900), st.floats(0, 2)), max_size=12))
def test_everybody_is_named_once_and_in_order(steps: list[tuple[int, float]]) -> None:
    """Whatever the rhythm of leaving and asking, and never twice within a second."""
    leaving, left, named = Departures(), 0, list[str]()
    now, last = NOW, float("-inf")
    for leavers, pause in [*steps, *[(0, INTERVAL)] * 25]:
        for number in range(left, left + leavers):
            leaving.add(f"client-{number}")
        left += leavers
        now += pause
        announced = leaving.take(now)
        if announced is not None:
            ids, unnamed = announced
            assert now - last >= INTERVAL
            assert 0 < len(ids) <= LISTED
            assert unnamed == 0
            last, named = now, named + ids
    assert named == [f"client-{number}" for number in range(left)]
