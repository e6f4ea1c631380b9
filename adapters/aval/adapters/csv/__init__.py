"""Counts from a spreadsheet: what a house without an information system writes each morning, told to its node.

A way in of four steps, each its own module: `table` makes bytes a table (encodings, separators, quotes), `mapping` says
what its columns and codes mean, `counts` reads figures from it and names every bad line at once, `telling` gives them
to the node as movements of a declared source, all or nothing. `importing` takes them in order, and `folder` does it for
each file dropped in a folder. The way out is `aval report --format csv`.
"""

from aval.adapters.csv.folder import DropFolder, Verdict
from aval.adapters.csv.importing import Sheet, give, prepare
from aval.adapters.csv.mapping import Mapping, MappingFault, load_mapping

__all__ = ["DropFolder", "Mapping", "MappingFault", "Sheet", "Verdict", "give", "load_mapping", "prepare"]
