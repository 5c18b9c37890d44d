"""Reads of histories, shared: a crowd that comes back at once asks for the same again and again."""

from __future__ import annotations

import asyncio
from typing import TypeAlias

from hubbub.brokers.base import Broker, HistoryPage
from hubbub.core.messages import Position

Question: TypeAlias = tuple[str, Position | None, int]


class Histories:
    """Reads that are asked for within one turn of the event loop are one.

    Never more: a read that has begun may miss what was published since, and so may whoever joins it late.
    """

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._asked: dict[Question, asyncio.Task[HistoryPage]] = {}

    async def read(self, channel: str, since: Position | None, limit: int) -> HistoryPage:
        """As `Broker.history`; the page is shared and must not be changed."""
        if not self._broker.remote:  # to share costs more than to read
            return await self._broker.history(channel, since=since, limit=limit)
        question = (channel, since, limit)
        task = self._asked.get(question)
        if task is None:
            task = self._asked[question] = asyncio.get_running_loop().create_task(self._read(question))
        return await asyncio.shield(task)

    async def _read(self, question: Question) -> HistoryPage:
        del self._asked[question]
        channel, since, limit = question
        return await self._broker.history(channel, since=since, limit=limit)
