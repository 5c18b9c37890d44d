"""Tells the backend what has happened: in order, signed, again until it says that it has it, within bounds.

Events wait in memory, at the front those that are being delivered. A batch is one POST; a status of 200 to
299 says that the backend has taken it. Anything else is tried again, after pauses that grow, with the same
ids: what arrives twice can be told by them. Dropped, and counted, is what does not fit in, what has become
too old, and what the backend says it will never take.
"""

import asyncio
import logging
import random
import uuid
from collections import deque
from collections.abc import Callable
from typing import Any, Final, Literal, NamedTuple

import msgspec

from hubbub.core.json import to_json
from hubbub.hub import SessionInfo
from hubbub.webhooks.metrics import Outcome, WebhookMetrics
from hubbub.webhooks.options import WebhookOptions
from hubbub.webhooks.post import NoAnswer, Poster
from hubbub.webhooks.seldom import Seldom
from hubbub.webhooks.shapes import Event

logger = logging.getLogger("hubbub.webhooks")

MOST_AT_ONCE: Final = 100
"""Events in one batch."""
BATCH_BYTES: Final = 256 * 1024
"""The size of a batch, unless one event alone is larger."""
TIMEOUT: Final = 5.0
"""Seconds that a delivery may take; nobody waits for it."""
FIRST_PAUSE: Final = 0.25
LONGEST_PAUSE: Final = 30.0
"""Seconds till a delivery is tried again, growing."""
HURRY: Final = 0.1
"""The same at the end, when little time is left."""

NEVER: Final = frozenset({400, 413, 422})
"""Statuses after which the same batch would fare no better."""

Reason = Literal["full", "rejected", "expired", "shutdown"]


class _Waiting(NamedTuple):
    text: bytes
    since: float


class Notifications:
    """The events of one hub on their way to the backend."""

    def __init__(
        self,
        node: str,
        url: str,
        poster: Poster,
        options: WebhookOptions,
        metrics: WebhookMetrics,
        *,
        timestamp: Callable[[], str],
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._prefix = b'{"node":' + msgspec.json.encode(node) + b',"events":['
        self._url = url
        self._poster = poster
        self._options = options
        self._metrics = metrics
        self._timestamp = timestamp
        self._draw = draw
        self._queue: deque[_Waiting] = deque()
        self._bytes = 0
        self._more = asyncio.Event()
        self._empty = asyncio.Event()
        self._hurry = asyncio.Event()
        self._seldom = Seldom(logger)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return len(self._queue)

    def start(self) -> None:
        """Begin to deliver, in the running event loop."""
        self._hurry.clear()
        self._loop = asyncio.get_running_loop()
        self._task = self._loop.create_task(self._deliver())

    async def stop(self) -> None:
        """Deliver what waits, as far as there is time for it; idempotent."""
        task, self._task = self._task, None
        if task is None:
            return
        self._hurry.set()
        if self._queue:
            self._empty.clear()
            try:
                async with asyncio.timeout(self._options.drain_timeout):
                    await self._empty.wait()
            except TimeoutError:
                pass
        task.cancel()
        await asyncio.wait([task])
        self._drop(len(self._queue), "shutdown", "the server stops")
        self._loop = None

    # What happens.

    def connected(self, session: SessionInfo) -> None:
        """A client was greeted."""
        self._tell("connect", **_told_of(session))

    def disconnected(self, session: SessionInfo) -> None:
        """A connection has ended."""
        self._tell("disconnect", **_told_of(session))

    def occupied(self, channel: str) -> None:
        """A channel has got its first member."""
        self._tell("occupied", channel=channel)

    def vacated(self, channel: str) -> None:
        """A channel has lost its last member."""
        self._tell("vacated", channel=channel)

    def _tell(self, type_: Literal["connect", "disconnect", "occupied", "vacated"], **fields: Any) -> None:
        event = Event(id=str(uuid.uuid4()), type=type_, time=self._timestamp(), **fields)
        text = bytes(to_json(event))
        options = self._options
        if self._loop is None:
            self._lost(1, "shutdown", "the hub is not running")
        elif len(self._queue) >= options.max_events or self._bytes + len(text) > options.max_event_bytes:
            self._lost(1, "full", "too many wait for the backend")
        else:
            self._queue.append(_Waiting(text, self._loop.time()))
            self._bytes += len(text)
            self._metrics.waiting.inc()
            self._more.set()

    # The delivery.

    async def _deliver(self) -> None:
        failures = 0
        while True:
            self._expire()
            if not self._queue:
                self._empty.set()
                self._more.clear()
                await self._more.wait()
            batch = self._batch()
            try:
                await self._post(batch)
            except NoAnswer as exc:
                self._seldom.warn("failed", "webhook events: %s; it is tried again", exc)
                failures += 1
                await self._pause(failures)
            except Exception:
                logger.exception("delivering events failed")
                failures += 1
                await self._pause(failures)
            else:
                failures = 0

    def _batch(self) -> list[bytes]:
        batch: list[bytes] = []
        size = 0
        for text, _ in self._queue:
            size += len(text)
            if len(batch) == MOST_AT_ONCE or (batch and size > BATCH_BYTES):
                break
            batch.append(text)
        return batch

    async def _post(self, batch: list[bytes]) -> None:
        """Deliver a batch, or drop it. Raises `NoAnswer` where it is to be tried again."""
        assert self._loop is not None
        began = self._loop.time()
        outcome = Outcome.CANCELLED
        try:
            await self._poster.post(self._url, self._prefix + b",".join(batch) + b"]}", timeout=TIMEOUT)
            outcome = Outcome.OK
        except NoAnswer as exc:
            outcome = exc.outcome
            if exc.status in NEVER:
                self._drop(len(batch), "rejected", str(exc))
                return
            if not 200 <= exc.status < 300:  # else nobody asked what it says
                raise
            outcome = Outcome.OK
        finally:
            self._metrics.calls.labels("events", outcome.value).inc()
            self._metrics.seconds.labels("events").observe(self._loop.time() - began)
        self._remove(len(batch))
        self._metrics.delivered.inc(len(batch))

    async def _pause(self, failures: int) -> None:
        """Wait before the next attempt; at the end, less."""
        pause = min(FIRST_PAUSE * 2.0 ** min(failures - 1, 20), LONGEST_PAUSE)
        try:
            async with asyncio.timeout(pause * (0.5 + 0.5 * self._draw())):
                await self._hurry.wait()
        except TimeoutError:
            return
        await asyncio.sleep(HURRY)

    def _expire(self) -> None:
        assert self._loop is not None
        oldest = self._loop.time() - self._options.patience
        old = 0
        for waiting in self._queue:
            if waiting.since > oldest:
                break
            old += 1
        self._drop(old, "expired", "the backend has not taken them in time")

    def _drop(self, count: int, reason: Reason, why: str) -> None:
        """Give up the first ones."""
        if count:
            self._remove(count)
            self._lost(count, reason, why)

    def _remove(self, count: int) -> None:
        for _ in range(count):
            self._bytes -= len(self._queue.popleft().text)
        self._metrics.waiting.dec(count)

    def _lost(self, count: int, reason: Reason, why: str) -> None:
        self._metrics.dropped.labels(reason).inc(count)
        self._seldom.warn(reason, "webhook events: %d dropped: %s", count, why)


def _told_of(session: SessionInfo) -> dict[str, Any]:
    return {
        "client": session.connection_id,
        "client_id": session.client_id,
        "user": session.user,
        "info": session.info,
        "address": session.address,
    }
