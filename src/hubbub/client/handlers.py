"""Who wants to hear of which message, and telling them one after another."""

import asyncio
import inspect
import logging
from collections.abc import Callable
from typing import Any, Final, TypeAlias

logger = logging.getLogger(__name__)

Message: TypeAlias = dict[str, Any]
"""One message as it came: a JSON object with a `type`."""
Handler: TypeAlias = Callable[[Message], Any]
"""A plain function or a coroutine function; what it returns is not looked at."""

EVERYTHING: Final = "*"


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

    async def tell(self, message: Message) -> None:
        """Call who wants this message, in order of registration, then who wants everything.

        Each is awaited before the next. One that raises is logged with the message type and changes nothing
        for the others.
        """
        message_type = message["type"]
        for handler in (*self._by_type.get(message_type, ()), *self._by_type.get(EVERYTHING, ())):
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
