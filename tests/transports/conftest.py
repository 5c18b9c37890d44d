"""A server of each kind, shared by the tests of a module."""

from collections.abc import Iterator

import pytest

from hubbub.hub import Options

from .serving import FAST, SERVERS, Running, serving


@pytest.fixture(scope="module", params=SERVERS)
def server(request: pytest.FixtureRequest) -> Iterator[Running]:
    """Each kind of server with the default options."""
    with serving(request.param, Options(announce_disconnects=False)) as running:
        yield running


@pytest.fixture(scope="module")
def fast() -> Iterator[Running]:
    """The fast transport with the default options."""
    with serving(FAST, Options(announce_disconnects=False)) as running:
        yield running
