"""An event loop in a thread of its own, for programs that have none."""

import asyncio
import concurrent.futures
import threading
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar

from hubbub.client.errors import NotConnectedError

R = TypeVar("R")

PATIENCE: Final = 5.0
"""Seconds that the end of the program waits for a connection to be closed in good order."""


class Thread:
    """An event loop in a thread, for as long as a client is in use."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._lock = threading.RLock()  # of its own thread too: a collector may step in anywhere
        self._is_stopping = False
        self._thread = threading.Thread(target=self._run, name="hubbub client", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
        finally:
            rest = asyncio.all_tasks(self._loop)
            for task in rest:
                task.cancel()
            if rest:
                self._loop.run_until_complete(asyncio.wait(rest))
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            self._loop.close()

    @property
    def is_stopping(self) -> bool:
        """Whether nothing can be done in it any more."""
        return self._is_stopping

    @property
    def is_current(self) -> bool:
        """Whether it is this thread that asks."""
        return threading.current_thread() is self._thread

    def wait(self, work: Coroutine[Any, Any, R]) -> R:
        """Do something in the loop and wait for it; Ctrl+C stops both the waiting and the work."""
        if self.is_current:
            work.close()
            raise RuntimeError(
                "A handler runs in the client's own thread; there is nothing to wait for in it."
            )
        with self._lock:
            if self._is_stopping:
                work.close()
                raise NotConnectedError("The client has been disconnected.")
            future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except concurrent.futures.CancelledError as exc:
            raise NotConnectedError("The client was disconnected meanwhile.") from exc
        except BaseException:
            future.cancel()
            raise

    def do(self, work: Callable[[], object]) -> bool:
        """Have something done in the loop, without waiting; whether there is still one."""
        with self._lock:
            if not self._is_stopping:
                self._loop.call_soon_threadsafe(work)
            return not self._is_stopping

    def stop(self, patience: float | None = None) -> None:
        """End the loop, what runs in it, and its thread; waits for that, unless it is this thread."""
        with self._lock:
            if not self._is_stopping:
                self._is_stopping = True
                self._loop.call_soon_threadsafe(self._loop.stop)
        if not self.is_current:
            self._thread.join(patience)
