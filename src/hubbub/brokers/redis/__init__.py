"""Many nodes over Redis or Valkey: standalone, behind Sentinel, or a Cluster."""

from hubbub.brokers.redis.address import Address, parse_address
from hubbub.brokers.redis.broker import RedisBroker
from hubbub.brokers.redis.presence import RedisPresence
from hubbub.brokers.redis.servers import Servers

__all__ = ["Address", "RedisBroker", "RedisPresence", "open_redis", "parse_address"]


def open_redis(url: str) -> tuple[RedisBroker, RedisPresence]:
    """The broker and the presence behind a URL, not yet connected. Raises `BadBroker`."""
    servers = Servers(parse_address(url))
    return RedisBroker(servers), RedisPresence(servers)
