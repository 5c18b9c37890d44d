"""The lines a driver commands a peer with (the same as climit.c takes), and the message that they send."""

import argparse
import asyncio
import sys
import time
from collections.abc import Awaitable, Callable

MESSAGE_BYTES = 128


def port_from_arguments() -> int:
    """The `--port` this peer was started with."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    port: int = parser.parse_args().port
    return port


def message(envelope: int = 0) -> dict[str, str | int]:
    """A message marked with the present; with `envelope` bytes around it, it is 128 bytes of compact JSON."""
    now = time.monotonic_ns()
    bare = len(f'{{"type":"bench","t":{now},"pad":""}}')
    return {"type": "bench", "t": now, "pad": "x" * (MESSAGE_BYTES - envelope - bare)}


async def obey(broadcast: Callable[[], Awaitable[object]]) -> None:
    """Runs `single COUNT GAP_MS` and `burst COUNT SIZE GAP_MS` from stdin, answering `done`."""
    lines = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    while line := await lines.readline():
        match line.decode().split():
            case ["single", count, gap_ms]:
                times, size = int(count), 1
            case ["burst", count, per_burst, gap_ms]:
                times, size = int(count), int(per_burst)
            case other:
                print("not understood:", *other, file=sys.stderr)
                continue
        for i in range(times):
            if i:
                await asyncio.sleep(int(gap_ms) / 1000)
            for _ in range(size):
                await broadcast()
        print("done", times * size, flush=True)
