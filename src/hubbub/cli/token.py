"""`hubbub token`: makes and inspects tokens, and makes what they are signed with and the keys of the API."""

import re
import secrets
import sys
import time
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
import typer

from hubbub.auth import BadToken
from hubbub.auth.apikeys import BadKeys, hash_key, read_entries
from hubbub.cli.ends import WrongUsage
from hubbub.cli.inspecting import inspect
from hubbub.cli.options import Algorithm, KeyFile, Secret
from hubbub.cli.output import write_line
from hubbub.cli.publish import as_json
from hubbub.core.grants import ACTIONS, Grants

KEY_PREFIX: Final = "hubbub_"
"""Begins the API keys that we make, so that who finds one knows what it is."""
_UNITS: Final = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}

app = typer.Typer(
    help="Make and inspect tokens, and what they are signed with; make keys of the server API.",
    add_completion=False,
    invoke_without_command=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("inspect")(inspect)


@app.callback()
def _show_help(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        print_line(context.get_help())


@app.command()
def make(
    sub: Annotated[str, typer.Option("--sub", metavar="USER", help="The user that the token is for.")],
    secret: Secret = None,
    key: KeyFile = None,
    group: Annotated[
        list[str] | None, typer.Option("--group", metavar="GROUP", help="A group to be in from the start.")
    ] = None,
    channel: Annotated[
        list[str] | None,
        typer.Option(
            "--channel",
            metavar="PATTERN[=ACTIONS]",
            help="What may be done where: 'orders:*=join,history'; without actions all of them.",
        ),
    ] = None,
    for_group: Annotated[
        str, typer.Option(metavar="GROUP", help="Make a token for joining this one group.")
    ] = "",
    client_id: Annotated[str, typer.Option(metavar="ID", help="The client id to connect under.")] = "",
    info: Annotated[
        str, typer.Option(metavar="JSON", help="What the members of a group are shown of the user.")
    ] = "",
    scope: Annotated[str, typer.Option(metavar="SCOPES", help="OAuth scopes, between spaces.")] = "",
    issuer: Annotated[
        str, typer.Option(metavar="ISS", envvar="HUBBUB_TOKEN_ISSUER", help="Who issues it.")
    ] = "",
    audience: Annotated[
        str, typer.Option(metavar="AUD", envvar="HUBBUB_TOKEN_AUDIENCE", help="For whom it is.")
    ] = "",
    token_id: Annotated[
        str, typer.Option("--id", metavar="ID", help="An id to revoke this one token by.")
    ] = "",
    expires: Annotated[str, typer.Option(metavar="TIME", help="When it ends: 90s, 15m, 1h, 7d.")] = "1h",
    algorithm: Algorithm = "",
    kid: Annotated[str, typer.Option(metavar="ID", help="The key's id, where the key has none.")] = "",
) -> None:
    """Make a token for a client, and print it."""
    from hubbub.auth.minting import sign
    from hubbub.auth.reading import Rules

    now = int(time.time())
    audience = _first(audience)
    claims: dict[str, Any] = {"sub": sub, "iat": now, "exp": now + _seconds(expires)}
    optional = {
        "client_id": client_id,
        "groups": group,
        "channels": _grants(channel or []),
        "channel": for_group,
        "info": msgspec.json.decode(as_json(info)) if info else None,
        "scope": scope,
        "iss": issuer,
        "aud": audience,
        "jti": token_id,
    }
    claims |= {name: value for name, value in optional.items() if value}
    try:
        Rules(audience=(audience,)).read(claims, now)  # what no server would take is not made
        print_line(sign(claims, _signing_key(secret, key), algorithm=algorithm, kid=kid))
    except (ValueError, BadToken) as exc:
        raise WrongUsage(str(exc)) from exc


@app.command("secret")
def make_secret() -> None:
    """Make a secret that tokens are signed with (HS256), and print it."""
    from hubbub.auth.minting import new_secret

    print_line(new_secret())


@app.command("key-pair")
def make_key_pair(
    algorithm: Annotated[
        str, typer.Option(metavar="ALG", help="RS256, ES256, ES384, ES512 or EdDSA.")
    ] = "ES256",
    out: Annotated[
        str,
        typer.Option(metavar="NAME", help="Write NAME.private.pem and NAME.public.pem instead of printing."),
    ] = "",
    jwk: Annotated[bool, typer.Option("--jwk", help="As JSON Web Keys, which carry a key id.")] = False,
) -> None:
    """Make a private key that signs tokens, and the public key with which a server verifies them."""
    from hubbub.auth.minting import new_key_pair

    try:
        pair = new_key_pair(algorithm)
    except ValueError as exc:
        raise WrongUsage(str(exc)) from exc
    private, public, suffix = pair.private_pem, pair.public_pem, "pem"
    if jwk:
        suffix = "json"
        private, public = (
            msgspec.json.encode(each).decode() + "\n" for each in (pair.private_jwk, pair.public_jwk)
        )
    if not out:
        sys.stdout.write(private + public)
        return
    for kind, text, mode in (("private", private, 0o600), ("public", public, 0o644)):
        path = Path(f"{out}.{kind}.{suffix}")
        _write_new(path, text, mode)
        print_line(f"{kind} key in {path}")


@app.command("api-key")
def make_api_key(
    name: Annotated[str, typer.Option(metavar="NAME", help="What the key is called.")],
    allow: Annotated[
        list[str] | None, typer.Option(metavar="METHOD", help="A method that it opens; all by default.")
    ] = None,
    channels: Annotated[
        list[str] | None,
        typer.Option(metavar="PATTERN", help="Channels that it is good for, such as 'orders:*'; or all."),
    ] = None,
    as_json_: Annotated[bool, typer.Option("--json", help="Key and entry as one JSON object.")] = False,
) -> None:
    """Make a key of the server API: print it this once, and the entry for --api-keys-file.

    The entry holds only a hash. Its `hash` alone, in --api-keys, makes the key open everything.
    """
    key = KEY_PREFIX + secrets.token_urlsafe(32)
    entry: dict[str, Any] = {"name": name, "hash": hash_key(key)}
    for field, given in (("allow", allow), ("channels", channels)):
        words = [word.strip() for each in given or [] for word in each.split(",") if word.strip()]
        if words:
            entry[field] = words
    encoded = msgspec.json.encode(entry)
    try:
        read_entries(b"[" + encoded + b"]")
    except BadKeys as exc:
        raise WrongUsage(str(exc)) from exc
    if as_json_:
        write_line(msgspec.json.encode({"key": key, "entry": entry}))
    else:
        print_line(f"key    {key}")
        print_line(f"entry  {encoded.decode()}")


def print_line(text: str) -> None:
    """One line on stdout, as it is: it is to be copied."""
    sys.stdout.write(f"{text}\n")


def _seconds(text: str) -> int:
    match = re.fullmatch(r"([0-9]{1,9})([smhdw]?)", text.strip())
    if match is None or not int(match[1]):
        raise WrongUsage(f"--expires is {text!r}; give a time such as 90s, 15m, 1h or 7d")
    return int(match[1]) * _UNITS[match[2]]


def _grants(channels: list[str]) -> dict[str, list[str]]:
    grants: dict[str, list[str]] = {}
    for each in channels:
        pattern, equals, actions = each.rpartition("=")
        if not equals:
            pattern, actions = each, ",".join(sorted(ACTIONS))
        grants.setdefault(pattern, []).extend(word.strip() for word in actions.split(",") if word.strip())
    try:
        Grants.of(grants)
    except ValueError as exc:
        raise WrongUsage(f"--channel: {exc}") from exc
    return grants


def _signing_key(secret: str | None, key: str | None) -> str:
    if key is not None:
        try:
            return Path(key).read_text()
        except (OSError, UnicodeDecodeError) as exc:
            raise WrongUsage(f"--key {key} cannot be read: {exc}") from exc
    first = _first(secret or "")
    if not first:
        raise WrongUsage("there is nothing to sign with; set HUBBUB_TOKEN_SECRET, or give --secret or --key")
    return first


def _first(listed: str) -> str:
    """The first of a setting's several; the others are those of the past."""
    return listed.partition(",")[0].strip()


def _write_new(path: Path, text: str, mode: int) -> None:
    try:
        path.touch(mode=mode, exist_ok=False)
        path.write_text(text)
    except OSError as exc:
        raise WrongUsage(f"{path} cannot be written: {exc.strerror}") from exc
