"""Work that nobody waits for."""

import logging
from collections.abc import Coroutine, Generator
from typing import Any

from hubbub.brokers.base import BrokerUnavailable
from hubbub.hub.hooks import Refuse

logger = logging.getLogger("hubbub")


async def quietly(work: Coroutine[Any, Any, Any], what: str) -> None:
    """Do it; what fails is logged and goes no further."""
    try:
        await work
    except (Refuse, BrokerUnavailable) as exc:
        logger.warning("%s: %s", what, exc)
    except Exception:
        logger.exception("%s failed", what)


def advance(work: Coroutine[Any, Any, None]) -> Coroutine[Any, Any, None] | None:
    """Do what can be done of it without waiting, here and now; what is left of it, None where that was all.

    Most clients come in and join without waiting for anything, and a task would be a tenth of what that
    takes. This is for work in which nothing asks what task it is part of, as `asyncio.timeout` does.
    """
    try:
        awaited = work.send(None)
    except StopIteration:
        return None
    return _go_on(_Rest(work, awaited))


async def _go_on(rest: "_Rest") -> None:
    await rest


class _Rest:
    """Some work that has begun, and what it waits for."""

    __slots__ = ("_awaited", "_work")

    def __init__(self, work: Coroutine[Any, Any, None], awaited: Any) -> None:
        self._work = work
        self._awaited = awaited

    def __await__(self) -> Generator[Any, Any, None]:
        work, awaited = self._work, self._awaited
        thrown: BaseException | None
        while True:
            try:
                said = yield awaited
            except BaseException as exc:  # noqa: BLE001 - whatever it is, it is for the work
                said, thrown = None, exc
            else:
                thrown = None
            try:
                awaited = work.send(said) if thrown is None else work.throw(thrown)
            except StopIteration:
                return
