"""One connection's state machine: commands in, effects out.

It decides what a connection may do and remembers what it has joined. It performs nothing: what takes a
broker, a hook or a clock comes back as `Perform`, and the hub does it.
"""

from dataclasses import dataclass
from enum import Enum, auto
from typing import Final, TypeAlias, assert_never

from hubbub.core import codes
from hubbub.core.channels import BadName, check_group
from hubbub.core.codes import CloseReason
from hubbub.core.messages import (
    BadCommand,
    Command,
    CommandId,
    Connect,
    Failed,
    GetHistory,
    GetPresence,
    GetPresenceStats,
    Hello,
    Message,
    Ping,
    Pong,
    Publish,
    Refresh,
    Rpc,
    Subscribe,
    Unsubscribe,
    Unsubscribed,
)


class State(Enum):
    """Where a connection stands."""

    NEW = auto()
    OPEN = auto()
    CLOSED = auto()


TRANSITIONS: Final[dict[tuple[State, type[Command]], State]] = {
    (State.NEW, Hello): State.NEW,
    (State.NEW, Ping): State.NEW,
    (State.NEW, Pong): State.NEW,
    (State.NEW, Connect): State.OPEN,
    (State.OPEN, Hello): State.OPEN,
    (State.OPEN, Subscribe): State.OPEN,
    (State.OPEN, Unsubscribe): State.OPEN,
    (State.OPEN, Publish): State.OPEN,
    (State.OPEN, GetPresence): State.OPEN,
    (State.OPEN, GetPresenceStats): State.OPEN,
    (State.OPEN, GetHistory): State.OPEN,
    (State.OPEN, Rpc): State.OPEN,
    (State.OPEN, Refresh): State.OPEN,
    (State.OPEN, Ping): State.OPEN,
    (State.OPEN, Pong): State.OPEN,
}
"""The legal commands of each state; of the absent ones, those of NEW are answered
with an error, and all others close the connection as a protocol fault."""


@dataclass(frozen=True, slots=True)
class Send:
    """Write this message to the connection."""

    message: Message


@dataclass(frozen=True, slots=True)
class Close:
    """Close the connection."""

    reason: CloseReason


@dataclass(frozen=True, slots=True)
class Perform:
    """Do what this legal command asks for."""

    command: Command


Effect: TypeAlias = Send | Close | Perform


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one connection may take.

    groups: groups joined at once. errors: bad commands in a row, after which the connection is closed.
    """

    groups: int = 128
    errors: int = 10


class Stage(Enum):
    """How far a membership has come."""

    JOINING = auto()
    """Asked for; nobody knows of it yet."""
    IN = auto()
    """It is given what is published."""
    ANNOUNCED = auto()
    """And the other members were told."""


class Session:
    """The state of one connection. `channels` are those it has joined or is joining."""

    __slots__ = ("_errors", "_limits", "channels", "client_id", "state", "user")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._errors = 0
        self.state = State.NEW
        self.client_id = ""
        self.user = ""
        self.channels: dict[str, Stage] = {}

    def receive(self, command: Command) -> list[Effect]:
        """Take one command and say what is to happen."""
        try:
            self.state = TRANSITIONS[self.state, type(command)]
        except KeyError:
            if self.state is State.NEW:  # its `connect` may have failed, by no fault of its own
                return self.fault(BadCommand("`connect` comes first", command_id(command)))
            return self.close(codes.BAD_PROTOCOL)
        try:
            effects = self._decide(command)
        except BadName as exc:
            assert not isinstance(command, Connect)
            return self.fault(BadCommand(str(exc), command.id))
        self._errors = 0
        return effects

    def _decide(self, command: Command) -> list[Effect]:
        match command:
            case Connect(client_id, user):
                self.client_id, self.user = client_id, user
                return [Perform(command)]
            case Hello(id, _, groups):
                if self.state is State.OPEN:
                    sentence = "`connect` comes first or not at all; connect with `?connect=first` for it"
                    return [Send(Failed(id, codes.BAD_REQUEST, sentence))]
                for channel in groups:
                    check_group(channel, "a name in `groups`")
                if len(groups) > self._limits.groups:
                    sentence = f"a connection joins at most {self._limits.groups} groups; name fewer"
                    return [Send(Failed(id, codes.LIMIT_EXCEEDED, sentence))]
                return [Perform(command)]
            case Subscribe(id, channel):
                check_group(channel)
                if channel not in self.channels and len(self.channels) >= self._limits.groups:
                    sentence = f"a connection joins at most {self._limits.groups} groups; leave one first"
                    return [Send(Failed(id, codes.LIMIT_EXCEEDED, sentence))]
                return [Perform(command)]
            case Unsubscribe(id, channel):
                check_group(channel)
                if channel not in self.channels:
                    return [Send(Unsubscribed(id, channel))]
                return [Perform(command)]
            case Publish() | GetPresence() | GetPresenceStats() | GetHistory():
                check_group(command.channel)
                return [Perform(command)]
            case Rpc() | Refresh() | Ping():
                return [Perform(command)]
            case Pong():
                return []
            case _:
                assert_never(command)

    def fault(self, fault: BadCommand) -> list[Effect]:
        """Answer something that is no legal command; too many in a row close the connection."""
        self._errors += 1
        answer = Send(failure(fault))
        if self._errors >= self._limits.errors:
            return [answer, *self.close(codes.TOO_MANY_ERRORS)]
        return [answer]

    def close(self, reason: CloseReason) -> list[Effect]:
        """End the session; nothing is legal afterwards."""
        self.state = State.CLOSED
        return [Close(reason)]


def failure(fault: BadCommand) -> Failed:
    """The error answer to something that is no legal command."""
    return Failed(fault.id, fault.error or codes.BAD_REQUEST, fault.message)


def command_id(command: Command) -> CommandId:
    """The mark to echo in the answer to `command`."""
    return None if isinstance(command, Connect) else command.id
