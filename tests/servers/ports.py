"""Ports that are free, and that nothing else takes while a server is down."""

import random
import socket
from typing import Final

# Below the ports that systems give to outgoing connections (from 32768 on Linux, 49152 elsewhere), so that
# none of those takes the port of a server that is to come back. A cluster node's bus listens 10000 above.
_CHOICE: Final = range(11_000, 22_000)
BUS: Final = 10_000

_given: set[int] = set()


def free_port() -> int:
    """A port that nothing listens on, nor 10000 above; each is given only once."""
    for port in random.sample(_CHOICE, len(_CHOICE)):
        if port not in _given and _is_free(port) and _is_free(port + BUS):
            _given.add(port)
            return port
    raise OSError("no free port is left")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
