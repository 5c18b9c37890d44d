"""Keys in files: read again when they change, and kept when what has come is broken."""

import json
import logging
import os
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from hubbub.auth import BadToken, Tokens
from hubbub.auth.keyfiles import LARGEST_FILE, KeyFiles

from .making import DEADLINE, SECRET, pair, run, token

OLD, NEW = pair(), pair(number=1)


def looking_at(*paths: Path) -> Tokens:
    """A verifier that looks at its files whenever it is asked."""
    return Tokens(sources=[KeyFiles(paths, look_every=0)])


async def holds(verifier: Tokens, *tokens: str) -> list[bool]:
    """Which of the tokens are good."""
    good = []
    for each in tokens:
        try:
            await verifier.verify(each)
        except BadToken:
            good.append(False)
        else:
            good.append(True)
    return good


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Ask till it is true."""
    end = time.monotonic() + DEADLINE
    while not await condition():
        assert time.monotonic() < end, "waited in vain"


@pytest.mark.parametrize("form", ["pem", "several", "jwk", "jwks", "certificate order"])
def test_a_file_holds_keys(form: str, tmp_path: Path) -> None:
    """In each of the usual forms; a private one is good for verifying too."""
    file = tmp_path / "keys"
    file.write_text(
        {
            "pem": OLD.public_pem,
            "several": NEW.public_pem + "\n" + OLD.public_pem,
            "jwk": json.dumps(OLD.public_jwk),
            "jwks": json.dumps({"keys": [OLD.public_jwk, NEW.public_jwk]}),
            "certificate order": OLD.private_pem,
        }[form]
    )
    assert run(holds(Tokens(keys=[file]), token(OLD.private_pem))) == [True]


def test_keys_are_exchanged_without_a_restart(tmp_path: Path) -> None:
    """The new one beside the old one, then the new one alone; also by a file that is moved in its place."""
    file = tmp_path / "keys.pem"
    file.write_text(OLD.public_pem)
    old, new = token(OLD.private_pem), token(NEW.private_pem)

    async def scenario() -> None:
        verifier = looking_at(file)
        assert await holds(verifier, old, new) == [True, False]
        file.write_text(OLD.public_pem + NEW.public_pem)
        assert await holds(verifier, old, new) == [True, True]
        other = tmp_path / "other"
        other.write_text(NEW.public_pem)
        other.replace(file)
        assert await holds(verifier, old, new) == [False, True]

    run(scenario())


def test_a_file_is_looked_at_once_a_second(tmp_path: Path) -> None:
    """Not for every token; and then it is seen."""
    file = tmp_path / "keys.pem"
    file.write_text(OLD.public_pem)
    new = token(NEW.private_pem)

    async def scenario() -> None:
        began = time.monotonic()
        verifier = Tokens(keys=[file])
        file.write_text(NEW.public_pem)

        async def seen() -> bool:
            return (await holds(verifier, new))[0]

        await until(seen)
        assert time.monotonic() - began >= 1

    run(scenario())


def test_a_broken_file_leaves_the_old_keys(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """One line says so, however many tokens come; and what is good again counts again."""
    file = tmp_path / "keys.pem"
    file.write_text(OLD.public_pem)
    old, new = token(OLD.private_pem), token(NEW.private_pem)

    async def scenario() -> None:
        verifier = looking_at(file)
        for broken in ("", "{", OLD.public_pem[:-30], "x" * (LARGEST_FILE + 1), SECRET):
            caplog.clear()
            file.write_text(broken)
            with caplog.at_level(logging.WARNING, "hubbub.auth"):
                assert await holds(verifier, old, old, old, new) == [True, True, True, False]
            [line] = caplog.messages
            assert str(file) in line
            assert line.endswith("the keys it held before stay")
            assert "PRIVATE" not in line
        caplog.clear()
        file.unlink()
        assert await holds(verifier, old, old) == [True, True]
        assert len(caplog.messages) == 1
        file.write_text(NEW.public_pem)
        assert await holds(verifier, old, new) == [False, True]

    run(scenario())


def test_a_change_that_the_clock_does_not_show_is_seen(tmp_path: Path) -> None:
    """Written twice within one tick of a coarse clock, at the same size."""
    file = tmp_path / "keys.pem"
    file.write_text(OLD.public_pem)
    stamp = file.stat()

    async def scenario() -> None:
        verifier = looking_at(file)
        assert len(OLD.public_pem) == len(NEW.public_pem)
        file.write_text(NEW.public_pem)
        os.utime(file, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
        assert await holds(verifier, token(OLD.private_pem), token(NEW.private_pem)) == [False, True]

    run(scenario())


def test_a_file_that_is_no_good_from_the_start_is_an_error(tmp_path: Path) -> None:
    """Which names it."""
    file = tmp_path / "keys.pem"
    with pytest.raises(ValueError, match=r"keys\.pem cannot be read: No such file"):
        Tokens(keys=[file])
    file.write_text(SECRET)
    with pytest.raises(ValueError, match=r"keys\.pem cannot be used: it is neither PEM nor a JSON web key"):
        Tokens(keys=[file])
    file.write_text(OLD.public_pem)
    with pytest.raises(ValueError, match=r"a key for ES256 is of no use"):
        Tokens(keys=[file], algorithms=["RS256"])
