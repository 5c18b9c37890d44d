"""A hub in somebody's app, on the real server: under a prefix, with hooks at the door, among other routes."""

import asyncio
from collections.abc import Iterator

import pytest
from fastapi import FastAPI
from websockets.exceptions import InvalidMessage, InvalidStatus

from hubbub.hub import ConnectRequest, Hub, Identity, Refuse

from ..hub.inprocess import a_hub
from .sites import Site, eventually, serving


def an_app() -> tuple[FastAPI, Hub]:
    """An app with a hub under a prefix, and a door that decides."""
    hub = a_hub(hook_timeout=0.1)
    app = FastAPI(lifespan=hub.lifespan)
    app.include_router(hub.router, prefix="/live")

    @app.get("/")
    async def page() -> dict[str, str]:
        return {"page": "ours"}

    @app.post("/ship/{order}")
    async def ship(order: int) -> dict[str, bool]:
        await hub.publish(f"orders:{order}", {"status": "shipped"})
        return {"shipped": True}

    @hub.on_connect
    async def who(request: ConnectRequest) -> Identity | None:
        if request.client_id is None:
            return Identity(user="ann", client_id=request.query.get("as"))
        if request.client_id.startswith("refused"):
            raise Refuse("nö: not today", status=int(request.client_id.removeprefix("refused")))
        if request.client_id == "slow":
            await asyncio.Event().wait()
        if request.client_id == "broken":
            raise LookupError("the hook's own fault")
        return None

    return app, hub


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    app, _ = an_app()
    with serving(app) as site:
        yield site


def test_everything_is_under_the_prefix(site: Site) -> None:
    """And the app's own routes beside it."""
    assert site.http.get("/").json() == {"page": "ours"}
    assert site.http.get("/live/stats").json()["status"] == "running"
    assert site.http.get("/live/readyz").status_code == 200
    assert site.http.get("/stats").status_code == 404
    with site.client("alice", "/live/ws") as alice:
        assert alice.join("orders:42")["type"] == "group_joined"
        assert site.http.post("/ship/42").json() == {"shipped": True}
        assert alice.hear("group_message")["data"] == {"status": "shipped"}
        assert site.http.post("/live/notify/alice", json={"n": 1}).status_code == 200
        assert alice.hear("personal_notification")["data"] == {"n": 1}
        assert site.http.get("/live/metrics").text.count("websocket_connections_total 1.0") == 1


def test_the_hook_names_the_client(site: Site) -> None:
    """From what the handshake says."""
    with site.socket(None, "/live/ws?as=somebody") as client:
        assert client.hear()["client_id"] == "somebody"
        answer = site.http.post("/live/api/connections", json={"user": "ann"}).json()
        [connection] = answer["result"]["connections"].values()
        assert (connection["client_id"], connection["address"]) == ("somebody", "127.0.0.1")


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 409, 418, 429, 451, 500, 503])
def test_a_refusal_is_the_status_of_the_handshake(site: Site, status: int) -> None:
    """With the reason as its body."""
    with pytest.raises(InvalidStatus) as refused, site.socket(f"refused{status}", "/live/ws"):
        pass
    assert refused.value.response.status_code == status
    assert (refused.value.response.body or b"").decode() == "nö: not today\n"


@pytest.mark.parametrize("status", [499])
def test_any_status_will_do(site: Site, status: int) -> None:
    """Those that others have made up as well: 419, 460 and 499 are in use."""
    with (
        pytest.raises((InvalidStatus, InvalidMessage)) as refused,
        site.socket(f"refused{status}", "/live/ws", open_timeout=3),
    ):
        pass
    assert isinstance(refused.value, InvalidStatus)
    assert refused.value.response.status_code == status


@pytest.mark.parametrize(("client_id", "status"), [("slow", 503), ("broken", 500)])
def test_a_hook_that_fails_at_the_door(site: Site, client_id: str, status: int) -> None:
    """Nobody comes in, and nobody learns why."""
    with pytest.raises(InvalidStatus) as refused, site.socket(client_id, "/live/ws"):
        pass
    assert refused.value.response.status_code == status
    assert refused.value.response.body == b"internal error\n"


def test_what_the_api_does_to_clients_reaches_their_sockets(site: Site) -> None:
    """Put in, taken out, closed with a code of the application's own."""
    with site.client("alice", "/live/ws") as alice:

        def api(method: str, **request: object) -> object:
            return site.http.post(f"/live/api/{method}", json=request).json()

        assert api("subscribe", client="alice", channel="news") == {"result": {}}
        assert alice.hear() == {"type": "group_joined", "group_name": "news"}
        assert api("publish", channel="news", data=[1]) == {"result": {}}
        assert alice.hear("group_message")["data"] == [1]
        assert api("unsubscribe", client="alice", channel="news") == {"result": {}}
        removed = alice.hear()
        assert (removed["type"], removed["code"]) == ("group_removed", 2000)
        own = {"code": 4000, "reason": "moved ü" * 60}
        assert api("disconnect", client="alice", disconnect=own) == {"result": {}}
        told = alice.hear()
        assert (told["type"], told["code"], told["reconnect"]) == ("disconnect", 4000, True)
        code, reason = alice.closed_with()
        assert code == 4000
        assert reason
        assert own["reason"].startswith(reason)  # type: ignore[attr-defined]
    eventually(lambda: site.http.get("/live/stats").json()["total_connections"] == 0)
