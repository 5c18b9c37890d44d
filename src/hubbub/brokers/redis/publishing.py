"""One publish, as it is asked of a server: the same from a hub and from any other process."""

from typing import Any, Final, NamedTuple

from hubbub.brokers.base import BrokerUnavailable, PublishOptions, new_epoch
from hubbub.brokers.redis import scripts, wire
from hubbub.brokers.redis.address import Address
from hubbub.brokers.redis.link import RUN_ID
from hubbub.brokers.redis.names import Names
from hubbub.brokers.redis.scripts import Script
from hubbub.brokers.redis.servers import Servers
from hubbub.core.messages import Position, Publication

EPOCH_TTL: Final = 7 * 24 * 3600 * 1000
"""Milliseconds that an unused channel's position outlives its publications."""


class Request(NamedTuple):
    """What to ask of the server that keeps `name`.

    A script with its keys and arguments, `RUN_ID` standing for the server's own; without one, a command.
    `replicas` are then to have it, of which the server tells within `wait` milliseconds.
    """

    name: bytes
    script: Script | None
    keys: tuple[bytes, ...]
    arguments: tuple[Any, ...]
    replicas: int
    wait: int

    @staticmethod
    def position(answer: Any) -> Position | None:
        """What the answer to the script says; None without history."""
        epoch, offset = answer
        return Position(epoch.decode(), int(offset)) if epoch else None

    def check_replicas(self, reached: int) -> None:
        """Raise `BrokerUnavailable` where fewer replicas have it than are to."""
        if reached < self.replicas:
            raise BrokerUnavailable(f"{reached} of {self.replicas} replicas have it")


def prepare(names: Names, address: Address, publication: Publication, options: PublishOptions) -> Request:
    """What a publish asks: one step of a script, or a plain command where nothing is to be kept."""
    channel, data = publication.channel, wire.pack(publication)
    name, key = names.channel(channel), options.idempotency_key
    command = "SPUBLISH" if address.cluster else "PUBLISH"
    if not options.history_size and not key:
        return Request(name, None, (), (command, name, wire.pack_live(data)), 0, 0)
    arguments = (
        RUN_ID,
        new_epoch(),
        EPOCH_TTL,
        data,
        options.history_size,
        int(options.history_ttl * 1000),
        int(options.idempotency_ttl * 1000) if key else 0,
        command,
        name,
    )
    keys = names.meta(channel), names.stream(channel), names.result(channel, key)
    return Request(name, scripts.PUBLISH, keys, arguments, address.replicas, int(address.deadline * 900))


async def publish(servers: Servers, publication: Publication, options: PublishOptions) -> Position | None:
    """Append to the channel's history and send, as one step. Raises `BrokerUnavailable`."""
    request = prepare(servers.names, servers.address, publication, options)
    if request.script is None:
        await servers.call(request.name, *request.arguments)
        return None
    step = (request.script, request.keys, *request.arguments)
    if not request.replicas:
        return Request.position(await servers.run(*step))
    answer, reached = await servers.run_and_wait(request.replicas, request.wait, *step)
    request.check_replicas(reached)
    return Request.position(answer)
