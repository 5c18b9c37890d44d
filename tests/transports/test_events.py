"""The text of events, and their ids: nothing that is published ends one, and every position is told again."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Raw

from hubbub.core import codes
from hubbub.core.messages import (
    AreYouThere,
    Connected,
    Failed,
    Kind,
    Position,
    Publication,
    Removed,
    Subscribed,
)
from hubbub.protocols.native import NativeJson
from hubbub.transports.events import PING, Bookmark, Event, EventFormat, read_id

FORMAT = EventFormat(NativeJson())
quickly = settings(derandomize=True, deadline=None, max_examples=200)
names = st.text(min_size=1, max_size=20)
positions = st.dictionaries(
    names, st.builds(Position, st.text(max_size=12), st.integers(0, 2**64 - 1)), min_size=1, max_size=5
)


def publication(data: str = "1", channel: str = "g", **fields: object) -> Publication:
    return Publication(channel=channel, data=Raw(data.encode()), timestamp="t", **fields)  # type: ignore[arg-type]


def event(message: object) -> Event:
    """The one event of a message."""
    [made] = FORMAT.events(FORMAT.frame(message))  # type: ignore[arg-type]
    return made


def bookmark(known: dict[str, Position]) -> Bookmark:
    marks = Bookmark()
    for name, at in known.items():
        marks.put(name, at.epoch, at.offset)
    return marks


def test_a_message_is_an_event_of_its_type() -> None:
    """With the JSON of the WebSocket as its data."""
    text = NativeJson().encode(publication()).decode()

    assert event(publication()).text.decode() == f"event: group_message\ndata: {text}\n\n"
    assert event(AreYouThere("now")).text == PING


@pytest.mark.parametrize("space", ["\n", "\r", "\r\n", "\n\n", "\r\r\n", "\n\r"])
def test_whitespace_in_json_ends_no_line(space: str) -> None:
    """Each line of it is a line of data, so nobody publishes events of his own making."""
    text = event(publication(f'{{{space}"id":{space}1{space}}}')).text.decode()
    lines = text.removesuffix("\n\n").replace("\r", "\n").split("\n")

    assert lines[0] == "event: group_message"
    assert all(line.startswith("data: ") for line in lines[1:])
    assert json.loads("\n".join(line.removeprefix("data: ") for line in lines[1:]))["data"] == {"id": 1}


def test_frames_that_were_joined_are_told_apart() -> None:
    """As the fan-out and an outbox join them; the same bytes again are the same events."""
    messages = [publication(str(n), offset=n) for n in range(1, 5)]
    joined = b"".join(FORMAT.frame(message) for message in messages)

    assert FORMAT.events(joined) == [event(message) for message in messages]
    again = bytes(bytearray(joined))
    assert FORMAT.events(joined) == FORMAT.events(again) == FORMAT.events(joined)


@quickly
@given(positions)
def test_an_id_tells_every_position(known: dict[str, Position]) -> None:
    """And none of a name that is not in it; it is text that needs no escape anywhere."""
    id = bookmark(known).id.decode()

    assert read_id(id, [*known, "another"]) == known
    assert id.isascii()
    assert id.replace("-", "").replace("_", "").isalnum()


@quickly
@given(st.text(max_size=60) | st.binary(max_size=40).map(lambda b: "AQ" + b.hex()))
def test_what_is_no_id_is_told(id: str) -> None:
    """By `ValueError` and nothing else, unless it can be read after all."""
    try:
        found = read_id(id, ["g"])
    except ValueError:
        return
    assert set(found) <= {"g"}


@quickly
@given(positions, st.data())
def test_an_id_that_was_cut_short_is_told_or_has_fewer(
    known: dict[str, Position], data: st.DataObject
) -> None:
    """It never has other positions."""
    id = bookmark(known).id.decode()
    cut = id[: data.draw(st.integers(0, len(id)))]
    try:
        found = read_id(cut, known)
    except ValueError:
        return
    assert found.items() <= known.items()


def test_an_id_follows_what_is_told() -> None:
    """The first of an epoch, those after it, a gap, and what is not followed any longer."""
    marks = Bookmark()
    seen = []
    for message in (
        Connected("c", "t", 1, positions={"$all": Position("a", 5)}),
        Subscribed(None, "g", Position("e", 7)),
        publication(offset=8),
        publication(channel="$all", offset=6),
        publication(channel="elsewhere", offset=3),
        publication(),
        publication(offset=9, epoch="f"),
        publication("null", kind=Kind.GAP, offset=2, epoch="h"),
        Removed("g", codes.REMOVED_BY_SERVER),
    ):
        marks.move(event(message).moves)
        at = read_id(marks.id.decode(), ["g", "$all", "elsewhere"])
        seen.append(tuple(f"{p.epoch}{p.offset}" if (p := at.get(name)) else "" for name in ("$all", "g")))
        assert "elsewhere" not in at

    assert seen == [
        ("a5", ""),
        ("a5", "e7"),
        ("a5", "e8"),
        ("a6", "e8"),
        ("a6", "e8"),
        ("a6", "e8"),
        ("a6", "f9"),
        ("a6", "h2"),
        ("a6", ""),
    ]


def test_without_positions_there_is_no_id() -> None:
    """An `EventSource` then keeps the one it has."""
    marks = Bookmark()
    marks.move(event(Connected("c", "t", 1)).moves)
    marks.move(event(Subscribed(None, "g")).moves)

    assert marks.id == b""


def test_an_error_is_known_as_one() -> None:
    """For who has to answer with a status."""
    refusal = event(Failed(None, codes.PERMISSION_DENIED, "no", "g")).refusal

    assert refusal is not None
    assert (refusal.code, refusal.sentence, refusal.group, refusal.temporary) == (103, "no", "g", False)
    assert event(publication()).refusal is None
