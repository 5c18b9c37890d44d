"""An answer that is streamed token by token, and survives any number of lost connections.

    hubbub serve examples.answer_stream:app
    uvicorn examples.answer_stream:app

Either of them runs it, the first with the fast transport. Ask it something from a terminal:

    python -m examples.answer_stream ws://127.0.0.1:8000 "How do I miss nothing?"

The answer is written into a channel with history, whether or not somebody listens. The reader joins that
channel at a position; when it is cut off it comes back with the position of the last token it has.
"""

import asyncio
import json
import secrets
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel, Field
from websockets import ConnectionClosed, connect

from hubbub import Hub, Namespace, SessionInfo

PAUSE = 0.02
WISDOM = """Every token of this answer has an offset and is kept for a while. Remember the offset of the last
    one you saw. When the line goes dead, come back with it: first you are given what you missed, once and in
    order, and then whatever I think of next."""

hub = Hub(namespaces={"answers": Namespace(history_size=1000, history_ttl=300, presence=False)})
app = FastAPI(title="Answers", lifespan=hub.lifespan)
app.include_router(hub.router)


class Question(BaseModel):
    text: str = Field(min_length=1, max_length=200)


@hub.rpc("ask")
async def ask(session: SessionInfo, question: Question) -> dict[str, Any]:
    """Begin an answer: the channel it will be in, and the position before its first token."""
    channel = f"answers:{secrets.token_urlsafe()}"  # who knows the name may read
    begin = (await hub.history(channel, limit=0)).position
    hub.spawn(write(channel, question.text))
    return {"channel": channel, "begin": begin}


async def write(channel: str, question: str) -> None:
    """Publish the tokens of an answer as they come; words stand in for those of a language model."""
    for word in f"You ask: {question} {WISDOM}".split():
        await hub.publish(channel, {"token": f"{word} "})
        await asyncio.sleep(PAUSE)
    await hub.publish(channel, {"done": True})


@hub.on_publish("answers:{id}")
def only_the_app_publishes(session: SessionInfo, data: object) -> bool:
    """Nobody else puts words into an answer."""
    return False


async def read(server: str, question: str) -> AsyncIterator[str]:
    """The tokens of an answer, each once and in order, however often the connection is lost."""
    request: dict[str, Any] = {"type": "rpc", "method": "ask", "data": {"text": question}}
    async for socket in connect(f"{server}/ws"):  # again and again
        with suppress(ConnectionClosed):
            await socket.send(json.dumps(request))
            async for frame in socket:
                match json.loads(frame):
                    case {"type": "rpc_result", "data": {"channel": channel, "begin": position}}:
                        request = {"type": "join_group", "group_name": channel, "recover": position}
                        await socket.send(json.dumps(request))
                    case {"type": "group_joined", "recovered": False}:
                        raise LookupError("the answer is not kept any more")
                    case {"type": "group_message", "offset": offset, "data": {"token": token}}:
                        request["recover"]["offset"] = offset
                        yield token
                    case {"type": "group_message", "data": {"done": True}}:
                        return
                    case {"type": "error", "message": message}:
                        raise RuntimeError(message)


async def show(server: str, question: str) -> None:
    """Print an answer as it comes."""
    async for token in read(server, question):
        print(token, end="", flush=True)
    print()


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        asyncio.run(show(*sys.argv[1:]))
