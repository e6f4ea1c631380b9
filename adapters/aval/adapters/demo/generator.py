"""A plausible day of one establishment: who comes, who leaves, which beds close. Invented, and decided by a seed.

The stream of an establishment begins with what its census is at `start`, told as the admissions that made it, and goes
on movement after movement in the order of time. It depends on the seed, the establishment and `start`, and on nothing
else: neither on other establishments nor on how far it is read.

- Occupancy and mean stay are the establishment's own where the data has them; stays are log-normal about the mean.
  Those found at the start are as one meets them: long ones more often.
- Arrivals keep the occupancy: capacity × occupancy ÷ mean stay a day, at the hours of the day's shape. A share of them
  is known the day before, and comes within admission hours. Who finds no bed goes elsewhere, unseen.
- A share of departures is announced ahead, and a share of those slips by some hours.
- A bed is cleaned after a departure; beds close for want of staff (from the start) or break down (during the day).
- Now and then a patient goes on leave for a night, moves to another unit, or an admission was a mistake.

What always holds, whatever the seed: at most one patient a bed; never more than the open capacity; one gender at a time
in a room that is so; nobody leaves, moves or is announced who is not there. Simulated: no patient is real.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from functools import partial
from heapq import heappop, heappush
from zoneinfo import ZoneInfo

from aval.adapters.demo.chance import Dice
from aval.adapters.territory import HousePlan, OpenHours, RoomPlan, UnitPlan
from aval.kernel.disciplines import Discipline
from aval.kernel.statuses import Counting, Gender, RoomRule


class Kind(StrEnum):
    """What happened, as `aval.v1.Movement` tells it."""

    ADMISSION = "admission"
    TRANSFER = "transfer"
    DISCHARGE = "discharge"
    LEAVE = "leave"
    LEAVE_RETURN = "leave_return"
    CANCELLATION = "cancellation"
    DEPARTURE_ANNOUNCED = "departure_announced"
    ARRIVAL_EXPECTED = "arrival_expected"
    BED_CLOSED = "bed_closed"
    BED_OPENED = "bed_opened"
    BED_CLEANED = "bed_cleaned"


class ClosedFor(StrEnum):
    """Why a bed is closed, of those that the generator invents; names of `aval.v1.ClosureReason`."""

    STAFF = "staff"
    EQUIPMENT = "equipment"


@dataclass(frozen=True, slots=True, kw_only=True)
class Movement:
    """One movement. `number` is its own in the stream (not its place in it); `bed` is empty for counted places.

    `planned` is the announced departure, the return from leave, the expected arrival or the end of a closure.
    """

    number: int
    kind: Kind
    time: datetime
    unit: str
    bed: str = ""
    places: int = 0
    stay_key: str = ""
    gender: Gender = Gender.UNDETERMINED
    planned: datetime | None = None
    closed_for: ClosedFor | None = None
    cancels: int = 0
    """The number of the movement that was a mistake."""
    to_clean: bool = False


TRANSFER_SHARE = 0.6
"""Of those who leave critical care or UHCD, how many go to a ward of the house rather than away (assumed)."""

SLIP_SHARE = 0.08
"""Of announced departures, how many slip (assumed)."""

SLIP_HOURS_MAX = 6.0
"""By how much at most (assumed)."""

MISTAKE_SHARE = 0.004
"""Of admissions, how many are cancelled some minutes later (assumed)."""

BREAKDOWN_SHARE = 0.002
"""Of beds, how many break down in a day (assumed)."""

STAY_HOURS_MIN = 2.0
"""Nobody is admitted for less."""

_WARDS_BELOW = {
    Discipline.INTENSIVE_CARE: (Discipline.MEDICINE, Discipline.SURGERY),
    Discipline.INTERMEDIATE_CARE: (Discipline.MEDICINE, Discipline.SURGERY),
    Discipline.UHCD: (Discipline.MEDICINE,),
}


def movements(house: HousePlan, seed: int, start: datetime, until: datetime) -> Iterator[Movement]:
    """The stream of an establishment, in the order of time, up to `until` (included). Both are aware instants.

    Movements before `start` make the census at `start`. A later `until` only makes the stream longer.
    """
    return _House(house, seed, start).stream(until)


# ----------------------------------------------------------------------------------------------------- what is there


@dataclass(slots=True)
class _Stay:
    key: str
    number: int
    """Of its admission."""
    gender: Gender
    unit: "_Unit"
    bed: str
    departure: datetime
    announced: datetime | None = None
    on_leave: bool = False


@dataclass(slots=True)
class _Bed:
    code: str
    room: RoomPlan
    stay: _Stay | None = None
    closed: bool = False
    to_clean: bool = False

    @property
    def is_free(self) -> bool:
        return self.stay is None and not self.closed and not self.to_clean


@dataclass(slots=True)
class _Unit:
    plan: UnitPlan
    beds: dict[str, _Bed]
    stays: dict[str, _Stay] = field(default_factory=dict)
    expected: dict[str, int] = field(default_factory=dict)
    """Announced arrivals: stay → number of the announcement."""
    places_closed: int = 0

    @property
    def free(self) -> int:
        """Beds or places that a patient can take now, not counting who is expected."""
        if self.plan.counting is Counting.PLACES:
            return self.plan.capacity - self.places_closed - len(self.stays)
        return sum(bed.is_free for bed in self.beds.values())

    def place_for(self, gender: Gender) -> str | None:
        """The bed for a patient ("" for a counted place), or None. Shared rooms of that gender fill first."""
        if self.plan.gender not in (Gender.ANY, gender) or self.free < 1:
            return None
        if self.plan.counting is Counting.PLACES:
            return ""
        fitting: list[tuple[int, int, str]] = []
        for rank, bed in enumerate(self.beds.values()):
            others = {b.stay.gender for b in self.beds.values() if b.room is bed.room and b.stay is not None}
            if bed.is_free and (bed.room.rule is not RoomRule.ONE_GENDER or others <= {gender}):
                fitting.append((0 if others else len(bed.room.beds), rank, bed.code))
        return min(fitting)[2] if fitting else None

    def take(self, stay: _Stay) -> None:
        self.stays[stay.key] = stay
        if stay.bed:
            self.beds[stay.bed].stay = stay

    def leave(self, stay: _Stay) -> None:
        del self.stays[stay.key]
        if stay.bed:
            self.beds[stay.bed].stay = None


_Action = Callable[[datetime], Iterable[Movement]]


class _House:
    """The simulation of one establishment: a heap of what is to come, and what is there."""

    def __init__(self, plan: HousePlan, seed: int, start: datetime) -> None:
        self._plan = plan
        self._seed = seed
        self._start = start.astimezone(UTC)
        self._zone = ZoneInfo(plan.time_zone)
        self._units = {unit.code: _Unit(unit, _beds(unit)) for unit in plan.units}
        self._agenda: list[tuple[datetime, int, _Action]] = []
        self._numbers = 0
        self._stays = 0
        self._order = 0

    def stream(self, until: datetime) -> Iterator[Movement]:
        """The opening, sorted, then what the agenda brings, lazily."""
        opening: list[Movement] = []
        for unit in self._units.values():
            opening += self._closed_at_start(unit)
            opening += self._present_at_start(unit)
        today = self._start.astimezone(self._zone).date()
        opening += self._day(today, self._start, days=2)
        yield from sorted(opening, key=lambda movement: (movement.time, movement.number))
        while self._agenda[0][0] <= until:
            at, _, action = heappop(self._agenda)
            yield from action(at)

    # ------------------------------------------------------------------------------------------------ the opening

    def _closed_at_start(self, unit: _Unit) -> Iterator[Movement]:
        dice = self._dice(unit, "closed")
        for code in unit.beds or [""] * unit.plan.capacity:
            if dice.chance(unit.plan.practice.closed_share):
                since = self._start - timedelta(days=dice.between(2, 20))
                yield self._close(
                    unit, code, since, self._start + timedelta(days=dice.between(0.3, 12)), ClosedFor.STAFF
                )

    def _present_at_start(self, unit: _Unit) -> Iterator[Movement]:
        dice, plan = self._dice(unit, "present"), unit.plan
        for _ in range(sum(dice.chance(plan.occupancy) for _ in range(plan.capacity))):
            gender = self._gender(unit, dice)
            bed = unit.place_for(gender)
            if bed is None:
                gender = Gender.MALE if gender is Gender.FEMALE else Gender.FEMALE
                if (bed := unit.place_for(gender)) is None:
                    continue
            whole = timedelta(days=dice.log_normal(plan.stay_days, plan.practice.stay_spread, by_length=True))
            spent = whole * dice.between(0.02, 0.98)
            yield from self._admit(
                unit, self._new_stay(), gender, bed, self._start - spent, dice, ends=self._start - spent + whole
            )

    # ------------------------------------------------------------------------------------------------ day after day

    def _day(self, day: date, now: datetime, days: int = 1) -> Iterator[Movement]:
        """What the morning of a day brings to the agenda: its leaves and breakdowns, the arrivals of the next day."""
        for unit in self._units.values():
            self._plan_leaves(unit, day)
            self._plan_breakdowns(unit, day)
            for ahead in range(2 - days, 2):
                yield from self._plan_arrivals(unit, day + timedelta(days=ahead), now)
        following = day + timedelta(days=1)
        self._at(self._instant(following, 0.0), partial(self._day, following))

    def _plan_arrivals(self, unit: _Unit, day: date, now: datetime) -> Iterator[Movement]:
        dice, plan = self._dice(unit, "arrivals", day), unit.plan
        for _ in range(dice.count(plan.capacity * plan.occupancy / plan.stay_days)):
            hour = dice.weighted(self._plan.hours.admissions) + dice.share()
            key, gender, expected = (
                self._new_stay(),
                self._gender(unit, dice),
                dice.chance(plan.practice.expected_share),
            )
            arrival = self._instant(day, hour)
            told = arrival - timedelta(hours=dice.between(14, 30))
            if expected and plan.admission_hours is not None:
                arrival = self._within(plan.admission_hours, arrival, dice)
            if arrival <= self._start:
                continue
            if expected:
                told = min(told, arrival - timedelta(hours=2))
                if told <= now:
                    yield from self._expect(unit, key, gender, arrival, now)
                else:
                    self._at(told, partial(self._expect, unit, key, gender, arrival))
            else:
                self._at(arrival, partial(self._arrive, unit, key, gender))

    def _expect(self, unit: _Unit, key: str, gender: Gender, arrival: datetime, now: datetime) -> Iterator[Movement]:
        """An arrival is announced if a bed is to be had by then, as far as one knows."""
        leaving = sum(stay.announced is not None and stay.announced <= arrival for stay in unit.stays.values())
        if unit.free + leaving <= len(unit.expected):
            return
        movement = self._movement(Kind.ARRIVAL_EXPECTED, now, unit, stay_key=key, gender=gender, planned=arrival)
        unit.expected[key] = movement.number
        self._at(arrival, partial(self._arrive, unit, key, gender))
        yield movement

    def _arrive(self, unit: _Unit, key: str, gender: Gender, now: datetime) -> Iterator[Movement]:
        told = unit.expected.pop(key, 0)
        dice = self._dice(unit, "stay", key)
        bed = unit.place_for(gender) if told or unit.free > len(unit.expected) else None
        if bed is None:
            if told:
                yield self._movement(Kind.CANCELLATION, now, unit, stay_key=key, cancels=told)
            return
        yield from self._admit(unit, key, gender, bed, now, dice)

    def _admit(
        self, unit: _Unit, key: str, gender: Gender, bed: str, now: datetime, dice: Dice, ends: datetime | None = None
    ) -> Iterator[Movement]:
        """An admission, and what follows from it. `ends`: when a stay found at the start is to end."""
        admission = self._movement(
            Kind.ADMISSION, now, unit, bed=bed, stay_key=key, gender=gender, to_clean=_is_cleaned(unit, bed)
        )
        stay = _Stay(key, admission.number, gender, unit, bed, departure=now)
        unit.take(stay)
        yield admission
        if ends is None and dice.chance(MISTAKE_SHARE):
            self._at(now + timedelta(minutes=dice.between(4, 20)), partial(self._mistaken, stay))
        else:
            yield from self._plan_departure(stay, max(now, self._start), dice, ends)

    def _mistaken(self, stay: _Stay, now: datetime) -> Iterator[Movement]:
        stay.unit.leave(stay)
        yield self._movement(Kind.CANCELLATION, now, stay.unit, stay_key=stay.key, cancels=stay.number)

    # --------------------------------------------------------------------------------------------------- departures

    def _plan_departure(
        self, stay: _Stay, now: datetime, dice: Dice, ends: datetime | None = None
    ) -> Iterator[Movement]:
        plan = stay.unit.plan
        days = dice.log_normal(plan.stay_days, plan.practice.stay_spread)
        ends = ends or now + timedelta(days=days)
        hour = dice.weighted(self._plan.hours.discharges) + dice.share()
        departure = self._instant(ends.astimezone(self._zone).date(), hour)
        stay.departure = max(departure, now + timedelta(hours=dice.between(STAY_HOURS_MIN, 2 * STAY_HOURS_MIN)))
        if dice.chance(plan.practice.announced_share):
            said = stay.departure
            if dice.chance(SLIP_SHARE):
                stay.departure += timedelta(hours=dice.between(1, SLIP_HOURS_MAX))
            told = said - timedelta(hours=max(1.0, dice.log_normal(plan.practice.announced_hours, 0.5)))
            if told <= now:
                yield from self._announce(stay, said, now)
            else:
                self._at(told, partial(self._announce, stay, said))
        self._at(stay.departure, partial(self._depart, stay))

    def _announce(self, stay: _Stay, said: datetime, now: datetime) -> Iterator[Movement]:
        stay.announced = said
        yield self._movement(Kind.DEPARTURE_ANNOUNCED, now, stay.unit, bed=stay.bed, stay_key=stay.key, planned=said)

    def _depart(self, stay: _Stay, now: datetime) -> Iterator[Movement]:
        unit, bed = stay.unit, stay.bed
        if stay.on_leave:
            self._at(now + timedelta(hours=6), partial(self._depart, stay))
            return
        dice = self._dice(unit, "departure", stay.key)
        unit.leave(stay)
        ward = self._ward_below(unit, stay.gender, dice)
        if ward is None:
            yield self._movement(Kind.DISCHARGE, now, unit, bed=bed, stay_key=stay.key, to_clean=_is_cleaned(unit, bed))
        else:
            stay.unit, stay.bed, stay.announced = ward, ward.place_for(stay.gender) or "", None
            ward.take(stay)
            yield self._movement(Kind.TRANSFER, now, ward, bed=stay.bed, stay_key=stay.key, gender=stay.gender)
            yield from self._plan_departure(stay, now, dice)
        if _is_cleaned(unit, bed):
            unit.beds[bed].to_clean = True
            minutes = unit.plan.practice.cleaning_minutes * dice.between(0.6, 1.6)
            self._at(now + timedelta(minutes=minutes), partial(self._clean, unit, bed))

    def _ward_below(self, unit: _Unit, gender: Gender, dice: Dice) -> _Unit | None:
        """The ward that takes a patient who leaves critical care or UHCD; children stay among children."""
        disciplines = _WARDS_BELOW.get(unit.plan.discipline, ())
        if not disciplines or not dice.chance(TRANSFER_SHARE):
            return None
        wards = [
            ward
            for ward in self._units.values()
            if ward.plan.discipline in disciplines
            and (ward.plan.age_max is None) == (unit.plan.age_max is None)
            and ward.free > len(ward.expected)
            and ward.place_for(gender) is not None
        ]
        return dice.one_of(wards) if wards else None

    def _clean(self, unit: _Unit, bed: str, now: datetime) -> Iterator[Movement]:
        unit.beds[bed].to_clean = False
        yield self._movement(Kind.BED_CLEANED, now, unit, bed=bed)

    # ------------------------------------------------------------------------------------------- leaves and closures

    def _plan_leaves(self, unit: _Unit, day: date) -> None:
        dice = self._dice(unit, "leaves", day)
        for _ in range(dice.count(unit.plan.practice.leave_share * unit.plan.capacity)):
            at = self._instant(day, dice.between(15, 18))
            if at > self._start:
                self._at(at, partial(self._go_on_leave, unit, dice.share()))

    def _go_on_leave(self, unit: _Unit, which: float, now: datetime) -> Iterator[Movement]:
        back = now + timedelta(hours=25)
        staying = [stay for stay in unit.stays.values() if not stay.on_leave and stay.departure > back]
        if staying:
            stay = staying[int(which * len(staying))]
            stay.on_leave = True
            self._at(back, partial(self._return, stay))
            yield self._movement(Kind.LEAVE, now, unit, bed=stay.bed, stay_key=stay.key, planned=back)

    def _return(self, stay: _Stay, now: datetime) -> Iterator[Movement]:
        stay.on_leave = False
        yield self._movement(Kind.LEAVE_RETURN, now, stay.unit, bed=stay.bed, stay_key=stay.key)

    def _plan_breakdowns(self, unit: _Unit, day: date) -> None:
        dice = self._dice(unit, "breakdowns", day)
        for _ in range(dice.count(BREAKDOWN_SHARE * len(unit.beds))):
            at = self._instant(day, dice.between(7, 19))
            if at > self._start:
                self._at(at, partial(self._break_down, unit, dice.share(), dice.between(4, 30)))

    def _break_down(self, unit: _Unit, which: float, hours: float, now: datetime) -> Iterator[Movement]:
        free = [bed.code for bed in unit.beds.values() if bed.is_free]
        if len(free) > len(unit.expected):
            yield self._close(
                unit, free[int(which * len(free))], now, now + timedelta(hours=hours), ClosedFor.EQUIPMENT
            )

    def _close(self, unit: _Unit, bed: str, now: datetime, end: datetime, reason: ClosedFor) -> Movement:
        if bed:
            unit.beds[bed].closed = True
        else:
            unit.places_closed += 1
        self._at(end, partial(self._open, unit, bed))
        return self._movement(
            Kind.BED_CLOSED, now, unit, bed=bed, places=0 if bed else 1, planned=end, closed_for=reason
        )

    def _open(self, unit: _Unit, bed: str, now: datetime) -> Iterator[Movement]:
        if bed:
            unit.beds[bed].closed = False
        else:
            unit.places_closed -= 1
        yield self._movement(Kind.BED_OPENED, now, unit, bed=bed, places=0 if bed else 1)

    # ------------------------------------------------------------------------------------------------------ the rest

    def _dice(self, unit: _Unit, *about: object) -> Dice:
        return Dice(self._seed, self._plan.finess, unit.plan.code, *about)

    def _gender(self, unit: _Unit, dice: Dice) -> Gender:
        if unit.plan.gender is not Gender.ANY:
            return unit.plan.gender
        return Gender.FEMALE if dice.chance(unit.plan.practice.female_share) else Gender.MALE

    def _new_stay(self) -> str:
        """An opaque key, as an adapter's keyed hash would be."""
        self._stays += 1
        return hashlib.sha256(f"{self._seed}/{self._plan.finess}/{self._stays}".encode()).hexdigest()[:24]

    def _at(self, at: datetime, action: _Action) -> None:
        self._order += 1
        heappush(self._agenda, (at, self._order, action))

    def _instant(self, day: date, hour: float) -> datetime:
        """An hour of a local day, as UTC; each second of the day stays in the order of the hours."""
        midnight = datetime.combine(day, time(), self._zone)
        return (midnight + timedelta(seconds=int(hour * 3600))).astimezone(UTC)

    def _within(self, hours: OpenHours, at: datetime, dice: Dice) -> datetime:
        """`at` if admissions are open then, else some time of the next day that has such hours."""
        local = at.astimezone(self._zone)
        closes = hours.closes or time.max
        if local.weekday() in hours.days and hours.opens <= local.time() <= closes:
            return at
        day = local.date() if local.time() < hours.opens else local.date() + timedelta(days=1)
        while day.weekday() not in hours.days:
            day += timedelta(days=1)
        opens, last = (t.hour + t.minute / 60 for t in (hours.opens, closes))
        return self._instant(day, dice.between(opens, last))

    def _movement(
        self,
        kind: Kind,
        now: datetime,
        unit: _Unit,
        *,
        bed: str = "",
        places: int = 0,
        stay_key: str = "",
        gender: Gender = Gender.UNDETERMINED,
        planned: datetime | None = None,
        closed_for: ClosedFor | None = None,
        cancels: int = 0,
        to_clean: bool = False,
    ) -> Movement:
        self._numbers += 1
        return Movement(
            number=self._numbers,
            kind=kind,
            time=now,
            unit=unit.plan.code,
            bed=bed,
            places=places,
            stay_key=stay_key,
            gender=gender,
            planned=planned,
            closed_for=closed_for,
            cancels=cancels,
            to_clean=to_clean,
        )


def _beds(unit: UnitPlan) -> dict[str, _Bed]:
    return {bed.code: _Bed(bed.code, room) for room in unit.rooms for bed in room.beds}


def _is_cleaned(unit: _Unit, bed: str) -> bool:
    return bool(bed) and unit.plan.practice.cleaning_minutes > 0
