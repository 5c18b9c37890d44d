"""Tokens that are no longer good, though they have not expired: known on every node."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Final

import msgspec
from msgspec import Raw, Struct

from hubbub.brokers.base import BrokerUnavailable, HistoryPage
from hubbub.core import codes
from hubbub.core.channels import Namespace
from hubbub.core.messages import Kind, Publication
from hubbub.hub.background import quietly
from hubbub.hub.hooks import Identity, to_json

if TYPE_CHECKING:
    from hubbub.hub.hub import Hub

logger = logging.getLogger("hubbub.revocations")

REVOKED: Final = "$revoked"
"""The channel in which nodes tell each other; its history tells those who come later."""
PAUSE: Final = 0.5
"""Seconds till a broker that did not answer is asked again."""
MOST: Final = 10_000
"""Revocations that are kept; past it the oldest go."""


class Revocation(Struct, frozen=True, omit_defaults=True):
    """Tokens of this user (or all), of this id (or any), issued before (seconds since the epoch)."""

    before: float
    user: str = ""
    token_id: str = ""

    def covers(self, user: str, token_id: str, issued_at: float | None) -> bool:
        """Whether a token is one of them. One that does not say when it was issued is."""
        return (
            self.user in ("", user)
            and self.token_id in ("", token_id)
            and (issued_at is None or issued_at < self.before)
        )

    def ends(self, identity: Identity) -> bool:
        """Whether a connection of this identity is to be closed."""
        # Who came in without a token has none to lose, unless its user is named.
        has_token = identity.expires_at is not None or identity.issued_at is not None or identity.token_id
        return bool(has_token or self.user) and self.covers(
            identity.user, identity.token_id, identity.issued_at
        )


_decode: Final = msgspec.json.Decoder(Revocation).decode


class Revocations:
    """What was revoked within the longest life of a token, as a channel with a history tells it."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._known: dict[tuple[str, str], Revocation] = {}

    @staticmethod
    def namespace(ttl: float) -> Namespace:
        """The options of the channel: revocations are kept for `ttl` seconds."""
        return Namespace(history_size=MOST, history_ttl=ttl, presence=False)

    async def start(self) -> None:
        """Learn what was revoked before, and what will be. Raises `BrokerUnavailable`."""
        hub = self._hub
        hub.deliveries.tap(REVOKED, self._learn)
        await hub.interest.hold(REVOKED)
        page = await hub.broker.history(REVOKED)
        hub.continuity.begin(REVOKED, page.position)
        self._learn_all(page)

    def stop(self) -> None:
        """Learn nothing more."""
        self._hub.deliveries.untap(REVOKED, self._learn)

    def covers(self, user: str, token_id: str, issued_at: float | None) -> bool:
        """Whether a token was revoked."""
        known = self._known
        if not known:
            return False
        keys = {("", ""), (user, ""), ("", token_id), (user, token_id)}
        return any(key in known and known[key].covers(user, token_id, issued_at) for key in keys)

    async def revoke(self, user: str, token_id: str, issued_before: float | None) -> None:
        """Revoke, on all nodes, and close the connections that such tokens have opened.

        Raises `BrokerUnavailable`; then it may be known to nobody, and is to be said again.
        """
        before = time.time() if issued_before is None else issued_before
        if token_id and issued_before is None:
            before = float("1e12")  # a token that is named is no good whenever it was issued
        revocation = Revocation(before=before, user=user, token_id=token_id)
        await self._hub.publish_raw(REVOKED, to_json(revocation), kind=Kind.SYSTEM)

    def _learn(self, publication: Publication, epoch: str) -> None:
        if publication.kind is Kind.GAP:
            logger.warning("revocations were lost with the broker's data; who knows them says them again")
            self._hub.spawn(quietly(self._read_again(), "learning what was revoked since"))
            return
        if publication.kind is not Kind.SYSTEM:
            self._hub.deliveries.garbage(REVOKED, f"a publication of kind {publication.kind}")
            return
        try:
            revocation = _decode(bytes(publication.data) if isinstance(publication.data, Raw) else b"")
        except (msgspec.DecodeError, ValueError, RecursionError) as exc:
            self._hub.deliveries.garbage(REVOKED, str(exc))
            return
        key = (revocation.user, revocation.token_id)
        earlier = self._known.pop(key, None)
        if earlier is not None and earlier.before > revocation.before:
            revocation = earlier
        self._known[key] = revocation
        if len(self._known) > MOST:
            del self._known[next(iter(self._known))]
        self._close(revocation)

    async def _read_again(self) -> None:
        """What was revoked in the gap is in the new history, and reaches this node by no other way.

        And those who come later learn what was there before from one of those who know it.
        """
        hub, lost = self._hub, list(self._known.values())
        speaks_for_all = all(hub.node_id < node.uid for node in hub.cluster.peers)
        while True:
            try:
                self._learn_all(await hub.broker.history(REVOKED))
                while lost and speaks_for_all:
                    await hub.publish_raw(REVOKED, to_json(lost[-1]), kind=Kind.SYSTEM)
                    lost.pop()
            except BrokerUnavailable:
                await asyncio.sleep(PAUSE)
            else:
                return

    def _learn_all(self, page: HistoryPage) -> None:
        for publication in page.publications:
            if publication.kind is not Kind.GAP:  # gaps are told by this node, to itself
                self._learn(publication, page.position.epoch)

    def _close(self, revocation: Revocation) -> None:
        connections = self._hub.connections
        for connection in connections.of(user=revocation.user):
            if revocation.ends(connection.identity):
                connection.close(codes.INVALID_TOKEN)
        for admission in connections.arriving:
            admission.revoked.append(revocation)  # its token may have been looked at already
