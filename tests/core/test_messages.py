"""Messages: frozen, named once, and every one of them part of what commands, replies and pushes are."""

import inspect
from typing import get_args

import pytest
from msgspec import Struct

from hubbub.core import messages
from hubbub.core.messages import (
    ALL,
    BadCommand,
    Command,
    Connect,
    Member,
    Ping,
    Pong,
    Position,
    Push,
    Reply,
    client_channel,
    user_channel,
)

STRUCTS = [
    value
    for _, value in inspect.getmembers(messages, inspect.isclass)
    if issubclass(value, Struct) and value is not Struct
]


def test_reserved_channels_begin_with_a_dollar() -> None:
    """So that no client can join them by name."""
    assert (ALL, client_channel("ada"), user_channel("7")) == ("$all", "$client:ada", "$user:7")


@pytest.mark.parametrize("struct", STRUCTS, ids=lambda struct: struct.__name__)
def test_a_message_does_not_change_once_it_exists(struct: type[Struct]) -> None:
    """It is shared by everyone who gets it."""
    assert struct.__struct_config__.frozen


def test_every_message_is_a_command_a_reply_or_a_push() -> None:
    """A new one that is in no union would be found by no type checker."""
    unions = {*get_args(Command), *get_args(Reply), *get_args(Push)}

    assert set(STRUCTS) - unions == {Position, Member}
    assert len(unions) == len(get_args(Command)) + len(get_args(Reply)) + len(get_args(Push))


@pytest.mark.parametrize("struct", get_args(Command) + get_args(Reply), ids=lambda struct: struct.__name__)
def test_every_command_but_connect_and_every_reply_carries_an_id(struct: type[Struct]) -> None:
    """An answer is found by the mark of its question."""
    assert ("id" in struct.__struct_fields__) == (struct is not Connect)


def test_signs_of_life_need_no_id() -> None:
    """They are mostly sent without."""
    assert Ping().id is None
    assert Pong().id is None


def test_positions_of_different_epochs_differ() -> None:
    """The same offset in another epoch is another place."""
    assert Position("a", 7) == Position("a", 7) != Position("b", 7)


def test_a_bad_command_carries_its_sentence_and_whose_it_was() -> None:
    """What the answer needs."""
    fault = BadCommand("field `x` is missing", id="7")

    assert (str(fault), fault.message, fault.id, fault.error) == (
        "field `x` is missing",
        "field `x` is missing",
        "7",
        None,
    )
