"""The page in the README, as somebody saves it and opens it."""

import re
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from ..page.browser import launch, wait_until
from ..page.server import run_server
from .running import ROOT

LIST = "[...document.querySelectorAll('li')].map(line => line.textContent).join()"


def page() -> str:
    """The one page that the README has."""
    [found] = re.findall(r"```html\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    return found


class Quiet(SimpleHTTPRequestHandler):
    """Says nothing of what it serves."""

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


@contextmanager
def files(folder: Path) -> Iterator[str]:
    """What `python3 -m http.server` does, on a free port."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_it_is_small() -> None:
    """Twenty lines are enough."""
    assert len(page().splitlines()) <= 20


def test_it_is_cut_off_and_comes_back_with_everything(tmp_path: Path) -> None:
    """It comes from another origin than the server, as the README has it."""
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("no browser to show the page in")
    (tmp_path / "favicon.ico").touch()
    with (
        files(tmp_path) as origin,
        run_server(history_size=100, allowed_origins=origin) as server,
        launch(chromium) as browser,
    ):
        html = page().replace("http://localhost:8000", server.url.rstrip("/"))
        assert "localhost" not in html
        (tmp_path / "orders.html").write_text(html, encoding="utf-8")
        with browser.tab(f"{origin}/orders.html") as tab:
            tab.wait_for_text("#state", "connected")
            presence = wait_until(
                lambda: server.api("presence", channel="orders:42")["presence"], "the page in the group"
            )
            server.api("publish", channel="orders:42", data={"status": "ordered"})
            tab.wait_for(f"{LIST} === 'ordered'")
            [client] = presence.values()
            # In one request, so that what is published comes before the page does.
            cut = {"code": 3011, "reason": "force reconnect"}
            commands = [
                {"disconnect": {"client": client["client"], "disconnect": cut}},
                {"publish": {"channel": "orders:42", "data": {"status": "packed"}}},
                {"publish": {"channel": "orders:42", "data": {"status": "shipped"}}},
            ]
            server.api("batch", commands=commands)
            tab.wait_for(f"{LIST} === 'ordered,packed,shipped'")
            assert tab.problems == []
