"""What a record says about the guarantees: a pure function from what happened to what should not have.

Theory of operation. Each epoch of a group has a *book*: which payload stands at which offset. Histories that
were read and what clients were sent are all entered there; two different payloads in one place are a
violation, and so is an answer to a publisher that names another place. A client's record falls into
*stretches* without a `recovered: false`. In one, offsets count up one by one; and whoever is led from one
epoch into the next without such a notice is told that all it has stands in the new one too, so the whole
stretch is entered into the new epoch's book. There the histories read after each fault, which are complete,
find out what was passed over or made up.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from .records import (
    Entry,
    Fault,
    Got,
    Joined,
    Left,
    Loss,
    Notice,
    Position,
    Publication,
    Record,
    Snapshot,
    name_of,
)

LATE: Final = 5.0
"""Seconds after its healing that a fault still explains a notice: a node may be late to notice."""
UNSAFE: Final = 1.0
"""Seconds before a fault within which an acknowledged publication may have reached no replica yet."""
BEFORE: Final = 6
AFTER: Final = 2
"""Entries of a record that are shown around an offending one."""


@dataclass(frozen=True, slots=True)
class Violation:
    """One guarantee that was broken: which, how, and the part of the record that shows it."""

    rule: str
    sentence: str
    excerpt: tuple[str, ...] = ()

    def __str__(self) -> str:
        return "\n".join((f"{self.rule}: {self.sentence}", *(f"    {line}" for line in self.excerpt)))


Place = tuple[str, str, int]
"""A group, an epoch and an offset."""


class Books:
    """Which payload stands where, and who has said so first."""

    def __init__(self) -> None:
        self._entered: dict[Place, tuple[str, str]] = {}

    def at(self, group: str, position: Position) -> str | None:
        """The payload in a place, where anybody has said it."""
        found = self._entered.get((group, *position))
        return found[0] if found is not None else None

    def enter(self, group: str, position: Position, payload: str, who: str) -> str | None:
        """Enter a payload; returns a sentence where another one stands there."""
        was, whose = self._entered.setdefault((group, *position), (payload, who))
        if was == payload:
            return None
        return f"at {position} of {group}, {who} has {payload!r}, {whose} has {was!r}"


def judge(record: Record) -> list[Violation]:
    """Every violation in the record, in no order that matters."""
    books = Books()
    violations: list[Violation] = []
    for snapshot in record.snapshots:
        violations += _read_history(books, snapshot)
    walks = [_Walk(books, client, group, entries) for (client, group), entries in record.clients.items()]
    for walk in walks:
        walk.run()
        violations += walk.violations
    # Only now the books hold all that anybody knows.
    violations += _read_answers(books, record.publications)
    for walk in walks:
        violations += _unjustified(books, record.faults, walk)
        violations += _unfinished(record.markers, walk)
    final = {snapshot.group: snapshot for snapshot in record.snapshots}
    violations += _lost(record, final)
    violations += _out_of_turn(record.publications, final)
    return violations


def _read_history(books: Books, snapshot: Snapshot) -> Iterator[Violation]:
    where: dict[str, int] = {}
    for offset, payload in enumerate(snapshot.payloads, 1):
        name = name_of(payload)
        if name in where:
            yield Violation(
                "published once", f"{name} stands at {where[name]} and {offset} of {snapshot.group}"
            )
        where[name] = offset
        who = f"the history read at {snapshot.at:.3f}"
        conflict = books.enter(snapshot.group, Position(snapshot.epoch, offset), payload, who)
        if conflict:
            yield Violation("one order", conflict)


def _read_answers(books: Books, publications: Sequence[Publication]) -> Iterator[Violation]:
    told: dict[tuple[str, Position], str] = {}
    for group, name, _, answered, position in publications:
        if position is None:
            continue
        there = books.at(group, position)
        stands = told.setdefault((group, position), name) if there is None else name_of(there)
        if stands != name:
            said = f"the publisher of {name} was told {position} of {group} at {answered:.3f}"
            yield Violation("one order", f"{said}, where {stands} stands")


@dataclass(frozen=True, slots=True)
class _Stepped:
    """A `recovered: false`: from where, since when the client stood there, and which entry says it."""

    before: Position
    since: float
    after: Position
    index: int


class _Walk:
    """One client's way through one group."""

    def __init__(self, books: Books, client: str, group: str, entries: list[Entry]) -> None:
        self.client = client
        self.group = group
        self.entries = entries
        self.violations: list[Violation] = []
        self.steps: list[_Stepped] = []
        self.position: Position | None = None
        self._books = books
        self._since = 0.0
        self._in = False
        self._stretch: list[tuple[int, str]] = []
        self._seen: set[str] = set()

    def run(self) -> None:
        """Follow the record."""
        for index, entry in enumerate(self.entries):
            match entry:
                case Joined():
                    self._join(index, entry)
                    self._in = True
                case Notice(at, position):
                    if not self._in:
                        self.complain(index, "members only", "a notice came outside of a membership")
                    self._step(index, at, position)
                case Got():
                    self._get(index, entry)
                case Left():
                    self._in = False

    def complain(self, index: int, rule: str, sentence: str) -> None:
        """Take note of a violation, with the entries around it."""
        self.violations.append(
            Violation(rule, f"{self.client} in {self.group}: {sentence}", excerpt(self.entries, index))
        )

    def _join(self, index: int, entry: Joined) -> None:
        if self._in:
            self.complain(index, "one membership", "an answer to a join came within a membership")
        if entry.asked is None:
            if entry.recovered is not None:
                self.complain(index, "answer", "`recovered` was answered, and nobody had asked")
            if self.position is not None:
                self.complain(index, "the checker", "a client that had a position did not ask for it")
            self._begin(entry.at, entry.position)
        elif entry.asked != self.position:
            self.complain(index, "the checker", f"it asked for {entry.asked} and stood at {self.position}")
        elif entry.recovered:
            if entry.position.offset != entry.asked.offset:
                self.complain(
                    index, "no gap", f"recovered from {entry.asked}, but what follows is of {entry.position}"
                )
            self._go_to(index, entry.at, entry.position)
        elif entry.recovered is None:
            self.complain(index, "answer", "`recovered` was asked for and not answered")
            self._begin(entry.at, entry.position)
        else:
            self._step(index, entry.at, entry.position)

    def _step(self, index: int, at: float, position: Position) -> None:
        if self.position is not None:
            self.steps.append(_Stepped(self.position, self._since, position, index))
        self._begin(at, position)

    def _begin(self, at: float, position: Position) -> None:
        self.position, self._since = position, at
        self._stretch = []
        self._seen = set()

    def _get(self, index: int, entry: Got) -> None:
        if self.position is None or not self._in:
            self.complain(index, "members only", "a message came outside of a membership")
            return
        expected = self.position.offset + 1
        if entry.offset > expected:
            self.complain(index, "no gap", f"after {self.position} came {entry.offset}")
        elif entry.offset < expected:
            what = "again" if name_of(entry.payload) in self._seen else "a message of before"
            self.complain(index, "in order, once", f"after {self.position} came {entry.offset}, {what}")
        elif name_of(entry.payload) in self._seen:
            self.complain(index, "in order, once", f"{entry.payload!r} came under two offsets")
        self._stretch.append((entry.offset, entry.payload))
        self._seen.add(name_of(entry.payload))
        # In the walk of a broken record each break is told once.
        epoch = entry.epoch or self.position.epoch
        if epoch == self.position.epoch:
            self._enter(index, Position(epoch, entry.offset), entry.payload)
        self._go_to(index, entry.at, Position(epoch, entry.offset))

    def _go_to(self, index: int, at: float, position: Position) -> None:
        """Go on without a notice; all that the client has stands in this epoch too."""
        if self.position is not None and position.epoch != self.position.epoch:
            for offset, payload in self._stretch:
                if not self._enter(index, Position(position.epoch, offset), payload):
                    break
        self.position, self._since = position, at

    def _enter(self, index: int, position: Position, payload: str) -> bool:
        conflict = self._books.enter(
            self.group, position, payload, f"{self.client} at {self.entries[index].at:.3f}"
        )
        if conflict:
            self.complain(index, "one order", conflict)
        return conflict is None


def _unjustified(books: Books, faults: Sequence[Fault], walk: _Walk) -> Iterator[Violation]:
    """Notices where nothing was lost."""
    for step in walk.steps:
        at = walk.entries[step.index].at
        blamed = [
            fault
            for fault in faults
            if fault.loses and fault.began <= at and step.since <= fault.healed + LATE
        ]
        told = f"{walk.client} in {walk.group}: from {step.before} to {step.after} with `recovered: false`"
        shown = excerpt(walk.entries, step.index)
        if not blamed:
            yield Violation("no needless notice", f"{told}, and no server had lost anything", shown)
            continue
        there = books.at(walk.group, step.before)
        if (
            there is not None
            and books.at(walk.group, Position(step.after.epoch, step.before.offset)) == there
        ):
            yield Violation("no needless notice", f"{told}, though {there!r} is still in its place", shown)


def _unfinished(markers: dict[str, Position], walk: _Walk) -> Iterator[Violation]:
    """Clients that did not get to the last publication."""
    marker = markers.get(walk.group)
    if marker is None:
        return
    end = walk.position
    if end is None or end.epoch != marker.epoch or end.offset < marker.offset:
        yield Violation(
            "arrives at last",
            f"{walk.client} in {walk.group} came as far as {end}, and the last publication is {marker}",
            excerpt(walk.entries, len(walk.entries) - 1),
        )


def _lost(record: Record, final: dict[str, Snapshot]) -> Iterator[Violation]:
    """Acknowledged publications that are not in the history, though no fault may have taken them."""
    for publication in record.publications:
        snapshot, position = final.get(publication.group), publication.position
        if position is None or snapshot is None or publication.answered > snapshot.at:
            continue
        if _stands(snapshot, position.offset, publication.name):
            continue
        if any(_may_take(fault, publication) for fault in record.faults):
            continue
        yield Violation(
            "acknowledged is kept",
            f"{publication.name} was acknowledged at {publication.answered:.3f} as {position} of "
            f"{publication.group}; the history of {snapshot.epoch}, at {snapshot.at:.3f}, has it not there",
            tuple(f"{fault}" for fault in record.faults if fault.healed >= publication.sent)[:3],
        )


def _stands(snapshot: Snapshot, offset: int, name: str) -> bool:
    payloads = snapshot.payloads
    return offset <= len(payloads) and name_of(payloads[offset - 1]) == name


def _may_take(fault: Fault, publication: Publication) -> bool:
    if publication.sent > fault.healed:
        return False
    if fault.loses is Loss.TAIL:
        return publication.answered >= fault.began - UNSAFE
    return fault.loses is Loss.ALL


def _out_of_turn(publications: Sequence[Publication], final: dict[str, Snapshot]) -> Iterator[Violation]:
    """Publications that stand before one that was acknowledged before they were sent."""
    by_group: dict[str, list[tuple[float, float, int, str]]] = defaultdict(list)
    for publication in publications:
        snapshot, position = final.get(publication.group), publication.position
        if snapshot is None or position is None:
            continue
        if _stands(snapshot, position.offset, publication.name):
            by_group[publication.group].append(
                (publication.sent, publication.answered, position.offset, publication.name)
            )
    for group, kept in by_group.items():
        answered = sorted(kept, key=lambda one: one[1])
        highest, which, done = 0, "", 0
        for sent, _, offset, name in sorted(kept):
            while answered[done][1] < sent:
                if answered[done][2] > highest:
                    highest, which = answered[done][2], answered[done][3]
                done += 1
            if offset < highest:
                yield Violation(
                    "in the order of publishing",
                    f"in {group} {name} stands at {offset}, and {which} at {highest}, "
                    "which was acknowledged before the other was sent",
                )


def excerpt(entries: Sequence[Entry], index: int) -> tuple[str, ...]:
    """The entries around one, which is marked."""
    first = max(0, index - BEFORE)
    return tuple(
        f"{'>' if number == index else ' '} {_show(entry)}"
        for number, entry in enumerate(entries[first : index + AFTER + 1], first)
    )


def _show(entry: Entry) -> str:
    at = f"{entry.at:9.3f}"
    match entry:
        case Joined(_, position, recovered, asked):
            return f"{at} joined at {position}, recovered {recovered}, asked for {asked}"
        case Notice(_, position):
            return f"{at} told: lost, goes on at {position}"
        case Got(_, offset, payload, epoch):
            return f"{at} got {offset} {payload!r}" + (f" of {epoch}" if epoch else "")
        case Left(_, how):
            return f"{at} {how}"
