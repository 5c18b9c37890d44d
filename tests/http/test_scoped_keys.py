"""Keys of the server API with scopes, and the files that hold them."""

import json
import os
from pathlib import Path

import pytest

from hubbub.auth import ApiKeys, BadKeys
from hubbub.auth.apikeys import hash_key

from ..hub.inprocess import run
from .keyed import Route, a_hub, answers, ask, entry, key, post, site_of
from .sites import Site, api_of, eventually, serving

GROUP = {"channel": "orders:1"}


def test_a_refusal_names_the_key_the_method_and_the_channel(tmp_path: Path) -> None:
    """So that whoever holds it knows what to ask for."""
    hub = a_hub(tmp_path, entry("shop", allow=["publish"], channels=["orders:*"]))
    for method, body, sentence in (
        ("history", GROUP, "the key 'shop' does not open history"),
        ("publish", {"channel": "news", "data": 1}, "the key 'shop' does not open publish on channel 'news'"),
    ):
        answer = post(hub, method, key("shop"), **body)
        assert (answer.status_code, answer.json()) == (403, {"detail": sentence})


@pytest.mark.parametrize("method", ["publish", "subscribe", "presence", "history", "history_remove"])
def test_channels_beside_the_patterns_stay_shut(tmp_path: Path, method: str) -> None:
    """Whatever is done to the name, also where it only looks alike."""
    hub = a_hub(tmp_path, entry("shop", channels=["orders:*", "*"]))
    lookalike = "\N{CYRILLIC SMALL LETTER O}rders:1"
    shut = [
        "orders:1:notes",
        "orders:1#bob",
        "orders:",
        lookalike,
        "ORDERS:1",
        "$all",
        "$user:ann",
        "xorders:1",
    ]
    asked = [
        Route("POST", f"/api/{method}", method, {"channel": channel, "data": 1, "user": "ann"})
        for channel in [*shut, "orders:1", "news"]
    ]
    statuses = [answer.status_code for answer in answers(hub, *((route, key("shop")) for route in asked))]
    assert statuses == [403] * len(shut) + [200, 200]


def test_wildcards_stand_for_none_of_the_servers_own_channels(tmp_path: Path) -> None:
    """A broadcast to everybody and personal messages need a pattern that says so."""
    wild = entry("wild", channels=["**"])
    named = entry("named", channels=["$all", "$client:a*"])
    asked = [
        Route("POST", "/broadcast", "broadcast_all", {}),
        Route("POST", "/notify/alice", "notify", {}),
    ]
    bob = Route("POST", "/notify/bob", "notify", {})
    hub = a_hub(tmp_path, wild, named)
    found = answers(
        hub, *((route, key("wild")) for route in asked), *((route, key("named")) for route in [*asked, bob])
    )
    assert [answer.status_code for answer in found] == [403, 403, 200, 200, 403]


def test_a_key_for_channels_opens_nothing_that_is_about_none(tmp_path: Path) -> None:
    """Unless it names the method."""
    hub = a_hub(tmp_path, entry("all", channels=["**"]), entry("info", allow=["info"], channels=["orders:*"]))
    for method in ("info", "disconnect", "connections", "invalidate"):
        assert post(hub, method, key("all"), user="ann").status_code == 403
    assert post(hub, "info", key("info")).status_code == 200
    assert post(hub, "connections", key("info")).status_code == 403


def test_of_a_broadcast_every_channel_counts(tmp_path: Path) -> None:
    """Where one is shut, nothing is published in any."""
    hub = a_hub(tmp_path, entry("shop", channels=["orders:*"]), entry("all"))

    async def scenario() -> None:
        async with api_of(hub) as api:
            body = {"channels": ["orders:1", "news"], "data": 1}
            route = Route("POST", "/api/broadcast", "broadcast", body)
            answer = await ask(api, route, key("shop"))
            assert (answer.status_code, "'news'" in answer.text) == (403, True)
            page = await ask(api, Route("POST", "/api/history", "history", GROUP), key("all"))
            assert page.json()["result"]["offset"] == 0

    run(scenario())


@pytest.mark.parametrize("parallel", [False, True])
def test_of_a_batch_every_command_counts(tmp_path: Path, parallel: bool) -> None:
    """One that is refused is an error in its place; the others are done."""
    hub = a_hub(tmp_path, entry("shop", allow=["publish", "broadcast"], channels=["orders:*"]))
    commands = [
        {"publish": {"channel": "orders:1", "data": 1}},
        {"publish": {"channel": "news", "data": 1}},
        {"broadcast": {"channels": ["orders:1", "news"], "data": 1}},
        {"history": {"channel": "orders:1"}},
        {"info": {}},
        {"batch": {"commands": []}},
        {"publish": {"channel": "orders:1", "data": 2}},
    ]
    answer = post(hub, "batch", key("shop"), commands=commands, parallel=parallel)
    assert answer.status_code == 200
    replies = answer.json()["replies"]
    assert [reply.get("error", {}).get("code") for reply in replies] == [None, 103, 103, 103, 103, 104, None]
    assert replies[-1]["publish"]["offset"] == 2


def test_lists_hold_only_what_a_key_reaches(tmp_path: Path) -> None:
    """Channels, and those of connections."""
    rights = ["channels", "connections"]
    with site_of(a_hub(tmp_path, entry("shop", allow=rights, channels=["orders:*"]))) as site:
        site.http.headers.update(key("shop"))
        with site.client("alice") as alice:
            for group in ("orders:1", "news"):
                alice.join(group)
            assert list(site.api("channels")["channels"]) == ["orders:1"]
            [connection] = site.api("connections")["connections"].values()
            assert connection["channels"] == ["orders:1"]


@pytest.mark.parametrize("method", ["publish", "history", "history_remove"])
def test_what_the_server_keeps_to_itself_is_shut_to_every_key(tmp_path: Path, method: str) -> None:
    """Else who may publish could take back what was revoked."""
    for channel in ("$revoked", "$", "$all:x", "$clients", "$client"):
        answer = post(a_hub(tmp_path), method, {}, channel=channel, data=1)
        assert answer.json()["error"]["code"] == 107, channel


# Files.


def wait_for(site: Site, name: str, status: int) -> None:
    """Wait until a key is answered so."""
    eventually(lambda: site.http.post("/api/info", json={}, headers=key(name)).status_code == status)


@pytest.fixture
def keys_file(tmp_path: Path) -> Path:
    file = tmp_path / "keys.json"
    file.write_text(json.dumps([entry("old")]))
    return file


def test_a_file_is_read_again_when_it_changes(keys_file: Path) -> None:
    """At once, with keys of the settings beside it."""
    with serving(api_keys="plain", api_keys_file=str(keys_file)) as site:
        assert site.http.post("/api/info", json={}, headers={"X-API-Key": "plain"}).status_code == 200
        wait_for(site, "old", 200)
        keys_file.write_text(json.dumps([entry("new")]))
        wait_for(site, "new", 200)
        wait_for(site, "old", 401)
        replacement = keys_file.with_suffix(".new")
        replacement.write_text(json.dumps([entry("third", allow=["stats"])]))
        replacement.rename(keys_file)
        wait_for(site, "third", 403)
        keys_file.write_text("[]")
        wait_for(site, "third", 401)


@pytest.mark.parametrize("trouble", ["broken", "gone", "a folder"])
def test_a_file_that_turns_bad_leaves_the_keys_as_they_were(
    keys_file: Path, trouble: str, caplog: pytest.LogCaptureFixture
) -> None:
    """With one line in the log, until it is good again."""
    keys = ApiKeys(file=keys_file)
    content = keys_file.read_bytes()
    keys_file.unlink()
    if trouble == "broken":
        keys_file.write_text('[{"name": "old"')
    elif trouble == "a folder":
        keys_file.mkdir()
    for _ in range(3):
        assert keys.find({"x-api-key": "oldold"}) is not None
    assert len(caplog.records) == 1
    assert str(keys_file) in caplog.text
    if keys_file.is_dir():
        keys_file.rmdir()
    keys_file.write_bytes(content.replace(b"old", b"newer"))
    assert keys.find({"x-api-key": "oldold"}) is not None  # the hash is the same
    keys_file.write_text("[]")
    assert keys.find({"x-api-key": "oldold"}) is None


def test_a_change_within_the_clocks_tick_is_seen(keys_file: Path) -> None:
    """Of the same size, and with the same time of change."""
    keys = ApiKeys(file=keys_file)
    state = keys_file.stat()
    keys_file.write_text(json.dumps([entry("new")]))
    os.utime(keys_file, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert keys.find(dict(key("new")) | {"x-api-key": "newnew"}) is not None
    assert keys.find({"x-api-key": "oldold"}) is None


BAD = {
    "no JSON": ("[", "JSON"),
    "no list": ("{}", "list"),
    "no name": ('[{"hash": "x"}]', "name"),
    "a plain key": ('[{"name": "a", "hash": "secret"}]', "hash"),
    "half a hash": ('[{"name": "a", "hash": "sha256:12"}]', "64"),
    "an unknown method": (json.dumps([entry("a", allow=["publsh"])]), "publsh"),
    "no method": (json.dumps([entry("a", allow=[])]), "nothing"),
    "no channel": (json.dumps([entry("a", channels=[])]), "channels"),
    "a misspelt field": (json.dumps([entry("a", chanels=["x"])]), "chanels"),
    "two of a name": (json.dumps([entry("a"), entry("a")]), "twice"),
    "two of a hash": (json.dumps([entry("a"), {**entry("a"), "name": "b"}]), "another"),
    "too many patterns": (json.dumps([entry("a", channels=[str(n) for n in range(300)])]), "300"),
    "deep": ("[" * 100_000, "JSON"),
    "too large": (" " * 2**21, "larger"),
}


@pytest.mark.parametrize("bad", BAD)
def test_a_file_that_is_bad_from_the_start_is_refused(keys_file: Path, bad: str) -> None:
    """In a sentence that names the file and what is wrong, and no key."""
    content, word = BAD[bad]
    keys_file.write_text(content)
    with pytest.raises(BadKeys) as refused:
        ApiKeys(file=keys_file)
    assert str(keys_file) in str(refused.value)
    assert word in str(refused.value)
    assert "secret" not in str(refused.value)


def test_keys_may_stand_as_hashes() -> None:
    """And no more than that is kept of those that do not."""
    keys = ApiKeys([hash_key("first"), hash_key("second").upper().replace("SHA", "sha"), "third"])
    for name in ("first", "second", "third"):
        assert keys.find({"x-api-key": name}) is not None
    assert keys.find({"x-api-key": hash_key("first")}) is None
    assert "third" not in repr(vars(keys))
    with pytest.raises(BadKeys):
        ApiKeys(["sha256:none"])
