"""What a unit publishes: a pure function of its facts and the time, computed at a revision's `as_of` and never stored.

Three readings of one ground (`aval.node.claims`):

- **R330 × R331 counts** keep the ROR's meaning: *available* is staffed and not reserved within 24 h of the horizon;
  *reserved* is an identified patient expected within 24 h of it (confirmed, or expected by the house itself; a hold
  only takes a bed out of *available*); beds that wait for cleaning are installed and nothing else.
- **Grantable** is what would be granted, one after the other, to open-ended arrivals at the horizon.
- **Classes** give the free places of each kind (who may be placed, what they have) as step functions, to 60 days. A
  patient whose bed nobody knows, a conflict, a person's correction are taken from the plainest class that has
  something free.

Counts are sparse: within what the unit declares, absent is zero; outside it, unknown.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from functools import cache

from aval.kernel.disciplines import Discipline
from aval.kernel.hours import WeekHours
from aval.kernel.lifecycle import ReservationState
from aval.kernel.need import Feature, Mode
from aval.kernel.statuses import Answering, Gender, Horizon, Status
from aval.node.book import UnitBook, View
from aval.node.claims import (
    ALWAYS,
    NEVER,
    BedGround,
    Levels,
    PlaceGround,
    Take,
    What,
    claim_takes,
    gaps,
    ground,
    in_conflict,
    takes,
)
from aval.node.model import Bed, Closure, Conflict, Unit
from aval.node.policy import (
    always_open,
    default_ttl,
    is_wildcard,
    next_month,
    next_turn,
    open_since,
    published_closed_days,
)

STEPS_MAX = 64
"""Steps of a class (CONTRACT 6): about 1.3 kB a unit."""

STEPS_DAYS = 60
"""How far ahead steps are told; from there on the least that will ever be free."""

RESERVED_WITHIN = timedelta(hours=24)
"""R330 02 and 04 speak of the next 24 h."""

_GENDERS = (Gender.FEMALE, Gender.MALE, Gender.ANY)

Kind = tuple[Gender, tuple[Feature, ...]]
"""A class of places: who may be placed there, and what each has."""


@dataclass(frozen=True, slots=True)
class Count:
    """One R330 figure that is not zero."""

    status: Status
    horizon: Horizon
    gender: Gender
    count: int


@dataclass(frozen=True, slots=True)
class Grantable:
    """So many open-ended arrivals of that gender alone would be granted at that horizon."""

    horizon: Horizon
    gender: Gender
    count: int


@dataclass(frozen=True, slots=True)
class PlaceClass:
    """Places of one kind: from each instant on, so many are free. The first step is at `as_of`."""

    gender: Gender
    features: tuple[Feature, ...]
    steps: tuple[tuple[datetime, int], ...]


@dataclass(frozen=True, slots=True)
class Disagreement:
    """A source that says something else than the winning word.

    `until`, `by`, `reason`, `made` are those of a correction by hand.
    """

    source: str
    free: int
    winning_free: int
    until: datetime | None = None
    by: str = ""
    reason: str = ""
    made: datetime | None = None


@dataclass(frozen=True, slots=True)
class PolicySummary:
    """A policy as others may read it.

    `next_answer`: since or from when somebody answers; None: always, or by itself. `closed_days`: days without any
    admission, of this month and the two after it.
    """

    answering: Answering
    modes: tuple[Mode, ...]
    ttl: timedelta
    next_answer: datetime | None
    next_admission: datetime | None
    admission_hours: tuple[WeekHours, ...]
    closed_days: tuple[date, ...]


@dataclass(frozen=True, slots=True)
class UnitFigures:
    """All figures of a unit at `as_of`.

    `next_change`: the first instant at which they may differ with no fact changed.
    """

    unit: str
    as_of: datetime
    counts: tuple[Count, ...]
    grantable: tuple[Grantable, ...]
    classes: tuple[PlaceClass, ...]
    closures: tuple[Closure, ...]
    conflicts: tuple[Conflict, ...]
    policy: PolicySummary
    disagreements: tuple[Disagreement, ...]
    next_change: datetime | None

    def same_as(self, other: "UnitFigures") -> bool:
        """Whether both say the same, but for the time at which they were computed."""
        return _timeless(self) == _timeless(other)


def _timeless(told: UnitFigures) -> UnitFigures:
    classes = tuple(PlaceClass(c.gender, c.features, ((ALWAYS, c.steps[0][1]), *c.steps[1:])) for c in told.classes)
    return replace(told, as_of=ALWAYS, next_change=None, classes=classes)


def figures(view: View, unit_id: str, now: datetime) -> UnitFigures:
    """The figures of a unit of the ledger at an instant."""
    unit = view.unit(unit_id)
    if unit is None:
        raise KeyError(unit_id)
    book = view.book(unit_id)
    told = list(takes(unit, book, now))
    claims = list(claim_takes(unit, book))
    granted = ground(unit, book, now)
    laid = ground(unit, book, now, with_conflicts=True) if book.conflicts else granted
    policy = _policy(view, unit, now)
    blocked = [Take(x.start, x.end or NEVER, What.CLAIM, x.reservation) for x in book.conflicts.values()]
    return UnitFigures(
        unit=unit_id,
        as_of=now,
        counts=tuple(_counts(unit, book, laid, told, claims, now)),
        grantable=tuple(_grantable(book, granted, now)),
        classes=_classes(book, laid, now),
        closures=tuple(sorted(book.closures.values(), key=lambda closure: (closure.start, closure.id))),
        conflicts=tuple(sorted(book.conflicts.values(), key=lambda conflict: (conflict.arisen, conflict.id))),
        policy=policy,
        disagreements=tuple(_disagreements(unit, book, laid, now)),
        next_change=_next_change(view, unit, [*told, *claim_takes(unit, book, with_conflicts=True), *blocked], now),
    )


# --- R330 ------------------------------------------------------------------------------------------------------------


def _counts(
    unit: Unit,
    book: UnitBook,
    laid: BedGround | PlaceGround,
    told: list[Take],
    claims: list[Take],
    now: datetime,
) -> Iterator[Count]:
    declared = {status: frozenset(horizons) for status, horizons in unit.declared}
    confirmed = {key for key, reservation in book.claims.items() if reservation.state is ReservationState.CONFIRMED}
    for horizon in Horizon:
        at = now + horizon.delay
        if isinstance(laid, BedGround):
            found = _bed_counts(book, laid, told, claims, confirmed, at)
        else:
            found = _place_counts(book, laid, told, claims, confirmed, at)
        for (status, gender), count in sorted(found.items()):
            if count > 0 and (not declared or horizon in declared.get(status, frozenset())):
                yield Count(status, horizon, gender, count)


def _bed_counts(
    book: UnitBook, laid: BedGround, told: list[Take], claims: list[Take], confirmed: set[str], at: datetime
) -> Counter[tuple[Status, Gender]]:
    found: Counter[tuple[Status, Gender]] = Counter()
    soon = at + RESERVED_WITHIN
    for bed in book.beds.values():
        if bed.supplementary is not None:
            found[Status.SUPPLEMENTARY, bed.gender] += 1  # mobilised or not: R330 06 counts what can be made available
        elif not bed.leaving:
            found[Status.INSTALLED, bed.gender] += 1
    taken: set[str] = set()
    closed: set[str] = set()
    loose = 0
    for take in (*told, *claims):
        on = book.beds.get(take.bed or "")
        gender = on.gender if on else Gender.ANY
        status = _status_of(take, at, soon, take.key in confirmed)
        here = take.start <= at < take.end
        if status is Status.CLOSED and on is not None:
            found[status, gender] += on.id not in closed
            closed.add(on.id)
        elif status is not None and status is not Status.CLOSED:
            found[status, gender] += 1
        if on is None and take.what is not What.CLAIM:
            loose += take.number if here else 0
        elif on is not None and (here or (take.what in _EXPECTING and _within(take, at, soon))):
            taken.add(on.id)
    free: Counter[Gender] = Counter()
    for bed in laid.beds.values():
        placing = None if bed.id in taken else _gender_at(laid, bed, at)
        if placing is not None:
            free[placing] += 1
    _take_loose(free, loose)
    for gender, count in free.items():
        found[Status.AVAILABLE, gender] = count
    return found


_EXPECTING = (What.EXPECTED, What.CLAIM)


def _status_of(take: Take, at: datetime, soon: datetime, confirmed: bool) -> Status | None:
    """The R330 status that a take gives to a bed at an instant; None: none, it only is not available."""
    here = take.start <= at < take.end
    if take.what is What.CLOSURE:
        return Status.CLOSED if here else None
    if take.what is What.STAY:
        return Status.OCCUPIED if here else None
    if take.what is What.EXPECTED or confirmed:
        return Status.RESERVED if _within(take, at, soon) else None
    return None


def _within(take: Take, at: datetime, soon: datetime) -> bool:
    """Whether it is there at an instant, or begins until `soon`, that one included."""
    return take.start <= soon and at < take.end


def _take_loose(free: Counter[Gender], loose: int) -> None:
    for gender in (Gender.ANY, Gender.FEMALE, Gender.MALE):
        here = max(min(loose, free[gender]), 0) if loose > 0 else loose
        free[gender] -= here
        loose -= here


def _place_counts(
    book: UnitBook, laid: PlaceGround, told: list[Take], claims: list[Take], confirmed: set[str], at: datetime
) -> Counter[tuple[Status, Gender]]:
    found: Counter[tuple[Status, Gender]] = Counter()
    soon = at + RESERVED_WITHIN
    free: Counter[Gender] = Counter()
    for places in book.places.values():
        gender = places.gender
        found[Status.INSTALLED, gender] = places.installed
        found[Status.SUPPLEMENTARY, gender] = max(0, places.open - places.installed)
        found[Status.CLOSED, gender] = max(0, places.installed - places.open)
        found[Status.OCCUPIED, gender] = laid.occupied(gender, at)
        free[gender] = places.open - found[Status.OCCUPIED, gender]
    loose = 0
    for take in told:
        here = take.start <= at < take.end
        place = take.place
        if place is None or place not in free:
            loose += take.number if here else 0
        elif take.what is What.CLOSURE and here:
            found[Status.CLOSED, place] += take.number
            free[place] -= take.number
        elif take.what is What.EXPECTED and _within(take, at, soon):
            found[Status.RESERVED, place] += 1
            free[place] -= 1
    for take in claims:
        if _within(take, at, soon) and take.place is not None:
            free[take.place] -= 1
            if take.key in confirmed:
                found[Status.RESERVED, take.place] += 1
    _take_loose(free, loose)
    for gender, count in free.items():
        found[Status.AVAILABLE, gender] = count
    return found


# --- grantable -------------------------------------------------------------------------------------------------------


def _grantable(book: UnitBook, laid: BedGround | PlaceGround, now: datetime) -> Iterator[Grantable]:
    for horizon in Horizon:
        arrival = now + horizon.delay
        if in_conflict(book, arrival, NEVER) is not None:
            continue
        most = laid.levels.least(arrival, NEVER)
        left = _left_from(laid, arrival) if isinstance(laid, BedGround) else Counter()
        for gender in _GENDERS:
            if isinstance(laid, BedGround):
                fitting = left.total() if is_wildcard(gender) else left[frozenset()] + left[frozenset((gender,))]
            else:
                places = laid.places_for(gender)
                fitting = sum(max(0, laid.by_gender[place].least(arrival, NEVER)) for place in places)
            if min(fitting, most) > 0:
                yield Grantable(horizon, gender, min(fitting, most))


def _left_from(laid: BedGround, arrival: datetime) -> Counter[frozenset[Gender]]:
    """The beds that nothing takes from an instant on, by the genders that they are bound to."""
    left: Counter[frozenset[Gender]] = Counter()
    for bed in laid.beds.values():
        # An open-ended stay has a bed once the last that takes it has ended: most beds are out at once.
        if all(take.end <= arrival for take in laid.on[bed.id]):
            sharing = laid.sharing.get(bed.room, ())
            left[_bound(bed.gender, frozenset(take.gender for take in sharing if take.end > arrival))] += 1
    return left


# --- classes ---------------------------------------------------------------------------------------------------------


def _gender_at(laid: BedGround, bed: Bed, at: datetime) -> Gender | None:
    """Who may be placed in a free bed at an instant; None: nobody, two genders share its one-gender room."""
    sharing = laid.sharing.get(bed.room, ())
    return _placing(bed, frozenset(take.gender for take in sharing if take.start <= at < take.end))


def _placing(bed: Bed, present: frozenset[Gender]) -> Gender | None:
    """Who may be placed in a bed whose room holds patients of those genders."""
    genders = _bound(bed.gender, present)
    if len(genders) > 1:
        return None
    return next(iter(genders), Gender.ANY)


@cache
def _bound(bed: Gender, present: frozenset[Gender]) -> frozenset[Gender]:
    """The genders that a bed is bound to, by its own and by those in its room: two suit nobody whose gender is said."""
    return frozenset(gender for gender in (bed, *present) if not is_wildcard(gender))


def _classes(book: UnitBook, laid: BedGround | PlaceGround, now: datetime) -> tuple[PlaceClass, ...]:
    if isinstance(laid, BedGround):
        free, every = _free_beds(laid)
    else:
        free = {(gender, laid.features): levels for gender, levels in laid.by_gender.items()}
        every = Levels.sum_of(free.values())
    order = sorted(free, key=_plainness)
    times = {now} | {time for time, _ in laid.levels.steps() if time > now}
    for levels in (every, *free.values()):
        times |= {time for time, _ in levels.steps() if time > now}
    told: dict[Kind, list[tuple[datetime, int]]] = {kind: [] for kind in order}
    for at in sorted(times - {NEVER}):
        # What is taken, nobody knows where (below zero: what a person says is free beyond what is seen).
        missing = every.at(at) - laid.levels.at(at)
        if missing > 0:
            # Beds that suit nobody, in a room that two genders share, are not counted below: they go first.
            missing = max(0, missing - (every.at(at) - sum(levels.at(at) for levels in free.values())))
        counts = {}
        for kind in order:
            count = free[kind].at(at)
            here = max(0, min(missing, count)) if missing > 0 else missing
            counts[kind] = count - here
            missing -= here
        if missing > 0 and order and book.conflicts:
            counts[order[0]] -= missing  # an open conflict shows: fewer than none
        for kind, count in counts.items():
            told[kind].append((at, count if book.conflicts else max(0, count)))
    horizon = now + timedelta(days=STEPS_DAYS)
    return tuple(PlaceClass(*kind, _published(steps, horizon)) for kind, steps in told.items())


def _plainness(kind: Kind) -> tuple[bool, int, str, tuple[str, ...]]:
    gender, features = kind
    return gender is not Gender.ANY, len(features), gender.value, tuple(feature.value for feature in features)


def _free_beds(laid: BedGround) -> tuple[dict[Kind, Levels], Levels]:
    """How many beds are free, of each kind and in all.

    A bed of a one-gender room changes kind with who is in the room.
    """
    found: dict[Kind, Levels] = {}
    every = Levels(0)
    for bed in laid.beds.values():
        features = laid.feature_list(bed)
        sharing = laid.sharing.get(bed.room, [])
        found.setdefault((bed.gender, features), Levels(0))
        for start, end in gaps(ALWAYS, NEVER, laid.on[bed.id]):
            every.add(start, end, 1)
            turns = {time for take in sharing for time in (take.start, take.end) if start < time < end}
            at = start
            for until in (*sorted(turns), end):
                gender = _gender_at(laid, bed, at) if sharing else _placing(bed, frozenset())
                if gender is not None:
                    found.setdefault((gender, features), Levels(0)).add(at, until, 1)
                at = until
    return found, every


def _published(steps: list[tuple[datetime, int]], horizon: datetime) -> tuple[tuple[datetime, int], ...]:
    """Equal neighbours joined, nothing beyond the horizon, at most `STEPS_MAX`: what is cut off is told by its least
    value.
    """
    joined: list[tuple[datetime, int]] = []
    for time, free in steps:
        if not joined or joined[-1][1] != free:
            joined.append((time, free))
    near = [step for step in joined if step[0] < horizon]
    if len(near) > STEPS_MAX or len(near) < len(joined):
        kept = near[: STEPS_MAX - 1]
        rest = joined[len(kept) :]
        return (*kept, (min(rest[0][0], horizon), min(free for _, free in rest)))
    return tuple(near)


# --- the rest --------------------------------------------------------------------------------------------------------


def _policy(view: View, unit: Unit, now: datetime) -> PolicySummary:
    policy = unit.policy
    answering = policy.answering
    alone = unit.discipline is not Discipline.EHPAD_PERMANENT and view.book(unit.id).reconciling is None
    if answering is Answering.AUTOMATIC and not alone:
        answering = Answering.PERSON
    modes = {
        Answering.AUTOMATIC: (Mode.HOLD, Mode.ASK),
        Answering.PERSON: (Mode.ASK,),
        Answering.CLOSED: (),
    }[answering]
    zone = view.zone
    next_answer = None
    if answering is Answering.PERSON:
        next_answer = open_since(now, policy.answer_hours, policy, zone)
    next_admission = open_since(now, policy.admission_hours, policy, zone)
    return PolicySummary(
        answering=answering,
        modes=modes,
        ttl=policy.ttl or default_ttl(unit.discipline),
        next_answer=next_answer,
        next_admission=next_admission,
        admission_hours=policy.admission_hours,
        closed_days=published_closed_days(now, policy, zone),
    )


def _disagreements(unit: Unit, book: UnitBook, laid: BedGround | PlaceGround, now: datetime) -> Iterator[Disagreement]:
    correction = book.correction
    winning = laid.levels.at(now) if correction is None else correction.free
    if correction is not None and unit.sources:
        name = correction.by.display_name or correction.by.actor
        said = correction.free + correction.taken
        source, until, made = unit.sources[0].id, correction.until, correction.made
        yield Disagreement(source, said, correction.free, until, name, correction.reason, made)
    for word in sorted(book.words.values(), key=lambda word: word.source):
        if word.free != winning and not word.winning:
            yield Disagreement(word.source, word.free, winning)


def _next_change(view: View, unit: Unit, all_takes: Iterable[Take], now: datetime) -> datetime | None:
    """The first instant at which a boundary comes to a horizon, or within 24 h of one, or somebody comes or goes."""
    lead = [delay + more for delay in (h.delay for h in Horizon) for more in (timedelta(0), RESERVED_WITHIN)]
    found: datetime | None = None
    for take in all_takes:
        for boundary in (take.start, take.end):
            if boundary in (ALWAYS, NEVER) or boundary <= now:
                continue
            for before in lead:
                at = boundary - before
                if at > now and (found is None or at < found):
                    found = at
    policy = unit.policy
    for hours in (policy.answer_hours, policy.admission_hours):
        turn = next_turn(now, hours, policy, view.zone)
        if turn is not None and (found is None or turn < found):
            found = turn
    if not always_open((), policy):
        found = min(found or NEVER, next_month(now, view.zone))
    return found
