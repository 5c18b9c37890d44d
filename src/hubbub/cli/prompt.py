"""A terminal with an unfinished line at the bottom, and lines that appear above it."""

import asyncio
import codecs
import contextlib
import os
import signal
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from types import TracebackType
from typing import Final, Self

from rich.cells import cell_len
from rich.text import Text

from hubbub.cli.output import console

PROMPT: Final = "> "
CHUNK: Final = 65536
_START_OF_LINE: Final = "\r\x1b[K"


class Line:
    """The line that is being typed: keys in, finished lines out."""

    def __init__(self) -> None:
        self.text = ""
        self._escape = ""

    def press(self, keys: str) -> Iterator[str | None]:
        """The lines that these keys finish; None for Ctrl+D where nothing is typed."""
        for key in keys:
            if self._escape:
                self._in_escape(key)
                continue
            match key:
                case "\r" | "\n":
                    line, self.text = self.text, ""
                    yield line
                case "\x04":
                    if not self.text:
                        yield None
                case "\x7f" | "\b":
                    self.text = self.text[:-1]
                case "\x15":  # Ctrl+U
                    self.text = ""
                case "\x17":  # Ctrl+W
                    self.text = self.text.rstrip()[: self.text.rstrip().rfind(" ") + 1]
                case "\x1b":
                    self._escape = key
                case _ if key.isprintable():
                    self.text += key

    def _in_escape(self, key: str) -> None:
        """Arrows and the like are sequences of several characters, and mean nothing here."""
        if self._escape == "\x1b":
            self._escape = "[" if key in "[O" else ""
        elif "@" <= key <= "~":
            self._escape = ""

    def shown(self, width: int) -> str:
        """The end of the line that fits on one row."""
        text = self.text
        while cell_len(text) > width:
            text = text[1:]
        return text


class Terminal:
    """The terminal of a person: what is typed, and what appears above it."""

    def __init__(self) -> None:
        self._in = sys.stdin.fileno()
        self._out = console()
        self._line = Line()

    @staticmethod
    def is_there() -> bool:
        """Whether a person sits at both ends, at a terminal that can go back to the start of a line."""
        if sys.platform == "win32" or os.environ.get("TERM", "dumb") == "dumb":
            return False
        return sys.stdin.isatty() and sys.stdout.isatty()

    def __enter__(self) -> Self:
        import termios  # not on Windows

        self._modes = termios.tcgetattr(self._in)
        self._take_keys()
        # After Ctrl+Z and `fg` the shell has given it back in its own modes.
        asyncio.get_running_loop().add_signal_handler(signal.SIGCONT, self._take_keys)
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        import termios

        asyncio.get_running_loop().remove_signal_handler(signal.SIGCONT)
        with contextlib.suppress(termios.error, OSError):  # it may be closed by now
            termios.tcsetattr(self._in, termios.TCSADRAIN, self._modes)
            self._write(_START_OF_LINE)

    def _take_keys(self) -> None:
        """Each key at once and unseen; Ctrl+C and Ctrl+Z stay signals."""
        import tty

        tty.setcbreak(self._in)
        self._draw()

    def show(self, text: Text) -> None:
        """A line above the one that is being typed."""
        self._write(_START_OF_LINE)
        self._out.print(text)
        self._draw()

    async def lines(self) -> AsyncIterator[str]:
        """What is typed, line by line, until Ctrl+D."""
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        async for chunk in read(self._in):
            for line in self._line.press(decoder.decode(chunk)):
                if line is None:
                    return
                yield line
            self._draw()

    def _draw(self) -> None:
        width = max(1, self._out.width - len(PROMPT) - 1)
        self._write(f"{_START_OF_LINE}{PROMPT}{self._line.shown(width)}")

    def _write(self, text: str) -> None:
        sys.stdout.write(text)
        sys.stdout.flush()


async def read(file: int) -> AsyncIterator[bytes]:
    """What comes from a file, pipe or terminal until its end, as it comes.

    Each piece is read by a thread that nobody waits for: an event loop cannot watch every kind of file, and
    what blocks in a read must not keep the command from ending.
    """
    loop = asyncio.get_running_loop()
    while True:
        piece: asyncio.Future[bytes] = loop.create_future()
        threading.Thread(target=_read_into, args=(file, piece, loop), daemon=True).start()
        if not (got := await piece):
            return
        yield got


def _read_into(file: int, piece: asyncio.Future[bytes], loop: asyncio.AbstractEventLoop) -> None:
    try:
        got = os.read(file, CHUNK)
    except OSError:  # the terminal has gone
        got = b""

    def settle() -> None:
        if not piece.done():
            piece.set_result(got)

    with contextlib.suppress(RuntimeError):  # the loop is closed: nobody wants it any more
        loop.call_soon_threadsafe(settle)


async def lines_of(file: int) -> AsyncIterator[str]:
    """What comes from a file or a pipe, line by line."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    rest = ""
    async for chunk in read(file):
        *lines, rest = (rest + decoder.decode(chunk)).split("\n")
        for line in lines:
            yield line.removesuffix("\r")
    rest += decoder.decode(b"", final=True)
    if rest:
        yield rest
