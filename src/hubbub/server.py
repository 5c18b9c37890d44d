"""The composition root: settings become a hub, an app and a server."""

import asyncio
import ctypes
import errno
import gc
import ipaddress
import logging
import socket
from typing import Any, Final

import uvicorn
from fastapi import FastAPI
from fastapi_offline import FastAPIOffline
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import NoMatchFound

from hubbub import __version__
from hubbub.auth import ApiKeys, BadKeys, Verifier
from hubbub.brokers.base import BrokerUnavailable, open_broker
from hubbub.http.app import socket_route
from hubbub.http.demo import NAMESPACE, demo_namespace, mount_demo
from hubbub.hub import Hub
from hubbub.settings import Settings
from hubbub.transports.arrival import http_protocol
from hubbub.transports.handshake import Doors
from hubbub.webhooks import attach_webhooks
from hubbub.webhooks.openapi import webhooks_router

logger = logging.getLogger("hubbub")

BACKLOG = 4096
ACCEPTS = 4
"""Connections that are accepted in one turn of the event loop."""
CROWD = 1000
"""Connections that must have gone before memory is given back."""
TICKS_A_SECOND = 10  # uvicorn's
OPEN_CLIENTS: Final = "clients are not authenticated"
OPEN_API: Final = "the API needs no key"


class CannotServe(Exception):
    """The server cannot start; the sentence says why and what to do."""


def build_hub(settings: Settings) -> Hub:
    """The hub of a server of its own."""
    namespaces = settings.namespaces()
    if settings.demo:
        namespaces.setdefault(NAMESPACE, demo_namespace(settings.default_namespace()))
    hub = Hub(
        settings.broker_url(),
        namespaces=namespaces,
        default_namespace=settings.default_namespace(),
        options=settings.options(),
        auth=read_verifier(settings),
    )
    hub.api_keys = read_keys(settings)
    attach_webhooks(hub, settings.webhooks())
    return hub


def read_keys(settings: Settings) -> ApiKeys:
    """The keys of the server API. Raises `CannotServe` for a file of them that is not good."""
    try:
        return settings.keys()
    except BadKeys as exc:
        raise CannotServe(f"api_keys_file: {exc}") from exc


def read_verifier(settings: Settings) -> Verifier | None:
    """What verifies tokens, None without any. Raises `CannotServe` for settings of it that make no sense."""
    try:
        return settings.verifier()
    except ValueError as exc:
        raise CannotServe(f"tokens: {exc}") from exc


def check_broker(settings: Settings) -> None:
    """Make sure that the broker can be reached, unless it is to be waited for.

    Raises `CannotServe` within three seconds where it cannot, and `BadBroker` for a URL that is none.
    """
    _, presence = open_broker(settings.broker_url())
    if settings.wait_for_broker:
        return

    async def reach() -> None:
        try:
            await presence.start("check")
        finally:
            await presence.stop()

    try:
        asyncio.run(reach())
    except BrokerUnavailable as exc:
        raise CannotServe(
            f"the broker cannot be reached: {exc}; start it, or give --wait-for-broker to wait for it"
        ) from exc


def build_app(settings: Settings) -> FastAPI:
    """The app of a server of its own: the hub's routes, and the demo page where wanted."""
    hub = build_hub(settings)
    app: FastAPI = FastAPIOffline(title="Hubbub", version=__version__, lifespan=hub.lifespan, redoc_url=None)
    app.webhooks.routes += webhooks_router().routes
    app.docs_url = "/docs"  # fastapi-offline serves it in FastAPI's stead, from the package
    app.include_router(hub.router)
    if settings.demo:
        mount_demo(app, hub)
    if settings.allowed_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(settings.allowed_origins),
            allow_methods=["*"],
            allow_headers=["*"],
        )
    return app


def find_doors(app: Any, doors: Doors) -> None:
    """Open a door for every running hub whose router the app includes, at whatever path."""
    for hub in list(Hub.running):
        try:
            path = app.url_path_for(socket_route(hub))
        except (NoMatchFound, AttributeError):
            continue
        doors.open(str(path), hub)


class Server(uvicorn.Server):
    """uvicorn, with the fast transport for the WebSockets of hubs."""

    def __init__(self, app: Any, settings: Settings, listener: socket.socket) -> None:
        self._app = app
        self._doors = Doors()
        self._listener = listener
        self._crowd = 0  # most connections since memory was last given back
        self._before = 0
        config = uvicorn.Config(
            app,
            loop="auto",
            http=http_protocol(self._doors, settings.handshake_timeout, settings.max_head_bytes),
            ws_per_message_deflate=settings.compression,
            proxy_headers=True,
            forwarded_allow_ips=list(settings.trusted_proxies),
            ssl_certfile=settings.tls_cert,
            ssl_keyfile=settings.tls_key,
            log_level=settings.log_level,
            access_log=settings.access_log,
            backlog=BACKLOG,
            timeout_graceful_shutdown=10,
            server_header=False,
        )
        super().__init__(config)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        if sockets and type(asyncio.get_running_loop()).__module__ == "uvloop":
            # uvloop accepts one connection a turn from each listener. When turns are long that is too few:
            # in an attack, newcomers would wait for minutes. asyncio itself accepts all that are there.
            sockets = [each for listener in sockets for each in (listener, *_copies(listener))]
        await super().startup(sockets)
        find_doors(self._app, self._doors)

    async def on_tick(self, counter: int) -> bool:
        if counter % TICKS_A_SECOND == 0:
            self._give_memory_back()
        return await super().on_tick(counter)

    def _give_memory_back(self) -> None:
        """When a crowd has left, let the operating system have what they took."""
        now = sum(len(hub.connections) for hub in Hub.running)
        self._crowd = max(self._crowd, now)
        if self._crowd - now > CROWD and now < self._crowd / 2 and now == self._before:
            self._crowd = now
            gc.collect()
            trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc alone has it
            if trim is not None:
                trim(0)
        self._before = now

    def serve_forever(self) -> None:
        """Run until a signal ends it. The process is the server's own: its collector is tuned for it."""
        # What is here now stays; and a connection is many small objects that live long, so the collector's
        # usual haste would have it look at all of them again and again while clients pour in.
        gc.collect()
        gc.freeze()
        gc.set_threshold(5_000, 2, 1000)
        self.run([self._listener])


def _copies(listener: socket.socket) -> list[socket.socket]:
    return [listener.dup() for _ in range(ACCEPTS - 1)]


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; raises `CannotServe` with a sentence where there can be none."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as exc:
        listener.close()
        if exc.errno == errno.EADDRINUSE:
            raise CannotServe(
                f"port {port} on {host} is in use; stop what uses it or give another --port"
            ) from exc
        raise CannotServe(f"cannot listen on {host}:{port}: {exc.strerror}") from exc
    listener.set_inheritable(True)
    return listener


def authenticates(settings: Settings) -> bool:
    """Whether clients of a server of its own have to say who they are. Raises `CannotServe`."""
    return read_verifier(settings) is not None or bool(settings.webhook_connect)


def guards_api(settings: Settings) -> bool:
    """Whether the server API of a server of its own is closed to who has neither a key nor a token for it."""
    return (
        bool(settings.api_keys) or settings.api_keys_file is not None or read_verifier(settings) is not None
    )


def check_exposure(settings: Settings) -> None:
    """Refuse to listen beyond loopback where anybody gets in or may publish, unless that is wanted."""
    if settings.insecure or is_loopback(settings.host):
        return
    _refuse_exposed(
        settings.host,
        [
            *([] if authenticates(settings) else [(OPEN_CLIENTS, "configure tokens (--token-secret)")]),
            *([] if guards_api(settings) else [(OPEN_API, "give --api-keys")]),
        ],
    )


def check_app_exposure(settings: Settings, app: Any) -> None:
    """As `check_exposure`, for an app whose hubs know nothing of these settings."""
    if settings.insecure or is_loopback(settings.host):
        return
    hubs = hubs_of(app)
    _refuse_exposed(
        settings.host,
        [
            *([] if hubs and all(map(_asks_who, hubs)) else [(OPEN_CLIENTS, "give Hub an auth=...")]),
            *(
                []
                if hubs and all(hub.api_keys or hub.auth for hub in hubs)
                else [(OPEN_API, "set its api_keys")]
            ),
        ],
    )


def _refuse_exposed(host: str, doors: list[tuple[str, str]]) -> None:
    """Refuse where there are open doors: what each of them is, and how to shut it."""
    if doors:
        what, ways = (" and ".join(words) for words in zip(*doors, strict=True))
        raise CannotServe(
            f"{host} can be reached from other machines, and {what}; {ways}, or give --insecure"
        )


def _asks_who(hub: Hub) -> bool:
    return hub.auth is not None or bool(hub.hooks.connect)


def hubs_of(app: Any) -> list[Hub]:
    """The hubs whose routers an app includes, at whatever depth; none where it cannot be looked into."""
    found: dict[str, Hub] = {}
    seen: set[int] = set()

    def look(node: Any) -> None:
        if node is None or id(node) in seen:
            return
        seen.add(id(node))
        hub = getattr(getattr(node, "endpoint", None), "hub", None)
        if isinstance(hub, Hub):
            found[hub.node_id] = hub
        for route in getattr(node, "routes", None) or ():
            look(route)
        for inner in ("app", "original_router"):
            look(getattr(node, inner, None))

    look(app)
    return list(found.values())


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
