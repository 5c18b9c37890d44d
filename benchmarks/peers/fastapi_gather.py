"""FastAPI's usual ConnectionManager: one `send_text` per connection, gathered, under uvicorn with uvloop."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn
from fastapi import FastAPI, WebSocket, WebSocketDisconnect

from benchmarks.peers.command import message, obey, port_from_arguments


class ConnectionManager:
    def __init__(self) -> None:
        self.active_connections: list[WebSocket] = []

    async def connect(self, websocket: WebSocket) -> None:
        await websocket.accept()
        self.active_connections.append(websocket)

    def disconnect(self, websocket: WebSocket) -> None:
        self.active_connections.remove(websocket)

    async def broadcast(self, text: str) -> None:
        await asyncio.gather(*[connection.send_text(text) for connection in self.active_connections])


manager = ConnectionManager()


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    async def broadcast() -> None:
        await manager.broadcast(json.dumps(message(), separators=(",", ":")))

    commands = asyncio.create_task(obey(broadcast))
    yield
    commands.cancel()


app = FastAPI(lifespan=lifespan)


@app.websocket("/ws/{client_id}")
async def websocket_endpoint(websocket: WebSocket, client_id: str) -> None:
    await manager.connect(websocket)
    try:
        while True:
            await websocket.receive_text()
    except WebSocketDisconnect:
        manager.disconnect(websocket)


if __name__ == "__main__":
    # No keepalive pings, in any peer: what is measured is the fan-out.
    uvicorn.run(
        app,
        port=port_from_arguments(),
        loop="uvloop",
        http="httptools",
        log_level="warning",
        ws_ping_interval=None,
    )
