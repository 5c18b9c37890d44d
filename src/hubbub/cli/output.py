"""What people see: lines for a terminal, with colours only where somebody looks at them."""

import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console


def console(*, stderr: bool = False) -> "Console":
    """A console that colours on a terminal only, and not with `NO_COLOR`."""
    from rich.console import Console  # takes a while, and JSON lines need none

    return Console(
        stderr=stderr,
        color_system=None if os.environ.get("NO_COLOR") else "auto",
        highlight=False,
        markup=False,
        emoji=False,
        soft_wrap=True,
    )


def complain(sentence: str) -> None:
    """One line on stderr."""
    from rich.text import Text

    line = printable(" ".join(sentence.split()))
    console(stderr=True).print(Text.assemble(("hubbub:", "bold red"), " ", line))


def printable(text: str) -> str:
    """The text with everything escaped that could steer a terminal."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def write_line(line: bytes) -> None:
    """One line on stdout, at once; UTF-8 whatever the locale says, since JSON is."""
    sys.stdout.buffer.write(line + b"\n")
    sys.stdout.buffer.flush()
