"""Running the installed `hubbub` command: to its end, or for as long as a test needs it."""

import contextlib
import json
import os
import pty
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

HUBBUB = str(Path(sys.executable).parent / "hubbub")
PATIENCE = 30.0
"""Seconds until what a test waits for is taken for something that never comes."""

_OURS = re.compile("HUBBUB_|.*_proxy$|NO_COLOR|FORCE_COLOR|COLUMNS|PYTHON|SSL_CERT", re.IGNORECASE)


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment without what would change how the command behaves."""
    kept = {name: value for name, value in os.environ.items() if not is_ours(name)}
    return kept | {"TERM": "xterm-256color", **(extra or {})}


def until(condition: Callable[[], Any]) -> Any:
    """The condition's value as soon as it is true."""
    deadline = time.monotonic() + PATIENCE
    while not (value := condition()):
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.01)
    return value


def is_ours(variable: str) -> bool:
    """Whether an environment variable would change how the command behaves."""
    return _OURS.match(variable) is not None


class Ended:
    """A command that ran to its end."""

    def __init__(self, code: int, out: bytes, err: bytes) -> None:
        self.code = code
        self.out = out.decode()
        self.err = err.decode()

    @property
    def complaint(self) -> str:
        """The one line on stderr, without its `hubbub: `; there must be exactly one."""
        [line] = self.err.splitlines()
        assert line.startswith("hubbub: "), self.err
        return line.removeprefix("hubbub: ")


def hubbub(
    *arguments: str,
    stdin: bytes = b"",
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> Ended:
    """Run a command to its end."""
    done = subprocess.run(
        [HUBBUB, *arguments],
        input=stdin,
        capture_output=True,
        env=environment(env),
        cwd=cwd,
        timeout=PATIENCE,
        check=False,
    )
    return Ended(done.returncode, done.stdout, done.stderr)


class Running:
    """A command that runs until it is told to stop.

    terminal: whether its stdout is one.
    keyboard: whether it has a stdin that is written to, which is that terminal, or else a pipe.
    """

    def __init__(
        self,
        *arguments: str,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        terminal: bool = False,
        keyboard: bool = False,
    ) -> None:
        if terminal:
            ours, theirs = pty.openpty()
        else:
            ours, theirs = os.pipe()
        try:
            self.process = subprocess.Popen(
                [HUBBUB, *arguments],
                stdin=(theirs if terminal else subprocess.PIPE) if keyboard else subprocess.DEVNULL,
                stdout=theirs,
                stderr=subprocess.PIPE,
                env=environment(env),
                cwd=cwd,
            )
        finally:
            os.close(theirs)
        assert self.process.stderr is not None
        self._keyboard: int | None = None
        if keyboard:
            pipe = self.process.stdin
            self._keyboard = os.dup(ours if pipe is None else pipe.fileno())
            if pipe is not None:
                pipe.close()
        self._heard = {"out": b"", "err": b""}
        self._ears = [
            threading.Thread(target=self._listen, args=("out", ours)),
            threading.Thread(target=self._listen, args=("err", os.dup(self.process.stderr.fileno()))),
        ]
        self.process.stderr.close()
        for ear in self._ears:
            ear.start()

    def _listen(self, stream: str, file: int) -> None:
        # A terminal whose other side has closed is an OSError, not an end of file.
        with contextlib.suppress(OSError):
            while heard := os.read(file, 65536):
                self._heard[stream] += heard
        os.close(file)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.stop_typing()
        for ear in self._ears:
            ear.join()

    @property
    def out(self) -> str:
        """What it has said on stdout so far."""
        return self._heard["out"].decode()

    @property
    def err(self) -> str:
        """What it has said on stderr so far."""
        return self._heard["err"].decode()

    @property
    def keyboard(self) -> int:
        """Where its stdin is written to."""
        assert self._keyboard is not None
        return self._keyboard

    def types(self, text: str) -> None:
        """Have it read this."""
        os.write(self.keyboard, text.encode())

    def stop_typing(self) -> None:
        """End its stdin."""
        if self._keyboard is not None:
            os.close(self._keyboard)
            self._keyboard = None

    def says(self, text: str) -> None:
        """Wait until it has said this on stdout."""
        self._wait(lambda: text in self.out)

    def complains(self, text: str) -> None:
        """Wait until it has said this on stderr."""
        self._wait(lambda: text in self.err)

    def _wait(self, condition: Callable[[], bool]) -> None:
        until(lambda: condition() or self.process.poll() is not None)
        if not condition():
            self.ended()
            assert condition(), f"it ended: {self.out}\n{self.err}"

    def messages(self) -> list[dict[str, Any]]:
        """The JSON lines on stdout."""
        return [json.loads(line) for line in self.out.splitlines()]

    def ended(self) -> int:
        """Wait for its end, and return its exit code."""
        code = self.process.wait(timeout=PATIENCE)
        for ear in self._ears:
            ear.join()
        return code

    def stop(self, how: signal.Signals = signal.SIGINT) -> int:
        """Tell it to stop, and return its exit code."""
        self.process.send_signal(how)
        return self.ended()


class Server(Running):
    """`hubbub serve`, ready for clients; `key` is what its API is asked with."""

    def __init__(self, *arguments: str, port: int = 0, key: str = "", **how: Any) -> None:
        self._headers = {"X-API-Key": key} if key else {}
        super().__init__("serve", "--port", str(port), *arguments, **how)
        try:
            self.says("Ctrl+C stops.")
        except BaseException:
            self.__exit__(None, None, None)
            raise

    @property
    def address(self) -> str:
        """The host and port that it says it listens on."""
        found = re.search(r"on (\S+:[1-9][0-9]*)", self.out)
        assert found is not None, self.out
        return found[1]

    @property
    def port(self) -> int:
        """The port that it really listens on."""
        return int(self.address.rpartition(":")[2])

    @property
    def url(self) -> str:
        """For `--url`."""
        return f"http://{self.address}"

    def get(self, path: str) -> httpx.Response:
        """What a GET request is answered."""
        with httpx.Client(trust_env=False) as client:
            return client.get(f"{self.url}{path}")

    def post(self, path: str, body: object) -> Any:
        """What a POST request is answered."""
        with httpx.Client(trust_env=False) as client:
            return client.post(f"{self.url}{path}", json=body, headers=self._headers).json()

    def members(self, group: str) -> int:
        """How many connections are in a group."""
        channels = self.post("/api/channels", {"pattern": group})["result"]["channels"]
        return int(channels.get(group, {"num_clients": 0})["num_clients"])

    @contextlib.contextmanager
    def subscriber(self, *arguments: str, group: str, **how: Any) -> Iterator[Running]:
        """`hubbub subscribe`, in the group."""
        with Running("subscribe", "--url", self.url, *arguments, group, **how) as subscriber:
            until(lambda: self.members(group) or subscriber.process.poll() is not None)
            yield subscriber
