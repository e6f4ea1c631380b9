"""The budgeted simulation of every `make test`, and that it can fail; `make simulate` runs as long as one likes."""

from __future__ import annotations

import inspect
import subprocess
import sys

import pytest

from aval.hub import bootstrap as hub_root
from aval.node import bootstrap as node_root
from tests.conftest import CHECKOUT
from tests.simulation.compose import SWAPPED
from tests.simulation.mutants.__main__ import mutants
from tests.simulation.simulation import Simulation

SEEDS = "1-6"
STEPS = 240
"""About 25 s of one core."""

MUTANTS = ("answer-before-commit", "final-request-releases-nothing", "bed-freed-twice", "hold-never-expires")
"""Found within seconds; `make mutants` runs them all."""

RUN_SECONDS = 110


def _python(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        timeout=RUN_SECONDS,
        check=False,
        env={"PYTHONHASHSEED": "0", "PATH": "/usr/bin:/bin"},
    )


def test_nothing_breaks_under_faults() -> None:
    """DESIGN §8 after every commit and message; agreement once faults stop; nothing changed by what comes again."""
    run = _python("tests.simulation", "--seeds", SEEDS, "--steps", str(STEPS), "--no-shrink", "--demand")
    sys.stdout.write(run.stdout)
    assert run.returncode == 0, run.stdout[-8000:] + run.stderr[-4000:]


@pytest.mark.parametrize("name", MUTANTS)
def test_a_bug_put_in_is_found(name: str) -> None:
    run = _python("tests.simulation.mutants", name)
    assert run.returncode == 0, run.stdout[-2000:] + run.stderr[-4000:]


def test_each_bug_is_of_a_line_that_is_there() -> None:
    roots = {"node": "node", "hub": "hub", "kernel": "proto", "adapters": "adapters"}
    gone = [
        one.name
        for one in mutants().values()
        if (CHECKOUT / roots[one.module.split(".")[1]] / f"{one.module.replace('.', '/')}.py")
        .read_text()
        .count(one.old)
        != 1
    ]
    assert not gone


def test_without_faults_nothing_is_found() -> None:
    """A checker that cries without cause would be believed by nobody."""
    report = Simulation(5, faulty=False).run(150)
    assert report.checks["node commits"] > 50
    assert report.checks["figures compared"] > 0


def test_a_seed_says_everything() -> None:
    first, second = Simulation(9), Simulation(9)
    for simulation in (first, second):
        simulation.run(60)
    assert first.world.trace == second.world.trace
    assert first.world.turns == second.world.turns


def test_only_ports_are_swapped() -> None:
    """Clock, chance, disk, transport (and who calls, which the transport says); counting is the shipped telemetry."""
    for root, name in ((node_root.compose, "node"), (hub_root.build, "hub")):
        parameters = inspect.signature(root).parameters.values()
        ports = {one.name for one in parameters if one.kind is one.KEYWORD_ONLY and one.default is one.empty}
        assert ports == SWAPPED[name]
