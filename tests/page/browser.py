"""A headless Chromium, driven over the DevTools protocol: just what the tests of a page need."""

import base64
import json
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import httpx
from websockets.sync.client import ClientConnection, connect

PATIENCE: Final = 15.0
POLL: Final = 0.03
FLAGS: Final = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-quic",
    "--hide-scrollbars",
    # Tabs behind the foremost one would be slowed down.
    "--disable-background-timer-throttling",
    "--disable-renderer-backgrounding",
    "--remote-debugging-port=0",
)


class PageError(AssertionError):
    """The page threw, or did not come to show what was waited for."""


def wait_until(condition: Callable[[], Any], what: str, patience: float = PATIENCE) -> Any:
    """The first true value of `condition`; `PageError` once patience has run out."""
    deadline = time.monotonic() + patience
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise PageError(f"waited {patience:g} s in vain for {what}")
        time.sleep(POLL)
    return value


class Tab:
    """One tab. What goes wrong inside it is gathered in `problems`."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._last_id = 0
        self._problems: list[str] = []
        for domain in ("Runtime", "Log", "Page"):
            self.call(f"{domain}.enable")
        # Every tab believes that it is the one in front, as each would be in a window of its own.
        self.call("Emulation.setFocusEmulationEnabled", enabled=True)

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Call a method of the DevTools protocol and return its result."""
        self._last_id += 1
        self._socket.send(json.dumps({"id": self._last_id, "method": method, "params": params}))
        while True:
            message = json.loads(self._socket.recv(timeout=PATIENCE))
            if message.get("id") == self._last_id:
                break
            self._note_problem(message)
        if "error" in message:
            raise PageError(f"{method}: {message['error']['message']}")
        return message["result"]

    def _note_problem(self, event: dict[str, Any]) -> None:
        match event:
            case {"method": "Runtime.exceptionThrown", "params": {"exceptionDetails": details}}:
                self._problems.append(_describe(details))
            case {"method": "Runtime.consoleAPICalled", "params": {"type": "error" | "assert", "args": args}}:
                self._problems.append(" ".join(str(arg.get("value", arg)) for arg in args))
            case {"method": "Log.entryAdded", "params": {"entry": {"level": "error"} as entry}}:
                self._problems.append(f"{entry['text']} {entry.get('url', '')}")

    @property
    def problems(self) -> list[str]:
        """Uncaught exceptions and console errors up to now."""
        self.evaluate("0")  # events come before the answer to what was asked after them
        return self._problems

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression; a promise is waited for."""
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in result:
            raise PageError(_describe(result["exceptionDetails"]))
        return result["result"].get("value")

    def text(self, selector: str) -> str:
        """The visible text of the first element that fits; empty where there is none."""
        return self.evaluate(f"document.querySelector({json.dumps(selector)})?.innerText ?? ''")

    def wait_for(self, expression: str, patience: float = PATIENCE) -> Any:
        """Wait until a JavaScript expression is true, and return its value."""
        return wait_until(lambda: self.evaluate(expression), expression, patience)

    def wait_for_text(self, selector: str, text: str, patience: float = PATIENCE) -> None:
        """Wait until an element shows a text."""
        try:
            wait_until(lambda: text in self.text(selector), f"{text!r} in {selector}", patience)
        except PageError as exc:
            raise PageError(f"{exc}; it shows {self.text(selector)!r}") from None

    def click(self, selector: str) -> None:
        """Click the first element that fits, with the mouse."""
        box = self.evaluate(
            f"""(() => {{
                const element = document.querySelector({json.dumps(selector)});
                element.scrollIntoView({{ block: "nearest" }});
                return element.getBoundingClientRect().toJSON();
            }})()"""
        )
        where = {"x": box["x"] + box["width"] / 2, "y": box["y"] + box["height"] / 2}
        for type in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=type, button="left", clickCount=1, **where)

    def enter(self, selector: str, text: str) -> None:
        """Replace what a field holds, as the keyboard does, and press Enter."""
        self.evaluate(f"document.querySelector({json.dumps(selector)}).select()")
        self.evaluate(f"document.querySelector({json.dumps(selector)}).focus()")
        self.call("Input.insertText", text=text)
        self.press("Enter", 13, "\r")

    def press(self, key: str, code: int, text: str = "") -> None:
        """Press and release one key."""
        what = {"key": key, "code": key, "windowsVirtualKeyCode": code}
        self.call("Input.dispatchKeyEvent", type="keyDown", text=text, **what)
        self.call("Input.dispatchKeyEvent", type="keyUp", **what)

    def look(self, *, width: int, height: int, dark: bool = False, scale: float = 1) -> None:
        """Set the size of the window and the colour scheme that the visitor prefers."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=scale,
            mobile=False,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])

    def screenshot(self, path: Path) -> None:
        """Save what the tab shows as a PNG."""
        shot = self.call("Page.captureScreenshot", format="png")
        path.write_bytes(base64.b64decode(shot["data"]))


class Browser:
    """A running Chromium. `devtools` asks the HTTP side of its DevTools."""

    def __init__(self, devtools: httpx.Client) -> None:
        self._devtools = devtools

    @contextmanager
    def tab(self, url: str, **remembered: str) -> Iterator[Tab]:
        """Open a tab at an address, with this in its sessionStorage, and close it afterwards."""
        target = self._devtools.put("/json/new?about:blank").json()
        try:
            # Without a limit: a screenshot is one message of megabytes.
            with connect(target["webSocketDebuggerUrl"], max_size=None, compression=None) as socket:
                tab = Tab(socket)
                remember = f"Object.assign(sessionStorage, {json.dumps(remembered)})"
                tab.call("Page.addScriptToEvaluateOnNewDocument", source=remember)
                # Only now, so that nothing the page says while it loads is missed.
                tab.call("Page.navigate", url=url)
                tab.wait_for("location.href !== 'about:blank' && document.readyState === 'complete'")
                yield tab
        finally:
            self._devtools.get(f"/json/close/{target['id']}")


@contextmanager
def launch(executable: str) -> Iterator[Browser]:
    """Run a Chromium with a profile of its own, and end it afterwards."""
    with tempfile.TemporaryDirectory(prefix="hubbub-page-", ignore_cleanup_errors=True) as profile:
        process = subprocess.Popen(
            [executable, *FLAGS, f"--user-data-dir={profile}"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            port = _devtools_port(process, Path(profile))
            with httpx.Client(base_url=f"http://127.0.0.1:{port}") as devtools:
                yield Browser(devtools)
        finally:
            process.terminate()
            try:
                process.wait(timeout=PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _devtools_port(process: subprocess.Popen[bytes], profile: Path) -> int:
    """The port that Chromium chose: it writes it to a file once it listens."""
    file = profile / "DevToolsActivePort"

    def written() -> list[str]:
        if process.poll() is not None:
            raise PageError(f"the browser ended at once, with status {process.returncode}")
        return file.read_text().splitlines() if file.exists() else []

    return int(wait_until(written, "the browser to start")[0])


def _describe(details: dict[str, Any]) -> str:
    return details.get("exception", {}).get("description") or details["text"]
