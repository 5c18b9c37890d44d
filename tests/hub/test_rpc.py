"""Methods of the application that clients call: typed data in, a result or one error out."""

import asyncio
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec
import pydantic
import pytest
from msgspec import Meta

from hubbub.core.messages import BadCommand
from hubbub.hub import Hub, Refuse, SessionInfo

from .inprocess import JsonMessage, a_hub, enter, run


@dataclass
class DataclassVote:
    choice: str
    weight: int = 1


class StructVote(msgspec.Struct):
    choice: str
    weight: int = 1


class ModelVote(pydantic.BaseModel):
    choice: str
    weight: int = 1


class StrictVote(msgspec.Struct, forbid_unknown_fields=True):
    choice: Annotated[str, Meta(max_length=3)]


def ask(hub: Hub, method: str = "vote", **fields: Any) -> JsonMessage:
    """Call a method once and return the answer; the connection lives afterwards."""

    async def scenario() -> JsonMessage:
        async with hub.lifespan():
            alice = await enter(hub)
            answer = await alice.ask("rpc", method=method, **fields)
            assert (await alice.ask("ping"))["type"] == "pong"
            assert alice.closed is None
            return answer

    return run(scenario())


def a_hub_with(hook: Any, **settings: Any) -> Hub:
    """A hub whose method `vote` is this."""
    hub = a_hub(**settings)
    hub.rpc("vote")(hook)
    return hub


def voting(vote_type: Any) -> Hub:
    """A hub whose method takes this type and returns what it was given, in the same type."""

    async def vote(session, data):  # type: ignore[no-untyped-def]
        assert type(data) is vote_type
        assert data.weight == 1
        return vote_type(choice=f"{data.choice} of {session.client_id}", weight=2)

    vote.__annotations__["data"] = vote_type
    return a_hub_with(vote)


VOTES = [DataclassVote, StructVote, ModelVote]


@pytest.mark.parametrize("vote_type", VOTES)
def test_data_and_result_are_typed(vote_type: type) -> None:
    """Decoded to the type of the second parameter, encoded from what is returned."""
    answer = ask(voting(vote_type), data={"choice": "tea"})

    assert answer == {"type": "rpc_result", "id": 1, "data": {"choice": "tea of alice", "weight": 2}}


@pytest.mark.parametrize("vote_type", VOTES)
@pytest.mark.parametrize(
    ("data", "named"),
    [({"choice": 7}, "choice"), ({"choice": "tea", "weight": "heavy"}, "weight"), ({}, "choice")],
    ids=["wrong", "wrong too", "missing"],
)
def test_wrong_data_names_the_field(
    vote_type: type, data: object, named: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The client's fault: error 107, and no line in the log."""
    answer = ask(voting(vote_type), data=data)

    assert (answer["type"], answer["code"]) == ("error", 107)
    assert "`data`" in answer["message"]
    assert named in answer["message"]
    assert not caplog.records


@pytest.mark.parametrize("vote_type", VOTES)
@pytest.mark.parametrize("data", [None, 1, [], "x"], ids=repr)
def test_data_of_another_kind_is_wrong(vote_type: type, data: object) -> None:
    """An object is wanted."""
    answer = ask(voting(vote_type), data=data)

    assert (answer["type"], answer["code"]) == ("error", 107)
    assert "`data`" in answer["message"]


def test_wrong_data_of_a_model_is_told_in_a_sentence() -> None:
    """As of the other types."""
    answer = ask(voting(ModelVote), data={"choice": 7})

    assert "\n" not in answer["message"]
    assert "http" not in answer["message"]


def test_constraints_of_a_type_hold() -> None:
    """Those of msgspec's `Meta`, and unknown fields where they are forbidden."""
    for data, said in (({"choice": "coffee"}, "length"), ({"choice": "tea", "x": 1}, "unknown field `x`")):
        answer = ask(voting(StrictVote), data=data)
        assert answer["code"] == 107
        assert said in answer["message"]


def test_data_may_be_anything() -> None:
    """Without an annotation it is what JSON says, and null where there is none."""

    async def echo(session, data):  # type: ignore[no-untyped-def]
        return {"got": data}

    assert ask(a_hub_with(echo), data=[1, {"a": None}])["data"] == {"got": [1, {"a": None}]}
    assert ask(a_hub_with(echo))["data"] == {"got": None}


def test_a_method_may_take_no_data() -> None:
    """And be a plain function, and return nothing."""
    called: list[str] = []

    def vote(session: SessionInfo) -> None:
        called.append(session.client_id)

    assert ask(a_hub_with(vote), data={"not": "wanted"}) == {"type": "rpc_result", "id": 1, "data": None}
    assert called == ["alice"]


def test_an_unknown_method_is_104() -> None:
    """The sentence names those that are known."""
    hub = voting(StructVote)
    hub.rpc("abstain")(lambda session: session)
    answer = ask(hub, "veto")

    assert (answer["type"], answer["code"]) == ("error", 104)
    assert "'veto'" in answer["message"]
    assert "abstain, vote" in answer["message"]
    assert "none is registered" in ask(a_hub(), "veto")["message"]


@pytest.mark.parametrize("how", ["raises", "takes too long"])
def test_a_method_that_fails_is_100_and_logged(how: str, caplog: pytest.LogCaptureFixture) -> None:
    """The client learns nothing of why."""

    async def vote(session: SessionInfo, data: object) -> None:
        if how == "raises":
            raise ValueError("the secret of the database")
        await asyncio.Event().wait()

    answer = ask(a_hub_with(vote, hook_timeout=0.02), data=1)

    assert (answer["type"], answer["code"], answer["message"]) == ("error", 100, "internal error")
    [record] = caplog.records
    assert record.exc_info is not None


@pytest.mark.parametrize(
    ("said", "code", "sentence"),
    [
        (Refuse("the poll is closed"), 103, "the poll is closed"),
        (Refuse("slow down", code=111), 111, "slow down"),
        (BadCommand("field `data`: vote for tea"), 107, "field `data`: vote for tea"),
    ],
    ids=["refuse", "refuse with a code", "bad command"],
)
def test_a_method_may_refuse(
    said: Exception, code: int, sentence: str, caplog: pytest.LogCaptureFixture
) -> None:
    """With an error of its own; nothing is logged."""

    async def vote(session: SessionInfo, data: object) -> None:
        raise said

    answer = ask(a_hub_with(vote), data=1)

    assert (answer["type"], answer["code"], answer["message"]) == ("error", code, sentence)
    assert not caplog.records


def test_a_result_that_is_no_json_is_100_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    """The application's fault."""

    async def vote(session: SessionInfo) -> object:
        return object()

    assert ask(a_hub_with(vote))["code"] == 100
    assert "cannot be turned into JSON" in caplog.text


def test_a_result_has_a_bound() -> None:
    """One that is larger is an error, not a frame that no client expects."""

    async def vote(session: SessionInfo, data: int) -> str:
        return "x" * data

    hub = a_hub_with(vote, max_rpc_bytes=100)
    assert ask(hub, data=98)["type"] == "rpc_result"
    answer = ask(a_hub_with(vote, max_rpc_bytes=100), data=99)
    assert (answer["type"], answer["code"]) == ("error", 106)


def test_a_method_sees_who_calls() -> None:
    """Connection, client and user."""

    def vote(session: SessionInfo) -> dict[str, str]:
        return {"client": session.client_id, "connection": session.connection_id}

    data = ask(a_hub_with(vote))["data"]
    assert data["client"] == "alice"
    assert data["connection"]
