"""Reads a territory file, and finds again the lines that TOML's reader forgets."""

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec

from aval.adapters.territory.check import check
from aval.adapters.territory.model import Assumptions, Establishment, House, Practice, TerritoryFile, Unit
from aval.adapters.territory.problems import Lines, Problem, Severity, TerritoryFault, error


@dataclass(frozen=True, slots=True)
class Reading:
    """A file as far as it could be read, and all that was found; `file` is None if nothing could be made of it."""

    file: TerritoryFile | None
    problems: tuple[Problem, ...]

    @property
    def is_sound(self) -> bool:
        """Whether it may be used: warnings do not forbid it."""
        return self.file is not None and not any(p.severity is Severity.ERROR for p in self.problems)


def read(text: str) -> Reading:
    """Reads and checks a territory file. Never raises: all that is wrong is in the answer, by line."""
    try:
        raw = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as fault:
        match = re.search(r"line (\d+)", str(fault))
        return _unreadable(int(match[1]) if match else 0, f"ce n’est pas du TOML ({fault})")
    lines = Lines.of(text)
    problems: list[Problem] = []
    file = _parse(raw, lines, problems)
    if file is not None:
        problems += check(file, lines)
    return Reading(file, tuple(sorted(problems)))


def read_file(path: Path) -> Reading:
    """`read` of what the file holds. Raises OSError."""
    try:
        return read(path.read_bytes().decode("utf-8-sig"))
    except UnicodeDecodeError as fault:
        return _unreadable(0, f"ce n’est pas de l’UTF-8 (octet {fault.start})")


def load(path: Path) -> TerritoryFile:
    """The territory of a sound file. Raises `TerritoryFault` (with every problem) or OSError."""
    reading = read_file(path)
    if reading.file is None or not reading.is_sound:
        raise TerritoryFault(reading.problems)
    return reading.file


def _unreadable(line: int, what: str) -> Reading:
    return Reading(None, (error(line, "le texte", what, "Corrigez d’abord cela : rien d’autre n’a été lu."),))


def _parse(raw: dict[str, object], lines: Lines, problems: list[Problem]) -> TerritoryFile | None:
    """Converts each establishment, house and unit by itself, so that one that is wrong does not hide the others."""
    establishments: list[Establishment] = []
    kept_lines: list[int] = []
    for index, row in enumerate(_tables(raw.pop("establishments", []))):
        where = f"{row.get('finess', '?')} {row.get('name', '')}".strip()
        if (one := _convert(row, Establishment, lines.establishment(index), where, problems)) is not None:
            establishments.append(one)
            kept_lines.append(lines.establishment(index))
    lines.establishments = kept_lines
    assumed = raw.pop("assumptions", {})
    assumed = dict(assumed) if isinstance(assumed, dict) else {}
    houses: dict[str, House] = {}
    raw_houses = assumed.pop("houses", {})
    for finess, house in (raw_houses if isinstance(raw_houses, dict) else {}).items():
        units: list[Unit] = []
        unit_lines: list[int] = []
        rows = house.pop("units", []) if isinstance(house, dict) else []
        for index, row in enumerate(_tables(rows)):
            where = f"{finess}, unité {row.get('code', '?')}"
            line = lines.unit(finess, index)
            own = {name: row[name] for name in row if name in Practice.__struct_fields__}
            rest = {name: row[name] for name in row if name not in own}
            if (unit := _convert(rest, Unit, line, where, problems)) is not None:
                units.append(msgspec.structs.replace(unit, own=own))
                unit_lines.append(line)
        lines.units[finess] = unit_lines
        if (said := _convert(house, House, lines.house(finess), finess, problems)) is not None:
            houses[finess] = msgspec.structs.replace(said, units=tuple(units))
    assumptions = _convert(assumed, Assumptions, lines.tables.get("assumptions", 0), "[assumptions]", problems)
    file = _convert(raw, TerritoryFile, 0, "l’en-tête du fichier", problems)
    if file is None:
        return None
    return msgspec.structs.replace(
        file,
        establishments=tuple(establishments),
        assumptions=msgspec.structs.replace(assumptions or Assumptions(), houses=houses),
    )


def _tables(value: object) -> list[dict[str, object]]:
    return [row for row in value if isinstance(row, dict)] if isinstance(value, list) else []


_T = TypeVar("_T")


def _convert(raw: object, kind: type[_T], line: int, where: str, problems: list[Problem]) -> _T | None:
    try:
        return msgspec.convert(raw, kind)
    except msgspec.ValidationError as fault:
        text = str(fault)
        for pattern, what, remedy in _FAULTS:
            if match := re.search(pattern, text):
                problems.append(error(line, where, what.format(*match.groups()), remedy))
                return None
        problems.append(error(line, where, f"valeur refusée ({text})", "Corrigez cette valeur."))
        return None


# What msgspec says, and how it is said to a person: the first pattern that fits.
_FAULTS = (
    (
        r"Expected `str`, got `(?:int|float)` - at `\$\.(finess|legal_entity)`",
        "`{}` est écrit comme un nombre",
        "Un FINESS est un texte : écrivez-le entre guillemets, avec ses zéros et ses lettres.",
    ),
    (r"missing required field `(\w+)`", "il manque `{}`", "Ajoutez cette ligne."),
    (r"unknown field `([^`]*)`", "`{}` n’est pas un mot de ce fichier", "Corrigez-le ou retirez-le."),
    (r"Invalid enum value '?([^']*)'? - at `\$\.([^`]*)`", "`{1}` ne peut être « {0} »", "Voyez le modèle ge-10.toml."),
    (
        r"Expected `([^`]*)`, got `([^`]*)` - at `\$\.([^`]*)`",
        "`{2}` : {0} attendu, {1} trouvé",
        "Corrigez cette valeur.",
    ),
)
