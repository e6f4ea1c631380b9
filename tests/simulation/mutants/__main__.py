"""Runs the simulation over code with one bug in it: `python -m tests.simulation.mutants NAME --seeds 1-20`.

Exit status 0: found. Without a name each one is run, in a process of its own, and the table is printed; 0 then means
that all were found, save those that `mutants.toml` says nothing finds. `--unit NAME` runs the unit tests instead; 0
then means that they fail.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys

from tests.simulation.mutants.table import DIRECTED, NOBODY, UNTRIED, Finder, Mutant, markdown, mutants

NOBODY_TRIED = "1-12"
"""Seeds tried for a bug of which nothing is known."""

UNIT_TESTS = {
    "node": ("tests/kernel", "tests/node"),
    "hub": ("tests/kernel", "tests/hub"),
    "kernel": ("tests/kernel", "tests/node", "tests/hub"),
}
"""Package → the folders of its unit tests."""


def _each(mutant: Mutant) -> int:
    status = subprocess.run([sys.executable, "-m", "tests.simulation.mutants", mutant.name], check=False).returncode
    return 0 if mutant.seeds in (NOBODY, UNTRIED) else status


def _unit(mutant: Mutant) -> int:
    return _tested(mutant, *UNIT_TESTS[mutant.module.split(".")[1]])


def _tested(mutant: Mutant, *tests: str) -> int:
    """Runs tests over one bug; 0 if one fails."""
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:xdist", "-p", "no:cacheprovider", "-p",
         "tests.simulation.mutants.plugin", *tests],
        env={**os.environ, "AVAL_MUTANT": mutant.name}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    found = [line for line in run.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    sys.stdout.write(f"{mutant.name}: {found[0] if found else 'no test fails'}\n")
    return 0 if run.returncode else 1


def _simulated(mutant: Mutant, seeds: str, steps: int) -> int:
    """Runs one bug until a seed finds it."""
    sys.meta_path.insert(0, Finder(mutant))
    # Imported only now: the shipped code must meet the finder.
    from tests.simulation.__main__ import seeds_of
    from tests.simulation.several import simulated
    from tests.simulation.simulation import Violation

    for seed in seeds_of(seeds):
        try:
            simulated(seed, mutant.hubs).run(steps)
        except Violation as found:
            sys.stdout.write(f"{mutant.name}: found by seed {seed} at step {found.step}: {found.problems[0]}\n")
            return 0
    sys.stdout.write(f"{mutant.name}: not found\n")
    return 1


def main() -> int:
    """Runs what the command line asks for."""
    if os.environ.get("PYTHONHASHSEED") != "0":
        return subprocess.run(sys.orig_argv, env={**os.environ, "PYTHONHASHSEED": "0"}, check=False).returncode
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.mutants", description=__doc__)
    parser.add_argument("name", nargs="?", default="")
    parser.add_argument("--seeds", default="")
    parser.add_argument("--steps", type=int, default=0)
    parser.add_argument("--unit", action="store_true")
    parser.add_argument("--table", action="store_true", help="print the table of docs/simulation.md")
    asked = parser.parse_args()
    if asked.table:
        sys.stdout.write(markdown() + "\n")
        return 0
    if not asked.name:
        return max((_unit if asked.unit else _each)(one) for one in mutants().values())
    mutant = mutants()[asked.name]
    if asked.unit:
        return _unit(mutant)
    if mutant.seeds == DIRECTED and not asked.seeds:
        return _tested(mutant, f"tests/simulation/{mutant.directed}")
    seeds = asked.seeds or (NOBODY_TRIED if mutant.seeds in (NOBODY, UNTRIED) else mutant.seeds)
    return _simulated(mutant, seeds, asked.steps or mutant.steps)


if __name__ == "__main__":
    sys.exit(main())
