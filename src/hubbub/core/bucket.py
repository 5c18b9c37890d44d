"""Token buckets: how much of something is allowed per second, and how much of it at once."""


class Bucket:
    """Holds up to `burst` tokens and gains `rate` of them a second; begins full.

    Times are seconds of any steady clock. One that goes back all the same costs nobody anything.
    """

    __slots__ = ("_at", "_tokens", "burst", "rate")

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self.rate = rate
        self.burst = burst
        self._tokens = burst
        self._at = now

    def take(self, now: float, amount: float = 1.0) -> bool:
        """Take so many, or none where there are not enough. More than `burst` is never there."""
        tokens = min(self.burst, self._tokens + max(0.0, now - self._at) * self.rate)
        self._at = now
        if tokens < amount:
            self._tokens = tokens
            return False
        self._tokens = tokens - amount
        return True

    def wait(self, amount: float = 1.0) -> float:
        """Seconds from the last `take` until there are so many."""
        return max(0.0, (amount - self._tokens) / self.rate)
