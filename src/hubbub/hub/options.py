"""What can be set on a hub, with defaults that are safe to keep."""

from dataclasses import dataclass, field, fields

from hubbub.core.session import Limits


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

    def __post_init__(self) -> None:
        for setting in fields(self):
            value = getattr(self, setting.name)
            if isinstance(value, int | float) and not isinstance(value, bool) and value <= 0:
                raise ValueError(f"{setting.name} is {value}; give a number above 0")
