"""Health: alive while the process is, ready while clients should be sent here."""

from typing import Any

import pytest

from ..hub.inprocess import a_hub, enter, run
from ..hub.staged import staged_hub
from .sites import asking, serving


def test_alive_whatever_the_hub_does() -> None:
    """Before it starts, while it runs, and after it has stopped."""

    async def scenario() -> None:
        hub = a_hub()
        async with asking(hub) as http:

            async def alive() -> bool:
                answer = await http.get("/healthz")
                return (answer.status_code, answer.json()) == (200, {"status": "alive"})

            assert await alive()
            async with hub.lifespan():
                assert await alive()
            assert await alive()

    run(scenario())


def test_ready_while_it_runs() -> None:
    """Not before, and not after."""

    async def scenario() -> None:
        hub = a_hub()
        async with asking(hub) as http:

            async def ready() -> tuple[int, Any]:
                answer = await http.get("/readyz")
                return answer.status_code, answer.json()

            not_running = (503, {"status": "not ready", "reason": "the hub is not running"})
            assert await ready() == not_running
            async with hub.lifespan():
                assert await ready() == (200, {"status": "ready"})
            assert await ready() == not_running

    run(scenario())


@pytest.mark.parametrize("how", ["fails", "hangs"])
def test_not_ready_while_the_broker_does_not_answer(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The question has a deadline; connections stay, and readiness comes back."""
    monkeypatch.setattr("hubbub.http.app.READY_TIMEOUT", 0.02)

    async def scenario() -> None:
        hub, _, stage = staged_hub()
        async with hub.lifespan(), asking(hub) as http:
            alice = await enter(hub)
            stage.fail("ping ") if how == "fails" else stage.shut("ping ")
            answer = await http.get("/readyz")
            assert answer.status_code == 503
            assert answer.json()["status"] == "not ready"
            assert "the broker does not answer" in answer.json()["reason"]
            assert alice.closed is None

            stage.fail("ping ", failing=False)
            stage.open("ping ")
            # On a busy machine an answer can come after so short a deadline once more.
            while (await http.get("/readyz")).status_code != 200:
                pass

    run(scenario())


def test_on_a_server() -> None:
    """As a load balancer asks."""
    with serving() as site:
        assert site.http.get("/healthz").json() == {"status": "alive"}
        assert site.http.get("/readyz").json() == {"status": "ready"}
        assert site.http.head("/healthz").status_code in (200, 405)
