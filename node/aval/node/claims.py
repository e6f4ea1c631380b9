"""What takes the beds of a unit, as step functions of time, and whether one more claim fits among it.

For a unit, `free(t) = open(t) − occupied(t) − claims(t)`. It is made of the census, of planned closures, of
departures that are *announced* (if the policy lets the unit promise on them; never forecasts) and of claims. A grant
needs `free(t) ≥ 1` over its whole interval and, where beds have identity, one bed of the right gender and features
that nothing takes meanwhile.

A *ground* is that function at an instant, for one unit: `BedGround` where beds have identity, `PlaceGround` where
places are counted. It is built from `Take`s, asked for a spot, and told what was granted. Two readings of the same
facts are needed:

- to *promise*, everything counts: turnover between two patients, cleaning, and departures only as the policy allows;
- to *keep* what was promised, only what would truly put a patient out: a policy changed since, or a bed that is
  still to be cleaned, breaks no promise. A departure that slipped does.
"""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from enum import Enum, auto
from typing import NamedTuple

from aval.kernel.lifecycle import ReservationState
from aval.kernel.need import Feature
from aval.kernel.statuses import Counting, Gender, RoomRule, SupplementaryKind
from aval.node.book import UnitBook
from aval.node.model import Bed, Claim, Conflict, Reservation, Stay, Unit
from aval.node.policy import is_wildcard

NEVER = datetime.max.replace(tzinfo=UTC)
"""The end of what has none."""

ALWAYS = datetime.min.replace(tzinfo=UTC)
"""The start of what has none."""

_DAY = timedelta(days=1)


class What(Enum):
    """What a take is. STAY and EXPECTED are patients in a bed; a CORRECTION is a person's word on a number."""

    STAY = auto()
    EXPECTED = auto()
    CLOSURE = auto()
    CLEANING = auto()
    CLAIM = auto()
    CORRECTION = auto()


class Take(NamedTuple):
    """`[start, end)` of a bed, of a counted place of a gender, or (neither) of any: *loose*.

    `gender` is the patient's.
    """

    start: datetime
    end: datetime
    what: What
    key: str
    bed: str | None = None
    place: Gender | None = None
    gender: Gender = Gender.ANY
    number: int = 1

    def overlaps(self, start: datetime, end: datetime) -> bool:
        """Whether it shares an instant with `[start, end)`."""
        return self.start < end and start < self.end


class Spot(NamedTuple):
    """Where a claim is put: on a bed, or on a counted place of a gender."""

    bed: str | None
    place: Gender | None


def planned_end(stay: Stay, promise_on_announced: bool) -> datetime | None:
    """When a stay is to end: as announced, if that may be counted on; else as its reservation's grant says; or None."""
    if stay.departure is None:
        return stay.stay_end
    if promise_on_announced:
        return stay.departure
    return None if stay.stay_end is None else max(stay.departure, stay.stay_end)


def slips_at(stay: Stay, unit: Unit) -> datetime | None:
    """When a stay that is still there breaks what was planned on its end: once the turnover has passed too."""
    planned = None if stay.slipped else planned_end(stay, promise_on_announced=True)
    return None if planned is None else planned + timedelta(minutes=unit.policy.turnover_minutes)


def cleaning_end(since: datetime, turnover: timedelta, now: datetime) -> datetime:
    """Until when a bed that waits for cleaning is not promised: the turnover, then one day more at a time."""
    usual = since + turnover
    return usual if now < usual else since + ((now - since) // _DAY + 1) * _DAY


def takes(unit: Unit, book: UnitBook, now: datetime, *, keeping: bool = False) -> Iterator[Take]:
    """All that takes the unit's beds but its claims. `keeping`: only what would put a promised patient out."""
    policy = unit.policy
    pause = timedelta(minutes=policy.turnover_minutes)
    turnover = timedelta(0) if keeping else pause
    promise = policy.promise_on_announced or keeping
    for stay in book.stays.values():
        start, bed = ALWAYS, stay.bed
        if stay.on_leave and not stay.keep_bed:
            if stay.return_time is None:
                continue
            start, bed = stay.return_time, None
        slips = slips_at(stay, unit)
        planned = planned_end(stay, promise)
        late = stay.slipped or (slips is not None and slips <= now)
        # Who is to come back after the day that was told for the departure has no planned end any more.
        beyond = slips is not None and slips - pause <= start
        end = NEVER if late or beyond or planned is None else planned + turnover
        yield Take(start, end, What.STAY, stay.key, bed, stay.place, stay.gender)
    for expected in book.expected.values():
        # Nor has one who is to come after it.
        planned = expected.departure
        end = NEVER if planned is None or planned <= expected.arrival else planned + turnover
        yield Take(expected.arrival, end, What.EXPECTED, expected.key, expected.bed, expected.place, expected.gender)
    for closure in book.closures.values():
        end = NEVER if closure.reopening_asked or closure.end <= now else closure.end
        for bed in closure.beds:
            yield Take(closure.start, end, What.CLOSURE, closure.id, bed)
        for place, count in closure.places:
            yield Take(closure.start, end, What.CLOSURE, closure.id, None, place, number=count)
    correction = book.correction
    if correction is not None and correction.taken and not keeping:
        yield Take(correction.made, correction.until, What.CORRECTION, "", number=correction.taken)
    if not keeping:
        for of in book.beds.values():
            if of.to_clean_since is not None:
                yield Take(ALWAYS, cleaning_end(of.to_clean_since, pause, now), What.CLEANING, of.id, of.id)


def claim_takes(
    unit: Unit, book: UnitBook, *, with_conflicts: bool = False, without: str = "", keeping: bool = False
) -> Iterator[Take]:
    """The unit's claims.

    Not those that stand in a doubt (their stay takes the place), nor, unless asked, in a conflict.
    """
    turnover = timedelta(0) if keeping else timedelta(minutes=unit.policy.turnover_minutes)
    covered = {doubt.presumed for doubt in book.doubts.values()}
    for key, reservation in book.claims.items():
        claim = reservation.claim
        if claim is None or key == without or key in covered or not (claim.is_placed or with_conflicts):
            continue
        end = NEVER if claim.end is None else claim.end + turnover
        yield Take(claim.start, end, What.CLAIM, key, claim.bed, claim.place, reservation.need.gender)


class Levels:
    """A step function of time: a number that takes change."""

    def __init__(self, base: int) -> None:
        self._base = base
        self._deltas: dict[datetime, int] = {}
        self._steps: list[tuple[datetime, int]] | None = None

    def add(self, start: datetime, end: datetime, count: int) -> None:
        """Adds `count` over `[start, end)`."""
        if start < end:
            self._deltas[start] = self._deltas.get(start, 0) + count
            self._deltas[end] = self._deltas.get(end, 0) - count
            self._steps = None

    def steps(self) -> list[tuple[datetime, int]]:
        """From each instant on, so many; the first instant is `ALWAYS`."""
        if self._steps is None:
            level, steps = self._base, [(ALWAYS, self._base)]
            for time in sorted(self._deltas):
                delta = self._deltas[time]
                if not delta:
                    continue
                level += delta
                if steps[-1][0] == time:
                    steps[-1] = (time, level)
                else:
                    steps.append((time, level))
            self._steps = steps
        return self._steps

    @classmethod
    def sum_of(cls, all_levels: Iterable["Levels"]) -> "Levels":
        """The sum of several functions."""
        total = cls(0)
        for levels in all_levels:
            steps = levels.steps()
            for (start, count), (end, _) in zip(steps, [*steps[1:], (NEVER, 0)], strict=True):
                total.add(start, end, count)
        return total

    def at(self, instant: datetime) -> int:
        """The number at an instant."""
        level = self._base
        for time, value in self.steps():
            if time > instant:
                break
            level = value
        return level

    def least(self, start: datetime, end: datetime) -> int:
        """The least number over `[start, end)`."""
        least = self.at(start)
        for time, value in self.steps():
            if start < time < end:
                least = min(least, value)
        return least


def same_gender(one: Gender, other: Gender) -> bool:
    """Whether two patients may share a one-gender room, or a patient take a place of that gender."""
    return one is other or is_wildcard(one) or is_wildcard(other)


class Ground:
    """A unit's room for claims at an instant. What all grounds share: the level of the whole unit."""

    levels: Levels

    def __init__(self, now: datetime) -> None:
        self.now = now

    def spot(
        self,
        gender: Gender,
        required: frozenset[Feature],
        wished: frozenset[Feature],
        start: datetime,
        end: datetime,
        *,
        bed: str | None = None,
    ) -> Spot | None:
        """The best spot for that patient over `[start, end)`, on that bed if one is said; None: there is none."""
        raise NotImplementedError

    def keeps(self, claim: Claim, gender: Gender, start: datetime, end: datetime) -> bool:
        """Whether a claim may stay where it is over `[start, end)`."""
        raise NotImplementedError

    def add(self, take: Take) -> None:
        """Takes something more."""
        raise NotImplementedError


class BedGround(Ground):
    """Where beds have identity. A patient whose bed is not known is loose: it takes one of them, nobody knows which."""

    def __init__(self, unit: Unit, book: UnitBook, now: datetime) -> None:
        super().__init__(now)
        self._unit = unit
        self._rooms = book.rooms
        self._known = book.beds
        self.beds: dict[str, Bed] = {
            bed.id: bed
            for bed in book.beds.values()
            if bed.supplementary in (None, SupplementaryKind.MOBILISED) and not bed.leaving
        }
        self.on: dict[str, list[Take]] = {bed: [] for bed in self.beds}
        self.sharing: dict[str, list[Take]] = {}
        """Patients of each one-gender room."""
        self.levels = Levels(len(self.beds))

    def features(self, bed: Bed) -> frozenset[Feature]:
        """All that a bed has: its own, its unit's, and its room to itself."""
        room = self._rooms.get(bed.room)
        own = self._unit.features | bed.features
        return own | {Feature.SINGLE_ROOM} if room is not None and room.rule is RoomRule.SINGLE else own

    def feature_list(self, bed: Bed) -> tuple[Feature, ...]:
        """As `features`, in the order of their names: the class of places that the bed belongs to."""
        return tuple(sorted(self.features(bed)))

    def add(self, take: Take) -> None:
        """See `Ground`.

        What takes a bed a second time at the same instant counts loose beside it, if it is a patient.
        """
        bed = self._known.get(take.bed or "")
        if bed is None:
            # The closure of a bed that the unit has no more is nobody's loss; a patient in one is somewhere.
            if take.bed is None or take.what is not What.CLOSURE:
                self.levels.add(take.start, take.end, -take.number)
            return
        patient = take.what in (What.STAY, What.EXPECTED)
        room = self._rooms.get(bed.room)
        if room is not None and room.rule is RoomRule.ONE_GENDER and (patient or take.what is What.CLAIM):
            self.sharing.setdefault(room.id, []).append(take)
        held = self.on.get(bed.id)
        if held is None:
            return  # a bed that is not open is nobody's loss
        for start, end in gaps(take.start, take.end, held):
            self.levels.add(start, end, -1)
        if patient and held:
            for other in held:
                if other.what in (What.STAY, What.EXPECTED) and take.overlaps(other.start, other.end):
                    self.levels.add(max(take.start, other.start), min(take.end, other.end), -1)
        held.append(take)

    def is_free(self, bed: Bed, gender: Gender, start: datetime, end: datetime) -> bool:
        """Whether nothing takes the bed over `[start, end)` and its gender and room suit the patient."""
        return (
            same_gender(bed.gender, gender)
            and not any(take.overlaps(start, end) for take in self.on[bed.id])
            and all(
                same_gender(take.gender, gender)
                for take in self.sharing.get(bed.room, ())
                if take.bed != bed.id and take.overlaps(start, end)
            )
        )

    def spot(
        self,
        gender: Gender,
        required: frozenset[Feature],
        wished: frozenset[Feature],
        start: datetime,
        end: datetime,
        *,
        bed: str | None = None,
    ) -> Spot | None:
        """See `Ground`. Of the beds that fit: most wishes met, least that nobody asked for, a room already shared."""
        if self.levels.least(start, end) < 1:
            return None
        best: tuple[tuple[int, int, int, str], str] | None = None
        for candidate in self.beds.values() if bed is None else filter(None, (self.beds.get(bed),)):
            features = self.features(candidate)
            if not required <= features or not self.is_free(candidate, gender, start, end):
                continue
            spare = len(features - required - wished) + (not is_wildcard(candidate.gender) and is_wildcard(gender))
            alone = 0 if is_wildcard(gender) else not self.sharing.get(candidate.room)
            rank = (-len(features & wished), spare, alone, candidate.id)
            if best is None or rank < best[0]:
                best = rank, candidate.id
        return None if best is None else Spot(best[1], None)

    def keeps(self, claim: Claim, gender: Gender, start: datetime, end: datetime) -> bool:
        """See `Ground`."""
        bed = self.beds.get(claim.bed or "")
        return bed is not None and self.levels.least(start, end) >= 1 and self.is_free(bed, gender, start, end)


def _by_start(take: Take) -> datetime:
    return take.start


def gaps(start: datetime, end: datetime, held: list[Take]) -> Iterator[tuple[datetime, datetime]]:
    """The parts of `[start, end)` during which nothing of `held` takes the bed."""
    for other in sorted(held, key=_by_start) if len(held) > 1 else held:
        if other.end <= start:
            continue
        if other.start >= end:
            break
        if other.start > start:
            yield start, other.start
        start = max(start, other.end)
    if start < end:
        yield start, end


class PlaceGround(Ground):
    """Where places are only counted, by gender: a patient takes one of its own gender first, then an indifferent
    one.
    """

    def __init__(self, unit: Unit, book: UnitBook, now: datetime) -> None:
        super().__init__(now)
        self.features = tuple(sorted(unit.features))
        """What each place has, in the order of names."""
        self.open: dict[Gender, int] = {places.gender: places.open for places in book.places.values()}
        self.unnamed: dict[Gender, int] = {places.gender: places.unnamed for places in book.places.values()}
        self.by_gender: dict[Gender, Levels] = {gender: Levels(count) for gender, count in self.open.items()}
        self.levels = Levels(sum(self.open.values()))
        self._stays: dict[Gender, Levels] = {gender: Levels(self.unnamed[gender]) for gender in self.open}

    def settle(self) -> None:
        """Counts the occupants, once all stays are in: those that are named and those that are not, never below
        zero.
        """
        for gender, stays in self._stays.items():
            steps = stays.steps()
            for (start, count), (end, _) in zip(steps, [*steps[1:], (NEVER, 0)], strict=True):
                occupied = max(0, count)
                if occupied:
                    self.by_gender[gender].add(start, end, -occupied)
                    self.levels.add(start, end, -occupied)

    def occupied(self, gender: Gender, instant: datetime) -> int:
        """How many places of that gender are occupied at an instant."""
        return max(0, self._stays[gender].at(instant))

    def add(self, take: Take) -> None:
        """See `Ground`."""
        place = take.place
        if place is None or place not in self.by_gender:
            self.levels.add(take.start, take.end, -take.number)
        elif take.what is What.STAY:
            self._stays[place].add(take.start, take.end, take.number)
        else:
            self.by_gender[place].add(take.start, take.end, -take.number)
            self.levels.add(take.start, take.end, -take.number)

    def places_for(self, gender: Gender) -> list[Gender]:
        """Which places suit a patient, in the order in which they are taken."""
        wanted = (Gender.ANY, Gender.FEMALE, Gender.MALE) if is_wildcard(gender) else (gender, Gender.ANY)
        return [place for place in wanted if place in self.by_gender]

    def spot(
        self,
        gender: Gender,
        required: frozenset[Feature],
        wished: frozenset[Feature],
        start: datetime,
        end: datetime,
        *,
        bed: str | None = None,
    ) -> Spot | None:
        """See `Ground`."""
        if bed is not None or not required.issubset(self.features) or self.levels.least(start, end) < 1:
            return None
        for place in self.places_for(gender):
            if self.by_gender[place].least(start, end) >= 1:
                return Spot(None, place)
        return None

    def keeps(self, claim: Claim, gender: Gender, start: datetime, end: datetime) -> bool:
        """See `Ground`."""
        return (
            claim.place in self.by_gender
            and self.levels.least(start, end) >= 1
            and self.by_gender[claim.place].least(start, end) >= 1
        )


def _seen(unit: Unit, book: UnitBook, now: datetime, *, keeping: bool) -> Iterator[Take]:
    """What a grant must respect. A person's word that more is free than is seen is shown; nothing is granted on it."""
    return (take for take in takes(unit, book, now, keeping=keeping) if take.number > 0)


def _place_ground(unit: Unit, book: UnitBook, now: datetime, *, keeping: bool) -> PlaceGround:
    laid = PlaceGround(unit, book, now)
    for take in _seen(unit, book, now, keeping=keeping):
        laid.add(take)
    laid.settle()
    return laid


def ground(
    unit: Unit,
    book: UnitBook,
    now: datetime,
    *,
    claims: bool = True,
    with_conflicts: bool = False,
    without: str = "",
    keeping: bool = False,
) -> BedGround | PlaceGround:
    """The ground of a unit now. `without`: the key of a reservation that is not counted.

    `claims` False: reality alone.
    """
    laid: BedGround | PlaceGround
    if unit.counting is Counting.BEDS:
        laid = BedGround(unit, book, now)
        for take in _seen(unit, book, now, keeping=keeping):
            laid.add(take)
    else:
        laid = _place_ground(unit, book, now, keeping=keeping)
    if claims:
        for take in claim_takes(unit, book, with_conflicts=with_conflicts, without=without, keeping=keeping):
            laid.add(take)
    return laid


def span(claim: Claim, unit: Unit, now: datetime, *, turnover: bool = True) -> tuple[datetime, datetime]:
    """What is left of a claim's interval: from now on, and with the turnover that follows it."""
    pause = timedelta(minutes=unit.policy.turnover_minutes) if turnover else timedelta(0)
    return max(claim.start, now), NEVER if claim.end is None else claim.end + pause


def in_conflict(book: UnitBook, start: datetime, end: datetime, but: str = "") -> Conflict | None:
    """The first open conflict of the unit that shares an instant with `[start, end)`, other than that of reservation
    `but`.
    """
    for conflict in book.conflicts.values():
        if conflict.reservation != but and conflict.start < end and (conflict.end is None or start < conflict.end):
            return conflict
    return None


def precedence(reservation: Reservation) -> tuple[bool, datetime, str]:
    """Whose claim stands first where not all can: confirmed before held, then the one granted first."""
    is_held = reservation.state is ReservationState.HELD
    return is_held, reservation.granted or reservation.created, reservation.key


def spot_for_patient(unit: Unit, book: UnitBook, gender: Gender, now: datetime, end: datetime | None) -> Spot:
    """Where a patient who is here, and whose place nobody said, is put: a counted place; a bed is not guessed."""
    if unit.counting is Counting.BEDS:
        return Spot(None, None)
    laid = _place_ground(unit, book, now, keeping=True)
    wanted = laid.places_for(gender) or list(laid.by_gender)
    until = end or NEVER
    for place in wanted:
        if laid.by_gender[place].least(now, until) >= 1:
            return Spot(None, place)
    return Spot(None, wanted[0] if wanted else None)
