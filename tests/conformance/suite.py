"""Runs the Autobahn WebSocket test cases against a server and returns each case's verdict.

The cases are Autobahn's own files, driven by kosoku's runner: autobahntestsuite itself needs Python 2.
kosoku patches `binascii` and shadows `pkg_resources` to import them, so it runs in a process of its own:
this file, executed by path, is also that process.
"""

import asyncio
import importlib.util
import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from textwrap import shorten
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kosoku._kosoku import CaseResult

# What must be installed beside the tests.
REQUIREMENT = "kosoku==0.1.0"

# The release whose case files REQUIREMENT carries.
AUTOBAHN = "25.10.1"

# Numbers and names are Autobahn's; it has no sections 8 and 11.
SECTIONS = {
    "1": "Framing",
    "2": "Pings and pongs",
    "3": "Reserved bits",
    "4": "Opcodes",
    "5": "Fragmentation",
    "6": "UTF-8 handling",
    "7": "Close handling",
    "9": "Limits and performance",
    "10": "Auto-fragmentation",
    "12": "Compression: payloads",
    "13": "Compression: parameters",
}

# A server that negotiates no permessage-deflate answers every case here with UNIMPLEMENTED.
COMPRESSION_SECTIONS = frozenset({"12", "13"})

FULL = tuple(f"{section}.*" for section in SECTIONS)

# All of the framing and closing rules; no large messages; of compression, 1,000 messages of 1 KiB for each
# payload and each set of parameters, and 8 KiB in fragments of 256 bytes for each payload.
QUICK = (
    *(f"{section}.*" for section in ("1", "2", "3", "4", "5", "6", "7", "10")),
    *(f"12.{payload}.{size}" for payload in range(1, 6) for size in (4, 11)),
    *(f"13.{parameters}.4" for parameters in range(1, 8)),
)

# One case at a time leaves a core idle; more make the cases that watch the clock judge the machine's load.
CONCURRENCY = 2

# The shortest time in which any case gives up on the server.
PATIENCE_MS = 1000


class Behavior(StrEnum):
    """How the server answered a case's frames."""

    OK = "OK"
    NON_STRICT = "NON-STRICT"
    INFORMATIONAL = "INFORMATIONAL"
    UNIMPLEMENTED = "UNIMPLEMENTED"
    FAILED = "FAILED"
    # kosoku's own: the case came to no verdict, most often because nothing answered.
    ERROR = "ERROR"


class CloseBehavior(StrEnum):
    """How the server took part in a case's closing handshake."""

    OK = "OK"
    INFORMATIONAL = "INFORMATIONAL"
    FAILED = "FAILED"
    FAILED_BY_CLIENT = "FAILED BY CLIENT"
    UNCLEAN = "UNCLEAN"
    WRONG_CODE = "WRONG CODE"


PASSING = frozenset({Behavior.OK, Behavior.NON_STRICT, Behavior.INFORMATIONAL})
PASSING_CLOSE = frozenset({CloseBehavior.OK, CloseBehavior.INFORMATIONAL})


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the suite found in one case, and in its words why."""

    behavior: Behavior
    behavior_close: CloseBehavior
    about: str
    reason: str
    seconds: float

    @property
    def passed(self) -> bool:
        return self.behavior in PASSING and self.behavior_close in PASSING_CLOSE


class SuiteError(Exception):
    """The suite could not run: what is missing, or what it said."""


def run_suite(
    url: str, cases: Sequence[str], *, concurrency: int = CONCURRENCY, timeout: float = 3600.0
) -> dict[str, Verdict]:
    """Run the cases, named by number or pattern ("7.*"), against the URL; verdicts come in case order."""
    if importlib.util.find_spec("kosoku") is None:
        raise SuiteError(f"the conformance suite is not installed: pip install {REQUIREMENT}")
    # -P: the runner shall find its own modules, not this folder's.
    command = [sys.executable, "-P", __file__, url, str(concurrency), *cases]
    try:
        run = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
    except subprocess.TimeoutExpired as error:
        raise SuiteError(f"the conformance suite did not end within {timeout:g} s") from error
    if run.returncode != 0:
        said = run.stderr.strip().splitlines() or [f"exit status {run.returncode}"]
        raise SuiteError(f"the conformance suite could not run: {said[-1]}")
    return {case: _verdict(**fields) for case, fields in json.loads(run.stdout).items()}


def _verdict(behavior: str, close: str, description: str, reasons: list[str], milliseconds: int) -> Verdict:
    # Descriptions are HTML whose first line tells the case in a sentence or a few.
    about = shorten(re.sub(r"<[^>]*>", "", description.partition("<br>")[0]), 160, placeholder=" ...")
    reason = "; ".join(dict.fromkeys(reason for reason in reasons if reason))
    return Verdict(Behavior(behavior), CloseBehavior(close), about, reason, milliseconds / 1000)


# --- In the suite's own process. ---------------------------------------------------------------------------


async def _drive(url: str, cases: Sequence[str], concurrency: int) -> dict[str, dict[str, Any]]:
    results = {result.case_id: result for result in await _results(url, cases, concurrency)}
    # On a busy machine the suite's patience can end while the server waits for a core: a case that failed
    # by the clock is judged once more, alone. One that failed at once is not.
    if late := [case for case, result in results.items() if _was_late(result)]:
        results |= {result.case_id: result for result in await _results(url, late, 1)}
    return {
        case: {
            "behavior": result.behavior.value,
            "close": result.behavior_close.value,
            "description": result.description,
            "reasons": [result.result, result.result_close],
            "milliseconds": result.duration,
        }
        for case, result in results.items()
    }


async def _results(url: str, cases: Sequence[str], concurrency: int) -> Sequence["CaseResult"]:
    from kosoku import FailureError, run_fuzzingclient

    try:
        return await run_fuzzingclient(url, cases, concurrency=concurrency)
    except FailureError as failure:
        return failure.results  # of every case, not of the failed ones only


def _was_late(result: "CaseResult") -> bool:
    return not result.passed and result.duration >= PATIENCE_MS


if __name__ == "__main__":
    json.dump(asyncio.run(_drive(sys.argv[1], sys.argv[3:], int(sys.argv[2]))), sys.stdout)
    sys.stdout.flush()
    # kosoku 0.1.0 leaves its threads running; Python's own way out meets them and often aborts.
    os._exit(0)
