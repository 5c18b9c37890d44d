"""Signs of life, in simulated time: asked after the idle time, gone after the grace time."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubbub.core.heartbeat import Heartbeat, Verdict

from .helpers import NOW, steady

ASK, GONE = Verdict
IDLE, GRACE = 30.0, 10.0


class FakeConnection:
    """What the wheel looks at."""

    def __init__(self) -> None:
        self.last_seen = 0.0
        self.asked_at = 0.0
        self.bucket = 0

    def answer(self, now: float) -> None:
        """Give a sign of life."""
        self.last_seen = now


class Simulation:
    """A wheel that is turned as often as it asks for."""

    def __init__(self, idle: float = IDLE, grace: float = GRACE) -> None:
        self.wheel: Heartbeat[FakeConnection] = Heartbeat(idle, grace)
        self.began = NOW
        self.turns = 0

    @property
    def now(self) -> float:
        return self.began + self.turns * self.wheel.resolution

    @property
    def honest(self) -> float:
        """How late a verdict may come: by the width of a bucket, and by the time to the next turn."""
        return 2 * self.wheel.resolution + 1e-6

    def connect(self) -> FakeConnection:
        """A connection that is watched from now."""
        connection = FakeConnection()
        self.wheel.watch(connection, self.now)
        return connection

    def turn(self) -> list[tuple[FakeConnection, Verdict]]:
        """Let one resolution pass."""
        self.turns += 1
        return self.wheel.due(self.now)

    def run(self, seconds: float) -> list[tuple[float, Verdict]]:
        """Let time pass; what was due, and after how many seconds."""
        began, verdicts = self.now, list[tuple[float, Verdict]]()
        while self.now < began + seconds:
            verdicts += [(self.now - began, verdict) for _, verdict in self.turn()]
        return verdicts


def test_a_silent_connection_is_asked_and_then_gone() -> None:
    """After the idle time, and the grace time later; then it is watched no longer."""
    simulation = Simulation()
    connection = simulation.connect()

    (asked, first), (gone, second) = simulation.run(200)

    assert (first, second) == (ASK, GONE)
    assert IDLE <= asked <= IDLE + simulation.honest
    assert asked + GRACE <= gone <= asked + GRACE + simulation.honest
    assert len(simulation.wheel) == 0
    assert connection.asked_at == NOW + asked


def test_to_be_watched_is_to_be_seen() -> None:
    """Whatever happened before: a connection begins afresh."""
    simulation = Simulation()
    connection = FakeConnection()
    connection.last_seen, connection.asked_at = 1.0, 2.0

    simulation.wheel.watch(connection, simulation.now)

    assert (connection.last_seen, connection.asked_at) == (NOW, 0.0)
    assert [verdict for _, verdict in simulation.run(100)] == [ASK, GONE]


def test_any_sign_of_life_postpones_the_question() -> None:
    """Seen after 20 seconds, asked after 50."""
    simulation = Simulation()
    connection = simulation.connect()
    assert simulation.run(20) == []
    connection.answer(simulation.now)

    ((asked, verdict),) = simulation.run(IDLE + 1)

    assert verdict is ASK
    assert IDLE <= asked <= IDLE + simulation.honest


def test_an_answer_rescues() -> None:
    """Asked, it answers in the last moment, and is asked again only after another idle time."""
    simulation = Simulation()
    connection = simulation.connect()
    simulation.run(IDLE + simulation.honest)
    simulation.run(GRACE - 3 * simulation.wheel.resolution)
    connection.answer(simulation.now)

    ((asked, verdict),) = simulation.run(IDLE + 1)

    assert verdict is ASK
    assert IDLE <= asked <= IDLE + simulation.honest


def test_what_was_seen_before_the_question_is_no_answer_to_it() -> None:
    """Even if it is noticed only afterwards."""
    simulation = Simulation()
    connection = simulation.connect()
    while not simulation.turn():
        pass
    connection.answer(connection.asked_at - 0.001)

    ((_, verdict),) = simulation.run(GRACE + 1)

    assert verdict is GONE


def test_an_answer_at_the_very_moment_of_the_question_counts() -> None:
    """A coarse clock shows both at the same time."""
    simulation = Simulation()
    connection = simulation.connect()
    while not simulation.turn():
        pass
    connection.answer(connection.asked_at)

    ((asked, verdict),) = simulation.run(IDLE + 1)

    assert verdict is ASK
    assert asked >= IDLE


def test_a_wheel_that_stood_still_asks_before_it_gives_up() -> None:
    """A process that was suspended does not blame its clients."""
    simulation = Simulation()
    connection = simulation.connect()

    assert simulation.wheel.due(NOW + 10_000) == [(connection, ASK)]
    assert simulation.wheel.due(NOW + 10_000 + GRACE / 2) == []
    assert simulation.wheel.due(NOW + 20_000) == [(connection, GONE)]


def test_forgetting_leaves_nothing_in_the_wheel() -> None:
    """At whatever moment, also twice, and the others stay."""
    simulation = Simulation()
    ada, bob = simulation.connect(), simulation.connect()
    assert len(simulation.wheel) == 2

    simulation.wheel.forget(ada)
    simulation.wheel.forget(ada)

    assert len(simulation.wheel) == 1
    assert [verdict for _, verdict in simulation.run(100)] == [ASK, GONE]
    simulation.wheel.forget(bob)
    assert len(simulation.wheel) == 0


def test_one_that_is_gone_can_be_forgotten_again() -> None:
    """The hub forgets every connection that ends, also one that the wheel gave up."""
    simulation = Simulation()
    connection = simulation.connect()
    simulation.run(100)

    simulation.wheel.forget(connection)

    assert len(simulation.wheel) == 0


def test_one_that_was_asked_can_be_forgotten() -> None:
    """It left instead of answering."""
    simulation = Simulation()
    connection = simulation.connect()
    simulation.run(IDLE + 1)
    assert connection.asked_at

    simulation.wheel.forget(connection)

    assert len(simulation.wheel) == 0
    assert simulation.run(100) == []


def test_a_grace_time_longer_than_the_idle_time_is_given_in_full() -> None:
    """One question, and then as much patience as was promised, without a second question."""
    simulation = Simulation(idle=1.0, grace=5.0)
    simulation.connect()

    (asked, first), (gone, second) = simulation.run(20)

    assert (first, second) == (ASK, GONE)
    assert asked + 5 <= gone <= asked + 5 + simulation.honest


@pytest.mark.parametrize(
    ("idle", "grace", "resolution"),
    [(30, 10, 0.5), (30, 2, 0.2), (1, 30, 0.1), (0.01, 10, 0.01)],
)
def test_the_resolution_follows_the_shorter_time(idle: float, grace: float, resolution: float) -> None:
    """A tenth of it, but neither a busy loop nor longer than half a second."""
    assert Heartbeat(idle, grace).resolution == pytest.approx(resolution)


@pytest.mark.parametrize(("idle", "grace"), [(10.0, 3.0), (5.0, 5.0), (0.3, 0.2), (3.0, 10.0)])
@steady
@given(
    pauses=st.lists(
        st.lists(
            st.sampled_from([0.05, 0.3, 0.5, 0.7, 0.9, 0.99, 1.0, 1.01, 1.1, 1.5, 2.2, 3.1]), max_size=6
        ),
        min_size=1,
        max_size=4,
    )
)
def test_whoever_gives_signs_in_time_is_kept_and_nobody_else(
    idle: float, grace: float, pauses: list[list[float]]
) -> None:
    """Each connection gives signs after pauses (in idle times), then falls silent for good."""
    simulation = Simulation(idle, grace)
    plans = {simulation.connect(): list(plan) for plan in pauses}
    asked = {connection: list[float]() for connection in plans}
    while plans:
        for connection, plan in plans.items():
            if plan and simulation.now >= connection.last_seen + plan[0] * idle:
                plan.pop(0)
                connection.answer(simulation.now)
        for connection, verdict in simulation.turn():
            silent = simulation.now - connection.last_seen
            if verdict is ASK:
                assert idle <= silent + 1e-6
                assert silent <= idle + simulation.honest, "asked as soon as the idle time is over"
                assert all(simulation.now - before >= idle for before in asked[connection][-1:])
                asked[connection].append(simulation.now)
            else:
                waited = simulation.now - asked[connection][-1]
                assert grace - 1e-6 <= waited <= grace + simulation.honest
                assert connection.last_seen < asked[connection][-1], "it did not answer"
                del plans[connection]
        assert len(simulation.wheel) == len(plans)
        assert all(
            simulation.now - connection.last_seen <= idle + grace + 2 * simulation.honest
            for connection in plans
        ), "nobody stays silent and is kept"
