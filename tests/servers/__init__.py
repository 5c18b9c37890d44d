"""Real Valkey servers for tests, alone, with Sentinels or as a cluster, and the faults that befall them."""

from .cluster import Cluster
from .proxy import Link, Proxy, everyone, subscribers
from .sentinel import SentinelSet
from .valkey import DidNotStart, Valkey
from .waiting import until

__all__ = [
    "Cluster",
    "DidNotStart",
    "Link",
    "Proxy",
    "SentinelSet",
    "Valkey",
    "everyone",
    "subscribers",
    "until",
]
