"""The JavaScript client in a browser, in pages that come through a proxy."""

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest

from ..client.proxy import Proxy
from ..page.browser import Browser, Tab
from ..page.server import RunningServer, run_server
from .site import SECRET, SETTINGS, tokens

GROUP = "kept:orders"
LISTEN = """(async () => {
    const { Client } = await import("/hubbub.js");
    const client = window.client = new Client("/ws", OPTIONS);
    window.heard = [];
    window.gaps = 0;
    window.states = [];
    client.addEventListener("state", ({ detail }) => states.push(detail.state));
    const group = client.group("kept:orders");
    group.addEventListener("message", ({ detail }) => heard.push(detail.data));
    group.addEventListener("gap", () => gaps++);
    await client.connect();
    await group.join();
})()"""


class Site:
    """A server, the proxy before it, and tabs that come through that."""

    def __init__(
        self, server: RunningServer, proxy: Proxy, loop: asyncio.AbstractEventLoop, opened: Any
    ) -> None:
        self.server = server
        self.proxy = proxy
        self._loop = loop
        self._open = opened

    def do(self, act: Callable[[], None]) -> None:
        """Do something to the proxy, in its own thread."""

        async def done() -> None:
            act()

        asyncio.run_coroutine_threadsafe(done(), self._loop).result(10)

    def tab(self, **options: Any) -> Tab:
        """A tab whose page listens by a client with these options."""
        tab: Tab = self._open(f"http://127.0.0.1:{self.proxy.port}/healthz")
        tab.evaluate(LISTEN.replace("OPTIONS", json.dumps(options)))
        return tab

    def publish(self, *numbers: int) -> None:
        """Publish these, past the proxy."""
        for number in numbers:
            self.server.api("publish", channel=GROUP, data=number)


@contextmanager
def proxied(port: int) -> Iterator[tuple[Proxy, asyncio.AbstractEventLoop]]:
    """A proxy before this port, in a thread of its own."""
    loop = asyncio.new_event_loop()
    proxy = Proxy(port)
    ready, over = threading.Event(), asyncio.Event()

    async def serve() -> None:
        async with proxy.running():
            ready.set()
            await over.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()), name="proxy")
    thread.start()
    try:
        assert ready.wait(10)
        yield proxy, loop
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join(10)
        loop.close()


@contextmanager
def sited(browser: Browser, **settings: Any) -> Iterator[Site]:
    """A site with these settings of the server."""
    with ExitStack() as stack:
        server = stack.enter_context(run_server(**SETTINGS, **settings))
        port = urlsplit(server.url).port
        assert port
        proxy, loop = stack.enter_context(proxied(port))
        yield Site(server, proxy, loop, lambda url: stack.enter_context(browser.tab(url)))


@pytest.fixture(scope="module")
def site(browser: Browser) -> Iterator[Site]:
    """The same for all tests that need no other."""
    with sited(browser) as site:
        yield site


def test_a_page_that_is_cut_off_comes_back_with_everything(site: Site) -> None:
    """Once and in order, and nothing is told to be missing; in every tab by itself."""
    tabs = [site.tab(clientId="ada"), site.tab(clientId="bob")]
    site.publish(1, 2)
    for tab in tabs:
        tab.wait_for("heard.length >= 2")
    site.do(site.proxy.refuse)
    site.do(site.proxy.cut)
    for tab in tabs:
        tab.wait_for("client.state === 'reconnecting'")
    site.publish(3, 4)
    site.do(site.proxy.heal)
    for tab in tabs:
        tab.wait_for("heard.length >= 4")
    site.publish(5)
    for tab in tabs:
        tab.wait_for("heard.length >= 5")
        assert tab.evaluate("heard") == [1, 2, 3, 4, 5]
        assert tab.evaluate("gaps") == 0


def test_a_page_goes_by_what_the_browser_says_of_the_network(site: Site) -> None:
    """Offline it looks at once whether anybody is there; online it waits for no delay."""
    tab = site.tab(pace=0.1)
    tab.call("Network.enable")
    site.do(site.proxy.stall)
    offline = {"latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
    tab.call("Network.emulateNetworkConditions", offline=True, **offline)
    tab.wait_for("client.state === 'reconnecting'")
    site.do(site.proxy.heal)
    # So many failures that a delay of its own would be long.
    tab.wait_for("states.length >= 8")
    tab.call("Network.emulateNetworkConditions", offline=False, **offline)
    tab.wait_for("client.state === 'connected'", patience=5)


def test_a_token_travels_as_a_subprotocol(browser: Browser) -> None:
    """And in no address; a page with a bad one is not let in."""
    with sited(browser, token_secret=SECRET) as site:
        tab = site.tab(token=tokens()["ada"])
        tab.call("Network.enable")
        assert tab.evaluate("client.state") == "connected"
        assert "bearer" not in tab.evaluate("JSON.stringify(performance.getEntries().map(e => e.name))")
        refused = tab.evaluate(
            """import("/hubbub.js").then(({ Client }) =>
                new Client("/ws", { token: "nonsense" }).connect().catch((error) => error.name))"""
        )
        assert refused == "UnreachableError"


def test_a_page_that_is_shown_again_looks_whether_anybody_is_there(site: Site) -> None:
    """Each of its clients by itself: of a page that was left, a browser may keep what has ended."""
    tab = site.tab(pace=0.1)
    tab.evaluate("""(async () => {
        const { Client } = await import("/hubbub.js");
        window.other = new Client("/ws");
        await other.connect();
    })()""")
    site.do(site.proxy.stall)
    # The browser's own event: headless, it keeps no page that has a connection.
    tab.evaluate("void dispatchEvent(new PageTransitionEvent('pageshow', { persisted: true }))")
    tab.wait_for("client.state === 'reconnecting'", patience=5)
    assert tab.evaluate("other.state") == "connected"
    site.do(site.proxy.heal)
    tab.wait_for("client.state === 'connected'")
    tab.evaluate("Promise.all([client.disconnect(), other.disconnect()]).then(() => null)")
