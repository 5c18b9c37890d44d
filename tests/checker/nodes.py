"""Nodes in processes of their own, that can be killed, frozen and started again."""

import asyncio
import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

import httpx

from ..servers.keeper import entrust, release
from ..servers.ports import free_port

HUBBUB: Final = str(Path(sys.executable).parent / "hubbub")
PATIENCE: Final = 20.0
"""Seconds until a node that does not start is given up."""
OPTIONS: Final = ("--history-size", "100000", "--history-ttl", "3600", "--no-demo", "--wait-for-broker")
_OURS: Final = re.compile("HUBBUB_|.*_proxy$|NO_COLOR|FORCE_COLOR", re.IGNORECASE)


class Node:
    """One `hubbub serve`, on a port that it keeps."""

    def __init__(self, name: str, broker: str, folder: Path) -> None:
        self.name = name
        self.port = free_port()
        self.well = False
        """Whether nothing is being done to its process now."""
        self.peak_kib = 0
        """The most memory it was seen to hold, over all its starts."""
        self.troubles = 0
        """How often something was done to its process."""
        self._broker = broker
        self._log = folder / f"{name}.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._closed = False

    def __repr__(self) -> str:
        return self.name

    @property
    def url(self) -> str:
        """Where its HTTP API is."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def websocket(self) -> str:
        """Where clients connect."""
        return f"ws://127.0.0.1:{self.port}/ws"

    @property
    def log(self) -> str:
        """What it has logged, over all its starts."""
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def launch(self) -> None:
        """Start its process; a fault that is still under way when all is over starts nothing."""
        if self._closed:
            return
        command = [
            HUBBUB,
            "serve",
            "--port",
            str(self.port),
            "--broker",
            self._broker,
            *OPTIONS,
        ]
        environment = {name: value for name, value in os.environ.items() if not _OURS.match(name)}
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
                start_new_session=True,  # a Ctrl+C is for the checker, which ends it in its own time
            )
        entrust(self._process.pid)
        self.troubles += 1

    async def start(self) -> None:
        """Start it, and return when it is ready."""
        self.launch()
        async with httpx.AsyncClient(trust_env=False, timeout=1.0) as http:
            try:
                async with asyncio.timeout(PATIENCE):
                    while not await self._is_ready(http):
                        if self._process is None or self._process.poll() is not None:
                            raise RuntimeError(f"{self} ended at once; its log ends so:\n{self.log[-2000:]}")
                        await asyncio.sleep(0.05)
            except TimeoutError as exc:
                raise RuntimeError(f"{self} is not ready; its log ends so:\n{self.log[-2000:]}") from exc
        self.well = True

    async def _is_ready(self, http: httpx.AsyncClient) -> bool:
        try:
            return (await http.get(f"{self.url}/readyz")).status_code == 200
        except httpx.HTTPError:
            return False

    @property
    def running(self) -> bool:
        """Whether its process is there, be it frozen or not."""
        return self._process is not None and self._process.poll() is None

    def kill(self) -> None:
        """End it at once, frozen or not."""
        self.well = False
        self.troubles += 1
        if self._process is not None:
            release(self._process.pid)
            self._process.kill()
            self._process.wait()
            self._process = None

    def close(self) -> None:
        """End it for good."""
        self._closed = True
        self.kill()

    def pause(self) -> None:
        """Freeze it: its connections stay, and nothing is answered."""
        assert self._process is not None
        self.well = False
        self.troubles += 1
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a frozen one go on."""
        if self._process is None:
            return  # it was killed meanwhile
        self._process.send_signal(signal.SIGCONT)
        self.troubles += 1
        self.well = True

    def weigh(self) -> None:
        """See how much memory it holds."""
        if self._process is not None:
            with contextlib.suppress(OSError, IndexError):  # it may have ended
                status = Path(f"/proc/{self._process.pid}/status").read_text()
                self.peak_kib = max(self.peak_kib, int(status.partition("VmHWM:")[2].split()[0]))


def make_nodes(count: int, broker: str, folder: Path) -> list[Node]:
    """Nodes that are not started yet."""
    return [Node(f"node-{number}", broker, folder) for number in range(1, count + 1)]


def new_folder() -> Path:
    """Where nodes log."""
    return Path(tempfile.mkdtemp(prefix="checker-"))
