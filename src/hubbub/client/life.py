"""A client's life in one task: connect, serve the connection, come back, until it is over.

Theory of operation. Only this task changes the state, and it alone calls handlers, so they run one after
another in the order of arrival. While one runs, nothing is read: at most a handful of frames wait in memory,
then in the kernel, and then the server notices that this client is slow and does what its slow policy says.
Pings have a task of their own, so that a slow handler stays connected.
"""

import asyncio
import logging
from dataclasses import replace
from enum import Enum
from typing import Final

from hubbub.client.address import Address
from hubbub.client.backoff import Backoff
from hubbub.client.connection import NO_CLOSE_FRAME, Connection, End, Options
from hubbub.client.errors import ConnectError, NotConnectedError, RefusedError
from hubbub.client.handlers import Handlers, Message
from hubbub.client.opening import open_connection

logger = logging.getLogger(__name__)

LEFT: Final = End(1000, "disconnect() was called", reconnect=False)


class State(Enum):
    """Where the client stands; the value completes "the client is …"."""

    DISCONNECTED = "disconnected"
    CONNECTING = "connecting"
    CONNECTED = "connected"
    RECONNECTING = "on its way back"


class Life:
    """Connects to an address under one client id and tells the handlers what arrives."""

    def __init__(
        self,
        address: Address,
        client_id: str | None,
        options: Options,
        *,
        backoff: Backoff,
        reconnect: bool,
        handlers: Handlers,
    ) -> None:
        self.client_id = client_id
        self.state = State.DISCONNECTED
        self._address = address
        self._options = options
        self._backoff = backoff
        self._reconnect = reconnect
        self._handlers = handlers
        self._task: asyncio.Task[None] | None = None
        self._connection: Connection | None = None
        self._turn = asyncio.Event()  # set for a moment at each change of state
        self._greetings = 0  # connections established so far
        self._failures = 0  # failed attempts and short-lived connections in a row
        self._leaving = False
        self._failure: Exception = NotConnectedError("The client is not connected; await connect() first.")

    @property
    def is_connected(self) -> bool:
        """Whether messages can be sent right now."""
        return self._connection is not None and self._connection.is_open and not self._leaving

    @property
    def comes_back(self) -> bool:
        """Whether a connection that is missing now is one that will be there by itself."""
        return self._reconnect and not self._is_ending

    @property
    def _is_ending(self) -> bool:
        return self._leaving or self.state is State.DISCONNECTED

    # What callers do, from tasks of their own.

    async def connect(self) -> None:
        """Start, unless started, and return at the next greeting; raises what made a first attempt fail."""
        if self.is_connected:
            return
        self._refuse_in_a_handler("connect()")
        while self._task is not None and not self._task.done() and self._is_ending:
            await asyncio.wait({self._task})
        starting = self._task is None or self._task.done()
        if starting:
            self._start()
        greetings = self._greetings
        try:
            while self._greetings == greetings:
                if self.state is State.DISCONNECTED:
                    raise self._failure
                await self._turn.wait()
        except asyncio.CancelledError:
            if starting and self._greetings == greetings:
                await self.disconnect()
            raise

    async def disconnect(self) -> None:
        """End it, and return when the task is gone; called by a handler, it ends when that returns."""
        task = self._task
        if task is None or task.done():
            return
        self._leaving = True
        if task is asyncio.current_task():
            return
        # Cancelled once, and not while it only tells the handlers that all is over.
        if self.state is not State.DISCONNECTED and not task.cancelling():
            task.cancel()
        await asyncio.wait({task})
        if self._task is task and self.state is not State.DISCONNECTED:
            self._turn_to(State.DISCONNECTED)  # the task was cancelled before its first step

    async def wait_closed(self) -> None:
        """Return when it is over for good."""
        if self._task is not None and not self._task.done():
            self._refuse_in_a_handler("wait_closed()")
            await asyncio.wait({self._task})

    async def send(self, message: Message) -> None:
        """Write one message to the connection, or raise `NotConnectedError`."""
        if self._connection is None or not self.is_connected:
            if self.state is State.DISCONNECTED:
                raise NotConnectedError(str(self._failure))
            raise NotConnectedError(f"The client is {self._situation}, so nothing can be sent.")
        await self._connection.send(message)

    @property
    def _situation(self) -> str:
        if self._leaving:
            return "disconnecting"
        # The loss of a connection can be known before the task has turned to it.
        state = State.RECONNECTING if self.state is State.CONNECTED else self.state
        return str(state.value)

    def _refuse_in_a_handler(self, what: str) -> None:
        if self._task is not None and self._task is asyncio.current_task():
            raise RuntimeError(f"{what} in a handler would wait for itself; start a task for it.")

    # What the task does.

    def _start(self) -> None:
        self._leaving = False
        self._failures = 0
        self._turn = asyncio.Event()  # a new one: the client may have moved to another event loop
        self._failure = ConnectError("disconnect() was called before the connection was established.")
        self._turn_to(State.CONNECTING)
        self._task = asyncio.create_task(self._live(), name="hubbub client")

    def _turn_to(self, state: State) -> None:
        self.state = state
        self._turn.set()
        self._turn.clear()

    async def _live(self) -> None:
        greetings = self._greetings
        end = LEFT  # unless something else ends it; a cancellation is how disconnect() comes in
        try:
            end = await self._connect_and_come_back()
        except Exception as exc:
            if self._greetings > greetings and not isinstance(exc, ConnectError):
                logger.exception("Coming back to %s failed.", self._address)  # nobody may wait in connect()
            self._failure, end = exc, _final_end(exc)
        finally:
            established = self._greetings > greetings
            if established:
                logger.info("Disconnected from %s for good: %s.", self._address, end)
                self._failure = NotConnectedError(f"The client is not connected any more: {end}.")
            self._turn_to(State.DISCONNECTED)
            if established:
                await self._tell_disconnected(end)

    async def _connect_and_come_back(self) -> End:
        connection = await self._open()
        while True:
            end = await self._serve(connection)
            if not end.reconnect:
                return end
            self._turn_to(State.RECONNECTING)
            await self._tell_disconnected(end)
            if self._leaving:
                return LEFT
            connection = await self._come_back(end)

    async def _open(self) -> Connection:
        return await open_connection(self._address, self.client_id, self._options)

    async def _serve(self, connection: Connection) -> End:
        """Tell the handlers what arrives, the greeting first, until the connection ends."""
        since = asyncio.get_running_loop().time()
        try:
            self._connection = connection
            self.client_id = connection.client_id
            self._greetings += 1
            self._turn_to(State.CONNECTED)
            logger.info("Connected to %s as %r.", self._address, self.client_id)
            received: Message | End = connection.greeting
            while not isinstance(received, End):
                await self._handlers.tell(received)
                if self._leaving:
                    return LEFT
                received = await connection.receive()
        finally:
            self._connection = None
            await connection.close()
        # A server that greets and hangs up, again and again, is not a working one.
        if asyncio.get_running_loop().time() - since >= self._backoff.cap:
            self._failures = 0
        return received if self._reconnect else replace(received, reconnect=False)

    async def _come_back(self, end: End) -> Connection:
        why, retry_after = str(end), end.retry_after
        while True:
            # Added, not the larger of the two: who were all told the same do not return in one moment.
            delay = retry_after + self._backoff.delay(self._failures)
            self._failures += 1
            logger.warning("No connection to %s (%s); trying in %.1f s.", self._address, why, delay)
            await asyncio.sleep(delay)
            try:
                return await self._open()
            except RefusedError as exc:
                if not exc.reconnect:
                    raise
                why, retry_after = str(exc), exc.retry_after
            except ConnectError as exc:
                why, retry_after = str(exc), 0.0

    async def _tell_disconnected(self, end: End) -> None:
        await self._handlers.tell(
            {"type": "disconnected", "code": end.code, "reason": end.reason, "reconnect": end.reconnect}
        )


def _final_end(exc: Exception) -> End:
    if isinstance(exc, RefusedError) and exc.code is not None:
        return End(exc.code, exc.reason, reconnect=False)
    return End(NO_CLOSE_FRAME, str(exc), reconnect=False)
