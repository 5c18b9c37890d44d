"""The server's settings, declared once: name, type, default, help."""

from dataclasses import fields, replace
from ipaddress import ip_network
from typing import Annotated, Any, Final, Literal

import msgspec
from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from hubbub.auth import ApiKeys, Verifier
from hubbub.auth.apikeys import as_hash
from hubbub.core.channels import Namespace, SlowPolicy
from hubbub.core.session import Limits
from hubbub.hub import Options
from hubbub.webhooks import WebhookOptions
from hubbub.webhooks.options import ENDPOINTS, HEADERS, check_header, check_url

Names = Annotated[tuple[str, ...], NoDecode]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
_URLS: Final = tuple(f"webhook_{name}" for name in ENDPOINTS)
_LISTS: Final = ("webhook_secret", "webhook_headers")
_TOKENS: Final = ("token_secret", "token_keys", "token_audience", "token_algorithms", "token_claims")


_SAME: Final = (
    "max_connections",
    "connections_per_address",
    "connections_per_user",
    "arrivals_per_second",
    "arrivals_burst",
    "messages_per_second",
    "messages_burst",
    "bytes_per_second",
    "bytes_burst",
    "anonymous",
    "token_in_query",
    "expiry_grace",
    "revocation_ttl",
)
"""Settings that the hub's options have under the same name."""


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
    api_keys: Names = Field(
        default=(),
        description="Keys that open the server API, plain or as sha256:..., separated by commas.",
        repr=False,
    )
    api_keys_file: str | None = Field(
        default=None, description="JSON file of API keys with scopes; read again when it changes."
    )
    token_secret: Names = Field(
        default=(), description="Secrets that sign tokens (HMAC), separated by commas.", repr=False
    )
    token_keys: Names = Field(
        default=(), description="Files of keys (PEM, JWK, JWKS) that verify tokens; read when they change."
    )
    token_jwks_url: str | None = Field(default=None, description="URL of the keys (JWKS) that verify tokens.")
    token_issuer: str | None = Field(default=None, description="Issuer that tokens have to name.")
    token_audience: Names = Field(
        default=(), description="Audiences that tokens may be for, separated by commas."
    )
    token_algorithms: Names = Field(
        default=(), description="Algorithms that tokens may be signed by; those that fit the keys, if none."
    )
    token_scopes: str | None = Field(
        default=None, description="What OAuth scopes open, as a JSON object of channels and api by scope."
    )
    token_claims: Names = Field(
        default=(), description="Claims that count: client_id, groups, channels, channel, info."
    )
    oidc_issuer: str | None = Field(
        default=None, description="URL of an OpenID Connect issuer whose tokens are taken."
    )
    introspection_url: str | None = Field(default=None, description="URL to ask about opaque tokens.")
    introspection_client: str | None = Field(default=None, description="Client id to ask with.")
    introspection_secret: str | None = Field(
        default=None, description="Client secret to ask with.", repr=False
    )
    open_stats: bool = Field(default=False, description="Show /stats and /metrics without a key.")
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
    max_head_bytes: int = Field(default=16384, ge=1024, description="Largest request head, in bytes.")
    max_message_bytes: int = Field(default=65536, gt=0, description="Largest message a client may send.")
    outbox_bytes: int = Field(default=1048576, gt=0, description="What may wait for a slow client.")
    groups_per_connection: int = Field(default=128, gt=0, description="Groups one connection may join.")
    errors_in_a_row: int = Field(default=10, gt=0, description="Bad commands in a row before a close.")
    max_connections: int = Field(default=50_000, ge=0, description="Connections at once; 0 for no limit.")
    connections_per_address: int = Field(
        default=1000, ge=0, description="Connections of one address; 0 for no limit."
    )
    connections_per_user: int = Field(
        default=100, ge=0, description="Connections of one user, on all nodes; 0 for no limit."
    )
    arrivals_per_second: float = Field(
        default=2000.0, ge=0, allow_inf_nan=False, description="New connections a second; 0 for no limit."
    )
    arrivals_burst: int = Field(default=10_000, gt=0, description="New connections at once.")
    messages_per_second: float = Field(
        default=100.0, ge=0, allow_inf_nan=False, description="Messages a client may send; 0 for no limit."
    )
    messages_burst: int = Field(default=1000, gt=0, description="Messages it may send at once.")
    bytes_per_second: float = Field(
        default=1048576.0, ge=0, allow_inf_nan=False, description="Bytes a client may send; 0 for no limit."
    )
    bytes_burst: int = Field(default=4194304, gt=0, description="Bytes it may send at once.")
    anonymous: bool = Field(default=False, description="With tokens, let in who brings none, too.")
    token_in_query: bool = Field(default=False, description="Take tokens from ?token=, which logs may show.")
    expiry_grace: Seconds = Field(default=25.0, description="Seconds to bring a fresh token.")
    revocation_ttl: Seconds = Field(
        default=2592000.0, description="Seconds that revocations are kept; no token should live longer."
    )
    announce_disconnects: bool = Field(default=True, description="Tell everybody when a client has gone.")
    compression: bool = Field(default=False, description="Offer permessage-deflate.")
    history_size: int = Field(default=0, ge=0, description="Publications kept per group; 0 for none.")
    history_ttl: Seconds = Field(default=300.0, description="Seconds a publication is kept.")
    broadcast_history_size: int = Field(default=0, ge=0, description="Broadcasts kept; 0 for none.")
    personal_history_size: int = Field(
        default=0, ge=0, description="Notifications kept per client; 0 for none."
    )
    namespace_options: str = Field(
        default="",
        description='Options by namespace as JSON, such as {"orders": {"join": "token"}}; "*" for others.',
    )
    slow_policy: Literal["disconnect", "drop_oldest", "latest"] = Field(
        default="disconnect", description="What happens to a client that cannot keep up."
    )
    webhook_connect: str | None = Field(default=None, description="URL that is asked who a client is.")
    webhook_subscribe: str | None = Field(default=None, description="URL that is asked who may join a group.")
    webhook_publish: str | None = Field(default=None, description="URL that is asked who may publish what.")
    webhook_rpc: str | None = Field(default=None, description="URL that answers what clients call.")
    webhook_refresh: str | None = Field(default=None, description="URL that is asked who may stay.")
    webhook_events: str | None = Field(default=None, description="URL that is told what has happened.")
    webhook_secret: Names = Field(
        default=(), description="Key that webhooks are signed with; two, while one is replaced.", repr=False
    )
    webhook_timeout: float = Field(
        default=1.0, gt=0, le=30, description="Seconds that a webhook may take before it counts as a no."
    )
    webhook_concurrency: int = Field(default=64, gt=0, description="Webhooks to one URL at once.")
    webhook_headers: Names = Field(
        default=HEADERS, description="Headers of a client that are passed on, separated by commas."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(default="info", description="Log level.")
    access_log: bool = Field(default=False, description="Log every HTTP request.")

    @field_validator("api_keys", "allowed_origins", "trusted_proxies", *_LISTS, *_TOKENS, mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(item.strip() for item in value.split(",") if item.strip())
        return value

    @field_validator(*_URLS)
    @classmethod
    def _callable(cls, value: str | None) -> str | None:
        return check_url(value) if value else None

    @field_validator("webhook_headers")
    @classmethod
    def _headers(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(check_header(name.lower()) for name in value)

    @field_validator("api_keys")
    @classmethod
    def _hashed(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(map(as_hash, value))  # of a key no more is kept than its hash

    @field_validator("trusted_proxies")
    @classmethod
    def _networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for item in value:
            if item != "*":
                ip_network(item)  # whose error names the item
        return value

    @field_validator("namespace_options")
    @classmethod
    def _readable(cls, value: str) -> str:
        _read_namespaces(value)
        return value

    def broker_url(self) -> str:
        """The broker, with what else was set for it."""
        if self.raw_channels or self.broker.startswith("memory:"):
            return self.broker
        return f"{self.broker}{'&' if '?' in self.broker else '?'}raw_channels=off"

    def default_namespace(self) -> Namespace:
        """The options of groups in no namespace that has its own."""
        namespace = Namespace(
            history_size=self.history_size,
            history_ttl=self.history_ttl,
            slow_policy=SlowPolicy(self.slow_policy),
        )
        return replace(namespace, **_read_namespaces(self.namespace_options).get("*", {}))

    def namespaces(self) -> dict[str, Namespace]:
        """The options of each namespace, and of what is every client's own: broadcasts, notifications."""
        others = self.default_namespace()
        named = {
            name: replace(others, **options)
            for name, options in _read_namespaces(self.namespace_options).items()
            if name != "*"
        }
        sizes = {
            "$all": self.broadcast_history_size,
            "$client": self.personal_history_size,
            "$user": self.personal_history_size,
        }
        return named | {
            name: Namespace(history_size=size, history_ttl=self.history_ttl, presence=False)
            for name, size in sizes.items()
        }

    def keys(self) -> ApiKeys:
        """The keys of the server API. Raises `BadKeys` for a file of them that is not good."""
        public = ("stats", "metrics") if self.open_stats else ()
        return ApiKeys(self.api_keys, file=self.api_keys_file, public=public)

    def verifier(self) -> Verifier | None:
        """What verifies tokens, None where no setting says how. Raises `ValueError` with a sentence."""
        from hubbub.auth.opening import open_verifier  # it brings cryptography, which takes its time

        return open_verifier(
            secrets=self.token_secret,
            key_files=self.token_keys,
            jwks_url=self.token_jwks_url or "",
            issuer=self.token_issuer or "",
            audience=self.token_audience,
            algorithms=self.token_algorithms,
            scopes=self.token_scopes or "",
            claims=self.token_claims,
            oidc_issuer=self.oidc_issuer or "",
            introspection_url=self.introspection_url or "",
            introspection_client=self.introspection_client or "",
            introspection_secret=self.introspection_secret or "",
        )

    def options(self) -> Options:
        """The part that the hub needs."""
        return Options(
            idle_timeout=self.idle_timeout,
            grace_timeout=self.grace_timeout,
            max_message_bytes=self.max_message_bytes,
            outbox_bytes=self.outbox_bytes,
            handshake_timeout=self.handshake_timeout,
            limits=Limits(groups=self.groups_per_connection, errors=self.errors_in_a_row),
            **{name: getattr(self, name) for name in _SAME},
            announce_disconnects=self.announce_disconnects,
            wait_for_broker=self.wait_for_broker,
            allowed_origins=self.allowed_origins,
            trusted_proxies=self.trusted_proxies,
            compression=self.compression,
            api_keys=self.api_keys,
            hook_timeout=max(Options().hook_timeout, self.webhook_timeout + 1),
        )

    def webhooks(self) -> WebhookOptions:
        """Which backend is asked and told, and how."""
        return WebhookOptions(
            connect=self.webhook_connect or "",
            subscribe=self.webhook_subscribe or "",
            publish=self.webhook_publish or "",
            rpc=self.webhook_rpc or "",
            refresh=self.webhook_refresh or "",
            events=self.webhook_events or "",
            secrets=self.webhook_secret,
            timeout=self.webhook_timeout,
            concurrency=self.webhook_concurrency,
            headers=self.webhook_headers,
        )


def _read_namespaces(text: str) -> dict[str, dict[str, Any]]:
    """Options by namespace. Raises `ValueError` with a sentence."""
    if not text:
        return {}
    try:
        read = msgspec.json.decode(text, type=dict[str, dict[str, Any]])
    except msgspec.DecodeError as exc:
        raise ValueError(f"give a JSON object of objects: {exc}") from exc
    known = {option.name for option in fields(Namespace)}
    for name, options in read.items():
        if unknown := options.keys() - known:
            raise ValueError(f"{name!r} has no option {min(unknown)!r}; there are {', '.join(sorted(known))}")
        try:
            Namespace(**options)
        except (TypeError, ValueError) as exc:
            raise ValueError(f"{name!r}: {exc}") from exc
    return read
