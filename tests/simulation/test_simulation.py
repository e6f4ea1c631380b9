"""The budgeted simulation of every `make test`, and that it can fail; `make simulate` runs as long as one likes."""

from __future__ import annotations

import ast
import inspect

import pytest

from aval.hub import bootstrap as hub_root
from aval.kernel.lifecycle import REACTION_TABLE, REQUEST_TABLE, RESERVATION_TABLE
from aval.node import bootstrap as node_root
from tests.conftest import CHECKOUT
from tests.simulation.compose import SHIPPED, SWAPPED
from tests.simulation.lifecycles import REACTIONS, REQUEST, RESERVATION
from tests.simulation.mutants.table import DIRECTED, SILENT, markdown, mutants
from tests.simulation.running import RUN_SECONDS, assert_a_seed_says_everything, assert_nothing_breaks, python
from tests.simulation.simulation import Simulation

SEEDS = "1-12"
STEPS = 200
"""About 45 s of one core."""

MORE = 12
"""Seeds added where these have left a pair of the tables or a kind of fault unmet: chance moves with the product."""

MUTANTS = (
    "answer-before-commit", "changed-offer-ends-confirming", "older-news-replaces-newer",
    "watch-forgets-what-was-touched",
)  # fmt: skip
"""Found within seconds; `make mutants` runs them all."""

SILENT_MIN = 20
"""Bugs of the table that named seeds find and the unit tests do not see, at least."""


@pytest.mark.timeout(RUN_SECONDS + 10)
def test_nothing_breaks_under_faults() -> None:
    """DESIGN §8 after every commit and message; agreement once faults stop; nothing changed by what comes again."""
    assert_nothing_breaks(SEEDS, STEPS, MORE)


@pytest.mark.timeout(RUN_SECONDS + 10)
@pytest.mark.parametrize("name", MUTANTS)
def test_a_bug_put_in_is_found(name: str) -> None:
    run = python("tests.simulation.mutants", name)
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


def test_the_documented_table_of_bugs_is_the_present_one() -> None:
    """`python -m tests.simulation.mutants --table` prints it."""
    assert markdown() in (CHECKOUT / "docs" / "simulation.md").read_text(encoding="utf-8")


def test_enough_bugs_that_unit_tests_do_not_see_are_found() -> None:
    assert sum(one.found_by_seeds and one.unit_tests == SILENT for one in mutants().values()) >= SILENT_MIN


def test_a_directed_bug_names_a_test_that_is_there() -> None:
    for one in mutants().values():
        assert (one.seeds == DIRECTED) == bool(one.directed), one.name
        if one.directed:
            file, _, test = one.directed.partition("::")
            name = test.partition("[")[0]
            assert f"def {name}(" in (CHECKOUT / "tests" / "simulation" / file).read_text(encoding="utf-8"), one.name


def test_without_faults_nothing_is_found() -> None:
    """A checker that cries without cause would be believed by nobody."""
    report = Simulation(5, faulty=False).run(150)
    assert report.checks["node commits"] > 50
    assert report.checks["figures compared"] > 0


def test_a_seed_says_everything() -> None:
    assert_a_seed_says_everything(lambda: Simulation(9), 60)


def test_only_four_ports_are_swapped() -> None:
    """Clock, chance, disk, transport; who calls and what is counted are the shipped objects."""
    for root, name in ((node_root.compose, "node"), (hub_root.build, "hub")):
        parameters = inspect.signature(root).parameters.values()
        ports = {one.name for one in parameters if one.kind is one.KEYWORD_ONLY and one.default is one.empty}
        assert ports == {*SWAPPED[name], *SHIPPED[name]}
        assert set(SWAPPED[name].values()) <= {"Clock", "Rng", "Disk", "Transport"}


def test_what_stands_for_a_shipped_class_is_one_of_the_four() -> None:
    """Of the shipped code nothing is patched, and no class but these is derived from one of its."""
    derived, patched = set(), []
    for path in sorted((CHECKOUT / "tests" / "simulation").glob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        shipped = {
            alias.asname or alias.name
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("aval.")
            for alias in node.names
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                bases = {ast.unparse(base) for base in node.bases}
                derived |= {f"{node.name}({base})" for base in bases if base.partition(".")[0] in shipped}
            if isinstance(node, ast.Assign | ast.AugAssign | ast.AnnAssign):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                of = [
                    one.value.id
                    for one in targets
                    if isinstance(one, ast.Attribute) and isinstance(one.value, ast.Name)
                ]
                patched += [f"{path.name}:{node.lineno}" for name in of if name in shipped]
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("setattr", "monkeypatch.setattr"):
                patched.append(f"{path.name}:{node.lineno}")
    assert derived == {"Peers(peers.Peers)"}, "who calls is said by TLS, the transport's part of the gate"
    assert not patched


def test_the_tables_written_twice_say_the_same() -> None:
    """The checker has its own copy, so that a slip in the kernel's is seen; both must be changed together."""
    lapse = {"lapse": "time"}
    for ours, theirs in ((RESERVATION, RESERVATION_TABLE), (REQUEST, REQUEST_TABLE), (REACTIONS, REACTION_TABLE)):
        pairs = {
            (str(state), lapse.get(str(given), str(given))): str(after) for (state, given), after in theirs.items()
        }
        assert pairs == {(state, given): after for state, line in ours.items() for given, after in line.items()}
