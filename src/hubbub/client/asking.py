"""What a client sends, and what it asks: calls that finish with an answer."""

import asyncio
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Raw

from hubbub.client.errors import CallTimeoutError
from hubbub.client.loop import message_of_history
from hubbub.client.replies import History, Member, PresenceStats
from hubbub.client.wire import Message
from hubbub.core.messages import Position

if TYPE_CHECKING:
    from hubbub.client.calls import Calls
    from hubbub.client.connection import Options
    from hubbub.client.life import Life


class Asking:
    """The half of a client that speaks.

    Each call waits for a connection while one is on its way, and for its answer, both within `call_timeout`.
    It raises `ReplyError` where the answer is an error, `CallTimeoutError`, or `NotConnectedError`. A call
    that was under way when the connection ended is not repeated, since it may have been done.
    """

    _life: "Life"
    _calls: "Calls"
    _options: "Options"

    async def send_message(self, type: str, data: object = None) -> None:
        """Send a message of this type; the keys of a dict become the message's own, other data its `data`.

        Raises `NotConnectedError` when there is no connection.
        """
        if isinstance(data, dict):
            if data.get("type", type) != type:
                raise ValueError(
                    f"The data has a 'type' of its own, beside {type!r}; put it under another key."
                )
            await self._life.send({"type": type, **data})
        elif data is None:
            await self._life.send({"type": type})
        else:
            await self._life.send({"type": type, "data": data})

    async def send_chat_message(self, group: str, message: object) -> None:
        """Send any JSON value to every member of a group, without waiting for an answer."""
        await self.send_message("chat_message", {"group_name": group, "message": message})

    async def publish(self, group: str, data: object) -> Position | None:
        """Publish into a group, and return where it stands in the group's history, if it has one.

        By then the message is with the server; it is no promise that any member has it.
        """
        answer = await self._call({"type": "publish", "group_name": group, "data": data})
        return _position(answer)

    async def history(
        self,
        group: str,
        limit: int = -1,
        since: Position | Mapping[str, Any] | None = None,
        *,
        reverse: bool = False,
    ) -> History[Any]:
        """Messages of a group's history: the oldest after `since`, or with `reverse` the newest before it.

        limit: at most so many; -1 for as many as the server gives at once, 0 for the position alone.
        """
        return await self._history(group, limit, since, reverse, None)

    async def presence(self, group: str) -> dict[str, Member]:
        """Who is in a group, by connection."""
        answer = await self._call({"type": "presence", "group_name": group})
        return msgspec.convert(answer.get("members"), dict[str, Member])

    async def presence_stats(self, group: str) -> PresenceStats:
        """How many are in a group."""
        return msgspec.convert(
            await self._call({"type": "presence_stats", "group_name": group}), PresenceStats
        )

    async def rpc(self, method: str, data: object = None, type: Any = Any) -> Any:
        """Call a method of the application; `type` is what its result is to be."""
        answer = await self._call({"type": "rpc", "method": method, "data": data})
        result = answer.get("data")
        return result if type is Any else self._options.format.reader(type)(self._raw(result))

    async def _history(
        self,
        group: str,
        limit: int,
        since: Position | Mapping[str, Any] | None,
        reverse: bool,
        read: Callable[[Raw], Any] | None,
    ) -> History[Any]:
        message: Message = {"type": "history", "group_name": group, "limit": limit}
        if since is not None:
            message["since"] = since
        if reverse:
            message["reverse"] = True
        answer = await self._call(message)
        position = _position(answer) or Position("", 0)

        def to_type(data: object) -> Any:
            return data if read is None else read(self._raw(data))

        messages = [message_of_history(each, position.epoch, to_type) for each in answer.get("messages", ())]
        return History(messages, position)

    def _raw(self, value: object) -> Raw:
        return Raw(self._options.format.encode(value))

    async def _call(self, message: Message) -> Message:
        """Ask, and return the answer."""
        calls, timeout = self._calls, self._options.call_timeout
        id = None
        try:
            async with asyncio.timeout(timeout):
                connection = await self._life.arrival()
                id, answer = calls.open()
                await connection.send({**message, "id": id})
                return await answer
        except TimeoutError as exc:
            if id is None:
                raise CallTimeoutError(f"There was no connection for {timeout:g} seconds.") from exc
            sentence = f"The server did not answer this {message['type']} within {timeout:g} seconds."
            raise CallTimeoutError(sentence) from exc
        finally:
            if id is not None:
                calls.forget(id)


def _position(answer: Message) -> Position | None:
    match answer:
        case {"epoch": str(epoch), "offset": int(offset)}:
            return Position(epoch, offset)
    return None
