"""The register of outage scenarios: what strikes, when, whom, and what people see meanwhile, said beside each test.

`@outage(...)` on a test is a line of the table in `docs/scenarios.md`. The table is made from the tests and from
nothing else (`python -m tests.scenarios.outage` writes it), so that it can neither promise nor forget one.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

SCENARIOS = Path(__file__).parent
TABLE = SCENARIOS.parents[1] / "docs" / "scenarios.md"

HEAD = """\
# Outage scenarios

Made from the tests in `tests/scenarios` by `python -m tests.scenarios.outage`; a test holds it current. Each one runs
real processes over real mutual TLS and real files, and ends with the same inquest, over the wire and in the stored
rows: no bed twice, one winner a request, hub and nodes agree, nothing lost of what was answered.

| nº | what strikes | when | whom | what people see meanwhile |
|---|---|---|---|---|
"""


class Fault(StrEnum):
    """What strikes."""

    KILL = "kill -9"
    STOP = "SIGSTOP"
    END = "SIGTERM"
    CUT = "connections reset"
    DELAY = "network delayed"
    HALF_OPEN = "connection half-open"
    BLACK_HOLE = "network swallows"
    DISK_FULL = "disk full"
    DISK_FAILS = "disk does not flush"
    CERTIFICATE = "certificate swapped"
    BAD_CERTIFICATE = "certificate unusable"
    TWO_HUBS = "two hubs by mistake"
    TWO_NODES = "two nodes by mistake"
    RESTORED = "restored from backup"


class Party(StrEnum):
    """Whom it strikes."""

    NODE = "node"
    HUB = "hub"
    BOTH = "hub and node"
    LINK = "between hub and node"
    DESK = "between a person and the hub"


@dataclass(frozen=True)
class Outage:
    """One line. `moment`: the point of the exchange at which it strikes; `sees`: what the test holds people to see."""

    number: int
    fault: Fault
    moment: str
    party: Party
    sees: str
    test: str
    told: str

    @property
    def kind(self) -> tuple[Fault, str, Party]:
        """What two scenarios must not share."""
        return self.fault, self.moment, self.party


_Test = TypeVar("_Test", bound=Callable[..., object])


def outage(number: int, fault: Fault, moment: str, party: Party, sees: str) -> Callable[[_Test], _Test]:
    """Registers a test as the scenario of that number. Its docstring tells the story."""

    def register(test: _Test) -> _Test:
        one = Outage(number, fault, moment, party, sees, test.__qualname__, inspect.getdoc(test) or "")
        test.__dict__["outage"] = one
        return test

    return register


def registered() -> list[Outage]:
    """All scenarios, found in the test files, by number."""
    names = sorted(path.stem for path in SCENARIOS.glob("test_*.py"))
    modules = [importlib.import_module(f"tests.scenarios.{name}") for name in names]
    tests = [one for module in modules for one in vars(module).values() if inspect.isfunction(one)]
    found = [one.__dict__["outage"] for one in tests if "outage" in one.__dict__]
    return sorted(found, key=lambda one: (one.number, one.test))


def table(outages: Iterable[Outage]) -> str:
    """The page."""
    lines = [f"| {one.number} | {one.fault} | {one.moment} | {one.party} | {one.sees} |\n" for one in outages]
    stories = [f"\n**{one.number}.** {' '.join(one.told.split())}\n" for one in outages]
    return HEAD + "".join(lines) + "\n## The stories\n" + "".join(stories)


if __name__ == "__main__":
    # The module that tests import, not this copy of it under the name of a program.
    from tests.scenarios import outage as register

    register.TABLE.parent.mkdir(exist_ok=True)
    register.TABLE.write_text(register.table(register.registered()), encoding="utf-8")
