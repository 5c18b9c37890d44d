"""What a connection may do in a channel."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hubbub.core import codes
from hubbub.core.grants import Action, Who, owners
from hubbub.core.session import Stage
from hubbub.hub.connection import Connection
from hubbub.hub.hooks import Refuse

if TYPE_CHECKING:
    from hubbub.hub.hub import Hub

_REASONS = {
    Who.MEMBERS: "only members may do this; join the group first",
    Who.TOKEN: "the token does not grant this",
    Who.NOBODY: "this is left to the server",
}


class Permits:
    """Says yes or no, by what the client was granted and by what the channel's namespace leaves to whom.

    In this order: a channel that belongs to users is theirs alone; what is left to nobody nobody does; where
    the client's token speaks of channels, what it does not grant is refused, and what it grants is allowed;
    else the namespace decides, and a channel's owner counts as one with a token. Hooks are asked afterwards,
    and can only say no.
    """

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def check(self, connection: Connection, action: Action, channel: str) -> None:
        """Raise `Refuse` where the connection may not do this in the channel."""
        reason = self._objection(connection, action, channel)
        if reason:
            self._hub.metrics.denied(action)
            raise Refuse(reason, code=codes.PERMISSION_DENIED.code)

    def check_closed(self, connection: Connection, channel: str) -> None:
        """Raise `Refuse` where not even a token for this channel lets the connection join it."""
        users = owners(channel)
        if users is not None and connection.session.user not in users:
            reason = "the group belongs to somebody else"
        elif self._hub.namespaces.of(channel).join is Who.NOBODY:
            reason = _REASONS[Who.NOBODY]
        else:
            return
        self._hub.metrics.denied(Action.JOIN)
        raise Refuse(reason, code=codes.PERMISSION_DENIED.code)

    def may_recover(self, connection: Connection, channel: str) -> bool:
        """Whether one that joins may be given what it missed, which is reading the history as a member."""
        if channel in connection.granted:
            return self._hub.namespaces.of(channel).who_may(Action.HISTORY) is not Who.NOBODY
        return not self._objection(connection, Action.HISTORY, channel, as_member=True)

    def _objection(
        self, connection: Connection, action: Action, channel: str, *, as_member: bool = False
    ) -> str:
        users = owners(channel)
        session = connection.session
        if users is not None and (not session.user or session.user not in users):
            return "the group belongs to somebody else"
        who = self._hub.namespaces.of(channel).who_may(action)
        if who is Who.NOBODY:
            return _REASONS[who]
        grants = connection.identity.grants
        if grants is not None:
            return "" if grants.allow(action, channel) else _REASONS[Who.TOKEN]
        is_member = as_member or session.channels.get(channel, Stage.JOINING) is not Stage.JOINING
        if who is Who.MEMBERS and not is_member:
            return _REASONS[who]
        if who is Who.TOKEN and users is None:
            return _REASONS[who]
        return ""
