"""The hub: the coordinator of one node, and the embedding API."""

from hubbub.hub.hooks import ConnectRequest, Identity, Refuse, SessionInfo
from hubbub.hub.hub import Hub, NotStarted
from hubbub.hub.options import Options

__all__ = ["ConnectRequest", "Hub", "Identity", "NotStarted", "Options", "Refuse", "SessionInfo"]
