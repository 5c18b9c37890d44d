"""The Redis broker and presence keep their contracts over real servers of every kind."""

import secrets

import pytest

from hubbub.brokers.base import Broker, Presence, open_broker
from hubbub.testing import BrokerContract, PresenceContract

from ..servers import shared


def address(kind: str, **options: object) -> str:
    """The URL of shared servers, under a prefix of its own."""
    servers = {"standalone": shared.standalone, "sentinel": shared.sentinel_set, "cluster": shared.cluster}
    settings = "&".join(f"{name}={value}" for name, value in options.items())
    return f"{servers[kind]().url}?prefix=test{secrets.token_hex(4)}&{settings}".rstrip("&")


class _OverServers:
    kind: str

    @pytest.fixture(autouse=True, params=["standalone", "sentinel", "cluster"])
    def _choose(self, request: pytest.FixtureRequest) -> None:
        self.kind = request.param


class TestRedisBroker(_OverServers, BrokerContract):
    """Every clause, over one server, behind Sentinels, and over a Cluster."""

    def make_broker(self) -> Broker:
        return open_broker(address(self.kind))[0]


class TestRedisPresence(_OverServers, PresenceContract):
    """Every clause, over one server, behind Sentinels, and over a Cluster."""

    def make_presence(self) -> Presence:
        return open_broker(address(self.kind))[1]
