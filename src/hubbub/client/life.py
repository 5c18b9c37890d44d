"""A client's life in one task: connect, watch the connection, come back, until it is over.

Theory of operation. This task alone decides what comes next. What arrives is sorted by the `Inbox` while it
is read, and handlers are told by the `Dispatcher` in a task of its own; so neither a slow handler nor a slow
loop keeps the client from coming back. That it is disconnected for good is told after everything else.
"""

import asyncio
import logging
from dataclasses import replace
from enum import StrEnum
from typing import Final

from hubbub.client.address import Address
from hubbub.client.backoff import Backoff
from hubbub.client.connection import NO_CLOSE_FRAME, Connection, End, Options
from hubbub.client.dispatcher import Dispatcher
from hubbub.client.errors import (
    ConnectError,
    NotConnectedError,
    RefusedError,
    StoppedError,
)
from hubbub.client.inbox import Inbox
from hubbub.client.opening import open_connection
from hubbub.client.tokens import Tokens, lasts_for
from hubbub.client.wire import Message
from hubbub.core import codes

logger = logging.getLogger(__name__)

LEFT: Final = End(1000, "disconnect() was called", reconnect=False)
UNAUTHORIZED: Final = 401
NOT_THIS_TOKEN: Final = frozenset({codes.UNAUTHORIZED.code, codes.TOKEN_EXPIRED.code})


class State(StrEnum):
    """Where the client stands."""

    DISCONNECTED = "disconnected"
    CONNECTING = "connecting"
    CONNECTED = "connected"
    RECONNECTING = "reconnecting"


SITUATIONS: Final = {State.CONNECTING: "connecting", State.RECONNECTING: "on its way back"}


class Life:
    """Keeps one client connected to an address under one client id."""

    def __init__(
        self,
        address: Address,
        client_id: str | None,
        options: Options,
        *,
        backoff: Backoff,
        reconnect: bool,
        dispatcher: Dispatcher,
        inbox: Inbox,
    ) -> None:
        self.client_id = client_id
        self.state = State.DISCONNECTED
        self._asks_for = client_id
        self._address = address
        self._options = options
        self._backoff = backoff
        self._reconnect = reconnect
        self._dispatcher = dispatcher
        self._inbox = inbox
        inbox.on_greeting = self._greeted
        self._task: asyncio.Task[None] | None = None
        self._connection: Connection | None = None
        self._turn = asyncio.Event()  # set for a moment at each change of state
        self._room = asyncio.Event()  # a listener has room again
        self._greetings = 0  # connections established so far
        self._failures = 0  # failed attempts and short-lived connections in a row
        self._leaving = False
        self._waiting = 0  # callers of connect()
        self._tokens = Tokens(options.token, options.open_timeout)
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
        self._here()
        if self.is_connected:
            return
        self._refuse_in_a_handler("connect()")
        while self._task is not None and not self._task.done() and self._is_ending:
            await asyncio.wait({self._task})
        starting = self._task is None or self._task.done()
        if starting:
            self._start()
        greetings = self._greetings
        self._waiting += 1
        try:
            while self._greetings == greetings:
                if self.state is State.DISCONNECTED:
                    if starting and self._task is not None:
                        await asyncio.wait({self._task})
                    # Many may be told of one failure: the traceback of each is its own.
                    raise self._failure.with_traceback(None)
                await self._turn.wait()
        except asyncio.CancelledError:
            if self._waiting == 1 and self.state is State.CONNECTING:
                await self.disconnect()
            raise
        finally:
            self._waiting -= 1

    async def disconnect(self) -> None:
        """End it, and return when the task is gone; called by a handler, it ends when that returns."""
        self._here()
        task = self._task
        if task is None or task.done():
            return
        self._leaving = True
        self._dispatcher.stop()
        if (
            task is not asyncio.current_task()
            and self.state is not State.DISCONNECTED
            and not task.cancelling()
        ):
            # Cancelled once, and not while it only tells the handlers that all is over.
            task.cancel()
        if self._is_a_handler:
            return
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
        self._here()
        if self._connection is None or not self.is_connected:
            raise self.why_not()
        await self._connection.send(message)

    async def arrival(self) -> Connection:
        """The connection, when there is one; raises `NotConnectedError` where none is on its way."""
        self._here()
        while not self.is_connected or self._connection is None:
            lost = self._connection is not None and not self._connection.is_open
            if self._is_ending or (not self._reconnect and (lost or self.state is State.RECONNECTING)):
                raise self.why_not()
            await self._turn.wait()
        return self._connection

    def make_room(self) -> None:
        """A listener that had too much has room again."""
        self._room.set()

    def why_not(self) -> NotConnectedError:
        """Why there is no connection to send on."""
        if self.state is State.DISCONNECTED:
            return NotConnectedError(str(self._failure))
        # The loss of a connection can be known before the task has turned to it.
        state = State.RECONNECTING if self.state is State.CONNECTED else self.state
        situation = "disconnecting" if self._leaving else SITUATIONS[state]
        return NotConnectedError(f"The client is {situation}, so nothing can be sent.")

    def _here(self) -> None:
        """Refuse to be used on another event loop than the one that all of this runs on."""
        task = self._task
        if task is None or task.done() or task.get_loop() is asyncio.get_running_loop():
            return
        if not task.get_loop().is_closed():
            raise RuntimeError("This client lives on another event loop; use it there, or take a SyncClient.")
        # That loop was closed without ending its tasks: nothing of it will ever run again.
        self._task = self._connection = self._inbox.connection = None
        self.state = State.DISCONNECTED
        self._failure = NotConnectedError("The client's event loop was closed; await connect() again.")
        self._inbox.groups.stop(self._failure)
        self._inbox.calls.forget_all()

    @property
    def _is_a_handler(self) -> bool:
        return self._dispatcher.is_telling or (
            self._task is not None and self._task is asyncio.current_task()
        )

    def _refuse_in_a_handler(self, what: str) -> None:
        if self._is_a_handler:
            raise RuntimeError(f"{what} in a handler would wait for itself; start a task for it.")

    # What the task does.

    def _start(self) -> None:
        self._leaving = False
        self._failures = 0
        # New ones: the client may have moved to another event loop.
        self._turn, self._room = asyncio.Event(), asyncio.Event()
        self._failure = ConnectError("disconnect() was called before the connection was established.")
        self._dispatcher.start()
        self._inbox.groups.start()
        self._turn_to(State.CONNECTING)
        self._task = asyncio.create_task(self._live(), name="hubbub client")

    def _turn_to(self, state: State, end: End | None = None, delay: float | None = None) -> None:
        self.state = state
        self._turn.set()
        self._turn.clear()
        if self._dispatcher.handlers.want("state"):
            self._dispatcher.put(_news(state, end, delay))

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
            await self._finish(end, established)

    async def _finish(self, end: End, established: bool) -> None:
        self._connection = None
        left = end is LEFT
        sentence = f"The client is not connected any more: {end}."
        self._inbox.groups.stop(None if left else StoppedError(sentence, end.code, end.reason))
        if left:
            self._dispatcher.stop()
            await self._dispatcher.drain()
        self.state = State.DISCONNECTED
        self._turn.set()
        self._turn.clear()
        await self._dispatcher.drain()
        if established:
            await self._dispatcher.handlers.tell(_farewell(end))
        await self._dispatcher.handlers.tell(_news(State.DISCONNECTED, end, None))

    async def _connect_and_come_back(self) -> End:
        connection = await self._open()
        while True:
            end = await self._serve(connection)
            if not end.reconnect:
                return end
            delay = self._next_delay(end.retry_after)
            self._turn_to(State.RECONNECTING, end, delay)
            if self._dispatcher.handlers.want("disconnected"):
                self._dispatcher.put(_farewell(end))
            connection = await self._come_back(end, delay)

    async def _open(self) -> Connection:
        token = await self._tokens.obtain()
        return await open_connection(self._address, self._asks_for, token, self._options, self._inbox)

    def _greeted(self, connection: Connection, client_id: str) -> None:
        """Called in the middle of reading, so that whoever hears of the greeting can send."""
        self._connection = connection
        self.client_id = client_id
        if not self._options.token:
            self._asks_for = client_id  # with a token, that decides
        self._tokens.accepted()
        self._greetings += 1
        self._turn_to(State.CONNECTED)
        logger.info("Connected to %s as %r.", self._address, client_id)

    async def _serve(self, connection: Connection) -> End:
        """Watch a connection until it ends."""
        since = asyncio.get_running_loop().time()
        refreshing = None
        try:
            greeting = connection.greeting
            assert greeting is not None
            if self._tokens.can_change and lasts_for(greeting) is not None:
                calls, timeout = self._inbox.calls, self._options.call_timeout
                fresh = self._tokens.keep_fresh(connection, greeting, calls, self._backoff, timeout)
                refreshing = asyncio.create_task(fresh, name="hubbub client: token")
            end = await connection.over
        finally:
            self._connection = None
            try:
                if refreshing is not None:
                    refreshing.cancel()
                    await asyncio.wait({refreshing})
            finally:
                await connection.close()
        # A server that greets and hangs up, again and again, is not a working one.
        if asyncio.get_running_loop().time() - since >= self._backoff.cap:
            self._failures = 0
        if end.code == codes.EXPIRED_TOKEN.code and isinstance(self._options.token, str):
            return replace(end, reconnect=False)  # there is no other to be had
        return end if self._reconnect else replace(end, reconnect=False)

    def _next_delay(self, retry_after: float) -> float:
        # Added, not the larger of the two: who were all told the same do not return in one moment.
        delay = retry_after + self._backoff.delay(self._failures)
        self._failures += 1
        return delay

    async def _come_back(self, end: End, delay: float) -> Connection:
        why = str(end)
        while True:
            logger.warning("No connection to %s (%s); trying in %.1f s.", self._address, why, delay)
            await asyncio.sleep(delay)
            await self._wait_for_room()
            retry_after = 0.0
            try:
                return await self._open()
            except RefusedError as exc:
                if not exc.reconnect or (_is_about_the_token(exc) and not self._tokens.has_another):
                    raise
                why, retry_after = str(exc), exc.retry_after
            except ConnectError as exc:
                why = str(exc)
            delay = self._next_delay(retry_after)

    async def _wait_for_room(self) -> None:
        """Not before half of what waits is gone, where a listener closed the connection for want of room."""
        while any(
            listener.is_crowded for channel in self._inbox.groups.channels for listener in channel.listeners
        ):
            self._room.clear()
            await self._room.wait()


def _is_about_the_token(exc: RefusedError) -> bool:
    return exc.status == UNAUTHORIZED or exc.code in NOT_THIS_TOKEN


def _farewell(end: End) -> Message:
    return {"type": "disconnected", "code": end.code, "reason": end.reason, "reconnect": end.reconnect}


def _news(state: State, end: End | None, delay: float | None) -> Message:
    news: Message = {"type": "state", "state": str(state)}
    if end is not None:
        news |= {"code": end.code, "reason": end.reason}
    if delay is not None:
        news["delay"] = delay
    return news


def _final_end(exc: Exception) -> End:
    if isinstance(exc, RefusedError):
        if exc.code is not None:
            return End(exc.code, exc.reason, reconnect=False)
        if exc.status is not None:
            return End(exc.status, exc.reason, reconnect=False)
    return End(NO_CLOSE_FRAME, str(exc), reconnect=False)
