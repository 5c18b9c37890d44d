"""Carries out what clients ask for: one command after another on each connection."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Coroutine
from functools import partial
from typing import TYPE_CHECKING, Any, Final, assert_never

import msgspec

from hubbub.brokers.base import BrokerUnavailable
from hubbub.core import codes
from hubbub.core.grants import Action
from hubbub.core.messages import (
    Alive,
    BadCommand,
    Command,
    CommandId,
    Connect,
    Failed,
    GetHistory,
    GetPresence,
    GetPresenceStats,
    Hello,
    HistoryReply,
    Ping,
    Pong,
    PresenceReply,
    PresenceStatsReply,
    Publish,
    Published,
    Refresh,
    Rpc,
    RpcReply,
    Subscribe,
    Unsubscribe,
)
from hubbub.core.session import command_id
from hubbub.hub.connection import Connection
from hubbub.hub.hooks import Instead, Refuse, to_json

if TYPE_CHECKING:
    from hubbub.hub.hub import Hub

logger = logging.getLogger("hubbub.commands")

HISTORY_PAGE: Final = 1000
"""Publications that one answer holds at most."""


class Commands:
    """Performs commands. While one takes time, its connection's reading is paused and what came waits."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._begun = 0  # commands that tell themselves how long they took

    def handle(self, connection: Connection, payload: bytes) -> None:
        """Decode one frame and let the session decide on each of its commands."""
        started, begun = time.perf_counter(), self._begun
        try:
            for command in connection.protocol.decode(payload):
                if connection.waiting is None:
                    connection.apply(connection.session.receive(command))
                else:
                    connection.waiting.append(command)
        except BadCommand as exc:
            connection.apply(connection.session.fault(exc))
        if self._begun == begun:
            self._hub.metrics.processing.observe(time.perf_counter() - started)

    def perform(self, connection: Connection, command: Command) -> None:
        """Carry out one legal command, at once or in a task."""
        if isinstance(command, Ping):
            connection.send(Alive(command.id, self._hub.timestamp()))
        else:
            self._begun += 1
            connection.waiting = deque()
            work = self._work(connection, command)
            # What joins is all that a crowd at the door wants; other commands keep their place in the queue.
            begin = self._hub.begin if type(command) is Subscribe else self._hub.spawn
            if begin(work) is not None:
                connection.transport.pause_reading()

    async def _work(self, connection: Connection, command: Command) -> None:
        """Perform a command, then whatever came in behind it, in order."""
        started = time.perf_counter()
        await self._attempt(connection, command_id(command), self._checked(connection, command))
        self._hub.metrics.processing.observe(time.perf_counter() - started)
        waiting, connection.waiting = connection.waiting, None
        if not connection.open:
            return
        while waiting and connection.open:
            item = waiting.popleft()
            if isinstance(item, bytes):
                self.handle(connection, item)
            else:
                connection.apply(connection.session.receive(item))
            if connection.waiting is not None:
                connection.waiting.extend(waiting)  # a task of its own goes on with the rest
                return
        connection.transport.resume_reading()

    async def _attempt(
        self, connection: Connection, id: CommandId, work: Coroutine[Any, Any, None], channel: str = ""
    ) -> None:
        """Do it, and answer with an error what cannot be done; `channel` where it is one of several."""
        prefix = f"group {channel!r}: " if channel else ""
        try:
            await work
        except Refuse as exc:
            connection.send(Failed(id, exc.error, prefix + exc.reason, channel))
        except BadCommand as exc:
            connection.send(Failed(id, exc.error or codes.BAD_REQUEST, prefix + exc.message, channel))
        except BrokerUnavailable:
            sentence = f"{prefix}the broker does not answer; try again later"
            connection.send(Failed(id, codes.INTERNAL, sentence, channel))
        except Exception:
            logger.exception("%s failed", f"group {channel!r}" if channel else "a command")
            connection.send(Failed(id, codes.INTERNAL, channel=channel))

    async def _checked(self, connection: Connection, command: Command) -> None:
        """Carry out a command, unless the token has expired that it would be for."""
        if not isinstance(command, Refresh | Unsubscribe):
            self._hub.expiry.check(connection)
        await self._execute(connection, command)

    def _execute(self, connection: Connection, command: Command) -> Coroutine[Any, Any, None]:
        match command:
            case Hello():
                return self._hello(connection, command)
            case Subscribe(id, channel, recover, token):
                return self._hub.membership.join(connection, id, channel, recover, token=token)
            case Unsubscribe(id, channel):
                return self._hub.membership.leave(connection, id, channel)
            case Publish():
                return self._publish(connection, command)
            case GetPresence():
                return self._presence(connection, command)
            case GetPresenceStats():
                return self._presence_stats(connection, command)
            case GetHistory():
                return self._history(connection, command)
            case Rpc():
                return self._rpc(connection, command)
            case Refresh(id, token):
                return self._hub.expiry.refresh(connection, id, token)
            case Connect() | Ping() | Pong():
                raise AssertionError(f"{command} is performed elsewhere")
            case _:
                assert_never(command)

    async def _hello(self, connection: Connection, command: Hello) -> None:
        if not await self._hub.connections.welcome(connection, command):
            return
        for channel in connection.identity.groups:
            if channel not in command.groups:
                join = self._hub.membership.join(connection, None, channel, ask=False)
                await self._attempt(connection, command.id, join, channel)
        for channel, recover in command.groups.items():
            join = self._hub.membership.join(connection, None, channel, recover)
            await self._attempt(connection, command.id, join, channel)

    async def _publish(self, connection: Connection, command: Publish) -> None:
        hub, data = self._hub, command.data
        hub.permits.check(connection, Action.PUBLISH, command.channel)
        if hub.hooks.publish.find(command.channel) is not None:
            judged = msgspec.json.decode(data)
            said = await hub.hooks.allow(hub.hooks.publish, connection.describe(), command.channel, judged)
            # What the hook has seen: in the text there may be a field twice, and clients may take the other.
            data = to_json(said.data if isinstance(said, Instead) else judged)
        position = await hub.publish_raw(
            command.channel,
            data.copy(),  # else it would keep the whole frame alive
            kind=command.kind,
            client_id=connection.session.client_id,
        )
        if command.id is not None:
            connection.send(Published(command.id, command.channel, position))

    async def _presence(self, connection: Connection, command: GetPresence) -> None:
        self._hub.permits.check(connection, Action.PRESENCE, command.channel)
        members = await self._hub.presence(command.channel)
        connection.send(PresenceReply(command.id, command.channel, members))

    async def _presence_stats(self, connection: Connection, command: GetPresenceStats) -> None:
        self._hub.permits.check(connection, Action.PRESENCE, command.channel)
        connections, clients = await self._hub.presence_stats(command.channel)
        connection.send(PresenceStatsReply(command.id, command.channel, connections, clients))

    async def _history(self, connection: Connection, command: GetHistory) -> None:
        self._hub.permits.check(connection, Action.HISTORY, command.channel)
        limit = command.limit if command.limit >= 0 else HISTORY_PAGE
        page = await self._hub.history(
            command.channel, since=command.since, limit=limit, reverse=command.reverse
        )
        connection.send(HistoryReply(command.id, command.channel, page.publications, page.position))

    async def _rpc(self, connection: Connection, command: Rpc) -> None:
        hooks, session = self._hub.hooks, connection.describe()
        method, fallback = hooks.rpc.get(command.method), hooks.rpc_fallback
        if method is not None:
            call = method.bind(session, command.data)
        elif fallback is not None:
            call = partial(fallback, session, command.method, command.data)
        else:
            known = ", ".join(sorted(hooks.rpc)) or "none is registered"
            raise BadCommand(
                f"rpc: field `method` is {command.method[:60]!r}; known methods: {known}",
                error=codes.METHOD_NOT_FOUND,
            )
        result = to_json(await hooks.call(call))
        if len(result) > self._hub.options.max_rpc_bytes:
            raise BadCommand("rpc: the result is too large", error=codes.LIMIT_EXCEEDED)
        connection.send(RpcReply(command.id, result))
