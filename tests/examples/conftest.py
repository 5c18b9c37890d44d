"""The servers of the example that a test module is about, and each of them for each test."""

from collections.abc import Iterator

import pytest

from .running import SERVERS, Server, serve


@pytest.fixture(scope="package", autouse=True)
def no_proxy() -> Iterator[None]:
    """What runs on this machine is reached without a detour, by us and by what we start."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("NO_PROXY", "127.0.0.1")
        yield


@pytest.fixture(scope="module")
def servers(request: pytest.FixtureRequest, no_proxy: None) -> Iterator[dict[str, Server]]:
    """The module's example, running in every way that its docstring gives."""
    _, _, example = request.module.__name__.rpartition("test_")
    with serve(example) as servers:
        yield servers


@pytest.fixture(params=SERVERS)
def server(request: pytest.FixtureRequest, servers: dict[str, Server]) -> Server:
    """The example over the fast transport, and over plain ASGI."""
    return servers[request.param]
