"""Broker URLs: where the servers are, how to log in, and what can be set.

`redis://[user:password@]host[:port][/db]`, `rediss://` over TLS, `unix:///path/to.sock`,
`redis+sentinel://host:port,host:port/service[/db]`, `redis+cluster://host:port,host:port`, each with options
after `?`, which `Address` lists.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Final
from urllib.parse import parse_qsl, unquote, urlsplit

from hubbub.brokers.base import BadBroker

SENTINEL_PORT: Final = 26379
PORT: Final = 6379
_SWITCH: Final[Mapping[str, bool]] = {"on": True, "off": False, "true": True, "false": False}


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where a broker's servers are. Times are seconds.

    hosts: the server, the Sentinels, or some nodes of the Cluster, each a host and a port.
    service: what the Sentinels call the servers they watch.
    prefix: begins every key and channel; applications that share servers need different ones.
    deadline: how long one call may take.
    probe_interval: how long a Pub/Sub connection may be silent till it is tried.
    presence_ttl: how long the entries of a node that died are shown.
    replicas: how many replicas must have a publication before it counts as published (WAIT).
    raw_channels: listen to `system_broadcast` and `chat_<group>` too, for publishers that know nothing of us.
    sentinel_username, sentinel_password: how to log in at the Sentinels.
    tls_ca: file of the authority that signed the servers' certificates.
    """

    hosts: tuple[tuple[str, int], ...]
    path: str = ""
    service: str = ""
    cluster: bool = False
    tls: bool = False
    db: int = 0
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    prefix: str = "hubbub"
    deadline: float = 1.5
    probe_interval: float = 1.0
    presence_ttl: float = 60.0
    replicas: int = 0
    raw_channels: bool = True
    sentinel_username: str | None = None
    sentinel_password: str | None = field(default=None, repr=False)
    tls_ca: str | None = None

    @property
    def shown(self) -> str:
        """For people: without the password."""
        if self.path:
            return f"unix://{self.path}"
        scheme = ("rediss" if self.tls else "redis") + (
            "+sentinel" if self.service else "+cluster" if self.cluster else ""
        )
        hosts = ",".join(f"[{h}]:{p}" if ":" in h else f"{h}:{p}" for h, p in self.hosts)
        return f"{scheme}://{hosts}" + (f"/{self.service}" if self.service else "")


_OPTIONS: Final = (
    "prefix",
    "deadline",
    "probe_interval",
    "presence_ttl",
    "replicas",
    "raw_channels",
    "sentinel_username",
    "sentinel_password",
    "tls_ca",
)


def parse_address(url: str) -> Address:
    """Read a broker URL. Raises `BadBroker`; its sentence names what is wrong and what would be right."""
    try:
        parts = urlsplit(url)
        scheme, _, way = parts.scheme.partition("+")
        username = unquote(parts.username) if parts.username else None
        password = unquote(parts.password) if parts.password else None
    except ValueError as exc:
        raise BadBroker(f"the broker URL cannot be read: {exc}") from exc
    where: dict[str, Any] = {"username": username, "password": password, "tls": scheme == "rediss"}
    path = unquote(parts.path).strip("/")
    if scheme == "unix":
        if not path:
            raise BadBroker("the broker URL names no socket; give unix:///path/to/redis.sock")
        where |= {"hosts": (), "path": unquote(parts.path)}
    else:
        hosts = _hosts(parts.netloc.rpartition("@")[2], SENTINEL_PORT if way == "sentinel" else PORT)
        if way == "" and len(hosts) > 1:
            raise BadBroker(
                "the broker URL names several hosts; give redis+sentinel:// or redis+cluster:// for those"
            )
        where["hosts"] = hosts
        if way == "sentinel":
            where["service"], _, path = path.partition("/")
            if not where["service"]:
                raise BadBroker("the broker URL names no service; give redis+sentinel://host:26379/mymaster")
        where["cluster"] = way == "cluster"
        if way == "cluster" and path not in ("", "0"):
            raise BadBroker(f"the broker URL names database {path!r}; a Cluster has none, leave it out")
        where["db"] = _number("database", path, int) if path else 0
    return Address(**where, **_options(parts.query))


def _hosts(netloc: str, port: int) -> tuple[tuple[str, int], ...]:
    hosts = []
    for each in netloc.split(","):
        host, given = each, str(port)
        if each.startswith("["):
            host, _, rest = each[1:].partition("]")
            given = rest[1:] or given
        elif ":" in each:
            host, _, given = each.rpartition(":")
        if not host:
            raise BadBroker("the broker URL names no host; give redis://host:6379")
        number = _number("port", given, int)
        if not 0 < number < 65536:
            raise BadBroker(f"the broker URL names port {given}; give 1 to 65535")
        hosts.append((unquote(host), number))
    return tuple(hosts)


def _options(query: str) -> dict[str, Any]:
    kinds = {each.name: each.type for each in fields(Address)}
    options: dict[str, Any] = {}
    for name, text in parse_qsl(query, keep_blank_values=True):
        if name == "db":
            options[name] = _number("database", text, int)
            continue
        if name not in _OPTIONS:
            raise BadBroker(f"the broker URL sets {name!r}; there are {', '.join(_OPTIONS)}")
        if kinds[name] is bool:
            if text not in _SWITCH:
                raise BadBroker(f"the broker URL sets {name} to {text!r}; give on or off")
            options[name] = _SWITCH[text]
        elif kinds[name] in (int, float):
            options[name] = value = _number(name, text, kinds[name])
            if value < 0 or (value == 0 and name != "replicas"):
                raise BadBroker(f"the broker URL sets {name} to {text}; give a number above 0")
        else:
            options[name] = text
    prefix = options.get("prefix", "hubbub")
    if not prefix or any(c in "{}" or ord(c) <= 32 for c in prefix):
        raise BadBroker(f"the broker URL sets prefix to {prefix!r}; give letters without braces or spaces")
    return options


def _number(name: str, text: str, kind: Any) -> Any:
    try:
        value = kind(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise BadBroker(f"the broker URL has {text!r} for its {name}; give a number")
    return value
