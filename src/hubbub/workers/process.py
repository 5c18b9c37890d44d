"""A worker's process: how it comes to be, what its supervisor knows of it, and how it ends."""

import atexit
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from typing import NoReturn

from hubbub.workers.link import SupervisorEnd, WorkerEnd, pair
from hubbub.workers.placing import Tally

Work = Callable[[WorkerEnd], int]
"""What a worker does, from its start to its end; returns its exit code."""


class Worker:
    """A process that serves, as its supervisor knows it. Whoever replaces it gets its number."""

    def __init__(self, number: int, pid: int, link: SupervisorEnd) -> None:
        self.number = number
        self.pid = pid
        self.link = link
        self.tally = Tally()
        self.ready_at: float | None = None
        """Since when it serves, in seconds of the supervisor's clock; None until it does."""
        self.full = False
        """Whether its link has no room; the link's socket tells when it has."""
        self.leaving = False
        """Whether it takes nothing any more, and is about to end."""
        self.failure: tuple[int, str] | None = None
        """Exit code and sentence, where it said itself why it cannot serve."""

    def __str__(self) -> str:
        return f"worker {self.number} (process {self.pid})"

    @property
    def takes(self) -> bool:
        """Whether it can be given connections now."""
        return self.ready_at is not None and not self.full and not self.leaving

    def signal(self, how: signal.Signals) -> None:
        """Send it a signal; it has not been reaped, so the process id is still its own."""
        os.kill(self.pid, how)

    def ended(self) -> int | None:
        """Its exit code, or the negative number of the signal that ended it; None while it is there."""
        pid, status = os.waitpid(self.pid, os.WNOHANG)
        return os.waitstatus_to_exitcode(status) if pid else None


def start(number: int, work: Work, forget: Callable[[], None]) -> Worker:
    """Fork a worker. In it, `forget` lets go of everything that is its supervisor's. Raises `OSError`."""
    ours, theirs = pair(number)
    # What is in these buffers now would be written by each of us.
    sys.stdout.flush()
    sys.stderr.flush()
    try:
        pid = os.fork()
    except OSError:
        ours.close()
        theirs.socket.close()
        raise
    if not pid:
        ours.close()
        forget()
        _live(work, theirs)
    theirs.socket.close()
    return Worker(number, pid, ours)


def _live(work: Work, link: WorkerEnd) -> NoReturn:
    """Be a worker: nothing of the stack below this call is ours, so we must not return to it."""
    code = 1
    try:
        code = work(link)
    except SystemExit as exc:
        code = exc.code if isinstance(exc.code, int) else int(exc.code is not None)
    except KeyboardInterrupt:
        code = 128 + signal.SIGINT
    except BaseException:  # noqa: BLE001
        traceback.print_exc()
    finally:
        # What the interpreter does at its end, of which `os._exit` knows nothing.
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def describe(code: int) -> str:
    """How a process ended, in words."""
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:  # a real-time signal
        name = f"signal {-code}"
    return f"was killed by {name}"
