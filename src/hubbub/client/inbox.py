"""What arrives on a connection, and who gets it.

This runs in the middle of reading from the socket, so nothing here waits. The path of a publication is the
hot one: read its envelope, place it, and put it where its listeners find it.
"""

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from hubbub.client.calls import Calls
from hubbub.client.channel import Channel
from hubbub.client.dispatcher import Dispatcher
from hubbub.client.groups import Groups, Membership
from hubbub.client.listener import Gap, Item, Listener
from hubbub.client.wire import PUBLICATIONS, Envelope, Format, Message

if TYPE_CHECKING:
    from hubbub.client.connection import Connection

logger = logging.getLogger(__name__)

SHOWN: Final = 80
"""Bytes of a frame that go into a log."""


class Inbox:
    """Sorts messages: answers to calls, news to groups, publications to listeners, everything to handlers."""

    def __init__(
        self, format: Format, dispatcher: Dispatcher, on_full: Callable[[Listener | Dispatcher], None]
    ) -> None:
        self._format = format
        self._envelope = format.envelope
        self._dispatcher = dispatcher
        self._handlers = dispatcher.handlers
        self._on_full = on_full
        self.groups: Groups
        self.calls: Calls
        self.connection: Connection | None = None
        self.on_greeting: Callable[[Connection, str], None]

    def receive(self, payload: bytes, text: bool) -> None:
        """One message has come."""
        try:
            envelope = self._envelope(payload)
        except (ValueError, RecursionError):
            self._unusual(payload)
            return
        type_ = envelope.type
        if type_ not in PUBLICATIONS:
            self._unusual(payload)
            return
        name = envelope.group_name
        if name:
            membership = self.groups.wanted.get(name)
            # Before `group_joined` comes only what a membership that was left had on its way.
            channel = membership.channel if membership is not None and membership.is_joined else None
        else:
            channel = self._own_channel(envelope)
        item = None
        if channel is not None:
            listeners = channel.listeners
            if listeners and channel.is_crowded:
                if channel.held is None:  # nothing will bring this back
                    self.tell_gap(channel.gap(None))
                self._overflow()
                return
            item = channel.take(envelope, self.tell_gap)
            if item is None:
                return
            for listener in listeners:
                if listener.put(item):
                    self._on_full(listener)
        if self._handlers.want(type_):
            try:
                message = self._format.decode(payload)
            except (ValueError, RecursionError) as exc:
                # The envelope is whole, and its data is not: no other listener is to suffer for that.
                logger.warning("Passed over a %s that cannot be read: %s: %r", type_, exc, payload[:SHOWN])
            else:
                self._tell(message, item)

    def _own_channel(self, envelope: Envelope) -> Channel:
        if envelope.type == "personal_notification":
            return self.groups.own["$user" if envelope.channel == "$user" else "$client"]
        return self.groups.own["$all"]

    @property
    def holding(self) -> set[Listener | Dispatcher]:
        """Who has so much waiting that nothing more is to be read."""
        holding: set[Listener | Dispatcher] = {
            listener for channel in self.groups.channels for listener in channel.listeners if listener.holds
        }
        return holding | {self._dispatcher} if self._dispatcher.is_full else holding

    def _overflow(self) -> None:
        if self.connection is not None:
            self.connection.overflow()

    def _unusual(self, payload: bytes) -> None:
        """Whatever is no publication, or no legal one."""
        try:
            message = self._format.decode(payload)
        except (ValueError, RecursionError):  # ValueError: msgspec.DecodeError, and UnicodeDecodeError
            message = None
        connection = self.connection
        if connection is None:
            return
        if not isinstance(message, dict) or not isinstance(message.get("type"), str):
            if connection.is_greeted:
                logger.warning("Passed over a frame that is no message with a type: %r", payload[:SHOWN])
            else:
                connection.greet_otherwise()
            return
        if not connection.is_greeted and not connection.greet(message):
            return
        self._sort(connection, message)
        if self._handlers.want(message["type"]):
            self._tell(message)

    def _sort(self, connection: "Connection", message: Message) -> None:
        match message["type"]:
            case "group_joined":
                self.groups.on_joined(message)
            case "group_left":
                self.groups.on_left(message)
            case "group_removed":
                self.groups.on_removed(message)
            case "messages_dropped":
                self.groups.on_dropped(message)
            case "error":
                if not self.groups.on_error(message, connection.hello_id):
                    if message.get("id") is None:
                        logger.warning("The server says: %s", message.get("message"))
                    self.calls.answer(message)
            case "ping":
                connection.pong()
            case "disconnect":
                connection.on_farewell(message)
            case publication if publication in PUBLICATIONS:
                logger.warning("Passed over a %s with a field of another type.", publication)
            case "published" | "history" | "presence" | "presence_stats" | "rpc_result" | "refreshed":
                self.calls.answer(message)

    def _tell(self, message: Message, item: Item | None = None) -> None:
        if self._dispatcher.put(message, item):
            self._on_full(self._dispatcher)

    def tell_gap(self, item: Item) -> None:
        """Messages are missing here."""
        told = False
        for listener in item.channel.listeners:
            if listener.gaps:
                told = True
                if listener.put_gap(item):
                    self._on_full(listener)
        self.announce_gap(item, told=told)

    def on_group_end(self, membership: Membership, reason: Exception) -> None:
        """A group has ended by itself; where nobody hears of that, the log does."""
        heard = membership.callers or membership.channel.listeners
        if not heard and not self._handlers.want("error"):
            logger.warning("The group %s has ended: %s", membership.channel.name, reason)

    def announce_gap(self, item: Item, *, told: bool) -> None:
        """Tell the handlers of a gap, and the log where nobody else hears of it."""
        assert isinstance(item.what, Gap)
        name, position = item.what
        if self._handlers.want("gap"):
            message: Message = {"type": "gap", "name": name}
            if position is not None:
                message |= {"epoch": position.epoch, "offset": position.offset}
            if not self._dispatcher.replace_gap(message, item):
                self._tell(message, item)
        elif not told:
            logger.warning("Messages of %s are missing, and cannot be had again.", name)
