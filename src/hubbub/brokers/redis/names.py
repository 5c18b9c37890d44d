"""What our keys and Pub/Sub channels are called on the servers.

Whatever belongs to one channel has the channel in braces, the Cluster's hash tag, so that a script's keys and
the Pub/Sub channel it publishes to lie on one server.
"""

from typing import Final

from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot

SLOTS: Final = REDIS_CLUSTER_HASH_SLOTS
RAW_SYSTEM: Final = b"system_broadcast"
"""Where those publish who know nothing of us, for every connection."""
RAW_CHAT: Final = b"chat_"
"""Before a group's name: where they publish to its members."""


def slot_of(name: bytes) -> int:
    """The Cluster's slot of a key or a sharded channel."""
    return key_slot(name)


class Names:
    """The names under one prefix."""

    def __init__(self, prefix: str, db: int) -> None:
        # Pub/Sub knows no databases, so the database is part of the prefix.
        self._prefix = f"{prefix}.{db}" if db else prefix
        self.control = self._prefix.encode() + b":control"

    def _name(self, what: str, channel: str, rest: str = "") -> bytes:
        # A brace in the channel would end the hash tag early, an empty tag is none.
        tag = channel.replace("%", "%25").replace("}", "%7D") if "}" in channel or "%" in channel else channel
        return f"{self._prefix}:{what}:{{{tag}}}{rest}".encode()

    def meta(self, channel: str) -> bytes:
        """Where a history stands: epoch, offset, server, earlier epochs."""
        return self._name("meta", channel)

    def stream(self, channel: str) -> bytes:
        """A history's publications."""
        return self._name("stream", channel)

    def result(self, channel: str, key: str) -> bytes:
        """What a publish with this idempotency key returned."""
        return self._name("result", channel, f":{key}")

    def channel(self, channel: str) -> bytes:
        """The Pub/Sub channel of a channel."""
        return self._name("channel", channel)

    def claim(self, channel: str) -> bytes:
        """Who asked last whether a channel is deserted."""
        return self._name("deserted", channel)

    def occupied(self, channel: str) -> bytes:
        """Whether somebody was told that a channel is listened to."""
        return self._name("occupied", channel)

    def presence(self, channel: str) -> tuple[bytes, bytes, bytes]:
        """Members, clients and nodes of a channel."""
        return self._name("members", channel), self._name("clients", channel), self._name("nodes", channel)

    def node(self, node_id: str) -> bytes:
        """The Pub/Sub channel of one node."""
        return f"{self._prefix}:node:{node_id}".encode()

    def probe(self, node_id: str, number: int) -> bytes:
        """The Pub/Sub channel on which a node tries one of its connections."""
        return f"{self._prefix}:probe:{node_id}:{{{number}}}".encode()
