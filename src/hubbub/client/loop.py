"""The `async for` of a group and of what is a client's own."""

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, Generic, Literal, TypeVar

from msgspec import Raw, Struct

from hubbub.client.errors import ClientError, MisfitError
from hubbub.client.listener import Gap, Item, Listener
from hubbub.client.wire import Envelope
from hubbub.core.messages import Position

logger = logging.getLogger(__name__)

T = TypeVar("T")

SHOWN: Final = 200
"""Bytes of a message that go into a log."""
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
    is_chat = message.get("type") == "chat_message"
    return GroupMessage(
        message.get("group_name", ""),
        read(message.get("message" if is_chat else "data")),
        message.get("from", ""),
        message.get("timestamp", ""),
        Position(message.get("epoch", epoch), message["offset"]) if "offset" in message else None,
        message.get("tags", {}),
        "chat" if is_chat else "data",
    )


class Loop:
    """One loop of the program over one listener, which ends with it.

    listener: what it listens to, or what gives that when the first message is asked for.
    """

    _listener: Listener | None = None

    def __init__(
        self,
        listener: Listener | Callable[[], Awaitable[Listener]],
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
        listener = self._listener
        if listener is None:
            listener = self._listener = await self._begin()
        while True:
            try:
                # What waits is taken without waiting: a busy loop is what this has to be quick for.
                item = listener.take() if listener.items else await listener.next()
            except ClientError:
                self.close()
                raise
            if item is None:
                self.close()
                raise StopAsyncIteration
            what = item.what
            if type(what) is Gap:
                return what
            try:
                return self._build(item, self._read)
            except (ValueError, TypeError, RecursionError) as exc:
                self._misfit(what, exc)

    def _misfit(self, what: Any, exc: Exception) -> None:
        data = bytes(what.message if what.type == "chat_message" else what.data)
        sentence = f"A message of {what.group_name or what.type} is not of the type asked for: {exc}"
        if self._misfits == "raise":
            raise MisfitError(sentence, data) from exc
        logger.warning("%s. Passed over: %r", sentence, data[:SHOWN])

    async def aclose(self) -> None:
        """End the loop: what still waits was not given."""
        self.close()

    def close(self) -> None:
        """As `aclose`."""
        if self._listener is not None:
            self._on_end(self._listener)

    def __del__(self) -> None:
        # A `break` says nothing to what was looped over; that it is gone then, does.
        self.close()
