"""Who listens to what on this node."""

from collections.abc import Callable, Iterable
from typing import Generic

from hubbub.core.channels import SlowPolicy
from hubbub.core.fanout import Audience, M


class Registry(Generic[M]):
    """Channels and their audiences. A channel without members is not in here."""

    def __init__(self, policy_of: Callable[[str], SlowPolicy]) -> None:
        self._policy_of = policy_of
        self._audiences: dict[str, Audience[M]] = {}

    def __len__(self) -> int:
        return len(self._audiences)

    def __contains__(self, channel: str) -> bool:
        return channel in self._audiences

    def audience(self, channel: str) -> Audience[M] | None:
        """The audience of a channel, None where nobody here listens."""
        return self._audiences.get(channel)

    def channels(self) -> Iterable[tuple[str, int]]:
        """Every channel with its number of members."""
        return ((channel, len(audience.members)) for channel, audience in self._audiences.items())

    def members(self, channel: str) -> list[M]:
        """The members of a channel, as they are now."""
        audience = self._audiences.get(channel)
        return list(audience.members) if audience is not None else []

    def count(self, channel: str) -> int:
        """How many members a channel has."""
        audience = self._audiences.get(channel)
        return len(audience.members) if audience is not None else 0

    def join(self, member: M, channel: str, after: int = 0, epoch: str = "") -> None:
        """Add a member to a channel, whose history it knows up to the offset `after` of this epoch."""
        audience = self._audiences.get(channel)
        if audience is None:
            audience = self._audiences[channel] = Audience(channel, self._policy_of(channel))
        audience.join(member, after, epoch)

    def leave(self, member: M, channel: str) -> bool:
        """Take a member out of a channel; True when it was the last."""
        audience = self._audiences.get(channel)
        if audience is None or member not in audience.members:
            return False
        audience.leave(member)
        if audience.members:
            return False
        del self._audiences[channel]
        return True
