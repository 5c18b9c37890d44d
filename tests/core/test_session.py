"""The state machine of one connection: which commands are legal when, limits, and faults in a row."""

from collections.abc import Callable
from typing import get_args

import pytest
from msgspec import Raw

from hubbub.core import codes
from hubbub.core.messages import (
    BadCommand,
    Command,
    CommandId,
    Connect,
    Failed,
    GetHistory,
    GetPresence,
    GetPresenceStats,
    Hello,
    Kind,
    Ping,
    Pong,
    Position,
    Publish,
    Refresh,
    Rpc,
    Subscribe,
    Unsubscribe,
    Unsubscribed,
)
from hubbub.core.session import (
    TRANSITIONS,
    Close,
    Effect,
    Limits,
    Perform,
    Send,
    Session,
    Stage,
    State,
    command_id,
    failure,
)

JSON = Raw(b"1")
EXAMPLES: dict[type[Command], Command] = {
    Connect: Connect("ada"),
    Hello: Hello(1, {"$all": Position("epoch", 3)}, {"news": None}, "a token"),
    Subscribe: Subscribe(1, "news", Position("epoch", 3), "a token"),
    Unsubscribe: Unsubscribe(1, "news"),
    Publish: Publish(1, "news", JSON, Kind.CHAT),
    GetPresence: GetPresence(1, "news"),
    GetPresenceStats: GetPresenceStats(1, "news"),
    GetHistory: GetHistory(1, "news"),
    Rpc: Rpc(1, "vote", JSON),
    Refresh: Refresh(1, "a token"),
    Ping: Ping(1),
    Pong: Pong(1),
}
NAMING: dict[str, Callable[[str], Command]] = {
    "subscribe": lambda name: Subscribe(7, name),
    "unsubscribe": lambda name: Unsubscribe(7, name),
    "publish": lambda name: Publish(7, name, JSON, Kind.MESSAGE),
    "presence": lambda name: GetPresence(7, name),
    "presence stats": lambda name: GetPresenceStats(7, name),
    "history": lambda name: GetHistory(7, name),
}


def an_open_session(*channels: str, groups: int = 128, errors: int = 10) -> Session:
    """A session that is connected and has joined these channels."""
    session = Session(Limits(groups=groups, errors=errors))
    session.receive(Connect("ada"))
    session.channels.update(dict.fromkeys(channels, Stage.IN))
    return session


def a_session_in(state: State) -> Session:
    """A session that stands there."""
    session = an_open_session("news") if state is not State.NEW else Session(Limits())
    if state is State.CLOSED:
        session.close(codes.NORMAL)
    assert session.state is state
    return session


def refusal_in(effects: list[Effect]) -> Failed:
    """The one error that is sent, and nothing else."""
    [effect] = effects
    assert isinstance(effect, Send)
    assert isinstance(effect.message, Failed)
    return effect.message


def test_every_command_has_an_example_here() -> None:
    """So that the table below is tried as a whole."""
    assert set(EXAMPLES) == set(get_args(Command))


@pytest.mark.parametrize("kind", get_args(Command), ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("state", State, ids=lambda state: state.name)
def test_the_table_decides_what_is_legal(state: State, kind: type[Command]) -> None:
    """What has an entry leads there; what has none is an error in front of `connect`, and else the end."""
    session = a_session_in(state)

    effects = session.receive(EXAMPLES[kind])

    if (state, kind) in TRANSITIONS:
        assert session.state is TRANSITIONS[state, kind]
        if kind is Pong:
            assert effects == []
        elif kind is Hello and state is State.OPEN:
            assert refusal_in(effects).error == codes.BAD_REQUEST
        else:
            assert effects == [Perform(EXAMPLES[kind])]
    elif state is State.NEW:
        assert session.state is State.NEW
        assert refusal_in(effects).error == codes.BAD_REQUEST
    else:
        assert session.state is State.CLOSED
        assert effects == [Close(codes.BAD_PROTOCOL)]


@pytest.mark.parametrize("kind", [Publish, GetPresence, GetPresenceStats, GetHistory])
def test_who_may_do_what_is_decided_elsewhere(kind: type[Command]) -> None:
    """A session knows what is legal; what is permitted takes a token's word and the namespace's."""
    session = an_open_session()

    assert session.receive(EXAMPLES[kind]) == [Perform(EXAMPLES[kind])]


def test_a_fresh_token_opens_nothing_by_itself() -> None:
    """In front of `connect` it is an error: there is nobody yet whose token it could be."""
    session = Session(Limits())

    refusal = refusal_in(session.receive(Refresh("r-1", "a token")))

    assert (refusal.id, refusal.error) == ("r-1", codes.BAD_REQUEST)
    assert session.receive(Hello(1, {}, {}, "a token")) == [Perform(Hello(1, {}, {}, "a token"))]


def test_only_connect_opens_and_nothing_is_legal_once_closed() -> None:
    """The table itself, in two sentences."""
    assert {kind for state, kind in TRANSITIONS if state is State.NEW} == {Connect, Hello, Ping, Pong}
    assert [kind for (state, kind), then in TRANSITIONS.items() if state is not then] == [Connect]
    assert not [kind for state, kind in TRANSITIONS if state is State.CLOSED]
    assert {kind for state, kind in TRANSITIONS if state is State.OPEN} == set(get_args(Command)) - {Connect}


def test_connecting_names_the_client_and_the_user() -> None:
    """As whoever let it in says."""
    session = Session(Limits())
    assert (session.client_id, session.user) == ("", "")

    assert session.receive(Connect("ada", "user-7")) == [Perform(Connect("ada", "user-7"))]
    assert (session.client_id, session.user) == ("ada", "user-7")


def test_connecting_twice_closes_and_keeps_the_name() -> None:
    """Nobody becomes somebody else on the way."""
    session = an_open_session()

    assert session.receive(Connect("eve")) == [Close(codes.BAD_PROTOCOL)]
    assert session.client_id == "ada"


def test_a_client_that_speaks_first_is_heard_and_not_yet_connected() -> None:
    """Whoever knows who it is opens the session; until then it may speak again, should that fail."""
    session = Session(Limits())
    hello = Hello("c-1", {"$all": Position("epoch", 3)}, {"news": Position("epoch", 4), "lobby": None})

    for _ in range(2):
        assert session.receive(hello) == [Perform(hello)]
        assert session.state is State.NEW
    session.receive(Connect("ada"))
    assert session.state is State.OPEN


def test_who_is_connected_is_not_greeted_again() -> None:
    """An error with the command's own id says how it is done; the connection lives on."""
    session = an_open_session()

    refusal = refusal_in(session.receive(Hello("c-1", {}, {})))

    assert (refusal.id, refusal.error) == ("c-1", codes.BAD_REQUEST)
    assert "?connect=first" in refusal.message
    assert session.state is State.OPEN


def test_the_groups_of_the_first_words_stop_at_the_limit() -> None:
    """With an error, and another try."""
    session = Session(Limits(groups=2))
    at_most = Hello(1, {}, dict.fromkeys(["a", "b"]))

    assert session.receive(Hello(1, {}, dict.fromkeys(["a", "b", "c"]))) == [
        Send(Failed(1, codes.LIMIT_EXCEEDED, "a connection joins at most 2 groups; name fewer"))
    ]
    assert session.receive(at_most) == [Perform(at_most)]


def test_a_bad_name_in_the_first_words_is_a_fault() -> None:
    """Counted as any other, and followed by another try."""
    session = Session(Limits(errors=2))

    refusal = refusal_in(session.receive(Hello(1, {}, {"$all": None})))
    assert (refusal.id, refusal.error) == (1, codes.BAD_REQUEST)
    assert refusal.message.startswith("a name in `groups` ")
    assert session.state is State.NEW
    assert session.receive(Hello(2, {}, {"": None}))[1:] == [Close(codes.TOO_MANY_ERRORS)]


def test_joining_stops_at_the_limit() -> None:
    """The answer is an error with a sentence, and the connection lives on."""
    session = an_open_session("a", "b", groups=3)

    assert session.receive(Subscribe(1, "c")) == [Perform(Subscribe(1, "c"))]
    session.channels["c"] = Stage.IN
    assert session.receive(Subscribe(2, "d")) == [
        Send(Failed(2, codes.LIMIT_EXCEEDED, "a connection joins at most 3 groups; leave one first"))
    ]
    assert session.state is State.OPEN


def test_at_the_limit_one_may_join_again_what_one_has_joined() -> None:
    """It costs nothing more."""
    session = an_open_session("a", "b", groups=2)

    assert session.receive(Subscribe(1, "a")) == [Perform(Subscribe(1, "a"))]


def test_leaving_makes_room() -> None:
    """For the next group."""
    session = an_open_session("a", "b", groups=2)
    assert session.receive(Unsubscribe(1, "a")) == [Perform(Unsubscribe(1, "a"))]
    del session.channels["a"]

    assert session.receive(Subscribe(2, "c")) == [Perform(Subscribe(2, "c"))]


def test_leaving_what_one_has_not_joined_is_answered_as_if_one_had() -> None:
    """Leaving is idempotent, and takes nobody's time."""
    session = an_open_session("news")

    assert session.receive(Unsubscribe(1, "other")) == [Send(Unsubscribed(1, "other"))]
    assert set(session.channels) == {"news"}


@pytest.mark.parametrize("command", NAMING.values(), ids=NAMING)
@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("", "group_name is empty"),
        ("$all", "group_name begins with '$'"),
        ("$client:bob", "group_name begins with '$'"),
        ("a" * 256, "group_name is longer than 255 bytes"),
        ("ü" * 128, "group_name is longer than 255 bytes"),
        ("line\nbreak", "group_name holds a control character"),
        ("\ud800", "group_name holds a control character"),
    ],
    ids=ascii,
)
def test_a_name_that_is_not_legal_is_refused(
    command: Callable[[str], Command], name: str, sentence: str
) -> None:
    """By an error that carries the command's id; nothing is performed."""
    session = an_open_session()

    (answer,) = session.receive(command(name))

    assert isinstance(answer, Send)
    assert isinstance(answer.message, Failed)
    assert (answer.message.id, answer.message.error) == (7, codes.BAD_REQUEST)
    assert answer.message.message.startswith(sentence)
    assert session.state is State.OPEN


@pytest.mark.parametrize("name", ["a" * 255, "ü" * 127, "us$", "ns:rest"])
def test_a_name_at_the_edge_of_the_legal_passes(name: str) -> None:
    """255 bytes are as many as there may be."""
    assert an_open_session().receive(Subscribe(1, name)) == [Perform(Subscribe(1, name))]


def test_too_many_faults_in_a_row_close_the_connection() -> None:
    """The last is answered too, and then the reason follows."""
    session = an_open_session(errors=3)
    fault = BadCommand("field `type` is missing", id=5)
    answer = Send(Failed(5, codes.BAD_REQUEST, "field `type` is missing"))

    assert session.fault(fault) == [answer]
    assert session.fault(fault) == [answer]
    assert session.fault(fault) == [answer, Close(codes.TOO_MANY_ERRORS)]
    assert session.state is State.CLOSED


def test_bad_names_count_as_faults() -> None:
    """Whatever layer finds that a command is none."""
    session = an_open_session(errors=2)

    assert len(session.receive(Subscribe(1, ""))) == 1
    assert session.receive(Subscribe(2, "$all"))[1:] == [Close(codes.TOO_MANY_ERRORS)]


@pytest.mark.parametrize(
    "command",
    [
        Ping(),
        Pong(),
        Subscribe(1, "a"),
        Unsubscribe(1, "never joined"),
        Rpc(1, "m", JSON),
        Refresh(1, "a token"),
    ],
    ids=lambda command: type(command).__name__,
)
def test_a_legal_command_ends_the_row(command: Command) -> None:
    """Only faults in a row count."""
    session = an_open_session(errors=2)
    for _ in range(5):
        assert len(session.fault(BadCommand("no"))) == 1
        session.receive(command)

    assert session.state is State.OPEN
    session.fault(BadCommand("no"))
    assert session.fault(BadCommand("no"))[1:] == [Close(codes.TOO_MANY_ERRORS)]


def test_a_fault_before_connecting_is_answered_too() -> None:
    """It does not open anything, and is counted as any other."""
    session = Session(Limits(errors=2))
    answer = Send(Failed(None, codes.BAD_REQUEST, "no"))

    assert session.fault(BadCommand("no")) == [answer]
    assert session.state is State.NEW
    assert session.fault(BadCommand("no")) == [answer, Close(codes.TOO_MANY_ERRORS)]


def test_a_fault_may_say_which_error_it_is() -> None:
    """Otherwise it is a bad request."""
    fault = BadCommand("no method `vote`", id="x", error=codes.METHOD_NOT_FOUND)

    assert failure(fault) == Failed("x", codes.METHOD_NOT_FOUND, "no method `vote`")


def test_what_comes_too_fast_is_counted_with_the_faults() -> None:
    """It is answered as what it is, and a client that goes on and on is closed."""
    session = an_open_session(errors=3)
    too_fast = BadCommand("send fewer", error=codes.TOO_MANY_REQUESTS)
    answer = Send(Failed(None, codes.TOO_MANY_REQUESTS, "send fewer"))

    assert session.fault(too_fast) == [answer]
    session.fault(BadCommand("no"))
    assert session.fault(too_fast) == [answer, Close(codes.TOO_MANY_ERRORS)]


def test_closing_gives_the_reason() -> None:
    """Any, and more than once."""
    session = an_open_session()

    assert session.close(codes.SLOW) == [Close(codes.SLOW)]
    assert session.close(codes.SHUTDOWN) == [Close(codes.SHUTDOWN)]
    assert session.state is State.CLOSED


@pytest.mark.parametrize("id", [None, 0, 17, "seventeen"])
def test_the_id_of_a_command_is_what_the_client_gave(id: CommandId) -> None:
    """0 is an id as good as any."""
    assert command_id(Ping(id)) == id
    assert command_id(GetPresence(id, "news")) == id


def test_connect_has_no_id() -> None:
    """It is no command of the client's."""
    assert command_id(Connect("ada")) is None


def test_the_limits_are_as_documented() -> None:
    """128 groups, ten bad commands in a row."""
    assert Limits() == Limits(groups=128, errors=10)
