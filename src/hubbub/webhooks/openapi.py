"""Describes the webhooks for tools: what a backend is sent, and what it answers."""

from typing import Any, Final

import msgspec
from fastapi import APIRouter

from hubbub.webhooks.shapes import (
    Answer,
    ConnectCall,
    ConnectResult,
    Events,
    PublishCall,
    PublishResult,
    RefreshCall,
    RefreshResult,
    RpcCall,
    RpcResult,
    SubscribeCall,
    SubscribeResult,
)
from hubbub.webhooks.signing import HEADER

_CALLS: Final[dict[str, tuple[str, Any, Any]]] = {
    "connect": ("A client is at the door: who is it?", ConnectCall, Answer[ConnectResult]),
    "subscribe": ("A client wants to join a channel: may it?", SubscribeCall, Answer[SubscribeResult]),
    "publish": ("A client wants to publish: may it, and what?", PublishCall, Answer[PublishResult]),
    "rpc": ("A client calls a method: what does it return?", RpcCall, Answer[RpcResult]),
    "refresh": ("What is known of a client expires: may it stay?", RefreshCall, Answer[RefreshResult]),
}

_SIGNATURE: Final = {
    "name": HEADER,
    "in": "header",
    "required": False,
    "description": "`t=<seconds since the epoch>,v1=<hex>`: HMAC-SHA256 of `<t>.<body>`, one v1 per secret.",
    "schema": {"type": "string"},
}


def webhooks_router() -> APIRouter:
    """What goes into the OpenAPI document of an app: `FastAPI(webhooks=webhooks_router())`."""
    router = APIRouter(tags=["webhooks"])
    for name, (summary, call, answer) in _CALLS.items():
        _describe(router, name, summary, call, _answer("Yes, no, or good-bye.", answer))
    _describe(router, "events", "What has happened.", Events, {"204": {"description": "They are here."}})
    return router


def _describe(router: APIRouter, name: str, summary: str, sent: Any, responses: dict[str, Any]) -> None:
    async def described() -> None:
        """It is the backend that has this."""

    body = {"required": True, "content": {"application/json": {"schema": _schema(sent)}}}
    router.add_api_route(
        name,
        described,
        methods=["POST"],
        summary=summary,
        name=f"webhook_{name}",
        status_code=int(next(iter(responses))),
        description="Asked of the backend." if "200" in responses else "Told to the backend.",
        openapi_extra={"requestBody": body, "parameters": [_SIGNATURE], "responses": responses},
    )


def _answer(description: str, shape: Any) -> dict[str, Any]:
    return {"200": {"description": description, "content": {"application/json": {"schema": _schema(shape)}}}}


def _schema(shape: Any) -> dict[str, Any]:
    """The JSON schema with nothing referred to, since each stands alone."""
    [schema], components = msgspec.json.schema_components([shape], ref_template="{name}")

    def inline(node: Any) -> Any:
        if isinstance(node, dict):
            if "$ref" in node:
                return inline(components[node["$ref"]])
            return {key: inline(value) for key, value in node.items()}
        return [inline(item) for item in node] if isinstance(node, list) else node

    inlined: dict[str, Any] = inline(schema)
    return inlined
