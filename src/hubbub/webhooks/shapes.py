"""What is sent to the backend and what it answers: the shapes that proxies of the field use.

A backend answers `{"result": {…}}` for yes, `{"error": {"code", "message"}}` for no, or `{"disconnect":
{"code", "reason"}}` to have the connection closed: exactly one of them. Fields that are not known are passed
over.
"""

from collections.abc import Callable
from typing import Annotated, Any, Final, Generic, Literal, TypeVar

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, UnsetType

# What is sent.


class Call(Struct, kw_only=True):
    """What every call says.

    client: the id of the connection, empty for one at the door. client_id: the name it connects under, empty
    where it has none yet. user: empty where nobody has said who it is. transport: `websocket` or `sse`.
    """

    client: str = ""
    client_id: str = ""
    user: str = ""
    transport: str = "websocket"
    protocol: Literal["json"] = "json"
    encoding: Literal["json"] = "json"


class ConnectCall(Call, kw_only=True):
    """A client is at the door. `path` and `address` are its own; headers come as those of the call."""

    path: str = ""
    address: str = ""


class SubscribeCall(Call, kw_only=True):
    """A client wants to join a channel. `info` is what was said of it at connect."""

    channel: str
    info: Any = None


class PublishCall(Call, kw_only=True):
    """A client wants to publish to a channel."""

    channel: str
    data: Any
    info: Any = None


class RpcCall(Call, kw_only=True):
    """A client calls a method."""

    method: str
    data: Any
    info: Any = None


class RefreshCall(Call, kw_only=True):
    """What was said of a client at connect is about to expire."""

    info: Any = None


# What is answered.

Seconds = Annotated[int, Meta(ge=0, le=2**40)]
Name = Annotated[str, Meta(max_length=255)]
MOST_GROUPS: Final = 1000


class Refusal(Struct):
    """No. Codes of one's own are 400 to 1999; `temporary` tells the client to try again."""

    code: Annotated[int, Meta(ge=100, le=1999)]
    message: Annotated[str, Meta(max_length=1000)] = "refused"
    temporary: bool = False


class Goodbye(Struct):
    """Close the connection. A client comes back after a code below 4500."""

    code: Annotated[int, Meta(ge=4000, le=4999)]
    reason: Annotated[str, Meta(max_length=123)] = ""

    def __post_init__(self) -> None:
        if len(self.reason.encode()) > 123:  # RFC 6455 §5.5
            raise ValueError("a reason is longer than 123 bytes")


class ConnectResult(Struct):
    """Let it in.

    user: who it is. client_id: replaces the one it came with. info: what presence shows of it. groups: joined
    by the server. channels: a list is joined too; an object names what it may do, by pattern, as the claim of
    a token does. subs: the keys are joined too. expire_at: seconds since the epoch, 0 for never.
    """

    user: Name = ""
    client_id: Name = ""
    info: Any = None
    groups: Annotated[list[Name], Meta(max_length=MOST_GROUPS)] = []
    channels: list[Name] | dict[str, list[str]] = []
    subs: dict[Name, Any] = {}
    expire_at: Seconds = 0


class SubscribeResult(Struct):
    """Let it join."""


class PublishResult(Struct):
    """Let it publish. `data`, where it is there, is published in place of what the client sent."""

    data: Raw | UnsetType = UNSET


class RpcResult(Struct):
    """What the method returns."""

    data: Raw | UnsetType = UNSET


class RefreshResult(Struct):
    """Whether it may stay.

    expired: it may not. expire_at: till when it may, in seconds since the epoch, 0 for ever. info: replaces
    what presence shows of it.
    """

    expired: bool = False
    expire_at: Seconds = 0
    info: Any | UnsetType = UNSET


R = TypeVar("R")


class Answer(Struct, Generic[R]):
    """One of three."""

    result: R | None = None
    error: Refusal | None = None
    disconnect: Goodbye | None = None

    def __post_init__(self) -> None:
        if (self.result is None) + (self.error is None) + (self.disconnect is None) != 2:
            raise ValueError("give exactly one of `result`, `error` and `disconnect`")


def decoder(result: type[R]) -> Callable[[bytes], Answer[R]]:
    """Decodes an answer, strictly. What it returns raises `ValueError` where the shape is another."""
    decode: Callable[[bytes], Answer[R]] = msgspec.json.Decoder(Answer[result]).decode  # type: ignore[valid-type]
    return decode


# What the backend is told.


class Event(Struct, kw_only=True, omit_defaults=True):
    """Something that has happened. `id` is the same however often it is delivered."""

    id: str
    type: Literal["connect", "disconnect", "occupied", "vacated"]
    time: str
    client: str = ""
    client_id: str = ""
    user: str = ""
    info: Any = None
    address: str = ""
    channel: str = ""


class Events(Struct):
    """Events of one node, in the order of their happening."""

    node: str
    events: list[Event]
