"""How many connections one user has, on all nodes."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Final

from hubbub.brokers.base import BrokerUnavailable
from hubbub.core import codes
from hubbub.core.messages import user_channel
from hubbub.hub.background import quietly
from hubbub.hub.connection import Connection

if TYPE_CHECKING:
    from hubbub.hub.hub import Hub

COUNTS: Final = 3
"""How often a connection looks whether it is one too many of its user's."""


class Users:
    """Holds users to `connections_per_user`. Where there are other nodes, presence of the user's own channel
    tells what is on them.
    """

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._most = hub.options.connections_per_user

    def came(self, connection: Connection) -> None:
        """A connection was greeted: close it where it is one too many."""
        hub, user = self._hub, connection.session.user
        if not user or not self._most:
            return
        if hub.broker.remote:
            hub.spawn(quietly(self._count_in(connection), "counting a user's connections"))
        elif hub.registry.count(user_channel(user)) > self._most:
            self._close(connection)

    def went(self, connection: Connection) -> None:
        """A connection has ended."""
        hub, user = self._hub, connection.session.user
        if user and self._most and hub.broker.remote:
            gone = hub.attendance.remove(user_channel(user), connection)
            hub.spawn(quietly(gone, "counting a user's connections"))

    def _close(self, connection: Connection) -> None:
        self._hub.metrics.limited("connections_per_user")
        connection.close(codes.CONNECTION_LIMIT)

    async def _count_in(self, connection: Connection) -> None:
        """Close a connection that is one too many of its user's, wherever the others are.

        On one node those stay who came first. Of those who come on several nodes at once all may see too
        many, so each steps back and tries again in its own time.
        """
        hub, channel = self._hub, user_channel(connection.session.user)
        most = self._most
        for attempt in range(COUNTS):
            await hub.attendance.add(channel, connection)
            if not connection.open:
                break
            try:
                present = await hub.presence_store.list(channel)
            except BrokerUnavailable:
                return
            elsewhere = sum(not id.startswith(f"{hub.node_id}-") for id in present)
            earlier = hub.registry.members(channel).index(connection) if connection.open else most
            # While it had stepped back, some that came later may have taken the places.
            ahead = len(present.keys() - {connection.id}) if attempt else earlier + elsewhere
            if ahead < most:
                return
            await hub.attendance.remove(channel, connection)
            if earlier >= most:
                break
            await asyncio.sleep(random.uniform(0.0, 0.5))  # noqa: S311
        await hub.attendance.remove(channel, connection)
        if connection.open:
            self._close(connection)
