"""What tests of the command line use as well."""

from ..cli.conftest import command

__all__ = ["command"]
