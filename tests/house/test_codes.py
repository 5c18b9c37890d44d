"""The table of codes: each number once, in its range, and described."""

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hubbub.core import codes
from hubbub.core.codes import CLOSE_REASONS, ERRORS, CloseReason, Error, reconnects

HOUSE = Path(__file__).parents[2]
PROTOCOL = HOUSE / "spec" / "protocol.md"
SENDERS = [
    path.read_text(encoding="utf-8")
    for path in (HOUSE / "src" / "hubbub").rglob("*.py")
    if path.relative_to(HOUSE / "src" / "hubbub").parts[0] in ("hub", "protocols", "transports")
]


def test_the_tables_hold_every_code() -> None:
    """A code that is defined is a code that is counted, checked and documented."""
    defined = [value for value in vars(codes).values() if isinstance(value, Error | CloseReason)]

    assert [*ERRORS, *CLOSE_REASONS] == sorted(defined, key=lambda code: isinstance(code, CloseReason))


@pytest.mark.parametrize("table", [ERRORS, CLOSE_REASONS], ids=["errors", "close reasons"])
def test_every_code_is_there_once(table: tuple[Error | CloseReason, ...]) -> None:
    """By its number and by its words."""
    assert len({code for code, *_ in table}) == len(table)
    assert len({words for _, words, *_ in table}) == len(table)


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: error.message)
def test_errors_lie_between_100_and_113(error: Error) -> None:
    """Each has a sentence, in lower case, to fall back on."""
    assert 100 <= error.code <= 113
    assert re.fullmatch(r"[a-z ]+", error.message)


def test_errors_leave_no_number_out() -> None:
    """The numbers that clients of the field know."""
    assert [error.code for error in ERRORS] == list(range(100, 114))


def test_only_what_may_pass_is_temporary() -> None:
    """A client tries these again."""
    assert {error.code for error in ERRORS if error.temporary} == {100, 111, 113}


@pytest.mark.parametrize("reason", CLOSE_REASONS, ids=lambda reason: str(reason.code))
def test_close_codes_lie_in_a_range_that_means_something(reason: CloseReason) -> None:
    """RFC 6455's own, the end of a membership, or ours; 4000 and above are the application's."""
    assert reason.code in (*range(1000, 1016), *range(2000, 2500), *range(3000, 4000))


@pytest.mark.parametrize("reason", CLOSE_REASONS, ids=lambda reason: str(reason.code))
def test_a_reason_fits_into_a_close_frame(reason: CloseReason) -> None:
    """RFC 6455 §5.5: 125 bytes, two of which are the code. A normal end needs no reason."""
    assert len(reason.reason.encode()) <= 123
    assert reason.reason or reason is codes.NORMAL


@pytest.mark.parametrize(
    ("reason", "comes_back"),
    [
        (codes.SHUTDOWN, True),
        (codes.SERVER_ERROR, True),
        (codes.EXPIRED_TOKEN, True),
        (codes.SLOW, True),
        (codes.INSUFFICIENT_STATE, True),
        (codes.FORCE_RECONNECT, True),
        (codes.NO_SIGN_OF_LIFE, True),
        (codes.ABNORMAL, True),
        (codes.INVALID_TOKEN, False),
        (codes.BAD_PROTOCOL, False),
        (codes.CONNECTION_LIMIT, False),
        (codes.FORCE_DISCONNECT, False),
        (codes.TOO_MANY_ERRORS, False),
    ],
    ids=str,
)
def test_each_reason_says_whether_to_come_back(reason: CloseReason, comes_back: bool) -> None:
    """Those that stand under "comes back" do, those under "stops" do not."""
    assert reason.reconnect is comes_back
    assert reconnects(reason.code) is comes_back


@settings(derandomize=True, deadline=None)
@given(st.integers(0, 5999))
def test_the_range_alone_decides(code: int) -> None:
    """A client that has never heard of a code still knows what to do."""
    assert reconnects(code) is not (3500 <= code < 4000 or 4500 <= code < 5000)


def test_the_module_documents_its_ranges() -> None:
    """Its table says at both ends of each range what `reconnects` answers."""
    rows = re.findall(r"^(\d{4})-(\d{4})  (.*)$", codes.__doc__ or "", re.MULTILINE)

    assert [(first, last) for first, last, _ in rows] == [
        ("3000", "3499"),
        ("3500", "3999"),
        ("4000", "4499"),
        ("4500", "4999"),
    ]
    for first, last, what in rows:
        assert ("comes back" in what) != ("stops" in what)
        assert reconnects(int(first)) is reconnects(int(last)) is ("comes back" in what)


@pytest.mark.skipif(not PROTOCOL.exists(), reason="spec/protocol.md is not written yet")
@pytest.mark.parametrize("code", [*ERRORS, *CLOSE_REASONS], ids=lambda code: str(code.code))
def test_every_code_is_documented(code: Error | CloseReason) -> None:
    """Whoever writes a client finds it in the description of the wire."""
    assert re.search(rf"\b{code.code}\b", PROTOCOL.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    "code", [*ERRORS, *(r for r in CLOSE_REASONS if r.code >= 3000)], ids=lambda code: str(code.code)
)
def test_what_is_reserved_is_what_nobody_sends(code: Error | CloseReason) -> None:
    """A code that comes into use is described anew, and one that falls out of use says so."""
    [name] = [name for name, value in vars(codes).items() if value is code]
    sent = any(re.search(rf"\b{name}\b", text) for text in SENDERS)
    rows = re.findall(rf"^\| {code.code} \|.*$", PROTOCOL.read_text(encoding="utf-8"), re.MULTILINE)

    assert [("reserved" in row) for row in rows] == [not sent]
