"""The command line: `hubbub serve`, and what talks to a running server."""

from hubbub.cli.app import main

__all__ = ["main"]
