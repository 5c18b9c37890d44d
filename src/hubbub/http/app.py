"""The routes to mount in any FastAPI app: the WebSocket, the contract's endpoints, the server API, health."""

from typing import Any, Final

import msgspec
from fastapi import APIRouter, Request, Response, WebSocket
from fastapi.responses import PlainTextResponse
from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope, Send

from hubbub import __version__
from hubbub.auth import NotAllowed
from hubbub.brokers.base import BrokerUnavailable
from hubbub.core import codes
from hubbub.core.channels import BadName
from hubbub.core.messages import ALL, client_channel
from hubbub.http import api, body
from hubbub.http.access import REFUSALS, SECURED, authorise, forbidden
from hubbub.http.body import read_body, read_object
from hubbub.http.javascript import add_javascript
from hubbub.hub import Hub, NotStarted
from hubbub.observability import CONTENT_TYPE
from hubbub.transports.asgi import serve_websocket
from hubbub.transports.sse import serve_events

READY_TIMEOUT: Final = 2.0


class Json(Response):
    """A JSON answer."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return msgspec.json.encode(content)


def socket_route(hub: Hub) -> str:
    """The name of a hub's WebSocket route, for `app.url_path_for`."""
    return f"hubbub-{hub.node_id}"


def build_router(hub: Hub) -> APIRouter:
    """Every route of a hub."""
    router = APIRouter()
    _add_websocket(router, hub)
    _add_events(router, hub)
    _add_contract(router, hub)
    _add_api(router, hub)
    _add_health(router, hub)
    add_javascript(router)
    return router


def _add_websocket(router: APIRouter, hub: Hub) -> None:
    async def with_id(websocket: WebSocket, client_id: str) -> None:
        await serve_websocket(hub, websocket, client_id)

    async def without_id(websocket: WebSocket) -> None:
        await serve_websocket(hub, websocket, None)

    without_id.hub = hub  # type: ignore[attr-defined]  # so that who has the app can find its hubs
    router.add_api_websocket_route("/ws/{client_id}", with_id, name=f"{socket_route(hub)}-client")
    router.add_api_websocket_route("/ws", without_id, name=socket_route(hub))


class Events(Response):
    """A stream of server-sent events, which answers by itself."""

    media_type = "text/event-stream"

    def __init__(self, hub: Hub, client_id: str | None) -> None:
        super().__init__()
        self._hub = hub
        self._client_id = client_id

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await serve_events(self._hub, scope, receive, send, self._client_id)


def _add_events(router: APIRouter, hub: Hub) -> None:
    described: dict[str, Any] = {
        "tags": ["clients"],
        "response_class": Events,
        "status_code": 200,  # which FastAPI would look for in the signature of the class
        "responses": {
            200: {"description": "A stream of events", "content": {"text/event-stream": {"schema": _TEXT}}},
            **{status: {"description": why, "content": _PLAIN} for status, why in _NO_STREAM.items()},
        },
        "openapi_extra": {"parameters": _EVENT_PARAMETERS},
    }

    @router.get("/sse", summary="Listen to groups as server-sent events", **described)
    async def events() -> Response:
        return Events(hub, None)

    @router.get("/sse/{client_id}", summary="The same, under a client id", **described)
    async def events_with_id(client_id: str) -> Response:
        return Events(hub, client_id)


_TEXT: Final = {"type": "string"}
_PLAIN: Final = {"text/plain": {"schema": _TEXT}}
_NO_STREAM: Final = {
    400: "A name is not legal",
    401: "A token is needed, or the one that was sent is not good",
    403: "Not allowed: the origin, the client id, or every one of the groups",
    429: "Too many connections",
    503: "Not now",
}
_EVENT_PARAMETERS: Final = [
    {"name": name, "in": place, "required": False, "description": what, "schema": _TEXT}
    for name, place, what in (
        ("groups", "query", "Groups to join, between commas"),
        ("group", "query", "One group, whose name may hold a comma; any number of times"),
        ("last_event_id", "query", "The id of the last event, where no header can be sent"),
        ("Last-Event-ID", "header", "The id of the last event: what was missed since comes first"),
    )
]


def _add_contract(router: APIRouter, hub: Hub) -> None:
    any_object = _body({"type": "object", "additionalProperties": True})
    guarded: dict[str, Any] = {"dependencies": SECURED, "responses": REFUSALS}
    posted = guarded | {"responses": REFUSALS | body.REFUSALS}

    @router.get("/stats", tags=["status"], summary="What is going on", **guarded)
    async def stats(request: Request) -> Response:
        await authorise(hub, request, "stats")
        nodes = [hub.cluster.this_node(), *hub.cluster.peers]
        return Json(
            {
                "status": "running",
                "total_connections": hub.total_connections,
                "active_groups": await hub.cluster.count_groups(),
                "subscriptions": sum(node.subscriptions for node in nodes),
                "nodes": len(nodes),
                "node": hub.node_id,
                "node_connections": len(hub.connections),
                "version": __version__,
                "uptime_seconds": hub.uptime(),
                "timestamp": hub.timestamp(),
            }
        )

    @router.post(
        "/broadcast",
        tags=["publish"],
        summary="Send to every connection",
        openapi_extra=any_object,
        **posted,
    )
    async def broadcast(request: Request) -> Response:
        await authorise(hub, request, "broadcast_all", ALL)
        await _publishing(hub.broadcast(await read_object(request)))
        return Json({"status": "broadcast_sent", "timestamp": hub.timestamp()})

    @router.post(
        "/notify/{client_id}",
        tags=["publish"],
        summary="Send to every connection of one client",
        openapi_extra=any_object,
        **posted,
    )
    async def notify(request: Request, client_id: str) -> Response:
        await authorise(hub, request, "notify", client_channel(client_id))
        await _publishing(hub.notify(client_id, await read_object(request)))
        return Json({"status": "notification_sent", "client_id": client_id, "timestamp": hub.timestamp()})

    @router.get(
        "/metrics",
        tags=["status"],
        summary="Metrics in Prometheus' text format",
        response_class=PlainTextResponse,
        **guarded,
    )
    async def metrics(request: Request) -> Response:
        await authorise(hub, request, "metrics")
        return Response(hub.metrics.exposition(), media_type=CONTENT_TYPE)


def _add_api(router: APIRouter, hub: Hub) -> None:
    for name, method in api.METHODS.items():
        router.add_api_route(
            f"/api/{name}",
            _method_endpoint(hub, name),
            methods=["POST"],
            tags=["server API"],
            summary=(method.perform.__doc__ or "").rstrip("."),
            name=f"api_{name}",
            openapi_extra=_body(_schema(method.request)),
            dependencies=SECURED,
            responses=REFUSALS | body.REFUSALS,
        )

    @router.post("/api/{method}", include_in_schema=False)
    async def unknown(request: Request, method: str) -> Response:
        await authorise(hub, request)
        sentence = f"no method {method[:60]!r}; there are {', '.join(api.METHODS)}"
        return Json(api.error_answer(codes.METHOD_NOT_FOUND, sentence), status_code=404)


def _method_endpoint(hub: Hub, name: str) -> Any:
    async def endpoint(request: Request) -> Response:
        # What is called may depend on the body; what may be called at all is known before it is read.
        rights = await authorise(hub, request, "" if name == "batch" else name)
        try:
            return Json(await api.call(hub, name, await read_body(request), rights))
        except NotAllowed as exc:
            raise forbidden(exc) from exc
        except NotStarted as exc:
            raise HTTPException(503, str(exc)) from exc

    return endpoint


def _add_health(router: APIRouter, hub: Hub) -> None:
    @router.get("/healthz", tags=["status"], summary="Whether the process is alive")
    async def healthz() -> Response:
        return Json({"status": "alive"})

    @router.get("/readyz", tags=["status"], summary="Whether clients should be sent here")
    async def readyz() -> Response:
        not_ready = await hub.not_ready(READY_TIMEOUT)
        if not_ready:
            return Json({"status": "not ready", "reason": not_ready}, status_code=503)
        return Json({"status": "ready"})


async def _publishing(work: Any) -> None:
    try:
        await work
    except BadName as exc:
        raise HTTPException(400, str(exc)) from exc
    except NotStarted as exc:
        raise HTTPException(503, str(exc)) from exc
    except BrokerUnavailable as exc:
        raise HTTPException(503, f"the broker does not answer: {exc}") from exc


def _body(schema: dict[str, Any]) -> dict[str, Any]:
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def _schema(struct: type[msgspec.Struct]) -> dict[str, Any]:
    """The struct's JSON schema with nothing referred to, since each route's stands alone."""
    [schema], components = msgspec.json.schema_components([struct], ref_template="{name}")

    def inline(node: Any) -> Any:
        if isinstance(node, dict):
            if "$ref" in node:
                return inline(components[node["$ref"]])
            return {key: inline(value) for key, value in node.items()}
        return [inline(item) for item in node] if isinstance(node, list) else node

    inlined: dict[str, Any] = inline(schema)
    return inlined
