"""How the demonstration speaks: short French sentences, each claim checked before it is said to be true."""

import sys
from collections.abc import Iterable, Sequence
from typing import TypeVar

from aval.adapters.french import Speech, typeset

Found = TypeVar("Found")

WIDTH = 96
"""Columns of the widest line: a page of a terminal."""


class ClaimFalse(RuntimeError):
    """A claim without which the story cannot go on was found false."""


class Voice:
    """Tells and checks. `failures` holds the claims that were false."""

    def __init__(self) -> None:
        self.speech = Speech()
        self.failures: list[str] = []
        self.checked = 0
        self._chapter = 0

    def line(self, text: str = "") -> None:
        """One sentence."""
        sys.stdout.write(typeset(text) + "\n")
        sys.stdout.flush()

    def chapter(self, title: str) -> None:
        """A new episode; each says that it is a simulation."""
        self._chapter += 1
        head = f"── {self._chapter}. {title} "
        tail = " SIMULATION ──"
        self.line()
        self.line(head + "─" * max(WIDTH - len(head) - len(tail), 2) + tail)

    def table(self, heads: Sequence[str], rows: Iterable[Sequence[str]], right: frozenset[int] = frozenset()) -> None:
        """Aligned columns; those of `right` on the right."""
        cells = [list(row) for row in rows]
        widths = [max(len(text) for text in (head, *(row[i] for row in cells))) for i, head in enumerate(heads)]
        for row in (list(heads), *cells):
            shown = [t.rjust(widths[i]) if i in right else t.ljust(widths[i]) for i, t in enumerate(row)]
            self.line("   " + "  ".join(shown).rstrip())

    def check(self, true: bool, claim: str) -> bool:
        """Says whether a claim is true. A false one makes the whole demonstration fail, at its end."""
        self.checked += 1
        self.line(f"   {'✓' if true else '✗'} {claim}")
        if not true:
            self.failures.append(claim)
        return true

    def need(self, true: bool, claim: str) -> None:
        """A claim without which the story cannot go on. Raises `ClaimFalse`."""
        if not self.check(true, claim):
            raise ClaimFalse(claim)

    def found(self, value: Found | None, claim: str) -> Found:
        """The same, for something that must be there."""
        self.need(value is not None, claim)
        if value is None:
            raise ClaimFalse(claim)
        return value
