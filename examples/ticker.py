"""A price ticker that never floods a slow reader.

    hubbub serve examples.ticker:app
    uvicorn examples.ticker:app

Either of them runs it, the first with the fast transport. This one watches two symbols from a terminal:

    python -m examples.ticker ws://127.0.0.1:8000 HUB PUB

An old price is worth nothing once there is a newer one. So for a reader that falls behind (press Ctrl+Z, and
`fg` a while later) only the newest quote of each `key` waits, and it is told how many it was spared.
"""

import asyncio
import contextlib
import random
import sys
from collections.abc import AsyncIterator

from fastapi import FastAPI

from hubbub import Hub, Namespace, Refuse, SessionInfo, SlowPolicy
from hubbub.client import Message, WebSocketClient

SYMBOLS = ("HUB", "PUB", "SUB")
SPREAD = {"bid": -0.02, "ask": +0.02}
INTERVAL = 0.1

hub = Hub(namespaces={"ticker": Namespace(slow_policy=SlowPolicy.LATEST, presence=False)})


@contextlib.asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """The hub begins before the ticker and ends after it."""
    async with hub.lifespan(app), asyncio.TaskGroup() as tasks:
        ticker = tasks.create_task(tick())
        yield
        ticker.cancel()


app = FastAPI(title="Ticker", lifespan=lifespan)
app.include_router(hub.router)


async def tick() -> None:
    """Publish prices that wander, a bid and an ask for each symbol."""
    prices = dict.fromkeys(SYMBOLS, 100.0)
    while True:
        for symbol in SYMBOLS:
            prices[symbol] *= random.uniform(0.999, 1.001)
            for side, distance in SPREAD.items():
                quote = {"symbol": symbol, "side": side, "price": round(prices[symbol] + distance, 2)}
                await hub.publish(f"ticker:{symbol}", quote, key=side)
        await asyncio.sleep(INTERVAL)


@hub.on_subscribe("ticker:{symbol}")
def is_listed(session: SessionInfo, symbol: str) -> None:
    """Who asks for a symbol that is not there would wait for ever."""
    if symbol not in SYMBOLS:
        raise Refuse(f"there is no {symbol}; there are {', '.join(SYMBOLS)}")


@hub.on_publish("ticker:{symbol}")
def only_the_app_publishes(session: SessionInfo, quote: object) -> bool:
    """Prices come from here, not from clients."""
    return False


async def watch(server: str = "ws://127.0.0.1:8000", *symbols: str) -> None:
    """Print the quotes of these symbols, over lost connections too, until Ctrl+C."""
    client = WebSocketClient(server)

    @client.register_handler("group_message")
    def show(message: Message) -> None:
        quote = message["data"]
        print(f"{quote['symbol']}  {quote['side']}  {quote['price']:.2f}", flush=True)

    @client.register_handler("messages_dropped")
    def show_gap(message: Message) -> None:
        print(f"({message['count']} older quotes of {message['channel']} left out)", flush=True)

    client.register_handler("error", lambda message: print(message["message"], file=sys.stderr))
    async with client:
        for symbol in symbols or SYMBOLS:
            await client.join_group(f"ticker:{symbol}")
        await client.wait_closed()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(watch(*sys.argv[1:]))
