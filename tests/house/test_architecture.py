"""docs/architecture.md says what is there: every room, the order of the floors, and no file that is gone."""

import re
import tomllib
from pathlib import Path

import pytest

HOUSE = Path(__file__).parents[2]
SOURCE = HOUSE / "src" / "hubbub"
PAGE = (HOUSE / "docs" / "architecture.md").read_text(encoding="utf-8")


def section(heading: str) -> str:
    """What stands below a heading."""
    [text] = re.findall(rf"^## {heading}\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    return text


def names(text: str) -> set[str]:
    """What stands between backticks."""
    return set(re.findall(r"`([^`\n]+)`", text))


def test_every_room_is_described() -> None:
    """Each package and module, floor by floor as the linter has them."""
    floors = [row.split("|")[1] for row in section("Rooms").splitlines() if row.startswith("| `")]
    rules = tomllib.loads((HOUSE / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
    [layers] = [rule["layers"] for rule in rules["contracts"] if rule["name"] == "Imports go down"]
    there = {
        path.stem for path in SOURCE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()
    }

    assert [names(floor) for floor in floors] == [set(floor.split(" | ")) for floor in layers]
    assert set().union(*map(names, floors)) == there - {"__init__"}


@pytest.mark.parametrize(
    "file", sorted(name for name in names(PAGE) if re.search(r"\.(py|lua|md|toml)$", name))
)
def test_every_file_that_is_named_is_there(file: str) -> None:
    """In the package, or in the house; `x` stands for what a newcomer writes."""
    if re.search(r"\bx\b", file):
        return
    assert any((place / file).exists() for place in (SOURCE, HOUSE))


def test_links_lead_somewhere() -> None:
    """To files of this house."""
    for link in re.findall(r"\]\(([^)#]+)\)", PAGE):
        assert (HOUSE / "docs" / link).exists(), link
