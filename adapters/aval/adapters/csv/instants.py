"""Instants as French spreadsheets and those who fill them write them.

Day first: `24/11/2026 08:30`, `4.11.26 à 8h30`, `24-11-2026 8 h`, `mardi 24 novembre 2026`; ISO 8601 with or without a
zone; and the number that a spreadsheet keeps, days since 30 December 1899. A day alone is a time between its ends, of
which the middle is taken: noon, or half way to now for today.
"""

import re
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from aval.adapters.counts.rows import folded

_MONTHS = ("janv", "fevr", "mars", "avr", "mai", "juin", "juil", "aout", "sept", "oct", "nov", "dec")
"""How each month begins, without accents."""

_LETTERS = re.compile(
    r"(?:(?:lun|mar|mer|jeu|ven|sam|dim)[a-z]*\.?\s+)?(\d{1,2}|1er)\s+"
    rf"({'|'.join(_MONTHS)})[a-z]*\.?\s+(\d{{4}})\b"
)
"""A date with its month in letters, folded."""

_FRENCH = re.compile(
    r"(?P<day>\d{1,2})([/.-])(?P<month>\d{1,2})\2(?P<year>\d{4}|\d{2})"
    r"(?:[\s,]+(?:[àa]\s*)?(?P<hour>\d{1,2})\s*[:h]\s*(?:(?P<minute>\d{2})(?:\s*[:m]\s*(?P<second>\d{2}))?)?)?",
    re.ASCII | re.IGNORECASE,
)
_WITHIN = re.compile(r"(?<![\w/.-])" + _FRENCH.pattern, _FRENCH.flags)
"""The same within a text, and not within another number."""

_SERIAL = re.compile(r"(?P<days>\d{5}(?:[.,]\d+)?)(?:\s+(?P<rest>0[.,]\d+))?", re.ASCII)
"""A number of five digits begins with 1927 and ends with 2173; the time of day may stand in a cell of its own."""

_ISO = re.compile(r"\d{4}-\d{2}-\d{2}(?:[T ].*)?", re.ASCII)
_LABEL = re.compile(r"\b(?:au|le|date|jour|releve|etat|situation|maj|edite)\b")
"""What says, folded, that a date beside it is that of the figures."""

_ISO_DAY = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)


def instant_of(text: str, forms: tuple[str, ...], zone: ZoneInfo, now: datetime) -> datetime:
    """The instant that is meant, aware UTC; `forms` are further ones, as strptime knows them. Raises ValueError."""
    begin, is_day = _local(text, forms, zone)
    if not is_day:
        return begin.astimezone(UTC)
    end = min(begin + timedelta(days=1), now)
    return begin.astimezone(UTC) + max(end.astimezone(UTC) - begin.astimezone(UTC), timedelta(0)) / 2


def instants_in(cells: tuple[str, ...], zone: ZoneInfo, now: datetime) -> list[datetime]:
    """The instants that a row of titles names: « État des lits au 24/11/2026 à 8 h », or a date as a workbook keeps it
    beside a cell that says so, « Relevé le » (a number alone may be anything)."""
    written = [date[0] for cell in cells for date in _WITHIN.finditer(_in_numbers(cell))]
    if not written and any(_LABEL.search(folded(cell)) for cell in cells):
        written = [cell for cell in cells if _SERIAL.fullmatch(cell) or _ISO.fullmatch(cell)]
    found: list[datetime] = []
    for word in written:
        with suppress(ValueError, OverflowError):
            found.append(instant_of(word, (), zone, now))
    return found


def _in_numbers(text: str) -> str:
    """A text with the dates whose months are in letters written in numbers."""
    return _LETTERS.sub(
        lambda date: f"{date[1].removesuffix('er')}/{_MONTHS.index(date[2]) + 1}/{date[3]}", folded(text)
    )


def _local(text: str, forms: tuple[str, ...], zone: ZoneInfo) -> tuple[datetime, bool]:
    """What is written, in the zone that it bears or else in the house's, and whether it is a day alone."""
    for form in forms:
        try:
            return datetime.strptime(text, form).replace(tzinfo=zone), "%H" not in form
        except ValueError:
            continue
    if (serial := _SERIAL.fullmatch(text)) is not None:
        days = float(serial["days"].replace(",", ".")) + float((serial["rest"] or "0").replace(",", "."))
        return datetime(1899, 12, 30, tzinfo=zone) + timedelta(days=days), days.is_integer()
    if (french := _FRENCH.fullmatch(text) or _FRENCH.fullmatch(_in_numbers(text))) is not None:
        year, month, day, hour, minute, second = (
            int(french[name] or 0) for name in ("year", "month", "day", "hour", "minute", "second")
        )
        year += 2000 if year < 100 else 0
        return datetime(year, month, day, hour, minute, second, tzinfo=zone), french["hour"] is None
    written = datetime.fromisoformat(text)
    return written if written.tzinfo else written.replace(tzinfo=zone), _ISO_DAY.fullmatch(text) is not None
