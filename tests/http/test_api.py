"""The server API, method by method: the shapes that published server SDKs know."""

import asyncio
import base64
import json
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest

from hubbub import __version__
from hubbub.core.channels import Namespace
from hubbub.http.api import BATCH_LIMIT, HISTORY_LIMIT, METHODS
from hubbub.hub import ConnectRequest, Identity, SessionInfo

from ..hub.inprocess import Client, a_hub, enter, run, turns, until
from ..hub.staged import staged_hub
from .sites import Api, JsonObject, api_of

KEPT = {"kept": Namespace(history_size=10), "quiet": Namespace(presence=False)}


def test_every_method_of_the_design_is_there() -> None:
    """And nothing that is not described."""
    assert set(METHODS) == {
        "publish",
        "broadcast",
        "subscribe",
        "unsubscribe",
        "disconnect",
        "refresh",
        "invalidate",
        "presence",
        "presence_stats",
        "history",
        "history_remove",
        "channels",
        "info",
        "batch",
        "connections",
    }


def test_an_unknown_method_is_404_with_code_104() -> None:
    """The sentence names those there are."""

    async def scenario() -> None:
        async with api_of() as api:
            for method in ("map_publish", "Publish", "x" * 100):
                answer = await api.http.post(f"/api/{method}", json={})
                assert answer.status_code == 404
                assert set(answer.json()) == {"error"}
                error = answer.json()["error"]
                assert error["code"] == 104
                assert method[:60] in error["message"]
                assert "publish, broadcast" in error["message"]

    run(scenario())


# publish


def test_publish_without_history() -> None:
    """The result is empty; members get what was sent."""

    async def scenario() -> None:
        async with api_of() as api:
            alice = await enter(api.hub)
            await alice.join("news")
            assert await api.result("publish", channel="news", data={"text": "hi"}) == {}
            message = await alice.hear("group_message")
            assert (message["group_name"], message["data"]) == ("news", {"text": "hi"})

    run(scenario())


def test_publish_with_history() -> None:
    """The result is the position."""

    async def scenario() -> None:
        async with api_of(namespaces=KEPT) as api:
            results = [await api.result("publish", channel="kept:1", data=n) for n in range(3)]
            assert [set(result) for result in results] == [{"offset", "epoch"}] * 3
            assert [result["offset"] for result in results] == [1, 2, 3]
            assert len({result["epoch"] for result in results}) == 1
            assert (await api.result("publish", channel="kept:2", data=1))["offset"] == 1

    run(scenario())


@pytest.mark.parametrize("data", [None, False, 0, "", [], {}, "text", [1, {"a": None}]], ids=json.dumps)
def test_any_json_can_be_published(data: object) -> None:
    """Null is data like any other; the field is there."""

    async def scenario() -> None:
        async with api_of() as api:
            alice = await enter(api.hub)
            await alice.join("news")
            await api.result("publish", channel="news", data=data)
            assert (await alice.hear("group_message"))["data"] == data

    run(scenario())


def test_b64data_is_json_in_base64() -> None:
    """In place of data; what it is not is told."""

    async def scenario() -> None:
        async with api_of() as api:
            alice = await enter(api.hub)
            await alice.join("news")
            encoded = base64.b64encode(b'{"n": 1.10}').decode()
            await api.result("publish", channel="news", b64data=encoded)
            assert (await alice.hear("group_message"))["data"] == {"n": 1.1}
            assert b'{"n": 1.10}' in alice.writes[-1]
            not_json, not_utf8 = (base64.b64encode(text).decode() for text in (b"no JSON", b"'\xff'"))
            for wrong in ("***", "ä", "\N{PILE OF POO}", not_json, not_utf8):
                code, sentence = await api.error("publish", channel="news", b64data=wrong)
                assert code == 107
                assert "`b64data`" in sentence
            deep = base64.b64encode(b"[" * 100_000).decode()
            assert (await api.error("publish", channel="news", b64data=deep))[0] == 107

    run(scenario())


def test_skip_history_keeps_it_out_of_the_history() -> None:
    """It is delivered all the same."""

    async def scenario() -> None:
        async with api_of(namespaces=KEPT) as api:
            alice = await enter(api.hub)
            await alice.join("kept:1")
            assert await api.result("publish", channel="kept:1", data=1, skip_history=True) == {}
            assert (await alice.hear("group_message"))["data"] == 1
            assert (await api.result("history", channel="kept:1", limit=-1))["publications"] == []

    run(scenario())


def test_tags_are_kept_and_delivered() -> None:
    """Beside the data."""

    async def scenario() -> None:
        async with api_of(namespaces=KEPT) as api:
            alice = await enter(api.hub)
            await alice.join("kept:1")
            await api.result("publish", channel="kept:1", data=1, tags={"lang": "de"})
            assert (await alice.hear("group_message"))["tags"] == {"lang": "de"}
            [kept] = (await api.result("history", channel="kept:1", limit=1))["publications"]
            assert kept["tags"] == {"lang": "de"}

    run(scenario())


def test_an_idempotency_key_returns_the_first_position() -> None:
    """And delivers once; per channel, over publish and broadcast alike."""

    async def scenario() -> None:
        async with api_of(namespaces=KEPT) as api:
            alice = await enter(api.hub)
            await alice.join("kept:1")
            first = await api.result("publish", channel="kept:1", data=1, idempotency_key="k")
            await api.result("publish", channel="kept:1", data=2)
            assert await api.result("publish", channel="kept:1", data=3, idempotency_key="k") == first
            both = await api.result("broadcast", channels=["kept:1", "kept:2"], data=4, idempotency_key="k")
            assert both["responses"][0] == {"result": first}
            assert both["responses"][1]["result"]["offset"] == 1
            await alice.settle()
            assert [message["data"] for message in alice.heard("group_message")] == [1, 2]

    run(scenario())


def test_reserved_channels_can_be_published_to() -> None:
    """They are how everybody, a client and a user are reached."""

    async def scenario() -> None:
        hub = a_hub()
        hub.on_connect(lambda _: Identity(user="ann"))
        async with api_of(hub) as api:
            alice = await enter(hub)
            for channel, kind in (
                ("$all", "broadcast_message"),
                ("$client:alice", "personal_notification"),
                ("$user:ann", "personal_notification"),
            ):
                await api.result("publish", channel=channel, data=channel)
                message = await alice.hear()
                assert (message["type"], message["data"]) == (kind, channel)

    run(scenario())


# What does not fit.

BAD: dict[str, tuple[str, JsonObject, int, str]] = {
    "no channel": ("publish", {"data": 1}, 107, "channel"),
    "no data": ("publish", {"channel": "news"}, 107, "data"),
    "empty channel": ("publish", {"channel": "", "data": 1}, 107, "channel"),
    "long channel": ("publish", {"channel": "x" * 256, "data": 1}, 107, "channel"),
    "control in channel": ("publish", {"channel": "a\nb", "data": 1}, 107, "channel"),
    "channel of a wrong type": ("publish", {"channel": 7, "data": 1}, 107, "channel"),
    "tags of a wrong type": ("publish", {"channel": "news", "data": 1, "tags": {"a": 1}}, 107, "tags"),
    "a version": ("publish", {"channel": "news", "data": 1, "version": 1}, 108, "version"),
    "no channels": ("broadcast", {"data": 1}, 107, "channels"),
    "empty channels": ("broadcast", {"channels": [], "data": 1}, 107, "channels"),
    "nothing to broadcast": ("broadcast", {"channels": ["news"]}, 107, "data"),
    "subscribe whom": ("subscribe", {"channel": "news"}, 107, "client"),
    "subscribe to what": ("subscribe", {"client": "alice"}, 107, "channel"),
    "subscribe to the reserved": ("subscribe", {"client": "alice", "channel": "$all"}, 107, "channel"),
    "unsubscribe from the reserved": ("unsubscribe", {"user": "ann", "channel": "$all"}, 107, "channel"),
    "disconnect whom": ("disconnect", {}, 107, "client"),
    "disconnect how": ("disconnect", {"client": "a", "disconnect": {"code": 1000}}, 107, "disconnect.code"),
    "disconnect thus": ("disconnect", {"client": "a", "disconnect": {"code": 5000}}, 107, "disconnect.code"),
    "refresh whom": ("refresh", {}, 107, "client"),
    "refresh": ("refresh", {"user": "ann"}, 108, "expire"),
    "presence of the reserved": ("presence", {"channel": "$all"}, 107, "channel"),
    "no presence": ("presence", {"channel": "quiet:1"}, 108, "presence"),
    "no presence stats": ("presence_stats", {"channel": "quiet:1"}, 108, "presence"),
    "no history": ("history", {"channel": "news"}, 108, "history"),
    "too much history": ("history", {"channel": "kept:1", "limit": HISTORY_LIMIT + 1}, 107, "limit"),
    "negative history": ("history", {"channel": "kept:1", "limit": -2}, 107, "limit"),
    "half a position": ("history", {"channel": "kept:1", "since": {"offset": 1}}, 107, "since"),
    "pattern of a wrong type": ("channels", {"pattern": 7}, 107, "pattern"),
    "no commands": ("batch", {}, 107, "commands"),
    "too many commands": ("batch", {"commands": [{"info": {}}] * (BATCH_LIMIT + 1)}, 107, "commands"),
}


@pytest.mark.parametrize("bad", BAD)
def test_what_does_not_fit_is_an_error_that_names_the_field(bad: str) -> None:
    """With status 200: the request was understood."""
    method, request, code, named = BAD[bad]

    async def scenario() -> None:
        async with api_of(namespaces=KEPT) as api:
            got, sentence = await api.error(method, **request)
            assert got == code
            assert named in sentence

    run(scenario())


def test_history_is_bounded_without_a_limit_too() -> None:
    """A page holds at most what a limit may say."""

    async def scenario() -> None:
        async with api_of(history_size=HISTORY_LIMIT + 10) as api:
            for n in range(HISTORY_LIMIT + 5):
                await api.hub.publish("news", n)
            page = await api.result("history", channel="news", limit=-1)
            assert len(page["publications"]) <= HISTORY_LIMIT

    run(scenario())


def test_fields_that_are_not_known_are_passed_over() -> None:
    """A newer SDK may send more."""

    async def scenario() -> None:
        async with api_of() as api:
            assert await api.result("publish", channel="news", data=1, delta=True, new={"a": 1}) == {}

    run(scenario())


def test_a_broker_that_is_down_is_error_100() -> None:
    """In bounded time, and with 503 where the contract has no errors of its own."""

    async def scenario() -> None:
        hub, _, stage = staged_hub(history_size=5)
        async with api_of(hub) as api:
            await enter(hub)
            for call in ("publish news", "history news", "subscribe news", "publish $all"):
                stage.fail(call)
            for method, request in (
                ("publish", {"channel": "news", "data": 1}),
                ("history", {"channel": "news"}),
                ("subscribe", {"channel": "news", "client": "alice"}),
            ):
                code, sentence = await api.error(method, **request)
                assert code == 100
                assert "broker" in sentence
            [one, other] = (await api.result("broadcast", channels=["news", "sport"], data=1))["responses"]
            assert one["error"]["code"] == 100
            assert "result" in other
            answer = await api.http.post("/broadcast", json={})
            assert answer.status_code == 503
            assert "broker" in answer.json()["detail"]

    run(scenario())


# broadcast


def test_broadcast_answers_channel_by_channel() -> None:
    """In their order; one that fails does not keep the others from succeeding."""

    async def scenario() -> None:
        async with api_of(namespaces=KEPT) as api:
            alice = await enter(api.hub)
            await alice.join("news")
            await alice.join("kept:1")
            result = await api.result(
                "broadcast", channels=["news", "", "kept:1"], data="hi", tags={"a": "b"}
            )
            assert set(result) == {"responses"}
            plain, bad, kept = result["responses"]
            assert plain == {"result": {}}
            assert bad["error"]["code"] == 107
            assert kept["result"]["offset"] == 1
            await alice.settle()
            assert [m["group_name"] for m in alice.heard("group_message")] == ["news", "kept:1"]
            assert all(m["data"] == "hi" and m["tags"] == {"a": "b"} for m in alice.heard("group_message"))

    run(scenario())


# subscribe, unsubscribe, disconnect, connections


async def ann_and_bob(api: Api) -> tuple[Client, Client, Client]:
    """Ann at a phone and at a tablet, and bob."""

    @api.hub.on_connect
    def who(request: ConnectRequest) -> Identity:
        return Identity(user="bob") if request.client_id == "laptop" else Identity(user="ann", info={"a": 1})

    phone, tablet, laptop = [
        await enter(api.hub, name, address="192.0.2.7") for name in ("phone", "tablet", "laptop")
    ]
    return phone, tablet, laptop


def test_subscribe_and_unsubscribe_push_to_the_clients() -> None:
    """By user, by client, or by both; the results are empty."""

    async def scenario() -> None:
        async with api_of() as api:
            clients = await ann_and_bob(api)
            for who, in_it in (
                ({"user": "ann"}, (True, True, False)),
                ({"client": "phone"}, (True, False, False)),
                ({"user": "bob", "client": "phone"}, (False, False, False)),
            ):
                assert await api.result("subscribe", channel="news", **who) == {}
                assert [bool(client.heard("group_joined")) for client in clients] == list(in_it)
                assert await api.result("unsubscribe", channel="news", **who) == {}
                removed = [client.heard("group_removed") for client in clients]
                assert [bool(pushes) for pushes in removed] == list(in_it)
                assert all(p["code"] == 2000 and p["group_name"] == "news" for [p] in filter(None, removed))
                for client in clients:
                    client.messages.clear()

    run(scenario())


def test_a_hook_that_refuses_is_no_fault_of_the_server() -> None:
    """Whether it is asked or not: an answer in the API's shape."""

    async def scenario() -> None:
        hub = a_hub()
        hub.on_subscribe("news")(lambda _: False)
        async with api_of(hub) as api:
            await enter(hub)
            assert (await api.http.post("/api/info", json={})).status_code == 200
            answer = await api.http.post("/api/subscribe", json={"channel": "news", "client": "alice"})
            assert answer.status_code == 200
            assert set(answer.json()) in ({"result"}, {"error"})

    run(scenario())


def test_a_hook_that_fails_on_leaving_does_not_fail_the_request() -> None:
    """It was taken out."""

    async def scenario() -> None:
        hub = a_hub()

        @hub.on_unsubscribe("news")
        def failing(session: SessionInfo) -> None:
            raise LookupError("the hook's own fault")

        async with api_of(hub) as api:
            clients = [await enter(hub, "alice") for _ in range(2)]
            for client in clients:
                await client.join("news")
            answer = await api.http.post("/api/unsubscribe", json={"channel": "news", "client": "alice"})
            assert answer.status_code == 200
            assert [len(client.heard("group_removed")) for client in clients] == [1, 1]

    run(scenario())


def test_disconnect_closes_with_the_code_given() -> None:
    """Or, without one, with one after which clients stop."""

    async def scenario() -> None:
        async with api_of() as api:
            phone, tablet, laptop = await ann_and_bob(api)
            own = {"code": 4001, "reason": "enough"}
            assert await api.result("disconnect", user="ann", disconnect=own) == {}
            for client in (phone, tablet):
                assert (await client.hear("disconnect"))["code"] == 4001
                assert client.closed == (4001, "enough")
            assert laptop.closed is None
            assert await api.result("disconnect", client="laptop") == {}
            assert laptop.closed is not None
            assert laptop.closed.code == 3503
            assert await api.result("disconnect", user="nobody") == {}

    run(scenario())


def test_disconnect_keeps_what_the_whitelist_names() -> None:
    """All of a user's connections but these: the client that logs out everywhere else."""

    async def scenario() -> None:
        async with api_of() as api:
            phone, tablet, _ = await ann_and_bob(api)
            answer = await api.answer("disconnect", user="ann", whitelist=["phone"])
            refused = answer.get("error", {}).get("code") == 108
            assert phone.closed is None
            assert refused is (tablet.closed is None)

    run(scenario())


def test_the_client_that_presence_names_can_be_acted_on() -> None:
    """What one method calls `client` is what the others take as `client`."""

    async def scenario() -> None:
        async with api_of() as api:
            phone, tablet, _ = await ann_and_bob(api)
            await phone.join("news")
            [shown] = (await api.result("presence", channel="news"))["presence"].values()
            await api.result("disconnect", user="ann", client=shown["client"])
            assert phone.closed is not None
            assert tablet.closed is None

    run(scenario())


def test_connections_lists_them() -> None:
    """By connection id: of a client, of a user, or all."""

    async def scenario() -> None:
        async with api_of() as api:
            phone, tablet, laptop = await ann_and_bob(api)
            for group in ("news", "a"):
                await phone.join(group)
            for request, found in (
                ({}, [phone, tablet, laptop]),
                ({"user": "ann"}, [phone, tablet]),
                ({"client": "laptop"}, [laptop]),
                ({"client": "laptop", "user": "ann"}, []),
            ):
                result = await api.result("connections", **request)
                assert list(result["connections"]) == [client.connection.id for client in found]
            shown = (await api.result("connections", client="phone"))["connections"][phone.connection.id]
            assert shown == {
                "client_id": "phone",
                "user": "ann",
                "channels": ["a", "news"],
                "address": "192.0.2.7",
                "transport": "websocket",
                "protocol": "json",
                "node": api.hub.node_id,
            }

    run(scenario())


# presence


def test_presence() -> None:
    """By connection, with user and info where there are any."""

    async def scenario() -> None:
        async with api_of() as api:
            assert await api.result("presence", channel="news") == {"presence": {}}
            assert await api.result("presence_stats", channel="news") == {"num_clients": 0, "num_users": 0}
            phone, tablet, laptop = await ann_and_bob(api)
            twin = await enter(api.hub, "laptop")
            for client in (phone, laptop, twin):
                await client.join("news")
            presence = (await api.result("presence", channel="news"))["presence"]
            assert set(presence) == {client.connection.id for client in (phone, laptop, twin)}
            assert presence[phone.connection.id] == {
                "client": phone.connection.id,
                "user": "ann",
                "client_id": "phone",
                "conn_info": {"a": 1},
            }
            assert presence[twin.connection.id] == {
                "client": twin.connection.id,
                "user": "bob",
                "client_id": "laptop",
            }
            assert await api.result("presence_stats", channel="news") == {"num_clients": 3, "num_users": 2}
            twin.vanish()
            await phone.ask("leave_group", group_name="news")
            await turns()
            assert set((await api.result("presence", channel="news"))["presence"]) == {laptop.connection.id}
            assert tablet.closed is None

    run(scenario())


def test_presence_stats_count_users() -> None:
    """One user at two devices is one user."""

    async def scenario() -> None:
        async with api_of() as api:
            phone, tablet, _ = await ann_and_bob(api)
            for client in (phone, tablet):
                await client.join("news")
            assert await api.result("presence_stats", channel="news") == {"num_clients": 2, "num_users": 1}

    run(scenario())


# history


def offsets(page: JsonObject) -> list[int]:
    """Where a page's publications stand."""
    return [publication["offset"] for publication in page["publications"]]


def test_history() -> None:
    """Whole or in part, from either end, and the position of the newest in each case."""

    async def scenario() -> None:
        async with api_of(namespaces=KEPT) as api:

            async def history(**request: Any) -> JsonObject:
                return await api.result("history", channel="kept:1", **request)

            empty = await history(limit=-1)
            assert (empty["publications"], empty["offset"]) == ([], 0)
            epoch = empty["epoch"]
            for n in range(1, 6):
                await api.result("publish", channel="kept:1", data={"n": n})

            page = await history(limit=-1)
            assert set(page) == {"publications", "offset", "epoch"}
            assert (page["offset"], page["epoch"]) == (5, epoch)
            first = page["publications"][0]
            assert set(first) == {"data", "offset", "timestamp"}
            assert (first["data"], first["offset"]) == ({"n": 1}, 1)
            assert datetime.fromisoformat(first["timestamp"]).utcoffset() == timedelta(0)

            def since(offset: int) -> JsonObject:
                return {"epoch": epoch, "offset": offset}

            for request, expected in (
                ({"limit": -1}, [1, 2, 3, 4, 5]),
                ({}, []),
                ({"limit": 0}, []),
                ({"limit": 2}, [1, 2]),
                ({"limit": 100}, [1, 2, 3, 4, 5]),
                ({"limit": 2, "reverse": True}, [5, 4]),
                ({"limit": -1, "reverse": True}, [5, 4, 3, 2, 1]),
                ({"limit": -1, "since": since(3)}, [4, 5]),
                ({"limit": 1, "since": since(3)}, [4]),
                ({"limit": -1, "since": since(5)}, []),
                ({"limit": -1, "since": since(0)}, [1, 2, 3, 4, 5]),
                ({"limit": -1, "since": since(3), "reverse": True}, [2, 1]),
                ({"limit": 1, "since": since(3), "reverse": True}, [2]),
                ({"limit": -1, "since": {"epoch": "another", "offset": 3}}, [1, 2, 3, 4, 5]),
            ):
                page = await history(**request)
                assert offsets(page) == expected, request
                assert (page["offset"], page["epoch"]) == (5, epoch), request

    run(scenario())


def test_history_is_bounded_by_its_namespace() -> None:
    """The oldest go."""

    async def scenario() -> None:
        async with api_of(namespaces=KEPT) as api:
            for n in range(25):
                await api.result("publish", channel="kept:1", data=n)
            page = await api.result("history", channel="kept:1", limit=-1)
            assert offsets(page) == list(range(16, 26))

    run(scenario())


def test_history_says_who_said_it() -> None:
    """Where it was a client."""

    async def scenario() -> None:
        async with api_of(namespaces=KEPT) as api:
            alice = await enter(api.hub)
            await alice.ask("chat_message", group_name="kept:1", message="hi")
            [said] = (await api.result("history", channel="kept:1", limit=1))["publications"]
            assert (said["data"], said["from"]) == ("hi", "alice")

    run(scenario())


def test_history_remove_leaves_the_position() -> None:
    """Offsets go on, so that no client takes a new publication for an old one."""

    async def scenario() -> None:
        async with api_of(namespaces=KEPT) as api:
            first = await api.result("publish", channel="kept:1", data=1)
            assert await api.result("history_remove", channel="kept:1") == {}
            page = await api.result("history", channel="kept:1", limit=-1)
            assert page == {"publications": [], **first}
            second = await api.result("publish", channel="kept:1", data=2)
            assert (second["offset"], second["epoch"]) == (2, first["epoch"])
            assert await api.result("history_remove", channel="kept:never") == {}

    run(scenario())


# channels, info


def test_channels_and_info() -> None:
    """Groups by pattern with their members; the node in numbers."""

    async def scenario() -> None:
        async with api_of() as api:
            assert await api.result("channels") == {"channels": {}}
            phone, tablet, laptop = await ann_and_bob(api)
            for client, groups in ((phone, ["news", "orders:1", "orders:22"]), (tablet, ["orders:1"])):
                for group in groups:
                    await client.join(group)
            every = {
                "news": {"num_clients": 1},
                "orders:1": {"num_clients": 2},
                "orders:22": {"num_clients": 1},
            }
            for pattern, found in (
                (None, ["news", "orders:1", "orders:22"]),
                ("*", ["news", "orders:1", "orders:22"]),
                ("orders:*", ["orders:1", "orders:22"]),
                ("orders:?", ["orders:1"]),
                ("[n-o]*s", ["news"]),
                ("NEWS", []),
                ("$*", []),
            ):
                result = await api.result("channels", **({} if pattern is None else {"pattern": pattern}))
                assert result == {"channels": {name: every[name] for name in found}}, pattern

            result = await api.result("info")
            assert set(result) == {"nodes"}
            [node] = result["nodes"]
            assert node["uptime"] >= 0
            assert isinstance(node["name"], str)
            assert node | {"uptime": 0, "name": ""} == {
                "uid": api.hub.node_id,
                "name": "",
                "version": __version__,
                "num_clients": 3,
                "num_users": 2,
                "num_subs": 4,
                "num_channels": 3,
                "uptime": 0,
            }
            for client in (phone, tablet, laptop):
                client.vanish()
            assert await api.result("channels") == {"channels": {}}
            [node] = (await api.result("info"))["nodes"]
            assert [node[f"num_{what}"] for what in ("clients", "users", "subs", "channels")] == [0] * 4

    run(scenario())


# batch


def replies_of(answer: JsonObject) -> list[JsonObject]:
    """A batch's replies, wherever they stand: `cent` wants them at the top, see test_cent.py."""
    replies: list[JsonObject] = answer["replies"] if "replies" in answer else answer["result"]["replies"]
    return replies


def ask_batch(commands: list[Any], **fields: Any) -> tuple[int, JsonObject]:
    """The status and the answer of one batch."""

    async def scenario() -> tuple[int, JsonObject]:
        async with api_of(namespaces=KEPT) as api:
            response = await api.http.post("/api/batch", json={"commands": commands, **fields})
            return response.status_code, response.json()

    return run(scenario())


BATCH: list[JsonObject] = [
    {"publish": {"channel": "kept:1", "data": 1}},
    {"broadcast": {"channels": ["kept:1", ""], "data": 2}},
    {"presence": {"channel": "$all"}},
    {"nonsense": {}},
    {"batch": {"commands": []}},
    {"publish": {"channel": "kept:1"}},
    {"publish": {"channel": "kept:1", "data": 3}, "info": {}},
    {},
    {"history": {"channel": "kept:1", "limit": 1, "reverse": True}},
    {"info": {}},
]


@pytest.mark.parametrize("parallel", [False, True])
def test_a_batch_replies_command_by_command(parallel: bool) -> None:
    """In their order; what fails does not keep the rest from succeeding."""
    status, answer = ask_batch(BATCH, parallel=parallel)

    assert status == 200
    replies = replies_of(answer)
    assert [next(iter(reply)) for reply in replies] == [
        "publish",
        "broadcast",
        "error",
        "error",
        "error",
        "error",
        "error",
        "error",
        "history",
        "info",
    ]
    assert [reply["error"]["code"] for reply in replies if "error" in reply] == [107, 104, 104, 107, 107, 107]
    assert replies[0]["publish"]["offset"] == 1
    responses = replies[1]["broadcast"]["responses"]
    assert responses[0]["result"]["offset"] == 2
    assert responses[1]["error"]["code"] == 107
    assert replies[8]["history"]["offset"] == 2
    assert replies[9]["info"]["nodes"]


def test_a_sequential_batch_is_in_order() -> None:
    """Each command sees what those before it have done."""
    commands = [{"publish": {"channel": "kept:1", "data": n}} for n in range(20)]
    status, answer = ask_batch([*commands, {"history": {"channel": "kept:1", "limit": -1}}])

    assert status == 200
    *published, history = replies_of(answer)
    assert [reply["publish"]["offset"] for reply in published] == list(range(1, 21))
    assert [p["data"] for p in history["history"]["publications"]] == list(range(10, 20))


def test_a_parallel_batch_waits_for_the_slowest_alone() -> None:
    """And a sequential one for each in turn."""

    async def scenario(*, parallel: bool) -> list[str]:
        hub, _, stage = staged_hub()
        async with api_of(hub) as api:
            stage.shut("publish slow")
            commands = [{"publish": {"channel": name, "data": 1}} for name in ("slow", "quick")]
            asked = asyncio.create_task(
                api.http.post("/api/batch", json={"commands": commands, "parallel": parallel})
            )
            await until(lambda: stage.reached("publish slow"))
            await turns()
            begun = [call for call in stage.log if call.startswith("publish")]
            stage.open("publish slow")
            assert len(replies_of((await asked).json())) == 2
            return begun

    assert run(scenario(parallel=True)) == ["publish slow", "publish quick"]
    assert run(scenario(parallel=False)) == ["publish slow"]


def test_an_empty_batch_has_no_replies() -> None:
    """It is none the less one."""
    status, answer = ask_batch([])

    assert status == 200
    assert replies_of(answer) == []


@pytest.mark.parametrize("body", [None, 5, "text", []], ids=json.dumps)
@pytest.mark.parametrize("parallel", [False, True])
def test_a_command_that_is_no_object_fails_alone(body: object, parallel: bool) -> None:
    """The others are carried out and answered."""
    commands = [{"publish": {"channel": "kept:1", "data": 1}}, {"info": body}, {"info": {}}]
    status, answer = ask_batch(commands, parallel=parallel)

    assert status == 200
    first, second, third = replies_of(answer)
    assert first["publish"]["offset"] == 1
    assert second["error"]["code"] == 107
    assert third["info"]["nodes"]


# Odds and ends that a hostile or careless backend sends.

ODD: dict[str, Callable[[], tuple[str, JsonObject]]] = {
    "a wild pattern": lambda: ("channels", {"pattern": "[" * 1000 + "*" * 1000}),
    "a pattern that tries a lot": lambda: ("channels", {"pattern": "*a" * 50 + "b"}),
    "a broken range": lambda: ("channels", {"pattern": "[z-a]"}),
    "an enormous limit": lambda: ("history", {"channel": "kept:1", "limit": 10**30}),
    "an enormous offset": lambda: (
        "history",
        {"channel": "kept:1", "since": {"epoch": "", "offset": 10**30}},
    ),
    "a long reason": lambda: (
        "disconnect",
        {"client": "alice", "disconnect": {"code": 4000, "reason": "ä" * 999}},
    ),
    "an odd version": lambda: ("publish", {"channel": "news", "data": 1, "version": -1}),
    "an empty key": lambda: ("publish", {"channel": "news", "data": 1, "tags": {"": ""}}),
    "a name of spaces": lambda: ("subscribe", {"client": "alice", "channel": "   "}),
}


@pytest.mark.parametrize("odd", ODD)
def test_odd_requests_are_answered(odd: str) -> None:
    """By a result or an error, never by a fault of ours."""
    method, request = ODD[odd]()

    async def scenario() -> None:
        async with api_of(namespaces=KEPT) as api:
            alice = await enter(api.hub)
            await alice.join("a" * 60)
            answer = await api.answer(method, **request)
            assert set(answer) in ({"result"}, {"error"})

    run(scenario())
