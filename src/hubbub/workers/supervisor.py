"""The process over the workers: starts them, gives them connections, replaces those that end.

It is single-threaded and has no event loop of Python's: a fork of it is a clean start.
"""

import contextlib
import gc
import logging
import resource
import selectors
import shutil
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, assert_never

from hubbub.observability import forget_part, share_metrics
from hubbub.workers.door import Door
from hubbub.workers.embedded import Valkey
from hubbub.workers.link import Failed, Gone, Leaving, Load, News, Ready, WorkerEnd
from hubbub.workers.placing import STEADY, delay_after
from hubbub.workers.process import Work, Worker, describe, start

logger = logging.getLogger("hubbub")

BACKLOG: Final = 4096
TRIES: Final = 3
"""Starts in a row, none of which came to serving, before it is given up that there will ever be a worker."""
HANDLES_KEPT: Final = 64
"""File handles of a worker that are not for connections."""
_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)


class NoWorker(Exception):
    """No worker ever came up; the sentence says why, `code` is the exit code that fits."""

    def __init__(self, sentence: str, code: int = 1) -> None:
        super().__init__(sentence)
        self.code = code


def _nothing(*_: object) -> None:
    """For those who want no news; and a handler in Python makes a signal wake the selector."""


class Supervisor:
    """Keeps `count` workers, each of which does `work`, on one listening socket.

    The first worker proves that there can be any; the others follow when it serves, and clients are let in
    from then on. `folder` is for the metrics that the workers share; a worker removes it that finds its
    supervisor dead.
    """

    def __init__(
        self,
        listener: socket.socket,
        count: int,
        work: Work,
        *,
        folder: Path,
        valkey: Valkey | None = None,
        on_ready: Callable[[Any], None] = _nothing,
        on_stop: Callable[[int], None] = _nothing,
    ) -> None:
        """`on_ready` gets the first worker's greeting, `on_stop` the number of open connections."""
        self._count = count
        self._work = work
        self._folder = folder
        self._metrics = folder / "metrics"
        self._valkey = valkey
        self._on_ready = on_ready
        self._on_stop = on_stop
        self._selector = selectors.DefaultSelector()
        self._workers: dict[int, Worker] = {}
        self._due: dict[int, float] = {1: time.monotonic()}
        """When which worker is to be started."""
        self._bad_starts: dict[int, int] = {}
        self._proven = False
        self._stopping = False
        self._listener = listener
        self._door = Door(listener, self._selector, self._workers.values, limit=_handles() - HANDLES_KEPT)
        self._wakeup, self._waker = socket.socketpair()
        self._wakeup.setblocking(False)
        self._waker.setblocking(False)

    def run(self) -> None:
        """Serve until a signal ends it, and all workers with it. Raises `NoWorker`, and `NoValkey`."""
        self._metrics.mkdir(exist_ok=True)
        # What is here now is here for good. Untouched by the collector, it is in memory once for all workers.
        gc.collect()
        gc.freeze()
        self._selector.register(self._wakeup, selectors.EVENT_READ)
        try:
            with _signals_to(self._waker):
                if self._valkey is not None:
                    self._valkey.start()
                self._attend()
        finally:
            for worker in self._workers.values():
                worker.link.close()  # where all went well, there is none
            if self._valkey is not None:
                self._valkey.stop()
            self._wakeup.close()
            self._waker.close()
            self._selector.close()

    def _attend(self) -> None:
        while self._workers or not self._stopping:
            for key, events in self._selector.select(self._patience()):
                if key.fileobj is self._wakeup:
                    self._heed_signals()
                elif isinstance(key.data, Worker):
                    self._heed(key.data, events)
                elif not self._stopping:
                    self._door.accept(time.monotonic())
            self._catch_up()

    def _patience(self) -> float | None:
        """Seconds until there is something to do by the clock; None for never."""
        if self._stopping:
            return None
        moments = [*self._due.values()]
        if self._door.rests_until is not None:
            moments.append(self._door.rests_until)
        if self._valkey is not None and self._valkey.due is not None:
            moments.append(self._valkey.due)
        return max(0.0, min(moments) - time.monotonic()) if moments else None

    def _catch_up(self) -> None:
        """Do what is due."""
        if self._stopping:
            return
        now = time.monotonic()
        self._door.look(now)
        if self._valkey is not None:
            self._valkey.look(now)
        for number in [number for number, due in self._due.items() if due <= now]:
            del self._due[number]
            self._start(number)

    # Workers.

    def _start(self, number: int) -> None:
        # A signal between the fork and the worker's own handlers would wake us and not it.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        try:
            worker = start(number, self._serve, self._forget)
        except OSError as exc:
            self._replace(number, f"worker {number} could not be started: {exc.strerror}", steady=False)
        else:
            self._workers[number] = worker
            self._selector.register(worker.link.socket, selectors.EVENT_READ, worker)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def _forget(self) -> None:
        """In a worker: let go of all that is the supervisor's, so that its end is seen by all workers."""
        signal.set_wakeup_fd(-1)
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        self._selector.close()
        self._listener.close()
        for end in (self._wakeup, self._waker, *(worker.link.socket for worker in self._workers.values())):
            end.close()

    def _serve(self, link: WorkerEnd) -> int:
        """In a worker: its whole life."""
        share_metrics(self._metrics, part=f"{link.number}")
        try:
            return self._work(link)
        finally:
            if link.orphaned:
                shutil.rmtree(self._folder, ignore_errors=True)

    def _heed(self, worker: Worker, events: int) -> None:
        """Something moves on a worker's link."""
        if self._workers.get(worker.number) is not worker:
            return  # it was reaped in this very turn
        if events & selectors.EVENT_WRITE:
            self._selector.modify(worker.link.socket, selectors.EVENT_READ, worker)
            worker.full = False
        if events & selectors.EVENT_READ:
            try:
                for news in worker.link.news():
                    self._learn(worker, news)
            except Gone:
                worker.leaving = True
                # Its process may take a while longer to end, and be seen when it does.
                self._selector.unregister(worker.link.socket)
        self._door.hand_over(time.monotonic())

    def _learn(self, worker: Worker, news: News) -> None:
        match news:
            case Ready(greeting):
                worker.ready_at = time.monotonic()
                self._prove(greeting)
            case Load(taken, open):
                worker.tally.taken = taken
                worker.tally.open = open
            case Leaving():
                worker.leaving = True
            case Failed(code, sentence):
                worker.failure = (code, sentence)
            case _:
                assert_never(news)

    def _prove(self, greeting: Any) -> None:
        """A worker serves: once, let clients in, and start the other workers."""
        if self._proven or self._stopping:
            return
        self._proven = True
        self._door.open(BACKLOG)
        self._on_ready(greeting)
        self._due |= dict.fromkeys(range(2, self._count + 1), time.monotonic())

    def _reap(self) -> None:
        """See who has ended, and have them replaced."""
        for number, worker in list(self._workers.items()):
            code = worker.ended()
            if code is None:
                continue
            with contextlib.suppress(Gone):
                for news in worker.link.news():
                    self._learn(worker, news)  # its last words
            with contextlib.suppress(KeyError):
                self._selector.unregister(worker.link.socket)
            worker.link.close()
            del self._workers[number]
            forget_part(self._metrics, part=f"{number}")
            if self._stopping:
                continue
            if worker.failure is not None and not self._proven:
                raise NoWorker(worker.failure[1], worker.failure[0])
            why = describe(code) if worker.failure is None else f"failed: {worker.failure[1]}"
            steady = worker.ready_at is not None and time.monotonic() - worker.ready_at > STEADY
            self._replace(number, f"{worker} {why}", steady=steady)

    def _replace(self, number: int, what: str, *, steady: bool) -> None:
        bad_starts = self._bad_starts[number] = 0 if steady else self._bad_starts.get(number, 0) + 1
        if not self._proven and bad_starts == TRIES:
            raise NoWorker(f"no worker came up, {TRIES} times in a row; {what}")
        delay = delay_after(bad_starts)
        self._due[number] = time.monotonic() + delay
        when = f" in {delay:.1f} s" if delay else ""
        logger.warning("%s; another one takes its place%s", what, when)

    # Signals.

    def _heed_signals(self) -> None:
        for number in self._wakeup.recv(4096):
            if number == signal.SIGCHLD:
                self._reap()
                if self._valkey is not None:
                    self._valkey.reap(time.monotonic(), restart=not self._stopping)
            elif not self._stopping:
                self._stop()
            elif number == signal.SIGINT:
                for worker in self._workers.values():
                    worker.signal(signal.SIGKILL)

    def _stop(self) -> None:
        """Let nobody in any more, and have the workers send their clients away and end."""
        self._stopping = True
        self._due.clear()
        self._door.close()
        self._on_stop(sum(worker.tally.load for worker in self._workers.values()))
        for worker in self._workers.values():
            worker.signal(signal.SIGTERM)


@contextlib.contextmanager
def _signals_to(waker: socket.socket) -> Iterator[None]:
    """Have signals written into a socket; elsewhere in the program nothing happens when they come."""
    handlers = {number: signal.signal(number, _nothing) for number in _SIGNALS}
    before = signal.set_wakeup_fd(waker.fileno(), warn_on_full_buffer=False)
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _handles() -> float:
    """File handles that a process may have."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return float("inf") if soft == resource.RLIM_INFINITY else soft
