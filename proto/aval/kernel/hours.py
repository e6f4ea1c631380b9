"""Hours of the week in which a house does something, and the days on which it does not: what instants they mean.

Hours are of the house's time zone: across a change of clocks the same local hour is meant. A node keeps its deadlines
by them; a hub looks by them, as they are published, for an arrival that can be admitted. Both ask here, so that what a
search finds is what a grant takes.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

DAYS_SEARCHED_MAX = 400
"""A calendar without an open hour for so long is no calendar."""

TIME_ZONE_DEFAULT = "Europe/Paris"
"""Where a house says none, or one that nobody knows (CONTRACT 15)."""

_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class WeekHours:
    """Hours of one day of the week (1 Monday to 7 Sunday), in minutes from midnight of the house's time zone."""

    day: int
    start_minute: int
    end_minute: int


@lru_cache(maxsize=64)
def zone_of(name: str) -> ZoneInfo:
    """The time zone of that IANA name."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        return ZoneInfo(TIME_ZONE_DEFAULT)


IsClosed = Callable[[date], bool]
"""Whether a local day is closed, whatever the hours of its weekday."""


@lru_cache(maxsize=512)  # units of a territory keep much the same hours
def local_instant(day: date, minute: int, zone: ZoneInfo) -> datetime:
    """The instant (UTC) so many minutes after midnight of a local day."""
    local_day, minutes = day + timedelta(days=minute // 1440), minute % 1440
    return datetime.combine(local_day, time(minutes // 60, minutes % 60), zone).astimezone(UTC)


def windows_of(
    day: date, hours: tuple[WeekHours, ...], is_closed: IsClosed, zone: ZoneInfo
) -> list[tuple[datetime, datetime]]:
    """The open windows of a local day, in order, as instants; windows that touch or overlap are one. No hours: all."""
    if is_closed(day):
        return []
    weekday = day.isoweekday()
    spans = [(h.start_minute, h.end_minute) for h in hours if h.day == weekday] if hours else [(0, 1440)]
    windows: list[tuple[datetime, datetime]] = []
    for start, end in sorted(spans):
        opens, closes = local_instant(day, start, zone), local_instant(day, end, zone)
        if windows and opens <= windows[-1][1]:
            windows[-1] = (windows[-1][0], max(windows[-1][1], closes))
        elif opens < closes:
            windows.append((opens, closes))
    return windows


def windows(
    since: datetime, hours: tuple[WeekHours, ...], is_closed: IsClosed, zone: ZoneInfo
) -> Iterator[tuple[date, datetime, datetime]]:
    """Open windows that end after `since`, in order, each with its local day; of `DAYS_SEARCHED_MAX` days."""
    day = since.astimezone(zone).date()
    for _ in range(DAYS_SEARCHED_MAX):
        for opens, closes in windows_of(day, hours, is_closed, zone):
            if closes > since:
                yield day, opens, closes
        day += _DAY
