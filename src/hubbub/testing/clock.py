"""A clock that only moves when it is told to."""


class FakeClock:
    """Stands in for `time.monotonic`: call it for the time, `advance` it to let time pass."""

    def __init__(self, now: float = 1000.0) -> None:
        self._now = now

    def __call__(self) -> float:
        return self._now

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self._now += seconds
