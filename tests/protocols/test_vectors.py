"""The byte vectors of spec/vectors, both ways; and that there is one for everything the codec can say."""

import json
import re
import zlib
from typing import get_args

import pytest

from hubbub.core.messages import AreYouThere, BadCommand, Command, Connect, Message
from hubbub.core.session import failure
from hubbub.protocols.native import NativeJson
from hubbub.transports.frames import (
    BINARY,
    COMPRESS_FROM,
    PING,
    TEXT,
    WebSocketFormat,
    data_frame,
    split,
    websocket_format,
)

from .helpers import (
    StructType,
    Vector,
    client_messages,
    command_as_written,
    fields_of,
    message,
    name_of,
    server_messages,
    text_of,
    vectors,
)

CODEC = NativeJson()
DECODE = vectors("decode.json")
COMMANDS = [vector for vector in DECODE if "command" in vector]
FAULTS = [vector for vector in DECODE if "error" in vector]
ENCODE = vectors("encode.json")
FRAMES = vectors("frames.json", "frames")
COMPRESSED = vectors("frames.json", "compressed")

OPCODES = {"text": TEXT, "binary": BINARY}


def test_every_vector_has_a_name_of_its_own() -> None:
    """A failure names one vector."""
    for table in (DECODE, ENCODE, FRAMES + COMPRESSED):
        names = [name_of(vector) for vector in table]
        assert len(set(names)) == len(names)
    assert len(COMMANDS) + len(FAULTS) == len(DECODE)


# What clients send.


@pytest.mark.parametrize("vector", COMMANDS, ids=name_of)
def test_a_client_message_is_decoded(vector: Vector) -> None:
    """To its command, every field as the vector says, JSON byte for byte."""
    [command] = CODEC.decode(text_of(vector["text"]).encode())

    expected = vector["command"] | {"id": text_of(vector["command"]["id"])}
    assert command_as_written(command) == expected
    assert type(command.id) is type(expected["id"])


@pytest.mark.parametrize("vector", FAULTS, ids=name_of)
def test_what_is_no_command_is_answered_with_an_error(vector: Vector) -> None:
    """With its code, its sentence and its id, where one was found; `…` is the JSON library's own reason."""
    with pytest.raises(BadCommand) as caught:
        CODEC.decode(text_of(vector["text"]).encode())

    answer = failure(caught.value)
    expected = vector["error"]
    sentence = re.escape(text_of(expected["message"])).replace("…", ".+")
    assert answer.error.code == expected["code"]
    assert re.fullmatch(sentence, answer.message)
    assert answer.id == expected["id"]
    assert type(answer.id) is type(expected["id"])


# What a server sends.


@pytest.mark.parametrize("vector", ENCODE, ids=name_of)
def test_a_server_message_is_encoded(vector: Vector) -> None:
    """To the very bytes of the vector."""
    assert CODEC.encode(message(vector["message"])).decode() == vector["text"]


@pytest.mark.parametrize("vector", ENCODE, ids=name_of)
def test_a_server_message_is_one_json_object(vector: Vector) -> None:
    """Any JSON reader takes it, and finds no field twice."""

    def once(pairs: list[tuple[str, object]]) -> dict[str, object]:
        assert len({name for name, _ in pairs}) == len(pairs)
        return dict(pairs)

    assert json.loads(vector["text"], object_pairs_hook=once)["type"] in server_messages()


# Frames.


class OnePayload:
    """A wire format in which every message is the payload of one vector."""

    name = "one payload"

    def __init__(self, vector: Vector) -> None:
        self.payload = text_of(vector["payload"]).encode()
        self.binary = vector["opcode"] == "binary"

    def decode(self, payload: bytes) -> tuple[Command, ...]:
        return ()

    def encode(self, message: Message) -> bytes:
        return self.payload


def framed(vector: Vector) -> bytes:
    """The payload of a vector, as a connection with the vector's compression is sent it."""
    return WebSocketFormat(OnePayload(vector), vector.get("window_bits", 0)).frame(AreYouThere(""))


@pytest.mark.parametrize("vector", [v for v in FRAMES if v["opcode"] in OPCODES], ids=name_of)
def test_a_payload_becomes_a_frame(vector: Vector) -> None:
    """The header of the vector, then the payload; and the payload is found in it again."""
    payload = text_of(vector["payload"]).encode()
    expected = bytes.fromhex(vector["header"]) + payload

    assert framed(vector) == data_frame(OPCODES[vector["opcode"]], payload) == expected
    assert list(split(expected + PING + expected)) == [payload, payload]


@pytest.mark.parametrize("vector", [v for v in FRAMES if v["opcode"] == "ping"], ids=name_of)
def test_a_ping_is_a_control_frame_without_payload(vector: Vector) -> None:
    """It goes out with the ping message and is no message of its own."""
    assert bytes.fromhex(vector["header"]) == PING == websocket_format(CODEC).probe
    assert list(split(PING)) == []


@pytest.mark.parametrize("vector", [v for v in COMPRESSED if v["deflated"]], ids=name_of)
def test_a_deflated_frame_inflates_to_its_payload(vector: Vector) -> None:
    """The vector's, and ours. Their bytes may differ: a deflated text is not the only one of its kind."""
    payload = text_of(vector["payload"]).encode()
    header, body = bytes.fromhex(vector["header"]), bytes.fromhex(vector["body"])

    frame = framed(vector)

    assert header == data_frame(header[0] & 0x7F, body)[: len(header)]
    assert frame[0] == header[0] == 0xC0 | OPCODES[vector["opcode"]]
    [ours] = split(frame)
    assert len(ours) < len(payload)
    assert inflate(body, vector["window_bits"]) == inflate(ours, vector["window_bits"]) == payload


@pytest.mark.parametrize("vector", [v for v in COMPRESSED if not v["deflated"]], ids=name_of)
def test_a_frame_stays_as_it_is_where_deflate_wins_nothing(vector: Vector) -> None:
    """Compression is negotiated for the connection and decided for each message."""
    payload = text_of(vector["payload"]).encode()

    assert framed(vector) == bytes.fromhex(vector["header"]) + payload


def test_the_vectors_stand_on_both_sides_of_where_deflate_begins() -> None:
    """One is a byte too short, one is long enough and will not shrink."""
    sizes = [len(text_of(v["payload"]).encode()) for v in COMPRESSED if not v["deflated"]]

    assert min(sizes) == COMPRESS_FROM - 1
    assert max(sizes) >= COMPRESS_FROM


def inflate(body: bytes, window_bits: int) -> bytes:
    """RFC 7692 §7.2.2: with the tail that was taken off, and with no larger window than agreed on."""
    assert not body.endswith(b"\x00\x00\xff\xff")
    decompressor = zlib.decompressobj(wbits=-window_bits)
    rest, payload = body + b"\x00\x00\xff\xff", b""
    while rest:
        # A little at a time: whoever has all of the payload at hand can look back further than the window.
        payload += decompressor.decompress(rest, 64)
        rest = decompressor.unconsumed_tail
    assert not decompressor.unused_data
    return payload


# That nothing is forgotten.


def is_seen(field: str, absent: bool, examples: list[dict[str, object]]) -> bool:
    """Whether one of these messages has the field; and, where it can be absent, another has not."""
    present = {field in example for example in examples}
    return present == {True, False} if absent else present == {True}


@pytest.mark.parametrize(("type_", "cls"), client_messages().items(), ids=client_messages())
def test_every_client_message_has_its_vectors(type_: str, cls: StructType) -> None:
    """With each of its fields; with and without those that can be absent; and one that is refused, unless
    nothing in it can be wrong."""
    examples = [json.loads(v["text"]) for v in COMMANDS if isinstance(v["text"], str)]
    examples = [example for example in examples if example["type"] == type_]
    refused = [v for v in FAULTS if text_of(v["error"]["message"]).startswith(f"{type_}: ")]

    for field, absent in fields_of(cls).items():
        assert is_seen(field, absent, examples), field
    assert refused or set(fields_of(cls)) == {"id"}


@pytest.mark.parametrize(("type_", "cls"), server_messages().items(), ids=server_messages())
def test_every_server_message_has_its_vectors(type_: str, cls: StructType) -> None:
    """With each of its fields; with and without those that can be absent."""
    examples = [json.loads(v["text"]) for v in ENCODE]
    examples = [example for example in examples if example["type"] == type_]

    for field, absent in fields_of(cls).items():
        assert is_seen(field, absent, examples), field


@pytest.mark.parametrize(
    "cls", [cls for cls in get_args(Command) if cls is not Connect], ids=lambda cls: cls.__name__
)
def test_every_command_of_the_core_has_a_vector(cls: type[Command]) -> None:
    """But `Connect`, which is the handshake's."""
    assert cls.__name__ in {vector["command"]["type"] for vector in COMMANDS}


@pytest.mark.parametrize("cls", get_args(Message), ids=lambda cls: cls.__name__)
def test_every_message_of_the_core_has_a_vector(cls: type[Message]) -> None:
    """Replies and pushes."""
    assert cls.__name__ in {vector["message"]["type"] for vector in ENCODE}
