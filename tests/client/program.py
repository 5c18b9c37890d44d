"""The program's lane of a scenario, on the Python client."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable
from typing import Any

from hubbub.client import (
    Backoff,
    CallTimeoutError,
    Client,
    ConnectTimeoutError,
    Gap,
    Message,
    NotConnectedError,
    NotHubbubError,
    RefusedError,
    RemovedError,
    ReplyError,
    StoppedError,
    UnreachableError,
)

KINDS = {
    CallTimeoutError: "timeout",
    ConnectTimeoutError: "timeout",
    RefusedError: "refused",
    UnreachableError: "unreachable",
    NotHubbubError: "not_hubbub",
    NotConnectedError: "not_connected",
    ReplyError: "error",
}


class Program:
    """Goes through the program's lane, one step after the other."""

    def __init__(self, scenario: dict[str, Any], url: str) -> None:
        self._steps: list[dict[str, Any]] = scenario["program"]
        options = dict(scenario.get("options", {}))
        if isinstance(tokens := options.get("token"), list):
            options["token"] = lambda: tokens.pop(0) if len(tokens) > 1 else tokens[0]
        self.client = Client(
            url,
            backoff=Backoff(draw=lambda: 0.0),
            proxy=None,
            ping_interval=2.5,
            pong_timeout=1.0,
            open_timeout=1.0,
            call_timeout=1.0,
            close_timeout=0.2,
            **options,
        )
        self._states = ["disconnected"]
        self._turned = asyncio.Event()
        self.client.register_handler("state", self._note)
        self._loops: dict[str, AsyncIterator[Any]] = {}
        self._joining: list[asyncio.Task[None]] = []
        if any("own" in step.get("hears", {}) for step in self._steps):
            self._loops["own"] = aiter(self.client.own(gaps=True))

    def _note(self, message: Message) -> None:
        self._states.append(message["state"])
        self._turned.set()

    async def play(self) -> None:
        """Go through the lane; an assertion fails at what is otherwise."""
        for number, step in enumerate(self._steps, 1):
            name, argument = next(iter(step.items()))
            what = f"step {number} of the program, {json.dumps(step)}"
            try:
                async with asyncio.timeout(10):
                    await self._step(name, argument, step)
            except Exception as exc:
                exc.add_note(what)
                raise

    async def _step(self, name: str, argument: Any, step: dict[str, Any]) -> None:
        if "fails" in step:
            await self._failing(getattr(self, f"_{name}")(argument), step["fails"])
            return
        if step.get("later"):
            self._joining.append(asyncio.create_task(self._join(argument)))
            return
        given = await getattr(self, f"_{name}")(argument)
        if "gives" in step:
            wanted = step["gives"]
            if name != "rpc":
                given = {field: given[field] for field in wanted}
            assert given == wanted

    async def _failing(self, call: Awaitable[Any], wanted: dict[str, Any]) -> None:
        try:
            await call
        except Exception as exc:  # noqa: BLE001 - which one it is comes next
            seen = {"kind": next(kind for error, kind in KINDS.items() if isinstance(exc, error))}
            seen |= {field: getattr(exc, field) for field in ("status", "code") if field in wanted}
            assert {field: seen[field] for field in wanted} == wanted
        else:
            raise AssertionError("it did not fail")

    # The steps.

    async def _connect(self, _: bool) -> None:
        await self.client.connect()

    async def _disconnect(self, _: bool) -> None:
        await self.client.disconnect()

    async def _join(self, name: str) -> None:
        group = self.client.group(name, gaps=True)
        await group.join()
        self._loops[name] = aiter(group)

    async def _leave(self, name: str) -> None:
        await self.client.leave_group(name)

    async def _publish(self, call: list[Any]) -> dict[str, Any]:
        position = await self.client.publish(*call)
        return {} if position is None else {"epoch": position.epoch, "offset": position.offset}

    async def _rpc(self, call: list[Any]) -> Any:
        return await self.client.rpc(*call)

    async def _history(self, name: str) -> dict[str, Any]:
        history = await self.client.history(name)
        return {
            "messages": history.messages,
            "epoch": history.position.epoch,
            "offset": history.position.offset,
        }

    async def _presence(self, name: str) -> dict[str, Any]:
        return {
            key: {"client_id": member.client_id} for key, member in (await self.client.presence(name)).items()
        }

    async def _pause(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def _state(self, wanted: str) -> None:
        while wanted not in self._states:
            self._turned.clear()
            self._states = self._states[-1:]
            await self._turned.wait()
        del self._states[: self._states.index(wanted)]

    async def _positions(self, wanted: dict[str, Any]) -> None:
        assert self.client.positions == wanted

    async def _hears(self, wanted: dict[str, Any]) -> None:
        name = wanted.get("group", "own")
        try:
            heard = await anext(self._loops[name])
        except (RemovedError, ReplyError, StoppedError) as exc:
            if exc.code != wanted.get("removed"):
                raise
            return
        seen: dict[str, Any]
        if isinstance(heard, Gap):
            seen = {"own": "gap", "name": heard.name} if name == "own" else {"group": heard.name, "gap": True}
        elif name == "own":
            seen = {"own": heard.kind, "data": heard.data}
        else:
            seen = {"group": heard.group, "data": heard.data, "from": heard.sender}
        assert {field: seen.get(field) for field in wanted} == wanted
