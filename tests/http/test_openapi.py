"""The API describes itself: a page for people and a document for tools."""

from typing import Any

import pytest
import schemathesis
from fastapi import FastAPI
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import Case, GenerationMode
from schemathesis.checks import content_type_conformance, not_a_server_error, status_code_conformance

from hubbub import __version__
from hubbub.http.api import METHODS
from hubbub.hub import Hub
from hubbub.server import build_app
from hubbub.settings import Settings

from ..hub.inprocess import a_hub, run
from .sites import api_of, app_of, serving


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    """The document of a server of its own."""
    document: dict[str, Any] = build_app(Settings(demo=False)).openapi()
    return document


def body_schema(document: dict[str, Any], path: str) -> dict[str, Any]:
    """What a path takes."""
    body = document["paths"][path]["post"]["requestBody"]
    assert body["required"] is True
    schema: dict[str, Any] = body["content"]["application/json"]["schema"]
    return schema


def refers(node: object) -> bool:
    """Whether a schema refers to something elsewhere."""
    if isinstance(node, dict):
        return "$ref" in node or any(map(refers, node.values()))
    return isinstance(node, list) and any(map(refers, node))


def test_it_is_served() -> None:
    """With a page to read it by."""

    async def scenario() -> None:
        async with api_of() as api:
            answer = await api.http.get("/openapi.json")
            assert answer.status_code == 200
            assert answer.json() == app_of(api.hub).openapi()
            page = await api.http.get("/docs")
            assert page.status_code == 200
            assert page.headers["content-type"].startswith("text/html")
            assert "/openapi.json" in page.text

    run(scenario())


def test_the_servers_own_names_itself(document: dict[str, Any]) -> None:
    """Title and version."""
    assert document["info"] == {"title": "Hubbub", "version": __version__}
    assert document["openapi"].startswith("3.")


@pytest.mark.parametrize("method", METHODS)
def test_every_method_is_described(document: dict[str, Any], method: str) -> None:
    """What it does, and what it takes: an object, complete in itself."""
    described = document["paths"][f"/api/{method}"]["post"]
    assert described["summary"]
    schema = body_schema(document, f"/api/{method}")
    assert schema["type"] == "object"
    assert not refers(schema)
    struct = METHODS[method].request
    assert set(schema.get("properties", {})) == {
        *struct.__struct_fields__,
    }


@pytest.mark.parametrize(
    ("method", "required"),
    [
        ("publish", {"channel"}),
        ("broadcast", {"channels"}),
        ("subscribe", {"channel"}),
        ("history", {"channel"}),
        ("batch", {"commands"}),
        ("info", set()),
        ("disconnect", set()),
    ],
)
def test_what_must_be_there_is_said(document: dict[str, Any], method: str, required: set[str]) -> None:
    """The rest has defaults."""
    assert set(body_schema(document, f"/api/{method}").get("required", ())) == required


@pytest.mark.parametrize("path", ["/broadcast", "/notify/{client_id}"])
def test_the_contracts_endpoints_are_described(document: dict[str, Any], path: str) -> None:
    """They take any object."""
    assert body_schema(document, path) == {"type": "object", "additionalProperties": True}


@pytest.mark.parametrize("path", ["/stats", "/metrics", "/healthz", "/readyz"])
def test_what_can_be_asked_is_described(document: dict[str, Any], path: str) -> None:
    """In a sentence each."""
    assert document["paths"][path]["get"]["summary"]


def test_operations_have_names_of_their_own(document: dict[str, Any]) -> None:
    """Tools make functions of them."""
    ids = [
        operation["operationId"] for methods in document["paths"].values() for operation in methods.values()
    ]
    assert len(set(ids)) == len(ids)


def test_two_hubs_in_one_app_are_described_apart() -> None:
    """Each under its prefix; nothing warns of a name that is there twice."""
    app = FastAPI()
    for name, hub in (("/a", a_hub()), ("/b", Hub())):
        app.include_router(hub.router, prefix=name)
    paths = app.openapi()["paths"]
    assert {"/a/api/publish", "/b/api/publish"} <= set(paths)


@pytest.mark.parametrize("path", ["/stats", "/broadcast", "/notify/{client_id}", "/metrics", "/api/publish"])
def test_what_needs_a_key_says_so(document: dict[str, Any], path: str) -> None:
    """By the names of the two ways, of which one is enough."""
    [described] = document["paths"][path].values()
    assert described["security"] == [{"ApiKey": []}, {"Token": []}]
    assert {"401", "403", "503"} <= set(described["responses"])
    schemes = document["components"]["securitySchemes"]
    assert schemes["ApiKey"] == {"type": "apiKey", "in": "header", "name": "X-API-Key"}
    assert schemes["Token"] == {"type": "http", "scheme": "bearer"}


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_what_needs_none_says_nothing_of_it(document: dict[str, Any], path: str) -> None:
    """A probe has no key."""
    assert "security" not in document["paths"][path]["get"]


def test_no_request_after_the_description_upsets_the_server() -> None:
    """Neither those that fit it nor those that break it: every answer is one that is described."""
    key = {"X-API-Key": "secret"}
    checks = [not_a_server_error, status_code_conformance, content_type_conformance]
    tried = set()
    with serving(api_keys="secret", history_size=10) as site:
        described = schemathesis.openapi.from_dict(site.http.get("/openapi.json").json())
        described.config.update(base_url=site.url)
        for found in described.get_all_operations():
            operation = found.ok()
            if operation.path.startswith("/sse"):
                continue  # an answer that does not end; tests/security/test_fuzz.py asks what it can be asked
            takes_something = bool(operation.body or operation.path_parameters)
            for mode in GenerationMode if takes_something else [GenerationMode.POSITIVE]:

                @given(case=operation.as_strategy(generation_mode=mode))
                @settings(
                    max_examples=6 if takes_something else 1,
                    deadline=None,
                    database=None,
                    derandomize=True,
                    suppress_health_check=list(HealthCheck),
                    phases=[Phase.generate],
                )
                def ask(case: Case) -> None:
                    answer = case.call(headers=key)
                    tried.add((case.operation.label, answer.status_code))
                    case.validate_response(answer, checks=checks)

                ask()
    assert {("POST /api/publish", 200), ("POST /api/publish", 400), ("GET /stats", 200)} <= tried
