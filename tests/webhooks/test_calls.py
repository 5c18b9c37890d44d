"""The backend decides: what it is asked, and what its answers do."""

import asyncio
import json
import time
from typing import Any

import pytest
from msgspec import Raw

from hubbub.core.grants import Action
from hubbub.hub import Refuse
from hubbub.webhooks import WebhookOptions, attach_webhooks

from ..hub.inprocess import a_hub, enter, run, until
from .backend import SECRET, Backend, answer, asking, counted, yes

KNOWN = {"transport": "websocket", "protocol": "json", "encoding": "json"}


def refused(hub: Any, **request: Any) -> Any:
    """How a client is turned away."""

    async def knock() -> Refuse:
        with pytest.raises(Refuse) as caught:
            await enter(hub, **request)
        return caught.value

    return knock()


def test_connect_says_who_a_client_is() -> None:
    """The backend is told what the handshake says, and its word counts."""

    async def scenario() -> None:
        async with asking("connect") as (hub, backend):
            backend.on("connect", yes(user="42", client_id="bob", info={"name": "Bob"}, groups=["staff"]))
            client = await enter(hub, "alice", address="192.0.2.7")
            [request] = backend.asked("connect")
            assert request.json == KNOWN | {
                "client": "",
                "client_id": "alice",
                "user": "",
                "path": "/ws/alice",
                "address": "192.0.2.7",
            }
            assert request.headers["content-type"] == "application/json"
            assert request.is_signed(now=time.time())
            session = client.connection.describe()
            assert (session.client_id, session.user, session.info) == ("bob", "42", {"name": "Bob"})
            await until(lambda: hub.registry.count("staff") == 1)
            assert counted(hub, "calls_total", endpoint="connect", outcome="ok") == 1

    run(scenario())


def test_a_list_of_channels_is_joined_and_an_object_grants() -> None:
    """Backends of the field name channels to join; tokens name what may be done."""

    async def scenario() -> None:
        async with asking("connect") as (hub, backend):
            backend.on("connect", yes(channels=["news"], subs={"orders:1": {"info": 1}}, groups=["news"]))
            client = await enter(hub)
            assert client.connection.identity.groups == ("news", "orders:1")
            assert client.connection.identity.grants is None

            backend.on("connect", yes(channels={"orders:*": ["join"]}, expire_at=int(time.time()) + 100))
            client = await enter(hub)
            grants = client.connection.identity.grants
            assert grants is not None
            assert grants.allow(Action.JOIN, "orders:1")
            assert not grants.allow(Action.PUBLISH, "orders:1")
            assert client.connection.identity.expires_at is not None

    run(scenario())


@pytest.mark.parametrize(
    ("said", "status", "code", "reason"),
    [
        ({"error": {"code": 403, "message": "not you"}}, 403, 403, "not you"),
        ({"error": {"code": 1000, "message": "later", "temporary": True}}, 503, 1000, "later"),
        ({"disconnect": {"code": 4500, "reason": "banned"}}, 403, 103, "banned"),
        ({"disconnect": {"code": 4000, "reason": "moved"}}, 503, 103, "moved"),
    ],
)
def test_connect_turns_a_client_away(said: dict[str, Any], status: int, code: int, reason: str) -> None:
    """With a status that tells it whether to come back."""

    async def scenario() -> None:
        async with asking("connect") as (hub, backend):
            backend.on("connect", answer(**said))
            refusal = await refused(hub)
            assert (refusal.status, refusal.error.code, refusal.reason) == (status, code, reason)
            assert len(hub.connections) == 0
            assert counted(hub, "calls_total", endpoint="connect", outcome="refused") == 1

    run(scenario())


def test_headers_are_passed_on_where_that_was_asked_for() -> None:
    """No other, none that cannot be sent, and of the address what the hub knows."""
    sent = {
        "cookie": "session=1; café=\xe9",
        "authorization": "Bearer x",
        "user-agent": "a browser",
        "x-tenant": "blue",
        "x-secret": "no",
        "content-length": "999999",
        "host": "elsewhere",
        "x-forwarded-for": "6.6.6.6",
        "x-broken": "a\r\nX-Evil: 1",
    }

    async def scenario() -> None:
        headers = ("cookie", "x-tenant", "x-broken", "authorization", "origin")
        async with asking("connect", headers=headers) as (hub, backend):
            await enter(hub, headers=sent, address="192.0.2.7")
            got = backend.asked("connect")[0].headers
            assert got["cookie"] == sent["cookie"]
            assert got["authorization"] == "Bearer x"
            assert got["x-tenant"] == "blue"
            assert got["x-forwarded-for"] == "192.0.2.7"
            assert got["user-agent"].startswith("hubbub/")
            assert got["host"].startswith("127.0.0.1:")
            assert not {"x-secret", "x-broken", "x-evil", "origin"} & set(got)

    run(scenario())


def test_a_cookie_of_one_answer_never_goes_out_with_another_call() -> None:
    """It would make one client look like another."""

    async def scenario() -> None:
        async with asking("connect") as (hub, backend):
            backend.on("connect", answer(result={}, headers={"Set_Cookie": "session=alices; Path=/"}))
            await enter(hub, "alice")
            await enter(hub, "bob")
            assert all("cookie" not in request.headers for request in backend.requests)

    run(scenario())


def test_subscribe_is_asked_for_every_group() -> None:
    """Yes, no with the backend's own words, or good-bye."""

    async def scenario() -> None:
        async with asking("connect", "subscribe") as (hub, backend):
            backend.on("connect", yes(user="42", info="i"))
            client = await enter(hub)
            assert (await client.join("news"))["type"] == "group_joined"
            [request] = backend.asked("subscribe")
            assert request.is_signed()
            assert request.json == KNOWN | {
                "client": client.connection.id,
                "client_id": "alice",
                "user": "42",
                "channel": "news",
                "info": "i",
            }
            backend.on("subscribe", answer(error={"code": 403, "message": "pay first"}))
            said = await client.join("premium")
            assert (said["type"], said["code"], said["message"]) == ("error", 403, "pay first")
            assert hub.registry.count("premium") == 0

            other = await enter(hub, "bob")
            backend.on("subscribe", answer(disconnect={"code": 4501, "reason": "enough"}))
            client.say("join_group", group_name="premium")
            await until(lambda: client.closed is not None)
            assert client.closed == (4501, "enough")
            assert other.closed is None

    run(scenario())


def test_publish_is_asked_with_the_data() -> None:
    """What it refuses nobody gets."""

    async def scenario() -> None:
        async with asking("publish") as (hub, backend):
            client = await enter(hub)
            await client.join("news")
            said = await client.ask("publish", group_name="news", data={"text": "hi", "n": [1, None]})
            assert said["type"] == "published"
            assert backend.asked("publish")[0].json["data"] == {"text": "hi", "n": [1, None]}
            assert (await client.hear("group_message"))["data"] == {"text": "hi", "n": [1, None]}

            backend.on("publish", answer(error={"code": 400, "message": "no swearing"}))
            said = await client.ask("publish", group_name="news", data="@!#")
            assert (said["type"], said["code"], said["message"]) == ("error", 400, "no swearing")
            await client.settle()
            assert len(client.heard("group_message")) == 1

    run(scenario())


def test_what_the_backend_would_change_is_never_published_as_it_was() -> None:
    """The data of the answer is, in its place."""

    async def scenario() -> None:
        async with asking("publish") as (hub, backend):
            backend.on("publish", yes(data={"text": "***"}))
            client = await enter(hub)
            await client.join("news")
            said = await client.ask("publish", group_name="news", data={"text": "damn"})
            await client.settle()
            published = [message["data"] for message in client.heard("group_message")]
            assert said["type"] == "published"
            assert published == [{"text": "***"}]

    run(scenario())


def test_rpc_returns_what_the_backend_says() -> None:
    """Data goes through as it is, both ways; nothing is null."""

    async def scenario() -> None:
        async with asking("connect", "rpc") as (hub, backend):
            client = await enter(hub)
            calls = attached_calls(hub, backend)
            session = client.connection.describe()
            backend.on("rpc", yes(data={"sum": 3}))
            assert json.loads(bytes(await calls.rpc(session, "add", Raw(b"[1, 2]")))) == {"sum": 3}
            assert {key: backend.asked("rpc")[0].json[key] for key in ("method", "data", "client_id")} == {
                "method": "add",
                "data": [1, 2],
                "client_id": "alice",
            }
            backend.on("rpc", yes())
            assert bytes(await calls.rpc(session, "add", Raw(b"null"))) == b"null"
            backend.on("rpc", answer(error={"code": 1999, "message": "cannot add"}))
            with pytest.raises(Refuse, match="cannot add") as caught:
                await calls.rpc(session, "add", Raw(b"{}"))
            assert caught.value.error == (1999, "cannot add", False)

    run(scenario())


def attached_calls(hub: Any, backend: Any) -> Any:
    """The hooks that a running hub was given."""
    return hub.hooks.connect[0].__self__


def test_a_client_calls_the_backend() -> None:
    """Any method that the hub itself does not know."""

    async def scenario() -> None:
        async with asking("rpc") as (hub, backend):
            hub.rpc("own")(lambda _: "mine")
            backend.on("rpc", yes(data={"sum": 3}))
            client = await enter(hub)
            said = await client.ask("rpc", method="add", data=[1, 2])
            assert said["type"] == "rpc_result"
            assert said["data"] == {"sum": 3}
            assert (await client.ask("rpc", method="own"))["data"] == "mine"
            assert len(backend.asked("rpc")) == 1

    run(scenario())


def test_refresh_prolongs_what_connect_has_said() -> None:
    """What a client may do stays as it was; what presence shows of it may change."""

    async def scenario() -> None:
        async with asking("connect", "refresh") as (hub, backend):
            backend.on("connect", yes(user="42", groups=["staff"], channels=["a"], expire_at=2_000_000_000))
            client = await enter(hub)
            calls = attached_calls(hub, backend)
            before = client.connection.identity
            session = client.connection.describe()

            backend.on("refresh", yes(expire_at=2_000_000_500, info="new"))
            after = await calls.refresh(session)
            assert after.expires_at == 2_000_000_500
            assert after.info == "new"
            assert (after.groups, after.grants, after.user) == (before.groups, before.grants, "42")
            assert backend.asked("refresh")[0].json["user"] == "42"

            backend.on("refresh", yes(expired=True))
            with pytest.raises(Refuse) as caught:
                await calls.refresh(session)
            assert caught.value.status < 500
            backend.on("refresh", answer(503))
            with pytest.raises(Refuse) as caught:
                await calls.refresh(session)
            assert caught.value.status == 503

    run(scenario())


def test_an_expired_client_stays_if_the_backend_says_so() -> None:
    """It is asked when the time has come, and not before; who has expired is closed."""

    async def scenario() -> None:
        async with asking("connect", "refresh", idle_timeout=0.1, grace_timeout=60.0) as (hub, backend):
            backend.on("connect", yes(user="42", expire_at=int(time.time()) + 1))
            backend.on("refresh", yes(expire_at=2_000_000_000))
            client = await enter(hub)
            await until(lambda: client.connection.identity.expires_at == 2_000_000_000)
            assert client.closed is None

            backend.on("refresh", yes(expired=True))
            client = await enter(hub, "bob")
            await until(lambda: client.closed is not None)

    run(scenario())


def test_one_backend_is_asked_over_few_connections() -> None:
    """They are kept; so a call costs no handshake."""

    async def scenario() -> None:
        async with asking("subscribe") as (hub, backend):
            client = await enter(hub)
            for number in range(20):
                await client.join(f"g{number}")
            assert len(backend.requests) == 20
            assert backend.connections == 1
            await asyncio.gather(*[c.join("all") for c in [await enter(hub, f"c{n}") for n in range(10)]])
            assert backend.connections <= 10

    run(scenario())


def test_a_backend_that_closes_idle_connections_is_asked_over_another() -> None:
    """No call is lost with the connection that was kept for it."""

    async def scenario() -> None:
        async with asking("subscribe") as (hub, backend):
            client = await enter(hub)
            for number in range(3):
                assert (await client.join(f"g{number}"))["type"] == "group_joined"
                await backend.stop()
                await backend.start()
            assert backend.connections == 3

    run(scenario())


def test_a_url_may_hold_a_name_and_a_password() -> None:
    """They go out as they do from a browser, and a client cannot replace them."""

    async def scenario() -> None:
        async with Backend() as backend:
            url = backend.url("connect").replace("//", "//hub:p%40ss@")
            async with asking(connect=url) as (hub, _):
                await enter(hub, headers={"authorization": "Bearer x"})
            [request] = backend.requests
            assert request.headers["authorization"] == "Basic aHViOnBAc3M="

    run(scenario())


def test_without_a_url_nothing_is_attached() -> None:
    """And a hook is given enough time to ask."""
    assert attach_webhooks(a_hub(), WebhookOptions()) is None
    with pytest.raises(ValueError, match="hook_timeout"):
        attach_webhooks(a_hub(hook_timeout=1.0), WebhookOptions(connect="http://127.0.0.1/", timeout=2.0))


def test_a_missing_secret_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    """Calls go out all the same, without the header."""

    async def scenario() -> None:
        async with asking("connect", secrets=()) as (hub, backend):
            await enter(hub)
            assert "x-hubbub-signature" not in backend.requests[0].headers

    run(scenario())
    assert "not signed" in caplog.text


def test_several_secrets_sign() -> None:
    """While one takes over from another."""

    async def scenario() -> None:
        async with asking("connect", secrets=("old", SECRET)) as (hub, backend):
            await enter(hub)
            assert backend.requests[0].is_signed("old")
            assert backend.requests[0].is_signed(SECRET)
            assert not backend.requests[0].is_signed("another")

    run(scenario())
