"""Breaks servers and nodes for minutes, and judges what every client was told.

    python -m tests.checker.run [--seed N] [--minutes M] [--kinds a,b] [--faults a,b]

Exits 1 on a violation, and shows the part of the record that is one; 2 where servers did not do what the
checker wanted of them.
"""

import argparse
import sys
import time
from collections import Counter
from collections.abc import Sequence
from typing import Final

from redis.exceptions import RedisError
from rich.console import Console
from rich.table import Table

from ..servers import DidNotStart
from .campaign import Outcome, run_campaign
from .faults import SETUPS

SLICE: Final = 45.0
"""Seconds of faults on servers of one kind, before those of the next have their turn."""
SHOWN: Final = 4
"""Violations of each rule that are shown."""
_MOST: Final = {"peak node MiB", "slowest publish ms"}
console: Final = Console(highlight=False, soft_wrap=True, markup=False)


def _names(text: str) -> list[str]:
    return [name for name in text.split(",") if name]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.checker.run", description=__doc__)
    parser.add_argument(
        "--seed", type=int, default=int(time.time()), help="chooses everything; default the time"
    )
    parser.add_argument("--minutes", type=float, default=10.0, help="default 10")
    parser.add_argument("--kinds", type=_names, default=list(SETUPS), help=f"of {', '.join(SETUPS)}")
    parser.add_argument("--faults", type=_names, default=[], help="only these, by name")
    parser.add_argument(
        "--logs", action="store_true", help="show what nodes logged, where there is a violation"
    )
    options = parser.parse_args(arguments)
    if unknown := set(options.kinds) - SETUPS.keys():
        parser.error(f"no servers are of the kind {', '.join(sorted(unknown))}")

    console.print(f"seed {options.seed}")
    end = time.monotonic() + options.minutes * 60
    outcomes: list[Outcome] = []
    given_up = 0
    seed = options.seed
    while time.monotonic() < end or not (outcomes or given_up):
        for kind in options.kinds:
            left = end - time.monotonic()
            if left <= 0 and (outcomes or given_up):
                break
            console.print(f"\n{kind}, seed {seed}")
            seconds = min(SLICE, max(left, 1.0))
            try:
                outcome = run_campaign(kind, seed, seconds=seconds, faults=options.faults, say=console.print)
            except (TimeoutError, DidNotStart, RedisError, RuntimeError) as exc:
                # A machine too busy for its servers says nothing about us, and must not pass for a success.
                console.print(f"GIVEN UP {type(exc).__name__}: {exc}")
                given_up += 1
                continue
            outcomes.append(outcome)
            _report(outcome, options.logs)
        seed += 1
    _summarise(outcomes)
    if any(outcome.violations for outcome in outcomes):
        return 1
    return 2 if given_up else 0


def _report(outcome: Outcome, logs: bool) -> None:
    rules = Counter(violation.rule for violation in outcome.violations)
    shown: Counter[str] = Counter()
    for violation in outcome.violations:
        shown[violation.rule] += 1
        if shown[violation.rule] <= SHOWN:
            console.print(f"VIOLATION {violation}")
    if any(count > SHOWN for count in rules.values()):
        console.print(f"{rules.total()} violations: {dict(rules)}")
    if outcome.violations and logs:
        for name, log in outcome.logs.items():
            console.print(f"--- {name}\n{log}")
    counts = ", ".join(f"{count} {name}" for name, count in sorted(outcome.counts.items()))
    console.print(f"{outcome.kind}: {counts}; {outcome.seconds:.0f} s")


def _summarise(outcomes: Sequence[Outcome]) -> None:
    counts: Counter[str] = Counter()
    faults: Counter[str] = Counter()
    for outcome in outcomes:
        for name, count in outcome.counts.items():
            counts[name] = max(counts[name], count) if name in _MOST else counts[name] + count
        faults.update(outcome.faults)
    table = Table("what", "how much", title="Summary")
    for name, count in sorted(counts.items()):
        table.add_row(name, str(count))
    for name, count in sorted(faults.items()):
        table.add_row(f"fault: {name}", str(count))
    bad = [outcome for outcome in outcomes if outcome.violations]
    table.add_row("violations", str(sum(len(outcome.violations) for outcome in bad)))
    console.print()
    console.print(table)
    for outcome in bad:
        console.print(
            f"to run again: python -m tests.checker.run --seed {outcome.seed} --kinds {outcome.kind}"
        )


if __name__ == "__main__":
    sys.exit(main())
