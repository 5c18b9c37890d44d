"""Hubbub as its users meet it: the `hubbub serve` command, its HTTP API and its WebSocket."""

import http.client
import json
import sys
import time
from pathlib import Path
from typing import Any

from websockets.sync.client import connect

from benchmarks.harness import SERVER_CPU, BenchError, Load, Process, free_port

PAYLOAD_BYTES = 128


class Publisher:
    """One kept-alive HTTP connection to the API; each thread that publishes has its own."""

    def __init__(self, port: int, key: str = "") -> None:
        self._headers = {"Content-Type": "application/json"} | ({"X-API-Key": key} if key else {})
        self._http = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        # The filler that makes the frame a subscriber gets 128 bytes: see Hubbub.calibrate().
        self.pad = ""

    def call(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        """The answer of an endpoint, which must be a success."""
        text = None if body is None else json.dumps(body, separators=(",", ":"))
        for last_try in (False, True):
            try:
                self._http.request(method, path, text, self._headers)
                response = self._http.getresponse()
                answer = response.read()
                break
            except ConnectionError as gone:  # an idle connection that the server has closed meanwhile
                self._http.close()
                if last_try:
                    raise BenchError(f"hubbub does not answer {method} {path}: {gone}") from gone
        parsed: dict[str, Any] = json.loads(answer) if answer[:1] == b"{" else {}
        failed = response.status >= 300 or "error" in parsed
        if failed or any("error" in reply for reply in parsed.get("replies", [])):
            raise BenchError(f"hubbub refuses {method} {path}: {response.status} {answer[:200]!r}")
        return parsed

    def publish(self, channel: str, count: int = 1, *, first: int | None = None) -> None:
        """Publishes one message, or several at once as a batch; numbered from `first` on, where given."""
        messages = []
        for index in range(count):
            number = {} if first is None else {"n": first + index}
            data = {"t": time.monotonic_ns(), **number, "pad": self.pad}
            messages.append({"channel": channel, "data": data})
        if count == 1:
            self.call("POST", "/api/publish", messages[0])
        else:
            self.call("POST", "/api/batch", {"commands": [{"publish": message} for message in messages]})

    def broadcast(self) -> None:
        """Sends one message to every connection."""
        self.call("POST", "/broadcast", {"t": time.monotonic_ns()})


class Hubbub(Process):
    """A running `hubbub serve`, on the server's core unless others are given."""

    def __init__(self, arguments: list[str], *, name: str = "hubbub", cpus: set[int] = SERVER_CPU) -> None:
        program = Path(sys.executable).with_name("hubbub")
        if not program.exists():
            raise BenchError(f"there is no `hubbub` command beside {Path(sys.executable).name}: install it")
        self.port = free_port()
        command: list[str | Path] = [program, "serve", "--port", str(self.port), *arguments]
        super().__init__(name, command, cpus, talks=False)
        try:
            self.wait_for_port(self.port)
        except BaseException:
            self.end()
            raise
        self.publisher = Publisher(self.port)

    def load(self, connections: int, group: str | None, name: str = "load") -> Load:
        """A load client whose connections are in a group, or merely connected."""
        if group is None:
            return Load(self.port, connections, expected='"connection_established"', name=name)
        join = f'{{"type":"join_group","group_name":"{group}"}}'
        path = f"/ws/{group}-%d"
        return Load(self.port, connections, path=path, sends=[join], expected='"group_joined"', name=name)

    def calibrate(self, channel: str) -> None:
        """Measures what a message carries beside the filler, and sets the filler accordingly."""
        self.publisher.pad = ""
        with connect(f"ws://127.0.0.1:{self.port}/ws/ruler", compression=None) as ruler:
            ruler.send(json.dumps({"type": "join_group", "group_name": channel}))
            while json.loads(ruler.recv(5))["type"] != "group_joined":
                pass
            self.publisher.publish(channel)
            while '"pad"' not in (text := ruler.recv(5, decode=True)):
                pass
        self.publisher.pad = "x" * (PAYLOAD_BYTES - len(text))

    def wait_empty(self, timeout: float = 30) -> None:
        """Returns once the server knows of no connection any more, and has had a moment to tidy up."""
        deadline = time.monotonic() + timeout
        while self.publisher.call("GET", "/stats")["total_connections"]:
            if time.monotonic() > deadline:
                raise BenchError(f"hubbub still counts connections {timeout:.0f} seconds after all have left")
            time.sleep(0.1)
        time.sleep(2)
