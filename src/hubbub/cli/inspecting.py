"""`hubbub token inspect`: what a token says, and whether a server would take it."""

import asyncio
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec
import typer

from hubbub.auth import AuthUnavailable, BadToken
from hubbub.cli.ends import SaidNo, WrongUsage
from hubbub.cli.options import KeyFile
from hubbub.cli.output import console, printable, write_line

if TYPE_CHECKING:
    from rich.table import Table

    from hubbub.auth import Verifier
    from hubbub.auth.minting import Inspected

TIMES: Final = ("iat", "nbf", "exp")
MEANINGS: Final = {
    "sub": "user",
    "client_id": "client id",
    "groups": "in groups",
    "channels": "may",
    "channel": "for group",
    "info": "info",
    "scope": "scopes",
    "iss": "issued by",
    "aud": "for",
    "jti": "id",
    "iat": "issued",
    "nbf": "good from",
    "exp": "good till",
}


def inspect(
    token: Annotated[str, typer.Argument(metavar="TOKEN", help="The token; - reads it from stdin.")],
    secret: Annotated[
        str | None, typer.Option("--secret", metavar="SECRET", help="What it must be signed with (HS256).")
    ] = None,
    key: KeyFile = None,
    issuer: Annotated[str, typer.Option(metavar="ISS", help="Who must have issued it.")] = "",
    audience: Annotated[str, typer.Option(metavar="AUD", help="For whom it must be.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="As one JSON object.")] = False,
) -> None:
    """Show what a token says and whether it is good.

    Without --secret and --key it is judged as `hubbub serve` would with the same environment. Exit code 1
    where it is not good.
    """
    from hubbub.auth.minting import inspect as take_apart

    token = (sys.stdin.read() if token == "-" else token).strip()  # noqa: S105
    try:
        said = take_apart(token)
    except BadToken as exc:
        raise SaidNo(str(exc)) from exc
    good, reason = _judge(token, _verifier(secret, key, issuer, audience))
    if as_json:
        shown = {"header": said.header, "claims": said.claims, "good": good, "reason": reason}
        write_line(msgspec.json.encode(shown))
    else:
        console().print(_table(said, good, reason))
    if good is False:
        raise typer.Exit(SaidNo.code)


def _verifier(secret: str | None, key: str | None, issuer: str, audience: str) -> "Verifier | None":
    """What a server of this environment verifies with, but for what is given here."""
    from hubbub.cli.flags import read_settings

    given: dict[str, Any] = {}
    if secret or key:
        given |= dict.fromkeys(("token_jwks_url", "oidc_issuer", "introspection_url"))
        given |= dict.fromkeys(("introspection_client", "introspection_secret"))
        given |= {"token_secret": secret or (), "token_keys": key or ()}
    if issuer:
        given["token_issuer"] = issuer
    if audience:
        given["token_audience"] = audience
    try:
        return read_settings(given).verifier()
    except ValueError as exc:
        raise WrongUsage(f"tokens: {exc}") from exc


def _judge(token: str, verifier: "Verifier | None") -> tuple[bool | None, str]:
    """Whether it is good, None where that cannot be said, and why."""
    if verifier is None:
        return None, "not verified: give --secret or --key, or the environment of a server with tokens"

    async def verify() -> None:
        await verifier.start()
        try:
            await verifier.verify(token)
        finally:
            await verifier.stop()

    try:
        asyncio.run(verify())
    except BadToken as exc:
        return False, str(exc)
    except AuthUnavailable as exc:
        return None, f"not verified: {exc}"
    return True, "the signature is right, and it is good now"


def _table(said: "Inspected", good: bool | None, reason: str) -> "Table":
    from rich.table import Table

    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True, style="cyan")
    grid.add_column()
    for name, value in said.header.items():
        grid.add_row(f"header {printable(name)}", _text(value))
    for name, value in said.claims.items():
        for label, text in _lines(name, value):
            grid.add_row(printable(label), text)
    verdict = {True: "good", False: "not good", None: "unknown"}[good]
    grid.add_row(verdict, printable(reason), style={True: "green", False: "red", None: "yellow"}[good])
    return grid


def _lines(name: str, value: Any) -> Iterator[tuple[str, str]]:
    label = f"{MEANINGS[name]} ({name})" if name in MEANINGS else name
    match name, value:
        case "channels", dict():
            for pattern, actions in value.items():
                listed = ", ".join(map(str, actions)) if isinstance(actions, list) else _text(actions)
                yield label, printable(f"{listed} in {pattern}")
        case _, int() | float() if name in TIMES and not isinstance(value, bool):
            yield label, _moment(value)
        case _:
            yield label, _text(value)


def _text(value: Any) -> str:
    return printable(value if isinstance(value, str) else msgspec.json.encode(value).decode())


def _moment(seconds: float) -> str:
    try:
        at = datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return f"{seconds:g}, which is no time"
    apart = seconds - time.time()
    return f"{at:%Y-%m-%d %H:%M:%S} UTC, {_span(abs(apart))} {'from now' if apart > 0 else 'ago'}"


def _span(seconds: float) -> str:
    for unit, length in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} seconds"
