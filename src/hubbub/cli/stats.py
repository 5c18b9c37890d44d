"""`hubbub stats`: what is going on on a server, once or all the time."""

import contextlib
import sys
import time
from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec
import typer

from hubbub.cli.ends import LacksRight, NeedsKey, NotReachable
from hubbub.cli.options import DEFAULT_URL, ApiKey, Url
from hubbub.cli.output import complain, console, printable, write_line

if TYPE_CHECKING:
    from rich.table import Table

    from hubbub.cli.api import Api

TOP: Final = 10
"""Groups shown, those with most members first."""
INTERVAL: Final = 1.0

Stats = dict[str, Any]


def stats(
    url: Url = DEFAULT_URL,
    api_key: ApiKey = None,
    watch: Annotated[bool, typer.Option("--watch", help="Look again every second, until Ctrl+C.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a look, on one line.")] = False,
) -> None:
    """Show connections and the groups with most members."""
    from hubbub.cli.api import Api

    with Api(url, api_key) as api:
        if watch:
            keep_watching(api, as_json=as_json)
        else:
            show(look(api), as_json=as_json)


def look(api: "Api") -> Stats:
    """The server's stats, and the members of its groups where the server tells them."""
    answer = api.stats()
    with contextlib.suppress(NeedsKey, LacksRight):
        channels = api.call("channels", {})["channels"]
        answer["groups"] = {name: channel["num_clients"] for name, channel in channels.items()}
    return answer


def show(stats: Stats, *, as_json: bool) -> None:
    """One look, on stdout."""
    if as_json:
        write_line(msgspec.json.encode(stats))
    else:
        console().print(table(stats))


def keep_watching(api: "Api", *, as_json: bool) -> None:
    """One look a second; a server that goes away for a while is waited for."""
    stats = look(api)
    if as_json or not sys.stdout.isatty():
        while True:
            show(stats, as_json=as_json)
            stats = _next_look(api, stats)
    from rich.live import Live

    with Live(console=console(), auto_refresh=False) as live:
        while True:
            live.update(table(stats), refresh=True)
            stats = _next_look(api, stats)


def _next_look(api: "Api", stats: Stats) -> Stats:
    while True:
        time.sleep(INTERVAL)
        try:
            return look(api)
        except NotReachable as exc:
            complain(str(exc))


def table(stats: Stats) -> "Table":
    """The numbers that matter, and the biggest groups."""
    from rich.table import Table

    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True, style="cyan")
    grid.add_column(no_wrap=True, justify="right")
    for label, name in (
        ("connections", "total_connections"),
        ("groups", "active_groups"),
        ("memberships", "subscriptions"),
        ("up for", "uptime_seconds"),
        ("node", "node"),
        ("version", "version"),
    ):
        if name in stats:
            value = _duration(stats[name]) if name == "uptime_seconds" else printable(str(stats[name]))
            grid.add_row(label, value)
    groups: dict[str, int] | None = stats.get("groups")
    if groups is None:
        grid.add_row("", "")
        grid.add_row("biggest groups", "shown with an --api-key that opens channels")
    elif groups:
        grid.add_row("", "")
        grid.add_row("biggest groups", "members", style="bold")
        for name, members in sorted(groups.items(), key=lambda item: (-item[1], item[0]))[:TOP]:
            grid.add_row(f"  {printable(name)}", str(members))
        if len(groups) > TOP:
            grid.add_row(f"  and {len(groups) - TOP} more", "")
    return grid


def _duration(seconds: object) -> str:
    if not isinstance(seconds, int | float):
        return printable(str(seconds))
    minutes, second = divmod(int(seconds), 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    clock = f"{hour}:{minute:02}:{second:02}"
    return f"{days} d {clock}" if days else clock
