"""Telling handlers, one after another."""

import asyncio
import logging

import pytest

from hubbub.client.handlers import Handlers, Message

from .scripted import Heard, run


def test_handlers_are_called_in_order_and_the_star_hears_everything() -> None:
    """Those of the type first, in order of registration."""
    called: list[str] = []
    handlers = Handlers()
    handlers.add("*", lambda message: called.append(f"* {message['type']}"))
    handlers.add("news", lambda _: called.append("first"))
    handlers.add("news", lambda _: called.append("second"))

    run(handlers.tell({"type": "news"}))
    run(handlers.tell({"type": "weather"}))

    assert called == ["first", "second", "* news", "* weather"]


def test_a_coroutine_handler_is_awaited_before_the_next_is_called() -> None:
    """Two handlers never run at once."""
    called: list[str] = []

    async def slow(message: Message) -> None:
        called.append("slow begins")
        await asyncio.sleep(0)
        called.append("slow ends")

    handlers = Handlers()
    handlers.add("news", slow)
    handlers.add("news", lambda _: called.append("quick"))

    run(handlers.tell({"type": "news"}))

    assert called == ["slow begins", "slow ends", "quick"]


def test_a_handler_that_raises_is_logged_with_the_type_and_harms_nobody(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Plain or coroutine, the next one is still called."""

    def plain(message: Message) -> None:
        raise LookupError("plain trouble")

    async def coroutine(message: Message) -> None:
        raise LookupError("coroutine trouble")

    heard: list[Message] = []
    handlers = Handlers()
    for handler in (plain, coroutine, heard.append):
        handlers.add("news", handler)

    run(handlers.tell({"type": "news"}))

    assert heard == [{"type": "news"}]
    assert [record.name for record in caplog.records] == ["hubbub.client.handlers"] * 2
    assert [record.levelno for record in caplog.records] == [logging.ERROR] * 2
    assert all("'news'" in record.getMessage() for record in caplog.records)
    assert "plain trouble" in caplog.text
    assert "coroutine trouble" in caplog.text


def test_something_cancelled_inside_a_handler_stays_its_own_affair(caplog: pytest.LogCaptureFixture) -> None:
    """Only a cancellation of the task itself goes through."""

    async def awaits_a_cancelled_task(message: Message) -> None:
        task = asyncio.ensure_future(asyncio.sleep(60))
        task.cancel()
        await task

    handlers = Handlers()
    handlers.add("news", awaits_a_cancelled_task)

    run(handlers.tell({"type": "news"}))

    assert "cancelled from inside" in caplog.text


def test_a_handler_added_meanwhile_hears_the_next_message() -> None:
    """Whoever is being told goes on with the old list."""
    handlers = Handlers()
    late = Heard()
    handlers.add("news", lambda _: handlers.add("news", late))

    async def scenario() -> None:
        await handlers.tell({"type": "news", "number": 1})
        assert late.messages == []
        await handlers.tell({"type": "news", "number": 2})

    run(scenario())

    assert late.messages == [{"type": "news", "number": 2}]


def test_what_cannot_be_called_is_no_handler() -> None:
    """Said at registration, not when the first message comes."""
    with pytest.raises(TypeError, match="give a function or a coroutine"):
        Handlers().add("news", "print")  # type: ignore[arg-type]
