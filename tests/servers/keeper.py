"""Ends the servers of a test run that is itself ended with no chance to do so."""

import atexit
import subprocess
import threading
from typing import Final

# Reads `+ pid` and `- pid` until the other end of the pipe is gone, with the run; then ends who is left.
_KEEPER: Final = """
while read -r sign pid; do
    left=
    for one in $pids; do [ "$one" = "$pid" ] || left="$left $one"; done
    pids=$left
    [ "$sign" = - ] || pids="$pids $pid"
done
[ -z "$pids" ] || kill -KILL $pids
"""

_keeper: subprocess.Popen[str] | None = None
_lock: Final = threading.Lock()  # servers may be started from any thread


def entrust(pid: int) -> None:
    """Have this process ended when this one is."""
    _tell(f"+ {pid}")


def release(pid: int) -> None:
    """This process is no longer there, or about to be reaped: its number may become another's."""
    _tell(f"- {pid}")


def _tell(message: str) -> None:
    global _keeper
    with _lock:
        if _keeper is None:
            # In a session of its own it outlives a Ctrl+C, and a signal to the process group.
            _keeper = subprocess.Popen(
                ["/bin/sh", "-c", _KEEPER], stdin=subprocess.PIPE, text=True, start_new_session=True
            )
        assert _keeper.stdin is not None
        _keeper.stdin.write(f"{message}\n")
        _keeper.stdin.flush()


# Registered before any server can be, so it runs after those that stop at exit have stopped.
@atexit.register
def _dismiss() -> None:
    if _keeper is not None:
        _keeper.communicate()
