"""Names of channels, and the namespaces whose options apply to them."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubbub.core.channels import (
    MAX_NAME_BYTES,
    BadName,
    Namespace,
    Namespaces,
    SlowPolicy,
    check_client_id,
    check_group,
    check_name,
)
from hubbub.core.grants import Action, Who

from .helpers import steady

LEGAL = [
    "a",
    "orders:42",
    "Füße",
    "聊天室",
    "🎉",
    "two words",
    "a" * 255,
    "ü" * 127 + "a",
    "🎉" * 63 + "abc",
]
ILLEGAL = [
    ("", "is empty"),
    ("a" * 256, "is longer than 255 bytes"),
    ("ü" * 128, "is longer than 255 bytes"),
    ("🎉" * 64, "is longer than 255 bytes"),
    ("a\x00b", "control character"),
    ("a\nb", "control character"),
    ("\x1b[31m", "control character"),
    ("\x7f", "control character"),
    ("\x85", "control character"),
    ("a\u2028b", "control character"),
    ("a\u2029b", "control character"),
    ("a\ud800b", "control character"),
    ("\udfff", "control character"),
]


@pytest.mark.parametrize("name", LEGAL)
def test_a_legal_name_is_returned_as_it_is(name: str) -> None:
    """Any script, up to 255 bytes."""
    assert check_name(name, "channel") == name
    assert check_group(name) == name


@pytest.mark.parametrize(("name", "sentence"), ILLEGAL, ids=ascii)
def test_an_illegal_name_is_refused_with_a_sentence(name: str, sentence: str) -> None:
    """The sentence says what is wrong and calls the thing by its name."""
    with pytest.raises(BadName, match=f"^client_id .*{sentence}"):
        check_name(name, "client_id")
    with pytest.raises(BadName, match=f"^group_name .*{sentence}"):
        check_group(name)


@pytest.mark.parametrize("name", ["$all", "$client:ada", "$user:7", "$", "$anything"])
def test_clients_cannot_name_what_is_reserved(name: str) -> None:
    """The server's own channels are legal names, but no groups."""
    assert check_name(name, "channel") == name
    with pytest.raises(BadName, match=r"^channel begins with '\$', which is reserved"):
        check_group(name, "channel")


def test_a_client_id_stands_in_a_path() -> None:
    """So it is a legal name without a slash; a dollar is nothing special in it."""
    assert check_client_id("$ada:7") == "$ada:7"
    with pytest.raises(BadName, match=r"^client_id holds '/'"):
        check_client_id("ada/7")
    with pytest.raises(BadName, match=r"^client_id is empty"):
        check_client_id("")


def test_a_dollar_further_on_is_nothing_special() -> None:
    """Only the first character decides."""
    assert check_group("us$") == "us$"


@steady
@given(name=st.text(st.characters(exclude_categories=()), max_size=300) | st.text(min_size=120, max_size=260))
def test_a_name_that_passes_can_travel(name: str) -> None:
    """Whatever `check_name` lets through fits into 255 bytes of UTF-8 and onto one line."""
    try:
        check_name(name, "channel")
    except BadName:
        printable = name and len(name.splitlines()) == 1 and all(map(str.isprintable, name))
        assert not (printable and len(name.encode()) <= MAX_NAME_BYTES)
    else:
        assert 1 <= len(name.encode("utf-8", errors="strict")) <= MAX_NAME_BYTES
        assert len(name.splitlines()) == 1


def test_a_bad_name_is_a_value_error() -> None:
    """Whoever embeds the hub may catch what Python raises for such a thing."""
    assert issubclass(BadName, ValueError)


CHAT = Namespace(history_size=100)
DEFAULT = Namespace(presence=False, history_size=1)
PERSONAL = Namespace(history_size=7)


@pytest.mark.parametrize(
    ("channel", "options"),
    [
        ("chat:lobby", CHAT),
        ("chat:", CHAT),
        ("chat:a:b", CHAT),
        ("chat", DEFAULT),
        ("chatter:a", DEFAULT),
        ("news:chat", DEFAULT),
        (":chat", DEFAULT),
        ("lobby", DEFAULT),
        ("", DEFAULT),
        ("$client:ada", PERSONAL),
    ],
)
def test_what_stands_before_the_first_colon_names_the_namespace(channel: str, options: Namespace) -> None:
    """Where none of that name is configured, the default applies."""
    namespaces = Namespaces({"chat": CHAT, "$client": PERSONAL}, DEFAULT)

    assert namespaces.of(channel) is options


@pytest.mark.parametrize("channel", ["$all", "$user:ada", "$client:ada", "$"])
def test_reserved_channels_have_options_of_their_own(channel: str) -> None:
    """Neither history nor presence, whatever the default says."""
    options = Namespaces({"client": CHAT}, DEFAULT).of(channel)

    assert not options.has_history
    assert not options.presence


def test_a_reserved_channel_can_be_configured_by_its_name() -> None:
    """Broadcasts with a history, for those who want it."""
    assert Namespaces({"$all": CHAT}).of("$all") is CHAT


def test_without_configuration_everything_is_as_documented() -> None:
    """No history, presence, no announcements, a slow reader is disconnected."""
    options = Namespaces().of("anything")

    assert options == Namespace(
        history_size=0,
        history_ttl=300.0,
        presence=True,
        join_leave=False,
        slow_policy=SlowPolicy.DISCONNECT,
        join=Who.EVERYONE,
        publish=Who.EVERYONE,
        see_presence=Who.MEMBERS,
        see_history=Who.MEMBERS,
    )
    assert not options.has_history


def test_history_is_on_from_one_publication() -> None:
    """A size is what turns it on, for however short a time."""
    assert Namespace(history_size=1, history_ttl=0.001).has_history


OPTION_OF = {
    Action.JOIN: "join",
    Action.PUBLISH: "publish",
    Action.PRESENCE: "see_presence",
    Action.HISTORY: "see_history",
}


@pytest.mark.parametrize(
    ("action", "who"),
    [(action, who) for action in Action for who in Who if (action, who) != (Action.JOIN, Who.MEMBERS)],
)
def test_each_action_can_be_left_to_somebody_by_a_word(action: Action, who: Who) -> None:
    """As it stands in a settings file. But joining to members: nobody is one before having joined."""
    options = Namespace(**{OPTION_OF[action]: who.value})  # type: ignore[arg-type]

    assert options.who_may(action) is who
    others = set(Action) - {action}
    assert [options.who_may(other) for other in others] == [Namespace().who_may(other) for other in others]


@pytest.mark.parametrize("word", ["disconnect", "drop_oldest", "latest"])
def test_a_slow_policy_can_be_given_by_its_word(word: str) -> None:
    """As it stands in a settings file."""
    options = Namespace(slow_policy=word)  # type: ignore[arg-type]

    assert isinstance(options.slow_policy, SlowPolicy)
    assert options.slow_policy.value == word


@pytest.mark.parametrize(
    ("option", "value", "sentence"),
    [
        ("history_size", -1, r"^history_size is -1; give 0"),
        ("history_ttl", 0, r"^history_ttl is 0; give the seconds"),
        ("history_ttl", -0.5, r"^history_ttl is -0\.5; give the seconds"),
        ("slow_policy", "patient", r"patient"),
        ("join", "anybody", r"^join is 'anybody'; .*everyone, members, token, nobody"),
        ("join", "members", r"^join is 'members'; .*for join not members"),
        ("publish", "", r"^publish is ''"),
        ("see_presence", None, r"^see_presence is None"),
        ("see_history", "Everyone", r"^see_history is 'Everyone'"),
    ],
)
def test_a_wrong_option_is_refused_with_a_sentence(option: str, value: object, sentence: str) -> None:
    """It names the option and its value, and what would be right."""
    with pytest.raises(ValueError, match=sentence):
        Namespace(**{option: value})  # type: ignore[arg-type]


def test_a_wrong_slow_policy_is_told_which_there_are() -> None:
    """Whoever mistypes a policy reads the words to choose from."""
    with pytest.raises(ValueError, match=r"^slow_policy is 'patient'; .*disconnect.*drop_oldest.*latest"):
        Namespace(slow_policy="patient")  # type: ignore[arg-type]


def test_options_do_not_change_once_they_exist() -> None:
    """They are shared by all channels of a namespace."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        Namespace().presence = False  # type: ignore[misc]
