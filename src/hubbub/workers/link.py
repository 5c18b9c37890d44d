"""What a supervisor and a worker say to each other, over a pair of Unix sockets.

Theory of operation. Down go connections: the sockets themselves, and one byte for each, so that a worker
with no room for a socket still knows that it was given one. Up come news, a line of JSON each. Either side
sees by the end of the stream that the other is gone, however it went. Nobody ever waits for anybody.
"""

import errno
import socket
from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec

AT_ONCE: Final = 64
"""Connections in one message; the kernel takes up to 253."""

# A program that a worker starts has no business with its clients.
_RECEIVE_FLAGS: Final = getattr(socket, "MSG_CMSG_CLOEXEC", 0)


class Ready(msgspec.Struct, frozen=True, tag="ready"):
    """The worker takes connections from now on. `greeting` is for whoever started the supervisor."""

    greeting: Any = None


class Load(msgspec.Struct, frozen=True, tag="load"):
    """Of the connections that the worker has been given it has taken so many, and so many are open."""

    taken: int
    open: int


class Leaving(msgspec.Struct, frozen=True, tag="leaving"):
    """The worker takes no more connections."""


class Failed(msgspec.Struct, frozen=True, tag="failed"):
    """The worker cannot serve, as the sentence says, and ends with this exit code."""

    code: int
    sentence: str


News = Ready | Load | Leaving | Failed

_decoder: Final = msgspec.json.Decoder[News](News)


class Gone(Exception):
    """The other side of the link is there no more."""


class NoRoom(Exception):
    """Nothing more goes into the link now. With `soon` its socket tells when it does, else only time does."""

    def __init__(self, *, soon: bool) -> None:
        super().__init__()
        self.soon = soon


class SupervisorEnd:
    """A worker, from where its connections come from."""

    def __init__(self, end: socket.socket) -> None:
        end.setblocking(False)
        self.socket = end
        self._unread = b""

    def give(self, connections: Sequence[socket.socket]) -> None:
        """Hand connections over, at most `AT_ONCE`; all or none. Raises `NoRoom` and `Gone`."""
        handles = [connection.fileno() for connection in connections]
        try:
            socket.send_fds(self.socket, [b"\0" * len(handles)], handles)
        except BlockingIOError as exc:
            raise NoRoom(soon=True) from exc
        except OSError as exc:
            # The kernel bounds what one user may have on the way between processes.
            if exc.errno in (errno.ETOOMANYREFS, errno.ENOBUFS, errno.ENOMEM):
                raise NoRoom(soon=False) from exc
            raise Gone from exc

    def news(self) -> Iterator[News]:
        """What has arrived. Raises `Gone`."""
        try:
            arrived = self.socket.recv(65536)
        except BlockingIOError:
            return
        except OSError as exc:
            raise Gone from exc
        if not arrived:
            raise Gone
        *lines, self._unread = (self._unread + arrived).split(b"\n")
        yield from map(_decoder.decode, lines)

    def close(self) -> None:
        """Let go of it; a worker that is still there ends."""
        self.socket.close()


class WorkerEnd:
    """The supervisor, from where its connections go to."""

    def __init__(self, end: socket.socket, number: int) -> None:
        end.setblocking(False)
        self.socket = end
        self.number = number
        """Which of the workers this is, from 1."""
        self.taken = 0
        """Connections that have come out of the link."""
        self.orphaned = False
        """Whether the supervisor has gone."""

    def take(self) -> list[socket.socket]:
        """The connections that are next; fewer than were given where this process has no handle left.

        Raises `Gone`.
        """
        try:
            marks, handles, _, _ = socket.recv_fds(self.socket, AT_ONCE, AT_ONCE, _RECEIVE_FLAGS)
        except BlockingIOError:
            return []
        except OSError:
            marks, handles = b"", []
        if not marks:
            self.orphaned = True
            raise Gone
        self.taken += len(marks)
        return [socket.socket(fileno=handle) for handle in handles]

    def say(self, news: News) -> bool:
        """Tell the supervisor; False where it does not listen."""
        line = msgspec.json.encode(news) + b"\n"
        try:
            return self.socket.send(line) == len(line)
        except OSError:
            return False


def pair(number: int) -> tuple[SupervisorEnd, WorkerEnd]:
    """The two ends of a new link."""
    ours, theirs = socket.socketpair()
    return SupervisorEnd(ours), WorkerEnd(theirs, number)
