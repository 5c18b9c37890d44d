"""What the tests of the core share: members, formats and publications that show what happened to them."""

from collections import Counter
from collections.abc import Callable

from hypothesis import settings
from msgspec import Raw, structs

from hubbub.core.channels import SlowPolicy
from hubbub.core.fanout import Audience, Encoded, Fanout, Finished
from hubbub.core.messages import Kind, Publication

NOW = 1_000.0
"""A moment, where any would do."""

steady = settings(derandomize=True, deadline=None, max_examples=100)
"""The same examples in every run, and no fewer on a slow machine."""


def a_publication(data: object = 1, *, channel: str = "news", offset: int = 0, key: str = "") -> Publication:
    """A publication whose data is this piece of JSON."""
    return Publication(
        channel=channel,
        data=Raw(f"{data}".encode()),
        timestamp="2030-01-01T00:00:00Z",
        offset=offset,
        key=key,
    )


def a_gap(offset: int, epoch: str = "epoch") -> Publication:
    """The word that something is lost, and that the channel goes on after this offset."""
    gap = a_publication(f"gap@{offset}", offset=offset)
    return structs.replace(gap, kind=Kind.GAP, epoch=epoch)


def at_offsets(*offsets: int) -> list[Publication]:
    """Publications of one history, at these offsets; data and offset are the same number."""
    return [a_publication(offset, offset=offset) for offset in offsets]


def offsets_of(publications: list[Publication] | None) -> list[int] | None:
    """Where these publications stand in their history."""
    return None if publications is None else [publication.offset for publication in publications]


def data_of(publication: Publication) -> str:
    """The JSON text of a publication's data."""
    return bytes(publication.data).decode()


class ReadableFormat:
    """A wire format that a test can read back, and that counts how often it frames which data."""

    def __init__(self, name: str = "text") -> None:
        self.name = name
        self.framed: Counter[str] = Counter()

    def frame(self, message: Publication, /) -> bytes:
        self.framed[data_of(message)] += 1
        return f"{self.name} {message.channel} {data_of(message)}\n".encode()


class FakeMember:
    """A connection that remembers what is written to it, and what has to wait while it is slow."""

    def __init__(
        self, format: ReadableFormat, *, slow: bool = False, on_write: Callable[[], None] | None = None
    ) -> None:
        self.format = format
        self.slow = slow
        self.on_write = on_write
        self.writes: list[bytes] = []
        self.queued: list[tuple[Encoded, SlowPolicy]] = []
        self._frames: list[bytes] = []

    def write(self, data: bytes) -> None:
        assert not self.slow, "a slow connection is not written to"
        assert data, "nothing is no frame"
        self.writes.append(data)
        self._frames += data.splitlines()
        if self.on_write is not None:
            self.on_write()

    def write_later(self, item: Encoded, policy: SlowPolicy, /) -> None:
        assert self.slow, "a fast connection need not wait"
        assert len(item.frames) == len(item.publications) > 0
        assert item.joined == b"".join(item.frames)
        self.queued.append((item, policy))
        self._frames += item.joined.splitlines()
        if self.on_write is not None:
            self.on_write()

    @property
    def frames(self) -> list[tuple[str, str, str]]:
        """Everything that came, at once or to wait: format, channel and data."""
        return [tuple(frame.decode().split(" ", 2)) for frame in self._frames]  # type: ignore[misc]

    @property
    def received(self) -> list[str]:
        """The data of everything that came."""
        return [data for _, _, data in self.frames]

    @property
    def bytes_received(self) -> int:
        """How much of it there is on the wire."""
        return sum(len(frame) + 1 for frame in self._frames)


def an_audience(
    *members: FakeMember, channel: str = "news", policy: SlowPolicy = SlowPolicy.DISCONNECT
) -> Audience[FakeMember]:
    """The audience of a channel that these members have joined."""
    audience: Audience[FakeMember] = Audience(channel, policy)
    for member in members:
        audience.join(member)
    return audience


def drain(fanout: Fanout[FakeMember], *, now: float = NOW, turns: int = 10_000) -> list[Finished]:
    """Turn the loop until nothing is left to send."""
    finished: list[Finished] = []
    while fanout.active:
        assert turns, "the fan-out does not come to an end"
        turns -= 1
        finished += fanout.tick(now)
    return finished
