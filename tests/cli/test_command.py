"""`hubbub` itself: help, version, wrong usage, and how fast it starts."""

import subprocess
import sys

import pytest

import hubbub as package
from hubbub.cli.app import COMMANDS

from .conftest import Command
from .running import environment, hubbub


@pytest.mark.parametrize("arguments", [(), ("--help",), ("-h",)])
def test_help_says_what_it_is_and_shows_examples(command: Command, arguments: tuple[str, ...]) -> None:
    """Without arguments too."""
    shown = command(*arguments)
    assert shown.code == 0
    assert shown.err == ""
    for part in ("Real-time push", "Examples:\n    hubbub serve", "Exit codes: 0", *COMMANDS):
        assert part in shown.out
    assert "completion" not in shown.out


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_has_help(command: Command, name: str) -> None:
    """It names the command, and has no colours for a pipe."""
    shown = command(name, "--help")
    assert shown.code == 0
    assert f"Usage: hubbub {name}" in shown.out
    assert "\x1b" not in shown.out


@pytest.mark.parametrize("arguments", [("version",), ("--version",)])
def test_version(arguments: tuple[str, ...]) -> None:
    """The package's."""
    shown = hubbub(*arguments)
    assert (shown.code, shown.out, shown.err) == (0, f"hubbub {package.__version__}\n", "")


def test_what_is_wrong_goes_to_stderr_and_the_exit_code() -> None:
    """Of the process, too."""
    refused = hubbub("serve", "--port", "x", "--demo")
    assert (refused.code, refused.out) == (2, "")
    assert refused.complaint == "--port is 'x'; give a whole number, at least 0 and at most 65535"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("serv",), ("no such command 'serv'", "serve", "hubbub --help")),
        (("--nonsense",), ("no such option", "--nonsense", "hubbub --help")),
        (("serve", "--prot", "1"), ("no such option", "--prot", "--port", "hubbub serve --help")),
        (("serve", "--port"), ("--port", "requires an argument")),
        (("serve", "a:b", "c:d"), ("c:d", "hubbub serve --help")),
        (("publish", "lobby"), ("missing argument", "DATA", "hubbub publish --help")),
        (("subscribe",), ("missing argument", "GROUP")),
        (("subscribe", "lobby", "--count", "0"), ("--count", "1")),
        (("subscribe", "lobby", "--count", "few"), ("--count", "integer")),
        (("subscribe", "lobby", "--token", "a b"), ("token", "header")),
        (("token", "mak"), ("no such command 'mak'", "make", "hubbub token --help")),
        (("token", "make"), ("--sub", "hubbub token make --help")),
    ],
)
def test_wrong_usage_is_one_line_that_names_it(
    command: Command, arguments: tuple[str, ...], words: tuple[str, ...]
) -> None:
    """And exit code 2."""
    refused = command(*arguments)
    assert (refused.code, refused.out) == (2, "")
    for word in words:
        assert word in refused.complaint


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["serve", "--help"],
        ["publish", "--url", "http://127.0.0.1:1", "lobby", "hello"],
        ["subscribe", "--url", "http://127.0.0.1:1", "lobby"],
        ["stats", "--url", "http://127.0.0.1:1"],
        ["token", "api-key", "--name", "shop"],
    ],
)
def test_only_a_server_that_runs_imports_the_server(arguments: list[str]) -> None:
    """What is slow to import is left to where it is needed."""
    code = (
        "import sys\n"
        "from hubbub.cli import main\n"
        f"main({arguments!r})\n"
        "slow = {'fastapi', 'starlette', 'uvicorn'} & set(sys.modules)\n"
        "sys.exit(f'imported: {slow}' if slow else 0)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment(), check=False
    )
    assert done.returncode == 0, done.stderr
