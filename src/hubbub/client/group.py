"""`Group`: one group as a program sees it."""

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from hubbub.client.channel import OWN
from hubbub.client.errors import RemovedError
from hubbub.client.listener import Listener, Policy
from hubbub.client.loop import Loop, Misfits, OwnMessage, group_message, own_message
from hubbub.client.replies import History, Member, PresenceStats
from hubbub.core.channels import check_group
from hubbub.core.messages import Position

if TYPE_CHECKING:
    from hubbub.client.client import Client

M = TypeVar("M")


class Group(Generic[M]):
    """A group: an asynchronous iterable of its messages, and what else can be asked of it.

    Iterating joins it; each loop hears every message from then on. A loop that is left hears no more, and the
    group stays joined until `leave`.
    """

    def __init__(
        self,
        client: "Client",
        name: str,
        type_: Any,
        *,
        buffer: int,
        policy: Policy,
        gaps: bool,
        misfits: Misfits,
    ) -> None:
        self.name = check_group(name, "the group name")
        self._client = client
        self._read = client._options.format.reader(type_)
        self._buffer = buffer
        self._policy = policy
        self._gaps = gaps
        self._misfits = misfits
        self._listener: Listener | None = None
        self._joining = 0

    def __repr__(self) -> str:
        return f"<Group {self.name!r} of {self._client!r}>"

    def __del__(self) -> None:
        # Joined, and never looped over: what has come waits for whoever does.
        listener = getattr(self, "_listener", None)
        if listener is not None:
            self._client._abandon(self.name, listener)

    def __aiter__(self) -> AsyncIterator[M]:
        loop = Loop(self._begin, group_message, self._read, self._misfits, self._client._detach)
        return cast("AsyncIterator[M]", loop)

    async def join(self) -> None:
        """Join the group, and return when that is done; what comes from then on waits for the next loop.

        While the client is on its way back, waits for it. Raises `ReplyError` where the server says no.
        """
        listener = self._listener
        if listener is None or listener.has_ended:
            listener = self._listener = self._open()
        self._joining += 1
        try:
            await self._settled()
        except BaseException:
            if self._joining == 1 and self._listener is listener:
                self._listener = None
                self._client._detach(listener)
            raise
        finally:
            self._joining -= 1

    def _open(self) -> Listener:
        """Want the group, and have what comes from now on wait."""
        client = self._client
        if not client._life.comes_back and not client.is_connected:
            raise client._life.why_not()
        membership = client._groups.want(self.name)
        if listener := membership.channel.claim():
            listener.adopt(self._buffer, self._policy, gaps=self._gaps)
            return listener
        listener = client._listener(self._buffer, self._policy, self._gaps)
        membership.channel.attach(listener)
        return listener

    async def _settled(self) -> None:
        """Wait until the server has let us in; raises what it says otherwise."""
        membership = self._client._groups.want(self.name)
        if membership.is_joined:
            return
        caller: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        membership.callers.add(caller)
        try:
            await caller
        except RemovedError:
            pass  # left meanwhile: the loop ends as it should
        finally:
            membership.callers.discard(caller)

    async def leave(self) -> None:
        """Leave the group: every loop over it ends, and it is not joined again."""
        await self._client.leave_group(self.name)

    def _begin(self) -> Listener:
        # What has waited since `join` belongs to this loop, also where the group has ended meanwhile.
        listener, self._listener = self._listener, None
        return listener or self._open()

    async def publish(self, data: Any) -> Position | None:
        """As `Client.publish`."""
        return await self._client.publish(self.name, data)

    async def history(
        self, limit: int = -1, since: Position | None = None, *, reverse: bool = False
    ) -> History[M]:
        """As `Client.history`, with the messages in this group's type."""
        return await self._client._history(self.name, limit, since, reverse, self._read, self._misfits)

    async def presence(self) -> dict[str, Member]:
        """As `Client.presence`."""
        return await self._client.presence(self.name)

    async def presence_stats(self) -> PresenceStats:
        """As `Client.presence_stats`."""
        return await self._client.presence_stats(self.name)

    @property
    def position(self) -> Position | None:
        """The position up to which the program was given everything."""
        return self._client._given().get(self.name)


class Own:
    """Broadcasts and notifications, as an asynchronous iterable: from the beginning of a loop on."""

    def __init__(
        self, client: "Client", type_: Any, *, buffer: int, policy: Policy, gaps: bool, misfits: Misfits
    ) -> None:
        self._client = client
        self._read = client._options.format.reader(type_)
        self._buffer = buffer
        self._policy = policy
        self._gaps = gaps
        self._misfits = misfits

    def __aiter__(self) -> AsyncIterator[OwnMessage[Any]]:
        listener = self._client._listener(self._buffer, self._policy, self._gaps)
        for name in OWN:
            self._client._groups.own[name].attach(listener)
        return Loop(listener, own_message, self._read, self._misfits, self._client._detach)
