"""What a program gives and takes as types of pydantic's, by themselves and within others."""

import asyncio
import dataclasses
import logging
import subprocess
import sys
from typing import Annotated, Any

import pytest
from msgspec import Struct
from pydantic import BaseModel, Field, HttpUrl, RootModel, SecretStr
from pydantic import dataclasses as pydantic_dataclasses
from typing_extensions import TypedDict

from hubbub.client import MisfitError
from hubbub.client.wire import JSON, MSGPACK, Format

from .scripted import connected, run


class Model(BaseModel):
    n: int


class Models(RootModel[list[Model]]):
    pass


@pydantic_dataclasses.dataclass
class Dataclass:
    n: int


@dataclasses.dataclass
class Around:
    models: list[Model]


class Dict(TypedDict):
    model: Model


class Plain(Struct):
    n: int


TYPES: list[tuple[Any, Any, Any]] = [
    (Model, {"n": 1}, Model(n=1)),
    (list[Model], [{"n": 1}, {"n": 2}], [Model(n=1), Model(n=2)]),
    (dict[str, Model], {"a": {"n": 1}}, {"a": Model(n=1)}),
    (Model | None, None, None),
    (Models, [{"n": 1}], Models([Model(n=1)])),
    (Dataclass, {"n": 1}, Dataclass(1)),
    (Around, {"models": [{"n": 1}]}, Around([Model(n=1)])),
    (Dict, {"model": {"n": 1}}, {"model": Model(n=1)}),
    (Annotated[int, Field(gt=0)], 3, 3),
    (HttpUrl, "https://example.com/", HttpUrl("https://example.com/")),
    (list[SecretStr], ["s"], [SecretStr("s")]),
    (list[Plain], [{"n": 1}], [Plain(1)]),
    (dict[str, int], {"a": 1}, {"a": 1}),
    (Any, [1], [1]),
]


@pytest.mark.parametrize("format", [JSON, MSGPACK], ids=["json", "msgpack"])
@pytest.mark.parametrize(("type_", "data", "expected"), TYPES, ids=lambda each: str(each)[:40])
def test_data_becomes_what_was_asked_for(type_: Any, data: Any, expected: Any, format: Format) -> None:
    """In both formats; whose type it is makes no difference."""
    raw = format.encode(data)
    read = format.reader(type_)
    assert read(raw.encode() if isinstance(raw, str) else raw) == expected  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "type_", [Model, list[Model], Annotated[int, Field(gt=0)], Dict, list[Plain]], ids=str
)
@pytest.mark.parametrize("format", [JSON, MSGPACK], ids=["json", "msgpack"])
def test_what_does_not_fit_is_a_value_error(type_: Any, format: Format) -> None:
    """Which a loop takes for a misfit."""
    raw = format.encode({"model": -1} if type_ is Dict else -1)
    with pytest.raises(ValueError, match=r".+"):
        format.reader(type_)(raw.encode() if isinstance(raw, str) else raw)  # type: ignore[arg-type]


@pytest.mark.parametrize("format", [JSON, MSGPACK], ids=["json", "msgpack"])
def test_pydantics_objects_can_be_sent(format: Format) -> None:
    """A model, and what stands within one; what has no form in JSON is said to have none."""
    sent = format.encode({"data": [Model(n=1), Models([Model(n=2)]), HttpUrl("https://example.com/")]})
    assert format.decode(sent) == {"data": [{"n": 1}, [{"n": 2}], "https://example.com/"]}  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="object cannot be sent"):
        format.encode({"data": object()})


def test_the_client_imports_no_pydantic() -> None:
    """Who does not use it pays nothing for it."""
    script = "import sys, hubbub.client; from hubbub.client.wire import JSON; JSON.reader(list[int])"
    check = script + "; print('pydantic' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", check], capture_output=True, text=True, timeout=20, check=True
    )
    assert done.stdout == "False\n"


def test_a_history_goes_by_the_types_and_the_misfits_of_its_group(caplog: pytest.LogCaptureFixture) -> None:
    """As a loop does."""
    entries = [
        {"type": "group_message", "group_name": "orders", "data": {"n": 1}, "offset": 1},
        {"type": "group_message", "group_name": "orders", "data": "no model", "offset": 2},
        {"type": "chat_message", "group_name": "orders", "message": {"n": 3}, "from": "bob", "offset": 3},
    ]

    async def scenario() -> None:
        async with connected() as (client, peer, _):
            for misfits in ("skip", "raise"):
                group = client.group("orders", Model, misfits=misfits)  # type: ignore[call-overload]
                asking = asyncio.create_task(group.history())
                asked = await peer.hear()
                await peer.say("history", id=asked["id"], messages=entries, epoch="e", offset=3)
                if misfits == "raise":
                    with pytest.raises(MisfitError, match="history"):
                        await asking
                else:
                    messages = (await asking).messages
                    assert [(each.data.n, each.position.offset) for each in messages] == [(1, 1), (3, 3)]

    caplog.set_level(logging.WARNING, "hubbub.client")
    run(scenario())
    assert caplog.text.count("Passed over") == 1
