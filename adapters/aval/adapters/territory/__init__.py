"""A territory file: its model, its reader, its checker.

A territory file is a TOML text that people keep by hand. Its first part states facts: the establishments of a GHT and
of its partners, their FINESS numbers, where they are, what they have installed, who is a member in which quality. The
hub reads its registry there. A second part, `[assumptions]`, is for a demonstration: it cuts establishments into units
and says how they work, where public data says nothing. So what is invented stands in one place, and `assumed` says it.

Reading never stops at the first fault: `read` gives all that it found, each with its line, its place, what is wrong and
what to do. `load` is for programs that need a sound file: it raises `TerritoryFault` if one problem is an error. An
establishment may be taken out of a file: sums stated for the whole are then only a warning.

Start at `model` (what is written), then `plan` (what it means for a node), `check` (what may be wrong with it).
"""

from aval.adapters.territory.check import check
from aval.adapters.territory.model import Distance, Establishment, TerritoryFile
from aval.adapters.territory.plan import BedPlan, HousePlan, OpenHours, RoomPlan, UnitPlan, assumed, house_plan
from aval.adapters.territory.problems import Problem, Severity, TerritoryFault
from aval.adapters.territory.reading import Reading, load, read, read_file

__all__ = [
    "BedPlan",
    "Distance",
    "Establishment",
    "HousePlan",
    "OpenHours",
    "Problem",
    "Reading",
    "RoomPlan",
    "Severity",
    "TerritoryFault",
    "TerritoryFile",
    "UnitPlan",
    "assumed",
    "check",
    "house_plan",
    "load",
    "read",
    "read_file",
]
