"""Documents of others: where they may lead us, and how long we wait for them."""

import asyncio

import pytest

from hubbub.auth.fetching import CannotFetch, check_outside, fetch, max_age

from .making import run


def test_a_server_that_drips_is_given_up() -> None:
    """What counts is the time till the last byte."""

    async def drip(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n")
        try:
            while not writer.is_closing():
                writer.write(b" ")
                await writer.drain()
                await asyncio.sleep(0.01)
        except ConnectionError:
            pass
        finally:
            writer.close()

    async def scenario() -> None:
        server = await asyncio.start_server(drip, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(CannotFetch, match="did not answer within"):
            await fetch(f"http://127.0.0.1:{port}/", patience=0.2)
        server.close()
        await server.wait_closed()

    run(scenario())


def test_the_age_of_an_answer_is_read() -> None:
    """Of what servers send."""
    assert max_age("public, max-age=60") == 60
    assert max_age('Max-Age = "60", private') == 60
    assert max_age("s-maxage=60") is None
    assert max_age("no-cache") == 0
    assert max_age("max-age=-1") is None
    assert max_age("max-age=" + "9" * 30) == 999999999
    assert max_age("") is None


PUBLIC = "https://1.1.1.1"
INSIDE = [
    "https://127.0.0.1/jwks",
    "https://[::1]/jwks",
    "https://localhost/jwks",
    "https://10.0.0.1/jwks",
    "https://192.168.1.1/jwks",
    "https://172.16.0.1/jwks",
    "https://100.64.0.1/jwks",
    "https://169.254.169.254/latest/meta-data",
    "https://0.0.0.0/jwks",
    "https://[::ffff:127.0.0.1]/jwks",
    "https://[fe80::1]/jwks",
    "https://[fd00::1]/jwks",
    "https://[64:ff9b::7f00:1]/jwks",
    "https://[2002:7f00:1::]/jwks",
    "https://2130706433/jwks",
    "https://0x7f.1/jwks",
    "https://224.0.0.1/jwks",
]


@pytest.mark.parametrize("url", INSIDE)
def test_a_document_leads_nobody_inside(url: str) -> None:
    """However the address is written; where the issuer is inside itself, its neighbours are fine."""

    async def scenario() -> None:
        with pytest.raises(CannotFetch, match=r"not public|has no address"):
            await check_outside(url, "jwks_uri", base=PUBLIC)
        if "169.254" in url or "fe80" in url:
            with pytest.raises(CannotFetch, match="not public"):
                await check_outside(url, "jwks_uri", base="https://10.1.1.1")
        else:
            assert await check_outside(url, "jwks_uri", base="https://10.1.1.1") == url

    run(scenario())


def test_a_document_leads_outside_by_tls_alone() -> None:
    """Or to where it came from."""

    async def scenario() -> None:
        assert await check_outside("https://8.8.8.8/jwks", "jwks_uri", base=PUBLIC)
        assert await check_outside("http://127.0.0.1:8/jwks", "jwks_uri", base="http://127.0.0.1:8/realm")
        for url in (
            "http://8.8.8.8/jwks",
            "http://127.0.0.1:9/jwks",
            "ftp://8.8.8.8/jwks",
            "file:///etc/passwd",
            "https://",
            "https://user:pw@8.8.8.8/",
            "nonsense",
            "https://[::1",
            "https://8.8.8.8:99999/",
            "https://8.8.8.8\\@127.0.0.1/",
            "https://127.0.0.1\\@8.8.8.8/",
            "https://①②⑦.⓪.⓪.①/",
            " https://127.0.0.1",
            "https://8.8.8.8/\n",
            "https://\0/",
        ):
            with pytest.raises(CannotFetch):
                await check_outside(url, "jwks_uri", base="http://127.0.0.1:8")

    run(scenario())
