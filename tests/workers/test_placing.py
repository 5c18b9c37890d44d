"""Who gets the next connection, and when a worker is replaced."""

import pytest

from hubbub.workers.placing import LONGEST_DELAY, ON_THE_WAY, Tally, delay_after, least_loaded


class Crew:
    """Workers that take what they are given when they are told to."""

    def __init__(self, *loads: int) -> None:
        self.workers = [Crew.Worker(load) for load in loads]
        self._turn = 0

    class Worker:
        """One of them."""

        def __init__(self, load: int) -> None:
            self.tally = Tally(given=load, taken=load, open=load)

        def report(self, closed: int = 0) -> None:
            """Say that everything arrived, and so many have gone."""
            self.tally.open += self.tally.on_the_way - closed
            self.tally.taken = self.tally.given

    def give(self, connections: int, limit: float = float("inf")) -> int:
        """Give connections out; returns how many found nobody."""
        for given in range(connections):
            worker = least_loaded(self.workers, limit)
            if worker is None:
                return connections - given
            self._turn += 1
            worker.tally.given += 1
            worker.tally.turn = self._turn
        return 0

    @property
    def loads(self) -> list[int]:
        """What each has."""
        return [worker.tally.load for worker in self.workers]


def test_connections_even_out() -> None:
    """Also between a worker that is new and others that have many."""
    crew = Crew(0, 40, 60)
    crew.give(200)
    assert crew.loads == [100, 100, 100]


def test_what_closed_counts_as_soon_as_it_is_known() -> None:
    """And what is on the way counts as if it had arrived."""
    crew = Crew(0, 0)
    crew.give(100)
    first, _ = crew.workers
    first.report(closed=20)
    assert crew.loads == [30, 50]
    crew.give(30)
    assert crew.loads == [55, 55]


def test_requests_one_at_a_time_go_to_each_in_turn() -> None:
    """Where each has left before the next one comes."""
    crew = Crew(0, 0, 0)
    chosen = []
    for _ in range(6):
        before = [worker.tally.given for worker in crew.workers]
        crew.give(1)
        chosen.append([a.tally.given - b for a, b in zip(crew.workers, before, strict=True)].index(1))
        crew.workers[chosen[-1]].report(closed=1)
    assert chosen == [0, 1, 2, 0, 1, 2]


def test_a_worker_that_takes_nothing_is_given_no_more() -> None:
    """Beyond a number on the way; the others go on."""
    crew = Crew(0, 0)
    stuck, busy = crew.workers
    for _ in range(20):
        assert crew.give(1000) == 0
        busy.report()
    assert stuck.tally.on_the_way == ON_THE_WAY
    assert crew.loads == [ON_THE_WAY, 20_000 - ON_THE_WAY]


def test_nobody_gets_more_than_the_limit() -> None:
    """What a process can hold."""
    crew = Crew(5, 10)
    assert crew.give(100, limit=10) == 95
    assert crew.loads == [10, 10]
    crew.workers[1].report(closed=1)
    assert crew.give(1, limit=10) == 0


@pytest.mark.parametrize(
    ("bad_starts", "delay"), [(0, 0), (1, 0), (2, 0.4), (3, 0.8), (7, LONGEST_DELAY), (9999, LONGEST_DELAY)]
)
def test_a_worker_that_dies_again_and_again_waits_longer_and_longer(bad_starts: int, delay: float) -> None:
    """Up to a bound; the first death is taken for an accident."""
    assert delay_after(bad_starts) == pytest.approx(delay)
