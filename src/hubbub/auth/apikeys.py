"""Who may use the server API: keys of which only hashes are kept, and what each of them opens."""

import hashlib
import hmac
import logging
import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from hubbub.core.grants import ACTIONS, Action, Grants, matches

logger = logging.getLogger("hubbub")

ON_CHANNELS: Final[Mapping[str, Action]] = {
    "publish": Action.PUBLISH,
    "broadcast": Action.PUBLISH,
    "broadcast_all": Action.PUBLISH,
    "notify": Action.PUBLISH,
    "subscribe": Action.JOIN,
    "unsubscribe": Action.JOIN,
    "presence": Action.PRESENCE,
    "presence_stats": Action.PRESENCE,
    "history": Action.HISTORY,
    "history_remove": Action.PUBLISH,
    "channels": Action.PRESENCE,
}
"""Methods that are about channels, with what they do in them. `POST /broadcast` is `broadcast_all`."""
ON_ALL: Final = frozenset(
    {"info", "connections", "disconnect", "refresh", "invalidate", "stats", "metrics"},
)
"""Methods that are about no channel in particular."""
METHODS: Final = frozenset(ON_CHANNELS) | ON_ALL

MAX_FILE_BYTES: Final = 1024 * 1024
FRESH: Final = 2_000_000_000
"""Nanoseconds in which a file may change again without a new time of change."""
_PREFIX: Final = "sha256:"
_HASH: Final = re.compile(r"sha256:[0-9a-f]{64}")


class BadKeys(ValueError):
    """API keys that make no sense; the sentence says why, and names no key."""


class NotAllowed(Exception):
    """A caller of the server API lacks a right; the sentence names it."""


def hash_key(key: str) -> str:
    """What is kept of a key."""
    return _PREFIX + hashlib.sha256(key.encode()).hexdigest()


def as_hash(key: str) -> str:
    """A key as it may stand in settings, plain or hashed already, as its hash. Raises `BadKeys`."""
    if not key.startswith(_PREFIX):
        return hash_key(key)
    if _HASH.fullmatch(key.lower()) is None:
        raise BadKeys(f"after {_PREFIX} come 64 hexadecimal digits")
    return key.lower()


@dataclass(frozen=True, slots=True, kw_only=True)
class Rights:
    """What somebody may do with the server API.

    who: what sentences call the caller. methods: None for all; where `grants` bounds the channels, for all
    that are about channels. grants: what may be done in which channels, None for all in all.
    """

    who: str = "this caller"
    methods: frozenset[str] | None = None
    grants: Grants | None = None

    def opens(self, method: str) -> bool:
        """Whether a method may be called at all."""
        if self.methods is not None:
            return method in self.methods
        return self.grants is None or method in ON_CHANNELS

    def reaches(self, method: str, channel: str) -> bool:
        """Whether a method may be called on a channel.

        A wildcard stands for none of the server's own channels: these a pattern has to name by their `$`.
        """
        if self.grants is None:
            return True
        return any(
            ON_CHANNELS[method] in actions
            and channel.startswith("$") <= pattern.startswith("$")
            and matches(pattern, channel)
            for pattern, actions in self.grants.by_pattern
        )

    def check(self, method: str, channels: Iterable[str] = ()) -> None:
        """Raise `NotAllowed` where a method may not be called, or not on one of these channels."""
        if not self.opens(method):
            raise NotAllowed(f"{self.who} does not open {method}")
        for channel in channels:
            if not self.reaches(method, channel):
                raise NotAllowed(f"{self.who} does not open {method} on channel {channel[:100]!r}")


EVERYTHING: Final = Rights()


class _Entry(msgspec.Struct, forbid_unknown_fields=True):
    """A key as it stands in a file."""

    name: str
    hash: str
    allow: list[str] | None = None
    channels: list[str] | None = None

    def rights(self) -> Rights:
        if self.allow is not None and (not self.allow or not METHODS.issuperset(self.allow)):
            unknown = ", ".join(repr(name[:60]) for name in self.allow if name not in METHODS) or "nothing"
            raise BadKeys(f"`allow` names {unknown}; there are {', '.join(sorted(METHODS))}")
        if self.channels is not None and not self.channels:
            raise BadKeys("`channels` is empty; name patterns, or leave it out for all")
        return Rights(
            who=f"the key {self.name!r}",
            methods=None if self.allow is None else frozenset(self.allow),
            grants=None if self.channels is None else Grants.of(dict.fromkeys(self.channels, ACTIONS)),
        )


def read_entries(content: bytes) -> dict[bytes, Rights]:
    """The keys of a file by their hashes. Raises `BadKeys`."""
    try:
        entries = msgspec.json.decode(content, type=list[_Entry])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise BadKeys(f"no list of keys as JSON: {exc}") from exc
    keys: dict[bytes, Rights] = {}
    names: set[str] = set()
    for entry in entries:
        try:
            if entry.name in names or not (entry.name and entry.name.isprintable()):
                raise BadKeys("`name` is empty, not printable or there twice")
            if not entry.hash.startswith(_PREFIX):
                raise BadKeys(f"`hash` does not begin with {_PREFIX}; keys stand here as hashes alone")
            digest = as_hash(entry.hash).encode()
            if digest in keys:
                raise BadKeys("`hash` is that of another key too")
            keys[digest] = entry.rights()
        except ValueError as exc:
            raise BadKeys(f"key {entry.name[:60]!r}: {exc}") from exc
        names.add(entry.name)
    return keys


class ApiKeys:
    """The keys that open the server API. Without any, and without a file, it is open.

    keys: those that open all, plain or as `sha256:<hex>`. file: a JSON file with keys of a name and a scope
    each; it is read again when it has changed, and kept as it was where that cannot be read. public: methods
    that need no key. Raises `BadKeys`.
    """

    def __init__(
        self,
        keys: Iterable[str] = (),
        *,
        file: str | Path | None = None,
        public: Iterable[str] = (),
    ) -> None:
        self._keys = {as_hash(key).encode(): Rights(who="this key") for key in keys if key}
        self._public = frozenset(public)
        self._file = _File(Path(file)) if file is not None else None

    def __bool__(self) -> bool:
        return bool(self._keys) or self._file is not None

    def is_public(self, method: str) -> bool:
        """Whether a method needs no key."""
        return method in self._public

    @staticmethod
    def given(headers: Mapping[str, str]) -> str:
        """The key that a request carries, as `X-API-Key: …` or `Authorization: apikey …`."""
        given = headers.get("x-api-key", "")
        scheme, _, credentials = headers.get("authorization", "").partition(" ")
        return credentials.strip() if not given and scheme.lower() == "apikey" else given

    def find(self, headers: Mapping[str, str]) -> Rights | None:
        """What the key of a request opens; None where it carries none that is known."""
        given = self.given(headers)
        if not given:
            return None
        # Headers are read as Latin-1, whatever the client meant.
        digest = f"{_PREFIX}{hashlib.sha256(given.encode('latin-1')).hexdigest()}".encode()
        found = None
        # Every key is compared, whatever the earlier ones said.
        for known in (self._keys, self._file.keys() if self._file is not None else {}):
            for key, rights in known.items():
                if hmac.compare_digest(digest, key):
                    found = rights
        return found


class _File:
    """Keys in a file that may change while we run."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._content = b""
        self._seen: tuple[int, int, int] | None = None
        self._trouble = ""
        try:
            self._keys = self._read()
        except OSError as exc:
            raise BadKeys(f"{path} cannot be read: {exc.strerror}") from exc
        except BadKeys as exc:
            raise BadKeys(f"{path}: {exc}") from exc

    def keys(self) -> Mapping[bytes, Rights]:
        """The keys, by their hashes."""
        trouble = ""
        try:
            self._keys = self._read()
        except OSError as exc:
            trouble = exc.strerror or "cannot be read"
        except BadKeys as exc:
            trouble = str(exc)
        if trouble and trouble != self._trouble:
            logger.error("%s: %s; the keys stay as they were", self._path, trouble)
        self._trouble = trouble
        return self._keys

    def _read(self) -> dict[bytes, Rights]:
        state = self._path.stat()
        seen = (state.st_mtime_ns, state.st_size, state.st_ino)
        if seen == self._seen:
            return self._keys
        with self._path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
        if len(content) > MAX_FILE_BYTES:
            raise BadKeys(f"it is larger than {MAX_FILE_BYTES} bytes")
        keys = self._keys if content and content == self._content else read_entries(content)
        self._content = content
        self._seen = seen if time.time_ns() - state.st_mtime_ns > FRESH else None
        return keys
