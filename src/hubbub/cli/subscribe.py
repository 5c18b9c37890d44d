"""`hubbub subscribe`: print what arrives, until Ctrl+C."""

import asyncio
import logging
import sys
from pathlib import Path
from typing import Annotated, Any, Final, NoReturn

import typer
from msgspec import Raw

from hubbub.cli.ends import SaidNo
from hubbub.cli.listening import listen
from hubbub.cli.messages import FOR_ALL, Show, pretty_printer, show_json
from hubbub.cli.options import DEFAULT_URL, Token, Url
from hubbub.cli.output import complain
from hubbub.cli.replay import kept_messages, presence_of
from hubbub.cli.since import Beginning, Positions, as_dict, write_positions
from hubbub.client import (
    CallTimeoutError,
    Client,
    ClientError,
    Group,
    Message,
    NotConnectedError,
    Position,
    RemovedError,
    ReplyError,
)

OF_GROUPS: Final = frozenset({"chat_message", "group_message"})
OF_MEMBERS: Final = frozenset({"member_joined", "member_left"})
WRITE_EVERY: Final = 1.0
"""Seconds between looks whether there are positions to write down."""


def subscribe(
    groups: Annotated[list[str], typer.Argument(metavar="GROUP", help="Groups to join.")],
    url: Url = DEFAULT_URL,
    client_id: Annotated[
        str | None, typer.Option(metavar="ID", help="Connect under this id; the server makes one otherwise.")
    ] = None,
    token: Token = None,
    since: Annotated[
        str | None,
        typer.Option(
            metavar="EPOCH:OFFSET", help="Begin with what came after this position; start: with all there is."
        ),
    ] = None,
    positions: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Go on where the last run with this file stopped, and note it there."
        ),
    ] = None,
    count: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Stop after so many messages.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object a line, as when stdout is no terminal.")
    ] = False,
    presence: Annotated[
        bool, typer.Option("--presence", help="Who is in the groups first, and who joins and leaves.")
    ] = False,
    everything: Annotated[
        bool,
        typer.Option("--all", help="Broadcasts, personal and system notifications, joins and leaves too."),
    ] = False,
) -> None:
    """Join groups and print what arrives, one line a message.

    Comes back by itself when the connection is lost, and says so on stderr. In a group with history nothing
    is missed meanwhile; where something is, that is said there too. Ctrl+C stops.
    """
    beginning = Beginning.of(groups, since, positions)
    if positions is not None:
        write_positions(positions, beginning.positions)  # so that a file that cannot be is told now
    _report_on_stderr()

    async def work() -> None:
        client = Client(url, client_id, token=token or None, positions=beginning.positions)
        await Subscription(
            client,
            groups,
            show_json if as_json or not sys.stdout.isatty() else pretty_printer(),
            beginning=beginning,
            file=positions,
            count=count,
            presence=presence,
            everything=everything,
        ).run()

    listen(work, token)


class Subscription:
    """Listens until `count` messages have come, or nothing more can.

    Everything is printed by one handler, in the order of arrival. Once it is over that handler takes nothing
    more, so that what was not printed does not count as given.
    """

    def __init__(
        self,
        client: Client,
        groups: list[str],
        show: Show,
        *,
        beginning: Beginning,
        file: Path | None,
        count: int | None,
        presence: bool,
        everything: bool,
    ) -> None:
        self._client = client
        self._groups: dict[str, Group[Any]] = {name: client.group(name, Raw) for name in groups}
        self._member_of = set(self._groups)
        self._show = show
        self._file = file
        self._kept: dict[str, Any] = dict(beginning.positions)
        self._from_start = set(beginning.from_start)
        self._behind: dict[str, Position | None] = {}  # while older messages are printed: up to where
        self._epochs: dict[str, str] = {}
        self._left = count
        self._presence = presence
        self._everything = everything
        self._connected_before = False
        self._over: asyncio.Future[None]

    async def run(self) -> None:
        """Connect, join, and return when it is over."""
        self._over = asyncio.get_running_loop().create_future()
        self._client.register_handler("*", self._receive)
        async with self._client:
            tasks = [asyncio.create_task(self._follow(group)) for group in self._groups.values()]
            if self._file is not None:
                tasks.append(asyncio.create_task(self._write_now_and_then(self._file)))
            try:
                await self._over
            finally:
                self._over.cancel()  # what comes while disconnecting is of no interest
                for task in tasks:
                    task.cancel()
                if self._file is not None:
                    write_positions(self._file, self._positions())

    async def _follow(self, group: Group[Any]) -> None:
        """Stay in a group, whose messages the handler is given."""
        joined = False
        try:
            await group.join()
            joined = True
            async for _ in group:
                pass
        except (ReplyError, CallTimeoutError) as exc:
            if joined:
                self._lost(group.name, f"{group.name} could not be joined again: {exc}")
            else:
                self._fail(SaidNo(f"{group.name}: {exc}"))
        except (RemovedError, NotConnectedError):
            pass  # the handler hears of it after all that came before

    async def _receive(self, message: Message) -> None:
        if self._over.done():
            if message["type"] != "disconnected":
                await _never()  # until the client is closed
            return
        if self._is_wanted(message):
            await self._print(message)
        else:
            await self._take_note(message)

    def _is_wanted(self, message: Message) -> bool:
        type_ = message["type"]
        if self._everything and (type_ in OF_GROUPS or type_ in FOR_ALL):
            return True
        wanted = type_ in OF_GROUPS or (self._presence and type_ in OF_MEMBERS)
        return wanted and message.get("group_name") in self._groups

    async def _print(self, message: Message) -> None:
        type_ = message["type"]
        if type_ in OF_GROUPS and "offset" in message:
            # With its epoch the offset is a position, as --since takes it.
            group = message["group_name"]
            epoch = message.setdefault("epoch", self._epochs.get(group, ""))
            self._epochs[group] = epoch
        try:
            self._show(message)
        except BrokenPipeError as exc:
            self._fail(exc)
            await _never()  # nobody has read it
        if self._left is not None and (type_ in OF_GROUPS or (self._everything and type_ in FOR_ALL)):
            self._left -= 1
            if self._left == 0:
                self._over.set_result(None)

    async def _take_note(self, message: Message) -> None:
        """Of the messages that are about the connection, those that matter to whoever watches."""
        match message:
            case {"type": "connection_established"}:
                if self._connected_before:
                    complain("connected again")
                self._connected_before = True
            case {"type": "group_joined", "group_name": str(group)}:
                await self._joined(group, message)
            case {"type": "group_removed", "group_name": str(group)}:
                reason = str(message.get("reason", ""))
                self._lost(group, f"the server took this client out of {group}: {reason}")
            case {"type": "gap", "name": str(name)} if self._everything or name in self._groups:
                await self._tell_gap(name, message)
            case {"type": "messages_dropped", "count": count}:
                complain(f"{count} messages were dropped on the way: this client is too slow")
            case {"type": "disconnected", "reconnect": False}:
                reason = f"{message.get('code')} {message.get('reason', '')}"
                self._fail(SaidNo(f"disconnected for good: {reason}"))

    async def _joined(self, group: str, message: Message) -> None:
        self._member_of.add(group)
        if "epoch" in message:
            self._epochs[group] = message["epoch"]
        try:
            if self._presence and group in self._groups:
                await self._print(await presence_of(self._client, group))
        except ClientError as exc:
            complain(f"who is in {group} cannot be told: {exc}")
        if group in self._from_start:
            self._from_start.discard(group)
            match message:
                case {"epoch": str(epoch), "offset": int(offset)}:
                    await self._catch_up(group, Position(epoch, offset))
                case _:
                    complain(f"{group} keeps no history; here is what comes from now on")

    async def _catch_up(self, group: str, end: Position) -> None:
        """Print what was published before we came; what is published meanwhile waits."""
        self._behind[group] = None
        try:
            async for message in kept_messages(self._client, group, end):
                if message["type"] == "gap":
                    await self._tell_gap(group, message)
                else:
                    await self._print(message)
                self._behind[group] = Position(message["epoch"], message["offset"])
                if self._over.done():
                    await _never()
        except ClientError as exc:
            complain(f"the history of {group} cannot be had: {exc}")
        del self._behind[group]

    async def _tell_gap(self, name: str, gap: Message) -> None:
        if "epoch" in gap:
            self._epochs[name] = gap["epoch"]
        complain(f"messages of {name} are missing here, and cannot be had again")
        await self._print(gap)

    def _positions(self) -> Positions:
        """Up to where everything was printed."""
        self._kept |= self._client.positions
        for group, position in self._behind.items():
            if position is None:
                self._kept.pop(group, None)
            else:
                self._kept[group] = as_dict(position)
        return self._kept

    async def _write_now_and_then(self, file: Path) -> None:
        """So that little is printed twice after an end that nobody could see coming."""
        written = dict(self._positions())
        while True:
            await asyncio.sleep(WRITE_EVERY)
            if written != (now := self._positions()):
                written = dict(now)
                write_positions(file, now)

    def _lost(self, group: str, sentence: str) -> None:
        self._member_of.discard(group)
        if self._member_of or self._everything:
            complain(sentence)
        else:
            self._fail(SaidNo(sentence))

    def _fail(self, exc: Exception) -> None:
        if not self._over.done():
            self._over.set_exception(exc)


async def _never() -> NoReturn:
    await asyncio.Event().wait()
    raise AssertionError


def _report_on_stderr() -> None:
    """Let the client's own account of losing its server and coming back be seen."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("hubbub: %(message)s"))
    log = logging.getLogger("hubbub.client")
    log.addHandler(handler)
    log.propagate = False
