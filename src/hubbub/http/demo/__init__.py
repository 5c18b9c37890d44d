"""The demo page at `/`: static files, groups with a history, and a ticker that gives it something to show."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

from fastapi import FastAPI
from fastapi.responses import FileResponse
from starlette.staticfiles import StaticFiles

from hubbub.core.channels import Namespace
from hubbub.hub import Hub

STATIC: Final = Path(__file__).parent / "static"
NAMESPACE: Final = "demo"
TICKER: Final = "demo:ticker"
INTERVAL: Final = 1.0
GOES_ON: Final = 60.0
"""Seconds that the ticker goes on when nobody watches any more: who was cut off is to miss something."""


def demo_namespace(others: Namespace) -> Namespace:
    """The options of the page's groups: those of other groups, and a history in any case."""
    return replace(others, history_size=max(others.history_size, 200))


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
    """A price that wanders, while somebody watches or did a while ago."""
    price = 100.0
    until = 0.0
    now = asyncio.get_running_loop().time
    while True:
        await asyncio.sleep(INTERVAL)
        price = max(1.0, price * (1 + random.uniform(-0.01, 0.01)))  # noqa: S311
        if hub.groups(TICKER):
            until = now() + GOES_ON
        if now() < until:
            await hub.publish(TICKER, {"symbol": "HUB", "price": round(price, 2)})
