"""What a client sends, and what it asks: calls that finish with an answer."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
from msgspec import Raw

from hubbub.client.errors import CallTimeoutError, LostCallError, MisfitError, NotConnectedError
from hubbub.client.loop import Misfits, message_of_history
from hubbub.client.positions import position_in
from hubbub.client.replies import History, Member, PresenceStats
from hubbub.client.wire import Message
from hubbub.core.messages import Position

if TYPE_CHECKING:
    from hubbub.client.calls import Calls
    from hubbub.client.connection import Options
    from hubbub.client.life import Life

logger = logging.getLogger(__name__)

T = TypeVar("T")


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
        return position_in(answer)

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
        return await self._history(group, limit, since, reverse, None, "raise")

    async def presence(self, group: str) -> dict[str, Member]:
        """Who is in a group, by connection."""
        answer = await self._call({"type": "presence", "group_name": group})
        return _answer_as(dict[str, Member], answer.get("members"), "presence")

    async def presence_stats(self, group: str) -> PresenceStats:
        """How many are in a group."""
        answer = await self._call({"type": "presence_stats", "group_name": group})
        return _answer_as(PresenceStats, answer, "presence_stats")

    async def rpc(self, method: str, data: object = None, type: Any = Any) -> Any:
        """Call a method of the application; `type` is what its result is to be."""
        answer = await self._call({"type": "rpc", "method": method, "data": data})
        result = answer.get("data")
        if type is Any:
            return result
        read, raw = self._options.format.reader(type), self._raw(result)
        try:
            return read(raw)
        except (ValueError, TypeError, RecursionError) as exc:
            raise MisfitError(f"The answer to rpc is not of the type asked for: {exc}", bytes(raw)) from exc

    async def _history(
        self,
        group: str,
        limit: int,
        since: Position | Mapping[str, Any] | None,
        reverse: bool,
        read: Callable[[Raw], Any] | None,
        misfits: Misfits,
    ) -> History[Any]:
        message: Message = {"type": "history", "group_name": group, "limit": limit}
        if since is not None:
            message["since"] = since
        if reverse:
            message["reverse"] = True
        answer = await self._call(message)
        position = position_in(answer) or Position("", 0)

        def to_type(data: object) -> Any:
            return data if read is None else read(self._raw(data))

        found = []
        for each in _answer_as(list[dict[str, Any]], answer.get("messages", []), "history"):
            try:
                found.append(message_of_history(each, position.epoch, to_type))
            except (ValueError, TypeError, RecursionError) as exc:
                sentence = f"A message in the history of {group} is not of the type asked for: {exc}"
                if misfits == "raise":
                    raise MisfitError(sentence, bytes(self._raw(each))) from exc
                logger.warning("%s. Passed over.", sentence)
        return History(found, position)

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
                try:
                    await connection.send({**message, "id": id})
                except NotConnectedError as exc:  # in the middle of sending: all of it may have arrived
                    raise LostCallError(f"{exc} It may have been done or not.") from exc
                return await answer
        except TimeoutError as exc:
            if id is None:
                raise CallTimeoutError(f"There was no connection for {timeout:g} seconds.") from exc
            sentence = f"The server did not answer this {message['type']} within {timeout:g} seconds."
            raise CallTimeoutError(sentence) from exc
        finally:
            if id is not None:
                calls.forget(id)


def _answer_as(type_: type[T], value: object, call: str) -> T:
    """What a server answered, as what it should be."""
    try:
        return msgspec.convert(value, type_)
    except ValueError as exc:
        raise MisfitError(f"The answer to {call} is none: {exc}.", b"") from exc
