"""Instants as French spreadsheets and those who fill them write them.

Day first: `24/11/2026 08:30`, `4.11.26 à 8h30`, `24-11-2026 8 h`, `mardi 24 novembre 2026`, `24-nov-26`; the year first
too, where it has four digits; ISO 8601 with or without a zone; and the number that a spreadsheet keeps, days since 30
December 1899. A day alone is a time between its ends, of which the middle is taken: noon, or half way to now for today.
"""

import re
from contextlib import suppress
from datetime import UTC, date, datetime, time, timedelta
from itertools import accumulate
from zoneinfo import ZoneInfo

from aval.adapters.counts.rows import folded

_NAMES = (
    "janvier", "fevrier", "mars", "avril", "mai", "juin", "juillet", "aout", "septembre", "octobre", "novembre",
    "decembre",
)  # fmt: skip
_MONTHS = {
    name[:length]: number
    for number, name in enumerate(_NAMES, 1)
    for length in range(3, len(name) + 1)
    if sum(other.startswith(name[:length]) for other in _NAMES) == 1
}
"""The months by their names without accents, whole or as far as they tell it from others."""

_LETTERS = re.compile(
    r"(?:(?:lun|mar|mer|jeu|ven|sam|dim)[a-z]*\.?\s+)?\b(\d{1,2}|1er)[\s-]+"
    rf"({'|'.join(sorted(_MONTHS, key=len, reverse=True))})\b\.?(?:[\s-]+(\d{{4}}|\d{{2}})\b(?!\s*[:h]))?"
)
"""A date with its month in letters, folded; its year may be left out."""

_YEAR_FIRST = re.compile(r"\b(\d{4})([/-])(\d{2})\2(\d{2})(?:t(?=\d)|\b)")
_NO_YEAR = re.compile(r"\b(au|du|le)\s+(\d{1,2})/(\d{1,2})(?![\d/.-])")

_FRENCH = re.compile(
    r"(?P<day>\d{1,2})([/.-])(?P<month>\d{1,2})\2(?P<year>\d{4}|\d{2})"
    r"(?:[\s,]+(?:[àa]\s*)?(?P<hour>\d{1,2})\s*[:h]\s*(?:(?P<minute>\d{2})(?:\s*[:m]\s*(?P<second>\d{2})|\s*mi?n)?)?)?",
    re.ASCII | re.IGNORECASE,
)
_WITHIN = re.compile(r"(?<![\w/.-])" + _FRENCH.pattern + r"(?![/.-]?\d)", _FRENCH.flags)
"""The same within a text, and not within another number."""

_SERIAL = re.compile(r"\d{5}(?:[.,]\d+)?", re.ASCII)
"""A number of five digits begins with 1927 and ends with 2173."""

_SERIAL_DAY, _SERIAL_HOUR = re.compile(r"^(\d{5})(?=\s)", re.ASCII), re.compile(r"(?<=\s)0(?:[.,]\d+)?$", re.ASCII)
"""A day and a time of day, each in a cell of its own, beside one that may be written otherwise."""

_LABEL = re.compile(r"\b(?:au|le|date|jour|releve|etat|situation|maj|edite)\b")
"""What says, folded, that a number beside it is a date."""

_OF_FIGURES = re.compile(
    r"\b(?:situation|etat|prevision|previsionnel|releve|maj|mise a jour|actualise|saisi)(?:l?e?s?)\b"
)
"""What says, folded, that a date beside it is that of the figures, whatever others stand there."""


def instant_of(text: str, forms: tuple[str, ...], zone: ZoneInfo, now: datetime) -> datetime:
    """The instant that is meant, aware UTC; `forms` are further ones, as strptime knows them. Raises ValueError."""
    begin, is_day = _local(text, forms, zone)
    if not is_day:
        return begin.astimezone(UTC)
    end = min(begin + timedelta(days=1), now)
    return begin.astimezone(UTC) + max(end.astimezone(UTC) - begin.astimezone(UTC), timedelta(0)) / 2


def instants_in(cells: tuple[str, ...], zone: ZoneInfo, now: datetime) -> list[tuple[datetime, bool]]:
    """The instants that a row of titles names: « État des lits au 24/11/2026 à 8 h », of the last year where it names
    none; or a number as a workbook keeps a date, beside a cell that says so, « Relevé le »: alone it may be anything.
    Each with whether its cell, or the one before a cell without words, says that it is that of the figures."""
    today = now.astimezone(zone).date()
    words = [folded(cell) for cell in cells]
    labels = accumulate(words, _label_after)
    dates = [[one[0] for one in _WITHIN.finditer(_in_numbers(word, today))] for word in words]
    if not any(dates) and any(map(_LABEL.search, words)):
        dates = [[word] if _SERIAL.fullmatch(word) else [] for word in words]
    found: list[tuple[datetime, bool]] = []
    for label, written in zip(labels, dates, strict=True):
        for one in written:
            with suppress(ValueError, OverflowError):
                found.append((instant_of(one, (), zone, now), _OF_FIGURES.search(label) is not None))
    return found


def _serial(days: float) -> datetime:
    """What a spreadsheet means by a number, to the second; the zone is not its own."""
    return datetime(1899, 12, 30, tzinfo=UTC) + timedelta(seconds=round(days * 86_400))


def _label_after(before: str, word: str) -> str:
    """The label of a cell: its own words, or those before a cell of numbers alone."""
    return word if re.search("[a-z]", word) else before


def _in_numbers(text: str, today: date | None = None) -> str:
    """A text, folded, with its dates written day first and in numbers. `today` gives the year to those without one: the
    last that has that day, or tomorrow's."""

    def dated(day: str, month: int, year: str | None) -> str:
        if year is None and today is not None:
            tomorrow = today + timedelta(days=1)
            year = str(tomorrow.year - ((month, int(day)) > (tomorrow.month, tomorrow.day)))
        return f"{day}/{month}/{year}"

    text = _YEAR_FIRST.sub(r"\4/\3/\1 ", folded(text))
    if today is not None:
        text = _NO_YEAR.sub(lambda one: f"{one[1]} {dated(one[2], int(one[3]), None)}", text)
    return _LETTERS.sub(lambda one: dated(one[1].removesuffix("er"), _MONTHS[one[2]], one[3]), text).strip()


def _local(text: str, forms: tuple[str, ...], zone: ZoneInfo) -> tuple[datetime, bool]:
    """What is written, in the zone that it bears or else in the house's, and whether it is a day alone."""
    for form in forms:
        try:
            return datetime.strptime(text, form).replace(tzinfo=zone), "%H" not in form
        except ValueError:
            continue
    if _SERIAL.fullmatch(text) is not None:
        days = float(text.replace(",", "."))
        return _serial(days).replace(tzinfo=zone), days.is_integer()
    text = _SERIAL_DAY.sub(lambda one: f"{_serial(int(one[1])):%d/%m/%Y}", text)
    text = _SERIAL_HOUR.sub(lambda one: f"{_serial(float(one[0].replace(',', '.'))):%H:%M:%S}", text)
    if (french := _FRENCH.fullmatch(text) or _FRENCH.fullmatch(_in_numbers(text))) is not None:
        year, month, day, hour, minute, second = (
            int(french[name] or 0) for name in ("year", "month", "day", "hour", "minute", "second")
        )
        year += 2000 if year < 100 else 0
        return datetime(year, month, day, hour, minute, second, tzinfo=zone), french["hour"] is None
    with suppress(ValueError):
        return datetime.combine(date.fromisoformat(text), time(tzinfo=zone)), True
    written = datetime.fromisoformat(text)
    return written if written.tzinfo else written.replace(tzinfo=zone), False
