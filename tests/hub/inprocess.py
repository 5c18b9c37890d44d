"""Clients inside the process: transports that remember what was written, and what tests of the hub share."""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from hubbub.core import codes
from hubbub.core.channels import Namespace
from hubbub.core.codes import CloseReason
from hubbub.hub import ConnectRequest, Hub, Options
from hubbub.hub.connections import Admission
from hubbub.protocols.base import choose
from hubbub.transports.frames import split, websocket_format

T = TypeVar("T")
JsonMessage = dict[str, Any]

DEADLINE = 10.0
"""Seconds that anything may take."""

_marks = itertools.count(1)


def run(scenario: Coroutine[Any, Any, T]) -> T:
    """Run one scenario on a fresh event loop; one that hangs fails, and so does what fails unseen."""

    async def watched() -> T:
        unseen: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: unseen.append(context))
        async with asyncio.timeout(DEADLINE):
            result = await scenario
        assert not unseen, unseen
        return result

    return asyncio.run(watched())


async def until(condition: Callable[[], object]) -> None:
    """Wait for a condition that no message announces; the scenario's deadline is the wait's."""
    while not condition():  # noqa: ASYNC110 - what is waited for sets no event
        await asyncio.sleep(0.001)


async def turns(number: int = 20) -> None:
    """Let the event loop turn: whatever waits for nothing but its turn is done then."""
    for _ in range(number):
        await asyncio.sleep(0)


async def settled() -> None:
    """Wait until no other task is left in this loop."""
    current = asyncio.current_task()
    await until(lambda: asyncio.all_tasks() == {current})


class Client:
    """A client and its transport in one: it remembers every message, and whether it is being read from."""

    def __init__(self, hub: Hub, admission: Admission) -> None:
        self.messages: list[JsonMessage] = []
        self.writes: list[bytes] = []
        self.closed: CloseReason | None = None
        self.read_from = True
        self._unheard: asyncio.Queue[JsonMessage] = asyncio.Queue()
        self._ids = itertools.count(1)
        protocol, _ = choose(())
        self.connection = hub.connections.attach(self, protocol, websocket_format(protocol), admission)

    # What a hub needs of a transport.

    def write(self, data: bytes) -> None:
        assert self.closed is None, "nothing is written after the close"
        self.writes.append(data)
        for payload in split(data):
            message = json.loads(payload)
            self.messages.append(message)
            self._unheard.put_nowait(message)

    def close(self, code: int, reason: str) -> None:
        if self.closed is None:
            self.closed = CloseReason(code, reason)
            asyncio.get_running_loop().call_soon(self.vanish)

    def pause_reading(self) -> None:
        self.read_from = False

    def resume_reading(self) -> None:
        self.read_from = True

    # What tests do with it.

    def say(self, message_type: str, **fields: object) -> None:
        """Send one message, whether or not anybody reads."""
        self.connection.receive(json.dumps({"type": message_type, **fields}).encode())

    def vanish(self, reason: CloseReason = codes.ABNORMAL) -> None:
        """Be gone without a word."""
        self.connection.lost(reason)

    async def hear(self, *message_types: str) -> JsonMessage:
        """The next message of one of these types (of any, without); others before it are passed over."""
        while True:
            message = await self._unheard.get()
            if not message_types or message["type"] in message_types:
                return message

    async def ask(self, message_type: str, **fields: object) -> JsonMessage:
        """Send one message with an id and return the answer."""
        asked = next(self._ids)
        self.say(message_type, id=asked, **fields)
        while True:
            message = await self.hear()
            if message.get("id") == asked:
                return message

    async def join(self, group: str, **fields: object) -> JsonMessage:
        """Join a group and return the answer."""
        return await self.ask("join_group", group_name=group, **fields)

    async def settle(self) -> None:
        """Return when all that was published for it is here: a message of its own has come after it."""
        mark = next(_marks)
        await self.connection.hub.notify(self.connection.session.client_id, {"mark": mark})
        while (await self.hear("personal_notification"))["data"] != {"mark": mark}:
            pass

    def heard(self, *message_types: str) -> list[JsonMessage]:
        """Every message of these types so far, in order."""
        return [message for message in self.messages if message["type"] in message_types]


async def enter(hub: Hub, client_id: str | None = "alice", *, path: str = "", **request: Any) -> Client:
    """A client that was let in and greeted."""
    client = await arrive(hub, client_id, path=path, **request)
    assert (await client.hear())["type"] == "connection_established"
    return client


async def arrive(hub: Hub, client_id: str | None = "alice", *, path: str = "", **request: Any) -> Client:
    """A client that was let in; whether it is greeted is another matter."""
    path = path or ("/ws" if client_id is None else f"/ws/{client_id}")
    admission = await hub.connections.admit(ConnectRequest(client_id=client_id, path=path, **request))
    return Client(hub, admission)


async def speaker(hub: Hub, client_id: str | None = "alice", **request: Any) -> Client:
    """A client that speaks first, and has not spoken yet."""
    return await arrive(hub, client_id, query={"connect": "first"}, **request)


@asynccontextmanager
async def running(hub: Hub | None = None, **settings: Any) -> AsyncIterator[Hub]:
    """A hub at work: this one, or one with these settings. Those of `Options` may stand beside the others."""
    if hub is None:
        hub = a_hub(**settings)
    async with hub.lifespan():
        yield hub


def a_hub(broker: str = "memory://", **settings: Any) -> Hub:
    """A hub; settings are those of `Options`, `namespaces`, `auth`, or those of the default `Namespace`."""
    own = {name: settings.pop(name) for name in ("namespaces", "auth") if name in settings}
    options = {name: settings.pop(name) for name in Options.__dataclass_fields__ if name in settings}
    return Hub(broker, default_namespace=Namespace(**settings), options=Options(**options), **own)


def quick() -> dict[str, Any]:
    """Options of a hub that keeps house every ten milliseconds, and whose clients never time out."""
    return {"idle_timeout": 0.1, "grace_timeout": 60.0}
