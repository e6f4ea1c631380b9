"""What the tests of one hub and of two do alike: run the simulation as a program, and one seed twice."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

from tests.conftest import CHECKOUT
from tests.simulation.simulation import Simulation

RUN_SECONDS = 600
"""Longest time of one run, on a machine that has much else to do; alone it takes a tenth of it."""


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs a module of this checkout."""
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        timeout=RUN_SECONDS,
        check=False,
        env={"PYTHONHASHSEED": "0", "PATH": "/usr/bin:/bin"},
    )


def assert_nothing_breaks(seeds: str, steps: int, more: int, *arguments: str) -> None:
    """Runs a budget, which fails where something breaks or was never met."""
    words = ("--seeds", seeds, "--steps", str(steps), "--no-shrink", "--demand", "--more", str(more))
    run = python("tests.simulation", *words, *arguments)
    sys.stdout.write(run.stdout)
    assert run.returncode == 0, run.stdout[-8000:] + run.stderr[-4000:]


def assert_a_seed_says_everything(make: Callable[[], Simulation], steps: int) -> None:
    """Two runs of one seed are one run."""
    first, second = make(), make()
    for simulation in (first, second):
        simulation.run(steps)
    assert first.world.trace == second.world.trace
    assert first.world.turns == second.world.turns
