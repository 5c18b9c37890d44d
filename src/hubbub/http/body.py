"""Reading JSON bodies: bounded, and with an answer that says what was wrong."""

import asyncio
from typing import Any, Final

import msgspec
from fastapi import Request
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

MAX_BODY_BYTES: Final = 1024 * 1024
PATIENCE: Final = 30.0
"""Seconds that a body may take."""
REFUSALS: Final[dict[int | str, dict[str, Any]]] = {
    400: {"description": "The body is no JSON object, or a name is not legal"},
    408: {"description": "The body took too long"},
    413: {"description": "The body is too large"},
}


async def read_body(request: Request) -> bytes:
    """The request's body; raises 400 where it is empty or not UTF-8, 408 and 413 past our bounds."""
    body = bytearray()
    try:
        async with asyncio.timeout(PATIENCE):
            async for chunk in request.stream():
                body += chunk
                if len(body) > MAX_BODY_BYTES:
                    sentence = f"the body is larger than {MAX_BODY_BYTES} bytes; send less at a time"
                    raise HTTPException(413, sentence)
    except TimeoutError as exc:
        sentence = f"the body took longer than {PATIENCE:g} seconds"
        raise HTTPException(408, sentence, {"Connection": "close"}) from exc
    except ClientDisconnect as exc:  # nobody hears this; as an error of ours it would fill the log
        raise HTTPException(400, "the client has gone in the middle of its body") from exc
    if not body.strip():
        raise HTTPException(400, "the body is empty; send a JSON object")
    try:
        # What is published goes out in text frames, and those hold UTF-8.
        body.decode()
    except UnicodeDecodeError as exc:
        raise HTTPException(400, f"the body is not UTF-8 (byte {exc.start}); JSON is") from exc
    return bytes(body)


def decode_object(body: bytes, type: Any = dict) -> Any:
    """The body's JSON object as `type`; raises 400 with a sentence where it is not JSON or no object.

    Raises `msgspec.ValidationError` for an object whose fields do not fit.
    """
    try:
        return msgspec.json.decode(body, type=type)
    except msgspec.ValidationError as exc:
        if " - at `$" not in str(exc) and str(exc).startswith("Expected `object`"):
            raise HTTPException(400, "the body is JSON but no object; send {…}") from exc
        raise
    except msgspec.DecodeError as exc:
        raise HTTPException(400, f"the body is not JSON: {exc}") from exc
    except RecursionError as exc:
        raise HTTPException(400, "the body is nested too deeply; flatten it") from exc


async def read_object(request: Request) -> msgspec.Raw:
    """A body that is any JSON object, as its text."""
    body = await read_body(request)
    decode_object(body)
    return msgspec.Raw(body)
