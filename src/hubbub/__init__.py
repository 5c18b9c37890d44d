"""Real-time push for Python: WebSockets that miss nothing, in your FastAPI app or as a server of its own."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hubbub.auth import OAuth, Scope, Tokens
    from hubbub.brokers.base import BadBroker, BrokerUnavailable
    from hubbub.core.channels import BadName, Namespace, SlowPolicy
    from hubbub.core.messages import Position
    from hubbub.hub import ConnectRequest, Hub, Identity, Instead, Options, Refuse, SessionInfo
    from hubbub.publisher import AsyncPublisher, Publisher

__version__ = "0.1.0"

__all__ = [
    "AsyncPublisher",
    "BadBroker",
    "BadName",
    "BrokerUnavailable",
    "ConnectRequest",
    "Hub",
    "Identity",
    "Instead",
    "Namespace",
    "OAuth",
    "Options",
    "Position",
    "Publisher",
    "Refuse",
    "Scope",
    "SessionInfo",
    "SlowPolicy",
    "Tokens",
]

_HOMES = {
    "AsyncPublisher": "publisher",
    "BadBroker": "brokers.base",
    "BadName": "core.channels",
    "BrokerUnavailable": "brokers.base",
    "Namespace": "core.channels",
    "OAuth": "auth",
    "Position": "core.messages",
    "Publisher": "publisher",
    "Scope": "auth",
    "SlowPolicy": "core.channels",
    "Tokens": "auth",
}


def __getattr__(name: str) -> Any:
    # On demand, so that the client and the command line start without loading a server.
    if name not in __all__:
        raise AttributeError(f"module 'hubbub' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"hubbub.{_HOMES.get(name, 'hub')}"), name)
