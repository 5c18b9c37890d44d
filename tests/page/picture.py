"""The README's picture of the page: `python -m tests.page.picture docs/images/demo.png`."""

import random
import shutil
import sys
from itertools import accumulate
from pathlib import Path

from .browser import Tab, launch
from .server import RunningServer, run_server

TICKER = "demo:ticker"
LOG = ".log:not([hidden])"


def take_picture(file: Path) -> None:
    """Let two people chat beside a ticker that has run for a while."""
    executable = shutil.which("chromium")
    if not executable:
        sys.exit("no chromium here; scripts/apt chromium installs it")
    with (
        run_server() as server,
        launch(executable) as browser,
        browser.tab(server.url, client_id="ada") as ada,
    ):
        ada.look(width=1200, height=760, scale=1.5)
        ada.wait_for_text("#people", "ada")
        ada.enter("#group-name", "kitchen")
        ada.wait_for_text(LOG, "You joined kitchen")
        ada.click("#tabs button")
        with browser.tab(server.url, client_id="bob") as bob:
            ada.wait_for_text(LOG, "bob joined")
            chat(ada, bob)
            server.api("publish", channel="kitchen", data="order 43")
            give_history_to_ticker(ada, server)
            ada.wait_for_text("#connections", "2")
            ada.evaluate("document.activeElement.blur()")
            ada.screenshot(file)


def chat(ada: Tab, bob: Tab) -> None:
    """What is said, by whom, and what the server adds to it."""
    for who, text in (
        (ada, "Hi! Is the dashboard live already?"),
        (bob, "Since this morning. Every tab holds one WebSocket, and that is all it needs."),
        (bob, "Watch this, from a terminal:"),
    ):
        who.enter("#message", text)
        ada.wait_for_text(LOG, text)
    bob.click("#recipe button")
    ada.wait_for_text(LOG, "Published")
    ada.enter("#message", "There it is, before you had let go of the key.")
    ada.wait_for_text(LOG, "let go of the key")


def give_history_to_ticker(tab: Tab, server: RunningServer) -> None:
    """A minute of prices that lead to the one that is shown now."""
    price = tab.wait_for("Number(document.querySelector('#price').textContent)")
    wander = random.Random(5)
    backwards = accumulate(
        (wander.uniform(-0.008, 0.0085) for _ in range(60)), lambda p, r: p * (1 - r), initial=price
    )
    # In one request, so that the ticker itself does not come in between.
    server.api(
        "batch",
        commands=[
            {"publish": {"channel": TICKER, "data": {"symbol": "HUB", "price": round(past, 2)}}}
            for past in reversed(list(backwards))
        ],
    )
    tab.wait_for_text("#price-window", "60")


if __name__ == "__main__":
    take_picture(Path(sys.argv[1]))
