"""What cannot be published is refused at once, with the words of a hub."""

import subprocess
import sys

import pytest

from hubbub import AsyncPublisher, Hub, Publisher
from hubbub.brokers.base import BadBroker
from hubbub.core.channels import BadName

from .faces import FACES, opened, run, shared_url

PUBLISHERS = pytest.mark.parametrize("publisher", [Publisher, AsyncPublisher])


@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize("channel", ["", "a\nb", "x" * 256, "\ud800"])
def test_a_name_that_is_not_legal(face: str, channel: str) -> None:
    """Nothing is asked of the server."""

    async def scenario() -> None:
        async with opened(face, "redis://127.0.0.1:1") as publisher:
            with pytest.raises(BadName, match="channel"):
                await publisher.publish(channel, 1)
            with pytest.raises(BadName, match="client_id"):
                await publisher.notify(channel, 1)
            with pytest.raises(BadName, match="client_id"):
                await publisher.notify("a/b", 1)

    run(scenario())


@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize("data", [object(), {"a": {1, object()}}, "\ud800", {(1, 2): 3}], ids=repr)
def test_data_that_is_no_json(face: str, data: object) -> None:
    """It raises what a hub raises, also where a tag is the culprit."""

    async def failure(publish: object, *arguments: object, **options: object) -> tuple[type, str]:
        with pytest.raises(Exception) as failed:  # noqa: PT011 - which one is what is compared
            await publish(*arguments, **options)  # type: ignore[operator]
        return failed.type, str(failed.value)

    async def scenario() -> None:
        hub = Hub()
        async with hub.lifespan(), opened(face, "redis://127.0.0.1:1") as publisher:
            expected = await failure(hub.publish, "a", data)
            assert await failure(publisher.publish, "a", data) == expected
            assert await failure(publisher.broadcast, data) == expected
            assert await failure(publisher.notify, "alice", data) == expected
            assert await failure(publisher.publish, "a", 1, tags={"a": data}) == await failure(
                hub.publish, "a", 1, tags={"a": data}
            )

    run(scenario())


@PUBLISHERS
def test_memory_is_refused(publisher: type) -> None:
    """With a word about why."""
    with pytest.raises(BadBroker, match=r"memory:// is inside one hub, .* give both redis://"):
        publisher("memory://")


@PUBLISHERS
@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("http://localhost", "no broker goes by 'http://'; give one of redis://, .*unix://$"),
        ("localhost:6379", "no broker goes by 'localhost://'"),
        ("", "no broker goes by ''"),
        ("redis://", "names no host"),
        ("redis://h?colour=blue", "sets 'colour'"),
        ("redis+sentinel://h", "names no service"),
        ("redis://[h", "cannot be read"),
    ],
)
def test_a_url_that_names_no_servers(publisher: type, url: str, sentence: str) -> None:
    """Before anything is published."""
    with pytest.raises(BadBroker, match=sentence):
        publisher(url)


@pytest.mark.parametrize("face", FACES)
def test_a_closed_publisher_says_so(face: str) -> None:
    """Rather than connect again behind the back of who closed it; closing again does no harm."""

    async def scenario() -> None:
        async with opened(face, shared_url("standalone")) as publisher:
            await publisher.broadcast(1)
        with pytest.raises(RuntimeError, match="closed"):
            await publisher.broadcast(1)
        closed = publisher.publisher.close()
        if closed is not None:
            await closed

    run(scenario())


def test_a_publisher_needs_no_server() -> None:
    """A script that publishes loads neither the hub nor what serves it."""
    code = (
        "import sys; from hubbub import AsyncPublisher, Publisher; "
        "sys.exit(', '.join({'fastapi', 'uvicorn', 'hubbub.hub', 'pydantic'} & set(sys.modules)))"
    )
    loaded = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert loaded.stderr == "\n"
