"""`hubbub token`: what it makes is taken by a server with the same environment, and it says what is not."""

import json
import stat
import time
from pathlib import Path
from typing import Any

import pytest

from hubbub.auth import ApiKeys
from hubbub.auth.apikeys import hash_key, read_entries
from hubbub.auth.minting import inspect, new_secret, sign

from .conftest import Command
from .running import Ended, Server

SECRET = new_secret()
ENV = {"HUBBUB_TOKEN_SECRET": SECRET}


def made(command: Command, *arguments: str, env: dict[str, str] | None = None) -> str:
    """The token that these arguments make."""
    done = command("token", "make", *arguments, env=ENV if env is None else env)
    assert (done.code, done.err) == (0, "")
    return done.out.strip()


def inspected(command: Command, token: str, *arguments: str, env: dict[str, str] | None = None) -> Any:
    """What is said of a token, as JSON."""
    done = command("token", "inspect", token, "--json", *arguments, env=ENV if env is None else env)
    answer = json.loads(done.out)
    assert done.code == (1 if answer["good"] is False else 0)
    return answer


def claims(token: str) -> dict[str, Any]:
    """What it says."""
    return inspect(token).claims


def refused(done: Ended) -> str:
    """The one line that says what is wrong."""
    assert (done.code, done.out) == (2, "")
    return done.complaint


def test_a_token_holds_what_was_asked_for(command: Command) -> None:
    """And nothing more than the time of day beside it."""
    before = int(time.time())
    said = claims(
        made(
            command,
            *("--sub", "alice", "--group", "lobby", "--group", "news", "--client-id", "tab", "--id", "t1"),
            *("--channel", "orders:*=join,history", "--channel", "a=b:*=publish", "--channel", "own:*"),
            *("--info", '{"name":"Ada"}', "--scope", "a b", "--issuer", "me", "--audience", "you"),
            *("--expires", "15m"),
        )
    )
    issued = said.pop("iat")
    assert before <= issued <= time.time()
    assert said.pop("exp") == issued + 900
    assert sorted(said["channels"].pop("own:*")) == ["history", "join", "presence", "publish"]
    assert said == {
        "sub": "alice",
        "client_id": "tab",
        "groups": ["lobby", "news"],
        "channels": {"orders:*": ["join", "history"], "a=b:*": ["publish"]},
        "info": {"name": "Ada"},
        "scope": "a b",
        "iss": "me",
        "aud": "you",
        "jti": "t1",
    }
    assert claims(made(command, "--sub", "alice", "--for-group", "lobby"))["channel"] == "lobby"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--expires", "soon"), ("--expires is 'soon'", "15m")),
        (("--expires", "0s"), ("--expires",)),
        (("--expires", "-1h"), ("--expires",)),
        (("--expires", "999999999w"), ("exp",)),
        (("--channel", "orders:*=fly"), ("fly", "join")),
        (("--channel", "$all"), ("$",)),
        (("--group", "$all"), ("groups", "$")),
        (("--client-id", "a/b"), ("/",)),
        (("--sub", "a\tb"), ("sub", "control")),
        (("--secret", "short"), ("secret",)),
        (("--key", "missing.pem"), ("missing.pem",)),
        (("--algorithm", "none"), ("none", "HS256")),
        (("--algorithm", "RS256"), ("RS256", "HS256")),
    ],
)
def test_what_no_server_would_take_is_not_made(
    command: Command, arguments: tuple[str, ...], words: tuple[str, ...]
) -> None:
    """One line that says why, and exit code 2."""
    sentence = refused(command("token", "make", "--sub", "alice", *arguments, env=ENV))
    for word in words:
        assert word in sentence
    assert SECRET not in sentence


def test_without_anything_to_sign_with(command: Command) -> None:
    """It names the ways there are."""
    sentence = refused(command("token", "make", "--sub", "alice"))
    for way in ("HUBBUB_TOKEN_SECRET", "--secret", "--key"):
        assert way in sentence


def test_help_without_a_command(command: Command) -> None:
    """As `hubbub` does."""
    shown = command("token")
    assert (shown.code, shown.err) == (0, "")
    assert "api-key" in shown.out


def test_a_good_token_in_human_words(command: Command) -> None:
    """A line a claim, and the verdict."""
    shown = command(
        "token", "inspect", made(command, "--sub", "alice", "--channel", "orders:*=join"), env=ENV
    )
    lines = [" ".join(line.split()) for line in shown.out.splitlines()]
    assert (shown.code, shown.err) == (0, "")
    assert "header alg HS256" in lines
    assert "user (sub) alice" in lines
    assert "may (channels) join in orders:*" in lines
    assert "good the signature is right, and it is good now" in lines
    assert any(line.startswith("good till (exp)") and line.endswith("from now") for line in lines)


def test_what_is_wrong_with_a_token(command: Command) -> None:
    """In words that tell what to do about it."""
    now = int(time.time())
    for token, word in (
        (sign({"sub": "alice", "exp": now - 60}, SECRET), "expired"),
        (sign({"sub": "alice"}, SECRET), "exp"),
        (sign({"sub": "alice", "exp": now + 60}, new_secret()), "signature"),
        (sign({"sub": "alice", "exp": now + 60, "aud": "other"}, SECRET), "audience"),
        (sign({"sub": "alice", "exp": now + 60, "nbf": now + 30}, SECRET), "not valid yet"),
    ):
        answer = inspected(command, token)
        assert answer["good"] is False
        assert word in answer["reason"]
        assert answer["claims"]["sub"] == "alice"


def test_what_is_no_token(command: Command) -> None:
    """One line, and exit code 1; also from stdin."""
    for arguments, stdin in ((("nonsense",), b""), (("-",), b"a.b.c\n")):
        done = command("token", "inspect", *arguments, stdin=stdin, env=ENV)
        assert (done.code, done.out) == (1, "")
        assert "token" in done.complaint
    shown = command("token", "inspect", "-", stdin=made(command, "--sub", "alice").encode() + b"\n", env=ENV)
    assert shown.code == 0


def test_a_hostile_token_steers_no_terminal(command: Command) -> None:
    """Everything in it is shown escaped."""
    token = sign(
        {"sub": "\x1b[2Jalice", "\x1b[31m": "\x9b", "iat": 1e300, "channels": {"\x1b": ["\x07"]}}, SECRET
    )
    shown = command("token", "inspect", token, env=ENV)
    assert "alice" in shown.out
    assert not {"\x1b", "\x9b", "\x07"} & set(shown.out)


def test_it_is_judged_as_by_a_server_of_the_same_environment(command: Command) -> None:
    """Issuer and audience included; what is given counts instead, and without a key nothing is said."""
    env = {**ENV, "HUBBUB_TOKEN_ISSUER": "me", "HUBBUB_TOKEN_AUDIENCE": "hub, other"}
    token = made(command, "--sub", "alice", env=env)
    assert claims(token)["aud"] == "hub"
    assert inspected(command, token, env=env)["good"] is True
    assert inspected(command, token, "--audience", "third", env=env)["good"] is False
    assert inspected(command, token, "--secret", new_secret(), env=env)["good"] is False
    assert inspected(command, token, "--secret", SECRET, "--audience", "hub", env={})["good"] is True
    unknown = inspected(command, token, env={})
    assert (unknown["good"], "--secret" in unknown["reason"]) == (None, True)


def test_of_several_secrets_the_first_signs_and_all_verify(command: Command) -> None:
    """While one takes the place of another."""
    older = new_secret()
    token = made(command, "--sub", "alice", env={"HUBBUB_TOKEN_SECRET": f"{older}"})
    env = {"HUBBUB_TOKEN_SECRET": f"{SECRET}, {older}"}
    assert inspected(command, token, env=env)["good"] is True
    assert inspected(command, made(command, "--sub", "alice", env=env))["good"] is True


@pytest.mark.parametrize("algorithm", ["ES256", "EdDSA", "RS256"])
@pytest.mark.parametrize("form", ["pem", "json"])
def test_a_key_pair_signs_and_verifies(command: Command, tmp_path: Path, algorithm: str, form: str) -> None:
    """The private one is its owner's alone; nothing is overwritten."""
    how = [
        "--algorithm",
        algorithm,
        "--out",
        str(tmp_path / "tokens"),
        *(["--jwk"] if form == "json" else []),
    ]
    assert command("token", "key-pair", *how).code == 0
    private, public = (tmp_path / f"tokens.{kind}.{form}" for kind in ("private", "public"))
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    token = made(command, "--sub", "alice", "--key", str(private), env={})
    assert inspected(command, token, "--key", str(public), env={})["good"] is True
    assert "cannot be written" in refused(command("token", "key-pair", *how))
    assert "PRIVATE" not in public.read_text()
    assert '"d"' not in public.read_text()
    sentence = refused(command("token", "make", "--sub", "alice", "--key", str(public)))
    assert "private" in sentence


def test_a_key_pair_can_be_printed(command: Command) -> None:
    """Both parts; and an unknown kind is one line."""
    shown = command("token", "key-pair")
    assert shown.out.count("-----BEGIN") == 2
    assert "ES256" in refused(command("token", "key-pair", "--algorithm", "DSA"))


def test_secrets_differ(command: Command) -> None:
    """And are long enough to sign with."""
    first, second = (command("token", "secret").out.strip() for _ in range(2))
    assert first != second
    assert made(command, "--sub", "alice", "--secret", first)


def test_an_api_key_is_printed_once_and_stored_as_a_hash(command: Command) -> None:
    """The entry is what a file of keys holds."""
    done = command(
        "token",
        "api-key",
        "--name",
        "shop",
        "--allow",
        "publish,broadcast",
        "--channels",
        "orders:*",
        "--json",
    )
    answer = json.loads(done.out)
    key, entry = answer["key"], answer["entry"]
    assert entry == {
        "name": "shop",
        "hash": hash_key(key),
        "allow": ["publish", "broadcast"],
        "channels": ["orders:*"],
    }
    assert read_entries(json.dumps([entry]).encode())
    assert ApiKeys([entry["hash"]]).find({"x-api-key": key}) is not None
    shown = command("token", "api-key", "--name", "shop").out.splitlines()
    assert [line.split()[0] for line in shown] == ["key", "entry"]
    assert json.loads(shown[1].removeprefix("entry"))["hash"] == hash_key(shown[0].split()[1])


@pytest.mark.parametrize(
    ("arguments", "word"),
    [(("--allow", "publsh"), "publsh"), (("--name", ""), "name"), (("--name", "a\tb"), "name")],
)
def test_an_api_key_that_no_file_may_hold(command: Command, arguments: tuple[str, ...], word: str) -> None:
    """Is not made."""
    assert word in refused(command("token", "api-key", "--name", "shop", *arguments))


def test_a_server_lets_in_who_brings_a_token(command: Command) -> None:
    """By flag or variable; who brings none or another's is told what is missing."""
    with Server("--api-keys", "sesame", key="sesame", env=ENV) as server:
        token = made(command, "--sub", "alice")
        listen = ("--count", "1", "--client-id")
        forged = made(command, "--sub", "alice", "--secret", new_secret())
        for client_id, given in (("alice", None), ("bob", token), ("alice", forged)):
            how = ["--token", given] if given else []
            refusal = command("subscribe", "--url", server.url, *listen, client_id, *how, "lobby")
            assert (refusal.code, refusal.out) == (1, "")
            assert ("--token or HUBBUB_TOKEN" in refusal.complaint) is (given is None)
            assert given is None or given not in refusal.err
        for how, env in ((["--token", token], {}), ([], {"HUBBUB_TOKEN": token})):
            with server.subscriber(*listen, "alice", *how, group="lobby", env=env) as subscriber:
                key = {"HUBBUB_API_KEY": "sesame"}
                assert command("publish", "--url", server.url, "lobby", "hello", env=key).code == 0
                assert subscriber.ended() == 0
                assert subscriber.messages()[0]["data"] == "hello"
