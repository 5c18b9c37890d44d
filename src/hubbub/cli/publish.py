"""`hubbub publish`: send from a shell, over the server API."""

import sys
from collections.abc import Iterator
from typing import Annotated

import msgspec
import typer

from hubbub.cli.ends import Ended, WrongUsage
from hubbub.cli.options import DEFAULT_URL, ApiKey, Url


def publish(
    channel: Annotated[str, typer.Argument(metavar="CHANNEL", help="A group, or $all for everybody.")],
    data: Annotated[str, typer.Argument(metavar="DATA", help="JSON or plain text; - reads it from stdin.")],
    url: Url = DEFAULT_URL,
    api_key: ApiKey = None,
    lines: Annotated[
        bool, typer.Option("--lines", help="With -: send each line of stdin as a message of its own.")
    ] = False,
    key: Annotated[
        str, typer.Option(metavar="KEY", help="For clients that keep only the newest message per key.")
    ] = "",
    idempotency_key: Annotated[
        str, typer.Option(metavar="KEY", help="Publishing again with the same key changes nothing.")
    ] = "",
) -> None:
    """Send a message to everybody who listens to a channel.

    DATA that is not JSON is sent as a JSON string: hello is "hello". Write '"42"' to send 42 as text, and --
    before DATA that begins with a dash. Where the channel has history, the message's position is printed.
    """
    if lines and data != "-":
        raise WrongUsage("--lines goes with -, which reads stdin")
    if lines and idempotency_key:
        raise WrongUsage("--idempotency-key names one message, and --lines sends many; leave one of them out")
    from hubbub.cli.api import Api

    with Api(url, api_key) as api:
        for where, content in _messages(data, lines=lines):
            try:
                position = api.call(
                    "publish",
                    {
                        "channel": channel,
                        "data": as_json(_text(content)),
                        "key": key,
                        "idempotency_key": idempotency_key,
                    },
                )
            except Ended as exc:
                raise type(exc)(f"{where}{exc}") from exc
            if "offset" in position:
                sys.stdout.write(f"offset {position['offset']} epoch {position['epoch']}\n")
                sys.stdout.flush()


def _messages(data: str, *, lines: bool) -> Iterator[tuple[str, str | bytes]]:
    """What to send, and where it stands when that needs saying."""
    if data != "-":
        yield "", data
    elif lines:
        for number, line in enumerate(sys.stdin.buffer, start=1):
            if line.strip():
                yield f"line {number}: ", line
    else:
        content = sys.stdin.buffer.read()
        if not content:
            raise WrongUsage("nothing came on stdin; write the message there")
        yield "", content


def _text(content: str | bytes) -> str:
    if isinstance(content, str):
        return content
    try:
        return content.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError as exc:
        raise WrongUsage(f"what came on stdin is not UTF-8 (byte {exc.start})") from exc


def as_json(text: str) -> msgspec.Raw:
    """The text itself when it is JSON, to the letter; otherwise the JSON string that says it."""
    try:
        encoded = text.encode()
        msgspec.json.decode(encoded)
    except UnicodeEncodeError as exc:
        raise WrongUsage("DATA is not UTF-8 text") from exc
    except RecursionError as exc:
        raise WrongUsage("DATA is nested too deeply; flatten it") from exc
    except msgspec.DecodeError:
        encoded = msgspec.json.encode(text)
    return msgspec.Raw(encoded)
