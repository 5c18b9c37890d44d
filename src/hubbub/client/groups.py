"""The groups that are wanted, and how they are joined, joined again, refused and left.

A group is wanted from the first join until it is left, refused or taken away (`spec/client.md`, *Groups*).
With each new connection all of them go along in the `connect`; what is asked for later is joined by itself.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any

from hubbub.client.backoff import Backoff
from hubbub.client.calls import Calls, reply_error
from hubbub.client.channel import OWN, Channel
from hubbub.client.errors import CallTimeoutError, RemovedError
from hubbub.client.listener import Item
from hubbub.client.positions import position_in
from hubbub.client.wire import Message
from hubbub.core.messages import Position

logger = logging.getLogger(__name__)

Write = Callable[[Message], None]


class Membership:
    """One group that is wanted."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.is_joined = False
        self.asked_by: int | None = None
        self.failures = 0
        self.timer: asyncio.TimerHandle | None = None
        self.callers: set[asyncio.Future[None]] = set()

    def settle(self, error: Exception | None) -> None:
        """Tell those who wait to be members."""
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        callers, self.callers = self.callers, set()
        for caller in callers:
            if caller.done():
                continue
            if error is None:
                caller.set_result(None)
            else:
                caller.set_exception(error)


class Groups:
    """Every group that is wanted, in the order of joining, and what is the client's own.

    kept: positions from elsewhere, for names that are not followed yet.
    """

    def __init__(
        self,
        positions: Mapping[str, Position],
        calls: Calls,
        backoff: Backoff,
        call_timeout: float,
        on_gap: Callable[[Item], None],
        on_end: Callable[[Membership, Exception], None],
    ) -> None:
        self.wanted: dict[str, Membership] = {}
        self.own = {name: Channel(name, positions.get(name)) for name in OWN}
        self.kept = {name: at for name, at in positions.items() if name not in self.own}
        self._calls = calls
        self._backoff = backoff
        self._call_timeout = call_timeout
        self._on_gap = on_gap
        self._on_end = on_end
        self._write: Write | None = None
        self._said_hello: dict[str, Position | None] = {}
        self._leaving: set[str] = set()

    @property
    def channels(self) -> list[Channel]:
        """All that is followed."""
        return [*self.own.values(), *(membership.channel for membership in self.wanted.values())]

    # What the program wants.

    def want(self, name: str) -> Membership:
        """Want a group; where there is a connection, it is joined at once."""
        membership = self.wanted.get(name)
        if membership is None:
            membership = self.wanted[name] = Membership(Channel(name, self.kept.pop(name, None)))
            self._leaving.discard(name)
            self._join(membership)
        return membership

    def leave(self, name: str) -> None:
        """Want a group no longer; its listeners hear nothing more."""
        self.kept.pop(name, None)
        membership = self.wanted.pop(name, None)
        if membership is None:
            return
        for listener in membership.channel.listeners:
            listener.clear()
            listener.end(None)
        membership.settle(RemovedError(name, 0, "it was left"))
        self._leaving.add(name)

    # A connection comes and goes.

    def start(self) -> None:
        """A connection will come: what no loop has asked for yet goes on waiting for one."""
        for channel in self.channels:
            channel.rewind()
            for listener in channel.listeners:
                listener.resume()

    def hello(self) -> Message:
        """The fields of a `connect`."""
        self._leaving.clear()
        self._said_hello = {name: each.channel.held for name, each in self.wanted.items()}
        recover = {name: each.held for name, each in self.own.items() if each.held is not None}
        fields: Message = {}
        if recover:
            fields["recover"] = recover
        if self._said_hello:
            fields["groups"] = self._said_hello
        return fields

    def greeted(self, greeting: Message, write: Write) -> None:
        """The server has answered; what was wanted or left meanwhile is said now."""
        self._write = write
        positions, recovered = _mapping(greeting.get("positions")), _mapping(greeting.get("recovered"))
        for name, channel in self.own.items():
            position = position_in(positions.get(name))
            if name in recovered or channel.held is None:
                self._place(channel, position, recovered.get(name) is True)
        for name in self._said_hello:
            if name not in self.wanted:
                self._leaving.add(name)
                write({"type": "leave_group", "group_name": name})
        for name, membership in self.wanted.items():
            if name not in self._said_hello:
                self._join(membership)

    def lost(self) -> None:
        """The connection has ended; what is wanted stays wanted."""
        self._write = None
        for membership in self.wanted.values():
            membership.is_joined = False
            if membership.timer is not None:
                membership.timer.cancel()
                membership.timer = None

    def stop(self, reason: Exception | None) -> None:
        """No connection will come: every listener ends by this, after what waits for it."""
        self.lost()
        for channel in self.channels:
            for listener in channel.listeners:
                listener.end(reason)
        for membership in self.wanted.values():
            membership.settle(reason or RemovedError(membership.channel.name, 0, "the client has left"))

    # What the server says.

    def on_joined(self, message: Message) -> None:
        """`group_joined`: an answer, or a gap, or the server's own idea."""
        name, id = message.get("group_name"), message.get("id")
        if not isinstance(name, str):
            return
        position = position_in(message)
        recovered = message.get("recovered")
        if name in self.own:
            self._place(self.own[name], position, recovered is True)
            return
        membership = self.wanted.get(name)
        if membership is None:
            if id is not None or name in self._leaving:
                return
            # The application or a token put us there: we come back to it like to any other.
            membership = self.wanted[name] = Membership(Channel(name, self.kept.pop(name, None)))
        elif isinstance(id, int) and membership.asked_by is not None and id < membership.asked_by:
            return  # an answer to somebody who has left since
        if not membership.is_joined or recovered is False:
            self._place(membership.channel, position, recovered is True)
        membership.is_joined = True
        membership.failures = 0
        membership.settle(None)

    def on_left(self, message: Message) -> None:
        """`group_left`."""
        self._leaving.discard(str(message.get("group_name")))

    def on_error(self, message: Message, hello: int) -> bool:
        """An `error`; whether it was about a group."""
        id, name = message.get("id"), message.get("group_name")
        if id is None:
            return False
        if id == hello and isinstance(name, str):
            membership = self.wanted.get(name)
        else:
            membership = next((each for each in self.wanted.values() if each.asked_by == id), None)
        if membership is None:
            return False
        error = reply_error(message)
        if error.temporary:
            self._ask_later(membership)
        else:
            self._end(membership, error)
        return True

    def on_removed(self, message: Message) -> None:
        """`group_removed`."""
        membership = self.wanted.get(str(message.get("group_name")))
        if membership is not None:
            code, reason = message.get("code"), message.get("reason")
            name = membership.channel.name
            code = code if isinstance(code, int) else 0
            self._end(membership, RemovedError(name, code, reason if isinstance(reason, str) else ""))

    def on_dropped(self, message: Message) -> None:
        """`messages_dropped`: said before what shows it."""
        name = str(message.get("channel")).partition(":")[0]
        channel = self.own.get(name)
        if channel is None:
            membership = self.wanted.get(str(message.get("channel")))
            if membership is None:
                return
            channel = membership.channel
        self._on_gap(channel.gap(channel.held))
        channel.hole_is_told = True

    # What they share.

    def _join(self, membership: Membership) -> None:
        if self._write is None:
            return
        name, held = membership.channel.name, membership.channel.held
        membership.asked_by = self._calls.new_id()
        message = {"type": "join_group", "group_name": name, "id": membership.asked_by}
        if held is not None:
            message["recover"] = {"epoch": held.epoch, "offset": held.offset}
        self._write(message)
        loop = asyncio.get_running_loop()
        membership.timer = loop.call_later(self._call_timeout, self._give_up, membership)

    def _give_up(self, membership: Membership) -> None:
        name = membership.channel.name
        self._end(membership, CallTimeoutError(f"Joining {name!r} was not answered in time."))
        if self._write is not None:
            self._leaving.add(name)
            self._write({"type": "leave_group", "group_name": name})

    def _ask_later(self, membership: Membership) -> None:
        delay = self._backoff.delay(membership.failures)
        membership.failures += 1
        if membership.timer is not None:
            membership.timer.cancel()
        logger.info("%s cannot be joined now; asking again in %.1f s.", membership.channel.name, delay)
        membership.timer = asyncio.get_running_loop().call_later(delay, self._join, membership)

    def _end(self, membership: Membership, reason: Exception) -> None:
        """This group is over, and nothing else is."""
        self.wanted.pop(membership.channel.name, None)
        self._on_end(membership, reason)
        membership.settle(reason)
        for listener in membership.channel.listeners:
            listener.end(reason)

    def _place(self, channel: Channel, position: Position | None, recovered: bool) -> None:
        """The server says from where on everything follows."""
        held = channel.held
        if held is not None and not recovered and position != held:
            self._on_gap(channel.gap(position))
        else:
            channel.held = position


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
