"""The Python client: one name to connect, listen, send and come back."""

import logging

from hubbub.client.backoff import Backoff
from hubbub.client.client import Client
from hubbub.client.errors import (
    BadTokenError,
    CallTimeoutError,
    ClientError,
    ConnectError,
    ConnectTimeoutError,
    InvalidURLError,
    LostCallError,
    MisfitError,
    NotConnectedError,
    NotHubbubError,
    RefusedError,
    RemovedError,
    ReplyError,
    StoppedError,
    UnreachableError,
)
from hubbub.client.group import Group, Own
from hubbub.client.handlers import Handler
from hubbub.client.listener import Gap, Policy
from hubbub.client.loop import GroupMessage, OwnMessage
from hubbub.client.replies import History, Member, PresenceStats
from hubbub.client.sync import SyncClient
from hubbub.client.wire import Message
from hubbub.core.messages import Position

WebSocketClient = Client

# Without a handler of the program's own, Python would print warnings: a client prints nothing.
logging.getLogger(__name__).addHandler(logging.NullHandler())

__all__ = [
    "Backoff",
    "BadTokenError",
    "CallTimeoutError",
    "Client",
    "ClientError",
    "ConnectError",
    "ConnectTimeoutError",
    "Gap",
    "Group",
    "GroupMessage",
    "Handler",
    "History",
    "InvalidURLError",
    "LostCallError",
    "Member",
    "Message",
    "MisfitError",
    "NotConnectedError",
    "NotHubbubError",
    "Own",
    "OwnMessage",
    "Policy",
    "Position",
    "PresenceStats",
    "RefusedError",
    "RemovedError",
    "ReplyError",
    "StoppedError",
    "SyncClient",
    "UnreachableError",
    "WebSocketClient",
]
