"""Many random cuts, quickly; `make soak` makes more of them."""

import asyncio
import logging

import pytest

from ..transports.serving import FAST, UVICORN
from .cutting import cut_and_resume, several


@pytest.mark.parametrize(
    ("kind", "nodes", "seeds"),
    [
        (FAST, 1, range(120)),
        (UVICORN, 1, range(1000, 1060)),
        (FAST, 2, range(2000, 2060)),
        (UVICORN, 2, range(3000, 3030)),
    ],
)
def test_a_client_that_is_cut_off_hears_everything_once_and_in_order(
    kind: str, nodes: int, seeds: range, caplog: pytest.LogCaptureFixture
) -> None:
    """By whatever is done to its connection, and where its program ends and goes on from kept positions."""
    caplog.set_level(logging.ERROR, "hubbub")
    with several(kind, nodes) as ports:
        runs = asyncio.run(cut_and_resume(ports, seeds))

    assert [run.seed for run in runs if not run.is_whole] == []
    assert sum(run.connections for run in runs) > 2 * len(runs)
    assert any(run.again for run in runs)
