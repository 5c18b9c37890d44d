"""The Pub/Sub connection to one server: what this node listens to, what comes in, and a probe that it does.

Theory of operation. `wanted` is what the node listens to. A connection starts by subscribing to all of it, in
batches; from then on what changes within one turn of the loop goes out together. A Pub/Sub connection can be
dead while its socket looks healthy and commands on other connections work, the classic silent outage. So when
nothing has come in for a while, a message is sent to ourselves through the server, and when it does not come
back the connection is given up and opened anew. After every reconnect the owner is told which channels were
cut off meanwhile.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection
from typing import Any, Final, Protocol

from redis.exceptions import MovedError, RedisError, ResponseError

from hubbub.brokers.base import BrokerUnavailable
from hubbub.brokers.redis.dial import Opened, hang_up, why
from hubbub.brokers.redis.link import AT_ONCE, FIRST_PAUSE, FOREVER, LONG_ENOUGH, LONGEST_PAUSE, packed
from hubbub.brokers.redis.patience import Patience, fail

logger = logging.getLogger("hubbub.broker")

BATCH: Final = 512
"""Channels that one SUBSCRIBE names at most."""
_MESSAGES: Final = (b"message", b"smessage")


class Owner(Protocol):
    """What a feed needs of its owner."""

    async def room(self) -> None:
        """Return when there is room to deliver more."""

    def arrived(self, name: bytes, message: bytes) -> None:
        """A message came in. Never fails."""

    def cut_off(self, names: Collection[bytes]) -> None:
        """These were cut off for a while and are subscribed again."""

    def moved(self) -> None:
        """The server is lost, or says that it keeps some of what is wanted no longer."""


class Feed:
    """Subscriptions at one server. `sharded` where channels are bound to servers, but for `plain` names."""

    def __init__(
        self,
        dial: Callable[[], Awaitable[Opened]],
        owner: Owner,
        *,
        probe: bytes,
        send_probe: Callable[[bytes, bytes], Awaitable[object]],
        sharded: bool,
        plain: Callable[[bytes], bool],
        deadline: float,
        probe_interval: float,
    ) -> None:
        self.wanted: dict[bytes, None] = {probe: None}
        self._dial = dial
        self._owner = owner
        self.probe = probe
        self._send_probe = send_probe
        self._sharded = sharded
        self._plain = plain
        self._patience = Patience(deadline)
        self._probe_interval = probe_interval
        self._subscribed: set[bytes] = set()
        self._leaving: set[bytes] = set()
        self._changed: dict[bytes, None] = {}
        self._waiting: dict[bytes, asyncio.Future[None]] = {}
        self._more = asyncio.Event()
        self._settled = asyncio.Event()
        self._heard = 0
        self._echoes: dict[bytes, asyncio.Future[None]] = {}
        self._probes = 0
        self._tasks: tuple[asyncio.Task[None], ...] = ()
        self._connected = False
        self._first: set[bytes] = set()  # to be confirmed till a new connection is as good as the one before
        self._doubted: set[bytes] = set()  # were cut off, and are not confirmed again yet
        self._restored: list[bytes] = []
        self._trouble = "not connected yet"
        self._task = asyncio.get_running_loop().create_task(self._live())

    @property
    def trouble(self) -> str:
        """What is wrong with it; empty where nothing is known to be."""
        return self._trouble

    async def close(self) -> None:
        """Let go of the connection."""
        self._task.cancel()
        await asyncio.wait([self._task])
        self._patience.close()
        for future in (*self._waiting.values(), *self._echoes.values()):
            fail(future, "the broker was stopped")

    async def subscribe(self, name: bytes) -> None:
        """Return when the server has confirmed. Raises `BrokerUnavailable`; it is wanted all the same."""
        self.want(name)
        if name in self._subscribed and name not in self._leaving:
            return
        future = self._waiting.get(name)
        if future is None:
            future = self._waiting[name] = asyncio.get_running_loop().create_future()
            self._patience.watch(future, lambda: self._give_up_waiting(name))
        await asyncio.shield(future)

    def _give_up_waiting(self, name: bytes) -> str:
        self._waiting.pop(name, None)
        return self._trouble or "a subscription was not confirmed in time"

    def want(self, name: bytes, *, cut_off: bool = False) -> None:
        """Subscribe as soon as possible; `cut_off` where it has been subscribed elsewhere till now."""
        self.wanted[name] = None
        if cut_off:
            self._doubted.add(name)
        self._change(name)

    def probe_with(self, name: bytes) -> None:
        """Try the connection on another channel from now on."""
        self.unsubscribe(self.probe)
        self.probe = name
        self.want(name)

    def retry(self) -> None:
        """Ask again for what was asked for and not confirmed."""
        for name in self.wanted:
            if name not in self._subscribed:
                self._change(name)

    def unsubscribe(self, name: bytes) -> None:
        """Listen no longer; the server hears of it soon."""
        self.wanted.pop(name, None)
        self._doubted.discard(name)
        self._first.discard(name)
        future = self._waiting.pop(name, None)
        if future is not None:
            fail(future, "the subscription was taken back")
        self._change(name)

    async def settled(self) -> None:
        """Return when the server has confirmed every change. Raises `BrokerUnavailable`."""
        try:
            async with asyncio.timeout(self._patience.seconds):
                while self._changed or self._leaving or not self._connected:
                    self._settled.clear()
                    await self._settled.wait()
        except TimeoutError as exc:
            raise BrokerUnavailable(self._trouble or "subscriptions were not confirmed in time") from exc

    async def ping(self) -> None:
        """Return when a message has come back. Raises `BrokerUnavailable`."""
        if not self._connected:
            raise BrokerUnavailable(self._trouble)
        self._probes += 1
        mark = b"%d" % self._probes
        echo = self._echoes[mark] = asyncio.get_running_loop().create_future()
        self._patience.watch(echo, lambda: "a message to ourselves did not come back through Pub/Sub")
        try:
            await self._send_probe(self.probe, mark)
            await echo
        finally:
            self._echoes.pop(mark, None)

    def _change(self, name: bytes) -> None:
        self._changed[name] = None
        self._more.set()

    async def _live(self) -> None:
        """Connect, listen, connect again."""
        loop = asyncio.get_running_loop()
        pause = 0.0
        while True:
            try:
                opened = await self._dial()
            except BrokerUnavailable as exc:
                self._trouble = str(exc)
            else:
                began = loop.time()
                try:
                    await self._work(opened.connection)
                finally:
                    self._connected = False
                    await hang_up(opened.connection)
                if loop.time() - began > LONG_ENOUGH:
                    pause = 0.0
                logger.warning("lost a Pub/Sub connection to the broker: %s", self._trouble)
                self._owner.moved()
            pause = min(max(FIRST_PAUSE, 2 * pause), LONGEST_PAUSE)
            await asyncio.sleep(pause)

    async def _work(self, connection: Any) -> None:
        self._doubted |= self._subscribed & self.wanted.keys()
        self._subscribed.clear()
        self._leaving.clear()
        self._changed = dict.fromkeys(self.wanted)
        self._first = set(self.wanted)
        self._more.set()
        self._connected = True
        loop = asyncio.get_running_loop()
        self._tasks = (
            loop.create_task(self._write(connection)),
            loop.create_task(self._read(connection)),
            loop.create_task(self._watch()),
        )
        try:
            await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in self._tasks:
                task.cancel()
            ends = await asyncio.gather(*self._tasks, return_exceptions=True)
            failures = [e for e in ends if isinstance(e, Exception)]
            self._trouble = why(failures[0]) if failures else "the connection was closed"
            for failure in failures:
                if not isinstance(failure, RedisError | OSError | BrokerUnavailable):
                    logger.error("a Pub/Sub connection failed", exc_info=failure)

    async def _write(self, connection: Any) -> None:
        while True:
            await self._more.wait()
            self._more.clear()
            changed, self._changed = self._changed, {}
            data = b"".join(packed(command) for command in self._commands(changed))
            if data:
                await connection.send_packed_command(data, check_health=False)
            else:
                self._settled.set()

    def _commands(self, changed: Collection[bytes]) -> list[tuple[bytes, ...]]:
        """What to tell the server, so that it sends what is wanted and nothing else."""
        commands: list[tuple[bytes, ...]] = []
        subscribe = [name for name in changed if name in self.wanted and name not in self._subscribed]
        leave = [name for name in changed if name not in self.wanted and name in self._subscribed]
        self._leaving.update(leave)
        for verb, names in ((b"SUBSCRIBE", subscribe), (b"UNSUBSCRIBE", leave)):
            sharded = [name for name in names if self._sharded and not self._plain(name)]
            # One SSUBSCRIBE may name channels of one slot only.
            commands += [(b"S" + verb, name) for name in sharded]
            if len(sharded) < len(names):
                plain = [name for name in names if not self._sharded or self._plain(name)]
                commands += [(verb, *plain[i : i + BATCH]) for i in range(0, len(plain), BATCH)]
        return commands

    async def _read(self, connection: Any) -> None:
        while True:
            for _ in range(AT_ONCE):
                try:
                    answer = await connection.read_response(timeout=FOREVER, disconnect_on_error=False)
                except MovedError:
                    self._owner.moved()
                    continue
                except ResponseError as exc:
                    raise BrokerUnavailable(why(exc)) from exc
                self._heard += 1
                kind, name, rest = answer
                if kind in _MESSAGES:
                    if name == self.probe:
                        self._echo(rest)
                    else:
                        self._owner.arrived(name, rest)
                else:
                    self._confirmed(kind, name)
            await asyncio.sleep(0)
            await self._owner.room()

    def _echo(self, mark: bytes) -> None:
        echo = self._echoes.get(mark)
        if echo is not None and not echo.done():
            echo.set_result(None)

    def _confirmed(self, kind: bytes, name: bytes) -> None:
        if kind.endswith(b"unsubscribe"):
            asked = name in self._leaving
            self._leaving.discard(name)
            self._subscribed.discard(name)
            if name in self.wanted:
                if asked:
                    self._change(name)
                else:
                    # A slot has moved, and took the subscription with it.
                    self._doubted.add(name)
                    self._owner.moved()
        else:
            self._subscribed.add(name)
            if name not in self.wanted:
                self._change(name)
            self._first.discard(name)
            if not self._first:
                self._trouble = ""
            future = self._waiting.pop(name, None)
            if future is not None and not future.done():
                future.set_result(None)
            if name in self._doubted:
                self._doubted.discard(name)
                self._restored.append(name)
        if self._restored and (not self._doubted or len(self._restored) >= BATCH):
            restored, self._restored = self._restored, []
            self._owner.cut_off([name for name in restored if name in self.wanted])
        if not self._leaving and not self._changed:
            self._settled.set()

    async def _watch(self) -> None:
        """Try the connection when it has been silent; fails when it is dead."""
        heard = -1
        while True:
            if heard == self._heard:
                await self.ping()
            heard = self._heard
            await asyncio.sleep(self._probe_interval)
