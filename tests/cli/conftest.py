"""Servers that the tests share."""

from collections.abc import Iterator

import pytest

from .running import Server


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """A server with history."""
    with Server("--history-size", "100") as server:
        yield server


@pytest.fixture(scope="session")
def locked() -> Iterator[Server]:
    """A server whose API needs the key `sesame`."""
    with Server("--api-keys", "sesame,other") as server:
        yield server
