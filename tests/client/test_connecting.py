"""The first connection: established, or a clear reason why not."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import trustme

from hubbub.client import (
    ClientError,
    ConnectError,
    ConnectTimeoutError,
    InvalidURLError,
    NotConnectedError,
    NotHubbubError,
    RefusedError,
    UnreachableError,
    WebSocketClient,
)

from .scripted import AT_ONCE, Heard, ScriptedServer, client_tasks, connected, run, scripted_server, until


def client_of(server: ScriptedServer, **options: object) -> WebSocketClient:
    return WebSocketClient(server.url, "alice", backoff=AT_ONCE, proxy=None, **options)  # type: ignore[arg-type]


@contextlib.asynccontextmanager
async def something_else(answer: Callable[[asyncio.StreamWriter], Awaitable[None]]) -> AsyncIterator[str]:
    """A TCP server that is no web server."""
    done = asyncio.Event()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await answer(writer)
        await done.wait()
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with server:
        yield f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        done.set()


def test_connect_returns_when_the_server_has_established_the_connection() -> None:
    """Not before, and then the client is connected under its id."""

    async def scenario() -> None:
        async with scripted_server(greets=False) as server:
            client = client_of(server)
            assert not client.is_connected
            connecting = asyncio.create_task(client.connect())
            peer = await server.peer()
            assert (peer.path, peer.query) == ("/ws/alice", "connect=first")
            assert not connecting.done()
            assert not client.is_connected

            await peer.greet()
            await connecting
            assert peer.hello == {"type": "connect", "id": peer.hello["id"]}
            assert client.is_connected
            assert client.client_id == "alice"
            await client.disconnect()

    run(scenario())


def test_the_handshake_is_plain_and_says_who_asks() -> None:
    """No compression, our own user agent, and the headers that were given."""

    async def scenario() -> None:
        async with connected(headers={"Authorization": "Bearer x"}) as (_, peer, _):
            assert "Sec-WebSocket-Extensions" not in peer.headers
            assert peer.headers["User-Agent"].startswith("hubbub/")
            assert peer.headers["Authorization"] == "Bearer x"

    run(scenario())


def test_a_client_without_an_id_takes_the_one_that_the_server_made() -> None:
    """It connects to `/ws`."""

    async def scenario() -> None:
        async with connected(None) as (client, peer, _):
            assert peer.path == "/ws"
            assert client.client_id == "made-by-the-server"

    run(scenario())


def test_the_greeting_reaches_the_handlers() -> None:
    """Handlers that were registered before miss nothing."""

    async def scenario() -> None:
        async with scripted_server() as server:
            client = client_of(server)
            heard = Heard()
            client.register_handler("*", heard)
            async with client:
                assert (await heard.next())["type"] == "connection_established"

    run(scenario())


def test_connecting_twice_is_connecting_once() -> None:
    """One after the other or both at the same time."""

    async def scenario() -> None:
        async with scripted_server() as server:
            client = client_of(server)
            await asyncio.gather(client.connect(), client.connect())
            await client.connect()
            assert server.connections == 1
            await client.disconnect()

    run(scenario())


def test_nobody_listening_is_said_at_once() -> None:
    """A port that is closed."""

    async def scenario() -> None:
        async with scripted_server() as server:
            url = server.url
        client = WebSocketClient(url, proxy=None)
        with pytest.raises(UnreachableError, match="Is the server running") as failure:
            await client.connect()
        assert isinstance(failure.value, ConnectionError)
        assert url in str(failure.value)
        assert not client.is_connected
        assert client_tasks() == []
        await client.wait_closed()

    run(scenario())


def test_a_host_name_that_nobody_knows_is_unreachable() -> None:
    """Even one that no resolver would take."""

    async def scenario() -> None:
        with pytest.raises(UnreachableError):
            await WebSocketClient("ws://a..b", proxy=None).connect()

    run(scenario())


@pytest.mark.parametrize("status", [400, 401, 403, 404, 429, 503])
def test_an_http_refusal_comes_with_its_status_and_reason(status: int) -> None:
    """The body of the answer is in the sentence."""

    async def scenario() -> None:
        async with scripted_server() as server:
            server.refuse(status, "the token\nhas expired", Retry_After="7")
            client = client_of(server)
            with pytest.raises(RefusedError, match=f"HTTP {status}: the token has expired") as failure:
                await client.connect()
            assert failure.value.status == status
            assert failure.value.reason == "the token has expired"
            assert failure.value.retry_after == 7.0
            assert server.connections == 0

    run(scenario())


def test_a_page_is_no_websocket() -> None:
    """A web server that answers 200 is the wrong one."""

    async def scenario() -> None:
        async with scripted_server() as server:
            server.refuse(200, "<html>")
            with pytest.raises(NotHubbubError, match="HTTP 200"):
                await client_of(server).connect()

    run(scenario())


def test_something_that_is_no_web_server_is_said_to_be_that() -> None:
    """A mail server, for one."""

    async def scenario() -> None:
        async def speak(writer: asyncio.StreamWriter) -> None:
            writer.write(b"220 mail.example.com ESMTP\r\n")
            writer.close()

        async with something_else(speak) as url:
            with pytest.raises(NotHubbubError, match="Is it the right port"):
                await WebSocketClient(url, proxy=None).connect()

    run(scenario())


def test_an_upgrade_that_proves_nothing_is_no_websocket() -> None:
    """The server must have read the handshake's key."""

    async def scenario() -> None:
        async def pretend(writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.1 101 Why Not\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")

        async with something_else(pretend) as url:
            with pytest.raises(NotHubbubError, match="does not answer like a WebSocket server"):
                await WebSocketClient(url, proxy=None).connect()

    run(scenario())


def test_a_proxy_that_refuses_is_named_as_the_trouble() -> None:
    """It is not the server that said no."""

    async def scenario() -> None:
        async def refuse(writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.1 407 Who Are You\r\nContent-Length: 0\r\n\r\n")

        async with something_else(refuse) as url:
            proxy = url.replace("ws://", "http://")
            with pytest.raises(UnreachableError, match=r"proxy on the way .* HTTP 407"):
                await WebSocketClient("wss://push.example.com", proxy=proxy).connect()

    run(scenario())


def test_a_secure_connection_needs_a_certificate_that_is_trusted() -> None:
    """Trusted by the context that was given, or by the machine."""
    authority = trustme.CA()
    server_tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost", "127.0.0.1").configure_cert(server_tls)
    client_tls = ssl.create_default_context()
    authority.configure_trust(client_tls)

    async def scenario() -> None:
        async with scripted_server(tls=server_tls) as server:
            secure = server.url.replace("ws://", "wss://")
            async with WebSocketClient(secure, ssl=client_tls, proxy=None) as client:
                assert client.is_connected
            with pytest.raises(UnreachableError, match=r"certificate of .* is not trusted"):
                await WebSocketClient(secure, proxy=None).connect()
            with pytest.raises(InvalidURLError, match="wss://"):
                WebSocketClient(server.url, ssl=client_tls)
        async with scripted_server() as plain:
            with pytest.raises(UnreachableError, match="speak TLS"):
                await WebSocketClient(plain.url.replace("ws://", "wss://"), proxy=None).connect()

    run(scenario())


def test_silence_is_a_timeout() -> None:
    """Of a server that accepts and says nothing."""

    async def scenario() -> None:
        async def say_nothing(writer: asyncio.StreamWriter) -> None:
            pass

        async with something_else(say_nothing) as url:
            with pytest.raises(ConnectTimeoutError, match=r"within 0\.05 seconds") as failure:
                await WebSocketClient(url, proxy=None, open_timeout=0.05).connect()
            assert isinstance(failure.value, TimeoutError)
            assert client_tasks() == []

    run(scenario())


def test_a_websocket_that_does_not_greet_is_a_timeout_too() -> None:
    """And it is closed."""

    async def scenario() -> None:
        async with scripted_server(greets=False) as server:
            with pytest.raises(ConnectTimeoutError):
                await client_of(server, open_timeout=0.05).connect()
            assert await (await server.peer()).gone() == 1000

    run(scenario())


@pytest.mark.parametrize(
    "frame",
    ['{"type":"welcome"}', '{"type":"connection_established"}', "hello", b"\xff\xfe", "[]", '{"type":7}'],
)
def test_a_server_with_another_greeting_is_no_hubbub_server(frame: str | bytes) -> None:
    """Whatever it says."""

    async def scenario() -> None:
        async with scripted_server(greets=False) as server:
            connecting = asyncio.create_task(client_of(server).connect())
            await (await server.peer()).say_raw(frame)
            with pytest.raises(NotHubbubError, match="Is it a Hubbub server"):
                await connecting

    run(scenario())


def test_a_close_in_place_of_a_greeting_is_a_refusal_with_its_code() -> None:
    """As a server does that looks at the token first."""

    async def scenario() -> None:
        async with scripted_server(greets=False) as server:
            connecting = asyncio.create_task(client_of(server).connect())
            await (await server.peer()).hang_up(3500, "invalid token")
            with pytest.raises(RefusedError, match="3500 invalid token") as failure:
                await connecting
            assert (failure.value.code, failure.value.reason) == (3500, "invalid token")
            assert not failure.value.reconnect

    run(scenario())


def test_a_disconnect_or_an_error_in_place_of_a_greeting_is_a_refusal() -> None:
    """Said in the server's words."""

    async def scenario() -> None:
        async with scripted_server(greets=False) as server:
            connecting = asyncio.create_task(client_of(server).connect())
            peer = await server.peer()
            await peer.say("disconnect", code=3001, reason="shutdown", reconnect=True, retry_after=2)
            with pytest.raises(RefusedError, match="3001 shutdown") as failure:
                await connecting
            assert failure.value.reconnect
            assert failure.value.retry_after == 2.0

            connecting = asyncio.create_task(client_of(server).connect())
            await (await server.peer()).say("error", code=101, message="unauthorized")
            with pytest.raises(RefusedError, match="unauthorized"):
                await connecting

    run(scenario())


def test_a_first_attempt_that_failed_can_be_repeated() -> None:
    """By calling connect again."""

    async def scenario() -> None:
        async with scripted_server() as server:
            server.refuse(503, "starting")
            client = client_of(server)
            with pytest.raises(RefusedError):
                await client.connect()
            with pytest.raises(NotConnectedError, match="starting"):
                await client.send_message("ping")
            await client.connect()
            assert client.is_connected
            await client.disconnect()

    run(scenario())


def test_the_arguments_are_looked_at_when_the_client_is_made() -> None:
    """Nothing wrong waits for the first connection."""
    with pytest.raises(InvalidURLError):
        WebSocketClient("localhost:8000")
    with pytest.raises(InvalidURLError, match="give one of them"):
        WebSocketClient("ws://localhost/ws/alice", "bob")
    with pytest.raises(ValueError, match="client_id is empty"):
        WebSocketClient("ws://localhost", "")
    with pytest.raises(ValueError, match="ping_interval"):
        WebSocketClient("ws://localhost", ping_interval=0)
    assert WebSocketClient("ws://localhost/ws/alice").client_id == "alice"
    assert WebSocketClient("ws://localhost/ws/alice", "alice").client_id == "alice"


def test_everything_the_client_raises_is_a_client_error() -> None:
    """One except clause is enough."""
    for error in (InvalidURLError, NotConnectedError, ConnectError):
        assert issubclass(error, ClientError)


def test_the_repr_says_who_and_where() -> None:
    """And nothing secret."""

    async def scenario() -> None:
        async with connected() as (client, _, server):
            assert repr(client) == f"<Client {server.url}/ws 'alice': connected>"
            await client.disconnect()
            await until(lambda: "disconnected" in repr(client))

    run(scenario())
