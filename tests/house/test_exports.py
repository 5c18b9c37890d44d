"""What `import hubbub` gives is what its users were told."""

import subprocess
import sys

import pytest

import hubbub

PUBLIC = [
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


def test_the_public_names_are_there() -> None:
    """No more and no fewer."""
    assert hubbub.__all__ == PUBLIC
    assert all(getattr(hubbub, name).__name__ == name for name in PUBLIC)


def test_an_unknown_name_is_an_attribute_error() -> None:
    """As of any module."""
    with pytest.raises(AttributeError, match="has no attribute 'Bub'"):
        hubbub.Bub  # noqa: B018


def test_the_client_starts_without_a_server() -> None:
    """Importing the client loads neither FastAPI nor uvicorn."""
    code = "import sys, hubbub.client; sys.exit(bool({'fastapi', 'uvicorn'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
