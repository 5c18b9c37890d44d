"""A running server over HTTP: its server API and its stats."""

from types import TracebackType
from typing import Any, Final, Self

import httpx
import msgspec

import hubbub
from hubbub.cli.ends import LacksRight, NeedsKey, NotReachable, SaidNo, WrongUsage
from hubbub.client import InvalidURLError
from hubbub.client.address import Address

TIMEOUT: Final = 10.0
"""Seconds to wait for an answer."""


class Api:
    """One server; every failure is an `Ended` that says how."""

    def __init__(self, url: str, api_key: str | None = None) -> None:
        try:
            address = Address.parse(url)
        except InvalidURLError as exc:
            raise WrongUsage(str(exc)) from exc
        headers = {"User-Agent": f"hubbub/{hubbub.__version__}"}
        if api_key:
            if not (api_key.isascii() and api_key.isprintable()):
                raise WrongUsage("the API key holds a character that no HTTP header can carry")
            headers["X-API-Key"] = api_key
        scheme = "https" if address.secure else "http"
        base = f"{scheme}://{address.host}{address.path.removesuffix('/ws')}"
        self._shown = f"{scheme}://{address.host.rpartition('@')[2]}"
        self._has_key = bool(api_key)
        try:
            self._http = httpx.Client(base_url=base, headers=headers, timeout=TIMEOUT)
        except (ImportError, ValueError) as exc:
            raise WrongUsage(f"the proxy that the environment names cannot be used: {exc}") from exc

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._http.close()

    def call(self, method: str, request: dict[str, Any]) -> dict[str, Any]:
        """The result of one method of the server API."""
        try:
            body = msgspec.json.encode(request)
        except UnicodeEncodeError as exc:
            raise WrongUsage("an argument is not UTF-8 text") from exc
        answer = self._ask("POST", f"/api/{method}", body)
        match answer:
            case {"result": dict(result)}:
                return result
            case {"error": {"code": code, "message": message}}:
                raise SaidNo(f"{message} ({code})")
        raise SaidNo(f"{self._shown} gave an answer that is none. Is it a Hubbub server?")

    def stats(self) -> dict[str, Any]:
        """What is going on."""
        return self._ask("GET", "/stats")

    def _ask(self, verb: str, path: str, body: bytes | None = None) -> dict[str, Any]:
        try:
            response = self._http.request(verb, path, content=body)
        except httpx.TimeoutException as exc:
            raise NotReachable(f"{self._shown} gave no answer within {TIMEOUT:g} seconds") from exc
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as exc:
            raise NotReachable(
                f"nothing can be reached at {self._shown}: {exc}. Is the server running?"
            ) from exc
        answer = _decode(response.content)
        if response.status_code == httpx.codes.UNAUTHORIZED:
            raise NeedsKey(
                "the server does not know this API key"
                if self._has_key
                else "the server wants an API key; give --api-key or HUBBUB_API_KEY"
            )
        if response.status_code == httpx.codes.FORBIDDEN:
            raise LacksRight(f"{self._refusal(response, answer)}; give another --api-key")
        if response.is_success and answer is not None:
            return answer
        raise SaidNo(self._refusal(response, answer))

    def _refusal(self, response: httpx.Response, answer: dict[str, Any] | None) -> str:
        if response.is_success:
            return f"{self._shown} answered with something else than JSON. Is it a Hubbub server?"
        status = f"HTTP {response.status_code}"
        match answer:
            case {"error": {"message": str(reason)}} | {"detail": str(reason)} if (
                reason != response.reason_phrase  # which any server would say
            ):
                return f"{reason} ({status})"
        location = f" and points to {response.headers['location']}" if response.is_redirect else ""
        return f"{self._shown} answered {status} {response.reason_phrase}{location}. Is it a Hubbub server?"


def _decode(content: bytes) -> dict[str, Any] | None:
    try:
        answer = msgspec.json.decode(content)
    except (ValueError, RecursionError):
        return None
    return answer if isinstance(answer, dict) else None
