"""What a client was granted: patterns cover what they say and nothing else, at a price nobody can raise."""

import time
from functools import lru_cache

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hubbub.core.grants import (
    ACTIONS,
    LONGEST_PATTERN,
    MOST_PATTERNS,
    SEPARATORS,
    Action,
    Grants,
    Who,
    matches,
    owners,
)

from .helpers import steady

COVERED = [
    ("lobby", "lobby"),
    ("orders:*", "orders:42"),
    ("orders:*", "orders:two words"),
    ("orders:*", "orders:*"),
    ("orders:*", "orders:**"),
    ("orders:*", "orders:$all"),
    ("orders:*:notes", "orders:42:notes"),
    ("orders:4*", "orders:42"),
    ("*", "lobby"),
    ("*:*", "orders:42"),
    ("*-*", "a-b"),
    ("*-*", "a-b-c"),
    ("*b*", "abab"),
    ("orders:*#bob", "orders:42#bob"),
    ("orders:**", "orders:42"),
    ("orders:**", "orders:"),
    ("orders:**", "orders:42:notes#bob"),
    ("**", "anything:at#all"),
    ("**", ""),
    ("**", "two\nlines"),
    ("**:notes", "orders:42:notes"),
    ("a**b*c", "a:bb:bxc"),
    ("***", "a"),
    ("****", ""),
    ("", ""),
    ("Füße:*", "Füße:聊天室"),
    ("🎉**", "🎉🎉"),
]
NOT_COVERED = [
    ("lobby", "lobby2"),
    ("lobby", "the lobby"),
    ("lobby", "Lobby"),
    ("lobby", "lobby "),
    ("lobby", "lobby\n"),
    ("lobby", ""),
    ("", "lobby"),
    # A star is one character or more, and none that parts a name.
    ("orders:*", "orders:"),
    ("orders:*", "orders"),
    ("orders:*", "orders:42:notes"),
    ("orders:*", "orders:42#bob"),
    ("orders:*", "orders:#bob"),
    ("orders:*", "orders::"),
    ("orders:*", "my orders:42"),
    ("orders:*#bob", "orders:42#bobby"),
    ("orders:*#bob", "orders:42#alice,bob"),
    ("orders:*#bob", "orders:#bob"),
    ("*", ""),
    ("*", "a:b"),
    ("*", "#bob"),
    ("*:*", "a:b:c"),
    ("*b*", "ab"),
    ("***", ""),
    ("***", "a:"),
    ("**:notes", "notes"),
    # What stands in a name is never a pattern.
    ("orders:42", "orders:*"),
    ("orders:42", "**"),
    ("lobby", "*"),
    # The server's own channels are not among those of anybody else.
    ("all", "$all"),
    ("client:*", "$client:bob"),
    # All that means something to a regular expression is a character like any other.
    ("a.c", "abc"),
    ("a+", "aa"),
    ("a?", "a"),
    ("a|b", "a"),
    ("[ab]", "a"),
    ("(a)", "a"),
    ("^a$", "a"),
    (r"\w", "a"),
    (r"a\*", "a*"),
    ("a{2}", "aa"),
]
LOOK_ALIKES = [
    ("admin", "\u0430dmin"),  # the first letter is Cyrillic
    ("é", "e\u0301"),
    ("ﬁ", "fi"),
    ("K", "\u212a"),  # the sign for kelvin
    ("ß", "ss"),
    ("İ", "i"),
    ("lobby", "lobby\u200b"),
    ("lobby", "\ufefflobby"),
    ("lobby", "\uff4cobby"),
    ("orders:*", "orders\uff1a42"),
    ("orders:*#bob", "orders:42\uff03bob"),
    ("orders:\uff0a", "orders:42"),
    ("orders:\u2217", "orders:42"),
    ("a\u00adb", "ab"),
]


@pytest.mark.parametrize(("pattern", "channel"), COVERED, ids=ascii)
def test_a_pattern_covers(pattern: str, channel: str) -> None:
    """Itself, with something in the place of its stars."""
    assert matches(pattern, channel)


@pytest.mark.parametrize(("pattern", "channel"), NOT_COVERED, ids=ascii)
def test_a_pattern_does_not_cover(pattern: str, channel: str) -> None:
    """Anything else, from the first character to the last."""
    assert not matches(pattern, channel)


@pytest.mark.parametrize(("pattern", "channel"), LOOK_ALIKES, ids=ascii)
def test_what_looks_alike_is_not_covered(pattern: str, channel: str) -> None:
    """Names are compared by their characters, and so are patterns."""
    assert not matches(pattern, channel)
    assert not matches(channel, pattern)


def test_only_the_two_separators_part_a_name() -> None:
    """Those that merely look like them are characters, of which a star takes any number."""
    for separator in SEPARATORS:
        assert not matches("orders:*", f"orders:42{separator}bob")
    for character in "\uff1a\ufe55\u02d0\uff03\ufe5f/.,|$* ":
        assert matches("orders:*", f"orders:42{character}bob")


# Against a model: what the words say, word by word.


@lru_cache(maxsize=100_000)
def covers(pattern: str, channel: str) -> bool:
    """Whether a pattern covers a channel, found out by trying everything."""
    if not pattern:
        return not channel
    if pattern.startswith("**"):
        return any(covers(pattern[2:], channel[end:]) for end in range(len(channel) + 1))
    if pattern[0] == "*":
        ends = range(1, len(channel) + 1)
        return any(covers(pattern[1:], channel[end:]) for end in ends if not set(channel[:end]) & set(":#"))
    return channel[:1] == pattern[0] and covers(pattern[1:], channel[1:])


names = st.text(alphabet="ab:#*$.\n", max_size=10)
pieces = st.lists(st.sampled_from(["*", "**", "a", "b", "ab", ":", "#", "."]), max_size=8)


@st.composite
def patterns_with_channels(draw: st.DrawFn) -> tuple[str, str]:
    """A pattern, and a channel that has something in the place of each star: often it is covered."""
    drawn = draw(pieces)
    filled = [draw(st.text(alphabet="ab:#", max_size=3)) if piece[0] == "*" else piece for piece in drawn]
    return "".join(drawn), "".join(filled)


@steady
@given(pattern=names, channel=names)
def test_a_pattern_covers_what_its_words_say(pattern: str, channel: str) -> None:
    """Nothing more and nothing less."""
    assert matches(pattern, channel) is covers(pattern, channel)


@steady
@given(patterns_with_channels())
@example(("a*a*", "aaa"))
@example(("**a**a*", "a:aa"))
@example(("*a**", "a:aba"))
def test_stars_side_by_side_cover_what_their_words_say(both: tuple[str, str]) -> None:
    """Where one pattern can cover a name in many ways."""
    assert matches(*both) is covers(*both)


@steady
@given(name=st.text(max_size=40).filter(lambda name: "*" not in name), other=st.text(max_size=40))
def test_a_name_without_stars_covers_itself_alone(name: str, other: str) -> None:
    """Of all names there are."""
    assert matches(name, name)
    assert matches(name, other) is (name == other)


# At a price nobody can raise.

HOSTILE = {
    "many stars": "*a" * 127 + "*",
    "many double stars": "**a" * 85,
    "double stars and nothing else": "*" * 254,
    "stars of both kinds": "**a*" * 63,
    "an end that never comes": "*a" * 126 + "b",
    "a long piece that nearly fits": "**" + "a" * 120 + "b**" + "a" * 120 + "c",
    "all kinds of characters": "".join(f"*{chr(0x100 + n)}" for n in range(127)),
}


def seconds_for(pattern: str, channel: str) -> float:
    """The least that it took in some tries; whoever else uses this machine can only make it more."""

    def once() -> float:
        began = time.perf_counter()
        for _ in range(5):
            matches(pattern, channel)
        return time.perf_counter() - began

    matches(pattern, channel)  # made ready
    return min(once() for _ in range(7))


@pytest.mark.parametrize("pattern", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize("last", ["a", "b", ":"])
def test_a_long_name_costs_more_by_its_length_alone(pattern: str, last: str) -> None:
    """Ten times as long, ten times as much: with a way back it would be the millionfold and never end."""
    assert len(pattern) <= LONGEST_PATTERN

    short, long = seconds_for(pattern, "a" * 24 + last), seconds_for(pattern, "a" * 249 + last)

    assert long < 60 * max(short, 1e-6)


def test_hostile_patterns_are_answered_right_all_the_same() -> None:
    """Also where they cover something."""
    assert matches(HOSTILE["many stars"], "a" * 255)
    assert not matches(HOSTILE["many stars"], "a" * 254)
    assert matches(HOSTILE["many double stars"], "a" * 85)
    assert not matches(HOSTILE["many double stars"], "a" * 84)
    assert matches(HOSTILE["double stars and nothing else"], "")
    assert not matches(HOSTILE["an end that never comes"], "a" * 255)
    assert matches(HOSTILE["a long piece that nearly fits"], "a" * 200 + "b" + "a" * 200 + "c")


# Grants.


def test_what_no_pattern_grants_is_refused() -> None:
    """Each action by itself, in each channel by itself."""
    grants = Grants.of({"orders:*": ["join", "history"], "orders:42": ["publish"], "lobby": []})

    def allowed(channel: str) -> set[str]:
        return {action for action in Action if grants.allow(action, channel)}

    assert allowed("orders:42") == {"join", "history", "publish"}
    assert allowed("orders:43") == {"join", "history"}
    assert allowed("lobby") == allowed("elsewhere") == allowed("") == set()


def test_without_patterns_nothing_is_granted() -> None:
    """To grant nothing is something other than to say nothing."""
    for grants in (Grants(), Grants.of({})):
        assert not any(grants.allow(action, "lobby") for action in Action)


def test_many_patterns_are_all_looked_at() -> None:
    """The last of as many as there may be counts as the first."""
    grants = Grants.of({f"orders:{number}:*": ["join"] for number in range(MOST_PATTERNS)})

    assert grants.allow(Action.JOIN, "orders:0:a")
    assert grants.allow(Action.JOIN, f"orders:{MOST_PATTERNS - 1}:a")
    assert not grants.allow(Action.JOIN, f"orders:{MOST_PATTERNS}:a")
    assert not grants.allow(Action.PUBLISH, "orders:0:a")


def test_too_many_patterns_are_refused() -> None:
    """With a sentence that says how many there may be."""
    with pytest.raises(ValueError, match=r"^257 patterns of channels are too many; name at most 256$"):
        Grants.of({f"orders:{number}": ["join"] for number in range(MOST_PATTERNS + 1)})


def test_a_pattern_longer_than_any_name_is_refused() -> None:
    """It would cover nothing, and cost something."""
    assert Grants.of({"a" * LONGEST_PATTERN: ["join"]}).allow(Action.JOIN, "a" * LONGEST_PATTERN)
    with pytest.raises(ValueError, match=r"^a pattern is longer than 255 characters"):
        Grants.of({"a" * (LONGEST_PATTERN + 1): ["join"]})


@pytest.mark.parametrize("action", ["fly", "Join", "join ", "", "*", "subscribe"])
def test_an_unknown_action_is_refused(action: str) -> None:
    """With a sentence that names those there are."""
    with pytest.raises(ValueError, match=r"the actions are join, publish, presence, history$"):
        Grants.of({"lobby": ["join", action]})


def test_an_action_may_be_named_twice_and_by_its_own_kind() -> None:
    """It is granted once."""
    grants = Grants.of({"lobby": ["join", Action.JOIN, "join"]})

    assert grants.by_pattern == (("lobby", frozenset({Action.JOIN})),)


def test_there_are_four_actions_and_four_kinds_of_who() -> None:
    """By the words of settings and tokens."""
    assert [*Action] == ["join", "publish", "presence", "history"]
    assert set(Action) == ACTIONS
    assert [*Who] == ["everyone", "members", "token", "nobody"]


granted = st.dictionaries(
    st.text(alphabet="ab:#*", max_size=6), st.sets(st.sampled_from(list(Action))), max_size=6
)


@steady
@given(granted=granted, action=st.sampled_from(list(Action)), channel=names)
def test_grants_allow_what_one_of_their_patterns_does(
    granted: dict[str, set[Action]], action: Action, channel: str
) -> None:
    """And the order of the patterns is nothing."""
    expected = any(action in actions and covers(pattern, channel) for pattern, actions in granted.items())

    assert Grants.of(granted).allow(action, channel) is expected
    assert Grants.of(dict(reversed(granted.items()))).allow(action, channel) is expected


# To whom a channel belongs.


@pytest.mark.parametrize(
    ("channel", "users"),
    [
        ("orders:42#bob", {"bob"}),
        ("orders:#bob", {"bob"}),
        (":#bob", {"bob"}),
        ("orders:42#alice,bob", {"alice", "bob"}),
        ("orders:42#alice#bob", {"bob"}),
        ("orders#1:42#bob", {"bob"}),
        ("orders:42#a:b", {"a:b"}),
        ("orders:42#BOB", {"BOB"}),
        ("orders:42#*", {"*"}),
        ("orders:42# bob", {" bob"}),
        ("orders:42#", {""}),
        ("orders:42#,", {""}),
        ("orders:42#bob,", {"bob", ""}),
    ],
)
def test_a_channel_belongs_to_whom_its_end_names(channel: str, users: set[str]) -> None:
    """And to nobody who merely looks like one of them; an empty name is no user's."""
    assert owners(channel) == users


@pytest.mark.parametrize(
    "channel",
    ["lobby", "lobby#3", "#bob", "orders:42", "orders#1:42", "", ":", "orders:42\uff03bob"],
)
def test_a_channel_without_such_an_end_belongs_to_nobody_in_particular(channel: str) -> None:
    """There has to be a namespace in front, and a mark behind it."""
    assert owners(channel) is None


plain = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="#,"), min_size=1, max_size=10)


@steady
@given(namespace=plain, rest=st.text(max_size=10), users=st.sets(plain, min_size=1, max_size=4))
def test_owners_are_found_whatever_stands_in_front(namespace: str, rest: str, users: set[str]) -> None:
    """Exactly those who are named, also where the rest of the name plays tricks."""
    assert owners(f"{namespace}:{rest}#{','.join(users)}") == users
