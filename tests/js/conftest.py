"""Node where it is to be had, and one browser and one server for the tests in a page."""

import re
import shutil
import subprocess
from collections.abc import Iterator

import pytest

from ..page.browser import Browser, launch
from ..page.conftest import chromium as chromium  # a fixture, by its name

OLDEST = 20


@pytest.fixture(scope="session")
def node() -> str:
    """Node's executable; `make test` installs it where Debian has one that is new enough."""
    executable = shutil.which("node")
    if executable is None:
        pytest.skip(f"no Node here; the JavaScript client is tested with Node {OLDEST} or newer")
    said = subprocess.run([executable, "--version"], capture_output=True, text=True, check=True).stdout
    version = re.match(r"v(\d+)", said)
    if version is None or int(version[1]) < OLDEST:
        pytest.skip(f"Node {said.strip()} is too old for the JavaScript client; it takes {OLDEST} or newer")
    return executable


@pytest.fixture(scope="session")
def browser(chromium: str) -> Iterator[Browser]:
    """A running browser."""
    with launch(chromium) as browser:
        yield browser
