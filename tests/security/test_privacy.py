"""Clients that are in and want what is not theirs: others' channels, their history, who is there."""

import unicodedata
from collections.abc import Iterator
from typing import Any

import pytest

from ..transports.clients import Client
from ..transports.serving import Running
from .siege import guarded, knock, member, token

SECRETS = ("$client:alice", "$user:alice", "$all", "private:x", "orders:42#alice", "orders:42#alice,carol")


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    with guarded() as running:
        yield running


def answer(client: Client, type: str, **fields: Any) -> dict[str, Any]:
    """What a command is answered with."""
    client.send(type, id="asked", **fields)
    while (message := client.receive()).get("id") != "asked":
        pass
    return message


def everything(server: Running) -> None:
    """Publish something secret wherever it is somebody's own."""
    for channel in SECRETS:
        server.do(server.hub.publish(channel, {"secret": channel}))


def heard(client: Client) -> list[Any]:
    """The secrets that a client was told."""
    return [m["data"] for m in client.settle() if isinstance(m.get("data"), dict) and "secret" in m["data"]]


@pytest.mark.parametrize("channel", SECRETS)
@pytest.mark.parametrize("type", ["join_group", "history", "presence", "presence_stats", "publish"])
def test_what_belongs_to_others_stays_theirs(server: Running, channel: str, type: str) -> None:
    """No command reads, joins or writes another one's channel; the refusal tells nothing else."""
    with member(server, "bob") as bob:
        fields = {"data": {"forged": True}} if type == "publish" else {}
        said = answer(bob, type, group_name=channel, **fields)
        assert said["type"] == "error"
        assert said["code"] in (103, 107)
        everything(server)
        assert heard(bob) == [{"secret": "$all"}]


LOOK_ALIKES = [
    "\uff04client:alice",  # a dollar of full width
    "\ufe69client:alice",  # ﹩, small
    "\u200b$client:alice",
    "\ufeff$client:alice",
    " $client:alice",
    "\u202e$client:alice",
    "\\u0024client:alice",
    "%24client:alice",
    "client:alice",
    "alice",
    "all",
    "*",
    "**",
    "$*",
    "private*",
    "private:*",
    "private\uff1ax",  # a colon of full width
    "private\ua789x",  # a letter that looks like a colon
    "Private:x",
    "PRIVATE:x",
    "private :x",
    " private:x",
    ":private:x",
    "private%3Ax",
    "priv\u0430te:x",  # a Cyrillic letter
    "private\u200b:x",
    "private/x",
    "private.x",
    "orders:*",
    "orders:**",
    "orders:42\uff03alice",  # a number sign of full width
    "orders:42 #alice ",
    "orders:42#\u0430lice",
    "orders:42#alice#bob",
    "orders:42#bob,",
    "orders:42#Alice,bob",
    "orders:[4]2#bob",
    "orders:42",
    "orders:4?",
]


@pytest.mark.parametrize("name", LOOK_ALIKES, ids=ascii)
def test_a_name_that_looks_like_another_is_another(server: Running, name: str) -> None:
    """It may be joined, or not; what is published to the real one never comes to it, nor the other way."""
    with member(server, "bob") as bob, member(server, "alice") as alice:
        answer(bob, "join_group", group_name=name)
        everything(server)
        assert heard(bob) == [{"secret": "$all"}]
        answer(alice, "join_group", group_name="orders:42#alice")
        answer(bob, "publish", group_name=name, data={"secret": "forged"})
        assert {"secret": "forged"} not in heard(alice)


def test_names_are_compared_code_point_by_code_point(server: Running) -> None:
    """Composed and decomposed, they are two groups."""
    composed, decomposed = (
        unicodedata.normalize("NFC", "caf\u00e9"),
        unicodedata.normalize("NFD", "caf\u00e9"),
    )
    with member(server, "bob") as bob, member(server, "alice") as alice:
        alice.join(composed)
        bob.join(decomposed)
        server.do(server.hub.publish(composed, {"secret": "composed"}))
        assert heard(bob) == []
        assert heard(alice) == [{"secret": "composed"}]


@pytest.mark.parametrize(
    ("pattern", "inside", "outside"),
    [
        ("orders:*", ["orders:42"], ["orders:42#bob", "orders:42:notes", "orders", "orders:", "Xorders:42"]),
        ("orders:*#bob", ["orders:42#bob"], ["orders:42#alice", "orders:42#bob#alice"]),
        ("orders:4", ["orders:4"], ["orders:42", "orders:4 ", "orders:"]),
        ("orders:.*", ["orders:.x"], ["orders:42"]),
        ("orders:[0-9]", ["orders:[0-9]"], ["orders:4"]),
        ("private:**", ["private:a:b:c", "private:a"], ["privateX", "orders:1"]),
        ("*", ["lobby"], ["private:x", "orders:1", "$all", "$client:alice"]),
        (
            "**",
            ["lobby", "orders:1:2", "private:x"],
            ["$all", "$client:alice", "$user:alice", "orders:1#alice"],
        ),
    ],
)
def test_a_grant_reaches_what_its_pattern_says(
    server: Running, pattern: str, inside: list[str], outside: list[str]
) -> None:
    """And nothing that begins with `$`, nor what is another user's, whatever the pattern."""
    with member(server, "bob", channels=[pattern]) as bob:
        for group in inside:
            assert answer(bob, "join_group", group_name=group)["type"] == "group_joined", group
        for group in outside:
            assert answer(bob, "join_group", group_name=group)["type"] == "error", group
            assert answer(bob, "publish", group_name=group, data=1)["type"] == "error", group


@pytest.mark.parametrize("pattern", ["$**", "$client:*", "$user:alice", "$all"])
def test_a_token_that_grants_what_is_reserved_is_refused(server: Running, pattern: str) -> None:
    """Whoever has issued it did not mean what it says."""
    assert knock(server, Authorization=f"Bearer {token('bob', channels=[pattern])}")[0] == 401


@pytest.mark.parametrize("action", ["join", "publish", "presence", "history"])
def test_a_grant_of_one_action_is_no_grant_of_another(server: Running, action: str) -> None:
    """History and presence are read by who has the right to, member or not."""
    commands = {
        "join": ("join_group", {}),
        "publish": ("publish", {"data": 1}),
        "presence": ("presence", {}),
        "history": ("history", {}),
    }
    with member(server, "bob", channels={"orders:1": [action]}) as bob:
        for name, (type, fields) in commands.items():
            said = answer(bob, type, group_name="orders:1", **fields)
            assert (said["type"] != "error") is (name == action), (name, said)


def test_history_and_presence_are_for_members(server: Running) -> None:
    """By default: who has not joined reads neither, and who has left no longer."""
    with member(server, "alice") as alice, member(server, "bob") as bob:
        alice.join("orders:7")
        answer(alice, "publish", group_name="orders:7", data={"secret": "order"})
        for type in ("history", "presence", "presence_stats"):
            assert answer(bob, type, group_name="orders:7", limit=10)["code"] == 103
        bob.join("orders:7")
        assert answer(bob, "history", group_name="orders:7", limit=10)["messages"]
        answer(bob, "leave_group", group_name="orders:7")
        assert answer(bob, "history", group_name="orders:7", limit=10)["code"] == 103


def test_recovery_is_no_way_around_permission(server: Running) -> None:
    """A position in a channel is not a right to it: neither when joining, nor when connecting."""
    position = server.do(server.hub.publish("private:x", {"secret": "before"}))
    recover = {"epoch": position.epoch, "offset": 0}
    with member(server, "bob") as bob:
        said = answer(bob, "join_group", group_name="private:x", recover=recover)
        assert (said["type"], said["code"]) == ("error", 103)
        said = answer(bob, "connect", recover={"private:x": recover})
        assert said["type"] == "error"
        assert heard(bob) == []


def test_nobody_speaks_in_a_channel_of_the_server(server: Running) -> None:
    """Where publishing is left to nobody, a grant of everything does not help."""
    with member(server, "bob", channels=["**"]) as bob:
        assert answer(bob, "join_group", group_name="news:today")["type"] == "group_joined"
        assert answer(bob, "publish", group_name="news:today", data=1)["code"] == 103
        assert answer(bob, "chat_message", group_name="news:today", message="x")["code"] == 103
        assert answer(bob, "presence", group_name="news:today")["code"] == 103


def test_what_is_published_cannot_pass_for_something_else(server: Running) -> None:
    """Data that looks like the end of a message stays data; who sent it, the server says."""
    with member(server, "alice") as alice, member(server, "bob") as bob:
        alice.join("lobby")
        forged = '"},"type":"disconnect","code":3503,"x":{"y":"'
        for data in (forged, {"type": "system_notification"}, "\u2028\u2029\u0000", "</script>"):
            bob.send(
                "publish", group_name="lobby", data=data, **{"from": "alice", "offset": 5, "tags": {"a": "b"}}
            )
            message = alice.receive()
            assert (message["type"], message["data"]) == ("group_message", data)
            assert message.get("from", "bob") != "alice"
            assert "tags" not in message
