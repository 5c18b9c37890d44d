"""`cent`, a published server SDK of the API whose shapes are ours too: it works unchanged."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from .sites import Site, serving

cent = pytest.importorskip("cent", reason="the cent SDK is not installed: pip install 'cent>=5,<6'")

KEY = "the-key"


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with serving(api_keys=KEY, history_size=10) as site:
        yield site


@pytest.fixture
def sdk(site: Site) -> Iterator[Any]:
    client = cent.Client(f"{site.url}/api", KEY, timeout=5)
    yield client
    client._session.close()


def test_publish_and_history(site: Site, sdk: Any) -> None:
    """Positions, publications, tags."""
    with site.client("alice") as alice:
        alice.join("cent:1")
        first = sdk.publish(cent.PublishRequest(channel="cent:1", data={"n": 1}, idempotency_key="k"))
        assert (first.offset, len(first.epoch)) == (1, 8)
        again = sdk.publish(cent.PublishRequest(channel="cent:1", data={"n": 2}, idempotency_key="k"))
        assert again == first
        sdk.publish(cent.PublishRequest(channel="cent:1", data={"n": 3}, tags={"a": "b"}))
        assert [alice.hear("group_message")["data"]["n"] for _ in range(2)] == [1, 3]
    skipped = sdk.publish(cent.PublishRequest(channel="cent:1", data={}, skip_history=True))
    assert (skipped.offset, skipped.epoch) == (0, "")
    page = sdk.history(cent.HistoryRequest(channel="cent:1", limit=10))
    assert [(p.offset, p.data, p.tags) for p in page.publications] == [
        (1, {"n": 1}, None),
        (2, {"n": 3}, {"a": "b"}),
    ]
    assert (page.offset, page.epoch) == (2, first.epoch)
    since = cent.StreamPosition(offset=1, epoch=first.epoch)
    page = sdk.history(cent.HistoryRequest(channel="cent:1", limit=1, since=since))
    assert [p.offset for p in page.publications] == [2]
    page = sdk.history(cent.HistoryRequest(channel="cent:1", limit=1, reverse=True))
    assert [p.offset for p in page.publications] == [2]
    sdk.history_remove(cent.HistoryRemoveRequest(channel="cent:1"))
    assert sdk.history(cent.HistoryRequest(channel="cent:1", limit=10)).publications == []


def test_broadcast(site: Site, sdk: Any) -> None:
    """One response a channel; one that fails has an error in it."""
    result = sdk.broadcast(cent.BroadcastRequest(channels=["cent:2", "", "cent:3"], data={"n": 1}))
    good, bad, other = result.responses
    assert good.result.offset == other.result.offset == 1
    assert bad.error.code == 107


def test_presence_channels_and_info(site: Site, sdk: Any) -> None:
    """Who is where, and what is on the nodes."""
    with site.client("alice") as alice, site.client("bob") as bob:
        for client in (alice, bob):
            client.join("cent:4")
        presence = sdk.presence(cent.PresenceRequest(channel="cent:4")).presence
        assert sorted(info.client_id for info in presence.values()) == ["alice", "bob"]
        assert all(info.client == id for id, info in presence.items())
        stats = sdk.presence_stats(cent.PresenceStatsRequest(channel="cent:4"))
        assert (stats.num_clients, stats.num_users) == (2, 2)
        channels = sdk.channels(cent.ChannelsRequest(pattern="cent:*")).channels
        assert {name: info.num_clients for name, info in channels.items()} == {"cent:4": 2}
        [node] = sdk.info(cent.InfoRequest()).nodes
        assert (node.num_clients, node.num_channels, node.num_subs) == (2, 1, 2)
        assert node.uid
        assert node.version


def test_subscribe_unsubscribe_and_disconnect(site: Site, sdk: Any) -> None:
    """By client id; the SDK wants a user named, and none is any."""
    with site.client("alice") as alice:
        sdk.subscribe(cent.SubscribeRequest(user="", client="alice", channel="cent:5"))
        assert alice.hear()["type"] == "group_joined"
        sdk.unsubscribe(cent.UnsubscribeRequest(user="", client="alice", channel="cent:5"))
        assert alice.hear()["type"] == "group_removed"
        own = cent.Disconnect(code=4500, reason="enough")
        sdk.disconnect(cent.DisconnectRequest(user="", client="alice", disconnect=own))
        assert alice.closed_with() == (4500, "enough")


def test_errors_and_keys(site: Site, sdk: Any) -> None:
    """Are the SDK's own exceptions."""
    with pytest.raises(cent.CentApiResponseError) as error:
        sdk.presence(cent.PresenceRequest(channel="$all"))
    assert error.value.code == 107
    with pytest.raises(cent.CentApiResponseError) as error:
        sdk.refresh(cent.RefreshRequest(user="ann"))
    assert error.value.code == 108
    stranger = cent.Client(f"{site.url}/api", "wrong")
    with pytest.raises(cent.CentUnauthorizedError):
        stranger.info(cent.InfoRequest())
    stranger._session.close()


@pytest.mark.parametrize("parallel", [False, True])
def test_batch(sdk: Any, parallel: bool) -> None:
    """Each reply in the type of its request."""
    requests = [
        cent.PublishRequest(channel=f"cent:batch{parallel}", data={"n": 1}),
        cent.BroadcastRequest(channels=["cent:7"], data={"n": 2}),
        cent.InfoRequest(),
    ]
    published, broadcast, info = sdk.batch(cent.BatchRequest(requests=requests, parallel=parallel)).replies
    assert published.offset == 1
    assert broadcast.responses[0].result.offset >= 1
    assert len(info.nodes) == 1


def test_connections(site: Site, sdk: Any) -> None:
    """Of a user, or of all; the SDK wants an expression, which is passed over."""
    with site.client("alice"):
        connections = sdk.connections(cent.ConnectionsRequest(user="", expression="")).connections
        assert len(connections) == 1


def test_the_asynchronous_client(site: Site) -> None:
    """Speaks the same."""

    async def scenario() -> None:
        sdk = cent.AsyncClient(f"{site.url}/api", KEY)
        try:
            assert (await sdk.publish(cent.PublishRequest(channel="cent:8", data={"n": 1}))).offset == 1
            assert len((await sdk.info(cent.InfoRequest())).nodes) == 1
        finally:
            await sdk._session.close()

    asyncio.run(scenario())
