"""The fan-out: publications go to every member of a channel, in slices, encoded once per format.

Theory of operation. A channel with something to send is a *job*. `Fanout.tick` is one turn of the event loop:
it gives every active job in turn a slice of its members, up to a budget, and returns. When a job begins, it
takes *all* publications that have gathered for its channel and joins their frames once; so a burst, or a loop
that lags, batches by itself, and at low load nothing waits. A slice is short enough (64 writes are about
1 ms) that a small channel is served while a large one is under way, and no turn holds up reading for long.

What a member gets is fixed by when it joined. A job runs over a snapshot of the members, so whoever joins
while it runs is not in it; publications that still wait were published before the newcomer joined, and
`Audience.late` remembers how many of them are not for it; who leaves while a job runs is skipped by it, even
after joining again.

Under uvloop a loop over 5,000 members with one `transport.write` each costs 1.0-1.1 times the same loop of
`send()` in C; see benchmarks/README.md.
"""

from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, NamedTuple, Protocol, TypeVar

from hubbub.core.channels import SlowPolicy
from hubbub.core.messages import Kind, Publication

SLICE = 64
"""Members that one job serves before the next job has its turn."""
BUDGET = 128
"""Members that all jobs together serve in one turn of the event loop."""
BATCH_BYTES = 256 * 1024
"""Publications of one channel that are joined into one write, in bytes of data."""


class Format(Protocol):
    """How a publication becomes bytes: one protocol in one kind of frame. Equal formats are one object."""

    def frame(self, message: Publication, /) -> bytes:
        """The bytes of one message, ready to be written and to be joined with others."""


class Encoded:
    """Publications and their frames in one format."""

    __slots__ = ("frames", "joined", "publications")

    def __init__(self, publications: Sequence[Publication], frames: Sequence[bytes]) -> None:
        self.publications = publications
        self.frames = frames
        self.joined = frames[0] if len(frames) == 1 else b"".join(frames)


class Member(Protocol):
    """What the fan-out needs of a connection."""

    @property
    def format(self) -> Format: ...

    @property
    def slow(self) -> bool:
        """Whether the transport reports back-pressure."""

    @property
    def write(self) -> Callable[[bytes], None]:
        """Put frames on the wire; only called while not slow."""

    def write_later(self, item: Encoded, policy: SlowPolicy, /) -> None:
        """Queue the frames of a slow connection under the channel's policy."""


M = TypeVar("M", bound=Member)


class Finished(NamedTuple):
    """What one job did, for whoever counts.

    `failures` are what the formats raised for publications that could not be encoded; those went to nobody.
    """

    publications: Sequence[Publication]
    members: int
    bytes: int
    started: float
    failures: Sequence[Exception] = ()


class _Job(Generic[M]):
    """One batch of a channel on its way to a snapshot of the members."""

    __slots__ = (
        "bytes",
        "cursor",
        "encoded",
        "failures",
        "members",
        "publications",
        "served",
        "skips",
        "started",
    )

    def __init__(
        self, publications: list[Publication], members: list[M], skips: dict[M, int], started: float
    ) -> None:
        self.publications = publications
        self.members = members
        self.skips = skips  # how many of the first publications are not for whom
        self.started = started
        self.cursor = 0
        self.served = 0
        self.bytes = 0
        self.failures: list[Exception] = []
        self.encoded: dict[Format, Encoded] = {}

    def encode(self, format: Format) -> Encoded:
        """The batch in one format, encoded at its first use."""
        item = self.encoded.get(format)
        if item is None:
            item = Encoded(self.publications, [self._frame(format, p) for p in self.publications])
            self.encoded[format] = item
        return item

    def _frame(self, format: Format, publication: Publication) -> bytes:
        try:
            return format.frame(publication)
        except Exception as exc:  # noqa: BLE001  one bad publication must not stop the fan-out of all others
            self.failures.append(exc)
            return b""


class Audience(Generic[M]):
    """The members of one channel on this node, and what is on its way to them."""

    __slots__ = (
        "_epoch",
        "_floors",
        "_job",
        "_late",
        "_pending",
        "_snapshot",
        "channel",
        "members",
        "policy",
        "top",
    )

    def __init__(self, channel: str, policy: SlowPolicy = SlowPolicy.DISCONNECT) -> None:
        self.channel = channel
        self.policy = policy
        self.members: dict[M, None] = {}
        self._snapshot: list[M] | None = None
        self._pending: list[Publication] | None = None
        self._late: dict[M, int] | None = None
        self._floors: dict[M, int] | None = None
        self._epoch = ""
        self.top = 0
        """The highest offset that has come by since the last gap."""
        self._job: _Job[M] | None = None

    def join(self, member: M, after: int = 0, epoch: str = "") -> None:
        """Add a member: it gets what is published from now on. Idempotent.

        `after` is the offset up to which it knows the channel's history, in this epoch: what the broker is
        late with, it is not given again.
        """
        if member in self.members:
            return
        self._epoch = epoch or self._epoch
        if after > self.top:
            self._floors = self._floors or {}
            self._floors[member] = after
        self.members[member] = None
        self._snapshot = None
        if self._pending:
            self._late = self._late or {}
            self._late[member] = len(self._pending)

    def leave(self, member: M) -> None:
        """Take a member out: it gets nothing more, not even of a job that is under way."""
        if member not in self.members:
            return
        del self.members[member]
        self._snapshot = None
        if self._late:
            self._late.pop(member, None)
        if self._floors:
            self._floors.pop(member, None)
        if self._job is not None:
            self._job.skips[member] = len(self._job.publications)

    @property
    def active(self) -> bool:
        """Whether something is on its way to the members."""
        return self._job is not None or self._pending is not None

    def add(self, publication: Publication) -> None:
        """Let a publication wait for the channel's next job."""
        if self._pending is None:
            self._pending = []
        self._pending.append(publication)
        if publication.kind is Kind.GAP:
            self._begin_anew(publication)
        else:
            self._epoch = publication.epoch or self._epoch
            self.top = max(self.top, publication.offset)

    def _begin_anew(self, gap: Publication) -> None:
        """The members' offsets go on after the gap; in another epoch those of before mean nothing."""
        if gap.epoch != self._epoch:
            self._epoch = gap.epoch
            self._floors = None
        self.top = gap.offset

    def begin(self, now: float) -> _Job[M]:
        """The job under way, or a new one of all that waits (in portions of `BATCH_BYTES`)."""
        if self._job is not None:
            return self._job
        batch = self._pending or []
        self._pending = None
        size = 0
        for number, publication in enumerate(batch, 1):
            size += len(publication.data)
            if size >= BATCH_BYTES and number < len(batch):
                self._pending = batch[number:]
                batch = batch[:number]
                break
        skips, self._late = self._late or {}, None
        if self._pending is not None and skips:
            self._late = {m: skip - len(batch) for m, skip in skips.items() if skip > len(batch)}
        if self._floors:
            self._skip_known(batch, skips)
        if self._snapshot is None:
            self._snapshot = list(self.members)
        self._job = _Job(batch, self._snapshot, skips, now)
        return self._job

    def _skip_known(self, batch: list[Publication], skips: dict[M, int]) -> None:
        """Let members pass over what they were given from the history already."""
        assert self._floors is not None
        for member, floor in list(self._floors.items()):
            for number, publication in enumerate(batch):
                if number < skips.get(member, 0) or not publication.offset:
                    continue  # it is not for this member in any case, or no history keeps it
                if publication.offset > floor:
                    del self._floors[member]
                    break
                skips[member] = number + 1

    def end(self) -> None:
        """The job under way is done."""
        self._job = None


class Fanout(Generic[M]):
    """All jobs of this node. The driver calls `tick` while `active`, once per turn of its loop."""

    def __init__(self, slice_size: int = SLICE, budget: int = BUDGET) -> None:
        self._slice = slice_size
        self._budget = budget
        self._jobs: deque[Audience[M]] = deque()
        self.backlog = 0
        """Bytes of data that are accepted and not yet on their way to every member."""

    @property
    def active(self) -> bool:
        """Whether `tick` has something to do."""
        return bool(self._jobs)

    def publish(self, audience: Audience[M], publication: Publication) -> None:
        """Accept a publication for every present member."""
        if not audience.members:
            return
        if not audience.active:
            self._jobs.append(audience)
        audience.add(publication)
        self.backlog += len(publication.data)

    def tick(self, now: float) -> list[Finished]:
        """One turn: every active job serves a slice, until the budget is spent. Returns the jobs that ended.

        Within a turn a connection is written to once, however many of its channels had something to send.
        """
        finished: list[Finished] = []
        budget = self._budget
        gathered: dict[M, list[bytes]] | None = {} if len(self._jobs) > 1 else None
        for _ in range(len(self._jobs)):
            audience = self._jobs.popleft()
            job = audience.begin(now)
            stop = min(job.cursor + min(self._slice, budget), len(job.members))
            budget -= stop - job.cursor
            self._serve(job, stop, audience.policy, gathered)
            if job.cursor == len(job.members):
                audience.end()
                self.backlog -= sum(len(publication.data) for publication in job.publications)
                finished.append(Finished(job.publications, job.served, job.bytes, job.started, job.failures))
            if audience.active:
                self._jobs.append(audience)
            if budget <= 0:
                break
        for member, chunks in gathered.items() if gathered else ():
            member.write(chunks[0] if len(chunks) == 1 else b"".join(chunks))
        return finished

    def _serve(
        self, job: _Job[M], stop: int, policy: SlowPolicy, gathered: dict[M, list[bytes]] | None
    ) -> None:
        """Serve the job's members up to `stop`. Every line in the loop is paid per delivery."""
        part = job.members[job.cursor : stop]
        job.cursor = stop
        job.served += len(part)
        skips = job.skips
        format: Format | None = None
        for member in part:
            if member.format is not format:
                format = member.format
                item = job.encode(format)
                joined = item.joined
            if skips and member in skips:
                self._serve_partly(job, member, item, policy, gathered)
            elif not joined:
                continue  # nothing of it could be encoded
            elif member.slow:
                member.write_later(item, policy)
            elif gathered is None:
                member.write(joined)
            else:
                gathered.setdefault(member, []).append(joined)
        if len(job.encoded) == 1:
            job.bytes += len(joined) * len(part) if part else 0
        else:
            job.bytes += sum(len(job.encoded[member.format].joined) for member in part)

    def _serve_partly(
        self,
        job: _Job[M],
        member: M,
        item: Encoded,
        policy: SlowPolicy,
        gathered: dict[M, list[bytes]] | None,
    ) -> None:
        """Serve a member that joined or left meanwhile: the first publications are not for it."""
        skip = job.skips[member]
        rest = Encoded(item.publications[skip:], item.frames[skip:])
        job.bytes -= len(item.joined) - len(rest.joined)
        if not rest.joined:
            job.served -= 1
            return
        if member.slow:
            member.write_later(rest, policy)
        elif gathered is None:
            member.write(rest.joined)
        else:
            gathered.setdefault(member, []).append(rest.joined)
