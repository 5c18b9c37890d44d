"""The websockets library's own `broadcast()`, compression off, on uvloop."""

import json

import uvloop
from websockets.asyncio.server import ServerConnection, broadcast, serve

from benchmarks.peers.command import message, obey, port_from_arguments

connections: set[ServerConnection] = set()


async def handler(connection: ServerConnection) -> None:
    connections.add(connection)
    try:
        await connection.wait_closed()
    finally:
        connections.discard(connection)


async def broadcast_message() -> None:
    broadcast(connections, json.dumps(message(), separators=(",", ":")))


async def main(port: int) -> None:
    # No keepalive pings, in any peer: what is measured is the fan-out.
    async with serve(handler, "127.0.0.1", port, compression=None, ping_interval=None, backlog=4096):
        await obey(broadcast_message)


if __name__ == "__main__":
    uvloop.run(main(port_from_arguments()))
