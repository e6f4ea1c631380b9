"""The bugs of `mutants.toml`, and how one is put in: while its module is imported; no file changes."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from importlib.util import spec_from_loader
from pathlib import Path
from types import CodeType, ModuleType

NOBODY = "none"
"""In the place of seeds: a bug that nothing here has found yet, listed so that nobody believes otherwise."""

UNTRIED = "untried"
"""In the place of seeds: a bug that has not been run for long enough to say anything."""

DIRECTED = "directed"
"""In the place of seeds: a bug that a directed test finds, named in `directed`, and no seed tried does."""

SILENT = "silent"
"""What the unit tests say of a bug that they do not see."""

TABLE = Path(__file__).with_name("mutants.toml")


@dataclass(frozen=True)
class Mutant:
    """One bug: in `module`, `old` (which is there exactly once) becomes `new`. `seeds` find it within `steps`, or one
    of the words above says what does.

    `directed`: the directed test (`file.py::test` of tests/simulation) that finds it where random seeds do not.
    `unit_tests`: what those beside its module say of it: "silent", "fail", or "not run". `what`: the bug, for people.
    `hubs`: how many the runs have that find it.
    """

    name: str
    module: str
    old: str
    new: str
    seeds: str
    steps: int
    what: str
    unit_tests: str = "not run"
    directed: str = ""
    hubs: int = 1

    @property
    def found_by_seeds(self) -> bool:
        """Whether seeds are named that find it."""
        return self.seeds not in (NOBODY, UNTRIED, DIRECTED)

    @property
    def found_by(self) -> str:
        """What finds it, for people."""
        return self.directed or (f"{self.seeds}, two hubs" if self.hubs > 1 else self.seeds)


def mutants() -> dict[str, Mutant]:
    """All of them, by name."""
    return {name: Mutant(name, **line) for name, line in tomllib.loads(TABLE.read_text(encoding="utf-8")).items()}


def markdown() -> str:
    """The count and the table of `docs/simulation.md`."""
    every = list(mutants().values())
    by_seeds = [one for one in every if one.found_by_seeds]
    directed = [one for one in every if one.directed]
    silent = [sum(one.unit_tests == SILENT for one in found) for found in (by_seeds, directed)]
    nobody = len(every) - len(by_seeds) - len(directed)
    lines = [
        f"Of {len(every)} bugs {len(by_seeds)} are found by the seeds named, {silent[0]} of them silent in the unit",
        f"tests; {len(directed)} by a directed test, {silent[1]} of them silent; {nobody} by nothing here.",
        "",
        "| bug | what it does | module | found by | unit tests |",
        "|---|---|---|---|---|",
    ]
    lines += [f"| {one.name} | {one.what} | `{one.module}` | {one.found_by} | {one.unit_tests} |" for one in every]
    return "\n".join(lines)


class _Loader(SourceFileLoader):
    """Loads a module with the bug in it; never from or to a cache."""

    def __init__(self, mutant: Mutant, path: str) -> None:
        super().__init__(mutant.module, path)
        self._mutant = mutant

    def get_code(self, fullname: str) -> CodeType:
        source = Path(self.path).read_text(encoding="utf-8")
        if source.count(self._mutant.old) != 1:
            raise SystemExit(f"{self._mutant.name}: its line is there {source.count(self._mutant.old)} times")
        return compile(source.replace(self._mutant.old, self._mutant.new), self.path, "exec")


class Finder(MetaPathFinder):
    """Finds the module of one bug, with the bug in it."""

    def __init__(self, mutant: Mutant) -> None:
        self._mutant = mutant

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != self._mutant.module:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is None or spec.origin is None:
            raise SystemExit(f"{self._mutant.name}: no module {fullname}")
        return spec_from_loader(fullname, _Loader(self._mutant, spec.origin))
