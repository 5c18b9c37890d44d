"""What is asked of the server beside listening, in the form in which it would have come by itself."""

from collections.abc import AsyncIterator
from typing import Any

import msgspec

from hubbub.client import Client, GroupMessage, LostCallError, Message, Position


async def kept_messages(client: Client, group: str, end: Position) -> AsyncIterator[Message]:
    """The messages of a group's history from the oldest up to this position.

    What goes while it is asked for is told as a `gap`.
    """
    last: Position | None = None
    while last is None or last.offset < end.offset:
        try:
            page = await client.history(group, since=last)
        except LostCallError:
            continue  # reading does no harm twice, and waits for the connection
        if page.position.epoch != end.epoch:
            return  # another history by now: the client tells a gap
        for message in page.messages:
            at = message.position
            if at is None or at.offset > end.offset:
                return  # the rest comes by itself
            if last is not None and at.offset > last.offset + 1:
                yield {"type": "gap", "name": group, "epoch": at.epoch, "offset": at.offset - 1}
            last = at
            yield as_it_came(message, at)
        if not page.messages:
            return


def as_it_came(message: GroupMessage[Any], at: Position) -> Message:
    """A message of a history as members were sent it."""
    is_chat = message.kind == "chat"
    came: Message = {"type": "chat_message" if is_chat else "group_message", "group_name": message.group}
    came["message" if is_chat else "data"] = message.data
    came |= {"timestamp": message.timestamp, "offset": at.offset}
    if message.tags:
        came["tags"] = message.tags
    if message.sender:
        came["from"] = message.sender
    return came | {"epoch": at.epoch}


async def presence_of(client: Client, group: str) -> Message:
    """Who is in a group, as the server answers it."""
    members = await client.presence(group)
    return {
        "type": "presence",
        "group_name": group,
        "members": {id: _without_blanks(msgspec.to_builtins(member)) for id, member in members.items()},
    }


def _without_blanks(member: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in member.items() if value not in ("", None)}
