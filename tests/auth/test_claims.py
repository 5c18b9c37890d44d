"""Claims: what they mean, when they hold, and how a wrong one is named."""

import time
from typing import Any

import pytest

from hubbub.auth import BadToken, Scope, Tokens
from hubbub.core.grants import ACTIONS, Action

from .making import SECRET, forged, run, saying, token, verified


def refusal(verifier: Tokens | None = None, **claims: Any) -> BadToken:
    """Why a token that says this is refused."""
    with pytest.raises(BadToken) as raised:
        run((verifier or Tokens(SECRET)).verify(token(**claims)))
    return raised.value


def test_what_a_token_says_is_read() -> None:
    """All of it."""
    said = saying(
        client_id="browser-1",
        groups=["lobby", "news", "lobby"],
        channels={"orders:*": ["join", "history"]},
        channel="orders:42",
        info={"name": "Alice"},
        jti="7",
        scope="chat:read chat:write",
        email="alice@example.com",
    )
    claims = verified(Tokens(SECRET), token(**said))
    assert claims.subject == "alice"
    assert claims.client_id == "browser-1"
    assert claims.groups == ("lobby", "news")
    assert claims.grants is not None
    assert claims.grants.allow(Action.HISTORY, "orders:42")
    assert not claims.grants.allow(Action.PUBLISH, "orders:42")
    assert not claims.grants.allow(Action.JOIN, "orders:42#bob")
    assert claims.channel == "orders:42"
    assert claims.info == {"name": "Alice"}
    assert (claims.expires_at, claims.issued_at) == (said["exp"], said["iat"])
    assert claims.token_id == "7"
    assert claims.scopes == ("chat:read", "chat:write")
    assert claims.api == frozenset()
    assert claims.raw == said


def test_what_a_token_does_not_say_is_left_open() -> None:
    """Above all, grants: a token without channels leaves them to the namespaces."""
    claims = verified(Tokens(SECRET), token(sub=None, iat=None))
    assert (claims.subject, claims.client_id, claims.groups, claims.channel) == ("", "", (), "")
    assert claims.grants is None
    assert claims.info is None
    assert claims.issued_at is None


def test_a_list_of_channels_grants_all_that_can_be_done() -> None:
    """An empty one grants nothing, which is something else than saying nothing."""
    grants = verified(Tokens(SECRET), token(channels=["orders:*"])).grants
    assert grants is not None
    assert all(grants.allow(action, "orders:42") for action in ACTIONS)
    nothing = verified(Tokens(SECRET), token(channels=[])).grants
    assert nothing is not None
    assert not nothing.allow(Action.JOIN, "orders:42")


def test_an_expired_token_is_told_apart() -> None:
    """A client gets a fresh one then; clocks may differ a little."""
    now = time.time()
    assert verified(Tokens(SECRET), token(exp=now - 3)).subject == "alice"
    expired = refusal(exp=now - 6)
    assert expired.expired
    assert str(expired) == "the token has expired"
    assert refusal(Tokens(SECRET, leeway=0), exp=now - 0.01).expired
    assert not refusal(sub=1, exp=now + 60).expired


def test_a_token_that_never_ends_is_refused() -> None:
    """Unless it is wanted."""
    assert str(refusal(exp=None)) == "claim exp is missing: the token would never end"
    assert verified(Tokens(SECRET, require_exp=False), token(exp=None)).expires_at is None


def test_a_token_of_the_future_is_refused() -> None:
    """By either claim; a clock may be a little behind."""
    now = time.time()
    assert verified(Tokens(SECRET), token(nbf=now + 3, iat=now + 3)).subject == "alice"
    assert "not valid yet" in str(refusal(nbf=now + 30))
    assert "issued in the future" in str(refusal(iat=now + 30))


@pytest.mark.parametrize("aud", ["chat", ["chat"], ["shop", "chat"]])
def test_the_audience_is_one_of_those(aud: Any) -> None:
    """As text or in a list, and one of several is enough."""
    for audience in ("chat", ["chat"], ("mail", "chat")):
        assert verified(Tokens(SECRET, audience=audience), token(aud=aud)).subject == "alice"
    for audience in ("cha", "CHAT", ["mail", "shop2"]):
        assert "another audience" in str(refusal(Tokens(SECRET, audience=audience), aud=aud))


def test_a_token_for_an_audience_is_not_for_everybody() -> None:
    """Who has not said who it is is not meant (RFC 7519 §4.1.3); who has, needs to be named."""
    assert "another audience" in str(refusal(aud="chat"))
    assert "aud is missing" in str(refusal(Tokens(SECRET, audience="chat")))
    assert "another audience" in str(refusal(Tokens(SECRET, audience="chat"), aud=[]))


def test_the_issuer_is_the_one() -> None:
    """To the letter, where one is configured."""
    verifier = Tokens(SECRET, issuer="https://login.example")
    assert verified(verifier, token(iss="https://login.example")).subject == "alice"
    assert verified(Tokens(SECRET), token(iss="anybody")).subject == "alice"
    for issuer in (None, "", "https://login.example/", "https://login.example.attacker.example"):
        assert "another issuer" in str(refusal(verifier, iss=issuer))


LONG = "x" * 256
DEEP: Any = []
for _ in range(200):
    DEEP = [DEEP]

WRONG: list[tuple[str, Any]] = [
    *[(name, value) for name in ("exp", "nbf", "iat") for value in ("soon", True, -1, 1e300, [], 10**400)],
    *[("sub", value) for value in (1, True, [], {}, "a\nb", LONG, "x" * 2000, "\u2028")],
    *[("client_id", value) for value in (1, ["a"], "a/b", LONG, "a\0")],
    *[("groups", value) for value in ("lobby", {"lobby": 1}, [1], ["lobby", None], [""], ["$all"], [LONG])],
    ("groups", [f"g{number}" for number in range(129)]),
    *[("channels", value) for value in ("orders:*", 1, True, [1], [[]], {"a": "join"}, {"a": 1}, {"a": {}})],
    *[
        ("channels", value)
        for value in ({"a": ["fly"]}, {"a": [1]}, {"a": [[]]}, {"": ["join"]}, [""], ["$all"])
    ],
    *[("channels", value) for value in ([LONG], {f"c{number}": [] for number in range(257)})],
    *[("channel", value) for value in (1, ["a"], "$all", "$user:bob", LONG, "a\tb")],
    ("info", "x" * 4097),
    ("info", DEEP * 12),
    *[("jti", value) for value in (1, [], "x" * 2000)],
    *[("scope", value) for value in (1, {}, [1], " ".join(f"s{number}" for number in range(257)))],
    ("scp", {"a": 1}),
    *[("iss", value) for value in (1, [])],
    *[("aud", value) for value in (1, {}, [1], None)],
]


@pytest.mark.parametrize(("name", "value"), WRONG, ids=lambda value: str(value)[:20])
def test_a_claim_of_the_wrong_kind_is_named(name: str, value: Any) -> None:
    """In a sentence that may be shown to whoever sent it; nothing is guessed."""
    bad = forged({"alg": "HS256"}, {**saying(), name: value})
    with pytest.raises(BadToken) as raised:
        run(Tokens(SECRET).verify(bad))
    assert (
        name in str(raised.value) or "longer than 8192" in str(raised.value) or "no JSON" in str(raised.value)
    )


@pytest.mark.parametrize("name", ["sub", "exp", "groups", "channels", "client_id", "aud", "scope", "iat"])
def test_null_is_not_the_same_as_nothing(name: str) -> None:
    """It may have been meant to be something."""
    with pytest.raises(BadToken, match=name):
        run(Tokens(SECRET).verify(forged({"alg": "HS256"}, {**saying(), name: None})))


SCOPES = {
    "chat:read": Scope({"chat:*": ["join", "history"]}),
    "chat:write": Scope({"chat:*": ["publish"]}),
    "admin": Scope(api=["publish", "info"]),
}


def test_scopes_open_what_they_are_mapped_to() -> None:
    """Along with each other and with what the token grants itself."""
    verifier = Tokens(SECRET, scopes=SCOPES)
    claims = verified(verifier, token(scope="chat:read chat:write unknown", channels={"own": ["join"]}))
    assert claims.grants is not None
    for action in (Action.JOIN, Action.HISTORY, Action.PUBLISH):
        assert claims.grants.allow(action, "chat:1")
    assert not claims.grants.allow(Action.PRESENCE, "chat:1")
    assert claims.grants.allow(Action.JOIN, "own")
    assert not claims.api
    assert verified(verifier, token(scp=["admin"])).api == {"publish", "info"}


def test_without_any_of_the_scopes_nothing_is_open() -> None:
    """Where scopes decide about channels; where they are about the API alone, channels stay as they were."""
    grants = verified(Tokens(SECRET, scopes=SCOPES), token()).grants
    assert grants is not None
    assert not grants.allow(Action.JOIN, "chat:1")
    assert verified(Tokens(SECRET, scopes={"admin": SCOPES["admin"]}), token()).grants is None


def test_a_scope_is_checked_where_it_is_written() -> None:
    """Not when the first token comes."""
    for arguments in (
        {"channels": ["chat:*"]},
        {"channels": {"chat:*": "join"}},
        {"channels": {"chat:*": ["fly"]}},
        {"channels": {"$all": ["join"]}},
        {"api": "publish"},
        {"api": [1]},
    ):
        with pytest.raises(ValueError, match="of a scope"):
            Scope(**arguments)  # type: ignore[arg-type]


def test_claims_that_mean_something_else_can_be_passed_over() -> None:
    """An identity provider's groups are not ours, and its client_id is an application's."""
    said = token(groups=["/a"] * 200, client_id="web/app", info="x" * 4200, channels=1, channel=1)
    claims = verified(Tokens(SECRET, claims=()), said)
    assert (claims.groups, claims.client_id, claims.info, claims.grants) == ((), "", None, None)
    assert verified(Tokens(SECRET, claims=["groups"]), token(groups=["a"], client_id="x")).client_id == ""
