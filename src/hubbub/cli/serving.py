"""What `hubbub serve` does: check, listen, say where to look, serve until a signal ends it."""

import contextlib
import logging
import os
import signal
import socket
import ssl
import sys
from collections.abc import Iterator, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any, Final

from rich.text import Text
from uvicorn.config import LOGGING_CONFIG
from uvicorn.logging import DefaultFormatter

from hubbub import __version__
from hubbub.brokers.base import BadBroker
from hubbub.cli.ends import SaidNo, WrongUsage
from hubbub.cli.output import complain, console
from hubbub.cli.target import load
from hubbub.hub import Hub
from hubbub.server import (
    CannotServe,
    Server,
    build_app,
    check_app_exposure,
    check_broker,
    check_exposure,
    find_doors,
    listen,
)
from hubbub.settings import Settings
from hubbub.transports.handshake import Doors

AMISS: Final = "amiss"
"""Among signs, the name of one that says what is wrong."""


def run(settings: Settings, target: str | None, *, broker_label: str) -> None:
    """Serve the standalone app, or the app that `target` names, in this process until a signal ends it."""
    with in_one_line(settings, broker_label):
        check_tls(settings)
        app = open_app(settings, target)
        listener = listen(settings.host, settings.port)
    serve_app(SignpostedServer(app, settings, listener, target), settings, target)


@contextlib.contextmanager
def in_one_line(settings: Settings, broker_label: str) -> Iterator[None]:
    """Have what is wrong with the settings said in the words of the command line."""
    try:
        yield
    except BadBroker as exc:
        raise WrongUsage(f"{broker_label}: {exc}") from exc
    except CannotServe as exc:
        raise WrongUsage(str(exc)) from exc
    except UnicodeError as exc:
        raise WrongUsage(f"--host is {settings.host!r}, which is no host name") from exc


def open_app(settings: Settings, target: str | None) -> Any:
    """The standalone app, or the one that `target` names. Raises what `in_one_line` says."""
    if target is not None:
        app = load(target)
        check_app_exposure(settings, app)
        return app
    check_exposure(settings)
    check_broker(settings)
    return build_app(settings)


def serve_app(server: Server, settings: Settings, target: str | None, *, speaker: str = "") -> None:
    """Run a server until a signal ends it; its log lines begin with `speaker`."""
    set_up_logging(settings, server, speaker)
    # uvicorn, when it has stopped, raises the signal again that stopped it; having obeyed it is no failure.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        server.serve_forever()
    except SystemExit as exc:
        if exc.code:  # uvicorn's way to say that the lifespan failed; it has logged why
            raise SaidNo(f"{target or 'the server'} did not start") from exc


def check_tls(settings: Settings) -> None:
    """Refuse TLS files that are missing, unreadable or do not belong together."""
    cert, key = settings.tls_cert, settings.tls_key
    if cert is None:
        if key is not None:
            raise CannotServe("tls_key is given without tls_cert; give --tls-cert too")
        return
    for name, file in {"tls_cert": cert, "tls_key": key}.items():
        if file is not None:
            _check_readable(name, file)
    try:
        # An empty passphrase, so that an encrypted key is refused here and nobody is asked for one later.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(cert, key, password="")
    except (ssl.SSLError, ValueError) as exc:
        if key is None:
            raise CannotServe(f"tls_cert {cert} holds no private key; give --tls-key too") from exc
        raise CannotServe(
            f"tls_cert {cert} and tls_key {key} are no certificate and its unencrypted key, both as PEM"
        ) from exc


def _check_readable(name: str, file: str) -> None:
    try:
        Path(file).open("rb").close()
    except OSError as exc:
        raise CannotServe(f"{name} {file} cannot be read: {exc.strerror}") from exc


def set_up_logging(settings: Settings, server: Server | None = None, speaker: str = "") -> None:
    """Our own log lines beside uvicorn's, and of uvicorn's only what matters unless a level was asked for.

    Where several processes write, `speaker` says which of them it is.
    """
    colours = False if os.environ.get("NO_COLOR") else None
    named = f"%(levelprefix)s {speaker}: " if speaker else "%(levelprefix)s "
    if server is not None and (speaker or colours is False):
        server.config.use_colors = colours
        server.config.log_config = config = deepcopy(LOGGING_CONFIG)
        for formatter in config["formatters"].values():
            formatter["fmt"] = formatter["fmt"].replace("%(levelprefix)s ", named)
        server.config.configure_logging()
    ours = logging.getLogger("hubbub")
    ours.setLevel(settings.log_level.upper())
    if not ours.handlers and not logging.getLogger().handlers:  # an app may have set up its own
        handler = logging.StreamHandler()
        handler.setFormatter(DefaultFormatter(f"{named}%(message)s", use_colors=colours))
        ours.addHandler(handler)
    if "log_level" not in settings.model_fields_set:
        logging.getLogger("uvicorn.error").setLevel(logging.WARNING)


class SignpostedServer(Server):
    """The server, which says where to look as soon as it can be reached."""

    def __init__(self, app: Any, settings: Settings, listener: socket.socket, target: str | None) -> None:
        super().__init__(app, settings, listener)
        self._settings = settings
        self._target = target

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        address = address_of(self._listener)
        announce(self._target, address, read_signs(self._settings, self._target, self._app, address))

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        if self.server_state.connections:
            say_stopping()
        await super().shutdown(sockets)
        if self.force_exit:  # the lifespan is cut off then, and its traceback would tell nobody anything
            logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)


class _Paths(Doors):
    """Doors that are only looked at."""

    def __init__(self) -> None:
        super().__init__()
        self.all: list[str] = []

    def open(self, path: str, hub: Hub) -> None:
        self.all.append(path)


def address_of(listener: socket.socket) -> str:
    """Where a listener is, as a URL of this machine has it."""
    host, port = listener.getsockname()[:2]
    return f"{_in_url(host)}:{port}"


def announce(target: str | None, address: str, signs: Sequence[Sequence[str]], *, workers: int = 1) -> None:
    """Say where to look. What is amiss goes to stderr."""
    serving = f" with {target}" if target else ""
    crew = f", {workers} workers" if workers > 1 else ""
    said = Text.assemble(("Hubbub", "bold"), f" {__version__} on {address}{serving}{crew}\n")
    for name, text in signs:
        if name == AMISS:
            complain(text)
        else:
            said.append_text(Text.assemble("  ", (f"{name:<9}", "cyan"), f"{text}\n"))
    say(said + Text("Ctrl+C stops.", "dim"))


def say_stopping() -> None:
    """Where clients have to be waited for."""
    say(Text("Stopping; Ctrl+C again does not wait for clients."))


def say(text: Text) -> None:
    """On stdout, where somebody may read it; a server goes on when nobody does."""
    with contextlib.suppress(SystemExit):  # rich's way to say that the pipe is broken
        console().print(text)


def read_signs(settings: Settings, target: str | None, app: Any, address: str) -> list[tuple[str, str]]:
    """What there is and where, of an app whose lifespan has begun."""
    return list(_signs(settings, target, app, address))


def _signs(settings: Settings, target: str | None, app: Any, address: str) -> Iterator[tuple[str, str]]:
    secure = "s" if settings.tls_cert else ""
    http, ws = f"http{secure}://{address}", f"ws{secure}://{address}"
    if target is None and settings.demo:
        yield "page", f"{http}/"
    paths = _Paths()
    find_doors(app, paths)
    for path in paths.all:
        yield "connect", f"{ws}{path}"
    if docs := "/docs" if target is None else getattr(app, "docs_url", None):
        yield "docs", f"{http}{docs}"
    for path in paths.all:
        prefix = path.removesuffix("/ws")
        yield "stats", f"{http}{prefix}/stats"
        yield "metrics", f"{http}{prefix}/metrics"
    if not paths.all:
        yield AMISS, _no_door(target)


def _no_door(target: str | None) -> str:
    if not Hub.running:
        return f"no hub is running in {target}; give the app its lifespan: FastAPI(lifespan=hub.lifespan)"
    return f"no hub's router was found in {target}; its WebSockets go without the fast transport"


def _in_url(host: str) -> str:
    """A host as a URL of this machine has it."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104
    return f"[{host}]" if ":" in host else host
