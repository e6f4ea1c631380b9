"""`make simulate SEEDS=… STEPS=…`: long runs, one seed after the other; a failure is shrunk and told.

python -m tests.simulation --seeds 1-200 --steps 300
python -m tests.simulation --seeds 17 --steps 300 --without 3,8,21   # the same run, less these steps
python -m tests.simulation --seeds 1-40 --hubs 2                     # two hubs on one database
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time

from tests.simulation.report import Report, demanded, summary
from tests.simulation.several import simulated
from tests.simulation.simulation import Violation

SHRINK_RUNS_MAX = 60
"""Runs spent on making a failure smaller."""


def seeds_of(text: str) -> range:
    """`17` or `1-200`."""
    first, _, last = text.partition("-")
    return range(int(first), int(last or first) + 1)


def fails(seed: int, steps: int, without: frozenset[int], hubs: int) -> Violation | None:
    """The violation of a run, if it has one."""
    try:
        simulated(seed, hubs, without).run(steps)
    except Violation as found:
        return found
    return None


def shrink(found: Violation, without: frozenset[int], hubs: int) -> tuple[Violation, int, frozenset[int]]:
    """A shorter run that still fails: first the prefix, then steps left out, in ever smaller runs of them."""
    steps = found.step + 1
    best = fails(found.seed, steps, without, hubs) or found
    left = [number for number in range(steps) if number not in without]
    runs, size = 0, max(1, len(left) // 2)
    while size >= 1 and runs < SHRINK_RUNS_MAX:
        start = 0
        while start < len(left) and runs < SHRINK_RUNS_MAX:
            tried = without | frozenset(range(steps)) - frozenset(left[:start] + left[start + size :])
            runs += 1
            again = fails(found.seed, steps, tried, hubs)
            if again is None:
                start += size
            else:
                best, left = again, left[:start] + left[start + size :]
        size //= 2
    return best, steps, frozenset(range(steps)) - frozenset(left)


def tell(found: Violation, steps: int, without: frozenset[int], hubs: int) -> str:
    """A failure, for people."""
    skipped = f" --without {','.join(map(str, sorted(without)))}" if without else ""
    skipped += f" --hubs {hubs}" if hubs > 1 else ""
    return "\n".join(
        (
            *found.trace,
            "",
            *(f"PROBLEM  {problem}" for problem in found.problems[:10]),
            f"seed {found.seed}: {steps - len(without)} steps are left of {steps}; run it again with",
            f"python -m tests.simulation --seeds {found.seed} --steps {steps}{skipped}",
        )
    )


def main() -> int:
    """Runs what the command line asks for; 1 if anything failed.

    Python draws the order of its sets anew for each process, unless told not to: a seed must say everything.
    """
    if os.environ.get("PYTHONHASHSEED") != "0":
        return subprocess.run(sys.orig_argv, env={**os.environ, "PYTHONHASHSEED": "0"}, check=False).returncode
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", default="1-20")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--without", default="")
    parser.add_argument("--hubs", type=int, choices=(1, 2, 3), default=1, help="how many hubs share one database")
    parser.add_argument("--no-shrink", action="store_true")
    parser.add_argument("--demand", action="store_true", help="fail where a kind of fault or a pair was never met")
    parser.add_argument("--more", type=int, default=0, help="seeds to add, one by one, while something was never met")
    asked = parser.parse_args()
    without = frozenset(int(one) for one in asked.without.split(",") if one)
    total, began, failed = Report(0), time.monotonic(), 0
    seeds = seeds_of(asked.seeds)
    for seed in range(seeds.start, seeds.stop + asked.more):
        if seed >= seeds.stop and not demanded(total, asked.hubs):
            break
        simulation = simulated(seed, asked.hubs, without)
        try:
            simulation.run(asked.steps)
        except Violation as violation:
            failed += 1
            whole = (violation, violation.step + 1, without)
            shrunk = whole if asked.no_shrink else shrink(violation, without, asked.hubs)
            sys.stdout.write(tell(*shrunk, asked.hubs) + "\n")
            sys.stdout.flush()
        total.add(simulation.report)
    missing = demanded(total, asked.hubs) if asked.demand else []
    for line in missing:
        sys.stdout.write(f"never met: {line}\n")
    verdict = f"{failed} of {total.runs} seeds failed" if failed else "no violation"
    sys.stdout.write(f"{summary(total, time.monotonic() - began)}\n{verdict}\n")
    return 1 if failed or missing else 0


if __name__ == "__main__":
    sys.exit(main())
