"""Everything the client raises, and whose fault it was.

::

    ClientError
    ├── InvalidURLError          yours: the server URL is not one                       (a ValueError)
    ├── BadTokenError            yours: the token cannot be sent                        (a ValueError)
    ├── NotConnectedError        nobody's: there is no connection to send on            (a ConnectionError)
    │   ├── LostCallError        the connection ended before the answer came
    │   └── StoppedError         the server said to stop, with a code
    ├── ReplyError               theirs: the server's answer to a call is an error, with a code
    ├── CallTimeoutError         no answer came in time                                 (a TimeoutError)
    ├── RemovedError             theirs: the server took the client out of a group
    ├── MisfitError              a message is not of the type that was asked for        (a ValueError)
    └── ConnectError             theirs: no connection came about                       (a ConnectionError)
        ├── UnreachableError     the network's: no such host, refused, TLS, proxy
        ├── ConnectTimeoutError  nothing came in time                                   (a TimeoutError)
        ├── NotHubbubError       something answered that is no Hubbub server
        └── RefusedError         the server said no: an HTTP status or a close code

Names that are not legal (a client id, a group) raise `hubbub.core.channels.BadName`, a ValueError.
"""


class ClientError(Exception):
    """Anything that went wrong in the client."""


class InvalidURLError(ClientError, ValueError):
    """The server URL is not one; the sentence says what would be right."""


class BadTokenError(ClientError, ValueError):
    """The token cannot be sent; the sentence says why, and does not repeat it."""


class NotConnectedError(ClientError, ConnectionError):
    """There is no connection to send on; the sentence says why, and whether one is on its way."""


class LostCallError(NotConnectedError):
    """The connection ended before the answer came: it is not known whether the call was done."""


class StoppedError(NotConnectedError):
    """The connection ended, and is not to come back.

    code, reason: those of the close frame or the `disconnect`, or the HTTP status that refused the way back.
    """

    def __init__(self, sentence: str, code: int, reason: str) -> None:
        super().__init__(sentence)
        self.code = code
        self.reason = reason


class ReplyError(ClientError):
    """The server's answer to a call is an error; the connection lives on.

    code: a number of the protocol, or one of the application's own.
    message: the server's sentence.
    temporary: whether the same may succeed later.
    """

    def __init__(self, code: int, message: str, temporary: bool = False) -> None:
        super().__init__(f"{message} ({code})")
        self.code = code
        self.message = message
        self.temporary = temporary


class CallTimeoutError(ClientError, TimeoutError):
    """No answer came in time: it is not known whether the call was done."""


class RemovedError(ClientError):
    """The server took the client out of the group, and it does not join again by itself."""

    def __init__(self, group: str, code: int, reason: str) -> None:
        super().__init__(f"The server took this client out of {group!r}: {reason or code}.")
        self.group = group
        self.code = code
        self.reason = reason


class MisfitError(ClientError, ValueError):
    """A message's data is not of the type that was asked for.

    data: what came, as bytes.
    """

    def __init__(self, sentence: str, data: bytes) -> None:
        super().__init__(sentence)
        self.data = data


class ConnectError(ClientError, ConnectionError):
    """No connection came about."""


class UnreachableError(ConnectError):
    """Nothing could be reached at that address: no such host, refused, TLS or proxy trouble."""


class ConnectTimeoutError(ConnectError, TimeoutError):
    """The connection was not established in time."""


class NotHubbubError(ConnectError):
    """Something answered, but it does not speak WebSocket, or is not a Hubbub server."""


class RefusedError(ConnectError):
    """The server said no, in the handshake (`status`) or right after it (`code`).

    reason: the body of the HTTP answer, or the reason of the close frame.
    reconnect: whether it may be different next time.
    retry_after: seconds to wait at least until then.
    """

    def __init__(
        self,
        sentence: str,
        *,
        status: int | None = None,
        code: int | None = None,
        reason: str = "",
        reconnect: bool = True,
        retry_after: float = 0.0,
    ) -> None:
        super().__init__(sentence)
        self.status = status
        self.code = code
        self.reason = reason
        self.reconnect = reconnect
        self.retry_after = retry_after
