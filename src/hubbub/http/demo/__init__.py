"""The demo page at `/`: static files, and a ticker that gives it something to show."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from fastapi import FastAPI
from fastapi.responses import FileResponse
from starlette.staticfiles import StaticFiles

from hubbub.hub import Hub

STATIC: Final = Path(__file__).parent / "static"
TICKER: Final = "demo:ticker"
INTERVAL: Final = 1.0


def mount_demo(app: FastAPI, hub: Hub) -> None:
    """Serve the page at `/` and run its ticker along with the app."""

    @app.get("/", include_in_schema=False)
    async def index() -> FileResponse:
        return FileResponse(STATIC / "index.html")

    app.mount("/demo", StaticFiles(directory=STATIC), name="demo")
    outer = app.router.lifespan_context

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with outer(app):
            ticker = asyncio.create_task(_tick(hub))
            try:
                yield
            finally:
                ticker.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await ticker

    app.router.lifespan_context = lifespan


async def _tick(hub: Hub) -> None:
    """A price that wanders, while somebody watches."""
    price = 100.0
    while True:
        await asyncio.sleep(INTERVAL)
        price = max(1.0, price * (1 + random.uniform(-0.01, 0.01)))  # noqa: S311
        if hub.groups(TICKER):
            await hub.publish(TICKER, {"symbol": "HUB", "price": round(price, 2)})
