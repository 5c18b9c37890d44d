"""Presence of many nodes on Redis or Valkey servers."""

import asyncio
from collections.abc import Collection, Mapping
from typing import Any

from hubbub.brokers.base import BrokerUnavailable
from hubbub.brokers.redis import scripts, wire
from hubbub.brokers.redis.scripts import Script
from hubbub.brokers.redis.servers import Servers
from hubbub.core.messages import Member


class RedisPresence:
    """Entries by channel and connection, each of a node that has to refresh the channel now and then."""

    def __init__(self, servers: Servers) -> None:
        self._servers = servers
        self._ttl = int(servers.address.presence_ttl * 1000)
        self.refresh_interval = servers.address.presence_ttl / 3
        self._node_id = ""

    async def start(self, node_id: str) -> None:
        self._node_id = node_id
        await self._servers.start(node_id)

    async def stop(self) -> None:
        if self._node_id:
            self._node_id = ""
            await self._servers.stop()

    async def add(self, channel: str, connection_id: str, member: Member) -> bool:
        entry = wire.pack_entry(self._node_id, member)
        return bool(
            await self._run(scripts.MEMBER_ADD, channel, self._node_id, self._ttl, connection_id, entry)
        )

    async def remove(self, channel: str, connection_id: str) -> None:
        await self._run(scripts.MEMBER_REMOVE, channel, connection_id)

    async def replace(self, channel: str, members: Mapping[str, Member]) -> None:
        entries = [x for id, member in members.items() for x in (id, wire.pack_entry(self._node_id, member))]
        await self._run(scripts.MEMBERS_REPLACE, channel, self._node_id, self._ttl, *entries)

    async def refresh(self, channels: Collection[str]) -> list[str]:
        async def one(channel: str) -> bool:
            return bool(await self._run(scripts.MEMBERS_REFRESH, channel, self._node_id, self._ttl))

        found = await asyncio.gather(*(one(channel) for channel in channels), return_exceptions=True)
        failures = [answer for answer in found if isinstance(answer, BaseException)]
        if failures and (len(failures) == len(found) or not isinstance(failures[0], BrokerUnavailable)):
            raise failures[0]
        return [channel for channel, answer in zip(channels, found, strict=True) if answer is False]

    async def list(self, channel: str) -> dict[str, Member]:
        answer = await self._run(scripts.MEMBERS_LIST, channel)
        try:
            return {
                id.decode(): wire.unpack_entry(entry)
                for id, entry in zip(answer[::2], answer[1::2], strict=True)
            }
        except wire.Garbage as exc:
            raise BrokerUnavailable(f"its presence entries cannot be read: {exc}") from exc

    async def count(self, channel: str) -> tuple[int, int]:
        connections, clients = await self._run(scripts.MEMBERS_COUNT, channel)
        return connections, clients

    async def _run(self, script: Script, channel: str, *arguments: Any) -> Any:
        return await self._servers.run(script, self._servers.names.presence(channel), *arguments)
