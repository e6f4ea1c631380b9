"""For pytest: `AVAL_MUTANT=name pytest -p tests.simulation.mutants.plugin tests/node` runs tests over a bug."""

from __future__ import annotations

import os
import sys

from tests.simulation.mutants.table import Finder, mutants

sys.meta_path.insert(0, Finder(mutants()[os.environ["AVAL_MUTANT"]]))
