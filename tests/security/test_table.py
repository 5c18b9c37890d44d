"""docs/security.md: each threat has a test, and each test is there."""

import ast
import re
from pathlib import Path

import pytest

HOUSE = Path(__file__).parents[2]
ROWS = re.findall(
    r"^\| (.+?) \| (.+?) \| `(tests/.+?)` \|$",
    (HOUSE / "docs" / "security.md").read_text(),
    flags=re.MULTILINE,
)


def test_the_table_is_read() -> None:
    """Every line of it that is no heading."""
    lines = re.findall(r"^\| .+ \|$", (HOUSE / "docs" / "security.md").read_text(), flags=re.MULTILINE)
    assert len(ROWS) == len(lines) - 1 >= 35


@pytest.mark.parametrize(("threat", "test"), [(threat, test) for threat, _, test in ROWS])
def test_a_threat_has_its_test(threat: str, test: str) -> None:
    """In that file, by that name."""
    file, _, name = test.partition("::")
    defined = {node.name for node in ast.walk(ast.parse((HOUSE / file).read_text())) if hasattr(node, "name")}
    assert any(known.startswith("test_") for known in defined)
    assert not name or name in defined
