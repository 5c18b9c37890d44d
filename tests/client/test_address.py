"""From the URL that people write to the one on the wire."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.uri import parse_uri

from hubbub.client import ClientError, InvalidURLError
from hubbub.client.address import Address


@pytest.mark.parametrize(
    ("server_url", "client_id", "expected"),
    [
        ("ws://localhost:8000", "alice", "ws://localhost:8000/ws/alice"),
        ("ws://localhost:8000/", "alice", "ws://localhost:8000/ws/alice"),
        ("ws://localhost:8000", None, "ws://localhost:8000/ws"),
        ("ws://localhost:8000/ws", "alice", "ws://localhost:8000/ws/alice"),
        ("ws://localhost:8000/ws/", None, "ws://localhost:8000/ws"),
        ("wss://example.com/push", "alice", "wss://example.com/push/ws/alice"),
        ("http://example.com", "alice", "ws://example.com/ws/alice"),
        ("HTTPS://example.com", "alice", "wss://example.com/ws/alice"),
        ("ws://[::1]:8000", "alice", "ws://[::1]:8000/ws/alice"),
        ("ws://localhost/?tenant=7", "alice", "ws://localhost/ws/alice?tenant=7"),
        ("ws://localhost", "a/b c?d#é", "ws://localhost/ws/a%2Fb%20c%3Fd%23%C3%A9"),
        ("ws://bücher.example/é", "é", "ws://xn--bcher-kva.example/%C3%A9/ws/%C3%A9"),
    ],
)
def test_a_client_connects_to_ws_and_its_id(server_url: str, client_id: str | None, expected: str) -> None:
    """The path is `/ws/{client_id}` below what the URL names, or `/ws` without an id."""
    assert Address.parse(server_url).url(client_id) == expected


def test_a_url_may_name_the_client_itself() -> None:
    """`/ws/{client_id}` is taken apart again."""
    address = Address.parse("ws://localhost:8000/ws/a%20b")

    assert address.client_id == "a b"
    assert address.url(address.client_id) == "ws://localhost:8000/ws/a%20b"


@given(st.text(min_size=1))
def test_any_client_id_survives_the_way_into_the_url_and_back(client_id: str) -> None:
    """Quoting loses nothing, and the library that connects leaves it alone."""
    url = Address.parse("ws://localhost").url(client_id)

    assert Address.parse(url).client_id == client_id
    assert parse_uri(url).resource_name == url.removeprefix("ws://localhost")


@pytest.mark.parametrize(
    ("server_url", "hint"),
    [
        ("", "ws:// or wss://"),
        ("localhost:8000", "ws:// or wss://"),
        ("ftp://localhost", "ws:// or wss://"),
        ("//localhost", "ws:// or wss://"),
        ("ws://", "host"),
        ("ws://:8000", "host"),
        ("ws://localhost:0", "port"),
        ("ws://localhost:http", "cannot be read"),
        ("ws://localhost:99999", "cannot be read"),
        ("ws://[::1", "cannot be read"),
        ("ws://local host", "space"),
        (" ws://localhost", "space"),
        ("ws://localhost\n", "control character"),
        ("ws://alice@localhost", "password"),
        ("ws://localhost/#here", "fragment"),
        ("ws://" + "é" * 70, "host name"),
    ],
)
def test_a_wrong_url_is_refused_with_what_would_be_right(server_url: str, hint: str) -> None:
    """At once, as a ValueError, in a sentence."""
    with pytest.raises(InvalidURLError, match=hint) as refusal:
        Address.parse(server_url)

    assert isinstance(refusal.value, ValueError)
    assert isinstance(refusal.value, ClientError)


def test_what_people_see_of_an_address_holds_no_secret() -> None:
    """Passwords and queries stay out of logs and errors."""
    assert str(Address.parse("wss://alice:secret@example.com/?token=secret")) == "wss://example.com/ws"
