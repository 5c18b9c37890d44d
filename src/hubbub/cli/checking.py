"""`hubbub check-config`: what a server with these settings would have open, and to whom."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from hubbub.brokers.base import BadBroker
from hubbub.cli.ends import SaidNo
from hubbub.cli.flags import given_flags, read_settings, setting_label, with_flags
from hubbub.cli.output import console, printable, write_line
from hubbub.settings import Settings

if TYPE_CHECKING:
    from rich.table import Table


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that can be open: what it is, to whom, and what is wrong with that, if anything."""

    what: str
    open_to: str
    warning: str = ""


@with_flags
def check_config(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="As one JSON object.")] = False,
    **flags: Any,
) -> None:
    """Show what `hubbub serve` with the same options and environment would have open, and to whom.

    A warning stands beside each thing that is open beyond this machine.
    """
    given = given_flags(context)
    settings = read_settings(given)
    refusals = list(refused(settings, setting_label("broker", given)))
    findings = list(look(settings))
    if as_json:
        write_line(msgspec.json.encode({"serves": not refusals, "refusals": refusals, "findings": findings}))
    else:
        console().print(table(findings))
        for refusal in refusals:
            console().print(f"\n`hubbub serve` refuses this: {printable(refusal)}", style="red")
    if refusals:
        raise typer.Exit(SaidNo.code)


def refused(settings: Settings, broker_label: str) -> Iterator[str]:
    """Every reason why it would not be served."""
    from hubbub.cli.serving import check_tls
    from hubbub.server import CannotServe, check_broker, check_exposure, read_keys, read_verifier

    said = set()
    for check in (read_verifier, check_exposure, read_keys, check_tls, check_broker):
        try:
            check(settings)
        except CannotServe as exc:
            if str(exc) not in said:
                said.add(str(exc))
                yield str(exc)
        except BadBroker as exc:
            yield f"{broker_label}: {exc}"


def look(settings: Settings) -> Iterator[Finding]:
    """What can be open, in the order in which it matters."""
    from hubbub.server import is_loopback

    exposed = not is_loopback(settings.host)
    reach = "can be reached from other machines" if exposed else "this machine alone"
    yield Finding("address", f"{settings.host}:{settings.port}, {reach}")
    for finding in _doors(settings):
        yield finding if exposed else Finding(finding.what, finding.open_to)


def _doors(settings: Settings) -> Iterator[Finding]:
    yield _websocket(settings)
    yield _api(settings)
    yield from _stats(settings)
    yield Finding("/docs, /openapi.json", "everybody")
    yield Finding("/healthz, /readyz", "everybody")
    if settings.demo:
        yield Finding("demo page", "everybody", "a page that nobody needs in production; give --no-demo")
    else:
        yield Finding("demo page", "off")
    yield _origins(settings)
    if "*" in settings.trusted_proxies:
        yield Finding("proxies", "any", "anybody can claim any address; name your proxies")
    else:
        yield Finding("proxies", ", ".join(settings.trusted_proxies) or "none is believed")
    if settings.tls_cert is None:
        yield Finding("TLS", "off", "what travels can be read on the way, unless a proxy before it does TLS")
    else:
        yield Finding("TLS", f"on, with {settings.tls_cert}")
    yield _history(settings)


def _websocket(settings: Settings) -> Finding:
    if settings.webhook_connect:
        return Finding("WebSocket", "whom the connect webhook lets in")
    if not _has_tokens(settings):
        return Finding("WebSocket", "everybody, under any name", "nobody has to say who he is; set up tokens")
    if settings.anonymous:
        return Finding("WebSocket", "who brings a token, and who brings none", "leave --anonymous out")
    return Finding("WebSocket", "who brings a token")


def _api(settings: Settings) -> Finding:
    if not (keys := list(_keys(settings))):
        return Finding("API", "everybody", "anybody can publish, read and disconnect; give --api-keys")
    return Finding("API", " or ".join(keys))


def _has_tokens(settings: Settings) -> bool:
    from hubbub.server import CannotServe, read_verifier

    try:
        return read_verifier(settings) is not None
    except CannotServe:
        return True  # it is meant to, and `refused` says what is wrong with it


def _keys(settings: Settings) -> Iterator[str]:
    if settings.api_keys:
        yield f"who has one of {len(settings.api_keys)} keys" if settings.api_keys[1:] else "who has the key"
    if settings.api_keys_file is not None:
        yield f"who has a key of {settings.api_keys_file}"
    if _has_tokens(settings):
        yield "who has a token for it"


def _stats(settings: Settings) -> Iterator[Finding]:
    keys = list(_keys(settings))
    for path in ("/stats", "/metrics"):
        if settings.open_stats:
            yield Finding(path, "everybody", "numbers about your users; leave --open-stats out")
        elif not keys:
            yield Finding(path, "everybody", "numbers about your users; give --api-keys")
        else:
            yield Finding(path, " or ".join(keys))


def _origins(settings: Settings) -> Finding:
    if "*" in settings.allowed_origins:
        return Finding("origins", "pages of any site", "any page can connect as its visitor; name the sites")
    return Finding("origins", ", ".join(("the server's own pages", *settings.allowed_origins)))


def _history(settings: Settings) -> Finding:
    if not settings.history_size:
        return Finding("history", "none is kept")
    return Finding(
        "history", f"{settings.history_size} messages a group for {settings.history_ttl:g} s, for its members"
    )


def table(findings: list[Finding]) -> "Table":
    """The findings, with their warnings under them."""
    from rich.table import Table

    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True, style="cyan")
    grid.add_column()
    for finding in findings:
        grid.add_row(finding.what, printable(finding.open_to))
        if finding.warning:
            grid.add_row("", f"warning: {finding.warning}", style="yellow")
    return grid
