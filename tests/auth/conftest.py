"""What the tests of tokens share."""

from collections.abc import Iterator

import pytest

from .web import Web, serving


@pytest.fixture
def web() -> Iterator[Web]:
    """A web server."""
    with serving() as web:
        yield web
