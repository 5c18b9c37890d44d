"""A real server behind a proxy, for the tests under Node: `python -m tests.js.site [SETTINGS]`.

It prints one line of JSON that says where it is, then does what the lines of its input say, each answered by
`done`: `cut`, `refuse`, `accept`, `broadcast`, `publish GROUP JSON`. It ends with its input.
"""

import asyncio
import json
import sys
import time
from typing import Any
from urllib.parse import urlsplit

from hubbub.auth.minting import sign

from ..client.proxy import Proxy
from ..page.server import RunningServer, run_server

SECRET = "a secret that is known to these tests alone and is long"
NAMESPACES = {"kept": {"history_size": 1000, "join_leave": True}}
SETTINGS = {
    "namespace_options": json.dumps(NAMESPACES),
    "broadcast_history_size": 100,
    "messages_per_second": 0,
    "bytes_per_second": 0,
    "connections_per_address": 0,
}


def tokens() -> dict[str, str]:
    """One that lasts, and one that soon ends."""
    now = int(time.time())
    return {
        "ada": sign({"sub": "ada", "exp": now + 3600}, SECRET),
        "short": sign({"sub": "ada", "exp": now + 3}, SECRET),
    }


def obey(command: str, proxy: Proxy, server: RunningServer) -> None:
    """Do what a line says."""
    match command.split(maxsplit=2):
        case ["cut"]:
            proxy.cut()
        case ["refuse"]:
            proxy.refuse()
            proxy.cut()
        case ["accept"]:
            proxy.heal()
        case ["broadcast"]:
            server.api("publish", channel="$all", data="to everybody")
        case ["publish", group, data]:
            server.api("publish", channel=group, data=json.loads(data))
        case _:
            raise ValueError(command)


async def main(settings: dict[str, Any]) -> None:
    """Serve until the input ends."""
    with run_server(**SETTINGS, **settings) as server:
        port = urlsplit(server.url).port
        assert port
        async with Proxy(port).running() as proxy:
            where = {"url": f"{proxy.url}/ws", "direct": server.url, "port": port, "tokens": tokens()}
            print(json.dumps(where), flush=True)  # noqa: T201 - what it is for
            while command := (await asyncio.to_thread(sys.stdin.readline)).strip():
                obey(command, proxy, server)
                print("done", flush=True)  # noqa: T201


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1]) if len(sys.argv) > 1 else {}))
