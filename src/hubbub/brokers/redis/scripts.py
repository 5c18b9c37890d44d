"""The scripts that run on the servers, each one atomic step; they are in `brokers/lua`."""

from hashlib import sha1
from importlib.resources import files
from typing import Final


class Script:
    """One script, and the digest the server knows it by."""

    def __init__(self, *parts: str) -> None:
        folder = files("hubbub.brokers") / "lua"
        self.source = "\n".join((folder / f"{part}.lua").read_text() for part in parts)
        self.digest = sha1(self.source.encode(), usedforsecurity=False).hexdigest()


PUBLISH: Final = Script("epoch", "publish")
HISTORY: Final = Script("epoch", "history")
POSITION: Final = Script("epoch", "position")
DESERTED: Final = Script("deserted")
OCCUPANCY: Final = Script("occupancy")
MEMBER_ADD: Final = Script("members", "member_add")
MEMBER_REMOVE: Final = Script("members", "member_remove")
MEMBERS_REPLACE: Final = Script("members", "members_replace")
MEMBERS_REFRESH: Final = Script("members", "members_refresh")
MEMBERS_LIST: Final = Script("members", "members_list")
MEMBERS_COUNT: Final = Script("members", "members_count")
SCRIPTS: Final = (
    PUBLISH,
    HISTORY,
    POSITION,
    DESERTED,
    OCCUPANCY,
    MEMBER_ADD,
    MEMBER_REMOVE,
    MEMBERS_REPLACE,
    MEMBERS_REFRESH,
    MEMBERS_LIST,
    MEMBERS_COUNT,
)
