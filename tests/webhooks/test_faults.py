"""Backends that are slow, huge, garbled or gone: each time the answer is no, and the hub lives on."""

import asyncio
import socket
import statistics
import time

import pytest

from hubbub.hub import Hub, Refuse

from ..hub.inprocess import Client, enter, run, until
from .backend import Backend, Behaviour, answer, asking, counted, die, drip, flood, hang, yes

TIMEOUT = 0.15

ILL: dict[str, tuple[Behaviour, str]] = {
    "hangs": (hang, "timeout"),
    "drips": (drip, "timeout"),
    "floods": (flood, "too_large"),
    "dies": (die, "unreachable"),
    "is huge": (answer(body=b'{"result":{"user":"' + b"x" * 70_000 + b'"}}'), "too_large"),
    "fails": (answer(500), "status"),
    "is busy": (answer(503), "status"),
    "redirects": (answer(302, headers={"Location": "/elsewhere"}), "status"),
    "redirects, keeping the method": (answer(307, headers={"Location": "/elsewhere"}), "status"),
    "says no JSON": (answer(body=b"<html>yes</html>"), "garbage"),
    "says nothing": (answer(body=b""), "garbage"),
    "says half": (answer(body=b'{"result":{}'), "garbage"),
    "says no UTF-8": (answer(body=b'{"result":{"info":"\xff"}}'), "garbage"),
    "says too deep": (answer(body=b'{"result":{"info":' + b"[" * 20_000 + b"]" * 20_000 + b"}}"), "garbage"),
    "says neither": (answer(), "garbage"),
    "says null": (answer(result=None), "garbage"),
    "says yes and no": (answer(result={}, error={"code": 403}), "garbage"),
    "says true": (answer(body=b"true"), "garbage"),
    "says another type": (yes(user=42), "garbage"),
    "says a time of its own": (yes(expire_at="tomorrow"), "garbage"),
    "says a reserved group": (yes(groups=["$all"]), "garbage"),
    "grants what there is not": (yes(channels={"a": ["fly"]}), "garbage"),
    "closes with a code of ours": (answer(disconnect={"code": 3000, "reason": "x"}), "garbage"),
    "closes with a long reason": (answer(disconnect={"code": 4500, "reason": "é" * 100}), "garbage"),
    "compresses": (answer(body=b"\x1f\x8b", headers={"Content_Encoding": "gzip"}), "garbage"),
}


async def refusal(hub: Hub, client_id: str = "alice") -> Refuse:
    """How a client is turned away."""
    with pytest.raises(Refuse) as caught:
        await enter(hub, client_id)
    return caught.value


def outcome(hub: Hub, name: str, endpoint: str = "connect") -> float:
    """How many calls have ended like this."""
    return counted(hub, "calls_total", endpoint=endpoint, outcome=name)


@pytest.mark.parametrize("ill", ILL)
def test_a_bad_answer_is_a_no(ill: str) -> None:
    """At the door and inside; a good one is a yes again."""
    behaviour, name = ILL[ill]

    async def scenario() -> None:
        async with asking("connect", "subscribe", timeout=TIMEOUT) as (hub, backend):
            client = await enter(hub)
            backend.on("connect", behaviour)
            refused = await refusal(hub, "bob")
            assert (refused.status, refused.error.code, refused.error.temporary) == (503, 100, True)
            assert outcome(hub, name) == 1
            assert not backend.asked("elsewhere")
            if name != "garbage" or not ill.startswith(("says a", "grants", "says yes")):
                backend.on("subscribe", behaviour)
                said = await client.join("news")
                assert (said["type"], said["code"]) == ("error", 100)
                assert hub.registry.count("news") == 0
            backend.on("connect", yes())
            backend.on("subscribe", yes())
            await enter(hub, "bob")
            assert (await client.join("news"))["type"] == "group_joined"

    run(scenario())


def test_a_backend_that_is_not_there_is_a_no() -> None:
    """Nothing listens, or there is no such name."""

    async def scenario() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
        for url in (f"http://127.0.0.1:{port}/", "https://127.0.0.1:1/"):
            async with asking(connect=url) as (hub, _):
                assert (await refusal(hub)).status == 503
                assert outcome(hub, "unreachable") == 1

    run(scenario())


def test_tls_is_checked() -> None:
    """A backend that speaks none is none."""

    async def scenario() -> None:
        async with Backend() as plain:
            async with asking(connect=plain.url("connect").replace("http:", "https:")) as (hub, _):
                assert (await refusal(hub)).status == 503
            assert plain.requests == []

    run(scenario())


def test_the_breaker_opens_and_closes() -> None:
    """While it is open the backend has its peace; a probe finds out that it answers again."""

    async def scenario() -> None:
        async with asking("connect", "subscribe", timeout=TIMEOUT, probe_after=0.05) as (hub, backend):
            client = await enter(hub)
            backend.on("connect", answer(503))
            while not counted(hub, "open", endpoint="connect"):
                await refusal(hub)
            before = len(backend.requests)
            assert (await refusal(hub)).status == 503
            assert len(backend.requests) == before
            assert outcome(hub, "open") >= 1
            # Another endpoint is another matter.
            assert (await client.join("news"))["type"] == "group_joined"

            async def probed() -> None:
                while not counted(hub, "calls_total", endpoint="connect", outcome="ok") > 1:
                    try:
                        await enter(hub, "bob")
                    except Refuse:
                        await asyncio.sleep(0.005)

            backend.on("connect", yes())
            await probed()
            assert counted(hub, "open", endpoint="connect") == 0
            await enter(hub, "carol")

    run(scenario())


def test_what_one_client_provokes_turns_no_other_away() -> None:
    """A status, or a shape, that may be about that client's call alone opens no breaker."""

    async def scenario() -> None:
        async with asking("publish", timeout=TIMEOUT) as (hub, backend):
            hostile, honest = await enter(hub, "hostile"), await enter(hub, "honest")
            for status in (422, 500, 400, 404):
                backend.on("publish", answer(status))
                for _ in range(8):
                    assert (await hostile.ask("publish", group_name="g", data=1))["type"] == "error"
            backend.on("publish", yes())
            assert (await honest.ask("publish", group_name="g", data=1))["type"] == "published"

    run(scenario())


def test_a_header_that_cannot_be_sent_opens_no_breaker() -> None:
    """Whoever sends it costs its own call, or not even that."""

    async def scenario() -> None:
        async with asking("connect", headers=("x-odd",)) as (hub, backend):
            for odd in ("\x00", "a\nb", "a\r\nb: c", " ", "\udcff", "snow \u2603"):
                for _ in range(6):
                    await enter(hub, "odd", headers={"x-odd": odd})
            assert all("b" not in request.headers for request in backend.requests)

    run(scenario())


def test_calls_at_once_are_bounded() -> None:
    """So many are made, so many wait, and the rest is told at once."""

    async def scenario() -> None:
        settings = {"concurrency": 4, "queue": 6, "timeout": 5.0}
        async with asking("connect", **settings) as (hub, backend):
            go = asyncio.Event()

            async def slow(request: object, reply: object) -> None:
                await go.wait()
                await yes()(request, reply)  # type: ignore[arg-type]

            backend.on("connect", slow)
            knocks = [asyncio.create_task(enter(hub, f"c{n}")) for n in range(20)]
            await until(lambda: sum(knock.done() for knock in knocks) == 10)
            assert outcome(hub, "full") == 10
            assert counted(hub, "in_flight", endpoint="connect") == 10
            await until(lambda: backend.at_once == 4)
            go.set()
            results = await asyncio.gather(*knocks, return_exceptions=True)
            assert sum(isinstance(result, Client) for result in results) == 10
            assert all(r.error.code == 100 for r in results if isinstance(r, Refuse))
            assert backend.most_at_once == 4
            assert counted(hub, "in_flight", endpoint="connect") == 0

    run(scenario())


def test_a_hub_stays_lively_while_its_backend_hangs() -> None:
    """Two hundred clients knock at once and are all turned away; who is in hardly notices."""

    async def rounds(client: Client, number: int) -> float:
        """The usual time from a publication to its arrival."""
        took = []
        for _ in range(number):
            began = time.perf_counter()
            await client.settle()
            took.append(time.perf_counter() - began)
        return statistics.median(took)

    async def scenario() -> None:
        async with asking("connect", timeout=0.5, probe_after=60.0) as (hub, backend):
            client = await enter(hub)
            calm = await rounds(client, 200)
            backend.on("connect", hang)
            knocks = [asyncio.create_task(refusal(hub, f"c{n}")) for n in range(200)]
            await until(lambda: backend.at_once)
            stormy = await rounds(client, 200)
            refusals = await asyncio.gather(*knocks)
            assert {refused.status for refused in refusals} == {503}
            assert stormy < 20 * calm
            assert counted(hub, "open", endpoint="connect") == 1
            # None of them is left behind.
            assert len(hub.connections) == 1
            await until(lambda: counted(hub, "in_flight", endpoint="connect") == 0)

    run(scenario())


def test_who_waits_is_told_as_soon_as_the_breaker_opens() -> None:
    """It would wait in vain."""

    async def scenario() -> None:
        settings = {"concurrency": 5, "timeout": 5.0, "probe_after": 60.0}
        async with asking("connect", **settings) as (hub, backend):
            go = asyncio.Event()

            async def late(request: object, reply: object) -> None:
                await go.wait()
                await answer(503)(request, reply)  # type: ignore[arg-type]

            backend.on("connect", late)
            knocks = [asyncio.create_task(refusal(hub, f"c{n}")) for n in range(50)]
            await until(lambda: counted(hub, "in_flight", endpoint="connect") == 50)
            go.set()
            await asyncio.gather(*knocks)
            assert len(backend.requests) < 20
            assert outcome(hub, "open") >= 30

    run(scenario())


def test_who_gives_up_leaves_nothing_behind() -> None:
    """Neither a place nor a call under way."""

    async def scenario() -> None:
        async with asking("connect", concurrency=2, timeout=5.0) as (hub, backend):
            backend.on("connect", hang)
            knocks = [asyncio.create_task(enter(hub, f"c{n}")) for n in range(6)]
            await until(lambda: backend.at_once == 2)
            for knock in knocks:
                knock.cancel()
            await asyncio.gather(*knocks, return_exceptions=True)
            assert outcome(hub, "cancelled") == 6
            backend.on("connect", yes())
            await enter(hub)

    run(scenario())


def test_a_failing_backend_is_logged_seldom(caplog: pytest.LogCaptureFixture) -> None:
    """A crowd that is turned away makes no crowd of lines."""

    async def scenario() -> None:
        async with asking("connect") as (hub, backend):
            backend.on("connect", answer(503))
            for _ in range(50):
                await refusal(hub)

    run(scenario())
    lines = [record for record in caplog.records if record.name == "hubbub.webhooks"]
    assert 2 <= len(lines) <= 4
    assert "status 503" in caplog.text
