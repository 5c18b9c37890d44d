"""The server of the example that a test module is about, once for each way to run it."""

from collections.abc import Iterator

import pytest

from .running import Server, serve


@pytest.fixture(scope="module", params=["hubbub", "uvicorn"])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """The example, running: over the fast transport, and over plain ASGI."""
    _, _, example = request.module.__name__.rpartition("test_")
    with serve(example, request.param) as server:
        yield server
