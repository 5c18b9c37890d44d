"""Cutting messages out of what arrives, however it was cut on the way."""

import asyncio
import base64
import contextlib
import hashlib
import json
import random
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from hubbub.client import Client, Message

from .scripted import AT_ONCE, Heard, client_tasks, run

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def frame(payload: bytes, first: int = 0x81) -> bytes:
    """One frame as a server sends it, with the shortest form of the length."""
    size = len(payload)
    if size < 126:
        return bytes((first, size)) + payload
    if size < 65536:
        return bytes((first, 126)) + struct.pack(">H", size) + payload
    return bytes((first, 127)) + struct.pack(">Q", size) + payload


def news(number: int, padding: int = 0) -> bytes:
    """The payload of a message with a number."""
    return json.dumps({"type": "news", "number": number, "padding": "x" * padding}).encode()


@asynccontextmanager
async def raw(
    early: bytes = b"", **options: object
) -> AsyncIterator[tuple[Client, asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connected client, and the server's end of its socket.

    early: what is sent in one piece with the greeting's end.
    """
    ends: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.Queue()
    greeting = frame(b'{"type":"connection_established","client_id":"ada"}')

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        key = next(line[19:] for line in head.split(b"\r\n") if line.lower().startswith(b"sec-websocket-key"))
        accept = base64.b64encode(hashlib.sha1(key.strip() + GUID).digest())
        writer.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n" + greeting + early
        )
        ends.put_nowait((reader, writer))

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    client = Client(
        f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}",
        proxy=None,
        backoff=AT_ONCE,
        close_timeout=0.05,
        **options,  # type: ignore[arg-type]
    )
    client.register_handler("news", heard := Heard())
    client.heard = heard  # type: ignore[attr-defined]
    async with server:
        try:
            await client.connect()
            reader, writer = await ends.get()
            yield client, reader, writer
        finally:
            await client.disconnect()
            with contextlib.suppress(asyncio.QueueEmpty):
                while True:
                    ends.get_nowait()[1].transport.abort()
            writer.transport.abort()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
    assert client_tasks() == []


async def numbers(client: Client, count: int) -> list[int]:
    """Those of the next news."""
    heard: Heard = client.heard  # type: ignore[attr-defined]
    found: list[Message] = [await heard.next() for _ in range(count)]
    return [message["number"] for message in found]


def test_what_comes_with_the_answer_to_the_handshake_is_not_lost() -> None:
    """The greeting itself among it."""

    async def scenario() -> None:
        async with raw(early=frame(news(1)) + frame(news(2))) as (client, _, _writer):
            assert await numbers(client, 2) == [1, 2]

    run(scenario())


@pytest.mark.parametrize("seed", range(6))
def test_frames_of_all_lengths_come_whole_however_they_were_split(seed: int) -> None:
    """Between any two bytes; control frames and fragments among them."""
    draw = random.Random(seed)

    async def scenario() -> None:
        async with raw() as (client, _, writer):
            stream = b""
            for number in range(60):
                payload = news(number, draw.choice((0, 10, 200, 70_000 if number % 20 == 0 else 50)))
                match draw.randrange(4):
                    case 0:  # in fragments, with a ping in the middle
                        middle = draw.randrange(1, len(payload))
                        stream += frame(payload[:middle], 0x01) + frame(b"hi", 0x89)
                        stream += frame(b"", 0x00) + frame(payload[middle:], 0x80)
                    case 1:
                        stream += frame(b"", 0x8A) + frame(payload)
                    case _:
                        stream += frame(payload)
            while stream:
                size = draw.choice((1, 2, 3, 7, 1000, 65536))
                writer.write(stream[:size])
                stream = stream[size:]
                await asyncio.sleep(0)
            assert await numbers(client, 60) == list(range(60))

    run(scenario())


@pytest.mark.parametrize(
    ("bad", "code"),
    [
        (bytes((0x81, 0x82)) + b"mask" + b"{}", 1002),
        (bytes((0xC1, 2)) + b"{}", 1002),
        (frame(b"{}", 0x80), 1002),
        (bytes((0x83, 0)), 1002),
        (bytes((0x81, 127)) + struct.pack(">Q", 2**40), 1009),
    ],
    ids=["masked", "reserved bit", "continues nothing", "unknown opcode", "too large"],
)
def test_a_server_that_breaks_the_rules_is_told_and_left(bad: bytes, code: int) -> None:
    """With the code that says how; what came before is heard."""

    async def scenario() -> None:
        async with raw(reconnect=False) as (client, reader, writer):
            writer.write(frame(news(1)) + bad + frame(news(2)))
            assert await numbers(client, 1) == [1]
            seen = b""
            while struct.pack(">H", code) not in unmasked(seen):
                piece = await reader.read(1000)
                assert piece
                seen += piece
            writer.close()
            await client.wait_closed()

    run(scenario())


def unmasked(data: bytes) -> bytes:
    """The payloads of the short frames of a client."""
    found = b""
    while len(data) >= 6 and len(data) >= 6 + (data[1] & 127):
        size, mask = data[1] & 127, data[2:6]
        found += bytes(byte ^ mask[index % 4] for index, byte in enumerate(data[6 : 6 + size]))
        data = data[6 + size :]
    return found


def test_what_waits_is_heard_before_the_end() -> None:
    """Where the connection ends while nothing is read."""

    async def scenario() -> None:
        async with raw(buffer=5, reconnect=False) as (client, _, writer):
            for number in range(50):
                writer.write(frame(news(number)))
            writer.write(frame(struct.pack(">H", 3503), 0x88))
            writer.close()
            assert await numbers(client, 50) == list(range(50))
            await client.wait_closed()

    run(scenario())
