"""Every scenario of `spec/scenarios`, with the Python client as the program."""

import asyncio
import json
from pathlib import Path

import pytest

from .program import Program
from .scenario import SCENARIOS, ScenarioServer
from .scripted import client_tasks, run


@pytest.mark.parametrize("file", sorted(SCENARIOS.glob("*.json")), ids=lambda file: file.stem)
def test_scenario(file: Path) -> None:
    """Both lanes come to their ends, and nothing is left of the client."""
    scenario = json.loads(file.read_text())

    async def play() -> None:
        async with ScenarioServer(scenario).running() as server:
            program = Program(scenario, f"ws://127.0.0.1:{server.port}")
            async with asyncio.TaskGroup() as lanes:
                lanes.create_task(server.play())
                lanes.create_task(program.play())
            await program.client.disconnect()
            assert client_tasks() == []

    run(play())
