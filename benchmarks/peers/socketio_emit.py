"""python-socketio: `emit` to everybody, WebSocket transport, as ASGI under uvicorn with uvloop."""

import asyncio

import socketio  # type: ignore[import-untyped]
import uvicorn

from benchmarks.peers.command import message, obey, port_from_arguments

ENVELOPE = len('42["bench",]')

# No keepalive pings, in any peer: what is measured is the fan-out.
server = socketio.AsyncServer(async_mode="asgi", transports=["websocket"], ping_interval=3600)
tasks: list[asyncio.Task[None]] = []


async def broadcast() -> None:
    await server.emit("bench", message(ENVELOPE))


async def start_obeying() -> None:
    tasks.append(asyncio.create_task(obey(broadcast)))


app = socketio.ASGIApp(server, on_startup=start_obeying)

if __name__ == "__main__":
    uvicorn.run(
        app,
        port=port_from_arguments(),
        loop="uvloop",
        http="httptools",
        log_level="warning",
        ws_ping_interval=None,
    )
