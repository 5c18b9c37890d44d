"""Who wants to hear of which message, and telling them one after another."""

import asyncio
import inspect
import logging
from collections.abc import Callable
from typing import Any, Final, TypeAlias

from hubbub.client.wire import Message

logger = logging.getLogger(__name__)

Handler: TypeAlias = Callable[[Message], Any]
"""A plain function or a coroutine function; what it returns is not looked at."""

EVERYTHING: Final = "*"
STATE: Final = "state"
"""Changes of state are told to those who ask for them by name."""


class Handlers:
    """The handlers by message type; `"*"` hears everything."""

    def __init__(self) -> None:
        self._by_type: dict[str, list[Handler]] = {}

    def add(self, message_type: str, handler: Handler) -> None:
        """Call `handler` with every message of this type, after those that were added before."""
        if not callable(handler):
            raise TypeError(
                f"The handler for {message_type!r} is {handler!r}; give a function or a coroutine."
            )
        # A new list each time: whoever is being told right now goes on with the old one.
        self._by_type[message_type] = [*self._by_type.get(message_type, ()), handler]

    def want(self, message_type: str) -> bool:
        """Whether anybody would hear of this."""
        if message_type in self._by_type:
            return True
        return EVERYTHING in self._by_type and message_type != STATE

    async def tell(self, message: Message) -> None:
        """Call who wants this message, in order of registration, then who wants everything.

        Each is awaited before the next. One that raises is logged with the message type and changes nothing
        for the others.
        """
        message_type = message["type"]
        everything = self._by_type.get(EVERYTHING, ()) if message_type != STATE else ()
        for handler in (*self._by_type.get(message_type, ()), *everything):
            try:
                result = handler(message)
                if inspect.isawaitable(result):
                    await result
            except asyncio.CancelledError:
                if _being_cancelled():
                    raise
                # Something that the handler waited for was cancelled: that is the handler's own affair.
                logger.exception("The handler %r for %r was cancelled from inside.", handler, message_type)
            except Exception:
                logger.exception("The handler %r for %r raised.", handler, message_type)


def _being_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
