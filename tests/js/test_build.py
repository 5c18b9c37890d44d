"""The module that is served is the one that the source makes, and it is small."""

import gzip
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from hubbub.core import codes
from hubbub.http.javascript import FILE

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "clients" / "js"
LARGEST = 6000


def test_it_is_small() -> None:
    """As it travels: under 6 KB."""
    assert len(gzip.compress(FILE.read_bytes(), 9)) < LARGEST


def test_it_depends_on_nothing() -> None:
    """No import in the module, and nothing to install beside it."""
    assert not re.search(r"\b(?:import|require)\s*[({'\"]", FILE.read_text())
    assert "dependencies" not in json.loads((PACKAGE / "package.json").read_text())


def test_its_codes_are_those_of_the_server() -> None:
    """By name and number, and by what their ranges say."""
    source = (PACKAGE / "src" / "codes.ts").read_text()
    known = dict(re.findall(r"export const (\w+) = (\d+);", source))
    assert known
    for name, number in known.items():
        assert getattr(codes, name).code == int(number)
    low, high, low_own, high_own = map(int, re.findall(r"code (?:>=|<) (\d+)", source))
    for code in range(1000, 5001):
        stops = low <= code < high or low_own <= code < high_own
        assert codes.reconnects(code) is not stops


def test_the_lock_file_names_no_registry() -> None:
    """So that any registry will do."""
    assert "resolved" not in (PACKAGE / "package-lock.json").read_text()


def test_it_is_what_the_source_makes(node: str, npm: list[str], tmp_path: Path) -> None:
    """Whoever changes the source runs `npm run build` in clients/js."""
    path = {"PATH": f"{Path(node).parent}{os.pathsep}{os.environ['PATH']}"}  # of what packages run
    copy = tmp_path / "js"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("dist", "node_modules"))
    modules = PACKAGE / "node_modules"
    if modules.is_dir():
        (copy / "node_modules").symlink_to(modules)
    else:
        installing = [*npm, "ci", "--no-audit", "--no-fund", "--fetch-retries=0", "--fetch-timeout=20000"]
        installed = subprocess.run(
            installing,
            cwd=copy,
            env=os.environ | path,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        if installed.returncode:
            pytest.skip(f"npm ci does not work here: {installed.stderr.strip()[-200:]}")
    built = tmp_path / "built"
    subprocess.run([node, "build.mjs", built], cwd=copy, check=True, timeout=60)
    for name in ("hubbub.js", "hubbub.d.ts"):
        fresh, committed = (built / name).read_text(), FILE.with_name(name).read_text()
        assert fresh == committed, f"{name} is older than its source; run `npm run build` in clients/js"
