"""The application's say: hooks for connect, disconnect, subscribe, unsubscribe, publish and rpc."""

import asyncio
import inspect
import logging
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar, get_type_hints

import msgspec
from msgspec import Raw
from msgspec.structs import replace

from hubbub.core import codes
from hubbub.core.codes import Error
from hubbub.core.grants import Grants
from hubbub.core.json import to_json as to_json  # others in this room have it from here
from hubbub.core.messages import BadCommand

logger = logging.getLogger("hubbub.hooks")

Hook = Callable[..., Any]
H = TypeVar("H", bound=Hook)


class ConnectRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A client at the door: what its handshake says.

    client_id: the id of the path, None where the server is to make one. headers: by lower-case name.
    address: the client's, from X-Forwarded-For where a trusted proxy sent it.
    transport: `websocket` or `sse`.
    """

    client_id: str | None
    path: str
    headers: Mapping[str, str] = msgspec.field(default_factory=dict)
    query: Mapping[str, str] = msgspec.field(default_factory=dict)
    address: str = ""
    transport: str = "websocket"

    @property
    def cookies(self) -> dict[str, str]:
        """The request's cookies by name."""
        pairs = (pair.strip().partition("=") for pair in self.headers.get("cookie", "").split(";"))
        return {name: value for name, equals, value in pairs if equals}


class Identity(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """Who a client is and what it may do, as the application or its token says.

    user: a name that may be on many clients. client_id: replaces the id of the path. info: JSON that presence
    shows of the connection. groups: joined by the server as soon as the client is in. grants: what it may do
    in which channels; None leaves that to the namespaces. expires_at, issued_at: seconds since the epoch.
    token_id: what names the token when it is to be revoked.
    """

    user: str = ""
    client_id: str | None = None
    info: Any = None
    groups: tuple[str, ...] = ()
    grants: Grants | None = None
    expires_at: float | None = None
    issued_at: float | None = None
    token_id: str = ""
    by_hook: "Identity | None" = None
    """What connect hooks have said; a fresh token does not end it."""

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Identity):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in _SAID)


_SAID: Final = tuple(name for name in Identity.__struct_fields__ if name != "by_hook")
"""What makes two identities the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionInfo:
    """A connection, as hooks see it."""

    connection_id: str
    client_id: str
    user: str = ""
    info: Any = None
    address: str = ""
    transport: str = "websocket"


@dataclass(frozen=True, slots=True)
class Instead:
    """Returned by a publish hook to have other data published than what the client sent."""

    data: Any


class Refuse(Exception):
    """Raised by a hook to say no; the reason is shown to the client.

    At connect the handshake is answered with HTTP `status`; elsewhere the command fails with error `code`.
    """

    def __init__(
        self,
        reason: str = "refused",
        *,
        status: int = 403,
        code: int = 103,
        retry_after: float | None = None,
    ) -> None:
        """`retry_after`: seconds after which it may be another matter."""
        super().__init__(reason)
        self.reason = reason
        self.status = status
        self.retry_after = retry_after
        known = next((error for error in codes.ERRORS if error.code == code), None)
        self.error = Error(code, reason, temporary=known is not None and known.temporary)


def has_dependencies(hook: Hook) -> bool:
    """Whether FastAPI has to fill in parameters of a hook: marked with `Depends`, `Header` or `Cookie`."""
    try:
        parameters = inspect.signature(hook, eval_str=True).parameters.values()
    except NameError:  # of an annotation that nobody needs at run time
        return False
    marks = [mark for parameter in parameters for mark in (parameter.default, *_marks(parameter.annotation))]
    return any(type(mark).__module__ == "fastapi.params" for mark in marks)


def _marks(annotation: Any) -> tuple[Any, ...]:
    return tuple(getattr(annotation, "__metadata__", ()))


class _Pattern:
    """A channel pattern such as `orders:{order_id}`; each field stands for one or more characters but `:`."""

    def __init__(self, pattern: str, hook: Hook) -> None:
        self.hook = hook
        self.pattern = pattern
        parts = re.split(r"\{(\w+)\}", pattern)
        regex = "".join(f"(?P<{part}>[^:]+)" if i % 2 else re.escape(part) for i, part in enumerate(parts))
        self._match = re.compile(regex).fullmatch
        self.accepted = frozenset(inspect.signature(hook).parameters)
        hints = get_type_hints(hook, include_extras=True)
        self._types = {name: hints.get(name, str) for name in parts[1::2]}

    def match(self, channel: str) -> dict[str, Any] | None:
        """The pattern's fields for this channel, None where it does not match.

        Raises `Refuse` for a channel of its shape whose fields are not of their types.
        """
        match = self._match(channel)
        if match is None:
            return None
        try:
            return {
                name: msgspec.convert(value, self._types[name], strict=False)
                for name, value in match.groupdict().items()
            }
        except msgspec.ValidationError as exc:
            # A hook guards this shape of name. Passed over, it would let in what it was never asked about.
            raise Refuse(f"{channel!r} does not fit {self.pattern!r}: {exc}") from exc


class ChannelHooks(Generic[H]):
    """Hooks by channel pattern; the first whose pattern fits is asked."""

    def __init__(self) -> None:
        self._patterns: list[_Pattern] = []

    def __bool__(self) -> bool:
        return bool(self._patterns)

    def add(self, pattern: str, hook: Hook) -> None:
        """Ask this hook for channels that fit the pattern; `*` fits all. Raises `ValueError`."""
        if "*" in pattern and pattern != "*":
            # Taken as it stands it would fit no channel, and the hook would guard nothing.
            raise ValueError(f"pattern {pattern!r} has a * in it; write a field such as {{name}} there")
        self._patterns.append(_Pattern("{channel}" if pattern == "*" else pattern, hook))
        if pattern == "*":
            self._patterns[-1]._match = re.compile(r"(?P<channel>.+)", re.DOTALL).fullmatch

    def find(self, channel: str) -> tuple[Hook, dict[str, Any]] | None:
        """The hook for a channel with the arguments its pattern yields."""
        for pattern in self._patterns:
            arguments = pattern.match(channel)
            if arguments is not None:
                return pattern.hook, {k: v for k, v in arguments.items() if k in pattern.accepted}
        return None


class RpcMethod:
    """A method clients can call: its data is decoded to the type of its second parameter."""

    def __init__(self, hook: Hook) -> None:
        self._hook = hook
        parameters = list(inspect.signature(hook).parameters.values())
        self._takes_data = len(parameters) > 1
        self._type: Any = None
        if self._takes_data:
            self._type = get_type_hints(hook, include_extras=True).get(parameters[1].name, Any)

    def bind(self, session: SessionInfo, data: Raw) -> Callable[[], Any]:
        """The call with its data decoded; raises `BadCommand` where it does not fit."""
        if not self._takes_data:
            return lambda: self._hook(session)
        try:
            if hasattr(self._type, "model_validate_json"):
                argument = self._type.model_validate_json(bytes(data))
            else:
                argument = msgspec.json.decode(data, type=self._type)
        except (ValueError, RecursionError) as exc:
            raise BadCommand(f"rpc: field `data`: {_in_a_line(exc)}") from exc
        return lambda: self._hook(session, argument)


def _in_a_line(error: Exception) -> str:
    """What does not fit. pydantic's own text is for programmers: lines of it, the input, and an address."""
    if not hasattr(error, "errors"):
        return str(error)
    faults = error.errors(include_url=False, include_input=False)
    return "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in faults)


def joined(known: Identity, said: Identity) -> Identity:
    """What is known with what was said of it since; what was left unsaid stays."""
    unsaid = Identity()
    changes = {name: getattr(said, name) for name in Identity.__struct_fields__}
    return replace(known, **{n: value for n, value in changes.items() if value != getattr(unsaid, n)})


class Hooks:
    """All hooks of one hub."""

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self.connect: list[Hook] = []
        self.disconnect: list[Hook] = []
        self.refresh: list[Hook] = []
        self.connected: list[Hook] = []
        self.occupied: list[Hook] = []
        self.vacated: list[Hook] = []
        self.subscribe: ChannelHooks[Hook] = ChannelHooks()
        self.unsubscribe: ChannelHooks[Hook] = ChannelHooks()
        self.publish: ChannelHooks[Hook] = ChannelHooks()
        self.rpc: dict[str, RpcMethod] = {}
        self.rpc_fallback: Hook | None = None
        """Called with session, method and data (as JSON text) where no method of that name is registered."""

    async def call(self, call: Callable[[], Any]) -> Any:
        """What the hook returns. One that raises or takes too long is logged and refuses."""
        try:
            result = call()
            # In a task of its own: where it is called from there may be none.
            return await asyncio.create_task(self._bounded(result)) if inspect.isawaitable(result) else result
        except (Refuse, BadCommand):
            raise
        except TimeoutError as exc:
            logger.exception("a hook took longer than %g seconds; that counts as a no", self._timeout)
            raise Refuse(codes.INTERNAL.message, status=503, code=codes.INTERNAL.code) from exc
        except Exception as exc:
            logger.exception("a hook raised; that counts as a no")
            raise Refuse(codes.INTERNAL.message, status=500, code=codes.INTERNAL.code) from exc

    async def _bounded(self, result: Awaitable[Any]) -> Any:
        async with asyncio.timeout(self._timeout):
            return await result

    async def identify(self, request: ConnectRequest, known: Identity) -> Identity:
        """Who the client is, by the first connect hook that says; raises `Refuse` for one not let in.

        What the hook leaves unsaid stays as its token has it.
        """
        for hook in self.connect:
            identity = await self.call(lambda hook=hook: hook(request))  # type: ignore[misc]
            if identity is False:
                raise Refuse
            if isinstance(identity, Identity):
                return replace(joined(known, identity), by_hook=identity)
        return known

    async def allow(
        self, hooks: ChannelHooks[Hook], session: SessionInfo, channel: str, *arguments: object
    ) -> Any:
        """What the hook for this channel says, None where there is no such hook. Raises `Refuse` for a no."""
        found = hooks.find(channel)
        if found is None:
            return None
        hook, fields = found
        said = await self.call(lambda: hook(session, *arguments, **fields))
        if said is False:
            raise Refuse(codes.PERMISSION_DENIED.message)
        return said

    async def tell(self, hooks: ChannelHooks[Hook], session: SessionInfo, channel: str) -> None:
        """Call the hook for this channel; nobody waits for its answer."""
        found = hooks.find(channel)
        if found is not None:
            hook, fields = found
            await self.call(lambda: hook(session, **fields))
