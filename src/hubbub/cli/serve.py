"""`hubbub serve`: its command line. The server itself is imported only when it is to run."""

import os
from typing import Annotated, Any, Final

import typer

from hubbub.cli.ends import WrongUsage
from hubbub.cli.flags import given_flags, read_settings, setting_label, with_flags

OF_THE_SERVER: Final = frozenset(
    {
        "host",
        "port",
        "workers",
        "insecure",
        "demo",
        "trusted_proxies",
        "tls_cert",
        "tls_key",
        "handshake_timeout",
        "max_head_bytes",
        "compression",
        "log_level",
        "access_log",
    }
)
"""The settings that matter to any app; the others are those of the hub that `serve` makes without one."""


@with_flags
def serve(
    context: typer.Context,
    app: Annotated[
        str | None, typer.Argument(metavar="APP", help="An ASGI app to serve, as module:attribute.")
    ] = None,
    **flags: Any,
) -> None:
    """Run a server: Hubbub's own, or an app that embeds a hub.

    APP is looked for in the current directory first, and its WebSockets get the fast transport.

    Several workers meet at a broker: without --broker they get an embedded Valkey. An APP's own hub has to be
    given a broker where it is made.
    """
    given = given_flags(context)
    if app is not None:
        _refuse_without_effect(given, app)
    settings = read_settings(given)
    label = setting_label("broker", given)
    if settings.workers == 1:
        from hubbub.cli.serving import run

        run(settings, app, broker_label=label)
    elif hasattr(os, "fork"):
        from hubbub.cli.supervising import run_workers

        run_workers(settings, app, broker_label=label)
    else:
        raise WrongUsage("workers need a system with fork(), such as Linux or macOS; serve without them")


def _refuse_without_effect(given: dict[str, Any], app: str) -> None:
    # A key or a limit that is silently none would be worse than a server that does not start.
    foreign = [setting_label(name, given) for name in given if name not in OF_THE_SERVER]
    if foreign:
        names = ", ".join(foreign)
        raise WrongUsage(f"{names} would change nothing in {app}, which makes its own Hub; set it there")
