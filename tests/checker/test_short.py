"""Short runs of the checker over real servers, one for each kind of fault that tells most."""

import pytest

from .campaign import Size, run_campaign

SMALL = Size(clients=20, publishers=4, pace=0.06, longest=1.0)


@pytest.mark.parametrize(
    ("kind", "faults"),
    [
        ("keeping", ("kill", "black-hole", "kill-node")),
        ("forgetful", ("restart-empty",)),
        ("sentinel-wait", ("failover",)),
    ],
    ids=lambda value: value if isinstance(value, str) else "+".join(value),
)
def test_no_guarantee_is_broken_by(kind: str, faults: tuple[str, ...]) -> None:
    """Each fault at least once, under publications and with clients that come and go."""
    outcome = run_campaign(kind, seed=7, seconds=1.0, faults=faults, size=SMALL)
    assert outcome.violations == [], "\n".join(map(str, outcome.violations[:5]))
    assert set(outcome.faults) >= set(faults)
    assert outcome.counts["acknowledged"] > 20, "the faults befell nobody"
    assert outcome.counts["resumes"] > 20
    if faults == ("restart-empty",):
        assert outcome.counts["notices"] or outcome.counts["resumes refused"], "nobody was told of the loss"
