"""What the columns and codes of a house's own sheet mean: one declared TOML file, or none for a sheet with our heads.

```toml
source = "tableur"                 # the source of those units that this file is, as `DeclareUnit` names it

[columns]                          # our word = the head in the sheet; those left out are found by our own heads
unit = "Service"
free = "Lits libres"

[units]                            # the sheet's code = the unit's code at the node; empty: the same codes
"Rez-de-chaussée" = "U201"

[genders]                          # further words for a gender
"Dames" = "female"

[format]
dates = ["%d/%m/%Y %H:%M"]         # further forms of instants, as strptime knows them
time_zone = "Europe/Paris"
age_max_hours = 24                 # figures older than that are refused: the sheet of yesterday says nothing of today
```
"""

import unicodedata
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import msgspec

from aval.adapters.counts.rows import AGE_MAX, MappingFault, read_mapping
from aval.kernel.statuses import Gender

COLUMNS: dict[str, tuple[str, ...]] = {
    "unit": ("unité", "unite", "uf", "service", "code", "unit"),
    "gender": ("genre", "sexe", "gender"),
    "open": ("ouverts", "lits ouverts", "places ouvertes", "open"),
    "occupied": ("occupés", "lits occupés", "places occupées", "présents", "occupied"),
    "free": ("libres", "lits libres", "places libres", "disponibles", "lits disponibles", "free"),
    "told_at": ("relevé le", "relevé", "date", "horodatage", "told_at"),
}
"""Our columns, and the heads by which each is found where a mapping names none: those that French sheets use."""

REQUIRED = ("unit",)

GENDERS: dict[str, Gender] = {
    "": Gender.ANY, "i": Gender.ANY, "mixte": Gender.ANY, "indifférent": Gender.ANY, "any": Gender.ANY,
    "f": Gender.FEMALE, "femme": Gender.FEMALE, "femmes": Gender.FEMALE, "female": Gender.FEMALE,
    "h": Gender.MALE, "m": Gender.MALE, "homme": Gender.MALE, "hommes": Gender.MALE, "male": Gender.MALE,
}  # fmt: skip

DATES = ("%d/%m/%Y %H:%M", "%d/%m/%Y %H:%M:%S", "%d/%m/%y %H:%M", "%d/%m/%Y", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M")
"""The forms of an instant that French spreadsheets write, and ISO 8601; a date alone is its noon."""


class _Format(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    dates: tuple[str, ...] = ()
    time_zone: str = "Europe/Paris"
    age_max_hours: float = AGE_MAX / timedelta(hours=1)


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    source: str = ""
    columns: dict[str, str] = {}
    units: dict[str, str] = {}
    genders: dict[str, str] = {}
    format: _Format = _Format()


@dataclass(frozen=True, slots=True)
class Mapping:
    """How a sheet is read. `source` is empty where the node's declaration has one source of kind file or person."""

    source: str
    heads: dict[str, tuple[str, ...]]
    units: dict[str, str]
    genders: dict[str, Gender]
    dates: tuple[str, ...]
    zone: ZoneInfo
    age_max: timedelta


def load_mapping(path: Path | None) -> Mapping:
    """The mapping in a file; without one, that of a sheet with our own heads. Raises `MappingFault`."""
    told = read_mapping(path, _File)
    for column in told.columns:
        if column not in COLUMNS:
            raise MappingFault(f"{path}: columns.{column}: known are {', '.join(COLUMNS)}")
    try:
        zone = ZoneInfo(told.format.time_zone)
    except (KeyError, ValueError, OSError) as error:
        raise MappingFault(f"{path}: format.time_zone: {told.format.time_zone} is no IANA time zone") from error
    if not 0 < told.format.age_max_hours <= 24 * 7:
        raise MappingFault(f"{path}: format.age_max_hours must be above 0 and at most 168")
    genders = dict(GENDERS)
    for word, name in told.genders.items():
        if folded(name) not in GENDERS:
            raise MappingFault(f"{path}: genders.{word}: say female, male or any")
        genders[folded(word)] = GENDERS[folded(name)]
    return Mapping(
        source=told.source,
        heads={
            column: (told.columns[column],) if column in told.columns else known for column, known in COLUMNS.items()
        },
        units={folded(code): unit for code, unit in told.units.items()},
        genders=genders,
        dates=(*told.format.dates, *DATES),
        zone=zone,
        age_max=timedelta(hours=told.format.age_max_hours),
    )


def folded(word: str) -> str:
    """A word as heads and codes are compared: without case and with plain spaces; accents count."""
    return " ".join(unicodedata.normalize("NFC", word).casefold().split())
