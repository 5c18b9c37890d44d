"""MessagePack says what JSON says: the vectors of both, and whatever values anybody makes up."""

import json
import re
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Raw

from hubbub.core.messages import BadCommand, HistoryReply, Position, Publication, Publish
from hubbub.core.session import failure
from hubbub.protocols.base import choose
from hubbub.protocols.native import NativeJson, NativeMsgpack

from .helpers import Vector, command_as_written, message, name_of, named, vectors

JSON, CODEC = NativeJson(), NativeMsgpack()
FILE = "msgpack.json"
COMMANDS = vectors("decode.json")
MESSAGES = vectors("encode.json")
LARGEST, SMALLEST = 2**64 - 1, -(2**63)

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(SMALLEST, LARGEST)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)
quickly = settings(derandomize=True, deadline=None, max_examples=200)


def publication(data: bytes) -> Publication:
    """A message in the group `g`."""
    return Publication(channel="g", data=Raw(data), timestamp="2026-03-01T12:00:00.250000+00:00")


def as_values(command: dict[str, Any]) -> dict[str, Any]:
    """A command whose data is what its JSON text says."""
    return command | ({"data": json.loads(command["data"])} if "data" in command else {})


@pytest.mark.parametrize("vector", vectors(FILE, "decode"), ids=name_of)
def test_a_client_message_is_the_command_that_it_is_in_json(vector: Vector) -> None:
    """With every field, and what is published as JSON."""
    [command] = CODEC.decode(bytes.fromhex(vector["hex"]))

    expected = named(vector["name"], COMMANDS)["command"]
    assert as_values(command_as_written(command)) == as_values(expected)


@pytest.mark.parametrize("vector", vectors(FILE, "faults"), ids=name_of)
def test_what_is_no_command_is_answered_with_an_error(vector: Vector) -> None:
    """With its code, its sentence and its id, where one was found."""
    with pytest.raises(BadCommand) as caught:
        CODEC.decode(bytes.fromhex(vector["hex"]))

    answer, expected = failure(caught.value), vector["error"]
    assert (answer.error.code, answer.id) == (expected["code"], expected["id"])
    assert re.fullmatch(re.escape(expected["message"]).replace("…", ".+"), answer.message)


@pytest.mark.parametrize("vector", vectors(FILE, "encode"), ids=name_of)
def test_a_server_message_says_what_it_says_in_json(vector: Vector) -> None:
    """To the bytes of the vector, and with the fields in the same order."""
    written = named(vector["name"], MESSAGES)
    encoded = CODEC.encode(message(written["message"]))

    assert encoded.hex() == vector["hex"]
    assert list(msgspec.msgpack.decode(encoded).items()) == list(json.loads(written["text"]).items())


def test_every_message_has_its_vector() -> None:
    """All of what a server sends; of what clients send, what MessagePack can hold."""
    assert {v["name"] for v in vectors(FILE, "encode")} == {v["name"] for v in MESSAGES}
    said = {named(v["name"], COMMANDS)["command"]["type"] for v in vectors(FILE, "decode")}
    assert said == {v["command"]["type"] for v in COMMANDS if "command" in v}


@pytest.mark.parametrize("vector", vectors(FILE, "numbers"), ids=name_of)
def test_numbers_that_it_has_not_become_doubles(vector: Vector) -> None:
    """Nobody is kept from a message because somebody can write numbers that long."""
    assert CODEC.encode(publication(vector["data"].encode())).hex() == vector["hex"]


@quickly
@given(json_values)
def test_what_is_published_comes_out_as_it_went_in(value: Any) -> None:
    """From a client of one format to clients of both."""
    command = {"type": "publish", "group_name": "g", "data": value}
    [packed] = CODEC.decode(msgspec.msgpack.encode(command))
    [written] = JSON.decode(json.dumps(command).encode())
    assert isinstance(packed, Publish)
    assert isinstance(written, Publish)
    for data in (packed.data, written.data):
        assert msgspec.msgpack.decode(CODEC.encode(publication(bytes(data))))["data"] == value
        assert json.loads(JSON.encode(publication(bytes(data))))["data"] == value


def test_a_number_of_many_digits_is_no_obstacle() -> None:
    """Neither alone nor in the middle of a history."""
    kept = [publication(data) for data in (b"1" * 10_000, b'{"n":[1,-1e999]}', b'"fine"')]
    reply = msgspec.msgpack.decode(CODEC.encode(HistoryReply(1, "g", kept, Position("e", 3))))

    assert [m["data"] for m in reply["messages"]] == [float("inf"), {"n": [1, float("-inf")]}, "fine"]
    assert (reply["id"], reply["epoch"], reply["offset"]) == (1, "e", 3)


def test_what_is_nested_past_reading_is_sent_as_json() -> None:
    """Beside the other messages of the same answer, which are as ever."""
    deep = b"[" * 3000 + b"]" * 3000
    kept = [publication(b"1"), publication(deep), publication(b"2")]
    reply = msgspec.msgpack.decode(CODEC.encode(HistoryReply(1, "g", kept, Position("e", 3))))

    assert [m["data"] for m in reply["messages"]] == [1, deep.decode(), 2]


def test_it_is_spoken_where_it_is_asked_for() -> None:
    """The first offer that is known counts; who offers nothing speaks JSON."""
    assert choose(["x", CODEC.name, JSON.name])[1] == CODEC.name
    assert choose([JSON.name, CODEC.name])[1] == JSON.name
    assert choose([])[0].name == JSON.name
