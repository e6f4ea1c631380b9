"""What simulations did, summed up: time, faults that changed the course, coverage; and what they should have met."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.simulation.coverage import Coverage

KINDS_OF_FAULT = (
    "answer lost", "request lost", "connection half open", "message late", "message very late", "message again",
    "stream read slowly",
    "message held by a partition", "partition one way", "partition both ways", "node killed",
    "node killed before a commit", "node killed between commit and answer", "node commit failed",
    "node commit that failed, there after a crash", "node commit of unknown fate", "hub killed",
    "hub killed before a commit", "hub killed between commit and answer",
    "hub killed with unsent rows", "hub commit failed", "hub commit of unknown fate", "hub transaction run again",
    "disk down", "wall clock jumps", "started with a clock behind its last commit", "certificate lapsed",
    "call refused for a lapsed certificate", "policy changed under live reservations", "clock drift of over a second",
    "node put back to an older state", "node put back went on unheard",
    "hub put back by command", "hub rolled back in silence",
)  # fmt: skip
"""Each must change the course of some run; the long leaps (everything off for days) are too rare for a short one."""

KINDS_OF_SEVERAL = (
    "lease moved", "write of a hub without its lease refused", "command sent by two hubs", "hub stood still",
    "act said at both hubs",
    "hub stopped in good order", "hub killed", "hub killed before a commit", "hub killed between commit and answer",
    "hub killed with unsent rows", "hub commit failed", "hub commit of unknown fate", "hub transaction run again",
    "work run again once stored", "work waited in the database", "row of the outbox skipped",
    "database not reached by a hub", "database down", "notification lost", "notification late", "notification twice",
    "partition one way", "partition both ways", "message held by a partition", "wall clock jumps", "certificate lapsed",
    "call refused for a lapsed certificate", "node killed", "node put back to an older state",
    "hub put back by command", "hub rolled back in silence", "hub killed as it began on what was put back",
)  # fmt: skip
"""As `KINDS_OF_FAULT`, of runs with two hubs: the pairs of the tables are met by those with one."""

CHECKS_OF_SEVERAL = (
    "works under a lease", "pictures compared with what another hub stored", "figures compared", "requests compared",
    "commands sent", "requests changed before somebody looked at them",
    "requests looked at after the hub was put back",
)  # fmt: skip

CHECKS_DEMANDED = (
    "figures compared", "requests compared", "commands sent", "bed histories followed",
    "nodes that found themselves put back", "requests made again from what nodes told",
    "reservations placed in requests that had forgotten them", "requests changed before somebody looked at them",
    "requests looked at after the hub was put back", "orphans shown",
)  # fmt: skip
"""Checks that must have compared something."""


@dataclass
class Report:
    """What a run did, or several."""

    seed: int
    runs: int = 0
    steps: int = 0
    hours: float = 0.0
    faults: Counter[str] = field(default_factory=Counter)
    acts: Counter[tuple[str, str]] = field(default_factory=Counter)
    coverage: Coverage = field(default_factory=Coverage)
    checks: Counter[str] = field(default_factory=Counter)
    turns: int = 0

    def add(self, other: Report) -> None:
        """Sums up."""
        self.runs += 1
        self.steps += other.steps
        self.hours += other.hours
        self.turns += other.turns
        self.coverage.update(other.coverage)
        for name in ("faults", "acts", "checks"):
            getattr(self, name).update(getattr(other, name))


def demanded(report: Report, hubs: int = 1) -> list[str]:
    """What a run should have met and did not: kinds of faults, pairs of the tables, checks that compared something."""
    if hubs > 1:
        missing = [f"fault: {kind}" for kind in KINDS_OF_SEVERAL if not report.faults[kind]]
        return missing + [f"check: {what}" for what in CHECKS_OF_SEVERAL if not report.checks[what]]
    missing = [f"fault: {kind}" for kind in KINDS_OF_FAULT if not report.faults[kind]]
    missing += [f"{kind} {state}, {given}" for kind, state, given in report.coverage.missing()]
    return missing + [f"check: {what}" for what in CHECKS_DEMANDED if not report.checks[what]]


def summary(report: Report, seconds: float) -> str:
    """For people."""
    return "\n".join(_lines(report, max(seconds, 0.001)))


def _lines(report: Report, seconds: float) -> Iterator[str]:
    faults = sum(report.faults.values())
    yield f"{report.runs} seeds, {report.steps} steps, {report.hours:.0f} simulated hours in {seconds:.0f} s"
    yield f"{report.hours / seconds:.1f} simulated hours a second"
    yield f"{faults} faults, {faults / seconds:.0f} a second"
    yield "faults that changed the course (count, a second, kind):"
    yield from (f"  {count:8} {count / seconds:8.2f} {kind}" for kind, count in sorted(report.faults.items()))
    yield "checked:"
    yield from (f"  {count:8} {what}" for what, count in sorted(report.checks.items()))
    yield from report.coverage.lines()
    yield "calls by outcome:"
    yield from (f"  {count:8} {method}: {outcome}" for (method, outcome), count in sorted(report.acts.items()))
