"""What can be set on a hub, with defaults that are safe to keep."""

from dataclasses import dataclass, field, fields
from typing import Final

from hubbub.core.session import Limits

LIMITS: Final = frozenset(
    {
        "max_connections",
        "connections_per_address",
        "connections_per_user",
        "arrivals_per_second",
        "messages_per_second",
        "bytes_per_second",
    }
)
"""Those that can be 0, for none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Settings of one hub. Times are seconds, sizes bytes.

    idle_timeout: a client silent for so long is asked for a sign of life.
    grace_timeout: one that stays silent for so long after that is closed.
    max_message_bytes: the largest message a client may send (also after decompression).
    outbox_bytes: what waits at most for a connection that cannot keep up.
    backlog_bytes: publications accepted and not yet sent; past it, publishing waits.
    hook_timeout: how long a hook may take; one that takes longer counts as a no.
    handshake_timeout: how long a client may take over its request head, and a hook over letting it in.
    close_timeout: how long a closing connection waits for the client's answer.
    limits: groups per connection, and bad commands in a row.
    max_rpc_bytes: the largest result of an rpc method.
    position_interval: how often every channel's position is compared with the broker's.
    wait_for_broker: start without the broker where it cannot be reached, once it can.
    announce_disconnects: tell everybody when a client's last connection goes away.
    allowed_origins: origins whose pages may connect; empty for the page's own server alone, "*" for all.
    trusted_proxies: addresses or networks whose X-Forwarded-For is believed.
    api_keys: keys that open the server API; empty leaves it open.
    anonymous: with tokens, let in who brings none, too.
    token_in_query: take a token from the query, where proxies and browsers may write it into their logs.
    expiry_grace: how long a client whose token has expired may take to bring a fresh one.
    revocation_ttl: how long a revocation is remembered; no token should live longer.

    Limits, of which 0 means none, count what is on this node:

    max_connections: connections at once.
    connections_per_address: connections of one address, or of one /64 with IPv6; proxies have no limit.
    connections_per_user: connections of one user, on all nodes.
    arrivals_per_second, arrivals_burst: new connections, and how many of them at once.
    messages_per_second, messages_burst: messages and control frames of one connection.
    bytes_per_second, bytes_burst: and their bytes.
    compression: offer permessage-deflate (RFC 7692), without a context per connection.
    """

    idle_timeout: float = 30.0
    grace_timeout: float = 10.0
    max_message_bytes: int = 64 * 1024
    outbox_bytes: int = 1024 * 1024
    backlog_bytes: int = 64 * 1024 * 1024
    hook_timeout: float = 5.0
    handshake_timeout: float = 10.0
    close_timeout: float = 5.0
    limits: Limits = field(default_factory=Limits)
    max_rpc_bytes: int = 1024 * 1024
    position_interval: float = 25.0
    wait_for_broker: bool = False
    announce_disconnects: bool = True
    allowed_origins: tuple[str, ...] = ()
    trusted_proxies: tuple[str, ...] = ("127.0.0.1", "::1")
    compression: bool = False
    api_keys: tuple[str, ...] = ()
    anonymous: bool = False
    token_in_query: bool = False
    expiry_grace: float = 25.0
    revocation_ttl: float = 30 * 86400.0
    max_connections: int = 50_000
    connections_per_address: int = 1000
    connections_per_user: int = 100
    arrivals_per_second: float = 2000.0
    arrivals_burst: int = 10_000
    messages_per_second: float = 100.0
    messages_burst: int = 1000
    bytes_per_second: float = 1024.0 * 1024
    bytes_burst: int = 4 * 1024 * 1024

    def __post_init__(self) -> None:
        if min(self.messages_burst, self.arrivals_burst) < 1:
            raise ValueError("messages_burst and arrivals_burst are 1 at least, or nobody could say anything")
        for setting in fields(self):
            value = getattr(self, setting.name)
            if not isinstance(value, int | float) or isinstance(value, bool):
                continue
            if value < 0 or (value == 0 and setting.name not in LIMITS):
                least = "0 (no limit) or more" if setting.name in LIMITS else "a number above 0"
                raise ValueError(f"{setting.name} is {value}; give {least}")
