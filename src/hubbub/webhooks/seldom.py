"""Warnings that would come by the thousand, said seldom."""

import logging
import time
from typing import Final

OFTEN_ENOUGH: Final = 60.0
"""Seconds between two warnings about the same."""


class Seldom:
    """Logs the first warning of a kind at once, and then one in a while with how many there were."""

    def __init__(self, logger: logging.Logger, interval: float = OFTEN_ENOUGH) -> None:
        self._logger = logger
        self._interval = interval
        self._said: dict[object, tuple[float, int]] = {}

    def warn(self, kind: object, sentence: str, *arguments: object) -> None:
        """Say it, or count it; of the kinds there must be few."""
        now = time.monotonic()
        then, unsaid = self._said.get(kind, (float("-inf"), 0))
        if now - then < self._interval:
            self._said[kind] = (then, unsaid + 1)
            return
        self._said[kind] = (now, 0)
        if unsaid:
            sentence += "; and %d more like this in the last %.0f seconds"
            arguments = (*arguments, unsaid, now - then)
        self._logger.warning(sentence, *arguments)
