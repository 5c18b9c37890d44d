"""Imports go down, and the core knows no loop: held by a machine, and the machine is awake."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("importlinter", reason="the layers are checked where import-linter is installed")

HOUSE = Path(__file__).parents[2]


def lint_imports(house: Path) -> subprocess.CompletedProcess[str]:
    """Check the contracts of the source tree that lies there."""
    return subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache", "--no-logo"],
        cwd=house,
        env=os.environ | {"PYTHONPATH": str(house / "src"), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_imports_go_down() -> None:
    """Every contract of pyproject.toml is kept."""
    checked = lint_imports(HOUSE)

    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert " 0 broken" in checked.stdout


@pytest.mark.parametrize(
    ("module", "line", "contract"),
    [
        ("core/stream.py", "import asyncio", "The core knows no loop, no socket, no clock"),
        ("core/heartbeat.py", "from time import monotonic", "The core knows no loop, no socket, no clock"),
        ("core/registry.py", "import hubbub.hub.hub", "Imports go down"),
        ("hub/membership.py", "import hubbub.brokers.memory", "The hub speaks to ports only"),
    ],
    ids=lambda part: part.replace(" ", "-"),
)
def test_an_import_that_goes_up_is_caught(tmp_path: Path, module: str, line: str, contract: str) -> None:
    """A line planted into a copy of the source breaks the contract that forbids it."""
    shutil.copy(HOUSE / "pyproject.toml", tmp_path)
    shutil.copytree(HOUSE / "src", tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__"))
    planted = tmp_path / "src" / "hubbub" / module
    planted.write_text(planted.read_text(encoding="utf-8") + f"\n{line}\n", encoding="utf-8")

    checked = lint_imports(tmp_path)

    assert checked.returncode == 1, checked.stdout + checked.stderr
    assert f"{contract} BROKEN" in checked.stdout
