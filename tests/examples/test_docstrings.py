"""What each example says of itself is so."""

import re
from pathlib import Path

import pytest

from .running import DEFAULT_ADDRESS, EXAMPLES, ROOT, commands


@pytest.mark.parametrize("example", EXAMPLES)
def test_the_docstring_gives_the_commands_that_run_it(example: str) -> None:
    """Two that serve it and at most one that uses it; the other tests run them all."""
    serving, plain, *using = commands(example)
    assert serving == ["hubbub", "serve", f"examples.{example}:app"]
    assert plain == ["uvicorn", f"examples.{example}:app"]
    for command in using:
        assert command[:4] == ["python", "-m", f"examples.{example}", f"ws://{DEFAULT_ADDRESS}"]
    assert len(using) <= 1


@pytest.mark.parametrize("example", EXAMPLES)
def test_every_example_is_run_by_a_test(example: str) -> None:
    """A test module has its name."""
    assert Path(__file__).with_name(f"test_{example}.py").exists()


@pytest.mark.parametrize("file", sorted((ROOT / "examples").glob("*.*")), ids=lambda file: file.name)
def test_an_example_fits_in_a_hundred_lines(file: Path) -> None:
    """What is longer shows too much at once."""
    assert len(file.read_text(encoding="utf-8").splitlines()) < 100


@pytest.mark.parametrize("example", EXAMPLES)
def test_the_addresses_in_a_docstring_are_those_of_the_default_port(example: str) -> None:
    """Somebody who copies the commands one after another reaches the server."""
    source = (ROOT / "examples" / f"{example}.py").read_text(encoding="utf-8")
    assert set(re.findall(r"(?:ws|http)://([^\s\"/]+)", source)) <= {DEFAULT_ADDRESS}
