"""spec/protocol.md says everything that the code can say: messages, fields, codes and limits."""

import json
import re
from typing import get_args

import pytest
from msgspec import Struct

from hubbub.auth.reading import MOST_GROUPS
from hubbub.auth.tokens import MOST_BYTES
from hubbub.core.channels import MAX_NAME_BYTES, Namespace, SlowPolicy
from hubbub.core.codes import CLOSE_REASONS, ERRORS, EXPIRED_TOKEN, STALE, CloseReason, Error
from hubbub.core.departures import LISTED
from hubbub.core.grants import ACTIONS, MOST_PATTERNS, Action, Who
from hubbub.core.messages import Command, Connect, Message
from hubbub.core.session import Limits
from hubbub.hub import Options
from hubbub.hub.gate import BEARER
from hubbub.protocols.base import PROTOCOLS
from hubbub.protocols.native import MAX_HISTORY, MAX_ID_BYTES, NativeJson
from hubbub.transports.frames import COMPRESS_FROM, PING

from .helpers import SPEC, StructType, client_messages, fields_of, server_messages, text_of, vectors

PROTOCOL = (SPEC / "protocol.md").read_text(encoding="utf-8")
README = (SPEC / "vectors" / "README.md").read_text(encoding="utf-8")
VECTORS = {
    "client": {text_of(v["text"]) for v in vectors("decode.json") if "command" in v},
    "server": {v["text"] for v in vectors("encode.json")},
}


def split_at(heading: str, text: str) -> dict[str, str]:
    """The parts of a text by their headings of one level."""
    parts = re.split(rf"^{heading} (.+)\n", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


SECTIONS = split_at("##", PROTOCOL)
CLIENT = split_at("###", SECTIONS["What a client sends"])
SERVER = split_at("###", SECTIONS["What a server sends"])
MESSAGES = [
    *(pytest.param(CLIENT, type_, cls, id=f"client-{type_}") for type_, cls in client_messages().items()),
    *(pytest.param(SERVER, type_, cls, id=f"server-{type_}") for type_, cls in server_messages().items()),
]


def rows(text: str) -> list[list[str]]:
    """The cells of every table in a text, without their heads."""
    table = [line[1:-1].split("|") for line in text.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in cells] for cells in table]


def row_of(text: str, first: str) -> list[str]:
    """The one row that begins with this cell."""
    [row] = [row for row in rows(text) if row[0] == first]
    return row


def examples(text: str) -> list[str]:
    """What stands in the code blocks of a text."""
    return re.findall(r"^```json\n(.*?)\n```$", text, flags=re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize(("chapter", "type_", "cls"), MESSAGES)
def test_every_message_is_described(chapter: dict[str, str], type_: str, cls: StructType) -> None:
    """In a part of its own, with a table of its fields and an example."""
    part = chapter[f"`{type_}`"]
    described = [row[0].strip("`") for row in rows(part) if row[0] != "field"]

    assert [name for name in described if "." not in name] == list(fields_of(cls))
    assert examples(part)


@pytest.mark.parametrize(("chapter", "type_", "cls"), MESSAGES)
def test_the_description_says_what_may_be_absent(
    chapter: dict[str, str], type_: str, cls: StructType
) -> None:
    """By the words that stand for it in the tables."""
    for field, absent in fields_of(cls).items():
        meaning = row_of(chapter[f"`{type_}`"], f"`{field}`")[2]
        if (type_, field) == ("published", "id"):
            continue  # the codec could leave it out, but without an id nobody is answered
        assert bool(re.search("optional|only|absent", meaning)) is absent, field


def test_nothing_is_described_that_does_not_exist() -> None:
    """A message that was taken out of the code goes from its description too."""
    assert [name.strip("`") for name in CLIENT] == list(client_messages())
    assert sorted(name.strip("`") for name in SERVER) == sorted(server_messages())


@pytest.mark.parametrize("chapter", [CLIENT, SERVER], ids=["client", "server"])
def test_the_tables_name_every_message(chapter: dict[str, str]) -> None:
    """The one at the head of the chapter is complete."""
    title = "What a client sends" if chapter is CLIENT else "What a server sends"
    overview = SECTIONS[title].partition("\n### ")[0]
    named = [name for row in rows(overview) for name in re.findall(r"`(\w+)`", row[0]) if name != "type"]

    assert sorted(named) == sorted(name.strip("`") for name in chapter)


@pytest.mark.parametrize("example", examples(PROTOCOL), ids=lambda example: json.loads(example)["type"])
def test_every_example_is_a_vector(example: str) -> None:
    """So it is byte for byte what the codec takes or gives."""
    assert example in VECTORS["client"] | VECTORS["server"]


@pytest.mark.parametrize(("chapter", "type_", "cls"), MESSAGES)
def test_an_example_stands_where_it_belongs(chapter: dict[str, str], type_: str, cls: StructType) -> None:
    """A message of the client among the client's, and under its own name."""
    side = "client" if chapter is CLIENT else "server"
    for example in examples(chapter[f"`{type_}`"]):
        assert json.loads(example)["type"] == type_
        assert example in VECTORS[side]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: str(error.code))
def test_every_error_is_described(error: Error) -> None:
    """With its number, its words and whether it may pass."""
    words, temporary, when = row_of(SECTIONS["Errors"], str(error.code))[1:]

    assert words == error.message
    assert temporary == ("yes" if error.temporary else "")
    assert when


@pytest.mark.parametrize("reason", CLOSE_REASONS, ids=lambda reason: str(reason.code))
def test_every_close_code_is_described(reason: CloseReason) -> None:
    """With its number, its reason and what to do about it."""
    words, what = row_of(SECTIONS["How a connection ends"], str(reason.code))[1:]

    assert words == reason.reason
    if reason.code >= 3000:
        assert ("Come back" in what) is reason.reconnect
        assert ("Stop" in what) is not reason.reconnect


def test_no_code_is_described_that_does_not_exist() -> None:
    """But 1002, which the WebSocket library sends by itself."""
    errors = [int(row[0]) for row in rows(SECTIONS["Errors"]) if row[0].isdecimal()]
    closes = [int(row[0]) for row in rows(SECTIONS["How a connection ends"]) if row[0].isdecimal()]

    assert errors == sorted(error.code for error in ERRORS)
    assert closes == sorted({reason.code for reason in CLOSE_REASONS} | {1002})


@pytest.mark.parametrize(
    ("row", "limit"),
    [
        ("a message from a client, inflated and put together", Options().max_message_bytes),
        ("groups of one connection", Limits().groups),
        ("bad messages in a row", Limits().errors),
        ("a name (group, client id)", MAX_NAME_BYTES),
        ("an `id` that is a string", MAX_ID_BYTES),
        ("`limit` of `history`", MAX_HISTORY),
        ("an `rpc_result`", Options().max_rpc_bytes),
        ("waiting for a slow client", Options().outbox_bytes),
        ("messages of one connection", Options().messages_per_second),
        ("messages of one connection", Options().messages_burst),
        ("their bytes, inflated", Options().bytes_per_second),
        ("their bytes, inflated", Options().bytes_burst),
        ("a token", MOST_BYTES),
        ("patterns in a token", MOST_PATTERNS),
        ("groups in a token", MOST_GROUPS),
        ("connections of one user", Options().connections_per_user),
        ("connections of one address", Options().connections_per_address),
        ("connections", Options().max_connections),
        ("new connections", Options().arrivals_per_second),
        ("new connections", Options().arrivals_burst),
    ],
)
def test_the_limits_are_those_of_the_code(row: str, limit: float) -> None:
    """With the values they have unless changed."""
    assert re.search(rf"\b{limit:.0f}\b", row_of(SECTIONS["Limits"], row)[1])


@pytest.mark.parametrize("action", Action)
def test_every_action_is_described(action: Action) -> None:
    """With those to whom it is left unless somebody says otherwise."""
    assert row_of(SECTIONS["Permissions"], f"`{action}`")[2] == Namespace().who_may(action)


@pytest.mark.parametrize("who", Who)
def test_all_to_whom_an_action_can_be_left_are_described(who: Who) -> None:
    """In a table of their own."""
    assert row_of(SECTIONS["Permissions"], f"`{who}`")[1]


def test_the_example_of_grants_is_one() -> None:
    """Its patterns and actions are such that a token may have them."""
    [example] = re.findall(r"such as `(\{.+?\})`;", SECTIONS["Permissions"])

    assert set().union(*json.loads(example).values()) <= ACTIONS


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ("Connecting", f"over, {Options().handshake_timeout:g} seconds, is closed with {STALE.code}"),
        ("Heartbeats", f"| {Options().idle_timeout:g} seconds of silence |"),
        ("Heartbeats", f"| {Options().grace_timeout:g} more |"),
        ("Heartbeats", f"(`{PING.hex()}`)"),
        ("Slow clients", f"within {Options().close_timeout:g} seconds"),
        ("Departures", f"at most {LISTED};"),
        ("How a connection ends", f"waits {Options().close_timeout:g} seconds for the answer"),
        ("Errors", f"after {Limits().errors} without a good one"),
        ("Frames and compression", f"of {COMPRESS_FROM} bytes and more"),
        ("Tokens", f"hubbub.v1, {BEARER}<token>`"),
        ("Tokens", f"from then on, for {Options().expiry_grace:g} seconds"),
        ("Tokens", f"the connection is closed with {EXPIRED_TOKEN.code};"),
        *(("Slow clients", f"| `{policy}` |") for policy in SlowPolicy),
    ],
)
def test_the_text_says_what_the_code_does(section: str, words: str) -> None:
    """Numbers and names in running text."""
    assert words in SECTIONS[section]


@pytest.mark.parametrize("name", PROTOCOLS)
def test_every_subprotocol_is_described(name: str) -> None:
    """The first of them in the title."""
    assert f"`{name}`" in PROTOCOL
    assert f"`{NativeJson.name}`" in PROTOCOL.splitlines()[0]


@pytest.mark.parametrize(
    "cls",
    [cls for cls in (*get_args(Command), *get_args(Message)) if cls is not Connect],
    ids=lambda cls: cls.__name__,
)
def test_the_words_of_the_vectors_are_explained(cls: type[Struct]) -> None:
    """Each command and message of the core has a row beside the vectors, with all of its fields."""
    fields = re.sub(r" \(.*?\)", "", row_of(README, f"`{cls.__name__}`")[2])

    assert re.findall(r"`(\w+)`", fields) == list(cls.__struct_fields__)


def test_links_lead_somewhere() -> None:
    """Every `#anchor` is one of a heading, as code hosts make them."""
    anchors: list[str] = []
    for heading in re.findall(r"^#+ (.+)$", PROTOCOL, flags=re.MULTILINE):
        anchor = re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")
        again = sum(re.fullmatch(rf"{re.escape(anchor)}(-\d+)?", known) is not None for known in anchors)
        anchors.append(f"{anchor}-{again}" if again else anchor)

    assert set(re.findall(r"\]\(#(.+?)\)", PROTOCOL)) <= set(anchors)
