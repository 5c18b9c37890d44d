"""Over TLS, which a proxy before the server speaks here."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trustme

from hubbub.brokers.base import BrokerUnavailable

from ..servers.shared import standalone
from .faces import FACES, opened, run, under_prefix


@asynccontextmanager
async def speaking_tls(authority: trustme.CA, port: int) -> AsyncIterator[str]:
    """The address of a proxy that speaks TLS with its clients, and plainly with the server on this port."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    ways: set[asyncio.Task[None]] = set()

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
        writer.transport.abort()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port)
        for way in (pass_on(reader, far_writer), pass_on(far_reader, writer)):
            ways.add(asyncio.create_task(way))

    listener = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    try:
        yield f"localhost:{listener.sockets[0].getsockname()[1]}"
    finally:
        listener.close()
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)


@pytest.mark.parametrize("face", FACES)
def test_the_server_s_certificate_is_checked(face: str, tmp_path: Path) -> None:
    """Against the authority that the URL names; connections are kept as others are."""
    authority, other = trustme.CA(), trustme.CA()
    for name, each in (("ours", authority), ("other", other)):
        each.cert_pem.write_to_path(tmp_path / f"{name}.pem")

    async def scenario() -> None:
        async with speaking_tls(authority, standalone().port) as address:
            url = under_prefix(f"rediss://{address}", f"&deadline=1&tls_ca={tmp_path}")
            async with opened(face, f"{url}/ours.pem") as publisher:
                offsets = [await publisher.insist("orders:1", "x" * 100_000 * n) for n in range(3)]
                assert [position.offset for position in offsets] == [1, 2, 3]
            async with opened(face, f"{url}/other.pem") as publisher:
                with pytest.raises(BrokerUnavailable, match="certificate verify failed"):
                    await publisher.publish("orders:1", 1)

    run(scenario())
