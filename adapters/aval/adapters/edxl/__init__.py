"""EDXL-HAVE 1.0 (OASIS): bed availability for emergency managers abroad and for crisis systems, in and out.

`have` is the table between disciplines and bed types, `reading` takes
figures from a document, `writing` makes one. A block that is absent is unknown, never zero. `docs/files.md` says what
was checked against what: of 2.0 no schema could be had, and such a document is refused by name.
"""

from aval.adapters.edxl.reading import load_mapping, read_have
from aval.adapters.edxl.writing import Hospital, write_have

__all__ = ["Hospital", "load_mapping", "read_have", "write_have"]
