"""Settings as flags: each is declared once, and what is wrong with one is said in its own words."""

import inspect
from typing import Any

import pytest
from pydantic import ValidationError

from hubbub.auth.apikeys import hash_key
from hubbub.cli.ends import WrongUsage
from hubbub.cli.flags import read_settings, setting_label
from hubbub.cli.serve import OF_THE_SERVER, serve
from hubbub.settings import Settings

from .conftest import Command


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(f"HUBBUB_{name.upper()}", raising=False)


def test_every_setting_is_a_flag(command: Command) -> None:
    """With its default and its description in the help."""
    shown = " ".join(command("serve", "--help").out.split())
    for name, field in Settings.model_fields.items():
        flag = f"--{name.replace('_', '-')}"
        assert f"{flag} " in shown
        assert field.description is not None
        assert field.description in shown
        if field.annotation is bool:
            assert f"{flag} / --no-{flag[2:]}" in shown
        elif field.default not in (None, (), ""):
            default = ",".join(field.default) if isinstance(field.default, tuple) else field.default
            assert f"{field.description} [default: {default}]" in shown


def test_the_command_takes_every_setting_and_nothing_else() -> None:
    """Besides the app."""
    taken = set(inspect.signature(serve).parameters)
    assert taken == {"context", "app", *Settings.model_fields}


def test_the_settings_of_any_app_are_settings() -> None:
    """A renamed one would be missed."""
    assert set(Settings.model_fields) > OF_THE_SERVER


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("port", "9000", 9000),
        ("idle_timeout", "2.5", 2.5),
        ("compression", True, True),
        ("demo", False, False),
        ("api_keys", "a, b,", (hash_key("a"), hash_key("b"))),
        ("api_keys", hash_key("a").upper().replace("SHA", "sha"), (hash_key("a"),)),
        ("trusted_proxies", "10.0.0.0/8, ::1,", ("10.0.0.0/8", "::1")),
        ("slow_policy", "latest", "latest"),
        ("tls_cert", "cert.pem", "cert.pem"),
    ],
)
def test_a_flag_becomes_the_setting(name: str, text: Any, value: object) -> None:
    """Whatever its type."""
    assert getattr(read_settings({name: text}), name) == value


def test_a_flag_wins_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """And the environment over the default."""
    monkeypatch.setenv("HUBBUB_PORT", "9001")
    monkeypatch.setenv("HUBBUB_ALLOWED_ORIGINS", "https://a.example,https://b.example")
    settings = read_settings({"port": "9002"})
    assert settings.port == 9002
    assert settings.allowed_origins == ("https://a.example", "https://b.example")


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("port", "x", "--port is 'x'; give a whole number, at least 0 and at most 65535"),
        ("port", "65536", "--port is '65536'; give a whole number, at least 0 and at most 65535"),
        ("idle_timeout", "0", "--idle-timeout is '0'; give a number, above 0"),
        ("idle_timeout", "soon", "--idle-timeout is 'soon'; give a number, above 0"),
        ("history_size", "-1", "--history-size is '-1'; give a whole number, at least 0"),
        ("slow_policy", "x", "--slow-policy is 'x'; give disconnect, drop_oldest or latest"),
        (
            "trusted_proxies",
            "x",
            "--trusted-proxies is 'x'; 'x' does not appear to be an IPv4 or IPv6 network",
        ),
        ("log_level", "loud", "--log-level is 'loud'; give debug, info, warning or error"),
    ],
)
def test_a_bad_flag_is_named_with_what_would_be_right(name: str, text: str, sentence: str) -> None:
    """In the words of the command line."""
    with pytest.raises(WrongUsage) as raised:
        read_settings({name: text})
    assert str(raised.value) == sentence


def test_a_bad_secret_is_not_repeated() -> None:
    """Nobody knows who looks over the shoulder, or reads the log."""
    with pytest.raises(WrongUsage) as raised:
        read_settings({"api_keys": "hush,sha256:hush"})
    assert str(raised.value) == "--api-keys is not good; after sha256: come 64 hexadecimal digits"
    assert "hush" not in repr(read_settings({"api_keys": "hush", "token_secret": "hush" * 8}))


def test_a_bad_variable_is_named_with_what_would_be_right(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of several, each."""
    monkeypatch.setenv("HUBBUB_DEMO", "perhaps")
    with pytest.raises(WrongUsage) as raised:
        read_settings({"port": "x"})
    port, demo = str(raised.value).split("; HUBBUB")
    assert port.startswith("--port is 'x'")
    assert demo == "_DEMO is 'perhaps'; give true or false"


def test_every_bad_value_gets_a_sentence() -> None:
    """Also where a setting is added that nobody thought of here."""
    for name, field in Settings.model_fields.items():
        try:
            Settings.model_validate({name: object()})
        except ValidationError:
            with pytest.raises(WrongUsage, match=f"^{setting_label(name, [name])} is "):
                read_settings({name: object()})
        else:
            pytest.fail(f"{name} takes anything: {field}")
