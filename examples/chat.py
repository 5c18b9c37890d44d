"""A chat inside a FastAPI app that has routes of its own.

    hubbub serve examples.chat:app
    uvicorn examples.chat:app

Either of them runs it, the first with the fast transport. Open http://127.0.0.1:8000 in two windows.

The app's hooks decide who a client is, which rooms there are and what may be said; presence tells who is
here, and history lets a page that was cut off catch up.
"""

import re
from pathlib import Path

from fastapi import FastAPI
from fastapi.responses import FileResponse

from hubbub import ConnectRequest, Hub, Identity, Namespace, Refuse, SessionInfo

ROOMS = ("lobby", "kitchen", "balcony")
LONGEST_MESSAGE = 500
PAGE = Path(__file__).with_name("chat.html")

hub = Hub(namespaces={"room": Namespace(history_size=100, join_leave=True)})
app = FastAPI(title="Chat", lifespan=hub.lifespan)
app.include_router(hub.router)


@hub.on_connect
def who_is_it(request: ConnectRequest) -> Identity:
    """A name is all that it takes; an app with accounts would look at its session cookie here."""
    name = request.query.get("name", "")
    if not re.fullmatch(r"[\w-]{1,20}", name):
        raise Refuse("say who you are: ?name=, up to 20 letters and digits", status=401)
    return Identity(client_id=name)  # the client id is what others see as the sender


@hub.on_subscribe("room:{name}")
def may_enter(session: SessionInfo, name: str) -> bool:
    """Every room that there is stands open."""
    return name in ROOMS


@hub.on_subscribe()
def nothing_else(session: SessionInfo) -> bool:
    """The first hook whose pattern fits is asked: whatever is no room ends here."""
    return False


@hub.on_publish("room:{name}")
def may_say(session: SessionInfo, message: object, name: str) -> bool:
    """Plain text that is not too long."""
    if not isinstance(message, str) or not 0 < len(message) <= LONGEST_MESSAGE:
        raise Refuse(f"a message is text of 1 to {LONGEST_MESSAGE} characters")
    return name in ROOMS


@app.get("/")
def page() -> FileResponse:
    """The chat, for a browser."""
    return FileResponse(PAGE)


@app.get("/rooms")
async def rooms() -> dict[str, list[str]]:
    """Who is in which room."""
    return {room: await people_in(room) for room in ROOMS}


async def people_in(room: str) -> list[str]:
    """The names in a room; one with several windows is there once."""
    members = await hub.presence(f"room:{room}")
    return sorted({member.client_id for member in members.values()})
