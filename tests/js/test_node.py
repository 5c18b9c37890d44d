"""The JavaScript client under Node: each file of tests is run by Node itself."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
FILES = sorted(path.name for path in HERE.glob("*.test.mjs"))
PATIENCE = 120.0


@pytest.mark.parametrize("file", FILES)
def test_under_node(file: str, node: str) -> None:
    """Every test of the file passes, or is skipped with a reason."""
    # Before Node 22 the WebSocket of the platform has to be asked for.
    command = [node, "--experimental-websocket", "--no-warnings", "--test", "--test-reporter=tap", file]
    ran = subprocess.run(
        command,
        cwd=HERE,
        env=os.environ | {"PYTHON": sys.executable},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
