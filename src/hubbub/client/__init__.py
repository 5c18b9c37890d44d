"""The Python client: one name to connect, send, listen and come back."""

from hubbub.client.backoff import Backoff
from hubbub.client.client import WebSocketClient
from hubbub.client.errors import (
    BadTokenError,
    ClientError,
    ConnectError,
    ConnectTimeoutError,
    InvalidURLError,
    NotConnectedError,
    NotHubbubError,
    RefusedError,
    UnreachableError,
)
from hubbub.client.handlers import Handler, Message

__all__ = [
    "Backoff",
    "BadTokenError",
    "ClientError",
    "ConnectError",
    "ConnectTimeoutError",
    "Handler",
    "InvalidURLError",
    "Message",
    "NotConnectedError",
    "NotHubbubError",
    "RefusedError",
    "UnreachableError",
    "WebSocketClient",
]
