"""Runs the simulation over code with one bug in it: `python -m tests.simulation.mutants NAME --seeds 1-20`.

The bug is put in while the module is imported; no file changes. Exit status 0: found. Without a name each one is run,
in a process of its own; 0 then means that all were found, save those that `mutants.toml` says nothing finds.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
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

TABLE = Path(__file__).with_name("mutants.toml")


@dataclass(frozen=True)
class Mutant:
    """One bug: in `module`, `old` (which is there exactly once) becomes `new`. `seeds` find it within `steps`."""

    name: str
    module: str
    old: str
    new: str
    seeds: str
    steps: int


def mutants() -> dict[str, Mutant]:
    """All of them, by name."""
    return {name: Mutant(name, **line) for name, line in tomllib.loads(TABLE.read_text(encoding="utf-8")).items()}


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


class _Finder(MetaPathFinder):
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


def _each(mutant: Mutant) -> int:
    status = subprocess.run([sys.executable, "-m", "tests.simulation.mutants", mutant.name], check=False).returncode
    return 0 if mutant.seeds == NOBODY else status


def main() -> int:
    """Runs one mutant until a seed finds it."""
    if os.environ.get("PYTHONHASHSEED") != "0":
        return subprocess.run(sys.orig_argv, env={**os.environ, "PYTHONHASHSEED": "0"}, check=False).returncode
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.mutants", description=__doc__)
    parser.add_argument("name", nargs="?", default="")
    parser.add_argument("--seeds", default="")
    parser.add_argument("--steps", type=int, default=0)
    asked = parser.parse_args()
    if not asked.name:
        return max(_each(one) for one in mutants().values())
    mutant = mutants()[asked.name]
    sys.meta_path.insert(0, _Finder(mutant))
    # Imported only now: the shipped code must meet the finder.
    from tests.simulation.__main__ import seeds_of
    from tests.simulation.simulation import Simulation, Violation

    seeds = asked.seeds or ("1-12" if mutant.seeds == NOBODY else mutant.seeds)
    for seed in seeds_of(seeds):
        try:
            Simulation(seed).run(asked.steps or mutant.steps)
        except Violation as found:
            sys.stdout.write(f"{mutant.name}: found by seed {seed} at step {found.step}: {found.problems[0]}\n")
            return 0
    sys.stdout.write(f"{mutant.name}: not found\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
