"""Runs the conformance cases over the echo server, prints the verdicts and records them.

    python -m tests.conformance.run [--quick] [--record docs/conformance.md]

Exits 1 when a case does not pass, 2 when the suite could not run.
"""

import argparse
import platform
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from itertools import groupby
from pathlib import Path

from rich.console import Console
from rich.table import Table

from .echo import DISTRIBUTIONS, SUBJECT, start_echo
from .suite import (
    AUTOBAHN,
    COMPRESSION_SECTIONS,
    FULL,
    QUICK,
    SECTIONS,
    Behavior,
    CloseBehavior,
    SuiteError,
    Verdict,
    run_suite,
)

# Column heads; kosoku's ERROR is a case that failed, and the list below the totals tells it apart.
COLUMNS = ("OK", "NON-STRICT", "INFORMATIONAL", "UNIMPLEMENTED", "FAILED")

Row = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    """One section's verdicts with compression on or off."""

    compression: bool
    section: str
    verdicts: dict[str, Verdict]
    seconds: float

    @property
    def mode(self) -> str:
        return "on" if self.compression else "off"

    def totals(self) -> Row:
        counts = Counter(_column(verdict) for verdict in self.verdicts.values())
        cells = (str(counts[column]) for column in COLUMNS)
        return (self.mode, self.section, SECTIONS[self.section], str(len(self.verdicts)), *cells)


TOTALS_HEAD = ("deflate", "section", "title", "cases", *COLUMNS)
REMARKS_HEAD = ("case", "deflate", "verdict", "what the case does", "what the suite says")

# No times and no paths: the record changes only when a verdict or a version does.
RECORD = """\
# WebSocket conformance

Written by `python -m tests.conformance.run --record`; edits are lost.

{scope} Autobahn test cases, run against {subject} with permessage-deflate on, then off
(sections 12 and 13 are about compression and run with it on only): **{passed} of {run} pass**.

A case passes as OK, as NON-STRICT (within the RFC, though not the suite's first choice) or as INFORMATIONAL
(the RFC leaves it open). It is FAILED also when only its closing handshake is wrong. A case that failed
only after a second or more of waiting is run once more by itself.

{versions}

## Totals

{totals}

## Cases that are not OK

{remarks}
"""


def _column(verdict: Verdict) -> str:
    """A case is FAILED also when only its closing handshake is wrong."""
    if verdict.passed or verdict.behavior is Behavior.UNIMPLEMENTED:
        return verdict.behavior.value
    return Behavior.FAILED.value


def _remarkable(verdict: Verdict) -> bool:
    return verdict.behavior is not Behavior.OK or verdict.behavior_close is not CloseBehavior.OK


def _remarks(outcomes: Sequence[Outcome]) -> list[Row]:
    """Every case that is not plainly OK, once for all the modes in which it ended alike."""
    modes: dict[Row, list[str]] = {}
    for outcome in outcomes:
        for case, verdict in outcome.verdicts.items():
            if _remarkable(verdict):
                said = "" if verdict.passed else verdict.reason
                modes.setdefault((case, _words(verdict), verdict.about, said), []).append(outcome.mode)
    remarks = [(case, ", ".join(modes[case, *rest]), *rest) for case, *rest in modes]
    return sorted(remarks, key=lambda remark: [int(number) for number in remark[0].split(".")])


def _words(verdict: Verdict) -> str:
    if verdict.behavior_close.value in {"OK", verdict.behavior.value}:
        return verdict.behavior.value
    return f"{verdict.behavior.value}, close {verdict.behavior_close.value}"


def _examine(selection: Sequence[str]) -> Iterator[Outcome]:
    """Run the selection section by section, first with compression, then all that needs none without."""
    for compression in (True, False):
        with start_echo(compression) as url:
            for section, cases in groupby(selection, key=lambda case: case.partition(".")[0]):
                if section in COMPRESSION_SECTIONS and not compression:
                    continue
                started = time.monotonic()
                verdicts = run_suite(url, list(cases))
                yield Outcome(compression, section, verdicts, time.monotonic() - started)


def _versions() -> list[str]:
    installed = [f"{name} {version(name)}" for name in ("kosoku", *DISTRIBUTIONS)]
    return [f"Autobahn's case files {AUTOBAHN}", *installed, f"Python {platform.python_version()}"]


def _show(outcomes: Sequence[Outcome]) -> None:
    console = Console()
    console.width = max(console.width, 125)  # a folded table is read by nobody, in a log least of all
    totals = Table(*TOTALS_HEAD, "seconds")
    for outcome in outcomes:
        totals.add_row(*outcome.totals(), f"{outcome.seconds:.1f}")
    console.print(totals)
    for remark in _remarks(outcomes):
        case, mode, *words = filter(None, remark)
        line = f"{case} (deflate {mode}): {'; '.join(words)}"
        console.print(line, soft_wrap=True, markup=False, highlight=False)


def _markdown(outcomes: Sequence[Outcome], quick: bool) -> str:
    verdicts = [verdict for outcome in outcomes for verdict in outcome.verdicts.values()]
    return RECORD.format(
        scope="A quick part of the" if quick else "All of the",
        subject=SUBJECT,
        passed=sum(verdict.passed for verdict in verdicts),
        run=len(verdicts),
        versions="\n".join(f"- {line}" for line in _versions()),
        totals=_rows(TOTALS_HEAD, [outcome.totals() for outcome in outcomes]),
        remarks=_rows(REMARKS_HEAD, _remarks(outcomes)),
    )


def _rows(head: Row, rows: Sequence[Row]) -> str:
    if not rows:
        return "None."
    lines = (head, tuple("---" for _ in head), *rows)
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.conformance.run", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="leave out large messages and most compression")
    parser.add_argument("--record", type=Path, metavar="FILE", help="write the verdicts as Markdown")
    options = parser.parse_args(arguments)

    progress = Console(stderr=True, highlight=False)
    outcomes = []
    try:
        for outcome in _examine(QUICK if options.quick else FULL):
            outcomes.append(outcome)
            where = f"{outcome.section} {SECTIONS[outcome.section]}, deflate {outcome.mode}"
            progress.print(f"{where}: {len(outcome.verdicts)} cases, {outcome.seconds:.1f} s")
    except SuiteError as error:
        progress.print(f"hubbub: {error}", markup=False)
        return 2

    _show(outcomes)
    if options.record:
        options.record.parent.mkdir(parents=True, exist_ok=True)
        options.record.write_text(_markdown(outcomes, options.quick), encoding="utf-8")
    return 0 if all(verdict.passed for outcome in outcomes for verdict in outcome.verdicts.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
