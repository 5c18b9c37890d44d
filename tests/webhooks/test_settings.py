"""What can be set, and what is turned away before anything starts."""

from typing import Any

import pytest
from pydantic import ValidationError

from hubbub.server import build_hub
from hubbub.settings import Settings
from hubbub.webhooks import WebhookOptions

URL = "https://backend.example/hook"


def test_settings_become_options() -> None:
    """Lists are written with commas; names of headers in any case."""
    settings = Settings(
        webhook_connect=URL,
        webhook_secret="old, new",  # type: ignore[arg-type]
        webhook_headers="Cookie,X-Tenant",  # type: ignore[arg-type]
        webhook_timeout=2.5,
        webhook_concurrency=7,
    )
    assert settings.webhooks() == WebhookOptions(
        connect=URL, secrets=("old", "new"), headers=("cookie", "x-tenant"), timeout=2.5, concurrency=7
    )


def test_a_hub_asks_where_a_url_is_set() -> None:
    """And nowhere else."""
    assert not Settings().webhooks()
    assert not build_hub(Settings()).hooks.connect
    hub = build_hub(Settings(webhook_subscribe=URL, webhook_secret=("s",)))
    assert hub.hooks.subscribe
    assert not hub.hooks.connect


def test_a_hook_has_the_time_that_a_webhook_may_take() -> None:
    """However long that is."""
    hub = build_hub(Settings(webhook_connect=URL, webhook_timeout=30.0, webhook_secret=("s",)))
    assert hub.options.hook_timeout > 30.0


@pytest.mark.parametrize(
    "url",
    ["backend", "ftp://backend/", "http://", "http:///path", "http://a:b:c/", "http://[::1", "http://a:0/"],
)
def test_a_url_that_cannot_be_called_is_turned_away(url: str) -> None:
    """Before a client finds out."""
    with pytest.raises(ValidationError, match="webhook_connect"):
        Settings(webhook_connect=url)
    with pytest.raises(ValueError, match="give http"):
        WebhookOptions(connect=url)


@pytest.mark.parametrize(
    "name",
    [
        "host",
        "Content-Length",
        "transfer-encoding",
        "x-hubbub-signature",
        "x-forwarded-for",
        "a b",
        "a:b",
        "é",
    ],
)
def test_a_header_that_is_not_the_clients_is_turned_away(name: str) -> None:
    """A client would say how the call is to be read, or who signs it."""
    with pytest.raises(ValidationError, match="webhook_headers"):
        Settings(webhook_headers=(name,))


@pytest.mark.parametrize(
    "wrong", [{"webhook_timeout": 0}, {"webhook_timeout": 31}, {"webhook_concurrency": 0}]
)
def test_bounds_are_numbers_that_bound(wrong: dict[str, Any]) -> None:
    """Not nothing, and not for ever."""
    with pytest.raises(ValidationError):
        Settings(**wrong)


def test_an_empty_secret_is_none() -> None:
    """Whoever signs with nothing signs nothing."""
    with pytest.raises(ValueError, match="secret"):
        WebhookOptions(connect=URL, secrets=("",))
