"""`hubbub subscribe`: print what arrives, until Ctrl+C."""

import asyncio
import contextlib
import logging
import signal
import sys
from collections.abc import Callable, Coroutine
from datetime import datetime
from typing import Annotated, Any, Final

import msgspec
import typer

from hubbub.cli.ends import NotReachable, SaidNo, WrongUsage
from hubbub.cli.options import DEFAULT_URL, Url
from hubbub.cli.output import complain, console, printable, write_line
from hubbub.client import (
    BadTokenError,
    ConnectError,
    ConnectTimeoutError,
    InvalidURLError,
    Message,
    RefusedError,
    UnreachableError,
    WebSocketClient,
)
from hubbub.core.channels import BadName

UNAUTHORIZED: Final = 401
OF_GROUPS: Final = frozenset({"chat_message", "group_message"})
FOR_ALL: Final = {
    "broadcast_message": "everybody",
    "personal_notification": "this client",
    "system_notification": "system",
    "member_joined": "",
    "member_left": "",
}
"""What `--all` shows too, with what stands in place of the group where there is none."""

Show = Callable[[Message], None]


def subscribe(
    groups: Annotated[list[str], typer.Argument(metavar="GROUP", help="Groups to join.")],
    url: Url = DEFAULT_URL,
    client_id: Annotated[
        str | None, typer.Option(metavar="ID", help="Connect under this id; the server makes one otherwise.")
    ] = None,
    token: Annotated[
        str | None,
        typer.Option(metavar="TOKEN", envvar="HUBBUB_TOKEN", help="Says who this client is, where asked."),
    ] = None,
    count: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Stop after so many messages.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object a line, as when stdout is no terminal.")
    ] = False,
    everything: Annotated[
        bool,
        typer.Option("--all", help="Broadcasts, personal and system notifications, joins and leaves too."),
    ] = False,
) -> None:
    """Join groups and print what arrives, one line a message.

    Comes back by itself when the connection is lost, and says so on stderr. Ctrl+C stops.
    """
    show = show_json if as_json or not sys.stdout.isatty() else pretty_printer()
    _report_on_stderr()
    try:
        client = WebSocketClient(url, client_id, token=token or None)
        subscription = Subscription(client, groups, show, count=count, everything=everything)
        asyncio.run(_until_told_to_stop(subscription.run()))
    except asyncio.CancelledError:
        pass
    except (InvalidURLError, BadName, BadTokenError) as exc:
        raise WrongUsage(str(exc)) from exc
    except (UnreachableError, ConnectTimeoutError) as exc:
        raise NotReachable(str(exc)) from exc
    except ConnectError as exc:
        wanted = isinstance(exc, RefusedError) and exc.status == UNAUTHORIZED and not token
        raise SaidNo(f"{exc} Give --token or HUBBUB_TOKEN." if wanted else str(exc)) from exc


async def _until_told_to_stop(work: Coroutine[Any, Any, None]) -> None:
    """SIGTERM ends it as Ctrl+C does."""
    task = asyncio.current_task()
    assert task is not None
    with contextlib.suppress(NotImplementedError):  # Windows
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    await work


class Subscription:
    """Listens until `count` messages have come, or nothing more can."""

    def __init__(
        self, client: WebSocketClient, groups: list[str], show: Show, *, count: int | None, everything: bool
    ) -> None:
        self._client = client
        self._groups = list(dict.fromkeys(groups))
        self._member_of = set(self._groups)
        self._awaited = set(self._groups)
        self._show = show
        self._left = count
        self._everything = everything
        self._connected_before = False
        self._over: asyncio.Future[None]

    async def run(self) -> None:
        """Connect, join, and return when it is over."""
        self._over = asyncio.get_running_loop().create_future()
        self._client.register_handler("*", self._receive)
        async with self._client:
            try:
                for group in self._groups:
                    await self._client.join_group(group)
                await self._over
            finally:
                self._over.cancel()  # what comes while disconnecting is of no interest

    def _receive(self, message: Message) -> None:
        if self._over.done():
            return
        if self._is_wanted(message):
            self._print(message)
        else:
            self._take_note(message)

    def _is_wanted(self, message: Message) -> bool:
        type_ = message["type"]
        if self._everything:
            return type_ in OF_GROUPS or type_ in FOR_ALL
        return type_ in OF_GROUPS and message.get("group_name") in self._groups

    def _print(self, message: Message) -> None:
        try:
            self._show(message)
        except BrokenPipeError as exc:
            self._over.set_exception(exc)
            return
        if self._left is not None:
            self._left -= 1
            if self._left == 0:
                self._over.set_result(None)

    def _take_note(self, message: Message) -> None:
        """Of the messages that are about the connection, those that matter to whoever watches."""
        match message:
            case {"type": "connection_established"}:
                if self._connected_before:
                    complain("connected again")
                self._connected_before = True
            case {"type": "group_joined", "group_name": str(group)}:
                self._awaited.discard(group)
                self._member_of.add(group)
            case {"type": "error", "message": str(reason)}:
                self._refused(reason)
            case {"type": "group_removed", "group_name": str(group)}:
                self._removed(group, str(message.get("reason", "")))
            case {"type": "messages_dropped", "count": count}:
                complain(f"{count} messages were dropped on the way: this client is too slow")
            case {"type": "disconnected", "reconnect": False}:
                self._fail(f"disconnected for good: {message.get('code')} {message.get('reason', '')}")

    def _refused(self, reason: str) -> None:
        if self._awaited:
            self._fail(reason)
        else:
            complain(reason)

    def _removed(self, group: str, reason: str) -> None:
        self._member_of.discard(group)
        sentence = f"the server took this client out of {group}: {reason}"
        if self._member_of or self._everything:
            complain(sentence)
        else:
            self._fail(sentence)

    def _fail(self, sentence: str) -> None:
        self._over.set_exception(SaidNo(sentence))


def show_json(message: Message) -> None:
    """The message as it came, on a line of its own."""
    write_line(msgspec.json.encode(message))


def pretty_printer() -> Show:
    """Shows a message as time, group, sender and data."""
    from rich.highlighter import JSONHighlighter
    from rich.text import Text

    out = console()
    highlight = JSONHighlighter()

    def show(message: Message) -> None:
        group = message.get("group_name") or FOR_ALL.get(message["type"], "")
        parts = Text.assemble(
            (_clock(message.get("timestamp")), "dim"),
            "  ",
            (printable(str(group)), "cyan"),
            "  ",
            (printable(_sender(message)), "green"),
            "  ",
        )
        data = printable(msgspec.json.encode(_data(message)).decode())
        out.print(parts + highlight(Text(data)))

    return show


def _sender(message: Message) -> str:
    match message["type"]:
        case "member_joined":
            return "joined"
        case "member_left":
            return "left"
    return str(message.get("from") or "-")


def _data(message: Message) -> Any:
    for name in ("message", "data", "member"):
        if name in message:
            return message[name]
    return None


def _clock(timestamp: object) -> str:
    """The time of day here; what publishers beside us write as a timestamp is shown as it is."""
    try:
        return datetime.fromisoformat(str(timestamp)).astimezone().strftime("%H:%M:%S")
    except ValueError:
        return printable(str(timestamp))


def _report_on_stderr() -> None:
    """Let the client's own account of losing its server and coming back be seen."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("hubbub: %(message)s"))
    log = logging.getLogger("hubbub.client")
    log.addHandler(handler)
    log.propagate = False
