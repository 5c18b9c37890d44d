"""One endpoint of the backend: how many calls at once, how long, and whether at all."""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from typing import TypeVar

import msgspec

from hubbub.core.json import to_json
from hubbub.webhooks.breaker import Breaker, Pauses, Permit
from hubbub.webhooks.gate import Full, Gate, TurnedAway
from hubbub.webhooks.metrics import Outcome, WebhookMetrics
from hubbub.webhooks.options import WebhookOptions
from hubbub.webhooks.post import Header, NoAnswer, Poster
from hubbub.webhooks.seldom import Seldom

logger = logging.getLogger("hubbub.webhooks")

T = TypeVar("T")


class _NotMade(NoAnswer):
    """A call that was not made, and tells nothing of the backend."""


class Endpoint:
    """Calls to one URL. A slow backend costs its own bounds: so many calls, for so long."""

    def __init__(
        self,
        name: str,
        url: str,
        poster: Poster,
        options: WebhookOptions,
        metrics: WebhookMetrics,
    ) -> None:
        self._name = name
        self._url = url
        self._poster = poster
        self._timeout = options.timeout
        self._gate = Gate(options.concurrency, options.queue)
        self._breaker = Breaker(Pauses(first=options.probe_after))
        self._metrics = metrics
        self._open = metrics.open.labels(name)
        self._in_flight = metrics.in_flight.labels(name)
        self._seconds = metrics.seconds.labels(name)
        self._seldom = Seldom(logger)

    async def ask(
        self, request: msgspec.Struct, decode: Callable[[bytes], T], headers: Iterable[Header] = ()
    ) -> T:
        """The backend's answer, decoded. Raises `NoAnswer`, at once where it would have to wait too long."""
        began = time.perf_counter()
        outcome = Outcome.CANCELLED
        self._in_flight.inc()
        try:
            answer = await self._let_through(bytes(to_json(request)), headers)
            result = self._decoded(answer, decode)
            outcome = Outcome.OK
        except NoAnswer as exc:
            outcome = exc.outcome
            self._seldom.warn(outcome, "webhook %s: %s; that counts as a no", self._name, exc)
            raise
        else:
            return result
        finally:
            self._in_flight.dec()
            if outcome not in (Outcome.FULL, Outcome.OPEN):
                self._seconds.observe(time.perf_counter() - began)
            if outcome is not Outcome.OK:
                self.count(outcome)

    def count(self, outcome: Outcome) -> None:
        """A call ended like this. An answer is counted by who understands it."""
        self._metrics.calls.labels(self._name, outcome.value).inc()

    async def _let_through(self, body: bytes, headers: Iterable[Header]) -> bytes:
        """Post it, if the breaker lets it through, when it is its turn."""
        now = asyncio.get_running_loop().time
        permit = self._breaker.ask(now())
        if permit is None:
            raise _NotMade(Outcome.OPEN, "the backend does not answer and is left alone")
        deadline = now() + self._timeout
        try:
            await self._turn(deadline)
            try:
                answer = await self._poster.post(self._url, body, headers, timeout=deadline - now())
            finally:
                self._gate.leave()
        except _NotMade:
            self._breaker.abandoned(permit)
            raise
        except NoAnswer as exc:
            if not exc.ill:
                self._answered(permit)
            elif self._breaker.failed(permit, now()):
                self._opened(exc)
            raise
        except BaseException:
            self._breaker.abandoned(permit)
            raise
        self._answered(permit)
        return answer

    async def _turn(self, deadline: float) -> None:
        """Wait for the gate. Raises `_NotMade`."""
        try:
            async with asyncio.timeout_at(deadline):
                await self._gate.enter()
        except Full:
            raise _NotMade(Outcome.FULL, "too many calls are waiting for the backend") from None
        except TurnedAway:
            raise _NotMade(Outcome.OPEN, "the backend does not answer and is left alone") from None
        except TimeoutError:
            raise _NotMade(Outcome.TIMEOUT, f"no turn within {self._timeout:g} seconds") from None

    def _answered(self, permit: Permit) -> None:
        if self._breaker.succeeded(permit):
            self._open.dec()
            logger.info("webhook %s: the backend answers again", self._name)

    def _opened(self, why: NoAnswer) -> None:
        self._open.inc()
        logger.warning("webhook %s: calls fail (%s); the backend is left alone for a while", self._name, why)
        self._gate.turn_away()

    @staticmethod
    def _decoded(answer: bytes, decode: Callable[[bytes], T]) -> T:
        try:
            # JSON text that is passed on as it is would carry bytes that are no UTF-8 to clients.
            answer.decode()
            return decode(answer)
        except (ValueError, RecursionError) as exc:
            raise NoAnswer(Outcome.GARBAGE, f"the answer is not of the documented shape: {exc}") from exc
