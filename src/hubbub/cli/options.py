"""Options that several commands share."""

from typing import Annotated, Final

import typer

DEFAULT_URL: Final = "http://127.0.0.1:8000"

Url = Annotated[str, typer.Option("--url", metavar="URL", envvar="HUBBUB_URL", help="Where the server is.")]
ApiKey = Annotated[
    str | None,
    typer.Option(
        "--api-key", metavar="KEY", envvar="HUBBUB_API_KEY", help="Key of the server API, where it needs one."
    ),
]
