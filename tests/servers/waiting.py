"""Waiting for what no event announces: other processes have come to some state."""

import time
from collections.abc import Callable
from typing import Final, TypeVar

import redis

T = TypeVar("T")

PATIENCE: Final = 20.0
"""Seconds until what is waited for is taken for something that never comes."""


def until(condition: Callable[[], T], what: str) -> T:
    """What the condition returns once that is true; `what` is for the error where it never is.

    A server that fails to answer makes the condition false: one that changes its role drops its connections.
    """
    deadline = time.monotonic() + PATIENCE
    while True:
        problem = None
        try:
            if result := condition():
                return result
        except redis.RedisError as error:
            problem = error
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {PATIENCE:g} s in vain until {what}") from problem
        time.sleep(0.01)
