"""What the commands that listen share: running a client to its end, and saying how that came."""

import asyncio
import contextlib
import signal
from collections.abc import Callable, Coroutine
from typing import Any, Final

from hubbub.cli.ends import NotReachable, SaidNo, WrongUsage
from hubbub.client import (
    BadTokenError,
    ConnectError,
    ConnectTimeoutError,
    InvalidURLError,
    RefusedError,
    UnreachableError,
)
from hubbub.core import codes
from hubbub.core.channels import BadName

UNAUTHORIZED: Final = 401


def listen(work: Callable[[], Coroutine[Any, Any, None]], token: str | None) -> None:
    """Do it until it ends, or is told to stop; whatever goes wrong is an `Ended` that says how."""
    try:
        asyncio.run(_until_told_to_stop(work()))
    except asyncio.CancelledError:
        pass
    except (InvalidURLError, BadName, BadTokenError) as exc:
        raise WrongUsage(str(exc)) from exc
    except (UnreachableError, ConnectTimeoutError) as exc:
        raise NotReachable(str(exc)) from exc
    except ConnectError as exc:
        wanted = isinstance(exc, RefusedError) and not token and _wants_a_token(exc)
        raise SaidNo(f"{exc} Give --token or HUBBUB_TOKEN." if wanted else str(exc)) from exc


def _wants_a_token(exc: RefusedError) -> bool:
    """In the handshake, or in answer to what was said first."""
    return exc.status == UNAUTHORIZED or exc.code == codes.UNAUTHORIZED.code


async def _until_told_to_stop(work: Coroutine[Any, Any, None]) -> None:
    """SIGTERM ends it as Ctrl+C does."""
    task = asyncio.current_task()
    assert task is not None
    with contextlib.suppress(NotImplementedError):  # Windows
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    await work
