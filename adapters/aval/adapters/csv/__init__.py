"""A house's own spreadsheet, as a format of counts: from the bytes that Excel saves to figures by unit.

`table` makes bytes a table (encodings, separators, quotes, heads), `workbook` does so with .xlsx and .ods, `mapping`
says what its columns and codes mean, `instants` what its dates mean, `sheet` reads figures from it and names every bad
line at once. `aval.adapters.counts` tells them to the node. The way out is `aval report --format csv`.
"""

from aval.adapters.csv.mapping import Mapping, load_mapping
from aval.adapters.csv.sheet import read_sheet

__all__ = ["Mapping", "load_mapping", "read_sheet"]
