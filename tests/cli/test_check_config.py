"""`hubbub check-config`: it says what is open to whom, and ends as `hubbub serve` would begin."""

import json
from pathlib import Path
from typing import Any

import pytest

from hubbub.auth.apikeys import hash_key
from hubbub.auth.minting import new_secret

from .conftest import Command

SECRET = new_secret()
OUTSIDE = ("--host", "0.0.0.0")
SAFE = {"HUBBUB_TOKEN_SECRET": SECRET, "HUBBUB_API_KEYS": "sesame"}


def checked(command: Command, *arguments: str, env: dict[str, str] | None = None) -> Any:
    """The findings by what they are about, and the rest of the answer."""
    done = command("check-config", "--json", *arguments, env=env)
    answer = json.loads(done.out)
    assert done.code == (0 if answer["serves"] else 1)
    assert answer["serves"] is not bool(answer["refusals"])
    return {each["what"]: each for each in answer["findings"]}, answer


def warned(command: Command, *arguments: str, env: dict[str, str] | None = None) -> set[str]:
    """What there are warnings about."""
    findings, _ = checked(command, *arguments, env=env)
    return {what for what, each in findings.items() if each["warning"]}


def test_on_this_machine_alone_there_is_nothing_to_warn_of(command: Command) -> None:
    """It says all the same what is open."""
    findings, answer = checked(command)
    assert answer["serves"] is True
    assert warned(command) == set()
    assert findings["API"]["open_to"] == "everybody"
    assert findings["WebSocket"]["open_to"] == "everybody, under any name"


def test_beyond_this_machine_each_open_thing_has_a_warning(command: Command) -> None:
    """And the server would not start, unless that is wanted."""
    doors = {"WebSocket", "API", "/stats", "/metrics", "demo page", "TLS"}
    assert warned(command, *OUTSIDE) == doors
    assert warned(command, *OUTSIDE, "--insecure") == doors
    _, answer = checked(command, *OUTSIDE)
    assert len(answer["refusals"]) == 1
    assert "--insecure" in answer["refusals"][0]
    assert checked(command, *OUTSIDE, "--insecure")[1]["serves"] is True


def test_each_setting_shuts_what_it_is_for(command: Command) -> None:
    """One after the other."""
    assert warned(command, *OUTSIDE, env=SAFE) == {"demo page", "TLS"}
    assert warned(command, *OUTSIDE, "--no-demo", env=SAFE) == {"TLS"}
    for opened, what in (
        (("--open-stats",), {"/stats", "/metrics"}),
        (("--allowed-origins", "*"), {"origins"}),
        (("--trusted-proxies", "*"), {"proxies"}),
        (("--anonymous",), {"WebSocket"}),
    ):
        assert warned(command, *OUTSIDE, "--no-demo", *opened, env=SAFE) == {"TLS", *what}


def test_who_holds_the_keys(command: Command, tmp_path: Path) -> None:
    """In words, and none of the keys."""
    file = tmp_path / "keys.json"
    file.write_text(json.dumps([{"name": "shop", "hash": hash_key("x")}]))
    for arguments, env, words in (
        ((), {"HUBBUB_API_KEYS": "sesame"}, "who has the key"),
        ((), {"HUBBUB_API_KEYS": "sesame,other"}, "who has one of 2 keys"),
        (("--api-keys-file", str(file)), {}, f"who has a key of {file}"),
        ((), SAFE, "who has the key or who has a token for it"),
    ):
        findings, answer = checked(command, *arguments, env=env)
        assert findings["API"]["open_to"] == findings["/stats"]["open_to"] == words
        assert "sesame" not in json.dumps(answer)


@pytest.mark.parametrize(
    ("arguments", "env", "word"),
    [
        (("--api-keys-file", "missing.json"), {}, "missing.json"),
        ((), {"HUBBUB_TOKEN_SECRET": "short"}, "tokens"),
        (("--token-keys", "missing.pem"), {}, "missing.pem"),
        (("--tls-key", "missing.pem"), {}, "tls_cert"),
        (("--broker", "telepathy://x"), {}, "--broker"),
        (("--broker", "redis://127.0.0.1:1"), {}, "broker cannot be reached"),
        (OUTSIDE, {"HUBBUB_API_KEYS": "sesame"}, "not authenticated"),
        ((*OUTSIDE, "--webhook-connect", "https://backend.example/"), {}, "--api-keys"),
    ],
)
def test_what_serve_refuses_is_refused_here(
    command: Command, arguments: tuple[str, ...], env: dict[str, str], word: str
) -> None:
    """For the same reason, in the same words; serve ends with 2, this with 1."""
    _, answer = checked(command, *arguments, env=env)
    [sentence] = answer["refusals"]
    assert word in sentence
    served = command("serve", "--port", "0", *arguments, env=env)
    assert (served.code, served.complaint) == (2, sentence)


def test_as_a_table(command: Command) -> None:
    """For people: a line a thing, the warning under it, the refusal last."""
    shown = command("check-config", *OUTSIDE, "--history-size", "10")
    lines = [" ".join(line.split()) for line in shown.out.splitlines()]
    assert shown.code == 1
    assert "WebSocket everybody, under any name" in lines
    assert "warning: nobody has to say who he is; set up tokens" in lines
    assert "history 10 messages a group for 300 s, for its members" in lines
    assert lines[-1].startswith("`hubbub serve` refuses this: 0.0.0.0 can be reached")


def test_what_is_wrongly_set_is_one_line(command: Command) -> None:
    """And exit code 2, as everywhere."""
    refused = command("check-config", "--port", "x")
    assert (refused.code, refused.out) == (2, "")
    assert "--port is 'x'" in refused.complaint
