"""Every code that a client can see, in one table, whose ranges say what the client does next.

Errors (100-113) answer one command; the connection lives on. Close codes end a connection:

=========  ==========================================================
range      what a client does
=========  ==========================================================
3000-3499  comes back, after a back-off
3500-3999  stops: coming back would end the same way
4000-4499  the application's own: comes back
4500-4999  the application's own: stops
=========  ==========================================================

The close codes of RFC 6455 §7.4.1 (1000-1015) stand beside them for faults of the WebSocket itself.
"""

from typing import Final, NamedTuple


class Error(NamedTuple):
    """An answer to one command that failed."""

    code: int
    message: str
    temporary: bool = False


class CloseReason(NamedTuple):
    """Why a connection ends: the code and the reason of its close frame."""

    code: int
    reason: str

    @property
    def reconnect(self) -> bool:
        """Whether a client should come back."""
        return reconnects(self.code)


def reconnects(code: int) -> bool:
    """Whether a client that was closed with `code` should come back (see the table above)."""
    return not (3500 <= code <= 3999 or 4500 <= code <= 4999)


# Errors, by the numbers the field's clients know.
INTERNAL: Final = Error(100, "internal error", temporary=True)
UNAUTHORIZED: Final = Error(101, "unauthorized")
UNKNOWN_CHANNEL: Final = Error(102, "unknown channel")
PERMISSION_DENIED: Final = Error(103, "permission denied")
METHOD_NOT_FOUND: Final = Error(104, "method not found")
ALREADY_SUBSCRIBED: Final = Error(105, "already subscribed")
LIMIT_EXCEEDED: Final = Error(106, "limit exceeded")
BAD_REQUEST: Final = Error(107, "bad request")
NOT_AVAILABLE: Final = Error(108, "not available")
TOKEN_EXPIRED: Final = Error(109, "token expired")
EXPIRED: Final = Error(110, "expired")
TOO_MANY_REQUESTS: Final = Error(111, "too many requests", temporary=True)
UNRECOVERABLE: Final = Error(112, "unrecoverable position")
CONCURRENT: Final = Error(113, "concurrent pagination", temporary=True)

# Close codes after which a client comes back.
SHUTDOWN: Final = CloseReason(3001, "shutdown")
SERVER_ERROR: Final = CloseReason(3004, "internal error")
EXPIRED_TOKEN: Final = CloseReason(3005, "token expired")
SLOW: Final = CloseReason(3008, "slow")
INSUFFICIENT_STATE: Final = CloseReason(3010, "insufficient state")
FORCE_RECONNECT: Final = CloseReason(3011, "force reconnect")
NO_SIGN_OF_LIFE: Final = CloseReason(3012, "no sign of life")

# Close codes after which a client stops.
INVALID_TOKEN: Final = CloseReason(3500, "invalid token")
BAD_PROTOCOL: Final = CloseReason(3501, "bad request")
STALE: Final = CloseReason(3502, "stale")
FORCE_DISCONNECT: Final = CloseReason(3503, "force disconnect")
CONNECTION_LIMIT: Final = CloseReason(3504, "connection limit")
TOO_MANY_ERRORS: Final = CloseReason(3509, "too many errors")

# Faults of the WebSocket itself: RFC 6455 §7.4.1.
NORMAL: Final = CloseReason(1000, "")
ABNORMAL: Final = CloseReason(1006, "connection lost")
UNSUPPORTED_DATA: Final = CloseReason(1003, "this connection speaks JSON in text frames")
INVALID_UTF8: Final = CloseReason(1007, "text frames hold UTF-8")
MESSAGE_TOO_BIG: Final = CloseReason(1009, "message too big")

# Why a group membership ended without the client asking.
REMOVED_BY_SERVER: Final = CloseReason(2000, "server unsubscribed")

ERRORS: Final = tuple(value for value in globals().copy().values() if isinstance(value, Error))
CLOSE_REASONS: Final = tuple(value for value in globals().copy().values() if isinstance(value, CloseReason))
