"""`hubbub chat`, at a terminal and in a pipe."""

import contextlib
import re
import signal
import termios
from collections.abc import Iterator

import pytest

from hubbub.cli.prompt import Line

from .running import Running, Server, hubbub, until
from .test_since import OPTIONS, lasting, publish

HERE = "/help tells what there is"


@contextlib.contextmanager
def person(server: Server, group: str, *arguments: str) -> Iterator[Running]:
    """Somebody who chats at a terminal, and is in the group."""
    command = ("chat", "--url", server.url, *arguments, group)
    with Running(*command, terminal=True, keyboard=True, env={"NO_COLOR": "1", "COLUMNS": "60"}) as chat:
        chat.says(HERE)
        yield chat


def seen(chat: Running) -> list[str]:
    """The lines that stand above the prompt, without the time of day."""
    lines = [line.rpartition("\r\x1b[K")[2] for line in chat.out.replace("\r\n", "\n").split("\n")[:-1]]
    return [re.sub(r"^\d\d:\d\d:\d\d  ", "", line) for line in lines]


def test_two_people_talk(server: Server) -> None:
    """What one types both see, with time and sender, and what is half typed stands below it."""
    with person(server, "chatting", "--as", "ada") as ada, person(server, "chatting", "--as", "bob") as bob:
        ada.types("how a")
        ada.says("> how a")
        bob.types("hällo wörld\n")
        ada.says("bob  hällo wörld\r\n\r\x1b[K> how a")
        ada.types("re you?\n")
        bob.says("ada  how are you?")
        bob.types("fine\x7f\x7f\x7f\x7ff\x1b[Aine\n\n")
        ada.says("bob  fine")
        assert re.search(r"\d\d:\d\d:\d\d  bob  fine\r\n", ada.out)
        for chat in (ada, bob):
            until(lambda chat=chat: "bob  fine" in seen(chat))
            assert seen(chat)[1:] == ["bob  hällo wörld", "ada  how are you?", "bob  fine"]
        ada.types("\x04")
        assert ada.ended() == 0
        assert bob.stop(signal.SIGINT) == 0
        assert ada.err == bob.err == ""


def test_it_takes_the_terminal_back_after_ctrl_z(server: Server) -> None:
    """The shell has set its own modes meanwhile; at the end it finds those it had given."""
    with person(server, "stopped", "--as", "ada") as ada:
        terminal = ada.keyboard
        modes = termios.tcgetattr(terminal)
        assert not modes[3] & termios.ICANON
        ada.process.send_signal(signal.SIGSTOP)
        modes[3] |= termios.ICANON | termios.ECHO
        termios.tcsetattr(terminal, termios.TCSANOW, modes)
        ada.process.send_signal(signal.SIGCONT)
        until(lambda: not termios.tcgetattr(terminal)[3] & termios.ICANON)
        ada.types("back\n")
        ada.says("ada  back")
        ada.types("\x04")
        assert ada.ended() == 0
        assert termios.tcgetattr(terminal)[3] & termios.ICANON


def test_commands(server: Server) -> None:
    """Who is here, how to leave, and how to say what looks like one."""
    with person(server, "commands", "--as", "ada") as ada, person(server, "commands", "--as", "bob"):
        ada.types("/who\n")
        ada.says("2 here: ada, bob")
        ada.types("/wave\n")
        ada.says("there is no /wave")
        ada.types("/help\n")
        ada.says("/who lists who is here")
        ada.types("//shrug\n")
        ada.says("ada  /shrug")
        ada.types("/quit\n")
        assert ada.ended() == 0


def test_nobody_steers_anybody_elses_terminal(server: Server) -> None:
    """Whatever is in names and messages; and what a backend publishes is shown too."""
    with person(server, "hostile", "--as", "ada") as ada:
        evil = "\x1b[2J\x9b\n\u202eevil"
        server.post("/api/publish", {"channel": "hostile", "data": evil})
        server.post("/api/publish", {"channel": "hostile", "data": {"n": [1, evil]}})
        ada.says('-  {"n":[1,')
        shown = [line for line in seen(ada) if "evil" in line]
        assert len(shown) == 2
        for line in shown:
            assert not {"\x1b", "\x9b", "\u202e"} & set(line)


def test_coming_in_and_leaving_are_shown_where_they_are_announced() -> None:
    """Of others, not of oneself; the server's own names are cut short."""
    with (
        Server("--namespace-options", OPTIONS) as server,
        person(server, "room:1", "--as", "ada") as ada,
    ):
        with person(server, "room:1") as somebody:
            found = re.search(r"in room:1 as ([0-9a-f]{8});", somebody.out)
            assert found is not None
            ada.says(f"{found[1]} came in")
        ada.says(f"{found[1]} left")
        assert not any(line.startswith("ada ") for line in seen(ada))


def test_what_was_said_while_one_was_away() -> None:
    """Comes when the connection is back, and what was typed meanwhile is sent then."""
    arguments = lasting()
    with Server(*arguments) as first, person(first, "lobby", "--as", "ada") as ada:
        port = first.port
        with Server(*arguments) as other:
            assert first.stop(signal.SIGTERM) == 0
            ada.says("the connection is lost, reconnecting…")
            publish(other, "lobby", "one", "two")
            ada.types("/who\nthree\n")
            ada.says("there is no connection")
            ada.says("waits for the connection: three")
        with Server(*arguments, port=port):
            ada.says("ada  three")
            back = seen(ada).index("back, with 2 messages that came meanwhile:")
            assert seen(ada)[back + 1 :] == ["-  one", "-  two", "ada  three"]
            ada.types("/quit\n")
            assert ada.ended() == 0


def test_what_nobody_keeps_is_not_promised() -> None:
    """In a group without history."""
    with Server() as first, person(first, "lobby", "--as", "ada") as ada:
        port = first.port
        assert first.stop(signal.SIGTERM) == 0
        with Server(port=port):
            ada.says("back; this group keeps no history")
        ada.types("never\n")
        ada.says("waits for the connection: never")
        ada.types("\x04")
        assert ada.ended() == 1
        assert "1 line was not sent" in ada.err


def test_lines_from_a_pipe_are_all_sent(server: Server) -> None:
    """In order, as they are, also the last without an end of line; it ends when the server has them."""
    with server.subscriber("--count", "4", group="piped-chat") as subscriber:
        sent = hubbub(
            "chat", "--url", server.url, "--as", "ada", "piped-chat", stdin=b"one\r\n\n/who\nt\xc3\xa4\n4"
        )
        assert (sent.code, sent.out, sent.err) == (0, "", "")
        assert subscriber.ended() == 0
        assert [message["message"] for message in subscriber.messages()] == ["one", "/who", "tä", "4"]


def test_more_than_may_be_sent_at_once() -> None:
    """Is sent a little later: nothing is lost for being too fast."""
    with (
        Server("--messages-burst", "10", "--messages-per-second", "50") as server,
        server.subscriber("--count", "40", group="fast") as subscriber,
    ):
        lines = [str(n) for n in range(40)]
        sent = hubbub("chat", "--url", server.url, "fast", stdin="\n".join(lines).encode())
        assert (sent.code, sent.err) == (0, "")
        assert subscriber.ended() == 0
        assert [message["message"] for message in subscriber.messages()] == lines


def test_others_are_heard_through_a_pipe(server: Server) -> None:
    """On stdout, while stdin is open."""
    with Running("chat", "--url", server.url, "listening", keyboard=True) as chat:
        until(lambda: server.members("listening"))
        chat.types("mine\n")
        publish(server, "listening", "hello")
        chat.says("-  hello\n")
        chat.stop_typing()
        assert chat.ended() == 0
        assert "mine" not in chat.out


@pytest.mark.parametrize(
    ("options", "stdin", "words"),
    [
        ('{"no": {"join": "nobody"}}', b"", "no:1"),
        ('{"no": {"publish": "nobody"}}', b"a\nb\n", "2 of 2 lines"),
    ],
)
def test_a_server_that_says_no(options: str, stdin: bytes, words: str) -> None:
    """Exit code 1, and what was refused."""
    with Server("--namespace-options", options) as server:
        refused = hubbub("chat", "--url", server.url, "no:1", stdin=stdin)
        assert (refused.code, refused.out) == (1, "")
        assert words in refused.err
        assert "Traceback" not in refused.err


def test_being_taken_out_of_the_group(server: Server) -> None:
    """Ends it with exit code 1, and the terminal is as it was."""
    with person(server, "expelling", "--as", "ada") as ada:
        server.post("/api/unsubscribe", {"client": "ada", "channel": "expelling"})
        assert ada.ended() == 1
        assert "took this client out of expelling" in ada.err
        assert ada.out.endswith("\r\x1b[K")


def test_wrong_usage(server: Server) -> None:
    """Exit codes as everywhere."""
    assert hubbub("chat", "--url", server.url, "$all").code == 2
    assert hubbub("chat", "--url", "localhost", "lobby").code == 2
    assert hubbub("chat", "--url", f"{server.url}/elsewhere", "lobby").code == 1


@pytest.mark.parametrize(
    ("keys", "finished", "left"),
    [
        ("abc\n", ["abc"], ""),
        ("one\rtwo\nthr", ["one", "two"], "thr"),
        ("abc\x7f\x7fd", [], "ad"),
        ("one two  \x17x", [], "one x"),
        ("gone\x15kept", [], "kept"),
        ("a\x1b[1;5Cb\x1bOPc\x1bxd\x07\t", [], "abcd"),
        ("a\x04b", [], "ab"),
        ("\x04", [None], ""),
    ],
)
def test_keys(keys: str, finished: list[str | None], left: str) -> None:
    """What is typed, deleted and finished, and what keys mean nothing."""
    line = Line()
    assert list(line.press(keys)) == finished
    assert line.text == left


def test_a_line_that_is_too_long_shows_its_end() -> None:
    """Wide characters take two columns."""
    line = Line()
    assert list(line.press("abc日本")) == []
    assert [line.shown(width) for width in (7, 6, 4, 1)] == ["abc日本", "bc日本", "日本", ""]
