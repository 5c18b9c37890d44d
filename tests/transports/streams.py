"""A reader of server-sent events over a plain HTTP connection, as `curl` is one."""

import json
import socket
import struct
from http.client import HTTPConnection
from typing import Any, NamedTuple
from urllib.parse import quote

from .serving import DEADLINE, Running


class Event(NamedTuple):
    """One event as a reader has it: its type, its data as JSON, the id it brought."""

    type: str
    data: Any
    id: str


class Stream:
    """One request for a stream, and what comes of it."""

    def __init__(
        self,
        server: Running | int,
        *groups: str,
        client_id: str = "",
        last_id: str = "",
        query: str = "",
        prefix: str = "",
        receive_buffer: int | None = None,
        **headers: str,
    ) -> None:
        port = server if isinstance(server, int) else server.port
        self._http = HTTPConnection("127.0.0.1", port, timeout=DEADLINE)
        self._http.connect()
        self._socket: socket.socket = self._http.sock
        if receive_buffer is not None:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        path = f"{prefix}/sse/{client_id}" if client_id else f"{prefix}/sse"
        query = "&".join(part for part in (query, "groups=" + quote(",".join(groups), safe=",")) if part)
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if last_id:
            sent["Last-Event-ID"] = last_id
        self._http.request("GET", f"{path}?{query}", headers=sent)
        self._response = self._http.getresponse()
        self.status = self._response.status
        self.headers = self._response.headers
        self.last_id = last_id
        self.retry = 0
        self.comments: list[str] = []

    def text(self) -> str:
        """The whole of an answer that is no stream."""
        return self._response.read().decode()

    def event(self) -> Event | None:
        """The next event; None at the end of the stream."""
        type, id, data = "message", "", []
        while True:
            line = self._response.readline().decode()
            if not line:
                return None
            line = line.removesuffix("\n")
            name, _, value = line.partition(": ")
            match name:
                case "" if not line and data:
                    return Event(type, json.loads("\n".join(data)), id)
                case "" if line:
                    self.comments.append(value)
                case "event":
                    type = value
                case "data":
                    data.append(value)
                case "id":
                    self.last_id = id = value
                case "retry":
                    self.retry = int(value)

    def hear(self, *types: str) -> Any:
        """The data of the next event, or of the next of these types."""
        while True:
            event = self.event()
            assert event is not None, "the stream has ended"
            assert event.data["type"] == event.type
            if not types or event.type in types:
                return event.data

    def open(self, joined: int = 1) -> "Stream":
        """Be greeted, and in so many groups."""
        assert self.status == 200, self.text()
        self.hear("connection_established")
        for _ in range(joined):
            self.hear("group_joined")
        return self

    def numbers(self, count: int) -> list[Any]:
        """The data of the next messages of groups."""
        return [self.hear("group_message")["data"] for _ in range(count)]

    def close(self) -> None:
        """Go, in good order."""
        self._response.close()
        self._http.close()
        self._socket.close()

    def vanish(self) -> None:
        """Be gone with a reset, as a machine that lost its power."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def __enter__(self) -> "Stream":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
