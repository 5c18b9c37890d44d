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
Token = Annotated[
    str | None,
    typer.Option(
        "--token", metavar="TOKEN", envvar="HUBBUB_TOKEN", help="Says who this client is, where asked."
    ),
]
Secret = Annotated[
    str | None,
    typer.Option(
        "--secret",
        metavar="SECRET",
        envvar="HUBBUB_TOKEN_SECRET",
        show_envvar=True,
        help="What tokens are signed with (HS256). Others on this machine can see it as an argument.",
    ),
]
KeyFile = Annotated[
    str | None, typer.Option("--key", metavar="FILE", help="A file with a key instead (PEM or JWK).")
]
Algorithm = Annotated[
    str, typer.Option("--algorithm", metavar="ALG", help="The signature's, where the key leaves a choice.")
]
