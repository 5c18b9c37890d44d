"""What the transports over ASGI share: messages wait in a queue, since a server takes them one at a time."""

import asyncio
from collections import deque
from typing import Final

from hubbub.core.codes import CloseReason
from hubbub.hub.connection import Connection

HIGH_WATER: Final = 64 * 1024
"""Bytes that wait for the server before it counts as back-pressure."""
LOW_WATER: Final = 16 * 1024


class QueuedTransport:
    """What waits for an ASGI server, and the back-pressure that it makes."""

    def __init__(self) -> None:
        self._queue: deque[bytes] = deque()
        self._queued = 0
        self._slow = False
        self._wake = asyncio.Event()
        self._closing: CloseReason | None = None
        self.connection: Connection | None = None

    def _put(self, data: bytes) -> None:
        """Have this wait; `_announce` when all is in."""
        self._queue.append(data)
        self._queued += len(data)

    def _announce(self) -> None:
        """Wake whoever sends, and tell the connection where too much waits."""
        if self._queued > HIGH_WATER and not self._slow and self.connection is not None:
            self._slow = True
            self.connection.pause_writing()
        self._wake.set()

    def _drained(self, size: int) -> None:
        """So many bytes have gone to the server."""
        self._queued -= size
        if self._slow and self._queued <= LOW_WATER and self.connection is not None:
            self._slow = False
            self.connection.resume_writing()
