"""`hubbub chat`: a small chat in a terminal."""

import asyncio
import re
import sys
from collections.abc import AsyncIterator
from typing import Annotated, Final

import msgspec
import typer
from msgspec import Raw
from rich.text import Text

from hubbub.cli.ends import SaidNo
from hubbub.cli.listening import listen
from hubbub.cli.messages import clock
from hubbub.cli.options import DEFAULT_URL, Token, Url
from hubbub.cli.output import complain, console, printable
from hubbub.cli.prompt import Terminal, lines_of
from hubbub.client import (
    CallTimeoutError,
    Client,
    ClientError,
    ConnectError,
    Message,
    NotConnectedError,
    RemovedError,
    ReplyError,
    StoppedError,
)
from hubbub.core import codes

HELP: Final = "/who lists who is here, /quit leaves (Ctrl+D and Ctrl+C, too), //text says /text"
ANSWER_TIMEOUT: Final = 10.0
AGAIN_AFTER: Final = 1.0
"""Seconds until a line is sent again that the server could not take now."""

_MADE_BY_THE_SERVER: Final = re.compile(r"([0-9a-f]{8})-[0-9a-f]{4}-4[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}")


def chat(
    group: Annotated[str, typer.Argument(metavar="GROUP", help="The group to chat in.")],
    name: Annotated[
        str | None,
        typer.Option(
            "--as", metavar="NAME", help="The client id to chat under; the server makes one otherwise."
        ),
    ] = None,
    url: Url = DEFAULT_URL,
    token: Token = None,
) -> None:
    """Chat in a group: what is typed goes to everybody in it, line by line.

    Ctrl+D, Ctrl+C or /quit leaves, and /help tells what else there is. Where stdin is no terminal, each of
    its lines is sent, and at its end, when the server has all of them, the command ends.
    """

    async def work() -> None:
        client = Client(url, name, token=token or None)
        if Terminal.is_there():
            with Terminal() as terminal:
                await Chat(client, group, terminal).run(terminal.lines())
        else:
            await Chat(client, group, None).run(lines_of(sys.stdin.fileno()))

    listen(work, token)


class Chat:
    """One person in one group. Without a terminal others are shown on stdout, and the rest on stderr."""

    def __init__(self, client: Client, group: str, terminal: Terminal | None) -> None:
        self._client = client
        self._group = client.group(group, Raw)
        self._terminal = terminal
        self._out = console() if terminal is None else None
        self._commands = sys.stdin.isatty()
        self._joined_before = False
        self._back = asyncio.Event()  # in the group, and what was missed is counted
        self._to_say: asyncio.Queue[str] = asyncio.Queue(1 if terminal is None else 0)
        self._unsaid = 0
        self._lines = 0
        self._refused = 0
        self._answer: asyncio.Future[Message] | None = None
        self._over: asyncio.Future[None]
        for type_, handler in {
            "chat_message": self._message,
            "group_message": self._message,
            "member_joined": self._member,
            "member_left": self._member,
            "group_joined": self._joined,
            "gap": self._gap,
            "published": self._answered,
            "error": self._answered,
            "state": self._state,
        }.items():
            client.register_handler(type_, handler)

    async def run(self, lines: AsyncIterator[str]) -> None:
        """Connect, join, and return when the person leaves or the group ends."""
        self._over = asyncio.get_running_loop().create_future()
        async with self._client:
            try:
                await self._group.join()
            except (ReplyError, CallTimeoutError) as exc:
                raise SaidNo(f"{self._group.name}: {exc}") from exc
            tasks = [
                asyncio.ensure_future(work)
                for work in (self._stay(), self._read(lines), self._say(), self._over)
            ]
            try:
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                for task in tasks:
                    if task.done():
                        task.result()
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.wait(tasks)
        if self._refused:
            raise SaidNo(f"{self._refused} of {self._lines} lines were not taken, or nobody knows")

    async def _stay(self) -> None:
        """Be in the group, whose messages the handlers are given; raises how that ends."""
        try:
            async for _ in self._group:
                pass
        except RemovedError as exc:
            raise SaidNo(f"the server took this client out of {exc.group}: {exc.reason}") from exc
        except StoppedError as exc:
            raise SaidNo(f"disconnected for good: {exc.code} {exc.reason}") from exc
        except (ReplyError, CallTimeoutError) as exc:
            raise SaidNo(f"{self._group.name} could not be joined again: {exc}") from exc

    # What the person does.

    async def _read(self, lines: AsyncIterator[str]) -> None:
        """Take what is typed; returns when the person has left, and all is said that can be."""
        async for line in lines:
            command = line.split()[0] if self._commands and line.startswith("/") else ""
            if command == "/quit":
                break
            if command and not command.startswith("//"):
                await self._command(command)
            elif line.strip():
                self._unsaid += 1
                await self._to_say.put(line[1:] if command else line)
                if self._terminal is not None and not self._client.is_connected:
                    self._note(f"waits for the connection: {line}")
        if self._terminal is None or self._client.is_connected:
            await self._to_say.join()
        elif self._unsaid:
            raise SaidNo(f"{self._unsaid} line{'s were' if self._unsaid > 1 else ' was'} not sent")

    async def _say(self) -> None:
        """Send line after line."""
        while True:
            line = await self._to_say.get()
            self._lines += 1
            try:
                await self._send(line)
            except (NotConnectedError, ConnectError):
                await self._over  # how it ended is told by who stays in the group
            except ClientError as exc:
                self._refused += 1
                self._note(f"not sent: {line} ({exc})")
            self._unsaid -= 1
            self._to_say.task_done()

    async def _command(self, command: str) -> None:
        match command:
            case "/help":
                self._note(HELP)
            case "/who" if not self._client.is_connected:
                self._note("nobody can be asked who is here: there is no connection")
            case "/who":
                try:
                    members = (await self._group.presence()).values()
                except ClientError as exc:
                    self._note(f"who is here cannot be told: {exc}")
                else:
                    names = sorted({shown_name(member.client_id) for member in members})
                    self._note(f"{len(names)} here: {', '.join(names)}")
            case _:
                self._note(f"there is no {command}; {HELP}")

    async def _send(self, text: str) -> None:
        """Send one line, and return when the server has it; what cannot be taken now is sent again."""
        while True:
            await self._back.wait()
            try:
                answer = await self._ask(text)
            except NotConnectedError as exc:
                if type(exc) is not NotConnectedError or self._client.state == "disconnected":
                    raise
                self._back.clear()
                continue
            if answer["type"] == "published":
                return
            if answer.get("temporary") is not True:
                raise ClientError(str(answer.get("message")))
            await asyncio.sleep(AGAIN_AFTER)

    async def _ask(self, text: str) -> Message:
        self._answer = asyncio.get_running_loop().create_future()
        try:
            await self._client.send_message(
                "chat_message", {"group_name": self._group.name, "message": text, "id": self._line_id}
            )
            async with asyncio.timeout(ANSWER_TIMEOUT):
                return await self._answer
        except TimeoutError as exc:
            raise CallTimeoutError("the server did not answer; it is not known whether it has it") from exc
        finally:
            self._answer = None

    @property
    def _line_id(self) -> str:
        return f"line-{self._lines}"

    def _answered(self, message: Message) -> None:
        # What is too fast is not even read, and so is refused without an id.
        is_ours = message.get("id") == self._line_id or (
            message.get("id") is None and message.get("code") == codes.TOO_MANY_REQUESTS.code
        )
        if is_ours and self._answer is not None and not self._answer.done():
            self._answer.set_result(message)

    # What others do.

    def _message(self, message: Message) -> None:
        if message.get("group_name") != self._group.name:
            return
        sender = str(message.get("from") or "")
        if self._terminal is None and sender == self._client.client_id:
            return
        data = message.get("message", message.get("data"))
        text = data if isinstance(data, str) else msgspec.json.encode(data).decode()
        self._show(
            (clock(message.get("timestamp")), "dim"),
            "  ",
            (printable(shown_name(sender) or "-"), "green" if sender == self._client.client_id else "cyan"),
            "  ",
            printable(text),
        )

    def _member(self, message: Message) -> None:
        client_id = str(message.get("member", {}).get("client_id"))
        if message.get("group_name") == self._group.name and client_id != self._client.client_id:
            verb = "came in" if message["type"] == "member_joined" else "left"
            self._note(f"{shown_name(client_id)} {verb}", message.get("timestamp"))

    # What the connection does.

    def _state(self, news: Message) -> None:
        if news["state"] == "connected":
            return
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(
                ClientError("the connection was lost; it is not known whether the server has it")
            )
        if news["state"] == "reconnecting":
            self._back.clear()
            self._note("the connection is lost, reconnecting…")

    async def _joined(self, message: Message) -> None:
        if message.get("group_name") != self._group.name:
            return
        if not self._joined_before:
            self._joined_before = True
            if self._terminal is not None:
                name = shown_name(self._client.client_id or "")
                self._note(f"in {self._group.name} as {name}; /help tells what there is besides talking")
        elif "recovered" not in message:
            self._note("back; this group keeps no history, so what was said meanwhile is not shown")
        elif message["recovered"]:
            self._note(await self._missed(message))
        else:
            self._note("back")
        self._back.set()

    async def _missed(self, joined: Message) -> str:
        """How much comes now of what was said meanwhile, where the server tells."""
        try:
            newest = (await self._group.history(limit=0)).position
        except ClientError:
            return "back"
        count = newest.offset - int(joined["offset"]) if newest.epoch == joined["epoch"] else 0
        if count <= 0:
            return "back, and nothing was missed"
        return f"back, with {count} message{'s' if count > 1 else ''} that came meanwhile:"

    def _gap(self, gap: Message) -> None:
        if gap["name"] == self._group.name:
            self._note("messages are missing here, and cannot be had again")

    def _note(self, sentence: str, timestamp: object = None) -> None:
        if self._terminal is None:
            complain(sentence)
        else:
            self._show((f"{clock(timestamp)}  {printable(sentence)}", "dim"))

    def _show(self, *parts: str | tuple[str, str]) -> None:
        line = Text.assemble(*parts)
        try:
            if self._terminal is not None:
                self._terminal.show(line)
            elif self._out is not None:
                self._out.print(line)
        except BrokenPipeError as exc:
            if not self._over.done():
                self._over.set_exception(exc)


def shown_name(client_id: str) -> str:
    """A client id for people; of one that the server made, the beginning tells enough."""
    made = _MADE_BY_THE_SERVER.fullmatch(client_id)
    return made[1] if made else client_id
