"""Servers that all test modules share: started when first asked for, stopped when the tests end.

For tests that leave them as they are. Each uses a key prefix of its own, and cleans nothing but that up.
"""

import atexit
from contextlib import ExitStack
from functools import cache
from typing import Final

from .cluster import Cluster
from .sentinel import SentinelSet
from .valkey import Valkey

_running: Final = ExitStack()
atexit.register(_running.close)


@cache
def standalone() -> Valkey:
    """One server, which keeps nothing on disk."""
    return _running.enter_context(Valkey())


@cache
def sentinel_set() -> SentinelSet:
    """A master with a replica and three Sentinels."""
    return _running.enter_context(SentinelSet())


@cache
def cluster() -> Cluster:
    """Three primaries without replicas."""
    return _running.enter_context(Cluster())
