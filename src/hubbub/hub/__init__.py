"""The hub: the coordinator of one node, and the embedding API."""

from hubbub.hub.hooks import ConnectRequest, Identity, Instead, Refuse, SessionInfo
from hubbub.hub.hub import Hub, NotStarted
from hubbub.hub.options import Options

__all__ = ["ConnectRequest", "Hub", "Identity", "Instead", "NotStarted", "Options", "Refuse", "SessionInfo"]
