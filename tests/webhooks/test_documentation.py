"""The page about webhooks: its backend runs, and what it names there is."""

import io
import re
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client import CollectorRegistry
from websockets.exceptions import InvalidStatus

from hubbub.server import build_app
from hubbub.settings import Settings
from hubbub.webhooks.metrics import Outcome, WebhookMetrics
from hubbub.webhooks.options import ENDPOINTS

from ..http.sites import eventually, serving

PAGE = (Path(__file__).parents[2] / "docs" / "webhooks.md").read_text(encoding="utf-8")


def the_backend() -> dict[str, Any]:
    """The names of the page's program."""
    [source] = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    names: dict[str, Any] = {"__name__": "backend"}
    exec(compile(source, "docs/webhooks.md", "exec", dont_inherit=True), names)
    return names


def test_the_backend_of_the_page_works() -> None:
    """Behind a server of its own, with clients that have a session and one that has none."""
    backend, said = the_backend(), io.StringIO()
    with redirect_stdout(said), serving(backend["app"]) as site:
        hooks = {f"webhook_{name}": f"{site.url}/{name}" for name in ("connect", "subscribe", "events")}
        with serving(webhook_secret="change me", **hooks) as hub:
            alice = {"additional_headers": {"Cookie": "session=s1"}}
            with hub.client("mallory", **alice) as client:
                assert client.hear("group_joined")["group_name"] == "lobby"
                assert client.join("inbox-alice")["type"] == "group_joined"
                denied = client.join("inbox-bob")
                assert (denied["code"], denied["message"]) == (403, "not for you")
                hub.http.post("/notify/alice", json={"n": 1}).raise_for_status()
                assert client.hear("personal_notification")["data"] == {"n": 1}
            with pytest.raises(InvalidStatus) as caught, hub.client("bob"):
                pass
            assert caught.value.response.status_code == 403
            assert caught.value.response.body == b"log in first\n"
            eventually(lambda: "disconnect alice\n" in said.getvalue())
            metrics = hub.http.get("/metrics").text
            assert 'hubbub_webhook_calls_total{endpoint="connect",outcome="refused"} 1.0' in metrics
        with httpx.Client(trust_env=False, verify=False) as stranger:
            for headers in ({}, {"X-Hubbub-Signature": "t=1,v1=x"}):
                assert stranger.post(f"{site.url}/connect", json={}, headers=headers).status_code == 401


def test_settings_and_metrics_are_on_the_page() -> None:
    """All of them."""
    for name, field in Settings.model_fields.items():
        if name.startswith("webhook_"):
            default = ",".join(field.default) if name == "webhook_headers" else field.default or ""
            shown = f"`{default}`" if name == "webhook_headers" else f"{default:g}" if default else ""
            assert f"| `{name}` | {shown} |".replace("|  |", "| |") in PAGE
    registry = CollectorRegistry()
    WebhookMetrics(registry)
    for metric in registry.collect():
        total = "_total" if metric.type == "counter" else ""
        assert re.search(rf"`{metric.name}{total}[`{{]", PAGE), metric.name
    assert all(f"`{outcome}`" in PAGE for outcome in Outcome)


def test_webhooks_are_in_the_description_of_the_server() -> None:
    """What is sent and what is answered, each complete in itself."""
    described = build_app(Settings(demo=False)).openapi()["webhooks"]
    assert set(described) == set(ENDPOINTS)
    for name, methods in described.items():
        operation = methods["post"]
        assert operation["summary"]
        assert [p["name"] for p in operation["parameters"]] == ["X-Hubbub-Signature"]
        body = operation["requestBody"]["content"]["application/json"]["schema"]
        assert body["type"] == "object"
        assert "$ref" not in str(operation)
        [(status, response)] = operation["responses"].items()
        if name == "events":
            assert status == "204"
        else:
            answer = response["content"]["application/json"]["schema"]
            assert set(answer["properties"]) == {"result", "error", "disconnect"}


def test_the_table_of_calls_is_right() -> None:
    """It names the fields that are sent besides, and those of a result."""
    described = build_app(Settings(demo=False)).openapi()["webhooks"]
    common = {"client", "client_id", "user", "transport", "protocol", "encoding"}
    rows = re.findall(r"^\| (\w+) \| (`.*?) \|(.*) \|$", PAGE, re.MULTILINE)
    assert {name for name, _, _ in rows} == set(ENDPOINTS) - {"events"}
    for name, sent, answered in rows:
        operation = described[name]["post"]
        body = operation["requestBody"]["content"]["application/json"]["schema"]["properties"]
        assert set(re.findall(r"`(\w+)`", sent)) == set(body) - common
        answer = operation["responses"]["200"]["content"]["application/json"]["schema"]
        [result, _] = answer["properties"]["result"]["anyOf"]
        assert set(re.findall(r"`(\w+)`", answered)) == set(result["properties"])
