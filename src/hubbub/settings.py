"""The server's settings, declared once: name, type, default, help."""

from ipaddress import ip_network
from typing import Annotated, Literal

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from hubbub.core.channels import Namespace
from hubbub.core.session import Limits
from hubbub.hub import Options

Names = Annotated[tuple[str, ...], NoDecode]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Settings(BaseSettings):
    """Every setting of `hubbub serve`; each is a flag, and an environment variable `HUBBUB_…`."""

    model_config = SettingsConfigDict(env_prefix="HUBBUB_", extra="ignore")

    host: str = Field(default="127.0.0.1", description="Address to listen on.")
    port: int = Field(default=8000, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    workers: int = Field(default=1, ge=1, description="Processes that serve; they share the port.")
    insecure: bool = Field(default=False, description="Listen beyond loopback without authentication.")
    broker: str = Field(
        default="memory://", description="Where publications travel: memory://, redis://host:6379, ..."
    )
    wait_for_broker: bool = Field(default=False, description="Wait for a broker that cannot be reached.")
    raw_channels: bool = Field(
        default=True, description="With Redis, listen to system_broadcast and chat_<group> too."
    )
    demo: bool = Field(default=True, description="Serve the demo page at / with its ticker.")
    api_keys: Names = Field(default=(), description="Keys that open the server API, separated by commas.")
    allowed_origins: Names = Field(
        default=(), description="Origins whose pages may connect, separated by commas; * for all."
    )
    trusted_proxies: Names = Field(
        default=("127.0.0.1", "::1"), description="Addresses or networks whose X-Forwarded-For is believed."
    )
    tls_cert: str | None = Field(default=None, description="Certificate chain file (PEM).")
    tls_key: str | None = Field(default=None, description="Private key file (PEM).")
    idle_timeout: Seconds = Field(default=30.0, description="Seconds of silence till a client is asked.")
    grace_timeout: Seconds = Field(default=10.0, description="Seconds a client has to answer.")
    handshake_timeout: Seconds = Field(default=10.0, description="Seconds a request head may take.")
    max_message_bytes: int = Field(default=65536, gt=0, description="Largest message a client may send.")
    outbox_bytes: int = Field(default=1048576, gt=0, description="What may wait for a slow client.")
    groups_per_connection: int = Field(default=128, gt=0, description="Groups one connection may join.")
    errors_in_a_row: int = Field(default=10, gt=0, description="Bad commands in a row before a close.")
    announce_disconnects: bool = Field(default=True, description="Tell everybody when a client has gone.")
    compression: bool = Field(default=False, description="Offer permessage-deflate.")
    history_size: int = Field(default=0, ge=0, description="Publications kept per group; 0 for none.")
    history_ttl: Seconds = Field(default=300.0, description="Seconds a publication is kept.")
    broadcast_history_size: int = Field(default=0, ge=0, description="Broadcasts kept; 0 for none.")
    personal_history_size: int = Field(
        default=0, ge=0, description="Notifications kept per client; 0 for none."
    )
    slow_policy: Literal["disconnect", "drop_oldest", "latest"] = Field(
        default="disconnect", description="What happens to a client that cannot keep up."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(default="info", description="Log level.")
    access_log: bool = Field(default=False, description="Log every HTTP request.")

    @field_validator("api_keys", "allowed_origins", "trusted_proxies", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(item.strip() for item in value.split(",") if item.strip())
        return value

    @field_validator("trusted_proxies")
    @classmethod
    def _networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for item in value:
            if item != "*":
                ip_network(item)  # whose error names the item
        return value

    def broker_url(self) -> str:
        """The broker, with what else was set for it."""
        if self.raw_channels or self.broker.startswith("memory:"):
            return self.broker
        return f"{self.broker}{'&' if '?' in self.broker else '?'}raw_channels=off"

    def namespaces(self) -> dict[str, Namespace]:
        """The options of what is every client's own: broadcasts and personal notifications."""
        sizes = {
            "$all": self.broadcast_history_size,
            "$client": self.personal_history_size,
            "$user": self.personal_history_size,
        }
        return {
            name: Namespace(history_size=size, history_ttl=self.history_ttl, presence=False)
            for name, size in sizes.items()
        }

    def options(self) -> Options:
        """The part that the hub needs."""
        return Options(
            idle_timeout=self.idle_timeout,
            grace_timeout=self.grace_timeout,
            max_message_bytes=self.max_message_bytes,
            outbox_bytes=self.outbox_bytes,
            handshake_timeout=self.handshake_timeout,
            limits=Limits(groups=self.groups_per_connection, errors=self.errors_in_a_row),
            announce_disconnects=self.announce_disconnects,
            wait_for_broker=self.wait_for_broker,
            allowed_origins=self.allowed_origins,
            trusted_proxies=self.trusted_proxies,
            compression=self.compression,
            api_keys=self.api_keys,
        )
