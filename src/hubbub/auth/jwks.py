"""Keys that somebody publishes at a URL: kept for a while, refreshed before they run out.

Theory of operation. Nothing runs in the background: whoever verifies a token and finds the keys old has them
fetched, and waits for that only if they have run out. A fetch is shared by all who want one. How often there
is one is bounded by time alone, never by what tokens say: keys are refreshed when due, after failures ever
more slowly, and for names that nobody knows at most once in half a minute.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from typing import Final, TypeAlias

from hubbub.auth.claims import AuthUnavailable
from hubbub.auth.fetching import CannotFetch, Document, check_url, fetch
from hubbub.auth.keys import Ring, read_keys

logger = logging.getLogger("hubbub.auth")

Load: TypeAlias = Callable[[], Awaitable[Document]]
"""Fetches a JWK set. Raises `CannotFetch`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How often keys are fetched, in seconds.

    usual: how long keys are kept where their server does not say; what it says counts between shortest and
    longest. stale: how long they are kept while it cannot be reached. unknown: between fetches for names that
    are not known. pause, longest_pause: between attempts that fail, growing.
    """

    usual: float = 600.0
    shortest: float = 60.0
    longest: float = 86400.0
    stale: float = 86400.0
    unknown: float = 30.0
    pause: float = 1.0
    longest_pause: float = 60.0


USUAL_PACE: Final = Pace()
EARLY: Final = 0.8
"""The part of their time after which keys are refreshed while the old ones are still good."""


class PublishedKeys:
    """The keys of a JWK set that is published."""

    def __init__(
        self,
        load: Load,
        algorithms: Collection[str] = (),
        *,
        pace: Pace = USUAL_PACE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._load = load
        self._algorithms = algorithms
        self._pace = pace
        self._clock = clock
        self._ring: Ring | None = None
        self._fetched_at = 0.0
        self._lasts = 0.0
        self._failures = 0
        self._failed_at = 0.0
        self._asked_at = float("-inf")
        self._trouble = "they were not fetched yet"
        self._fetching: asyncio.Task[None] | None = None

    @classmethod
    def at(
        cls, url: str, algorithms: Collection[str] = (), *, insecure: bool = False, pace: Pace = USUAL_PACE
    ) -> "PublishedKeys":
        """The keys at a URL. Raises `ValueError` for one that is not to be trusted."""
        check_url(url, "the URL of keys", insecure=insecure)
        return cls(lambda: fetch(url), algorithms, pace=pace)

    async def start(self) -> None:
        """Fetch them; where that fails, it is tried again when they are needed."""
        await self._fetched()

    async def stop(self) -> None:
        """Give up a fetch that is under way."""
        task, self._fetching = self._fetching, None
        if task is not None and not task.done():
            task.cancel()
            await asyncio.wait([task])

    async def ring(self) -> Ring:
        """The keys. Raises `AuthUnavailable` where there are none, or none of the last day."""
        age = self._clock() - self._fetched_at
        if self._ring is None or age >= self._pace.stale:
            if self._may_try():
                await self._fetched()
            return self._usable()
        if age >= self._lasts * EARLY and self._may_try():
            task = self._fetch()
            if age >= self._lasts and not self._failures:
                await asyncio.wait([task])
        return self._usable()

    async def renewed(self, kid: str) -> Ring | None:
        """The keys once more, if they were not fetched for an unknown name lately."""
        now = self._clock()
        if self._fetching is not None and not self._fetching.done():
            await self._fetched()
        elif now - self._asked_at >= self._pace.unknown:
            self._asked_at = now
            await self._fetched()
        if self._failures:  # whether there is a new key of that name, nobody can say now
            raise AuthUnavailable(f"keys cannot be fetched: {self._trouble}")
        return self._ring if self._ring is not None and self._ring.knows(kid) else None

    def _may_try(self) -> bool:
        """Whether the last failure, if it was one, was long enough ago."""
        pause = min(self._pace.pause * 2 ** min(self._failures - 1, 16), self._pace.longest_pause)
        return not self._failures or self._clock() - self._failed_at >= pause

    def _usable(self) -> Ring:
        if self._ring is None or self._clock() - self._fetched_at >= self._pace.stale:
            raise AuthUnavailable(f"keys cannot be fetched: {self._trouble}")
        return self._ring

    async def _fetched(self) -> None:
        await asyncio.wait([self._fetch()])  # one who gives up takes nobody along

    def _fetch(self) -> asyncio.Task[None]:
        """The fetch that is under way, or a new one."""
        task, loop = self._fetching, asyncio.get_running_loop()
        if task is None or task.done() or task.get_loop() is not loop:
            task = self._fetching = loop.create_task(self._refresh())
        return task

    async def _refresh(self) -> None:
        try:
            document = await self._load()
            ring = Ring(read_keys({"keys": None, **document.content}, published=True), self._algorithms)
        except (CannotFetch, ValueError) as exc:
            kept = "" if self._ring is None else "; those of before stay"
            logger.warning("keys cannot be fetched: %s%s", exc, kept)
            self._failed(str(exc))
            return
        except Exception as exc:
            logger.exception("fetching keys failed")  # the next time may be better
            self._failed(type(exc).__name__)
            return
        pace = self._pace
        wanted = pace.usual if document.max_age is None else document.max_age
        self._lasts = min(max(wanted, pace.shortest), pace.longest)
        self._ring, self._fetched_at = ring, self._clock()
        self._failures, self._trouble = 0, ""

    def _failed(self, trouble: str) -> None:
        self._trouble = trouble
        self._failures += 1
        self._failed_at = self._clock()
