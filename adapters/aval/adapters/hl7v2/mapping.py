"""The house's codes → its units and beds at the node: one TOML file that the house declares.

    leave_keeps_bed = true            # a patient on leave keeps the bed (A21); each unit may say otherwise
    clean_after_departure = false     # a bed is to be cleaned before it is taken again
    newborns_take_beds = false        # a child born here lies beside the mother; neonatology says true
    unknown_beds = ["ZGEN", "TRAN"]   # codes that stand for "no bed known"
    ignored = ["9*", "BLOC"]          # units that Aval does not follow: consultations, theatre

    [[unit]]
    codes = ["1050", "1051"]          # PV1-3.1; `*` at the end stands for any ending
    unit = "U107"                     # as declared at the node
    bed = "{room}-{bed}"              # how a bed is called there; without it, beds are not told
    leave_keeps_bed = false

    [unit.beds]                       # those that the rule does not give: "room^bed" = "bed at the node"
    "101^P" = "101A"

    [[unit]]                          # of two sites that use the same codes:
    facility = "540001286"            # PV1-3.4 (or what `facility_field` of the settings names)
    codes = ["1050"]
    unit = "U301"

What is said with a facility goes before what is said without, `ignored` included; a row without is of any facility.

A code that the file does not name is *unmapped*: the patient is told to the node in a unit that it does not know, which
waits there for a person, and is told anew by itself once the file names it.
"""

import re
from collections.abc import Mapping as Table
from datetime import datetime
from pathlib import Path

import msgspec

from aval.adapters.declared import read_declared
from aval.adapters.hl7v2.meaning import NULL, Place
from aval.adapters.hl7v2.stays import Phase, Presence
from aval.kernel.declared import DeclaredFault
from aval.kernel.statuses import Gender

IDENTIFIER = re.compile(r"[A-Za-z0-9-]{1,32}", re.ASCII)
"""Of units and beds at a node (CONTRACT 5)."""

UNMAPPED = "unmapped-"
"""How a unit is called at the node whose code the file does not name: no house declares such a one."""

UNITS_MAX = 2_000
"""Rows of a file: the largest hospital group has some 800 codes of units."""


class _UnitRow(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    codes: list[str]
    unit: str
    facility: str = ""
    bed: str = ""
    beds: dict[str, str] = {}
    leave_keeps_bed: bool | None = None
    clean_after_departure: bool | None = None
    newborns_take_beds: bool | None = None


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    leave_keeps_bed: bool = True
    clean_after_departure: bool = False
    newborns_take_beds: bool = False
    unknown_beds: list[str] = []
    ignored: list[str] = []
    unit: list[_UnitRow] = []


class Standing(msgspec.Struct, frozen=True):
    """Where the node is to have a stay, in its own names. `began` as in `Presence`."""

    phase: Phase = Phase.NONE
    unit: str = ""
    bed: str = ""
    gender: Gender = Gender.UNDETERMINED
    since: datetime | None = None
    on_leave: bool = False
    keep_bed: bool = True
    returns: datetime | None = None
    departure: datetime | None = None
    arrival: datetime | None = None
    reservation: str = ""
    clean: bool = False
    began: str = ""


class Mapping:
    """A file, read. `unmapped` in what it gives names the code that it does not know."""

    def __init__(self, file: _File | None = None) -> None:
        self._file = file or _File()
        self._exact: dict[tuple[str, str], _UnitRow] = {}
        self._endings: dict[str, list[tuple[str, _UnitRow]]] = {}
        for row in self._file.unit:
            for code in row.codes:
                if code.endswith("*"):
                    self._endings.setdefault(row.facility, []).append((code[:-1], row))
                else:
                    self._exact[row.facility, code] = row
        for endings in self._endings.values():
            endings.sort(key=lambda pair: -len(pair[0]))
        self._ignored = tuple(code for code in self._file.ignored if not code.endswith("*"))
        self._ignored_beginnings = tuple(code[:-1] for code in self._file.ignored if code.endswith("*"))

    @property
    def units(self) -> frozenset[str]:
        """The units at the node that the file feeds."""
        return frozenset(row.unit for row in self._file.unit)

    @property
    def codes(self) -> tuple[str, ...]:
        """The codes of these units, as the file writes them, each once."""
        return tuple(dict.fromkeys(code for row in self._file.unit for code in row.codes))

    @property
    def facilities(self) -> frozenset[str]:
        """The facilities by which the file tells codes apart."""
        return frozenset(row.facility for row in self._file.unit) - {""}

    def row(self, place: Place) -> _UnitRow | None:
        """The row of a place's unit: one of its facility first."""
        found = self._row(place.facility, place.unit) if place.facility else None
        return found or self._row("", place.unit)

    def _row(self, facility: str, code: str) -> _UnitRow | None:
        found = self._exact.get((facility, code))
        if found is None:
            endings = self._endings.get(facility, ())
            found = next((row for beginning, row in endings if code.startswith(beginning)), None)
        return found

    def ignores(self, place: Place) -> bool:
        """Whether the house says that Aval does not follow this unit."""
        if place.facility and self._row(place.facility, place.unit) is not None:
            return False
        beginnings = self._ignored_beginnings
        return place.unit in self._ignored or (bool(beginnings) and place.unit.startswith(beginnings))

    def unmapped(self, place: Place) -> bool:
        """Whether nothing is said of a unit."""
        return self.row(place) is None and not self.ignores(place)

    def bed_of(self, place: Place) -> tuple[str, bool]:
        """The bed's name at the node, and whether the message named one that has none."""
        row = self.row(place)
        if row is None or place.bed in ("", NULL) or {place.bed, place.room} & set(self._file.unknown_beds):
            return "", False
        named = row.beds.get(f"{place.room}^{place.bed}") or row.beds.get(f"^{place.bed}")
        if named is None and row.bed and (place.room or "{room}" not in row.bed):
            named = row.bed.replace("{room}", place.room).replace("{bed}", place.bed)
            named = re.sub(r"[^A-Za-z0-9-]", "-", named)
        if named is None:
            return "", bool(row.beds or row.bed)
        return (named, False) if IDENTIFIER.fullmatch(named) else ("", True)

    def standing(self, present: Presence) -> Standing:
        """Where the node is to have a stay."""
        if present.phase in (Phase.NONE, Phase.OUTPATIENT) or present.place is None:
            # Of one who is gone without ever having been told: nothing. An outpatient is in no bed.
            return Standing(phase=_left(present.phase), began=present.began)
        place = present.place
        if self.ignores(place):
            return Standing(phase=_left(present.phase), began=present.began)
        row = self.row(place)
        if present.newborn and not self._choice(row, "newborns_take_beds"):
            return Standing(phase=_left(present.phase), began=present.began)
        clean = self._choice(row, "clean_after_departure")
        if present.phase is Phase.GONE:
            return Standing(phase=Phase.GONE, clean=clean, began=present.began)
        expected = present.phase is Phase.EXPECTED
        return Standing(
            phase=present.phase,
            unit=row.unit if row is not None else unmapped_name(place.unit),
            bed=self.bed_of(place)[0],
            gender=present.gender,
            since=None if expected else present.since,
            on_leave=present.on_leave,
            keep_bed=self._choice(row, "leave_keeps_bed"),
            returns=present.returns,
            departure=present.departure,
            arrival=present.arrival if expected else None,
            reservation=present.reservation,
            clean=clean,
            began=present.began,
        )

    def _choice(self, row: _UnitRow | None, name: str) -> bool:
        own = getattr(row, name) if row is not None else None
        return bool(getattr(self._file, name) if own is None else own)


def _left(phase: Phase) -> Phase:
    return Phase.NONE if phase in (Phase.NONE, Phase.EXPECTED) else Phase.GONE


def unmapped_name(code: str) -> str:
    """A name for a unit that nobody mapped: of its code, so that a person sees which."""
    return UNMAPPED + re.sub(r"[^A-Za-z0-9-]", "-", code)[: 32 - len(UNMAPPED)]


def read_mapping(path: Path) -> Mapping:
    """A house's file. Raises `DeclaredFault`."""
    return Mapping(_checked(read_declared(path, _File), path))


def mapping_of(table: Table[str, object]) -> Mapping:
    """A file's content. Raises ValueError."""
    return Mapping(_checked(msgspec.convert(table, _File), None))


def _checked(file: _File, path: Path | None) -> _File:
    """The file, if it can be meant. Raises `DeclaredFault`."""
    if len(file.unit) > UNITS_MAX:
        raise DeclaredFault(path, "unit", "rows", max=UNITS_MAX)
    seen: set[tuple[str, str]] = set()
    for row in file.unit:
        for where, name in (("unit", row.unit), *((f"beds.{code}", bed) for code, bed in row.beds.items())):
            if not IDENTIFIER.fullmatch(name):
                raise DeclaredFault(path, f"unit {row.unit}, {where}", "identifier", word=name)
        for code in row.codes:
            if not code or (row.facility, code) in seen:
                raise DeclaredFault(path, f"unit {row.unit}, codes", "code", word=code)
            seen.add((row.facility, code))
    both = {code for facility, code in seen if not facility} & set(file.ignored)
    if both:
        raise DeclaredFault(path, "ignored", "ignored", word=", ".join(sorted(both)))
    return file
