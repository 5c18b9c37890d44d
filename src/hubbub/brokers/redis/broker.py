"""The broker of many nodes: history and Pub/Sub on Redis or Valkey servers."""

import asyncio
import contextlib
from collections.abc import Callable, Collection
from datetime import UTC, datetime
from typing import Final

from hubbub.brokers.base import BrokerUnavailable, HistoryPage, PublishOptions, Sink, new_epoch
from hubbub.brokers.redis import publishing, scripts, wire
from hubbub.brokers.redis.dial import Host
from hubbub.brokers.redis.feed import Feed
from hubbub.brokers.redis.link import RUN_ID
from hubbub.brokers.redis.names import RAW_CHAT, RAW_SYSTEM, slot_of
from hubbub.brokers.redis.publishing import EPOCH_TTL
from hubbub.brokers.redis.servers import Servers
from hubbub.core.messages import ALL, Position, Publication

MARK_TTL: Final = 24 * 3600 * 1000
"""Milliseconds for which a channel that nobody asks about counts as listened to."""
CLAIM_TTL: Final = 1000
"""Milliseconds within which one node alone is told that a channel is deserted."""

Handler = Callable[[bytes, str], None]
"""What becomes of a message that came in for a channel. Raises `Garbage`."""


class RedisBroker:
    """Keeps history in streams, reaches other nodes by Pub/Sub; sharded where the servers form a Cluster."""

    remote = True

    def __init__(self, servers: Servers) -> None:
        self._servers = servers
        self._names = servers.names
        self._sharded = servers.address.cluster
        self._publish_command = "SPUBLISH" if self._sharded else "PUBLISH"
        self._sink: Sink | None = None
        self._node_id = ""
        self._feeds: dict[Host, Feed] = {}
        self._homes: dict[bytes, Host] = {}
        self._listening: dict[bytes, tuple[Handler, str]] = {}
        self._move: asyncio.Task[None] | None = None
        self._moved_again = False

    async def start(self, sink: Sink, node_id: str) -> None:
        self._sink, self._node_id = sink, node_id
        await self._servers.start(node_id)
        self._servers.moved = self.moved
        try:
            self._make_feeds()
            own = (self._names.control, self._names.node(node_id))
            self._listening |= dict.fromkeys(own, (self._control, ""))
            await self._subscribe(own)
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        if self._sink is None:
            return
        self._sink = None
        self._servers.moved = None
        if self._move is not None:
            self._move.cancel()
            await asyncio.wait([self._move])
            self._move = None
        feeds, self._feeds = list(self._feeds.values()), {}
        for feed in feeds:
            await feed.close()
        self._homes.clear()
        self._listening.clear()
        await self._servers.stop()

    async def subscribe(self, channel: str) -> None:
        names = self._names_of(channel)
        self._listening |= names
        await self._subscribe(names)

    async def unsubscribe(self, channel: str) -> None:
        for name in self._names_of(channel):
            self._listening.pop(name, None)
            home = self._homes.pop(name, None)
            if home in self._feeds:
                self._feeds[home].unsubscribe(name)

    async def publish(self, publication: Publication, options: PublishOptions) -> Position | None:
        return await publishing.publish(self._servers, publication, options)

    async def history(
        self, channel: str, *, since: Position | None = None, limit: int = -1, reverse: bool = False
    ) -> HistoryPage:
        epoch, top, start, *entries = await self._servers.run(
            scripts.HISTORY,
            (self._names.meta(channel), self._names.stream(channel)),
            RUN_ID,
            new_epoch(),
            EPOCH_TTL,
            "" if since is None else since.epoch.encode(errors="replace"),
            "" if since is None else str(since.offset),
            limit,
            "reverse" if reverse else "",
        )
        position = Position(epoch.decode(), int(top))
        publications = []
        try:
            for offset, data in zip(entries[::2], entries[1::2], strict=True):
                publications.append(wire.unpack(data, channel, int(offset)))
        except wire.Garbage as exc:
            # A history with a hole is none: nobody is given a part of what he missed.
            self._garbage(self._names.stream(channel), exc)
            return HistoryPage([], position)
        return HistoryPage(publications, position, Position(position.epoch, int(start)) if start else None)

    async def positions(self, channels: Collection[str]) -> dict[str, Position]:
        async def one(channel: str) -> Position:
            keys = (self._names.meta(channel), self._names.stream(channel))
            epoch, top = await self._servers.run(scripts.POSITION, keys, RUN_ID, new_epoch(), EPOCH_TTL)
            return Position(epoch.decode(), int(top))

        found = await asyncio.gather(*(one(channel) for channel in channels), return_exceptions=True)
        positions = {}
        for channel, position in zip(channels, found, strict=True):
            if isinstance(position, Position):
                positions[channel] = position
            elif not isinstance(position, BrokerUnavailable):
                raise position
        if channels and not positions:
            raise BrokerUnavailable(str(found[0]))
        return positions

    async def remove_history(self, channel: str) -> None:
        stream = self._names.stream(channel)
        await self._servers.call(stream, "DEL", stream)

    async def control(self, message: bytes, node_id: str = "") -> None:
        name = self._names.node(node_id) if node_id else self._names.control
        await self._servers.call(name, self._publish_command, name, message)

    async def deserted(self, channels: Collection[str]) -> list[str]:
        async def one(channel: str) -> int:
            return await self._listened_to(scripts.DESERTED, channel, self._names.claim(channel), CLAIM_TTL)

        await self._settled()

        answers = await asyncio.gather(*(one(channel) for channel in channels))
        return [channel for channel, answer in zip(channels, answers, strict=True) if answer]

    async def occupancy(self, channel: str) -> int:
        await self._settled()
        return await self._listened_to(scripts.OCCUPANCY, channel, self._names.occupied(channel), MARK_TTL)

    async def _settled(self) -> None:
        await asyncio.gather(*(feed.settled() for feed in self._feeds.values()))

    async def _listened_to(self, script: scripts.Script, channel: str, key: bytes, ttl: int) -> int:
        verb = "SHARDNUMSUB" if self._sharded else "NUMSUB"
        answer: int = await self._servers.run(script, (key,), verb, self._names.channel(channel), ttl)
        return answer

    async def ping(self) -> None:
        if not self._feeds:
            raise BrokerUnavailable("it is not connected")
        await asyncio.gather(*(feed.ping() for feed in self._feeds.values()))

    # From the feeds.

    async def room(self) -> None:
        """Return when there is room to deliver more."""
        if self._sink is not None:
            await self._sink.room()

    def arrived(self, name: bytes, message: bytes) -> None:
        """A message came in on a Pub/Sub channel."""
        listening = self._listening.get(name)
        if listening is None:
            return  # it was on its way when we unsubscribed
        handle, channel = listening
        try:
            handle(message, channel)
        except wire.Garbage as exc:
            self._garbage(name, exc)

    def cut_off(self, names: Collection[bytes]) -> None:
        """These were cut off for a while and are subscribed again."""
        if self._sink is None:
            return
        channels = {self._listening[name][1] for name in names if name in self._listening} - {""}
        if channels:
            self._sink.interrupted(channels)

    def moved(self) -> None:
        """Something is kept by another server now, or may be."""
        if not self._sharded or self._sink is None:
            return
        self._moved_again = True
        if self._move is None or self._move.done():
            self._move = asyncio.get_running_loop().create_task(self._move_homes())

    # Our own.

    def _names_of(self, channel: str) -> dict[bytes, tuple[Handler, str]]:
        """The Pub/Sub channels of a channel, and what becomes of what arrives there."""
        names: dict[bytes, tuple[Handler, str]] = {self._names.channel(channel): (self._live, channel)}
        if self._servers.address.raw_channels:
            if channel == ALL:
                names[RAW_SYSTEM] = (self._raw_system, ALL)
            elif channel[0] != "$":
                names[RAW_CHAT + channel.encode()] = (self._raw_chat, channel)
        return names

    def _live(self, message: bytes, channel: str) -> None:
        publication, epoch = wire.unpack_live(message, channel)
        if self._sink is not None:
            self._sink.deliver(publication, epoch)

    def _raw_system(self, message: bytes, channel: str) -> None:
        publication = wire.raw_system(message, channel, _now())
        if self._sink is not None:
            self._sink.deliver(publication)

    def _raw_chat(self, message: bytes, channel: str) -> None:
        publication = wire.raw_chat(message, channel, _now())
        if self._sink is not None:
            self._sink.deliver(publication)

    def _control(self, message: bytes, channel: str) -> None:
        if self._sink is not None:
            self._sink.control(message)

    def _garbage(self, name: bytes, reason: Exception) -> None:
        if self._sink is not None:
            self._sink.garbage(name.decode(errors="replace"), str(reason))

    async def _subscribe(self, names: Collection[bytes]) -> None:
        if len(names) == 1:  # as for the channel of every client: no task for it
            await self._subscribe_one(*names)
        else:
            await asyncio.gather(*(self._subscribe_one(name) for name in names))

    async def _subscribe_one(self, name: bytes) -> None:
        while True:
            home = self._homes[name] = self._servers.host_of(name)
            feed = self._feeds.get(home)
            if feed is None:
                raise BrokerUnavailable("the server that keeps it is not connected yet")
            try:
                await feed.subscribe(name)
            except BrokerUnavailable:
                if self._homes.get(name) in (home, None):
                    raise
                continue  # it has moved meanwhile, and is asked for there
            return

    def _make_feeds(self) -> None:
        for host in self._servers.hosts:
            if host not in self._feeds:
                self._feeds[host] = Feed(
                    lambda host=host: self._servers.open(host),  # type: ignore[misc]
                    self,
                    probe=self._probe_at(host),
                    send_probe=lambda name, mark: self._servers.call(name, self._publish_command, name, mark),
                    sharded=self._sharded,
                    plain=self._is_raw,
                    deadline=self._servers.address.deadline,
                    probe_interval=self._servers.address.probe_interval,
                )

    def _probe_at(self, host: Host) -> bytes:
        """A Pub/Sub channel that this server keeps."""
        number = 0
        while True:
            name = self._names.probe(self._node_id, number)
            if self._servers.keeps(host, slot_of(name)):
                return name
            number += 1

    def _is_raw(self, name: bytes) -> bool:
        return name == RAW_SYSTEM or name.startswith(RAW_CHAT)

    async def _move_homes(self) -> None:
        """Look where everything is kept now, and listen there."""
        while self._moved_again:
            self._moved_again = False
            await self._servers.look_again()
            self._make_feeds()
            hosts = set(self._servers.hosts)
            for name, home in list(self._homes.items()):
                with contextlib.suppress(BrokerUnavailable):
                    self._move_home(name, home, self._servers.host_of(name))
            for host in self._feeds.keys() - hosts:
                await self._feeds.pop(host).close()
            for host, feed in self._feeds.items():
                if not self._servers.keeps(host, slot_of(feed.probe)):
                    feed.probe_with(self._probe_at(host))
                feed.retry()

    def _move_home(self, name: bytes, old: Host, new: Host) -> None:
        if new == old or new not in self._feeds:
            return
        self._homes[name] = new
        self._feeds[new].want(name, cut_off=True)
        if old in self._feeds:
            self._feeds[old].unsubscribe(name)


def _now() -> str:
    return datetime.now(UTC).isoformat()
