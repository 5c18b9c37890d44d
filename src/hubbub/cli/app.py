"""The `hubbub` command: which commands there are, and how each of them ends."""

import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Annotated, Any, Final, NamedTuple

import typer

import hubbub
from hubbub.cli import ends
from hubbub.cli.ends import Ended
from hubbub.cli.output import complain


def _examples(*lines: str) -> str:
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)


def _paragraphs(*texts: str) -> str:
    return "\n\n".join(texts)


EPILOG: Final = _paragraphs(
    _examples(
        "hubbub serve --port 9000",
        "hubbub serve main:app",
        "hubbub subscribe lobby",
        "hubbub chat lobby --as ada",
        """hubbub publish lobby '{"text": "hello"}'""",
    ),
    ends.HELP,
)


class Command(NamedTuple):
    """Where a command is; imported on choice, so that each starts as fast as it can."""

    function: str
    epilog: str = ""


COMMANDS: Final = {
    "serve": Command(
        "hubbub.cli.serve:serve",
        _paragraphs(
            "Every option is an environment variable too: --port is HUBBUB_PORT. The option wins.",
            _examples(
                "hubbub serve",
                "hubbub serve --port 9000 --history-size 100",
                "HUBBUB_API_KEYS=secret hubbub serve",
                "hubbub serve main:app --log-level info",
            ),
            ends.HELP,
        ),
    ),
    "publish": Command(
        "hubbub.cli.publish:publish",
        _paragraphs(
            _examples(
                """hubbub publish lobby '{"text": "hello"}'""",
                "hubbub publish lobby hello",
                "hubbub publish lobby - < message.json",
                "tail -f app.log | hubbub publish --lines logs -",
            ),
            ends.HELP,
        ),
    ),
    "subscribe": Command(
        "hubbub.cli.subscribe:subscribe",
        _paragraphs(
            _examples(
                "hubbub subscribe lobby news",
                "hubbub subscribe --json --count 1 lobby",
                "hubbub subscribe --since start --presence orders:42",
                "hubbub subscribe --positions orders.json orders:42 >> orders.log",
            ),
            ends.HELP,
        ),
    ),
    "chat": Command(
        "hubbub.cli.chat:chat",
        _paragraphs(
            _examples("hubbub chat lobby --as ada", "echo 'it is done' | hubbub chat lobby"), ends.HELP
        ),
    ),
    "stats": Command("hubbub.cli.stats:stats", ends.HELP),
    "check-config": Command(
        "hubbub.cli.checking:check_config",
        _paragraphs(
            _examples("hubbub check-config", "hubbub check-config --host 0.0.0.0 --json"),
            "Exit codes: 0 it can be served, 1 `hubbub serve` would refuse it, 2 wrong usage.",
        ),
    ),
    "token": Command(
        "hubbub.cli.token:app",
        _paragraphs(
            _examples(
                "export HUBBUB_TOKEN_SECRET=$(hubbub token secret)",
                "hubbub token make --sub alice --channel 'orders:*=join,history'",
                "hubbub token inspect eyJhbGciOi...",
                "hubbub token key-pair --out tokens",
                "hubbub token api-key --name shop --allow publish --channels 'orders:*'",
            ),
            ends.HELP,
        ),
    ),
    "version": Command("hubbub.cli.version:version"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; what went wrong is one line on stderr."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    try:
        code = _build(arguments)(arguments or ["--help"], prog_name="hubbub", standalone_mode=False)
        sys.stdout.flush()
    except (BrokenPipeError, SystemExit):  # so say typer and rich that nobody reads our output any more
        # That reader has seen enough. The interpreter's own last flush would complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Ended as exc:
        complain(str(exc))
        return exc.code
    except typer.TyperException as exc:
        complain(_usage_sentence(exc))
        return exc.exit_code
    except (KeyboardInterrupt, typer.Abort):
        code = ends.INTERRUPTED
    if code == ends.INTERRUPTED and _runs_until_stopped(arguments):
        return 0
    return code if isinstance(code, int) else 0


def _runs_until_stopped(arguments: Sequence[str]) -> bool:
    return arguments[:1] in (["serve"], ["subscribe"], ["chat"]) or "--watch" in arguments


def _build(arguments: Sequence[str]) -> typer.Typer:
    """The command line, with the one command that is meant, or with all where that is not plain."""
    app = typer.Typer(
        help=hubbub.__doc__,
        epilog=EPILOG,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,  # its panels cut long flags off on a narrow terminal
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_options)
    meant = arguments[0] if arguments else ""
    for name in [meant] if meant in COMMANDS else COMMANDS:
        command = COMMANDS[name]
        loaded = _load(command.function)
        if isinstance(loaded, typer.Typer):
            app.add_typer(loaded, name=name, epilog=command.epilog)
        else:
            app.command(name, epilog=command.epilog)(loaded)
    return app


def _load(function: str) -> Callable[..., Any] | typer.Typer:
    module, _, name = function.partition(":")
    loaded: Callable[..., Any] | typer.Typer = getattr(import_module(module), name)
    return loaded


def _show_version(wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"hubbub {hubbub.__version__}\n")
        raise typer.Exit


def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


def _usage_sentence(exc: typer.TyperException) -> str:
    """Typer's message in our style, with the help that is nearest."""
    message = exc.format_message().rstrip(".")
    context = getattr(exc, "ctx", None)
    path = context.command_path if context is not None else "hubbub"
    return f"{message[:1].lower()}{message[1:]} (see {path} --help)"
