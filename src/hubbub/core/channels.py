"""Channel names and the namespaces whose options apply to them.

A channel is a non-empty name of at most 255 bytes of UTF-8 without control characters. `$` begins the
reserved names (`$all`, `$client:<id>`, `$user:<id>`), which clients cannot join by name. `ns:rest` belongs to
namespace `ns` where one of that name is configured, and to the default namespace otherwise.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from hubbub.core.grants import Action, Who

MAX_NAME_BYTES: Final = 255
# C0 and C1 controls, line and paragraph separators, and lone surrogates that no UTF-8 can carry.
_UNPRINTABLE: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


class BadName(ValueError):
    """A channel name or client id that is not legal; the sentence says why."""


def check_name(name: str, what: str) -> str:
    """Return `name` when it is a legal name, or raise `BadName` with a sentence that calls it `what`."""
    if not name:
        raise BadName(f"{what} is empty; give it at least one character")
    if not (name.isascii() and name.isprintable()) and _UNPRINTABLE.search(name):
        raise BadName(f"{what} holds a control character; use printable text")
    if len(name) > MAX_NAME_BYTES or (not name.isascii() and len(name.encode()) > MAX_NAME_BYTES):
        raise BadName(f"{what} is longer than {MAX_NAME_BYTES} bytes")
    return name


def check_group(name: str, what: str = "group_name") -> str:
    """As `check_name`, for a channel that clients may name: the reserved `$` is refused too."""
    check_name(name, what)
    if name[0] == "$":
        raise BadName(f"{what} begins with '$', which is reserved; choose another first character")
    return name


def check_client_id(client_id: str) -> str:
    """As `check_name`, for a client id: it stands in paths, so it holds no `/`."""
    check_name(client_id, "client_id")
    if "/" in client_id:
        raise BadName("client_id holds '/', which separates paths; choose another character")
    return client_id


class SlowPolicy(StrEnum):
    """What happens to a publication for a connection that cannot keep up."""

    DISCONNECT = "disconnect"
    """Frames wait up to the outbox's bound; past it the connection is closed as slow (3008)."""
    DROP_OLDEST = "drop_oldest"
    """Frames wait up to the outbox's bound; past it the oldest go, and the client is told how many."""
    LATEST = "latest"
    """Only the newest frame per channel and key waits; the client is told how many were passed over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Namespace:
    """The options of the channels in one namespace.

    history_size: publications kept per channel, 0 for no history.
    history_ttl: seconds that a publication is kept.
    presence: keep who is in each channel.
    join_leave: tell members when somebody joins or leaves.
    slow_policy: what happens to a connection that cannot keep up.
    join, publish, see_presence, see_history: to which clients the action is left ("everyone", "members" who
        have joined, those whose "token" grants it, or "nobody").
    """

    history_size: int = 0
    history_ttl: float = 300.0
    presence: bool = True
    join_leave: bool = False
    slow_policy: SlowPolicy = SlowPolicy.DISCONNECT
    join: Who = Who.EVERYONE
    publish: Who = Who.EVERYONE
    see_presence: Who = Who.MEMBERS
    see_history: Who = Who.MEMBERS

    def __post_init__(self) -> None:
        if self.history_size < 0:
            raise ValueError(f"history_size is {self.history_size}; give 0 (no history) or more")
        if self.history_ttl <= 0:
            raise ValueError(f"history_ttl is {self.history_ttl}; give the seconds to keep a publication")
        if self.slow_policy not in list(SlowPolicy):
            raise ValueError(f"slow_policy is {self.slow_policy!r}; give one of {', '.join(SlowPolicy)}")
        object.__setattr__(self, "slow_policy", SlowPolicy(self.slow_policy))
        for action in ("join", "publish", "see_presence", "see_history"):
            who = getattr(self, action)
            if who not in list(Who) or (action == "join" and who == Who.MEMBERS):
                raise ValueError(
                    f"{action} is {who!r}; give one of {', '.join(Who)}, and for join not members"
                )
            object.__setattr__(self, action, Who(who))

    def who_may(self, action: Action) -> Who:
        """To whom an action is left."""
        match action:
            case Action.JOIN:
                return self.join
            case Action.PUBLISH:
                return self.publish
            case Action.PRESENCE:
                return self.see_presence
            case Action.HISTORY:
                return self.see_history

    @property
    def has_history(self) -> bool:
        """Whether channels here keep their publications."""
        return self.history_size > 0


@dataclass(frozen=True, slots=True)
class Namespaces:
    """Finds the namespace of a channel."""

    named: Mapping[str, Namespace] = field(default_factory=dict)
    default: Namespace = field(default_factory=Namespace)
    # Broadcasts and personal notifications: no presence, and no history until somebody asks for it.
    reserved: Namespace = field(default_factory=lambda: Namespace(presence=False))

    def of(self, channel: str) -> Namespace:
        """The options that apply to `channel`."""
        reserved = channel[:1] == "$"
        if not self.named:
            return self.reserved if reserved else self.default
        prefix, colon, _ = channel.partition(":")
        if reserved:
            return self.named.get(prefix, self.reserved)
        return self.named.get(prefix, self.default) if colon else self.default
