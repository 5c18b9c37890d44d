"""The way in, with links that nobody reads, and links that lead nowhere."""

import selectors
import socket
import time
from collections.abc import Iterator

import pytest

from hubbub.workers import door, placing
from hubbub.workers.door import Door
from hubbub.workers.link import Gone, WorkerEnd, pair
from hubbub.workers.process import Worker

from ..cli.running import until


class House:
    """A door on a free port, with as many workers behind it as are wanted."""

    def __init__(self, *, limit: float = float("inf")) -> None:
        self.selector = selectors.DefaultSelector()
        self.workers: list[Worker] = []
        self.ends: list[WorkerEnd] = []
        self.clients: list[socket.socket] = []
        self.taken: list[list[socket.socket]] = []
        listener = socket.create_server(("127.0.0.1", 0))
        self.address = listener.getsockname()
        self.door = Door(listener, self.selector, lambda: self.workers, limit=limit)
        self.door.open(4096)

    def add_worker(self) -> None:
        """One more, that is ready."""
        ours, theirs = pair(len(self.workers) + 1)
        worker = Worker(theirs.number, 0, ours)
        worker.ready_at = 0.0
        self.workers.append(worker)
        self.ends.append(theirs)
        self.taken.append([])
        self.selector.register(ours.socket, selectors.EVENT_READ, worker)

    def come(self, clients: int) -> None:
        """Have clients connect, and the door do all that it can do now."""
        self.clients += [socket.create_connection(self.address) for _ in range(clients)]
        self.turn()

    def turn(self) -> None:
        """Do what there is to do, until there is nothing."""
        while events := self.selector.select(0):
            for key, event in events:
                if key.data is None:
                    self.door.accept(time.monotonic())
                elif event & selectors.EVENT_READ:  # workers here say nothing: it has gone
                    self.selector.unregister(key.fileobj)
                else:
                    key.data.full = False
                    self.selector.modify(key.fileobj, selectors.EVENT_READ, key.data)
                    self.door.hand_over(time.monotonic())

    def take(self, index: int) -> None:
        """Have a worker take all that has come to it, and say so."""
        while connections := self.ends[index].take():
            self.taken[index] += connections
        tally = self.workers[index].tally
        tally.taken = self.ends[index].taken
        tally.open = len(self.taken[index])
        self.door.hand_over(time.monotonic())

    def close(self) -> None:
        """All of it."""
        self.door.close()
        for end in (*self.workers, *self.ends):
            (end.link if isinstance(end, Worker) else end).socket.close()
        for connection in (*self.clients, *(each for some in self.taken for each in some)):
            connection.close()
        self.selector.close()


@pytest.fixture(autouse=True)
def _no_crowd(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody has to wait for others to come."""
    monkeypatch.setattr(door, "GATHER", 0.0)


@pytest.fixture
def house() -> Iterator[House]:
    """With nobody in it."""
    house = House()
    yield house
    house.close()


def test_each_connection_goes_to_one_worker(house: House) -> None:
    """And works there."""
    house.add_worker()
    house.add_worker()
    house.come(10)
    for index in (0, 1):
        house.take(index)
        assert len(house.taken[index]) == 5
    for connection in (*house.taken[0], *house.taken[1]):
        connection.setblocking(True)
        connection.sendall(b"x")
    assert [client.recv(1) for client in house.clients] == [b"x"] * 10


def test_a_full_link_leaves_the_others_open(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """What does not go into one goes into the next, and nobody is lost."""
    monkeypatch.setattr(placing, "ON_THE_WAY", 1_000_000)
    house.add_worker()
    house.add_worker()
    while not house.workers[0].full:
        house.come(1)
        house.take(1)
    stuck = house.workers[0].tally.on_the_way
    house.come(50)
    assert house.workers[0].tally.on_the_way == stuck
    house.take(1)
    house.take(0)
    assert len(house.taken[0]) + len(house.taken[1]) == len(house.clients)


def test_who_finds_no_room_waits_until_there_is_some(house: House) -> None:
    """With every worker stuck, clients wait; when one takes again, they are served."""
    house.add_worker()
    while not house.workers[0].full and house.workers[0].tally.on_the_way < placing.ON_THE_WAY:
        house.come(1)
    before = len(house.clients)
    house.come(100)
    assert house.workers[0].tally.given <= before
    while len(house.taken[0]) < len(house.clients):
        house.take(0)
        house.turn()
    assert len(house.taken[0]) == len(house.clients)


def test_a_worker_that_has_gone_gets_nobody(house: House) -> None:
    """Those that were meant for it go to another."""
    house.add_worker()
    house.add_worker()
    house.ends[0].socket.close()
    house.come(20)
    house.take(1)
    assert len(house.taken[1]) == 20


def test_who_comes_before_any_worker_is_served_by_the_first() -> None:
    """And nobody gets more than the limit."""
    house = House(limit=3)
    try:
        house.come(5)
        house.add_worker()
        house.door.hand_over(time.monotonic())
        house.turn()
        house.take(0)
        assert len(house.taken[0]) == 3
        house.taken[0].pop().close()
        house.take(0)
        house.take(0)
        assert len(house.taken[0]) == 3
    finally:
        house.close()


def test_a_closed_door_turns_away_who_stands_in_it(house: House) -> None:
    """At once, so that they can go elsewhere."""
    house.come(1)
    house.door.close()
    assert house.clients[0].recv(1) == b""
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(house.address)


def test_the_end_of_a_supervisor_is_seen(house: House) -> None:
    """After what it had still given."""
    house.add_worker()
    house.come(1)
    house.workers[0].link.close()
    [connection] = house.ends[0].take()
    connection.close()
    with pytest.raises(Gone):
        house.ends[0].take()
    assert house.ends[0].orphaned
    until(lambda: house.clients[0].recv(1) == b"")
