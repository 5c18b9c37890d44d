"""The verdict on records made by hand: what is whole passes, and each way to be broken is found."""

import random
from collections.abc import Callable

import pytest

from .records import Entry, Fault, Got, Joined, Left, Loss, Notice, Position, Publication, Record, Snapshot
from .verdict import judge

GROUP = "g"
A, B = "AAAA", "BBBB"


def payload(offset: int, epoch: str = A) -> str:
    """What stands at an offset."""
    return f"{epoch}-{offset}"


def messages(first: int, last: int, epoch: str = A, at: float = 10.0) -> list[Entry]:
    """Messages from one offset to another, both included."""
    return [Got(at + o / 100, o, payload(o, epoch)) for o in range(first, last + 1)]


def acknowledged(first: int, last: int, epoch: str = A, at: float = 9.0) -> list[Publication]:
    """Publications as their publishers know them."""
    return [
        Publication(GROUP, payload(o, epoch), at + o / 100, at + o / 100 + 0.005, Position(epoch, o))
        for o in range(first, last + 1)
    ]


def whole(top: int, epoch: str = A, at: float = 90.0) -> Snapshot:
    """A history in which nothing was lost."""
    return Snapshot(at, GROUP, epoch, [payload(o, epoch) for o in range(1, top + 1)])


def good() -> Record:
    """Two clients and a history of 20: one client stays, the other drops and resumes."""
    return Record(
        clients={
            ("ann", GROUP): [Joined(1.0, Position(A, 0), None, None), *messages(1, 20)],
            ("bob", GROUP): [
                Joined(1.0, Position(A, 0), None, None),
                *messages(1, 7),
                Left(10.08, "it dropped"),
                Joined(10.11, Position(A, 7), True, Position(A, 7)),
                *messages(8, 15),
                Left(10.16, "it dropped"),
                Joined(10.30, Position(A, 15), True, Position(A, 15)),
                *messages(16, 20, at=10.4),
            ],
        },
        publications=acknowledged(1, 20),
        snapshots=[whole(20)],
        markers={GROUP: Position(A, 20)},
    )


def restarted_empty() -> Record:
    """A server that comes back without anything: 10 of the first history, 10 of the next."""
    return Record(
        clients={
            ("ann", GROUP): [
                Joined(1.0, Position(A, 0), None, None),
                *messages(1, 10),
                Notice(22.0, Position(B, 0)),
                *messages(1, 10, B, at=23.0),
            ],
            ("bob", GROUP): [
                Joined(1.0, Position(A, 0), None, None),
                *messages(1, 6),
                Left(10.07, "it dropped"),
                Joined(24.0, Position(B, 4), False, Position(A, 6)),
                *messages(5, 10, B, at=24.0),
            ],
        },
        publications=[*acknowledged(1, 10), *acknowledged(1, 10, B, at=22.5)],
        snapshots=[whole(10, B)],
        faults=[Fault("restart-empty", 20.0, 21.0, Loss.ALL)],
        markers={GROUP: Position(B, 10)},
    )


def failed_over() -> Record:
    """A replica takes over that has 8 of 10. Ann has seen 10, Bob 6; a new epoch goes on with 9."""
    after = [payload(o) for o in range(1, 9)] + [payload(o, B) for o in range(9, 15)]
    return Record(
        clients={
            ("ann", GROUP): [
                Joined(1.0, Position(A, 0), None, None),
                *messages(1, 10),
                Notice(22.0, Position(B, 8)),
                *messages(9, 14, B, at=23.0),
            ],
            ("bob", GROUP): [
                Joined(1.0, Position(A, 0), None, None),
                *messages(1, 6),
                Left(10.07, "it dropped"),
                Joined(24.0, Position(B, 6), True, Position(A, 6)),
                *messages(7, 8, at=24.0),
                *messages(9, 14, B, at=24.0),
            ],
        },
        publications=[*acknowledged(1, 8), *acknowledged(9, 10, at=20.0), *acknowledged(9, 14, B, at=22.5)],
        snapshots=[Snapshot(90.0, GROUP, B, after)],
        faults=[Fault("failover", 20.0, 21.0, Loss.TAIL)],
        markers={GROUP: Position(B, 14)},
    )


def kept_across_a_restart() -> Record:
    """The server comes back with all it had, in a new epoch that the first message after it tells."""
    return Record(
        clients={
            ("ann", GROUP): [
                Joined(1.0, Position(A, 0), None, None),
                *messages(1, 5),
                Got(23.0, 6, payload(6), B),
                *messages(7, 9, at=23.0),
            ],
            ("bob", GROUP): [
                Joined(1.0, Position(A, 0), None, None),
                *messages(1, 3),
                Left(10.05, "it dropped"),
                Joined(24.0, Position(B, 3), True, Position(A, 3)),
                *messages(4, 9, at=24.0),
            ],
        },
        publications=[
            *acknowledged(1, 5),
            *(p._replace(position=Position(B, p.position.offset)) for p in acknowledged(6, 9) if p.position),
        ],
        snapshots=[Snapshot(90.0, GROUP, B, [payload(o) for o in range(1, 10)])],
        faults=[Fault("kill", 20.0, 21.0, Loss.NOTHING)],
        markers={GROUP: Position(B, 9)},
    )


def rules(record: Record) -> set[str]:
    """Which rules are broken."""
    return {violation.rule for violation in judge(record)}


SOUND = [good, restarted_empty, failed_over, kept_across_a_restart]


@pytest.mark.parametrize("record", SOUND)
def test_a_sound_record_has_no_violation(record: Callable[[], Record]) -> None:
    """Also where something was lost and said to be."""
    assert judge(record()) == []


def drop(entries: list[Entry], index: int) -> None:
    """A message does not arrive."""
    del entries[index]


def double(entries: list[Entry], index: int) -> None:
    """A message arrives twice."""
    entries.insert(index, entries[index])


def swap(entries: list[Entry], index: int) -> None:
    """Two messages change places."""
    entries[index - 1], entries[index] = entries[index], entries[index - 1]


def forge(entries: list[Entry], index: int) -> None:
    """A message is another than the one that was published."""
    entry = entries[index]
    assert isinstance(entry, Got)
    entries[index] = entry._replace(payload="forged")


@pytest.mark.parametrize("corrupt", [drop, double, swap, forge])
@pytest.mark.parametrize("record", SOUND)
@pytest.mark.parametrize("client", ["ann", "bob"])
def test_every_single_corruption_of_a_record_is_found(
    record: Callable[[], Record], client: str, corrupt: Callable[[list[Entry], int], None]
) -> None:
    """At every message of every sound record."""
    entries = record().clients[client, GROUP]
    places = [i for i, entry in enumerate(entries) if isinstance(entry, Got)]
    if corrupt is swap:
        places = [i for i in places if isinstance(entries[i - 1], Got)]
    if corrupt is drop:
        # What was lost right before a notice, the notice tells of.
        places = [i for i in places if not isinstance(entries[min(i + 1, len(entries) - 1)], Notice)]
    assert places
    for place in places:
        corrupted = record()
        corrupt(corrupted.clients[client, GROUP], place)
        assert judge(corrupted), f"{corrupt.__name__} at {place} is not found"


@pytest.mark.parametrize("record", [restarted_empty, failed_over])
@pytest.mark.parametrize("client", ["ann", "bob"])
def test_a_notice_that_is_hidden_is_found(record: Callable[[], Record], client: str) -> None:
    """Whether it came unasked or as the answer to a join."""
    hidden = record()
    entries = hidden.clients[client, GROUP]
    for index, entry in enumerate(entries):
        match entry:
            case Notice():
                del entries[index]
            case Joined(recovered=False):
                entries[index] = entry._replace(recovered=True)
    if entries != record().clients[client, GROUP]:
        assert judge(hidden)
    else:
        assert (record, client) == (failed_over, "bob")


@pytest.mark.parametrize("offset", [10, 12])
def test_going_on_in_a_new_epoch_past_what_was_lost_is_found(offset: int) -> None:
    """The client has 9 and 10 of a history that lost them, and is led on to what came in their place."""
    record = failed_over()
    missed = messages(offset + 1, 14, B, at=23.0)
    first = missed[0]
    assert isinstance(first, Got)
    record.clients["ann", GROUP] = [
        Joined(1.0, Position(A, 0), None, None),
        *messages(1, offset),
        first._replace(epoch=B),
        *missed[1:],
    ]
    assert "one order" in rules(record)


def test_a_needless_notice_is_found() -> None:
    """No fault has lost anything."""
    record = good()
    bob = record.clients["bob", GROUP]
    index = next(i for i, entry in enumerate(bob) if isinstance(entry, Joined) and entry.recovered)
    entry = bob[index]
    assert isinstance(entry, Joined)
    bob[index] = entry._replace(recovered=False)
    assert rules(record) == {"no needless notice"}
    record.faults.append(Fault("kill", 10.0, 10.5, Loss.NOTHING))
    assert rules(record) == {"no needless notice"}


@pytest.mark.parametrize("loses", [Loss.UNCONFIRMED, Loss.TAIL, Loss.ALL])
def test_a_notice_is_needless_where_the_place_is_kept_whatever_was_lost(loses: Loss) -> None:
    """Bob's 6 is still there after the failover."""
    record = failed_over()
    record.faults = [Fault("failover", 20.0, 21.0, loses)]
    bob = record.clients["bob", GROUP]
    bob[-9:] = [Joined(24.0, Position(B, 14), False, Position(A, 6))]
    found = [violation for violation in judge(record) if violation.rule == "no needless notice"]
    assert len(found) == 1
    assert "bob" in found[0].sentence


def test_what_was_lost_and_published_again_is_not_taken_for_kept() -> None:
    """The next try of a stubborn publisher may stand where the lost one stood."""
    record = failed_over()
    ann = record.clients["ann", GROUP]
    index = next(i for i, entry in enumerate(ann) if isinstance(entry, Notice))
    for i, number in ((index - 1, 1), (index + 2, 2)):
        entry = ann[i]
        assert isinstance(entry, Got)
        assert entry.offset == 10
        ann[i] = entry._replace(payload=f"again/{number}")
    ann[index] = Notice(22.0, Position(B, 8))
    bob = record.clients["bob", GROUP]
    bob[:] = [e._replace(payload="again/2") if isinstance(e, Got) and e.offset == 10 else e for e in bob]
    record.snapshots[0].payloads[9] = "again/2"
    record.publications = [p for p in record.publications if p.position and p.position.offset != 10]
    record.publications.append(Publication(GROUP, "again", 20.1, 22.6, Position(B, 10)))
    assert judge(record) == []
    ann[index - 1] = Got(10.1, 10, "again/2")
    assert rules(record) == {"no needless notice"}


def test_a_fault_long_over_explains_no_notice() -> None:
    """Whoever got its position after the fault has lost nothing by it."""
    record = good()
    bob = record.clients["bob", GROUP]
    bob += [Left(80.0, "it dropped"), Joined(81.0, Position(A, 20), False, Position(A, 20))]
    record.faults = [Fault("restart-empty", 1.0, 2.0, Loss.ALL)]
    assert rules(record) == {"no needless notice"}


def test_an_acknowledged_publication_that_is_gone_is_found() -> None:
    """Unless a fault may have taken it; those that wait for replicas and those that keep all may not."""
    record = failed_over()
    assert judge(record) == []
    for loses in (Loss.NOTHING, Loss.UNCONFIRMED):
        record.faults = [Fault("failover", 20.0, 21.0, loses)]
        assert "acknowledged is kept" in rules(record)
    record.faults = [Fault("failover", 30.0, 31.0, Loss.TAIL)]
    assert "acknowledged is kept" in rules(record), "it was acknowledged long before"


def test_an_answer_that_names_another_place_is_found() -> None:
    """The publisher was told 5, and it stands at 6."""
    record = good()
    record.publications[4] = record.publications[4]._replace(position=Position(A, 6))
    assert "one order" in rules(record)


def test_a_publication_in_two_places_is_found() -> None:
    """A retry with the same key must not publish again."""
    record = good()
    record.snapshots = [record.snapshots[0]._replace(payloads=[*record.snapshots[0].payloads, payload(20)])]
    assert "published once" in rules(record)


def test_two_orders_are_found() -> None:
    """Each client's record counts up without a gap, and yet they differ."""
    record = good()
    record.snapshots = []
    record.publications = []
    ann = record.clients["ann", GROUP]
    ann[5] = Got(10.05, 5, payload(6))
    ann[6] = Got(10.06, 6, payload(5))
    assert rules(record) == {"one order"}


def test_a_publication_before_an_earlier_one_is_found() -> None:
    """The second was sent after the first was acknowledged."""
    record = Record(
        publications=[
            Publication(GROUP, "first", 1.0, 1.1, Position(A, 2)),
            Publication(GROUP, "second", 1.2, 1.3, Position(A, 1)),
        ],
        snapshots=[Snapshot(9.0, GROUP, A, ["second", "first"])],
    )
    assert rules(record) == {"in the order of publishing"}
    record.publications[1] = record.publications[1]._replace(sent=1.05)
    assert judge(record) == [], "those that overlap may stand either way"


def test_a_client_that_never_arrives_is_found() -> None:
    """Its record is sound as far as it goes."""
    record = good()
    del record.clients["ann", GROUP][-1]
    assert rules(record) == {"arrives at last"}
    record.clients["ann", GROUP].clear()
    assert rules(record) == {"arrives at last"}


def test_what_comes_outside_of_a_membership_is_found() -> None:
    """A message after the group was left."""
    record = good()
    record.clients["ann", GROUP] += [Left(20.0, "left"), Got(20.1, 21, "late")]
    assert "members only" in rules(record)


def test_an_answer_without_recovered_is_found() -> None:
    """Where it was asked for; and one with it where it was not."""
    record = good()
    bob = record.clients["bob", GROUP]
    index = next(i for i, entry in enumerate(bob) if isinstance(entry, Joined) and entry.recovered)
    entry = bob[index]
    assert isinstance(entry, Joined)
    bob[index] = entry._replace(recovered=None)
    assert "answer" in rules(record)
    record = good()
    record.clients["bob", GROUP][0] = Joined(1.0, Position(A, 0), True, None)
    assert "answer" in rules(record)


def test_an_answer_that_recovers_from_elsewhere_is_found() -> None:
    """Two messages are passed over by the answer itself."""
    record = good()
    bob = record.clients["bob", GROUP]
    index = next(i for i, entry in enumerate(bob) if isinstance(entry, Joined) and entry.recovered)
    bob[index : index + 3] = [Joined(10.11, Position(A, 9), True, Position(A, 7))]
    assert "no gap" in rules(record)


def test_random_corruptions_of_a_long_record_are_found() -> None:
    """Many clients that drop and resume at random; a seed that is not found would be named."""
    for seed in range(60):
        rng = random.Random(seed)
        record = long_record(rng)
        assert judge(record) == [], f"seed {seed}"
        entries = record.clients[rng.choice(list(record.clients))]
        places = [i for i in range(2, len(entries)) if isinstance(entries[i], Got)]
        places = [i for i in places if isinstance(entries[i - 1], Got)]
        rng.choice([drop, double, swap, forge])(entries, rng.choice(places))
        assert judge(record), f"seed {seed}"


def long_record(rng: random.Random) -> Record:
    """200 publications, 5 clients."""
    record = Record(publications=acknowledged(1, 200), snapshots=[whole(200)])
    for number in range(5):
        entries: list[Entry] = [Joined(9.0, Position(A, 0), None, None)]
        for offset in range(1, 201):
            entries += messages(offset, offset)
            if rng.random() < 0.1:
                here = Position(A, offset)
                entries += [Left(10.0, "it dropped"), Joined(10.0, here, True, here)]
        record.clients[f"client-{number}", GROUP] = entries
    record.markers = {GROUP: Position(A, 200)}
    return record
