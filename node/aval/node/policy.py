"""What an establishment's policy makes of time: answer and admission hours, deadlines, how long a hold lasts, and the
conditions of an automatic hold.

Deadlines of *planned* and *within 48 h* demands, and holds of 24 h and more, count answer hours; *today* counts real
time. In answer hours a duration of whole days counts answering days: one day after Friday 16 h, in a unit that
answers Monday to Friday, is Monday 16 h. What is left over, and durations under a day, count the hours during which
somebody answers.

Hours are of the house's time zone: across a change of clocks the same local hour is meant. Public holidays come from
the `holidays` library, loaded when a unit first asks for them.
"""

from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, date, datetime, timedelta
from functools import cache, lru_cache, partial
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from typing import cast
from zoneinfo import ZoneInfo

from aval.kernel.disciplines import DISCIPLINES, Discipline, Field
from aval.kernel.hours import WeekHours, local_instant, windows
from aval.kernel.need import ANSWER_BY, Mode, Need, Urgency
from aval.kernel.statuses import Answering, Gender
from aval.node.model import Policy, Unit

_DAY = timedelta(days=1)

_TTL_BY_FIELD: dict[Field, timedelta] = {
    Field.MCO: timedelta(hours=1),
    Field.PSY: timedelta(hours=1),  # DESIGN is silent: an acute bed, as MCO
    Field.SMR: timedelta(hours=4),
    Field.HAD: timedelta(hours=12),
    Field.USLD: timedelta(hours=48),
    Field.MEDICO_SOCIAL: timedelta(hours=48),
}

TTL_PERMANENT = timedelta(days=14)
"""A permanent place is a family's decision: 14 days, and never by policy alone."""

TTL_MIN = timedelta(minutes=5)
"""A shorter hold cannot be read and confirmed by a person."""

TTL_MAX = timedelta(days=60)
"""A longer hold is a reservation: nobody may block a bed for longer without confirming."""

CLOSED_MONTHS_PUBLISHED = 3
"""Months whose closed days are published, the present one counted: at least the 60 days that the steps reach."""

OFFICE_HOURS = tuple(WeekHours(day, 9 * 60, 17 * 60) for day in range(1, 6))
"""Monday to Friday, 9 h to 17 h: when an SMR, USLD, HAD or EHPAD answers, unless its house says something else."""


def default_policy(discipline: Discipline) -> Policy:
    """The policy of a unit whose house has said none: a person answers; round the clock in MCO and psychiatry."""
    if DISCIPLINES[discipline].field in (Field.MCO, Field.PSY):
        return Policy()
    return Policy(answer_hours=OFFICE_HOURS, closed_on_public_holidays=True)


def default_ttl(discipline: Discipline) -> timedelta:
    """How long a hold lasts where neither policy nor demand says it (DESIGN §6)."""
    if discipline is Discipline.EHPAD_PERMANENT:
        return TTL_PERMANENT
    return _TTL_BY_FIELD[DISCIPLINES[discipline].field]


def hold_ttl(unit: Unit, wished: timedelta | None, *, by_staff: bool = False) -> timedelta:
    """How long a hold lasts: the wish, within the policy's limit (staff's word goes beyond it); else the policy's."""
    usual = unit.policy.ttl or default_ttl(unit.discipline)
    if wished is None:
        return min(usual, TTL_MAX)
    limit = TTL_MAX if by_staff else min(unit.policy.ttl_max or usual, TTL_MAX)
    return max(min(wished, limit), min(TTL_MIN, limit))


# --- calendars -------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=64)
def public_holidays(year: int, alsace_moselle: bool) -> frozenset[date]:
    """The public holidays of metropolitan France; with those of Alsace-Moselle (Good Friday, 26 December) if asked."""
    return frozenset(_france()(years=year, subdiv="57" if alsace_moselle else None))


@cache
def _france() -> Callable[..., Iterable[date]]:
    """The library's calendar of France, loaded when a unit first asks for it: a house without such hours never pays.

    Its file alone: the library's package of countries loads those of the whole world, 8 MB that nobody here reads.
    """
    library = find_spec("holidays")
    folder = (library.submodule_search_locations or [""])[0] if library is not None else ""
    found = spec_from_file_location("holidays_of_france", f"{folder}/countries/france.py")
    if found is None or found.loader is None:
        raise ImportError("the holidays library has no calendar of France")
    module = module_from_spec(found)
    found.loader.exec_module(module)
    return cast("Callable[..., Iterable[date]]", module.France)


def _closed(day: date, policy: Policy) -> bool:
    if policy.closed_days and day.isoformat() in policy.closed_days:
        return True
    return policy.closed_on_public_holidays and day in public_holidays(day.year, policy.alsace_moselle)


def always_open(hours: tuple[WeekHours, ...], policy: Policy) -> bool:
    """Whether no hour, day or holiday is ever closed."""
    return not hours and not policy.closed_days and not policy.closed_on_public_holidays


def _windows(
    since: datetime, hours: tuple[WeekHours, ...], policy: Policy, zone: ZoneInfo
) -> Iterator[tuple[date, datetime, datetime]]:
    return windows(since, hours, partial(_closed, policy=policy), zone)


def published_closed_days(now: datetime, policy: Policy, zone: ZoneInfo) -> tuple[date, ...]:
    """The closed days of the present month and of the two after it, as the unit publishes them."""
    first, until = (_month_after(now, months, zone) for months in (0, CLOSED_MONTHS_PUBLISHED))
    days = {date.fromisoformat(day) for day in policy.closed_days if first.isoformat() <= day < until.isoformat()}
    if policy.closed_on_public_holidays:
        for year in range(first.year, until.year + 1):
            days |= {day for day in public_holidays(year, policy.alsace_moselle) if first <= day < until}
    return tuple(sorted(days))


def next_month(now: datetime, zone: ZoneInfo) -> datetime:
    """When `published_closed_days` may next give another answer."""
    return local_instant(_month_after(now, 1, zone), 0, zone)


def _month_after(now: datetime, months: int, zone: ZoneInfo) -> date:
    """The first day of the month so many months after the present one."""
    today = now.astimezone(zone).date()
    years, month = divmod(today.month - 1 + months, 12)
    return date(today.year + years, month + 1, 1)


def open_since(instant: datetime, hours: tuple[WeekHours, ...], policy: Policy, zone: ZoneInfo) -> datetime | None:
    """When the window opened, or will open, that is the first to end after `instant`. None: always open, or never."""
    if always_open(hours, policy):
        return None
    return next((opens for _, opens, _ in _windows(instant, hours, policy, zone)), None)


def next_turn(instant: datetime, hours: tuple[WeekHours, ...], policy: Policy, zone: ZoneInfo) -> datetime | None:
    """When `open_since` next gives another answer: the end of that window. None: never."""
    if always_open(hours, policy):
        return None
    return next((closes for _, _, closes in _windows(instant, hours, policy, zone)), None)


def first_open(instant: datetime, hours: tuple[WeekHours, ...], policy: Policy, zone: ZoneInfo) -> datetime:
    """The first instant from `instant` on that is open; `instant` itself where nothing ever is."""
    opens = open_since(instant, hours, policy, zone)
    return instant if opens is None else max(instant, opens)


def after_open_time(
    start: datetime, duration: timedelta, hours: tuple[WeekHours, ...], policy: Policy, zone: ZoneInfo
) -> datetime:
    """The instant at which `duration` of open time has passed since `start`; whole days count open days."""
    if always_open(hours, policy):
        return start + duration
    begun = first_open(start, hours, policy, zone)
    days, rest = divmod(duration, _DAY)
    if days:
        begun = _same_hour(begun, days, hours, policy, zone)
    if not rest:
        return begun
    for _, opens, closes in _windows(begun, hours, policy, zone):
        starts = max(opens, begun)
        if starts + rest <= closes:
            return starts + rest
        rest -= closes - starts
    return start + duration


def _same_hour(begun: datetime, days: int, hours: tuple[WeekHours, ...], policy: Policy, zone: ZoneInfo) -> datetime:
    """The same local hour, so many open days later; if that day is closed then, the nearest open instant after it."""
    first = begun.astimezone(zone)
    passed, seen = -1, None
    for day, _, _ in _windows(local_instant(first.date(), 0, zone), hours, policy, zone):
        if day == seen:
            continue
        passed, seen = passed + 1, day
        if passed == days:
            wished = datetime.combine(day, first.time(), zone).astimezone(UTC)
            return first_open(wished, hours, policy, zone)
    return begun + days * _DAY


# --- deadlines -------------------------------------------------------------------------------------------------------


def answer_deadline(unit: Unit, urgency: Urgency, now: datetime, zone: ZoneInfo) -> datetime:
    """When an answer is due. Past it the demand is *late*, an alarm; it can still be answered."""
    wait = ANSWER_BY[urgency]
    if urgency is Urgency.TODAY:
        return now + wait
    return after_open_time(now, wait, unit.policy.answer_hours, unit.policy, zone)


def hold_deadline(unit: Unit, ttl: timedelta, now: datetime, zone: ZoneInfo) -> datetime:
    """When a hold granted now for `ttl` expires: 24 h and more count answer hours."""
    if ttl < _DAY:
        return now + ttl
    return after_open_time(now, ttl, unit.policy.answer_hours, unit.policy, zone)


# --- automatic hold --------------------------------------------------------------------------------------------------


def holds_at_once(unit: Unit, need: Need, mode: Mode, held_today: int, now: datetime, zone: ZoneInfo) -> bool:
    """Whether the policy may hold for that need now, if a bed is free: every condition but `keep_free`.

    `held_today` counts the automatic holds already granted in the unit on the house's present day.
    """
    policy = unit.policy
    conditions = policy.automatic
    return (
        mode is Mode.HOLD
        and policy.answering is Answering.AUTOMATIC
        and may_grant_alone(unit, need)
        and not (conditions.per_day_max and held_today >= conditions.per_day_max)
        and (not conditions.genders or need.gender in conditions.genders)
        and (not conditions.hours or _within(now, conditions.hours, policy, zone))
    )


def may_grant_alone(unit: Unit, need: Need) -> bool:
    """Whether any policy may grant that need there: right discipline and age, a bed, and never a permanent place."""
    return (
        unit.discipline is need.discipline
        and unit.discipline is not Discipline.EHPAD_PERMANENT
        and DISCIPLINES[unit.discipline].is_bed
        and admits_age(unit, need.age_months)
    )


def admits_age(unit: Unit, age_months: int | None) -> bool:
    """Whether the unit admits that age; one that is not said, where the unit has limits, is for a person to judge."""
    if unit.ages is None:
        return True
    if age_months is None:
        return False
    years = age_months // 12
    return years >= unit.ages.min_years and not (unit.ages.max_years and years > unit.ages.max_years)


def _within(now: datetime, hours: tuple[WeekHours, ...], policy: Policy, zone: ZoneInfo) -> bool:
    opens = open_since(now, hours, policy, zone)
    return opens is None or opens <= now


def is_wildcard(gender: Gender) -> bool:
    """Whether a patient's gender excludes no place: any, or not said."""
    return gender in (Gender.ANY, Gender.UNDETERMINED)
