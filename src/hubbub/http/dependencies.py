"""Connect hooks with FastAPI dependencies: who a client is by what your routes know of it."""

import inspect
from collections.abc import Callable
from typing import Annotated, Any, Final
from urllib.parse import urlencode

import msgspec
from fastapi import Depends, FastAPI, Request, Response

from hubbub.hub import ConnectRequest, Refuse

_REQUEST: Final = "hubbub.request"
_ANSWER: Final = "hubbub.answer"
_CONNECTION: Final = "hubbub_connection"


def solved(hook: Callable[..., Any]) -> Callable[[ConnectRequest], Any]:
    """A hook whose parameters after the first are filled in as those of a route.

    They may depend on headers, cookies, the query and `Request`; the handshake is a GET request. What FastAPI
    answers in the hook's stead, such as an `HTTPException` of a dependency, refuses the client.
    """
    app = FastAPI(openapi_url=None)
    app.add_api_route("/{path:path}", _endpoint(hook))

    async def ask(request: ConnectRequest) -> Any:
        answer: list[Any] = []
        said = _Said()
        await app(_scope(request, answer), _nothing, said)
        if not answer:
            raise Refuse(said.reason(), status=said.status)
        return answer[0]

    return ask


def _endpoint(hook: Callable[..., Any]) -> Callable[..., Any]:
    first, *others = inspect.signature(hook, eval_str=True).parameters.values()

    async def endpoint(**arguments: Any) -> Response:
        connection = arguments.pop(_CONNECTION)
        result = hook(**arguments)
        connection.scope[_ANSWER].append(await result if inspect.isawaitable(result) else result)
        return Response()

    keyword = inspect.Parameter.KEYWORD_ONLY
    endpoint.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [
            first.replace(annotation=Annotated[ConnectRequest, Depends(_request_of)], kind=keyword),
            *(other.replace(kind=keyword) for other in others),
            inspect.Parameter(_CONNECTION, keyword, annotation=Request),
        ]
    )
    return endpoint


async def _request_of(request: Request) -> Any:
    return request.scope[_REQUEST]


def _scope(request: ConnectRequest, answer: list[Any]) -> dict[str, Any]:
    """The handshake as an HTTP request of ASGI."""
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": request.path,
        "raw_path": request.path.encode(),
        "root_path": "",
        "query_string": urlencode(request.query).encode(),
        "headers": [(n.encode("latin-1"), v.encode("latin-1")) for n, v in request.headers.items()],
        "client": (request.address, 0) if request.address else None,
        "server": None,
        _REQUEST: request,
        _ANSWER: answer,
    }


async def _nothing() -> dict[str, Any]:
    """A handshake has no body."""
    return {"type": "http.request", "body": b"", "more_body": False}


class _Said:
    """What FastAPI answers."""

    def __init__(self) -> None:
        self.status = 500
        self._body = b""

    async def __call__(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
        else:
            self._body += message.get("body", b"")

    def reason(self) -> str:
        """Its sentence; of faults in the request, what they are."""
        try:
            detail = msgspec.json.decode(self._body)["detail"]
        except (msgspec.DecodeError, KeyError, TypeError):
            return "refused"
        if isinstance(detail, str):
            return detail
        faults = [f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in detail]
        return "; ".join(faults)
