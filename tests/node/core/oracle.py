"""What must be true of a ledger's facts, recomputed from them alone: written apart from the code that it judges."""

from datetime import UTC, datetime, timedelta
from typing import TypeVar

from aval.kernel.lifecycle import ReservationState
from aval.kernel.statuses import Counting, Gender, RoomRule, SupplementaryKind
from aval.node.ledger import Ledger
from aval.node.model import Bed, Claim, Closure, Conflict, Doubt, Expected, Kind, Places, Reservation, Room, Stay, Unit

FAR = datetime.max.replace(tzinfo=UTC)
PAST = datetime.min.replace(tzinfo=UTC)

Span = tuple[datetime, datetime]
F = TypeVar("F")


def _all(ledger: Ledger, kind: Kind, fact_type: type[F]) -> dict[str, F]:
    return {key: fact for key, fact in ledger.all(kind).items() if isinstance(fact, fact_type)}


def _meets(one: Span, other: Span) -> bool:
    return max(one[0], other[0]) < min(one[1], other[1])


def _apart(one: Gender, other: Gender) -> bool:
    return {one, other} == {Gender.FEMALE, Gender.MALE}


def stay_span(stay: Stay, unit: Unit, now: datetime) -> Span | None:
    """When a patient is in the unit, trusting what was announced until it slips."""
    start = PAST
    if stay.on_leave and not stay.keep_bed:
        if stay.return_time is None:
            return None
        start = stay.return_time
    end = stay.departure or stay.stay_end
    late = end is None or stay.slipped or end + timedelta(minutes=unit.policy.turnover_minutes) <= now
    return start, FAR if late or end is None or end <= start else end


def closure_span(closure: Closure, now: datetime) -> Span:
    """When beds are closed: past the planned end, until somebody opens them."""
    return closure.start, FAR if closure.reopening_asked or closure.end <= now else closure.end


def expected_span(expected: Expected) -> Span:
    """When a patient that the house expects is there: for good, if the departure that was told is past by then."""
    leaves = expected.departure is not None and expected.departure > expected.arrival
    return expected.arrival, (expected.departure if leaves else None) or FAR


def check(ledger: Ledger, now: datetime) -> None:
    """Invariant 1, and that what is said to be in conflict is, and nothing else."""
    reservations = _all(ledger, Kind.RESERVATION, Reservation)
    conflicts = _all(ledger, Kind.CONFLICT, Conflict)
    in_conflict = {conflict.reservation for conflict in conflicts.values()}
    assert len(in_conflict) == len(conflicts), "one conflict a reservation"
    covered = {doubt.presumed for doubt in _all(ledger, Kind.DOUBT, Doubt).values() if doubt.answered is None}
    for key in in_conflict:
        claim = reservations[key].claim
        assert reservations[key].state.takes_claim, "a conflict of a reservation without claim"
        assert claim is not None
        assert not claim.is_placed, "a conflict of a claim that has a bed"
    for unit in _all(ledger, Kind.UNIT, Unit).values():
        claims: list[tuple[Reservation, Claim, Span]] = []
        for key, reservation in reservations.items():
            claim = reservation.claim
            if not reservation.state.takes_claim or claim is None or claim.unit != unit.id or key in covered:
                continue
            span = (max(claim.start, now), claim.end or FAR)
            if not claim.is_placed:
                assert key in in_conflict or span[0] >= span[1], f"{key} has no bed, and nobody is told"
            elif span[0] < span[1]:
                claims.append((reservation, claim, span))
        if unit.counting is Counting.BEDS:
            _check_beds(ledger, unit, claims, now)
        else:
            _check_places(ledger, unit, claims, now)


def _check_beds(ledger: Ledger, unit: Unit, claims: list[tuple[Reservation, Claim, Span]], now: datetime) -> None:
    beds = {bed.id: bed for bed in _all(ledger, Kind.BED, Bed).values() if bed.unit == unit.id}
    rooms = {room.id: room for room in _all(ledger, Kind.ROOM, Room).values() if room.unit == unit.id}
    patients: list[tuple[str | None, Gender, Span]] = []
    for stay in _all(ledger, Kind.STAY, Stay).values():
        span = stay_span(stay, unit, now)
        if stay.unit == unit.id and span is not None:
            away = stay.on_leave and not stay.keep_bed
            patients.append((None if away else stay.bed, stay.gender, span))
    patients += [
        (expected.bed, expected.gender, expected_span(expected))
        for expected in _all(ledger, Kind.EXPECTED, Expected).values()
        if expected.unit == unit.id
    ]
    shut = [
        (bed, closure_span(closure, now))
        for closure in _all(ledger, Kind.CLOSURE, Closure).values()
        if closure.unit == unit.id
        for bed in closure.beds
    ]
    held = [(claim.bed, reservation.need.gender, span) for reservation, claim, span in claims]
    for index, (reservation, claim, span) in enumerate(claims):
        bed = beds[claim.bed or ""]
        gender = reservation.need.gender
        name = f"{reservation.key} on {bed.id}"
        assert bed.supplementary in (None, SupplementaryKind.MOBILISED), f"{name}: not there"
        assert not bed.leaving, f"{name}: no more declared"
        assert not _apart(bed.gender, gender), f"{name}: gender of the bed"
        others = patients + held[:index] + held[index + 1 :]
        for other, other_gender, other_span in others:
            if not _meets(span, other_span):
                continue
            assert other != bed.id, f"{name}: taken twice"
            if other in beds and beds[other].room == bed.room and rooms[bed.room].rule is RoomRule.ONE_GENDER:
                assert not _apart(gender, other_gender), f"{name}: gender of the room"
        assert not any(b == bed.id and _meets(span, s) for b, s in shut), f"{name}: closed"
        for at in _instants(span, [s for _, _, s in others] + [s for _, s in shut]):
            inside = [(b, g) for b, g, s in patients + held if s[0] <= at < s[1]]
            closed = {b for b, s in shut if s[0] <= at < s[1]}
            there = [
                b.id for b in beds.values() if b.supplementary in (None, SupplementaryKind.MOBILISED) and not b.leaving
            ]
            taken = {b for b, _ in inside if b in there} | (closed & set(there))
            nowhere = sum(b is None or b not in beds for b, _ in inside)
            nowhere += sum(max(0, sum(b == one for b, _ in inside) - 1) for one in there)
            assert len(there) - len(taken) - nowhere >= 0, f"{name}: more patients than beds at {at}"


def _check_places(ledger: Ledger, unit: Unit, claims: list[tuple[Reservation, Claim, Span]], now: datetime) -> None:
    places = {p.gender: p for p in _all(ledger, Kind.PLACES, Places).values() if p.unit == unit.id}
    stays = [stay for stay in _all(ledger, Kind.STAY, Stay).values() if stay.unit == unit.id]
    expected = [e for e in _all(ledger, Kind.EXPECTED, Expected).values() if e.unit == unit.id]
    closures = [cl for cl in _all(ledger, Kind.CLOSURE, Closure).values() if cl.unit == unit.id]
    spans = [span for stay in stays if (span := stay_span(stay, unit, now)) is not None]
    spans += [expected_span(e) for e in expected] + [closure_span(cl, now) for cl in closures]
    spans += [span for _, _, span in claims]
    for reservation, claim, span in claims:
        gender, place = reservation.need.gender, claim.place
        assert place in places, f"{reservation.key}: no such place"
        assert not _apart(gender, place), f"{reservation.key}: gender of the place"
        for at in _instants(span, spans):

            def count(wanted: Gender, at: datetime = at) -> int:
                inside = sum(
                    stay.place is wanted and s[0] <= at < s[1]
                    for stay in stays
                    if (s := stay_span(stay, unit, now)) is not None
                )
                free = places[wanted].open - max(0, inside + places[wanted].unnamed)
                free -= sum(e.place is wanted and expected_span(e)[0] <= at < expected_span(e)[1] for e in expected)
                free -= sum(cl.place is wanted and s[0] <= at < s[1] for _, cl, s in claims)
                return free - sum(
                    n
                    for closure in closures
                    for g, n in closure.places
                    if g is wanted and closure_span(closure, now)[0] <= at < closure_span(closure, now)[1]
                )

            assert count(place) >= 0, f"{reservation.key}: {place} overfull at {at}"


def _instants(span: Span, others: list[Span]) -> list[datetime]:
    """The start of a span, and each instant within it at which something changes."""
    return [span[0], *(at for other in others for at in other if span[0] < at < span[1])]


def is_final(state: ReservationState) -> bool:
    """Said again here: the oracle asks nobody."""
    return state in (ReservationState.DECLINED, ReservationState.RELEASED, ReservationState.EXPIRED)
