"""Calls under way: what was asked, by the id that its answer will carry."""

import asyncio
from collections.abc import Callable

from hubbub.client.errors import ReplyError
from hubbub.client.wire import Message


class Calls:
    """Futures by id. Ids count up for as long as the client lives, so that a late answer meets nobody."""

    def __init__(self, on_change: Callable[[], None]) -> None:
        self._waiting: dict[object, asyncio.Future[Message]] = {}
        self._last = 0
        self._on_change = on_change

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def new_id(self) -> int:
        """An id that nothing else has."""
        self._last += 1
        return self._last

    def open(self) -> tuple[int, asyncio.Future[Message]]:
        """An id, and what will hold its answer."""
        id = self.new_id()
        future = self._waiting[id] = asyncio.get_running_loop().create_future()
        self._on_change()
        return id, future

    def forget(self, id: int) -> None:
        """Nobody waits for this any longer."""
        future = self._waiting.pop(id, None)
        if future is not None:
            if future.done() and not future.cancelled():
                future.exception()  # looked at, or asyncio would log it as an error that nobody saw
            self._on_change()

    def forget_all(self) -> None:
        """Nobody waits for anything: the event loop of those who did is closed."""
        self._waiting.clear()

    def answer(self, message: Message) -> None:
        """An answer has come; one that nobody waits for is passed over."""
        id = message.get("id")
        future = self._waiting.get(id) if isinstance(id, int) else None
        if future is None or future.done():
            return
        if message["type"] == "error":
            future.set_exception(reply_error(message))
        else:
            future.set_result(message)

    def fail(self, reason: Callable[[], Exception]) -> None:
        """No answer will come to any of them."""
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(reason())


def reply_error(message: Message) -> ReplyError:
    """What an `error` says."""
    code, sentence = message.get("code"), message.get("message")
    return ReplyError(
        code if isinstance(code, int) else 0,
        sentence if isinstance(sentence, str) else "an error without a sentence",
        message.get("temporary") is True,
    )
