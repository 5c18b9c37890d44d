"""`SyncClient`: the client for scripts and notebooks, without `await`.

An event loop runs in a thread of its own, so the connection lives on while the program is busy elsewhere.
"""

import asyncio
import threading
from collections.abc import AsyncIterator, Coroutine, Iterator, Mapping
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from hubbub.client.client import Client
from hubbub.client.errors import ClientError
from hubbub.client.group import Group, Own
from hubbub.client.handlers import Handler
from hubbub.client.replies import History, Member, PresenceStats
from hubbub.core.messages import Position

M = TypeVar("M")
R = TypeVar("R")


class Thread:
    """An event loop in a thread, for as long as a client is in use."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="hubbub client", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
        finally:
            rest = asyncio.all_tasks(self._loop)
            for task in rest:
                task.cancel()
            if rest:
                self._loop.run_until_complete(asyncio.wait(rest))
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            self._loop.close()

    def wait(self, work: Coroutine[Any, Any, R]) -> R:
        """Do something in the loop and wait for it; Ctrl+C stops both the waiting and the work."""
        if threading.current_thread() is self._thread:
            work.close()
            raise RuntimeError(
                "A handler runs in the client's own thread; there is nothing to wait for in it."
            )
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def stop(self) -> None:
        """End the loop and its thread."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()


class SyncClient:
    """As `Client`, with the same arguments, for a program without an event loop.

    ::

        with SyncClient("ws://localhost:8000") as client:
            client.publish("lobby", "hello")
            for message in client.group("lobby"):
                print(message.data)

    Handlers are called in the client's own thread.
    """

    def __init__(self, server_url: str, client_id: str | None = None, **options: Any) -> None:
        self._client = Client(server_url, client_id, **options)
        self._thread: Thread | None = None

    def __repr__(self) -> str:
        return repr(self._client).replace("<Client", "<SyncClient", 1)

    @property
    def is_connected(self) -> bool:
        """Whether messages can be sent right now."""
        return self._client.is_connected

    @property
    def state(self) -> str:
        """As `Client.state`."""
        return self._client.state

    @property
    def client_id(self) -> str | None:
        """As `Client.client_id`."""
        return self._client.client_id

    @property
    def positions(self) -> dict[str, dict[str, Any]]:
        """As `Client.positions`."""
        if self._thread is None:
            return self._client.positions
        return self._wait(_soon(lambda: self._client.positions))

    def connect(self) -> None:
        """Connect; raises `ConnectError` where that fails."""
        if self._thread is None:
            self._thread = Thread()
        try:
            self._wait(self._client.connect())
        except BaseException:
            self.disconnect()
            raise

    def disconnect(self) -> None:
        """Close the connection; afterwards neither a task nor the thread is left."""
        thread = self._thread
        if thread is not None:
            thread.wait(self._client.disconnect())
            self._thread = None
            thread.stop()

    def __enter__(self) -> Self:
        self.connect()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.disconnect()

    def register_handler(self, message_type: str, handler: Handler) -> Handler:
        """As `Client.register_handler`; the handler runs in the client's own thread."""
        return self._client.register_handler(message_type, handler)

    def group(self, name: str, type: Any = Any, **options: Any) -> "SyncGroup[Any]":
        """As `Client.group`, to loop over with `for`."""
        return SyncGroup(self, self._client.group(name, type, **options))

    def own(self, type: Any = Any, **options: Any) -> "Iterator[Any]":
        """As `Client.own`, to loop over with `for`: what comes after this call."""
        return self._drain(self._begin(self._client.own(type, **options)))

    def send_chat_message(self, group: str, message: object) -> None:
        """As `Client.send_chat_message`."""
        self._wait(self._client.send_chat_message(group, message))

    def publish(self, group: str, data: object) -> Position | None:
        """As `Client.publish`."""
        return self._wait(self._client.publish(group, data))

    def history(
        self,
        group: str,
        limit: int = -1,
        since: Position | Mapping[str, Any] | None = None,
        *,
        reverse: bool = False,
    ) -> History[Any]:
        """As `Client.history`."""
        return self._wait(self._client.history(group, limit, since, reverse=reverse))

    def presence(self, group: str) -> dict[str, Member]:
        """As `Client.presence`."""
        return self._wait(self._client.presence(group))

    def presence_stats(self, group: str) -> PresenceStats:
        """As `Client.presence_stats`."""
        return self._wait(self._client.presence_stats(group))

    def rpc(self, method: str, data: object = None, type: Any = Any) -> Any:
        """As `Client.rpc`."""
        return self._wait(self._client.rpc(method, data, type))

    def leave_group(self, name: str) -> None:
        """As `Client.leave_group`."""
        self._wait(self._client.leave_group(name))

    def _wait(self, work: Coroutine[Any, Any, R]) -> R:
        if self._thread is None:
            work.close()
            raise ClientError("The client has not been started; call connect(), or use `with`.")
        return self._thread.wait(work)

    def _begin(self, source: "Group[M] | Own") -> AsyncIterator[Any]:
        loop: AsyncIterator[Any] = self._wait(_soon(lambda: aiter(source)))
        return loop

    def _drain(self, loop: Any) -> Iterator[Any]:
        try:
            while True:
                try:
                    yield self._wait(_next(loop))
                except StopAsyncIteration:
                    return
        finally:
            if self._thread is not None:
                self._thread.wait(loop.aclose())


class SyncGroup(Generic[M]):
    """As `Group`, to loop over with `for`."""

    def __init__(self, client: SyncClient, group: Group[M]) -> None:
        self._client = client
        self._group = group
        self.name = group.name

    def __iter__(self) -> Iterator[M]:
        return self._client._drain(self._client._begin(self._group))

    def join(self) -> None:
        """As `Group.join`."""
        self._client._wait(self._group.join())

    def leave(self) -> None:
        """As `Group.leave`."""
        self._client._wait(self._group.leave())

    def publish(self, data: Any) -> Position | None:
        """As `Client.publish`."""
        return self._client.publish(self.name, data)

    def history(self, limit: int = -1, since: Position | None = None, *, reverse: bool = False) -> History[M]:
        """As `Group.history`."""
        return self._client._wait(self._group.history(limit, since, reverse=reverse))

    def presence(self) -> dict[str, Member]:
        """As `Client.presence`."""
        return self._client.presence(self.name)

    def presence_stats(self) -> PresenceStats:
        """As `Client.presence_stats`."""
        return self._client.presence_stats(self.name)


async def _soon(work: Any) -> Any:
    """Something that does not wait, but belongs into the loop's thread."""
    return work()


async def _next(loop: Any) -> Any:
    return await anext(loop)
