"""The quick part of the published conformance cases, over the fast transport."""

import pytest

from .echo import start_echo
from .suite import COMPRESSION_SECTIONS, QUICK, run_suite


@pytest.mark.parametrize("compression", [True, False], ids=["deflate", "plain"])
def test_the_published_cases_pass(compression: bool) -> None:
    """No case fails; the whole of them is `make conformance`."""
    cases = [case for case in QUICK if compression or case.partition(".")[0] not in COMPRESSION_SECTIONS]
    with start_echo(compression) as url:
        verdicts = run_suite(url, cases)
    assert len(verdicts) > 200
    assert {case: verdict.reason for case, verdict in verdicts.items() if not verdict.passed} == {}
