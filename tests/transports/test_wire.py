"""TLS and compression on the fast transport."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from hubbub.hub import Options

from .clients import client, trusting
from .serving import FAST, Running, serving


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def secure(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server behind TLS."""
    folder: Path = tmp_path_factory.mktemp("tls")
    certificate = authority.issue_cert("127.0.0.1")
    certificate.cert_chain_pems[0].write_to_path(folder / "cert.pem")
    certificate.private_key_pem.write_to_path(folder / "key.pem")
    with serving(FAST, tls_cert=str(folder / "cert.pem"), tls_key=str(folder / "key.pem")) as running:
        yield running


def test_members_chat_over_tls(secure: Running, authority: trustme.CA) -> None:
    """The same over wss, large and small, in order."""
    tls = trusting(authority)
    with client(secure, "a", ssl=tls) as a, client(secure, "b", ssl=tls) as b:
        a.join("g")
        b.join("g")
        for number in range(50):
            a.send("chat_message", group_name="g", message=[number, "x" * 40_000])
        for member in (a, b):
            assert [member.receive("chat_message")["message"][0] for _ in range(50)] == list(range(50))


@pytest.fixture(scope="module")
def compressing() -> Iterator[Running]:
    """A server that offers permessage-deflate."""
    with serving(FAST, Options(compression=True)) as running:
        yield running


def test_messages_are_compressed_both_ways(compressing: Running) -> None:
    """What is negotiated is used, and members without it get the same messages plain."""
    with client(compressing, "a", compression="deflate") as a, client(compressing, "b") as b:
        assert "permessage-deflate" in a.websocket.response.headers["Sec-WebSocket-Extensions"]
        assert "Sec-WebSocket-Extensions" not in b.websocket.response.headers
        a.join("g")
        b.join("g")
        for text in ("short", "long " * 2000, "é" * 500):
            a.send("chat_message", group_name="g", message=text)
            assert a.receive("chat_message")["message"] == text
            assert b.receive("chat_message")["message"] == text


@pytest.mark.parametrize("bits", [8, 9, 10, 15])
def test_any_window_works(compressing: Running, bits: int) -> None:
    """Clients that ask for a small window get what they can inflate."""
    from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory

    offer = ClientPerMessageDeflateFactory(server_max_window_bits=bits, client_max_window_bits=True)
    with client(compressing, compression=None, extensions=[offer]) as a:
        a.join("g")
        text = "".join(chr(97 + (n * n) % 26) for n in range(8000))
        for _ in range(3):
            compressing.do(compressing.hub.publish("g", text))
            assert a.receive("group_message")["data"] == text


def test_a_compression_bomb_is_refused(compressing: Running) -> None:
    """The bound on a message holds after decompression: 1009."""
    with client(compressing, compression="deflate") as a:
        a.websocket.send("x" * 1_000_000)
        with pytest.raises(Exception, match="1009"):
            a.websocket.recv(timeout=10)
