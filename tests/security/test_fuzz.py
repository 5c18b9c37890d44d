"""Anything at all, wherever something is decoded: each is an answer, and an honest client is served next.

With FUZZ_EXAMPLES in the environment it looks so many times as long.
"""

import asyncio
import json
import logging
import os
import socket
import struct
import threading
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.exceptions import HTTPException

from hubbub.auth import NotAllowed
from hubbub.auth.apikeys import EVERYTHING
from hubbub.brokers.redis import wire
from hubbub.core.channels import BadName, check_client_id, check_group, check_name
from hubbub.core.grants import Grants, matches, owners
from hubbub.core.messages import BadCommand, Position
from hubbub.http import api
from hubbub.hub import Hub, Options
from hubbub.protocols.native import NativeJson, NativeMsgpack
from hubbub.transports.frames import data_frame, split
from hubbub.transports.handshake import Doors, client_address, connect_request, origin_allowed
from hubbub.transports.sse import hello, wanted

from ..hub.inprocess import a_hub, enter
from ..transports.clients import Client, client
from ..transports.serving import DEADLINE, Running, eventually
from .siege import HEAD_LINES, frames, served, unguarded

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "1"))


def examples(number: int) -> Any:
    """So many examples; more where somebody asked for more."""
    return settings(
        max_examples=number * EXAMPLES,
        deadline=None,
        derandomize=EXAMPLES == 1,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


def failure(call: Callable[[], object], *expected: type[Exception]) -> Exception | None:
    """What a call fails with, of what it may fail with; None where it does not."""
    try:
        call()
    except expected as exc:
        return exc
    return None


# --- what clients say --------------------------------------------------------------------------------------

TYPES = [
    "connect",
    "join_group",
    "leave_group",
    "chat_message",
    "publish",
    "presence",
    "presence_stats",
    "history",
    "rpc",
    "refresh",
    "ping",
    "pong",
]
FIELDS = [
    "id",
    "type",
    "group_name",
    "token",
    "recover",
    "groups",
    "data",
    "message",
    "since",
    "limit",
    "reverse",
    "method",
    "epoch",
    "offset",
]

anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(["g", "$all", "$client:x", "a" * 300, "\ud800", "\x00", *TYPES]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(FIELDS) | st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=10,
)
positions = st.fixed_dictionaries({}, optional={"epoch": anything, "offset": anything})
commands = st.builds(
    lambda type, fields: {"type": type, **fields},
    st.sampled_from(TYPES) | anything,
    st.dictionaries(st.sampled_from(FIELDS[:1] + FIELDS[2:]), anything | positions, max_size=5),
)


@st.composite
def mutated(draw: st.DrawFn, texts: st.SearchStrategy[bytes]) -> bytes:
    """A text in which some bytes were changed, put in or cut off."""
    text = bytearray(draw(texts))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(text)))
        match draw(st.sampled_from(["put", "drop", "cut", "repeat"])):
            case "put":
                text[at:at] = draw(st.binary(max_size=4))
            case "drop":
                del text[at : at + draw(st.integers(1, 8))]
            case "cut":
                del text[at:]
            case _:
                text += text[at:]
    return bytes(text)


json_texts = mutated((commands | anything).map(lambda value: json.dumps(value).encode()))
"""Nearly JSON, and nearly commands: with lone surrogates, NaN and all else that Python's own encoder says."""


@examples(400)
@given(json_texts | st.binary(max_size=200))
def test_a_message_is_a_command_or_a_bad_one(payload: bytes) -> None:
    """The native protocol: with a sentence, and an id that can be said again."""
    is_a_command_or_a_bad_one(NativeJson(), payload)


packed = mutated((commands | anything).filter(lambda v: fits(v)).map(msgspec.msgpack.encode))
"""Nearly MessagePack, with all that it has and JSON has not."""


def fits(value: Any) -> bool:
    """Whether MessagePack has a form for a value."""
    return failure(lambda: msgspec.msgpack.encode(value), OverflowError, UnicodeEncodeError) is None


@examples(400)
@given(packed | st.binary(max_size=200))
def test_a_packed_message_is_a_command_or_a_bad_one(payload: bytes) -> None:
    """The native protocol in MessagePack, in the same way."""
    is_a_command_or_a_bad_one(NativeMsgpack(), payload)


@examples(200)
@given(
    st.lists(
        st.sampled_from(["groups", "group", "last_event_id", "token"]) | st.text(max_size=5), max_size=4
    ),
    st.lists(st.text(max_size=20) | st.sampled_from(["$all", "a,b", ",", "%", "&", "#"]), max_size=4),
    st.text(st.characters(max_codepoint=255), max_size=40),
)
def test_a_request_for_a_stream_is_one_or_a_bad_name(names: list[str], values: list[str], id: str) -> None:
    """Whatever its query and its last id are: what cannot be read is as what cannot be recovered."""
    query = "&".join(f"{name}={value}" for name, value in zip(names, values, strict=False))
    if failure(lambda: wanted(query, {"last-event-id": id}, most=3), BadName) is not None:
        return
    asked = wanted(query, {"last-event-id": id}, most=3)
    said = hello(asked, ("own",))
    assert set(asked.groups) <= set(said.groups) <= {*asked.groups, "own"}
    assert not any(name.startswith("$") for name in said.groups)


def is_a_command_or_a_bad_one(codec: NativeJson | NativeMsgpack, payload: bytes) -> None:
    """Nothing else comes of decoding it."""
    bad = failure(lambda: codec.decode(payload), BadCommand)
    if bad is None:
        [command] = codec.decode(payload)
        assert command.id is None or isinstance(command.id, int | str)
    else:
        assert isinstance(bad, BadCommand)
        assert bad.message
        assert bad.id is None or isinstance(bad.id, int | str)


@examples(60)
@given(st.lists(commands, min_size=1, max_size=12))
def test_any_commands_are_answered(said: list[Any]) -> None:
    """A session and its hub: whatever is legal JSON gets answers, and the connection stays or is closed."""

    async def scenario() -> None:
        hub = a_hub(history_size=5)
        async with hub.lifespan():
            one, honest = await enter(hub, "fuzzer"), await enter(hub, "honest")
            for command in said:
                if one.closed is None:
                    try:
                        payload = json.dumps(command).encode()
                    except (TypeError, UnicodeEncodeError):
                        continue
                    one.connection.receive(payload)
            await honest.join("somewhere")
            assert (await honest.ask("publish", group_name="somewhere", data=1))["type"] == "published"
            assert all(isinstance(message["type"], str) for message in one.messages)

    bounded(scenario())


def bounded(scenario: Any) -> Any:
    """Run a scenario in which nothing may fail unseen."""

    async def watched() -> Any:
        unseen: list[Any] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: unseen.append(context))
        async with asyncio.timeout(DEADLINE):
            result = await scenario
        assert not unseen, unseen
        return result

    with no_errors():
        return asyncio.run(watched())


class no_errors(logging.Handler):  # noqa: N801 - it reads as a sentence
    """Within it, nothing is logged as an error."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.records: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(self.format(record))

    def __enter__(self) -> "no_errors":
        for name in ("hubbub", "uvicorn.error", "asyncio"):
            logging.getLogger(name).addHandler(self)
        return self

    def __exit__(self, *exc: object) -> None:
        for name in ("hubbub", "uvicorn.error", "asyncio"):
            logging.getLogger(name).removeHandler(self)
        assert not self.records, self.records


# --- what the application says -----------------------------------------------------------------------------


@examples(100)
@given(
    st.sampled_from(sorted(api.METHODS)),
    mutated(
        st.dictionaries(
            st.sampled_from(
                [
                    "channel",
                    "channels",
                    "data",
                    "b64data",
                    "tags",
                    "key",
                    "idempotency_key",
                    "user",
                    "client",
                    "session",
                    "limit",
                    "since",
                    "reverse",
                    "pattern",
                    "commands",
                    "parallel",
                    "disconnect",
                    "whitelist",
                    "token_id",
                    "issued_before",
                    "skip_history",
                    "version",
                ]
            ),
            anything | positions | st.lists(st.dictionaries(st.sampled_from(sorted(api.METHODS)), anything)),
            max_size=5,
        ).map(lambda value: json.dumps(value).encode())
    ),
)
def test_any_body_of_the_api_is_answered(method: str, body: bytes) -> None:
    """With a result, an error in the body, or a status that says what is wrong with it."""

    async def scenario() -> None:
        hub = a_hub(history_size=5)
        async with hub.lifespan():
            status = 200
            try:
                msgspec.json.encode(await api.call(hub, method, body, EVERYTHING))
            except HTTPException as exc:
                status = exc.status_code
            except NotAllowed:
                status = 403
            assert status < 500

    try:
        body.decode()
    except UnicodeDecodeError:
        return  # such a one is refused before
    bounded(scenario())


# --- names, addresses, handshakes --------------------------------------------------------------------------

names = st.text(max_size=300) | st.text(st.sampled_from("$:#*,/ab\u200b\uff04\x00\ud800 "), max_size=12)


@examples(200)
@given(names, names)
def test_any_name_is_legal_or_not(name: str, other: str) -> None:
    """And what is legal can be said on every wire."""
    for check in (lambda: check_name(name, "x"), lambda: check_group(name), lambda: check_client_id(name)):
        bad = failure(check, BadName)
        assert str(bad) if bad else 0 < len(name.encode()) <= 255
    owners(name)
    assert not matches("*", f"{name}:{other}")
    assert not matches("a:*", f"a:{name}#{other}")
    if matches(name, other) and "*" not in name:
        assert name == other
    failure(lambda: Grants.of({name: [other]}), ValueError)


@examples(200)
@given(
    st.lists(
        st.text(max_size=40)
        | st.ip_addresses().map(str)
        | st.text(st.sampled_from("0123456789.:,[]% \tabcdef"), max_size=40),
        max_size=4,
    ),
    st.sampled_from([("127.0.0.1",), ("*",), ("10.0.0.0/8", "::1"), ()]),
)
def test_any_forwarded_address_is_an_address_or_a_text(values: list[str], trusted: tuple[str, ...]) -> None:
    """It raises nothing, and believes nobody who is no proxy."""
    options = Options(trusted_proxies=trusted)
    assert isinstance(client_address("127.0.0.1", values, options), str)
    if trusted != ("*",):
        assert client_address("203.0.113.9", values, options) == "203.0.113.9"


@examples(200)
@given(st.text(max_size=60), st.none() | st.text(max_size=40), st.none() | st.text(max_size=20))
def test_any_target_and_origin_is_read(target: str, origin: str | None, host: str | None) -> None:
    """A path that leads nowhere leads nowhere; an origin that cannot be read is not allowed."""
    request = connect_request(None, target, {"cookie": target}, "")
    assert isinstance(request.query, dict)
    assert isinstance(request.cookies, dict)
    allowed = origin_allowed(origin, host, Options())
    assert allowed in (True, False)
    if origin is not None and host is None:
        assert not allowed
    found = Doors({"/ws": Hub()}).find(target)
    assert found is None or target.startswith("/ws")


# --- what other nodes and the broker say -------------------------------------------------------------------

packed = anything.map(
    lambda value: msgspec.msgpack.encode(value, enc_hook=str) if not _surrogates(value) else b""
)


def _surrogates(value: object) -> bool:
    return "\\ud8" in json.dumps(value) or any(abs(n) > 2**63 for n in _integers(value))


def _integers(value: object) -> Iterator[int]:
    if isinstance(value, int):
        yield value
    elif isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _integers(inner)


@examples(200)
@given(mutated(packed) | json_texts | st.binary(max_size=100))
def test_anything_on_the_brokers_channels_is_garbage_or_good(data: bytes) -> None:
    """As `Garbage`, never as anything else that is raised."""
    for read in (
        lambda: wire.unpack(data, "c"),
        lambda: wire.unpack_live(data, "c"),
        lambda: wire.unpack_live(b"e,5," + data, "c"),
        lambda: wire.raw_system(data, "c", "now"),
        lambda: wire.raw_chat(data, "c", "now"),
        lambda: wire.unpack_entry(data),
    ):
        failure(read, wire.Garbage)


@examples(60)
@given(st.lists(mutated(packed) | st.binary(max_size=60), max_size=8))
def test_anything_from_other_nodes_is_counted_or_obeyed(messages: list[bytes]) -> None:
    """A control message that is none changes nothing."""

    async def scenario() -> None:
        hub = a_hub()
        async with hub.lifespan():
            for data in messages:
                hub.cluster.receive(data)
            assert hub.is_running
            assert not hub.cluster.peers

    bounded(scenario())


@examples(60)
@given(st.dictionaries(st.sampled_from(["epoch", "offset", "x"]), anything, max_size=3))
def test_any_position_is_one_or_not(said: dict[str, Any]) -> None:
    """As the wire has it."""
    try:
        position = msgspec.json.decode(json.dumps(said), type=Position)
    except (msgspec.DecodeError, UnicodeError):
        return
    assert isinstance(position.offset, int)
    assert isinstance(position.epoch, str)


# --- frames ------------------------------------------------------------------------------------------------


def _frame(first: int, payload: bytes, mask: bytes, masked: bool, lie: int | None) -> bytes:
    if masked:
        payload = bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))
    size = len(payload) if lie is None else lie
    flag = 0x80 if masked else 0
    if size < 126:
        head = bytes((first, flag | size))
    elif size < 65536:
        head = bytes((first, flag | 126)) + size.to_bytes(2)
    else:
        head = bytes((first, flag | 127)) + (size & (2**64 - 1)).to_bytes(8)
    return head + (mask if masked else b"") + payload


def _deflated(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-12)
    return (packer.compress(data) + packer.flush(zlib.Z_SYNC_FLUSH)).removesuffix(b"\0\0\xff\xff")


payloads = (
    json_texts | json_texts.map(_deflated) | st.binary(max_size=130) | st.binary(max_size=20).map(_deflated)
)
proper = st.sampled_from([0x81, 0x81, 0x82, 0x01, 0x00, 0x80, 0x89, 0x8A, 0x88, 0xC1, 0x41])
one_frame = st.builds(
    _frame,
    proper | proper | proper | st.integers(0, 255),
    payloads,
    st.binary(min_size=4, max_size=4),
    st.sampled_from([True] * 15 + [False]),
    st.sampled_from([None] * 20 + [0, 1, 125, 126, 65535, 65536, 2**32, 2**63, 2**64 - 1]),
)
streams = mutated(st.lists(one_frame, min_size=1, max_size=12).map(b"".join)) | st.binary(max_size=300)


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    with unguarded(compression=True, close_timeout=0.2) as running:
        yield running


@pytest.fixture(scope="module")
def honest(server: Running) -> Iterator[Client]:
    with client(server, "honest") as inside:
        yield inside


def send_in_pieces(server: Running, data: bytes, cuts: list[int], *, polite: bool, deflate: bool) -> None:
    """A connection that sends this in these pieces, and then goes, with a word or without."""
    lines = (*HEAD_LINES, b"Sec-WebSocket-Extensions: permessage-deflate") if deflate else HEAD_LINES
    with socket.create_connection(("127.0.0.1", server.port), timeout=DEADLINE) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sendall(b"\r\n".join((*lines, b"", b"")))
        assert connection.recv(65536).startswith(b"HTTP/1.1 101")
        at = 0
        try:
            for cut in [*sorted(cut % (len(data) + 1) for cut in cuts), len(data)]:
                connection.sendall(data[at:cut])
                at = cut
            if polite:
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(65536):
                    pass
            else:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        except OSError:
            pass  # thrown out, which is an answer


def test_any_frames_are_answered(server: Running, honest: Client) -> None:
    """Whatever comes in whatever pieces: no error is logged, nothing is left, others are served."""
    unseen: list[Any] = []
    server.look(lambda: server.loop.set_exception_handler(lambda _, context: unseen.append(context)))
    threads = threading.active_count()

    @examples(120)
    @given(streams, st.lists(st.integers(0, 5000), max_size=5), st.booleans(), st.booleans())
    def any_frames(data: bytes, cuts: list[int], polite: bool, deflate: bool) -> None:
        send_in_pieces(server, data, cuts, polite=polite, deflate=deflate)

    with no_errors():
        any_frames()
        served(honest)
        eventually(lambda: server.look(lambda: len(server.hub.connections)) == 1)
        eventually(lambda: not server.look(lambda: server.hub.groups()))
        assert server.look(lambda: server.hub.gate._inside) == 1
    assert not unseen
    assert threading.active_count() == threads


heads = mutated(
    st.lists(
        st.sampled_from([*HEAD_LINES, b"POST /api/info HTTP/1.1", b"GET / HTTP/1.0", b"Content-Length: 5"])
        | st.sampled_from([b"Transfer-Encoding: chunked", b"Expect: 100-continue", b"Upgrade: h2c", b""])
        | st.binary(max_size=30),
        max_size=12,
    ).map(lambda lines: b"\r\n".join((*lines, b"", b"")))
)


def test_any_request_is_answered(server: Running, honest: Client) -> None:
    """HTTP, or nearly: no error is logged, and the connection ends."""
    unseen: list[Any] = []
    server.look(lambda: server.loop.set_exception_handler(lambda _, context: unseen.append(context)))

    @examples(100)
    @given(heads, st.lists(st.integers(0, 500), max_size=3))
    def any_request(data: bytes, cuts: list[int]) -> None:
        with socket.create_connection(("127.0.0.1", server.port), timeout=DEADLINE) as connection:
            at = 0
            try:
                for cut in [*sorted(cut % (len(data) + 1) for cut in cuts), len(data)]:
                    connection.sendall(data[at:cut])
                    at = cut
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            except OSError:
                pass

    with no_errors():
        any_request()
        served(honest)
        eventually(lambda: server.look(lambda: len(server.hub.connections)) == 1)
    assert not unseen


@examples(60)
@given(st.lists(payloads, max_size=5))
def test_frames_that_were_made_here_are_taken_apart(parts: list[bytes]) -> None:
    """What `split` reads is what was put in."""
    joined = b"".join(data_frame(1, part) for part in parts)
    assert list(split(joined)) == parts
    assert frames(*parts) or not parts
