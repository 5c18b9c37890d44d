"""Carries out what clients ask for: one command after another on each connection."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, Final, assert_never

import msgspec

from hubbub.brokers.base import BrokerUnavailable
from hubbub.core import codes
from hubbub.core.codes import Error
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
    Rpc,
    RpcReply,
    Subscribe,
    Unsubscribe,
)
from hubbub.core.session import command_id
from hubbub.hub.connection import Connection
from hubbub.hub.hooks import Refuse, to_json

if TYPE_CHECKING:
    from hubbub.hub.hub import Hub

logger = logging.getLogger("hubbub.commands")

HISTORY_PAGE: Final = 1000
"""Publications that one answer holds at most."""


class Commands:
    """Performs commands. While one takes time, its connection's reading is paused and what came waits."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def handle(self, connection: Connection, payload: bytes) -> None:
        """Decode one frame and let the session decide on each of its commands."""
        started = time.perf_counter()
        try:
            for command in connection.protocol.decode(payload):
                if connection.waiting is None:
                    connection.apply(connection.session.receive(command))
                else:
                    connection.waiting.append(command)
        except BadCommand as exc:
            connection.apply(connection.session.fault(exc))
        if connection.waiting is None:
            self._hub.metrics.processing.observe(time.perf_counter() - started)

    def perform(self, connection: Connection, command: Command) -> None:
        """Carry out one legal command, at once or in a task."""
        if isinstance(command, Ping):
            connection.send(Alive(command.id, self._hub.timestamp()))
        else:
            connection.waiting = deque()
            connection.transport.pause_reading()
            self._hub.spawn(self._work(connection, command))

    async def _work(self, connection: Connection, command: Command) -> None:
        """Perform a command, then whatever came in behind it, in order."""
        started = time.perf_counter()
        await self._attempt(connection, command_id(command), self._execute(connection, command))
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
        self, connection: Connection, id: CommandId, work: Coroutine[Any, Any, None], what: str = ""
    ) -> None:
        """Do it, and answer with an error what cannot be done; `what` says which part of a command it was."""
        prefix = f"{what}: " if what else ""
        try:
            await work
        except Refuse as exc:
            self._fail(connection, id, exc.error, prefix + exc.reason)
        except BadCommand as exc:
            self._fail(connection, id, exc.error or codes.BAD_REQUEST, prefix + exc.message)
        except BrokerUnavailable:
            self._fail(connection, id, codes.INTERNAL, prefix + "the broker does not answer; try again later")
        except Exception:
            logger.exception("%s failed", what or "a command")
            self._fail(connection, id, codes.INTERNAL)

    def _fail(self, connection: Connection, id: CommandId, error: Error, sentence: str = "") -> None:
        connection.send(Failed(id, error, sentence))

    def _execute(self, connection: Connection, command: Command) -> Coroutine[Any, Any, None]:
        match command:
            case Hello():
                return self._hello(connection, command)
            case Subscribe(id, channel, recover):
                return self._hub.membership.join(connection, id, channel, recover)
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
            case Connect() | Ping() | Pong():
                raise AssertionError(f"{command} is performed elsewhere")
            case _:
                assert_never(command)

    async def _hello(self, connection: Connection, command: Hello) -> None:
        if not await self._hub.connections.welcome(connection, command.id, command.recover):
            return
        for channel, recover in command.groups.items():
            join = self._hub.membership.join(connection, None, channel, recover)
            await self._attempt(connection, command.id, join, f"group {channel!r}")

    async def _publish(self, connection: Connection, command: Publish) -> None:
        hub, data = self._hub, command.data
        if hub.hooks.publish:
            decoded = msgspec.json.decode(data)
            await hub.hooks.allow(hub.hooks.publish, connection.describe(), command.channel, decoded)
        position = await hub.publish_raw(
            command.channel,
            data.copy(),  # else it would keep the whole frame alive
            kind=command.kind,
            client_id=connection.session.client_id,
        )
        if command.id is not None:
            connection.send(Published(command.id, command.channel, position))

    async def _presence(self, connection: Connection, command: GetPresence) -> None:
        members = await self._hub.presence(command.channel)
        connection.send(PresenceReply(command.id, command.channel, members))

    async def _presence_stats(self, connection: Connection, command: GetPresenceStats) -> None:
        connections, clients = await self._hub.presence_stats(command.channel)
        connection.send(PresenceStatsReply(command.id, command.channel, connections, clients))

    async def _history(self, connection: Connection, command: GetHistory) -> None:
        limit = command.limit if command.limit >= 0 else HISTORY_PAGE
        page = await self._hub.history(
            command.channel, since=command.since, limit=limit, reverse=command.reverse
        )
        connection.send(HistoryReply(command.id, command.channel, page.publications, page.position))

    async def _rpc(self, connection: Connection, command: Rpc) -> None:
        method = self._hub.hooks.rpc.get(command.method)
        if method is None:
            known = ", ".join(sorted(self._hub.hooks.rpc)) or "none is registered"
            raise BadCommand(
                f"rpc: field `method` is {command.method[:60]!r}; known methods: {known}",
                error=codes.METHOD_NOT_FOUND,
            )
        call = method.bind(connection.describe(), command.data)
        result = to_json(await self._hub.hooks.call(call))
        if len(result) > self._hub.options.max_rpc_bytes:
            raise BadCommand("rpc: the result is too large", error=codes.LIMIT_EXCEEDED)
        connection.send(RpcReply(command.id, result))
