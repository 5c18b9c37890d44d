"""`hubbub serve module:attribute`."""

from pathlib import Path

import pytest
from websockets.sync.client import connect

from .conftest import Command
from .running import Server, hubbub

APP = '''
from fastapi import FastAPI, WebSocket

from hubbub.hub import Hub

hub = Hub()
app = FastAPI(lifespan=hub.lifespan)
app.include_router(hub.router, prefix="/push")


@app.websocket("/echo")
async def echo(websocket: WebSocket) -> None:
    await websocket.accept()
    async for text in websocket.iter_text():
        await websocket.send_text(f"echo {text}")


@app.get("/transports")
async def transports() -> list[str]:
    return [type(connection.transport).__name__ for connection in hub.connections.of()]


async def wrapped(scope, receive, send):
    await app(scope, receive, send)


def factory() -> FastAPI:
    return app


def wsgi(environ: object, start_response: object) -> None:
    """No ASGI app."""
'''

WITHOUT_LIFESPAN = """
from fastapi import FastAPI

from hubbub.hub import Hub

app = FastAPI()
app.include_router(Hub().router)
"""

BROKEN_LIFESPAN = """
from contextlib import asynccontextmanager

from fastapi import FastAPI


@asynccontextmanager
async def lifespan(app):
    raise RuntimeError("no database")
    yield

app = FastAPI(lifespan=lifespan)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where somebody keeps an app."""
    folder = tmp_path_factory.mktemp("project")
    for name, text in {
        "chat.py": APP,
        "lifeless.py": WITHOUT_LIFESPAN,
        "broken.py": BROKEN_LIFESPAN,
        "needy.py": "import no_such_thing",
        "raises.py": "1 / 0",
        "unfinished.py": "app = (",
        "elsewhere.py": "from hubbub.hub import Hub\nhub = Hub('telepathy://x')",
    }.items():
        (folder / name).write_text(text)
    return folder


@pytest.fixture
def in_folder(folder: Path, command: Command, monkeypatch: pytest.MonkeyPatch) -> Command:
    """The command, run there."""
    monkeypatch.chdir(folder)
    return command


def test_the_hub_has_the_fast_transport_beside_the_apps_own_sockets(folder: Path) -> None:
    """The current directory is where the module is looked for."""
    with Server("chat:app", cwd=folder) as server:
        assert "with chat:app" in server.out
        assert "page" not in server.out
        assert server.err == ""
        for path in ("/push/stats", "/push/metrics", "/docs"):
            assert f"{server.url}{path}\n" in server.out
            assert server.get(path).status_code == 200
        ws = f"ws://{server.address}"
        assert f"{ws}/push/ws\n" in server.out
        with connect(f"{ws}/push/ws/alice", proxy=None) as client, connect(f"{ws}/echo", proxy=None) as other:
            assert '"client_id":"alice"' in client.recv()
            other.send("hello")
            assert other.recv() == "echo hello"
            assert server.get("/transports").json() == ["WebSocketTransport"]
        assert server.stop() == 0


def test_the_commands_reach_a_hub_that_is_mounted_below_a_path(folder: Path) -> None:
    """By its URL."""
    with Server("chat:app", cwd=folder) as server:
        url = f"{server.url}/push"
        assert hubbub("publish", "--url", url, "lobby", "hello").code == 0
        assert '"total_connections":0' in hubbub("stats", "--json", "--url", url).out


def test_settings_of_the_server_apply(folder: Path) -> None:
    """Whose app it is matters not."""
    with Server("chat:app", "--access-log", cwd=folder) as server:
        server.get("/push/healthz")
        server.says("/push/healthz HTTP")


def test_settings_of_a_hub_are_refused(in_folder: Command) -> None:
    """They would change nothing; an API key that is none would be worst."""
    refused = in_folder("serve", "chat:app", "--api-keys", "secret", "--history-size", "9")
    assert refused.code == 2
    assert "--api-keys, --history-size would change nothing in chat:app" in refused.complaint


def test_an_app_is_not_exposed_by_accident_either(in_folder: Command) -> None:
    """The same rule for every app."""
    refused = in_folder("serve", "chat:app", "--host", "0.0.0.0")
    assert refused.code == 2
    assert "--insecure" in refused.complaint


def test_a_hub_that_does_not_run_is_pointed_out(folder: Path) -> None:
    """The lifespan is easily forgotten."""
    with Server("lifeless:app", cwd=folder) as server:
        server.complains("no hub is running in lifeless:app; give the app its lifespan")


def test_a_hub_that_the_fast_transport_does_not_find_is_pointed_out(folder: Path) -> None:
    """Its WebSockets work all the same."""
    with Server("chat:wrapped", cwd=folder) as server:
        server.complains("chat:wrapped; its WebSockets go without the fast transport")
        with connect(f"ws://{server.address}/push/ws/alice", proxy=None) as client:
            assert '"client_id":"alice"' in client.recv()
        assert server.stop() == 0


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("chat", ("'chat'", "module:attribute")),
        ("chat:", ("'chat:'", "module:attribute")),
        (":app", ("':app'", "module:attribute")),
        ("./chat:app", ("module:attribute",)),
        ("chatt:app", ("no module 'chatt'",)),
        ("chat.py:app", ("no module 'chat.py'", "main:app")),
        ("chat:ap", ("'chat' has no attribute 'ap'",)),
        ("chat:app.nope", ("no attribute 'app.nope'",)),
        ("chat:hub", ("Hub", "no ASGI app", "includes its router")),
        ("chat:FastAPI", ("the class FastAPI", "no ASGI app")),
        ("chat:factory", ("the function factory()", "no ASGI app")),
        ("chat:wsgi", ("the function wsgi()", "no ASGI app")),
        ("chat:__name__", ("str", "no ASGI app")),
        ("elsewhere:app", ("elsewhere", "'telepathy'", "memory://")),
    ],
)
def test_what_is_no_app_is_one_line(in_folder: Command, target: str, words: tuple[str, ...]) -> None:
    """And exit code 2."""
    refused = in_folder("serve", "--port", "0", target)
    assert (refused.code, refused.out) == (2, "")
    for word in words:
        assert word in refused.complaint


@pytest.mark.parametrize(
    ("module", "where", "what"),
    [
        ("needy", "import no_such_thing", "ModuleNotFoundError: No module named 'no_such_thing'"),
        ("raises", "1 / 0", "ZeroDivisionError"),
        ("unfinished", "app = (", "SyntaxError"),
    ],
)
def test_an_app_that_fails_shows_its_author_where(
    in_folder: Command, module: str, where: str, what: str
) -> None:
    """With its own lines in the traceback and none of ours; exit code 1."""
    refused = in_folder("serve", "--port", "0", f"{module}:app")
    assert refused.code == 1
    *trace, last = refused.err.splitlines()
    assert last.startswith(f"hubbub: importing {module} failed: {what}")
    assert any(where in line for line in trace)
    assert not any("target.py" in line or "importlib" in line for line in trace)


def test_an_app_whose_lifespan_fails(folder: Path) -> None:
    """Exit code 1."""
    refused = hubbub("serve", "--port", "0", "broken:app", cwd=folder)
    assert (refused.code, refused.out) == (1, "")
    assert "RuntimeError: no database" in refused.err
    assert refused.err.splitlines()[-1] == "hubbub: broken:app did not start"
