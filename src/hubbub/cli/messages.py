"""Messages on stdout: as they came, or for people."""

from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

import msgspec

from hubbub.cli.output import console, printable, write_line
from hubbub.client import Message

Show = Callable[[Message], None]

FOR_ALL: Final = {
    "broadcast_message": "everybody",
    "personal_notification": "this client",
    "system_notification": "system",
    "member_joined": "",
    "member_left": "",
}
"""What belongs to no group that was asked for, with what stands in place of the group where there is none."""

_IN_PLACE_OF_A_SENDER: Final = {"member_joined": "joined", "member_left": "left", "presence": "here"}


def show_json(message: Message) -> None:
    """The message as it came, on a line of its own."""
    write_line(msgspec.json.encode(message))


def pretty_printer() -> Show:
    """Shows a message as time, group, sender and data; a gap is for stderr alone."""
    from rich.highlighter import JSONHighlighter
    from rich.text import Text

    out = console()
    highlight = JSONHighlighter()

    def show(message: Message) -> None:
        type_ = message["type"]
        if type_ == "gap":
            return
        group = message.get("group_name") or FOR_ALL.get(type_, "")
        sender = _IN_PLACE_OF_A_SENDER.get(type_) or str(message.get("from") or "-")
        for data in _data(message):
            parts = Text.assemble(
                (clock(message.get("timestamp")), "dim"),
                "  ",
                (printable(str(group)), "cyan"),
                "  ",
                (printable(sender), "green"),
                "  ",
            )
            out.print(parts + highlight(Text(printable(msgspec.json.encode(data).decode()))))

    return show


def _data(message: Message) -> list[Any]:
    """What to show of it, on a line each."""
    if message["type"] == "presence":
        return list(message["members"].values())
    return next(([message[name]] for name in ("message", "data", "member") if name in message), [None])


def clock(timestamp: object) -> str:
    """The time of day here; what publishers beside us write as a timestamp is shown as it is."""
    if timestamp is None:
        return datetime.now().astimezone().strftime("%H:%M:%S")
    try:
        return datetime.fromisoformat(str(timestamp)).astimezone().strftime("%H:%M:%S")
    except ValueError:
        return printable(str(timestamp))
