"""Signatures: a backend can tell what this hub has sent from what others have, and old copies from new.

`X-Hubbub-Signature: t=<seconds since the epoch>,v1=<hex>`, where `v1` is the HMAC-SHA256 of `<t>.<body>` with
the secret. While a secret is being replaced there is one `v1` for each.
"""

import hashlib
import hmac
from collections.abc import Iterable
from typing import Final

HEADER: Final = "X-Hubbub-Signature"
TOLERANCE: Final = 300.0
"""Seconds by which two clocks may differ, and within which a request may be repeated by others."""


def sign(secrets: Iterable[str], body: bytes, at: int) -> str:
    """The value of the header for a body that is sent at this second."""
    return ",".join([f"t={at}", *(f"v1={_digest(secret, at, body)}" for secret in secrets)])


def verify(
    secrets: Iterable[str], header: str, body: bytes, now: float, tolerance: float = TOLERANCE
) -> bool:
    """Whether a body was signed with one of the secrets, and not long ago."""
    parts = [part.partition("=") for part in header.split(",")]
    times = [value for name, _, value in parts if name == "t"]
    # A number of Python may be longer than any time, and hold digits of other scripts.
    if len(times) != 1 or not (times[0].isascii() and times[0].isdigit() and len(times[0]) <= 12):
        return False
    at = int(times[0])
    if abs(now - at) > tolerance:
        return False
    given = [value.encode() for name, _, value in parts if name == "v1"]
    wanted = [_digest(secret, at, body).encode() for secret in secrets]
    return any(hmac.compare_digest(one, other) for one in given for other in wanted)


def _digest(secret: str, at: int, body: bytes) -> str:
    return hmac.new(secret.encode(), b"%d." % at + body, hashlib.sha256).hexdigest()
