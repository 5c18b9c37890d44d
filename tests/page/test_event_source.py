"""A page's own `EventSource` at a stream: it is cut off, comes back by itself, and misses nothing."""

import json

from .browser import Browser, Tab, wait_until
from .server import RunningServer, run_server

LISTEN = """
window.heard = [], window.joined = [];
window.stream = new EventSource("/sse/ada?groups=orders:1");
stream.addEventListener("group_message", (event) => heard.push(JSON.parse(event.data).data));
stream.addEventListener("group_joined", (event) => joined.push(JSON.parse(event.data)));
true
"""


def heard(tab: Tab) -> list[int]:
    """What the page was told so far."""
    numbers: list[int] = json.loads(tab.evaluate("JSON.stringify(heard)"))
    return numbers


def connections(server: RunningServer) -> int:
    """How many streams are open."""
    return len(server.api("connections", client="ada")["connections"])


def test_it_comes_back_and_has_what_it_missed(browser: Browser) -> None:
    """Each message once, in order, over three cuts."""
    with run_server(history_size=100) as server, browser.tab(f"{server.url}healthz") as tab:
        tab.evaluate(LISTEN)
        tab.wait_for("joined.length == 1")
        said = 0
        for cut in range(1, 4):
            for _ in range(3):
                server.api("publish", channel="orders:1", data=said)
                said += 1
            tab.wait_for(f"heard.length == {said}")
            server.api("disconnect", client="ada", disconnect={"code": 3001, "reason": "cut"})
            wait_until(lambda: connections(server) == 0, "the cut")
            for _ in range(2):
                server.api("publish", channel="orders:1", data=said)
                said += 1
            tab.wait_for(f"joined.length == {cut + 1} && heard.length == {said}")
        assert heard(tab) == list(range(said))
        assert [each.get("recovered") for each in json.loads(tab.evaluate("JSON.stringify(joined)"))] == [
            None,
            True,
            True,
            True,
        ]
        tab.evaluate("stream.close()")
        wait_until(lambda: connections(server) == 0, "its end")
