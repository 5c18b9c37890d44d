"""The time of day as the wire shows it."""

import time
from datetime import UTC, datetime
from functools import lru_cache


def timestamp() -> str:
    """Now, in ISO 8601 with a UTC offset: six digits of fraction, or none where all are zero."""
    second, fraction = divmod(time.time_ns() // 1000, 1_000_000)
    return f"{_until_second(second)}.{fraction:06}+00:00" if fraction else f"{_until_second(second)}+00:00"


@lru_cache(maxsize=4)
def _until_second(second: int) -> str:
    # What thousands of messages have in common, and most of what a timestamp costs.
    return datetime.fromtimestamp(second, UTC).replace(tzinfo=None).isoformat()
