"""One browser and one server for all tests of the page; a fresh tab, or several, for each."""

import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from .browser import Browser, Tab, launch
from .server import RunningServer, run_server

ROOT = Path(__file__).parents[2]

OpenPage = Callable[[str], Tab]


@pytest.fixture(scope="session")
def chromium() -> str:
    """The browser's executable; installed where that is possible."""
    if not shutil.which("chromium"):
        installing = subprocess.run(
            [ROOT / "scripts" / "apt", "chromium"], capture_output=True, text=True, check=False
        )
        if installing.returncode:
            pytest.skip(f"no browser to show the page in: {installing.stderr.strip()}")
    executable = shutil.which("chromium")
    assert executable
    return executable


@pytest.fixture(scope="session")
def browser(chromium: str) -> Iterator[Browser]:
    """A running browser."""
    with launch(chromium) as browser:
        yield browser


@pytest.fixture(scope="session")
def server(chromium: str) -> Iterator[RunningServer]:
    """A running server with the defaults."""
    with run_server() as server:
        yield server


@pytest.fixture
def open_page(browser: Browser, server: RunningServer) -> Iterator[OpenPage]:
    """Open the page in a tab, as somebody, and wait until it is in its group.

    Whatever a test does, no tab may have reported an error at its end.
    """
    with ExitStack() as tabs:
        opened: list[Tab] = []

        def open_page(name: str) -> Tab:
            tab = tabs.enter_context(browser.tab(server.url, client_id=name))
            opened.append(tab)
            tab.wait_for_text("#people", name)
            return tab

        yield open_page
        for tab in opened:
            assert tab.problems == []
