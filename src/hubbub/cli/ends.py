"""How a command ends: its exit code, and the one line that says why.

::

    Ended
    ├── SaidNo         1: the server said no, or the app to serve failed
    ├── WrongUsage     2: an argument, a flag or an environment variable is wrong
    └── NotReachable   3: no server answers there
"""

from typing import ClassVar, Final

INTERRUPTED: Final = 130
"""Ctrl+C before the work was done, as shells count it."""

HELP: Final = (
    "Exit codes: 0 all is well (Ctrl+C included, where a command runs until it is stopped), "
    "1 the server said no, 2 wrong usage, 3 the server cannot be reached."
)


class Ended(Exception):
    """A command cannot go on; the sentence says why and what would be right."""

    code: ClassVar[int]


class SaidNo(Ended):
    """The server answered, and the answer is no."""

    code = 1


class NeedsKey(SaidNo):
    """The server opens this only with an API key."""


class LacksRight(SaidNo):
    """The API key is known, and does not open this."""


class WrongUsage(Ended):
    """What was asked for makes no sense; asking again the same way never helps."""

    code = 2


class NotReachable(Ended):
    """No server answers at that address; asking again later may help."""

    code = 3
