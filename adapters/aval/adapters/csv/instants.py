"""Instants as French spreadsheets and those who fill them write them.

Day first: `24/11/2026 08:30`, `4.11.26 à 8h30`, `24-11-2026 8 h`; ISO 8601 with or without a zone; and the number that
a spreadsheet keeps, days since 30 December 1899. A day alone is a time between its ends, of which the middle is taken:
noon, or half way to now for today.
"""

import re
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

_FRENCH = re.compile(
    r"(?P<day>\d{1,2})([/.-])(?P<month>\d{1,2})\2(?P<year>\d{4}|\d{2})"
    r"(?:[\s,]+(?:à\s*)?(?P<hour>\d{1,2})\s*[:h]\s*(?:(?P<minute>\d{2})(?:\s*[:m]\s*(?P<second>\d{2}))?)?)?",
    re.ASCII | re.IGNORECASE,
)
_SERIAL = re.compile(r"(?P<days>\d{5}(?:[.,]\d+)?)(?:\s+(?P<rest>0[.,]\d+))?", re.ASCII)
"""A number of five digits begins with 1927 and ends with 2173; the time of day may stand in a cell of its own."""

_ISO_DAY = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)


def instant_of(text: str, forms: tuple[str, ...], zone: ZoneInfo, now: datetime) -> datetime:
    """The instant that is meant, aware UTC; `forms` are further ones, as strptime knows them. Raises ValueError."""
    begin, is_day = _local(text, forms, zone)
    if not is_day:
        return begin.astimezone(UTC)
    end = min(begin + timedelta(days=1), now)
    return begin.astimezone(UTC) + max(end.astimezone(UTC) - begin.astimezone(UTC), timedelta(0)) / 2


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
    if (french := _FRENCH.fullmatch(text)) is not None:
        year, month, day, hour, minute, second = (
            int(french[name] or 0) for name in ("year", "month", "day", "hour", "minute", "second")
        )
        year += 2000 if year < 100 else 0
        return datetime(year, month, day, hour, minute, second, tzinfo=zone), french["hour"] is None
    written = datetime.fromisoformat(text)
    return written if written.tzinfo else written.replace(tzinfo=zone), _ISO_DAY.fullmatch(text) is not None
