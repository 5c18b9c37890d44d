"""One connection of this node: its session, its transport, and what waits for it."""

import logging
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

from hubbub.core import codes
from hubbub.core.bucket import Bucket
from hubbub.core.channels import SlowPolicy
from hubbub.core.codes import CloseReason
from hubbub.core.fanout import Encoded
from hubbub.core.messages import BadCommand, Command, Disconnecting, Dropped, Failed, Member, Message
from hubbub.core.outbox import Outbox, Outcome
from hubbub.core.session import Close, Effect, Perform, Send, Session
from hubbub.hub.hooks import Identity, SessionInfo, to_json
from hubbub.hub.options import Options
from hubbub.hub.ports import Format, Transport
from hubbub.protocols.base import WireProtocol

if TYPE_CHECKING:
    from hubbub.hub.hub import Hub

logger = logging.getLogger("hubbub.connection")


_SPEAKS_BINARY: Final = codes.UNSUPPORTED_DATA._replace(
    reason="this connection speaks MessagePack in binary frames"
)


class Budget:
    """How much a connection may send for now."""

    __slots__ = ("_bytes", "_messages")

    def __init__(self, options: Options, now: float) -> None:
        self._messages = self._bytes = None
        if options.messages_per_second:
            self._messages = Bucket(options.messages_per_second, options.messages_burst, now)
        if options.bytes_per_second:
            burst = max(options.bytes_burst, options.max_message_bytes)  # else some could never be sent
            self._bytes = Bucket(options.bytes_per_second, burst, now)

    def exceeded(self, size: int, now: float) -> str:
        """Take one message of so many bytes; the limit that has no room for it, or nothing."""
        if self._messages is not None and not self._messages.take(now):
            return "messages_per_second"
        if self._bytes is not None and not self._bytes.take(now, size):
            return "bytes_per_second"
        return ""


def _too_fast(options: Options) -> BadCommand:
    messages, size = options.messages_per_second, options.bytes_per_second
    limits = [f"{messages:g} messages"] if messages else []
    limits += [f"{size:.0f} bytes"] if size else []
    return BadCommand(
        f"this came too fast and was passed over; send at most {' and '.join(limits)} a second",
        error=codes.TOO_MANY_REQUESTS,
    )


def _nowhere(data: bytes) -> None:
    """Where a closed connection writes to."""


class Connection:
    """Glues one session to one transport. A transport makes it by `Hub.attach` and feeds it."""

    __slots__ = (
        "address",
        "asked_at",
        "bucket",
        "budget",
        "closed_with",
        "first_size",
        "format",
        "granted",
        "hub",
        "identity",
        "last_seen",
        "number",
        "outbox",
        "protocol",
        "session",
        "slow",
        "transport",
        "waiting",
        "write",
    )

    def __init__(
        self,
        hub: "Hub",
        transport: Transport,
        protocol: WireProtocol,
        format: Format,
        *,
        number: int,
        address: str,
        identity: Identity,
    ) -> None:
        self.hub = hub
        self.transport = transport
        self.protocol = protocol
        self.format = format
        self.number = number
        self.address = address
        self.identity = identity
        self.granted: frozenset[str] = frozenset()
        """Groups that a token of their own let it into, or the application; no fresh token ends that."""
        self.session = Session(hub.options.limits)
        self.write = transport.write
        self.slow = False
        self.outbox: Outbox | None = None
        # Frames and commands behind a command that is under way.
        self.waiting: deque[bytes | Command] | None = None
        self.closed_with: CloseReason | None = None
        self.last_seen = 0.0
        self.asked_at = 0.0
        self.bucket = 0
        self.budget: Budget | None = None
        self.first_size: int | None = None

    @property
    def id(self) -> str:
        """Names this connection among all nodes."""
        return f"{self.hub.node_id}-{self.number:x}"

    @property
    def open(self) -> bool:
        """Whether it can still be written to."""
        return self.closed_with is None

    def describe(self) -> SessionInfo:
        """This connection, as hooks see it."""
        session = self.session
        return SessionInfo(
            connection_id=self.id,
            client_id=session.client_id,
            user=session.user,
            info=self.identity.info,
            address=self.address,
            transport=self.format.transport,
        )

    def as_member(self) -> Member:
        """This connection, as presence shows it."""
        info = None if self.identity.info is None else to_json(self.identity.info)
        return Member(self.session.client_id, self.session.user, info)

    # From the transport.

    def receive(self, payload: bytes, *, binary: bool = False) -> None:
        """One message came in; a text message is UTF-8."""
        self.last_seen = now = self.hub.now()
        if not self._affords(len(payload), now):
            self.apply(self.session.fault(_too_fast(self.hub.options)))
        elif binary is not self.protocol.binary:
            self.close(_SPEAKS_BINARY if self.protocol.binary else codes.UNSUPPORTED_DATA)
        elif self.waiting is not None:
            self.waiting.append(payload)
        elif self.open:
            self.hub.commands.handle(self, payload)

    def seen(self, size: int = 0) -> None:
        """The client gave a sign of life that is no message: a control frame, or a part of a message."""
        self.last_seen = now = self.hub.now()
        if not self._affords(size, now):
            self.close(codes.TOO_MANY_ERRORS)

    def _affords(self, size: int, now: float) -> bool:
        """Whether one more message of so many bytes is within the connection's limits."""
        if self.budget is None:
            # Any limit has room for one message, and of a crowd at the door each sends one.
            first, self.first_size = self.first_size, size
            if first is None:
                return True
            self.budget = Budget(self.hub.options, now)
            self.budget.exceeded(first, now)
        limit = self.budget.exceeded(size, now)
        if limit:
            self.hub.metrics.limited(limit)
        return not limit

    def pause_writing(self) -> None:
        """The transport reports back-pressure: frames wait in an outbox from here."""
        self.slow = True
        if self.outbox is None:
            self.outbox = Outbox(self.hub.options.outbox_bytes)

    def resume_writing(self) -> None:
        """The transport is ready again: what waited goes out, and gaps are told."""
        self.slow = False
        outbox, self.outbox = self.outbox, None
        if outbox is None or not self.open:
            return
        gaps = [Dropped(channel, count) for channel, count in outbox.take_dropped().items()]
        for gap in gaps:
            self.hub.metrics.replied(gap)
        told = [self.format.frame(gap) for gap in gaps]
        waited = outbox.take_all()
        if told or waited:
            self.write(b"".join((*told, waited)))

    def lost(self, reason: CloseReason) -> None:
        """The transport is gone, or the peer said good-bye."""
        self._end(reason)

    # To the transport.

    def send(self, message: Message) -> None:
        """Write one message, or let it wait behind what waits."""
        if self.closed_with is not None:
            return
        self.hub.metrics.replied(message)
        if isinstance(message, Failed):
            self.hub.metrics.failed(message.error.code)
        self.send_frame(self.format.frame(message))

    def send_all(self, messages: Sequence[Message]) -> None:
        """Write messages in one go, or let them wait behind what waits."""
        if self.closed_with is not None or not messages:
            return
        for message in messages:
            self.hub.metrics.replied(message)
        self.send_frame(b"".join([self.format.frame(message) for message in messages]))

    def send_frame(self, frame: bytes) -> None:
        """Write a ready frame, or let it wait behind what waits."""
        if not self.slow:
            self.write(frame)
        elif self.outbox is not None and self._queue(self.outbox.put_reply, frame):
            self.close(codes.SLOW)

    def _queue(self, put: Callable[..., Outcome], *arguments: Any) -> bool:
        """Put into the outbox, count what had to go for it, and say whether the bound is broken."""
        assert self.outbox is not None
        before = dict(self.outbox.dropped) if self.outbox.dropped else {}
        outcome = put(*arguments)
        if outcome is Outcome.DROPPED:
            for channel, count in self.outbox.dropped.items():
                gone = count - before.get(channel, 0)
                if gone:
                    self.hub.metrics.dropped(self.hub.namespaces.of(channel).slow_policy, gone)
        return outcome is Outcome.OVERFLOW

    def write_later(self, item: Encoded, policy: SlowPolicy) -> None:
        """Queue a slow connection's publications under their channel's policy."""
        if self.outbox is None:
            return
        for publication, frame in zip(item.publications, item.frames, strict=True):
            if not frame:
                continue  # it could not be encoded
            if self._queue(self.outbox.put, publication.channel, frame, policy, publication.key):
                self.hub.metrics.dropped(policy, 1)
                self.close(codes.SLOW)
                return

    def close(self, reason: CloseReason) -> None:
        """Say why, and close. What the connection held is let go of before the transport is done."""
        if self.closed_with is not None:
            return
        if not self.slow and reason.code >= 3000:
            self.send(Disconnecting(reason))
        self._end(reason)
        self.transport.close(reason.code, reason.reason)

    def apply(self, effects: list[Effect]) -> None:
        """Do what the session decided."""
        for effect in effects:
            match effect:
                case Send(message):
                    if isinstance(message, Failed) and message.error is codes.LIMIT_EXCEEDED:
                        self.hub.metrics.limited("groups_per_connection")
                    self.send(message)
                case Close(reason):
                    self.close(reason)
                case Perform(command):
                    self.hub.commands.perform(self, command)

    def _end(self, reason: CloseReason) -> None:
        if self.closed_with is not None:
            return
        self.closed_with = reason
        self.session.close(reason)
        self.write = _nowhere
        self.outbox = None
        self.hub.connections.detach(self)
