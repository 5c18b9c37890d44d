"""The JavaScript client at `/hubbub.js`, built from `clients/js`, for pages of any origin."""

import hashlib
from functools import cache
from pathlib import Path
from typing import Final

from fastapi import APIRouter, Request, Response

FILE: Final = Path(__file__).parent / "static" / "hubbub.js"


@cache
def _read() -> tuple[bytes, dict[str, str]]:
    """The module and its headers."""
    module = FILE.read_bytes()
    return module, {
        "ETag": f'"{hashlib.sha256(module).hexdigest()[:32]}"',
        "Cache-Control": "no-cache",  # asked for each time, so that it is never older than the server
        # There is nothing in it that is anybody's secret, and a page elsewhere has to be let read it.
        "Access-Control-Allow-Origin": "*",
        "Cross-Origin-Resource-Policy": "cross-origin",
        "X-Content-Type-Options": "nosniff",
    }


def add_javascript(router: APIRouter) -> None:
    """Serve the client; it needs no key, since whoever can reach the server may connect or be refused."""

    async def javascript(request: Request) -> Response:
        module, headers = _read()
        if headers["ETag"] in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        return Response(module, media_type="text/javascript", headers=headers)

    router.add_api_route("/hubbub.js", javascript, methods=["GET", "HEAD"], include_in_schema=False)
