"""Finds beds for a need: each unit of the need's discipline is ranked or excluded, with the reason (`SearchBeds`).

Pure, over units *as one viewpoint sees them* (`picture.seen`): what was filtered out for an audience can change neither
a rank, nor an order, nor a count, because it is not there. The published step functions are evaluated over the stay,
which is reading what a node said, not recomputing it; where beds have identity they are an upper bound, and the node's
word decides.

**Which arrival.** The stay is `[arrival, arrival + stay_max)`, without end if the need states none. Of all arrivals in
the window, from now on and within the unit's admission hours, the one with most places counts, the earliest of equals.
It is found among the first admission instants after the window's start and after each instant in it at which something
of the unit changes: between two such instants an earlier arrival sees the same beginning and ends its stay no later, so
it has at least as many places. A node seeks its grants in the same way.

**Reasons.** An exclusion bears the first reason that is true, in the order of `ExclusionReason`; a unit is ranked when
each of them is false of it. The order of ranks is that of `Criterion`, printed with each unit: sure before stale,
answered in time for the urgency, fewer wishes unmet, nearer, fewest requests received in a day, name. There is no
hidden score.
"""

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from functools import cached_property
from itertools import pairwise
from math import asin, cos, inf, radians, sin, sqrt
from operator import attrgetter, itemgetter
from typing import NamedTuple

from msgspec import Struct

from aval.hub.model import AdmissionHours, FreeStep, Phone, PlaceClass
from aval.hub.picture import Seen, figure
from aval.kernel.disciplines import DISCIPLINES, Discipline, Field
from aval.kernel.hours import TIME_ZONE_DEFAULT, windows, zone_of
from aval.kernel.need import ANSWER_BY, Feature, Interval, Mode, Need, Urgency
from aval.kernel.statuses import Answering, Freshness, Gender, Shown, Status

LIMIT_DEFAULT = 50
"""Ranked units told unless more are asked for: what a person reads."""

LIMIT_MAX = 200
"""Ranked units told at most (DESIGN §10); the rest is counted."""

FEW_PLACES = 3
"""Below so many sure places looser needs are tried: there are no three houses to ask."""

KM_PER_MINUTE = 1.0
"""Assumed where no drive is known: 80 km/h on roads a third longer than the crow flies."""

EARTH_RADIUS_KM = 6371.0088
"""Mean radius of the Earth (IUGG)."""


class ExclusionReason(StrEnum):
    """Why a unit does not fit, in the order tried; the wire's `ExclusionReason` has the same."""

    UNREACHABLE = "unreachable"
    CLOSED_TO_TERRITORY = "closed_to_territory"
    CLOSED = "closed"
    AGE = "age"
    TOO_FAR = "too_far"
    GENDER = "gender"
    FEATURE = "feature"
    ADMISSION_HOURS = "admission_hours"
    CONFLICT = "conflict"
    FULL = "full"
    NOT_REPORTED = "not_reported"


class Criterion(StrEnum):
    """What ranks units, in the order applied; the wire's `RankReason.Criterion` has the same."""

    SURE = "sure"
    ANSWER = "answer"
    UNMET_WISHES = "unmet_wishes"
    DISTANCE = "distance"
    FAIRNESS = "fairness"
    NAME = "name"


class RelaxationKind(StrEnum):
    """How a need may be loosened."""

    ARRIVAL_PLUS_1_DAY = "arrival_plus_1_day"
    DISTANCE_PLUS_HALF = "distance_plus_half"
    WITHOUT_FEATURE = "without_feature"
    SMR_POLYVALENT = "smr_polyvalent"


class Candidate(Struct, frozen=True):
    """A unit as seen, with what the search needs beside it. Distances are from the need's origin, None if not known.

    `minutes` is a drive of a known matrix; `requests_day` how many requests the house received in 24 hours; `time_zone`
    the IANA name of its time zone.
    """

    seen: Seen
    establishment_display_name: str = ""
    phones: tuple[Phone, ...] = ()
    distance_km: float | None = None
    minutes: float | None = None
    requests_day: int = 0
    time_zone: str = TIME_ZONE_DEFAULT

    @property
    def immediate(self) -> bool:
        """Whether the unit's policy may hold at once."""
        policy = self.seen.unit.policy
        return policy.answering is Answering.AUTOMATIC and Mode.HOLD in policy.modes

    @property
    def travel(self) -> float:
        """What is compared: minutes, else what the distance would take; infinite if neither is known."""
        if self.minutes is not None:
            return self.minutes
        return inf if self.distance_km is None else self.distance_km / KM_PER_MINUTE


class RankReason(Struct, frozen=True):
    """A criterion, and the value of this unit that was compared."""

    criterion: Criterion
    value: str


class Ranked(Struct, frozen=True):
    """A unit that fits. `places` fit over the whole stay from `arrival`, 0 or 1 if the unit says yes or no.

    `reasons` are the criteria applied, down to the one that tells it from the next (the last one: from the one before).
    """

    rank: int
    candidate: Candidate
    places: int
    arrival: datetime
    unmet_wishes: frozenset[Feature]
    immediate: bool
    on_announced_departure: bool
    reasons: tuple[RankReason, ...]


class Excluded(Struct, frozen=True):
    """A unit that does not fit: the first reason, and what was compared."""

    candidate: Candidate
    reason: ExclusionReason
    metadata: dict[str, str] = {}


class Relaxation(Struct, frozen=True):
    """A looser need, and how many sure places it finds."""

    kind: RelaxationKind
    need: Need
    sure_places: int
    value: str = ""


class Found(Struct, frozen=True):
    """What a search found. Counts are of all units, also beyond the limit; excluded ones in the order of reasons."""

    ranked: tuple[Ranked, ...]
    excluded: tuple[Excluded, ...]
    sure_places: int
    stale_units: int
    ranked_count: int
    exclusion_counts: dict[ExclusionReason, int]
    relaxations: tuple[Relaxation, ...] = ()


class Fit(NamedTuple):
    """That a unit fits, and how well."""

    places: int
    arrival: datetime
    unmet_wishes: frozenset[Feature]
    on_announced_departure: bool


class Misfit(NamedTuple):
    """That it does not, and why."""

    reason: ExclusionReason
    metadata: dict[str, str]


def distance_km(latitude: float, longitude: float, to_latitude: float, to_longitude: float) -> float:
    """As the crow flies, between two points in decimal degrees (haversine)."""
    north, to_north = radians(latitude), radians(to_latitude)
    half = sin((to_north - north) / 2) ** 2
    half += cos(north) * cos(to_north) * sin(radians(to_longitude - longitude) / 2) ** 2
    return 2 * EARTH_RADIUS_KM * asin(sqrt(half))


def disciplines_searched(need: Need) -> frozenset[Discipline]:
    """The disciplines whose units a search of that need looks at, looser needs included."""
    return frozenset({need.discipline, *(loose.discipline for _, _, loose in _looser(need))})


# --- does it fit -----------------------------------------------------------------------------------------------------


def free_throughout(steps: Sequence[FreeStep], start: datetime, end: datetime | None) -> int:
    """Places that a step function leaves free over all of `[start, end)`, never below 0.

    `start` itself always counts, and the first step holds before its time too.
    """
    at = bisect_right(steps, start, key=_time_of)
    least = steps[max(at - 1, 0)].free if steps else 0
    for step in steps[at:]:
        if least <= 0 or (end is not None and step.time >= end):
            break
        least = min(least, step.free)
    return max(least, 0)


def together(classes: Sequence[PlaceClass]) -> tuple[FreeStep, ...]:
    """What classes leave free together at each instant: their sum, none below 0.

    A bed of a room for one gender at a time changes class with who is in the room: no class has it throughout, yet it
    may be free throughout for whom both suit. So the sum is taken first, and its least over a stay after.
    """
    told = [one.steps for one in classes if one.steps]
    if len(told) < 2:
        return told[0] if told else ()
    free = sum(max(steps[0].free, 0) for steps in told)
    changes: dict[datetime, int] = {min(steps[0].time for steps in told): 0}
    for steps in told:
        for before, after in pairwise(steps):
            changes[after.time] = changes.get(after.time, 0) + max(after.free, 0) - max(before.free, 0)
    return tuple([FreeStep(instant, free := free + changes[instant]) for instant in sorted(changes)])


_time_of = attrgetter("time")
_closing_of = itemgetter(1)
_ALWAYS = datetime.min.replace(tzinfo=UTC)


def suits(place: Gender, patient: Gender) -> bool:
    """Whether a patient may be placed there; where either does not matter, or is not said, it may."""
    return patient is Gender.ANY or place in (patient, Gender.ANY, Gender.UNDETERMINED)


class _Look:
    """A unit under a need at an instant, with what several checks ask of them.

    `suited` are its classes of places where that gender may be placed, `fitting` those that have what is required too.
    """

    def __init__(self, need: Need, candidate: Candidate, now: datetime) -> None:
        self.need = need
        self.candidate = candidate
        self.now = now
        self.unit = unit = candidate.seen.unit
        required = need.required - unit.features
        self.suited = tuple([one for one in unit.classes if suits(one.gender, need.gender)])
        self.fitting = tuple([one for one in self.suited if required <= one.features])
        self.openings: list[tuple[datetime, datetime]] = []

    @cached_property
    def arrivals(self) -> tuple[datetime, ...]:
        """The arrivals worth trying, in order: see the module."""
        start, latest, unit = self.start, self.need.arrival_latest, self.unit
        blocked = [*self.debts, *(one.interval for one in unit.closures), *(one.interval for one in unit.conflicts)]
        edges = {one.end for one in blocked if one.end is not None and start < one.end <= latest}
        for one in self.fitting:
            edges.update(step.time for step in one.steps if start < step.time <= latest)
        instants = (start, *sorted(edges))
        admitted = {opening for one in instants if (opening := self.admission(one)) is not None and opening <= latest}
        # Without any admission hour in the window, what else is true of it is still told first.
        return tuple(sorted(admitted)) or instants

    @cached_property
    def start(self) -> datetime:
        """From when on the patient may arrive."""
        return max(self.need.arrival_earliest, min(self.now, self.need.arrival_latest))

    def admission(self, instant: datetime) -> datetime | None:
        """The first instant from then on (`start` or later) at which the unit admits; None if it says of none."""
        policy = self.unit.policy
        if policy.admission_hours is None:
            return max(instant, policy.next_admission_time or instant)
        if not policy.admission_hours.hours and not policy.admission_hours.closed_days:
            return instant
        while not self.openings or self.openings[-1][1] <= instant:
            window = next(self._following_openings, None)
            if window is None:
                return None
            self.openings.append(window[1:])
        opens, _ = self.openings[bisect_right(self.openings, instant, key=_closing_of)]
        return max(opens, instant)

    @cached_property
    def _following_openings(self) -> Iterator[tuple[date, datetime, datetime]]:
        """The unit's admission windows from `start` on, of which `openings` keeps those looked at."""
        said = self.unit.policy.admission_hours or AdmissionHours()
        return windows(self.start, said.hours, said.closed_days.__contains__, zone_of(self.candidate.time_zone))

    @cached_property
    def debts(self) -> tuple[Interval, ...]:
        """When a class has less than nothing free: the trace of an open conflict."""
        found: list[Interval] = []
        for steps in (one.steps for one in self.unit.classes):
            for place, step in enumerate(steps):
                if step.free < 0:
                    end = steps[place + 1].time if place + 1 < len(steps) else None
                    found.append(Interval(step.time if place else _ALWAYS, end))
        return tuple(found)

    @cached_property
    def free(self) -> tuple[FreeStep, ...]:
        """Free places that fit, as a step function."""
        return together(self.fitting)

    @cached_property
    def installed(self) -> int | None:
        return figure(self.unit, Status.INSTALLED)

    @cached_property
    def best(self) -> tuple[int, datetime]:
        """Most places over a stay, and its arrival; none where closures or conflicts forbid it."""
        most, at = 0, self.arrivals[0]
        for arrival in self.arrivals:
            places = self.places(arrival)
            if places > most and not self.is_closed(arrival) and not self.is_in_conflict(arrival):
                most, at = places, arrival
        return most, at

    def end(self, arrival: datetime) -> datetime | None:
        """The end of a stay from that arrival."""
        return None if self.need.stay_max is None else arrival + self.need.stay_max

    def places(self, arrival: datetime) -> int:
        """Places that fit over the whole stay from that arrival."""
        end = self.end(arrival)
        total = free_throughout(self.free, arrival, end)
        return min(total, 1) if self.unit.shown is Shown.YES_OR_NO else total

    def is_closed(self, arrival: datetime) -> bool:
        """Whether all that is installed is closed at some instant of the stay."""
        if not self.unit.closures or not self.installed:
            return False
        end = self.end(arrival)
        instants = [one.interval.start for one in self.unit.closures if one.interval.start > arrival]
        return any(
            self._closed_at(instant) >= self.installed
            for instant in (arrival, *instants)
            if end is None or instant < end
        )

    def _closed_at(self, instant: datetime) -> int:
        closures = [one for one in self.unit.closures if one.interval.covers(instant)]
        return len({bed for one in closures for bed in one.beds}) + sum(one.places for one in closures)

    def is_in_conflict(self, arrival: datetime) -> bool:
        """Whether an open conflict, as far as it is shown, lies over the stay."""
        stay = Interval(arrival, self.end(arrival))
        return any(one.interval.overlaps(stay) for one in self.unit.conflicts) or any(
            debt.overlaps(stay) for debt in self.debts
        )


def _unreachable(look: _Look) -> dict[str, str] | None:
    return {} if look.candidate.seen.freshness is Freshness.UNREACHABLE else None


def _closed_to_territory(look: _Look) -> dict[str, str] | None:
    return {} if look.unit.policy.answering is Answering.CLOSED else None


def _closed(look: _Look) -> dict[str, str] | None:
    if not look.unit.closures or not all(map(look.is_closed, look.arrivals)):
        return None
    ends = [one.interval.end for one in look.unit.closures if one.interval.end is not None]
    return {"closed_until": max(ends).isoformat()} if ends else {}


def _age(look: _Look) -> dict[str, str] | None:
    ages, months = look.unit.ages, look.need.age_months
    if ages is None or months is None:
        return None
    years = months // 12
    if ages.min_years <= years and (ages.max_years is None or years <= ages.max_years):
        return None
    limits = {"min_years": str(ages.min_years)}
    if ages.max_years is not None:
        limits["max_years"] = str(ages.max_years)
    return {"age_years": str(years), **limits}


def _too_far(look: _Look) -> dict[str, str] | None:
    need, km, minutes = look.need, look.candidate.distance_km, look.candidate.minutes
    if need.minutes_max is not None and minutes is not None and minutes > need.minutes_max:
        return {"minutes": f"{minutes:.0f}", "limit_minutes": f"{need.minutes_max:.0f}"}
    limits = [] if need.distance_km_max is None else [need.distance_km_max]
    if need.minutes_max is not None and minutes is None:
        limits.append(need.minutes_max * KM_PER_MINUTE)
    if km is None or not limits or km <= min(limits):
        return None
    return {"distance_km": f"{km:.1f}", "limit_km": f"{min(limits):.1f}"}


def _gender(look: _Look) -> dict[str, str] | None:
    return {"gender": look.need.gender.name.lower()} if look.unit.classes and not look.suited else None


def _feature(look: _Look) -> dict[str, str] | None:
    if not look.suited or look.fitting:
        return None
    missing = min((look.need.required - look.unit.features - one.features for one in look.suited), key=_by_length)
    return {"feature": ",".join(sorted(missing))}


def _by_length(features: frozenset[Feature]) -> tuple[int, list[str]]:
    return len(features), sorted(features)


def _admission_hours(look: _Look) -> dict[str, str] | None:
    opening = look.admission(look.start)
    if opening is not None and opening <= look.need.arrival_latest:
        return None
    return {"next_admission_time": opening.isoformat()} if opening is not None else {}


def _conflict(look: _Look) -> dict[str, str] | None:
    if not (look.unit.conflicts or look.debts) or not all(map(look.is_in_conflict, look.arrivals)):
        return None
    return {"conflicts": str(len(look.unit.conflicts))} if look.unit.conflicts else {}


def _full(look: _Look) -> dict[str, str] | None:
    if not look.fitting or look.best[0] > 0:
        return None
    return {"full_from": _full_from(look.free, look.arrivals[0]).isoformat()}


def _full_from(steps: Sequence[FreeStep], arrival: datetime) -> datetime:
    """When nothing is free for the first time from an arrival on; the arrival itself if something stays free."""
    if not free_throughout(steps, arrival, arrival):
        return arrival
    return next((step.time for step in steps if step.time > arrival and step.free < 1), arrival)


def _not_reported(look: _Look) -> dict[str, str] | None:
    return None if look.unit.classes else {}


EXCLUSIONS: dict[ExclusionReason, Callable[[_Look], dict[str, str] | None]] = {
    ExclusionReason.UNREACHABLE: _unreachable,
    ExclusionReason.CLOSED_TO_TERRITORY: _closed_to_territory,
    ExclusionReason.CLOSED: _closed,
    ExclusionReason.AGE: _age,
    ExclusionReason.TOO_FAR: _too_far,
    ExclusionReason.GENDER: _gender,
    ExclusionReason.FEATURE: _feature,
    ExclusionReason.ADMISSION_HOURS: _admission_hours,
    ExclusionReason.CONFLICT: _conflict,
    ExclusionReason.FULL: _full,
    ExclusionReason.NOT_REPORTED: _not_reported,
}
"""Each reason with its check, in the order tried: what was compared if the reason is true, None if it is not."""


def judge(need: Need, candidate: Candidate, now: datetime) -> Fit | Misfit:
    """How a unit of the need's discipline fits, or the first reason why it does not."""
    look = _Look(need, candidate, now)
    for reason, check in EXCLUSIONS.items():
        metadata = check(look)
        if metadata is not None:
            return Misfit(reason, metadata)
    places, arrival = look.best
    open_ = [one for one in look.fitting if free_throughout(one.steps, arrival, arrival) > 0]
    wished = need.wished - look.unit.features
    return Fit(
        places=places,
        arrival=arrival,
        unmet_wishes=min((wished - one.features for one in open_), key=_by_length),
        on_announced_departure=not free_throughout(look.free, now, now),
    )


# --- ranking ---------------------------------------------------------------------------------------------------------


class _Fitting(NamedTuple):
    candidate: Candidate
    fit: Fit
    answer_due: datetime

    @property
    def is_sure(self) -> bool:
        return self.candidate.seen.freshness.is_sure

    @property
    def late_until(self) -> datetime | None:
        """When somebody will be there to answer, if that is after an answer is due."""
        there = self.candidate.seen.unit.policy.next_answer_time
        return None if self.candidate.immediate or there is None or there <= self.answer_due else there

    def key(self) -> tuple[int, int, int, float, int, str]:
        """What is compared, in the order of `Criterion`."""
        one, sure, late = self.candidate, self.is_sure, self.late_until is not None
        wishes = len(self.fit.unmet_wishes)
        return 0 if sure else 1, int(late), wishes, one.travel, one.requests_day, one.seen.unit.name

    def value(self, criterion: Criterion) -> str:
        """The value compared by a criterion, for people."""
        one = self.candidate
        match criterion:
            case Criterion.SURE:
                return one.seen.freshness.value
            case Criterion.ANSWER:
                return "yes" if self.late_until is None else self.late_until.isoformat()
            case Criterion.UNMET_WISHES:
                return str(len(self.fit.unmet_wishes))
            case Criterion.DISTANCE if one.minutes is not None:
                return f"{one.minutes:.0f} min"
            case Criterion.DISTANCE:
                return "unknown" if one.distance_km is None else f"{one.distance_km:.1f} km"
            case Criterion.FAIRNESS:
                return str(one.requests_day)
            case Criterion.NAME:
                return one.seen.unit.name


def _reasons(one: _Fitting, other: _Fitting | None) -> tuple[RankReason, ...]:
    """The criteria applied, down to the first that tells the two apart."""
    told: list[RankReason] = []
    for criterion, mine, theirs in zip(Criterion, one.key(), other.key() if other else one.key(), strict=True):
        told.append(RankReason(criterion, one.value(criterion)))
        if mine != theirs:
            break
    return tuple(told)


def _ranked(rank: int, one: _Fitting, other: _Fitting | None) -> Ranked:
    return Ranked(
        rank=rank,
        candidate=one.candidate,
        places=one.fit.places,
        arrival=one.fit.arrival,
        unmet_wishes=one.fit.unmet_wishes,
        immediate=one.candidate.immediate,
        on_announced_departure=one.fit.on_announced_departure,
        reasons=_reasons(one, other),
    )


def search(need: Need, urgency: Urgency, candidates: Iterable[Candidate], now: datetime, *, limit: int = 0) -> Found:
    """Ranks and excludes the units of the need's discipline among `candidates`; see the module.

    `urgency` says how soon an answer is due, as in `aval.kernel.need.ANSWER_BY`, counted in real time from now.
    `limit`: at most so many ranked units are told; 0 means 50, more than 200 means 200. Where few sure places are
    found, looser needs are tried, each counted as its own search would: give candidates of `disciplines_searched`.
    """
    candidates = tuple(candidates)
    answer_due = now + ANSWER_BY[urgency]
    fitting: list[_Fitting] = []
    excluded: list[Excluded] = []
    for candidate in _of_discipline(need, candidates):
        verdict = judge(need, candidate, now)
        if isinstance(verdict, Fit):
            fitting.append(_Fitting(candidate, verdict, answer_due))
        else:
            excluded.append(Excluded(candidate, verdict.reason, verdict.metadata))
    fitting.sort(key=_Fitting.key)
    places = list(EXCLUSIONS)
    excluded.sort(key=lambda one: (places.index(one.reason), one.candidate.seen.unit.name))
    told = fitting[: min(limit or LIMIT_DEFAULT, LIMIT_MAX)]
    neighbours = [*fitting[1 : len(told) + 1], *fitting[-2:-1]]
    sure_places = sum(one.fit.places for one in fitting if one.is_sure)
    counts = Counter(one.reason for one in excluded)
    return Found(
        ranked=tuple(
            _ranked(place + 1, one, neighbours[place] if place < len(neighbours) else None)
            for place, one in enumerate(told)
        ),
        excluded=tuple(excluded),
        sure_places=sure_places,
        stale_units=sum(not one.is_sure for one in fitting),
        ranked_count=len(fitting),
        exclusion_counts={reason: counts[reason] for reason in EXCLUSIONS if counts[reason]},
        relaxations=tuple(_relaxations(need, candidates, now, sure_places)) if sure_places < FEW_PLACES else (),
    )


def _of_discipline(need: Need, candidates: Iterable[Candidate]) -> Iterator[Candidate]:
    """Units of that discipline; none for day care, which is never taken for a bed."""
    if DISCIPLINES[need.discipline].is_bed:
        yield from (one for one in candidates if one.seen.unit.discipline is need.discipline)


# --- looser needs ----------------------------------------------------------------------------------------------------


def _looser(need: Need) -> Iterator[tuple[RelaxationKind, str, Need]]:
    """The looser needs worth trying, each with the value that it changes."""
    later = need.arrival_latest + timedelta(days=1)
    yield RelaxationKind.ARRIVAL_PLUS_1_DAY, later.isoformat(), replace(need, arrival_latest=later)
    if need.distance_km_max is not None or need.minutes_max is not None:
        km = None if need.distance_km_max is None else need.distance_km_max * 1.5
        minutes = None if need.minutes_max is None else need.minutes_max * 1.5
        value = f"{minutes:.0f} min" if minutes is not None else f"{km:.0f} km"
        yield RelaxationKind.DISTANCE_PLUS_HALF, value, replace(need, distance_km_max=km, minutes_max=minutes)
    for feature in sorted(need.required):
        yield RelaxationKind.WITHOUT_FEATURE, feature.value, replace(need, required=need.required - {feature})
    if DISCIPLINES[need.discipline].field is Field.SMR and need.discipline is not Discipline.SMR_POLYVALENT:
        polyvalent = replace(need, discipline=Discipline.SMR_POLYVALENT)
        yield RelaxationKind.SMR_POLYVALENT, Discipline.SMR_POLYVALENT.value, polyvalent


def _relaxations(need: Need, candidates: Sequence[Candidate], now: datetime, sure_places: int) -> Iterator[Relaxation]:
    """Those that find something, and more than the need itself did if they look at the same discipline."""
    for kind, value, loose in _looser(need):
        places = _sure_places(loose, candidates, now)
        if places > (sure_places if loose.discipline is need.discipline else 0):
            yield Relaxation(kind=kind, need=loose, sure_places=places, value=value)


def _sure_places(need: Need, candidates: Iterable[Candidate], now: datetime) -> int:
    verdicts = (judge(need, one, now) for one in _of_discipline(need, candidates) if one.seen.freshness.is_sure)
    return sum(verdict.places for verdict in verdicts if isinstance(verdict, Fit))
