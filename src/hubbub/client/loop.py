"""The `async for` of a group and of what is a client's own."""

import logging
from collections.abc import Callable, Mapping
from typing import Any, Final, Generic, Literal, TypeVar

import msgspec
from msgspec import Raw, Struct, field

from hubbub.client.errors import ClientError, MisfitError
from hubbub.client.listener import Gap, Item, Listener
from hubbub.client.wire import Envelope
from hubbub.core.messages import Position

logger = logging.getLogger(__name__)

T = TypeVar("T")

SHOWN: Final = 200
"""Bytes of a message that go into a log."""
NOTHING: Final = object()
"""What a loop gives of a message that it passes over."""
Misfits = Literal["skip", "raise"]


class GroupMessage(Struct, Generic[T], frozen=True):
    """A message of a group.

    data: what was published, as the type that was asked for.
    sender: the client id of who sent it, empty where the server's side did.
    timestamp: when the server took it, in ISO 8601.
    position: where it stands in the group's history, None where it is not kept.
    kind: whether it was sent as a chat message or as data.
    """

    group: str
    data: T
    sender: str
    timestamp: str
    position: Position | None
    tags: dict[str, str]
    kind: Literal["chat", "data"]


class OwnMessage(Struct, Generic[T], frozen=True):
    """A broadcast, or a notification to this client, to its user or of the system.

    channel: `$all`, `$client` or `$user`.
    kind: `broadcast_message`, `personal_notification` or `system_notification`.
    """

    channel: str
    data: T
    timestamp: str
    position: Position | None
    tags: dict[str, str]
    kind: str


class HistoryEntry(Struct):
    """A message in a history, as it came."""

    type: str
    group_name: str = ""
    data: Any = None
    message: Any = None
    sender: str = field(default="", name="from")
    timestamp: str = ""
    offset: int = 0
    epoch: str = ""
    tags: dict[str, str] | None = None


def group_message(item: Item, read: Callable[[Raw], Any]) -> GroupMessage[Any]:
    """What a program is given of a message in a group."""
    what = item.what
    assert isinstance(what, Envelope)
    position = item.position if what.offset else None
    tags = what.tags or {}
    data = read(what.data if what.type == "group_message" else what.message)
    kind: Literal["chat", "data"] = "data" if what.type == "group_message" else "chat"
    return GroupMessage(what.group_name, data, what.sender, what.timestamp, position, tags, kind)


def own_message(item: Item, read: Callable[[Raw], Any]) -> OwnMessage[Any]:
    """What a program is given of a broadcast or a notification."""
    what = item.what
    assert isinstance(what, Envelope)
    position = item.position if what.offset else None
    return OwnMessage(
        item.channel.name, read(what.data), what.timestamp, position, what.tags or {}, what.type
    )


def message_of_history(
    message: Mapping[str, Any], epoch: str, read: Callable[[Any], Any]
) -> GroupMessage[Any]:
    """What a program is given of a message in a history."""
    what = msgspec.convert(message, HistoryEntry)
    is_chat = what.type == "chat_message"
    return GroupMessage(
        what.group_name,
        read(what.message if is_chat else what.data),
        what.sender,
        what.timestamp,
        Position(what.epoch or epoch, what.offset) if what.offset else None,
        what.tags or {},
        "chat" if is_chat else "data",
    )


class Loop:
    """One loop of the program over one listener, which ends with it.

    listener: what it listens to, or what gives that when the first message is asked for.
    """

    _listener: Listener | None = None
    _is_closed = False

    def __init__(
        self,
        listener: Listener | Callable[[], Listener],
        build: Callable[[Item, Callable[[Raw], Any]], Any],
        read: Callable[[Raw], Any],
        misfits: Misfits,
        on_end: Callable[[Listener], None],
    ) -> None:
        if isinstance(listener, Listener):
            self._listener = listener
        else:
            self._begin = listener
        self._build = build
        self._read = read
        self._misfits = misfits
        self._on_end = on_end

    def __aiter__(self) -> "Loop":
        return self

    async def __anext__(self) -> Any:
        while True:
            listener = self._listener
            # What waits is taken without waiting: a busy loop is what this has to be quick for.
            if listener is not None and listener.items:
                item = listener.take()
            else:
                item = await self._next()
            given = self.give(item)
            if given is not NOTHING:
                return given

    async def _next(self) -> Item:
        if self._is_closed:
            raise StopAsyncIteration
        listener = self._listener
        if listener is None:
            listener = self._listener = self._begin()
        listener.is_in_use = True
        try:
            item = await listener.next()
        except ClientError:
            self.close()
            raise
        if item is None:
            self.close()
            raise StopAsyncIteration
        return item

    def give(self, item: Item) -> Any:
        """What the program is given of this; `NOTHING` where it is no message of the type asked for."""
        what = item.what
        if type(what) is Gap:
            return what
        try:
            return self._build(item, self._read)
        except (ValueError, TypeError, RecursionError) as exc:
            self._misfit(what, exc)
            return NOTHING

    def _misfit(self, what: Any, exc: Exception) -> None:
        data = bytes(what.message if what.type == "chat_message" else what.data)
        sentence = f"A message of {what.group_name or what.type} is not of the type asked for: {exc}"
        if self._misfits == "raise":
            raise MisfitError(sentence, data) from exc
        logger.warning("%s. Passed over: %r", sentence, data[:SHOWN])

    # For a program in another thread.

    async def fill(self, most: int) -> None:
        """Wait for a message, and have it and what waits after it at hand."""
        await self._next()
        if self._listener is not None:
            self._listener.hand_over(most)

    def from_hand(self) -> Item | None:
        """The next that is at hand."""
        listener = self._listener
        return None if listener is None else listener.from_hand()

    async def aclose(self) -> None:
        """End the loop: what still waits was not given."""
        self.close()

    def close(self) -> None:
        """As `aclose`."""
        self._is_closed = True
        listener, self._listener = self._listener, None
        if listener is not None:
            self._on_end(listener)

    def __del__(self) -> None:
        # A `break` says nothing to what was looped over; that it is gone then, does.
        self.close()
