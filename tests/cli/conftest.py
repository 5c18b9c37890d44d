"""Servers that the tests share."""

import io
import os
import sys
from collections.abc import Iterator, Mapping
from typing import Protocol

import pytest

from hubbub.cli import main

from .running import Ended, Server, is_ours


class Command(Protocol):
    """Runs `hubbub` in this process: the same but for the start, which is most of the time it takes."""

    def __call__(
        self, *arguments: str, stdin: bytes = b"", env: Mapping[str, str] | None = None
    ) -> Ended: ...


@pytest.fixture
def command(capsysbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch) -> Command:
    """For commands that end by themselves."""
    for name in filter(is_ours, list(os.environ)):
        monkeypatch.delenv(name)
    monkeypatch.setattr(sys, "path", list(sys.path))

    def run(*arguments: str, stdin: bytes = b"", env: Mapping[str, str] | None = None) -> Ended:
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
            for name, value in (env or {}).items():
                patch.setenv(name, value)
            code = main(arguments)
        captured = capsysbinary.readouterr()
        return Ended(code, captured.out, captured.err)

    return run


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """A server with history."""
    with Server("--history-size", "100") as server:
        yield server


@pytest.fixture(scope="session")
def locked() -> Iterator[Server]:
    """A server whose API needs the key `sesame`."""
    with Server("--api-keys", "sesame,other") as server:
        yield server
