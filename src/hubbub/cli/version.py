"""`hubbub version`."""

import sys

import hubbub


def version() -> None:
    """Print the version."""
    sys.stdout.write(f"hubbub {hubbub.__version__}\n")
