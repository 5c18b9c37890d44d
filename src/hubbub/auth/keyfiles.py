"""Keys in files, read again when the files change: rotation without a restart."""

import logging
import os
import time
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Final, NamedTuple

from hubbub.auth.keys import Key, Ring, check_fit, read_keys

logger = logging.getLogger("hubbub.auth")

LARGEST_FILE: Final = 256 * 1024
UNSETTLED: Final = 2.0
"""Seconds after which a changed file is taken for written in whole; clocks of file systems are coarse."""


class _Stamp(NamedTuple):
    modified: int
    size: int
    inode: int


class _File:
    def __init__(self, path: Path, algorithms: Collection[str]) -> None:
        self.path = path
        self._algorithms = algorithms
        self._stamp: _Stamp | None = None
        self._settled = False
        self._complained: _Stamp | str | None = None
        self.keys: list[Key] = []

    def load(self) -> None:
        """Read the file. Raises `ValueError` with a sentence that names it."""
        try:
            stamp = self._look()
            self._stamp = stamp
            self._settled = time.time() - stamp.modified / 1e9 > UNSETTLED
            keys = self._read(stamp.size)
        except OSError as exc:
            raise ValueError(f"key file {self.path} cannot be read: {exc.strerror or exc}") from exc
        except ValueError as exc:
            raise ValueError(f"key file {self.path} cannot be used: {exc}") from exc
        self.keys = keys

    def _read(self, size: int) -> list[Key]:
        if size > LARGEST_FILE:
            raise ValueError(f"it is larger than {LARGEST_FILE} bytes")
        text = self.path.read_bytes()
        if b"-----BEGIN " not in text and not text.lstrip().startswith(b"{"):
            raise ValueError("it is neither PEM nor a JSON web key")
        keys = read_keys(text)
        check_fit(keys, self._algorithms)
        return keys

    def _look(self) -> _Stamp:
        status = os.stat(self.path)  # noqa: PTH116  what a link leads to counts, as with mounted secrets
        return _Stamp(status.st_mtime_ns, status.st_size, status.st_ino)

    def reload(self) -> bool:
        """Whether there are other keys now; a file that is broken or gone leaves the old ones."""
        try:
            stamp: _Stamp | str = self._look()
        except OSError as exc:
            stamp = str(exc)
        if stamp == self._stamp and self._settled:
            return False
        try:
            self.load()
        except ValueError as exc:
            if stamp != self._complained:
                self._complained = stamp
                logger.warning("%s; the keys it held before stay", exc)
            return False
        if stamp != self._complained:
            self._complained = None
        return True


class KeyFiles:
    """The keys in some files: PEM (several in one file too), a JWK or a JWK set."""

    def __init__(
        self, paths: Iterable[str | Path], algorithms: Collection[str] = (), *, look_every: float = 1.0
    ) -> None:
        """Reads the files. Raises `ValueError` with a sentence."""
        self._algorithms = algorithms
        self._every = look_every
        self._files = [_File(Path(path), algorithms) for path in paths]
        for file in self._files:
            file.load()
        self._look_at = time.monotonic() + look_every
        self._ring = self._made()

    def _made(self) -> Ring:
        return Ring((key for file in self._files for key in file.keys), self._algorithms)

    async def start(self) -> None:
        """Nothing to do."""

    async def stop(self) -> None:
        """Nothing to do."""

    async def ring(self) -> Ring:
        """The keys that were in the files a second ago or later."""
        now = time.monotonic()
        if now >= self._look_at:
            self._look_at = now + self._every
            changed = [file.reload() for file in self._files]
            if any(changed):
                self._ring = self._made()
        return self._ring

    async def renewed(self, kid: str) -> Ring | None:
        """Never: files are looked at often enough."""
        return None
