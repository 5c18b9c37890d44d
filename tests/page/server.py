"""A real server in a process of its own, on a free port."""

import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from .browser import PageError, wait_until


class RunningServer:
    """A server that answers."""

    def __init__(self, url: str, http: httpx.Client) -> None:
        self.url = url
        self._http = http

    def api(self, method: str, **request: Any) -> dict[str, Any]:
        """Call a method of the server API and return its result."""
        answer = self._http.post(f"{self.url}api/{method}", json=request).raise_for_status().json()
        assert "error" not in answer, answer
        return answer.get("result", answer)


@contextmanager
def run_server(**settings: Any) -> Iterator[RunningServer]:
    """Run `hubbub serve` with these settings; they reach it by its environment."""
    port = _free_port()
    url = f"http://127.0.0.1:{port}/"
    command = Path(sys.executable).with_name("hubbub")
    environment = {f"HUBBUB_{name.upper()}": str(value) for name, value in settings.items()}
    with tempfile.TemporaryFile("w+") as said, httpx.Client() as http:
        process = subprocess.Popen(
            [command, "serve", "--port", str(port)], env=os.environ | environment, stdout=said, stderr=said
        )

        def answers() -> bool:
            if process.poll() is not None:
                said.seek(0)
                raise PageError(f"the server ended at once: {said.read()}")
            try:
                return http.get(f"{url}healthz").is_success
            except httpx.TransportError:
                return False

        try:
            wait_until(answers, "the server to answer /healthz")
            yield RunningServer(url, http)
        finally:
            process.terminate()
            try:
                process.wait(timeout=15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
