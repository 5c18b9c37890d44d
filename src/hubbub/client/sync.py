"""`SyncClient`: the client for scripts and notebooks, without `await`.

An event loop runs in a thread of its own, so the connection lives on while the program is busy elsewhere.
"""

import threading
import weakref
from collections.abc import Coroutine, Iterator, Mapping
from types import TracebackType
from typing import Any, Final, Generic, Self, TypeVar, cast

from hubbub.client.client import Client
from hubbub.client.errors import ClientError, NotConnectedError
from hubbub.client.group import Group
from hubbub.client.handlers import Handler
from hubbub.client.loop import NOTHING, Loop
from hubbub.client.replies import History, Member, PresenceStats
from hubbub.client.thread import PATIENCE, Thread
from hubbub.core.messages import Position

M = TypeVar("M")
R = TypeVar("R")

NOT_STARTED: Final = "The client has not been started; call connect(), or use `with`."
AT_ONCE: Final = 500
"""Messages that go from one thread to the other in one go, at most."""


class SyncClient:
    """As `Client`, with the same arguments, for a program without an event loop.

    ::

        with SyncClient("ws://localhost:8000") as client:
            client.publish("lobby", "hello")
            for message in client.group("lobby"):
                print(message.data)

    Handlers are called in the client's own thread. All of it may be used from several threads.
    """

    def __init__(self, server_url: str, client_id: str | None = None, **options: Any) -> None:
        self._client = Client(server_url, client_id, **options)
        self._buffer: int = options.get("buffer", 1000)
        self._thread: Thread | None = None
        self._lock = threading.RLock()  # one thread at a time starts and stops
        self._forgotten: weakref.finalize[Any, Any] | None = None

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
        with self._lock:
            if self._thread is None:
                self._thread = Thread()
                # A client that was never closed is closed when it is forgotten, or when the program ends.
                self._forgotten = weakref.finalize(self, self._thread.stop, PATIENCE)
            try:
                self._wait(self._client.connect())
            except BaseException:
                self.disconnect()
                raise

    def disconnect(self) -> None:
        """Close the connection; afterwards neither a task nor the thread is left."""
        with self._lock:
            thread = self._thread
            if thread is None:
                return
            thread.wait(self._client.disconnect())
            thread.stop()
            self._thread = None
            if self._forgotten is not None:
                self._forgotten.detach()

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
        return SyncGroup(self, self._client.group(name, type, **options), options.get("buffer", self._buffer))

    def own(self, type: Any = Any, **options: Any) -> "SyncLoop[Any]":
        """As `Client.own`, to loop over with `for`: what comes after this call."""
        source = self._client.own(type, **options)
        # Where there is no connection yet there is no other thread either.
        thread = self._thread
        loop = aiter(source) if thread is None else thread.wait(_soon(lambda: aiter(source)))
        return SyncLoop(self, cast("Loop", loop), options.get("buffer", self._buffer))

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
            raise ClientError(NOT_STARTED)
        return self._thread.wait(work)


class SyncLoop(Iterator[M], Generic[M]):
    """The `for` of a group and of what is a client's own.

    It ends when it is closed, and when it is gone.
    """

    def __init__(self, client: SyncClient, loop: Loop, buffer: int) -> None:
        self._client = client
        self._loop = loop
        self._most = max(1, min(AT_ONCE, buffer // 2))
        self._lock = threading.Lock()  # several threads may share one loop: each message goes to one of them

    def __next__(self) -> M:
        loop = self._loop
        with self._lock:
            while True:
                item = loop.from_hand()
                if item is None:
                    self._fill()
                    continue
                message = loop.give(item)
                if message is not NOTHING:
                    return cast("M", message)

    def _fill(self) -> None:
        """Wait for more in the client's thread; where that has ended, take what it left."""
        thread = self._client._thread
        try:
            if thread is not None:
                try:
                    return thread.wait(_filled(self._loop, self._most))
                except NotConnectedError:
                    if not thread.is_stopping:
                        raise
                    thread.stop()
            _run_through(_filled(self._loop, self._most))
        except StopAsyncIteration:
            raise StopIteration from None

    def close(self) -> None:
        """End the loop: what still waits was not given."""
        thread = self._client._thread
        if thread is None or not thread.do(self._loop.close):
            self._loop.close()

    def __del__(self) -> None:
        # Nothing is waited for: this may be any thread, and the last moment of the program.
        if hasattr(self, "_most"):
            self.close()


class SyncGroup(Generic[M]):
    """As `Group`, to loop over with `for`."""

    def __init__(self, client: SyncClient, group: Group[M], buffer: int) -> None:
        self._client = client
        self._group = group
        self._buffer = buffer
        self.name = group.name

    def __iter__(self) -> Iterator[M]:
        return SyncLoop(self._client, cast("Loop", aiter(self._group)), self._buffer)

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


async def _filled(loop: Loop, most: int) -> None:
    await loop.fill(most)


def _run_through(work: Coroutine[Any, Any, None]) -> None:
    """Run something that has nothing to wait for: all that may come is there."""
    try:
        work.send(None)
    except StopIteration:
        return
    except RuntimeError as exc:  # there is no event loop to wait in
        raise ClientError(NOT_STARTED) from exc
