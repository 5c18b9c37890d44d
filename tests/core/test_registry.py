"""Who listens to what: found at once, and nothing left behind."""

from hypothesis import given
from hypothesis import strategies as st

from hubbub.core.channels import SlowPolicy
from hubbub.core.registry import Registry

from .helpers import FakeMember, ReadableFormat, steady

TEXT = ReadableFormat()


def a_registry(policy: SlowPolicy = SlowPolicy.DISCONNECT) -> Registry[FakeMember]:
    """Nobody listens to anything yet."""
    return Registry(lambda _: policy)


def test_a_channel_is_there_while_somebody_listens() -> None:
    """It comes with its first member and goes with its last."""
    registry, ada, bob = a_registry(), FakeMember(TEXT), FakeMember(TEXT)

    registry.join(ada, "news")
    registry.join(bob, "news")
    assert "news" in registry
    assert registry.members("news") == [ada, bob]
    assert registry.count("news") == 2
    assert list(registry.channels()) == [("news", 2)]

    assert registry.leave(ada, "news") is False
    assert registry.leave(bob, "news") is True
    assert "news" not in registry
    assert len(registry) == 0


def test_a_channel_nobody_listens_to_is_empty_in_every_respect() -> None:
    """Asking about it does not make it."""
    registry = a_registry()

    assert registry.audience("news") is None
    assert registry.members("news") == []
    assert registry.count("news") == 0
    assert registry.leave(FakeMember(TEXT), "news") is False
    assert list(registry.channels()) == []


def test_leaving_what_one_has_not_joined_changes_nothing() -> None:
    """And the last to leave is only ever a member."""
    registry, ada, bob = a_registry(), FakeMember(TEXT), FakeMember(TEXT)
    registry.join(ada, "news")

    assert registry.leave(bob, "news") is False
    assert registry.members("news") == [ada]


def test_joining_twice_is_joining_once() -> None:
    """One leave undoes it."""
    registry, ada = a_registry(), FakeMember(TEXT)
    registry.join(ada, "news")
    registry.join(ada, "news")

    assert registry.count("news") == 1
    assert registry.leave(ada, "news") is True


def test_an_audience_knows_its_channel_and_its_policy() -> None:
    """The policy is asked for once, when the channel comes to be."""
    asked: list[str] = []

    def policy_of(channel: str) -> SlowPolicy:
        asked.append(channel)
        return SlowPolicy.LATEST

    registry: Registry[FakeMember] = Registry(policy_of)
    registry.join(FakeMember(TEXT), "news")
    registry.join(FakeMember(TEXT), "news")
    audience = registry.audience("news")

    assert audience is not None
    assert (audience.channel, audience.policy) == ("news", SlowPolicy.LATEST)
    assert asked == ["news"]


def test_a_list_of_members_stays_what_it_was() -> None:
    """So that members can leave while somebody goes through it."""
    registry, ada = a_registry(), FakeMember(TEXT)
    registry.join(ada, "news")

    members = registry.members("news")
    registry.leave(ada, "news")

    assert members == [ada]


@steady
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 3), st.sampled_from("abc")), max_size=60))
def test_it_knows_who_is_where_and_keeps_nothing_of_who_is_gone(steps: list[tuple[bool, int, str]]) -> None:
    """After any joins and leaves, and after everybody has left."""
    registry = a_registry()
    members = [FakeMember(TEXT) for _ in range(4)]
    present: dict[str, list[FakeMember]] = {}
    leaves = [(False, number, channel) for number in range(4) for channel in "abc"]
    for joins, number, channel in (*steps, *leaves):
        member = members[number]
        listeners = present.setdefault(channel, [])
        if joins:
            registry.join(member, channel)
            if member not in listeners:
                listeners.append(member)
        else:
            assert registry.leave(member, channel) == (listeners == [member])
            if member in listeners:
                listeners.remove(member)
        occupied = {channel: len(listeners) for channel, listeners in present.items() if listeners}
        assert dict(registry.channels()) == occupied
        assert len(registry) == len(occupied)
        assert registry.members(channel) == listeners
        assert registry.count(channel) == len(listeners)
        assert (channel in registry) == (registry.audience(channel) is not None) == bool(listeners)
    assert len(registry) == 0
