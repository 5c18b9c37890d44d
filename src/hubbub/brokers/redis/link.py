"""One connection for commands: what is asked in one turn of the loop goes out in one write.

Theory of operation. A request waits in a queue till the connection is free to write, and then for its answer;
answers come in the order of the requests, so nothing has to be matched. Every request has a deadline, whether
it waits to be sent or for its answer. When one passes it and nothing has come in for as long, the connection
is given up, as one that swallows what it is sent looks healthy otherwise; its other requests fail with it,
since nothing is known of their effect. A request that was never sent outlives the connection.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Final

from hiredis import pack_command
from redis.exceptions import NoScriptError, RedisError, ResponseError

from hubbub.brokers.base import BrokerUnavailable
from hubbub.brokers.redis.dial import Opened, hang_up, why
from hubbub.brokers.redis.patience import Patience, fail
from hubbub.brokers.redis.scripts import SCRIPTS, Script

logger = logging.getLogger("hubbub.broker")

MOST_REQUESTS: Final = 20_000
"""Requests that wait on one link at most; past it they fail at once."""
MOST_BYTES: Final = 64 * 1024 * 1024
"""Bytes of requests that wait on one link at most."""
AT_ONCE: Final = 500
"""Answers that are read before others have their turn."""
FOREVER: Final = float("inf")
FIRST_PAUSE: Final = 0.05
LONGEST_PAUSE: Final = 0.5
"""Seconds between two attempts to connect, growing."""
LONG_ENOUGH: Final = 5.0
"""Seconds after which a connection that is lost was a good one."""

RUN_ID: Final = "\0run id"
"""Stands in a request for the name of the process that will answer it."""


class _Request:
    __slots__ = ("answer", "arguments", "size")

    def __init__(self, arguments: tuple[Any, ...], answer: asyncio.Future[Any]) -> None:
        self.arguments = arguments
        self.answer = answer
        self.size = sum(len(a) if isinstance(a, bytes | str) else 8 for a in arguments)


class Link:
    """Requests to one server, which `dial` connects to, again whenever the connection is lost."""

    def __init__(
        self, dial: Callable[[], Awaitable[Opened]], *, deadline: float, lost: Callable[[], None]
    ) -> None:
        self._dial = dial
        self._patience = Patience(deadline)
        self._heard = 0.0  # when something was read last, by our patience
        self._lost = lost
        self._unsent: deque[_Request] = deque()
        self._unanswered: deque[_Request] = deque()
        self._bytes = 0
        self._more = asyncio.Event()
        self._connection: Any = None
        self._trouble = "not connected yet"
        self._tried = asyncio.Event()
        self._tasks: tuple[asyncio.Task[None], ...] = ()
        self._task = asyncio.get_running_loop().create_task(self._live())

    @property
    def trouble(self) -> str:
        """Why there is no connection; empty while there is one."""
        return self._trouble

    async def first(self) -> None:
        """Return when it is connected for the first time; `BrokerUnavailable` as soon as that fails."""
        await self._tried.wait()
        if self._trouble:
            raise BrokerUnavailable(self._trouble)

    async def close(self) -> None:
        """Let go of the connection; what waits fails."""
        self._task.cancel()
        await asyncio.wait([self._task])
        self._patience.close()
        for request in (*self._unanswered, *self._unsent):
            fail(request.answer, "the broker was stopped")
        self._unanswered.clear()
        self._unsent.clear()

    async def run(self, script: Script, keys: tuple[bytes, ...], *arguments: Any) -> Any:
        """Run a script on the server. Raises as `call` does."""
        try:
            return await self.call("EVALSHA", script.digest, len(keys), *keys, *arguments)
        except NoScriptError:  # somebody flushed them
            return await self.call("EVAL", script.source, len(keys), *keys, *arguments)

    async def run_and_wait(
        self, replicas: int, milliseconds: int, script: Script, keys: tuple[bytes, ...], *arguments: Any
    ) -> tuple[Any, int]:
        """Run a script and tell how many replicas have what it wrote. Raises as `call` does."""
        wait = ("WAIT", replicas, milliseconds)
        rest = (len(keys), *keys, *arguments)
        try:
            answer, reached = await self._pair(("EVALSHA", script.digest, *rest), wait)
        except NoScriptError:
            answer, reached = await self._pair(("EVAL", script.source, *rest), wait)
        return answer, reached

    async def _pair(self, first: tuple[Any, ...], second: tuple[Any, ...]) -> tuple[Any, Any]:
        """Two requests on one connection: WAIT knows of what was written on its own alone."""
        # Both are in the queue before anything is sent, and what is in the queue is sent as a whole.
        answers = await asyncio.gather(self.call(*first), self.call(*second), return_exceptions=True)
        for answer in answers:
            if isinstance(answer, BaseException):
                raise answer
        return answers

    async def call(self, *arguments: Any) -> Any:
        """Ask the server. Raises `BrokerUnavailable`, and redis-py's `ResponseError` where it says no."""
        if len(self._unsent) + len(self._unanswered) >= MOST_REQUESTS or self._bytes >= MOST_BYTES:
            raise BrokerUnavailable("too much is waiting for it already")
        request = _Request(arguments, asyncio.get_running_loop().create_future())
        self._unsent.append(request)
        self._bytes += request.size
        self._more.set()
        self._patience.watch(request.answer, self._overdue)
        try:
            return await request.answer
        finally:
            self._bytes -= request.size

    def _overdue(self) -> str:
        """A request was not answered in time: say why, and give up a connection on which nothing comes in."""
        if self._connection is None:
            return self._trouble
        reason = f"no answer within {self._patience.seconds:g} seconds"
        if self._patience.now - self._heard >= self._patience.seconds:
            self.give_up(reason)
        return reason

    def give_up(self, reason: str) -> None:
        """Give the connection up, at once; the task that lives on it comes to its end."""
        if self._connection is None:
            return
        self._trouble = reason
        self._connection = None
        for request in self._unanswered:
            fail(request.answer, reason)
        self._unanswered.clear()
        for task in self._tasks:
            task.cancel()

    async def _live(self) -> None:
        """Connect, work, connect again."""
        loop = asyncio.get_running_loop()
        pause = 0.0
        while True:
            began = loop.time()
            try:
                opened = await self._dial()
                await self._load(opened.connection)
            except BrokerUnavailable as exc:
                self._trouble = str(exc)
                self._tried.set()
            except Exception as exc:
                logger.exception("connecting to the broker failed")  # the next time may be better
                self._trouble = why(exc)
                self._tried.set()
            else:
                try:
                    await self._work(opened)
                finally:
                    await hang_up(opened.connection)
                if loop.time() - began > LONG_ENOUGH:
                    pause = 0.0
                logger.warning("lost a connection to the broker: %s", self._trouble)
                self._lost()
            pause = min(max(FIRST_PAUSE, 2 * pause), LONGEST_PAUSE)
            await asyncio.sleep(pause)

    async def _load(self, connection: Any) -> None:
        """Let the server know the scripts."""
        try:
            async with asyncio.timeout(self._patience.seconds):
                loads = [packed(("SCRIPT", "LOAD", script.source)) for script in SCRIPTS]
                await connection.send_packed_command(b"".join(loads), check_health=False)
                for _ in SCRIPTS:
                    await connection.read_response(timeout=FOREVER)
        except (RedisError, OSError, TimeoutError) as exc:
            await hang_up(connection)
            raise BrokerUnavailable(why(exc)) from exc

    async def _work(self, opened: Opened) -> None:
        """Write and read on one connection till it is lost."""
        connection = opened.connection
        self._connection, self._trouble = connection, ""
        self._heard = self._patience.now
        self._tried.set()
        loop = asyncio.get_running_loop()
        self._tasks = (
            loop.create_task(self._write(connection, opened.run_id)),
            loop.create_task(self._read(connection)),
        )
        try:
            await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            ended = [t.exception() for t in self._tasks if t.done() and not t.cancelled()]
            self.give_up(next((why(exc) for exc in ended if exc is not None), "the connection was closed"))
            await asyncio.gather(*self._tasks, return_exceptions=True)
            self._tasks = ()

    async def _write(self, connection: Any, run_id: str) -> None:
        while True:
            await self._more.wait()
            self._more.clear()
            batch = []
            while self._unsent:
                request = self._unsent.popleft()
                if request.answer.done():
                    continue  # nobody waits for it any more
                arguments = tuple(run_id if a is RUN_ID else a for a in request.arguments)
                try:
                    batch.append(packed(arguments))
                except (UnicodeError, TypeError) as exc:
                    fail(request.answer, f"cannot be asked for: {why(exc)}")
                    continue
                self._unanswered.append(request)
            if batch:
                await connection.send_packed_command(b"".join(batch), check_health=False)

    async def _read(self, connection: Any) -> None:
        while True:
            for _ in range(AT_ONCE):
                try:
                    answer = await connection.read_response(timeout=FOREVER, disconnect_on_error=False)
                except ResponseError as exc:
                    answer = exc
                self._heard = self._patience.now
                request = self._unanswered.popleft()
                if request.answer.done():
                    continue
                if isinstance(answer, Exception):
                    request.answer.set_exception(answer)
                else:
                    request.answer.set_result(answer)
            await asyncio.sleep(0)


def packed(command: tuple[Any, ...]) -> bytes:
    """A command as it is sent; 0.7 µs, where redis-py's own packing takes 5. Raises `TypeError`."""
    data: bytes = pack_command(command)
    return data
