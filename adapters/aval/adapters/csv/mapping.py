"""What the columns and codes of a house's own sheet mean: one declared TOML file, or none for a sheet with our heads.

```toml
source = "tableur"                 # the source of those units that this file is, as `DeclareUnit` names it

[columns]                          # our word = the head in the sheet; those left out are found by our own heads
unit = "Service"
free = "Lits libres"

[columns.female]                   # figures of one gender in columns of their own; also [columns.male], [columns.any]
free = "Femmes libres"             # open, occupied or free; figures without a gender beside them are totals

[units]                            # the sheet's code = the unit's code at the node; empty: the same codes
"Rez-de-chaussée" = "U201"

[genders]                          # further words for a gender
"Dames" = "female"

[houses]                           # the sheet's name or number of an establishment = its FINESS
"Site de Brabois" = "540001286"

[format]
dates = ["%Y%m%d-%H%M"]            # further forms of instants, as strptime knows them
time_zone = "Europe/Paris"
title_date = true                  # the one recent date above the heads is that of the figures
age_max_hours = 24                 # figures older than that are refused: the sheet of yesterday says nothing of today
```
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import msgspec

from aval.adapters.counts.rows import AGE_MAX, folded, read_mapping
from aval.kernel.declared import DeclaredFault
from aval.kernel.finess import FinessET
from aval.kernel.reasons import Refusal
from aval.kernel.statuses import Gender

COLUMNS: dict[str, tuple[str, ...]] = {
    "unit": (
        "uf", "code uf", "unité", "code unité", "unité fonctionnelle", "code", "service", "nom du service",
        "nom de l’unité", "libellé uf", "libellé du service", "libellé de l’unité", "unit",
    ),
    "gender": ("genre", "sexe", "gender"),
    "house": ("finess", "finess géographique", "finess et", "établissement", "site"),
    "open": ("ouverts", "ouvertes", "ouv", "open"),
    "occupied": ("occupés", "occupées", "occ", "présents", "occupied"),
    "free": ("libres", "disponibles", "dispo", "vacants", "vacantes", "vides", "free"),
    "capacity": ("installés", "installées", "capacité", "lits et places", "lits", "places", "capacity"),
    "told_at": (
        "relevé le", "date", "date et heure", "date de relevé", "horodatage", "mise à jour", "date de mise à jour",
        "maj", "date de maj", "actualisé le", "situation au", "date de situation", "état au", "saisi le",
        "date de saisie", "extrait le", "date d’extraction", "édité le", "date d’édition", "jour", "date du jour",
        "told_at",
    ),
    "hour": ("heure", "heure de relevé"),
}  # fmt: skip
"""Our columns, and the heads by which each is found where a mapping names none: those that French sheets use.

A column of one gender's figures is called by both, `female.free`, and is found by the mapping alone.

Heads are compared word by word (`_words`), so that « Nb de lits occupés » is « occupés ».
"""

RANKED = ("house", "unit", "capacity")
"""Of these a sheet may have several heads, a code beside a name: the first of the list above counts."""

BESIDE = ("house", "capacity")
"""Columns that say more of a table, and by which it is not known: lists of other things have them too."""

FIGURES = ("open", "occupied", "free")
"""The columns that may stand once for each gender, and that make heads with a unit's a table of ours."""

GENDERS = {"female": Gender.FEMALE, "male": Gender.MALE, "any": Gender.ANY}
"""How a mapping calls them."""

_FILLERS = {
    "a", "actuellement", "aujourd", "d", "de", "dernier", "derniere", "des", "du", "en", "et", "hui", "immediatement",
    "l", "la", "le", "les", "n", "nb", "nbre", "nombre", "patient", "resident",
}  # fmt: skip
"""Words of a head that do not tell which column it is."""

_COUNTED = {"lit", "place"}
"""Nor do these, beside a word that tells what they are; alone they say how many there are."""

_GENDER_WORDS = {
    Gender.ANY: ("", "i", "mixte", "indifférent", "indifférencié", "h/f", "f/h", "any"),
    Gender.FEMALE: ("f", "femme", "femmes", "féminin", "female"),
    Gender.MALE: ("h", "m", "homme", "hommes", "masculin", "male"),
}


class _Format(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    dates: tuple[str, ...] = ()
    time_zone: str = "Europe/Paris"
    title_date: bool = True
    age_max_hours: float = AGE_MAX / timedelta(hours=1)


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    source: str = ""
    columns: dict[str, str | dict[str, str]] = {}
    units: dict[str, str] = {}
    genders: dict[str, str] = {}
    houses: dict[str, str] = {}
    format: _Format = _Format()


@dataclass(frozen=True, slots=True)
class Mapping:
    """How a sheet is read. `source` is empty where the node's declaration has one source of kind file or person.

    `columns` is the head of each column that is named; `named` finds it again, however the sheet writes that head.
    """

    source: str
    columns: dict[str, str]
    named: dict[str, str]
    units: dict[str, str]
    genders: dict[str, Gender]
    houses: dict[str, str]
    dates: tuple[str, ...]
    zone: ZoneInfo
    title_date: bool
    age_max: timedelta

    def column_of(self, head: str) -> str:
        """The column that a head is: by the mapping, else by our own heads; empty for one that says nothing to us."""
        if (named := self.named.get(folded(head))) is not None:
            return named
        column, _ = _USUAL.get(_words(head), ("", 0))
        return "" if column in self.columns else column

    @property
    def by_gender(self) -> tuple[str, ...]:
        """The genders that have columns of their own, as `GENDERS` calls them."""
        return tuple(word for word in GENDERS if any(column.startswith(f"{word}.") for column in self.columns))

    def rank_of(self, head: str) -> int:
        """How early a head stands among those of its column: the lower, the likelier."""
        return -1 if folded(head) in self.named else _USUAL[_words(head)][1]


def load_mapping(path: Path | None) -> Mapping:
    """The mapping in a file; without one, that of a sheet with our own heads. Raises `DeclaredFault`."""
    told = read_mapping(path, _File)
    columns = _columns(path, told.columns)
    try:
        zone = ZoneInfo(told.format.time_zone)
    except (KeyError, ValueError, OSError) as error:
        raise DeclaredFault(path, "format.time_zone", "zone", word=told.format.time_zone) from error
    if not 0 < told.format.age_max_hours <= 24 * 7:
        raise DeclaredFault(path, "format.age_max_hours", "hours")
    for word, number in told.houses.items():
        try:
            FinessET(number)
        except Refusal as error:
            raise DeclaredFault(path, f"houses.{word}", "finess", word=number) from error
    genders = {folded(word): gender for gender, words in _GENDER_WORDS.items() for word in words}
    known = dict(genders)
    for word, name in told.genders.items():
        if folded(name) not in known:
            raise DeclaredFault(path, f"genders.{word}", "known", known="female, male, any")
        genders[folded(word)] = known[folded(name)]
    return Mapping(
        source=told.source,
        columns=columns,
        named=_each_once(path, "columns", ((head, column) for column, head in columns.items())),
        units=_each_once(path, "units", told.units.items()),
        genders=genders,
        houses=_each_once(path, "houses", told.houses.items()),
        dates=told.format.dates,
        zone=zone,
        title_date=told.format.title_date,
        age_max=timedelta(hours=told.format.age_max_hours),
    )


def _columns(path: Path | None, told: dict[str, str | dict[str, str]]) -> dict[str, str]:
    """The head of each column, those of one gender as `female.free`. Raises `DeclaredFault`."""
    columns: dict[str, str] = {}
    for column, head in told.items():
        if isinstance(head, str):
            if column not in COLUMNS:
                raise DeclaredFault(path, f"columns.{column}", "known", known=", ".join(COLUMNS))
            columns[column] = head
            continue
        if column not in GENDERS:
            raise DeclaredFault(path, f"columns.{column}", "known", known=", ".join(GENDERS))
        for figure, gendered in head.items():
            if figure not in FIGURES:
                raise DeclaredFault(path, f"columns.{column}.{figure}", "known", known=", ".join(FIGURES))
            columns[f"{column}.{figure}"] = gendered
    if "gender" in columns and any("." in column for column in columns):
        raise DeclaredFault(path, "columns.gender", "gender-twice")
    return columns


def is_of_one_gender(head: str) -> bool:
    """Whether a head seems to be that of one gender's figures: « Femmes libres »."""
    words = _words(head)
    genders = words & _GENDERED
    return bool(genders) and _USUAL.get(words - genders, ("", 0))[0] in FIGURES


def _each_once(path: Path | None, table: str, meanings: Iterable[tuple[str, str]]) -> dict[str, str]:
    """What each word means, however it is written. Raises `DeclaredFault` for one that means two things."""
    found: dict[str, str] = {}
    for word, meaning in meanings:
        if found.setdefault(folded(word), meaning) != meaning:
            raise DeclaredFault(path, table, "twice", word=word, first=found[folded(word)], second=meaning)
    return found


def _words(head: str) -> frozenset[str]:
    """What of a head tells which column it is, in any order; singular and plural are the same. A share (%) is no
    count."""
    words = frozenset(word.removesuffix("s") for word in re.findall(r"\w+|%", folded(head))) - _FILLERS
    return words - _COUNTED or words


_GENDERED = frozenset().union(*(_words(word) for words in _GENDER_WORDS.values() for word in words))
"""Words that say a gender in a head."""

_USUAL = {_words(head): (column, rank) for column, heads in COLUMNS.items() for rank, head in enumerate(heads)}
