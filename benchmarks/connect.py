"""How many connections a second a server takes up: handshake and `connection_established`, with a token and a
join or without.
"""

import secrets
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks.harness import Load, cpu_ns, waited_ns
from benchmarks.hubbub_server import Hubbub
from benchmarks.options import Options
from hubbub.auth.minting import sign

GROUP = "lobby"
JOIN = f'{{"type":"join_group","group_name":"{GROUP}"}}'


@dataclass(frozen=True, slots=True)
class ConnectResult:
    per_cpu_second: float
    per_second: float
    cpu_us: float
    # Of the wall time, how much the server stood ready while others had its core.
    server_waited: float


def run(options: Options) -> ConnectResult:
    """Connections that are anybody's."""
    options.say(f"connect: {options.connections} connections, {options.connect_rounds} times")
    with Hubbub(options.serve_arguments) as hub:
        return _measure(hub, options, lambda count: hub.load(count, None))


def run_guarded(options: Options) -> ConnectResult:
    """Connections that bring an HS256 token each, and join a group with a history."""
    options.say(f"connect: the same with tokens and a join, {options.connect_rounds} times")
    secret = secrets.token_urlsafe(32)
    with tempfile.TemporaryDirectory() as folder:
        tokens = Path(folder) / "tokens"
        tokens.write_text("".join(f"{_token(secret, f'c{n}')}\n" for n in range(options.connections)))
        arguments = ["--token-secret", secret, "--open-stats", "--history-size", "10"]

        def load(count: int) -> Load:
            return Load(hub.port, count, tokens=tokens, sends=[JOIN], expected='"group_joined"')

        with Hubbub([*arguments, *options.serve_arguments]) as hub:
            return _measure(hub, options, load)


def _token(secret: str, user: str) -> str:
    return sign({"sub": user, "exp": int(time.time()) + 3600}, secret)


def _measure(hub: Hubbub, options: Options, load_of: Callable[[int], Load]) -> ConnectResult:
    cpu_seconds, wall_seconds, waited_seconds = [], [], []
    with load_of(50) as load:
        load.wait_ready()
        load.stop()
    hub.wait_empty()
    for _ in range(options.connect_rounds):
        cpu, waited = cpu_ns(hub.pid), waited_ns(hub.pid)
        with load_of(options.connections) as load:
            load.wait_ready()
            time.sleep(0.1)
            cpu_seconds.append((cpu_ns(hub.pid) - cpu) / 1e9)
            waited_seconds.append((waited_ns(hub.pid) - waited) / 1e9)
            wall_seconds.append(load.stop().connect_s)
        hub.wait_empty()
    return ConnectResult(
        per_cpu_second=options.connections / median(cpu_seconds),
        per_second=options.connections / median(wall_seconds),
        cpu_us=median(cpu_seconds) / options.connections * 1e6,
        server_waited=sum(waited_seconds) / sum(wall_seconds),
    )
