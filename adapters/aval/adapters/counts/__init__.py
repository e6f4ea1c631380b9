"""Counts told to a node from a file: what every format of files shares.

A format (`aval.adapters.csv`, `aval.adapters.edxl`, `aval.adapters.fhir`) turns bytes into `rows`. From there one road:
`importing` holds them against what the node declares, `telling` tells them as movements of a declared source, all or
nothing, `sentences` says what was wrong, and `folder` does all of it for each file dropped in a folder.
"""

from aval.adapters.counts.folder import DropFolder, Verdict
from aval.adapters.counts.importing import Reader, Reading, give, prepare
from aval.adapters.counts.rows import LineProblem, UnitCounts
from aval.adapters.counts.telling import Outcome

__all__ = [
    "DropFolder",
    "LineProblem",
    "Outcome",
    "Reader",
    "Reading",
    "UnitCounts",
    "Verdict",
    "give",
    "prepare",
]
