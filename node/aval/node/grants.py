"""Granting: a bed is promised, by a person or by the unit's policy, or nothing is.

A grant never moves others. Where a conflict of the unit is open over the interval, nothing is granted. An offer
never goes out without a bed behind it; its tag covers a number that never comes twice, so an old confirmation can
never meet a new offer that looks the same.
"""

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from hashlib import sha256

from msgspec.structs import replace

from aval.kernel.lifecycle import ReservationState
from aval.kernel.need import Feature, Need
from aval.kernel.reasons import Reason, Refusal
from aval.kernel.statuses import Gender
from aval.node.book import Draft, View
from aval.node.claims import NEVER, BedGround, ground, in_conflict
from aval.node.conflicts import end_conflict
from aval.node.model import Claim, Offer, Reservation, Unit
from aval.node.policy import first_open, hold_deadline, hold_ttl, holds_at_once, may_grant_alone

ARRIVALS_TRIED_MAX = 64
"""As many as a unit publishes steps: at each of them a bed may become free."""


def arrivals_of(view: View, unit: Unit, need: Need, now: datetime) -> Iterator[datetime]:
    """The arrivals worth trying for a need: the earliest that the unit admits, then each instant at which more is
    free.
    """
    first = first_open(max(need.arrival_earliest, now), unit.policy.admission_hours, unit.policy, view.zone)
    if first > need.arrival_latest:
        return
    yield first
    steps = ground(unit, view.book(unit.id), now).levels.steps()
    later = (time for time, _ in steps if first < time <= need.arrival_latest)
    for tried, step in enumerate(later, start=2):
        arrival = first_open(step, unit.policy.admission_hours, unit.policy, view.zone)
        if arrival > need.arrival_latest or tried > ARRIVALS_TRIED_MAX:
            return
        yield arrival


def find_claim(
    view: View,
    unit: Unit,
    need: Need,
    arrivals: Iterable[datetime],
    now: datetime,
    *,
    required: frozenset[Feature],
    bed: str | None = None,
    without: str = "",
    keep_free: int = 0,
) -> Claim:
    """The claim that can be granted at the first of `arrivals` at which one can. Raises NO_BED or CONFLICT_OPEN.

    `without`: a reservation whose own claim does not count. `keep_free`: so many places are to be left besides.
    """
    book = view.book(unit.id)
    laid = ground(unit, book, now, without=without)
    pause = timedelta(minutes=unit.policy.turnover_minutes)
    blocked = None
    for arrival in arrivals:
        start = max(arrival, now)
        end = None if need.stay_max is None else start + need.stay_max
        until = NEVER if end is None else end + pause
        conflict = in_conflict(book, start, until, but=without)
        if conflict is not None:
            blocked = conflict
            continue
        spot = laid.spot(need.gender, required, need.wished, start, until, bed=bed)
        if spot is not None and laid.levels.least(start, until) > keep_free:
            return Claim(unit.id, start, end, spot.bed, spot.place)
    if blocked is not None:
        raise Refusal(Reason.CONFLICT_OPEN, {"unit": unit.id, "conflict": blocked.id})
    raise Refusal(Reason.NO_BED, {"unit": unit.id})


def make_offer(draft: Draft, reservation: Reservation, unit: Unit, claim: Claim, ttl: timedelta) -> Offer:
    """The offer of a claim, with a new number and tag."""
    number = draft.mint()
    seed = f"{draft.incarnation}/{number}/{reservation.key}".encode()
    bed = None if claim.bed is None else draft.bed(unit.id, claim.bed)
    features, gender, room = unit.features, claim.place or Gender.ANY, ""
    if bed is not None:
        laid = BedGround(unit, draft.book(unit.id), claim.start)
        features, gender, room = laid.features(bed), bed.gender, bed.room
    need = reservation.need
    differs = (
        unit.id != reservation.unit
        or not need.required | need.wished <= features
        or not need.arrival_earliest <= claim.start <= need.arrival_latest
    )
    tag = sha256(seed).digest()[:16]
    return Offer(unit.id, claim.start, claim.end, gender, features, room, ttl, number, tag, counter_offer=differs)


def hold(
    draft: Draft, reservation: Reservation, unit: Unit, claim: Claim, ttl: timedelta, now: datetime, *, automatic: bool
) -> Reservation:
    """Grants a claim: HELD, with a new offer, until its time."""
    end_conflict(draft, reservation)
    held = replace(
        reservation,
        state=ReservationState.HELD,
        claim=claim,
        offer=make_offer(draft, reservation, unit, claim, ttl),
        expire_time=hold_deadline(unit, ttl, now, draft.zone),
        ending=None,
        granted=now,
        automatic=automatic,
        waiting=None,
        late=False,
    )
    return draft.put_reservation(held)


def automatic_today(view: View, unit: Unit, now: datetime) -> int:
    """How many automatic holds the unit has granted on the house's present day."""
    zone = view.zone
    today = now.astimezone(zone).date()
    return sum(granted.astimezone(zone).date() == today for granted in view.book(unit.id).automatic.values())


def hold_by_policy(draft: Draft, reservation: Reservation, unit: Unit, now: datetime) -> Reservation | None:
    """Holds at once if the policy allows it and a bed fits; else None, and a person answers."""
    need = reservation.need
    if not holds_at_once(unit, need, reservation.mode, automatic_today(draft, unit, now), now, draft.zone):
        return None
    return _hold_alone(draft, reservation, unit, now, unit.policy.automatic.keep_free)


def _hold_alone(
    draft: Draft, reservation: Reservation, unit: Unit, now: datetime, keep_free: int
) -> Reservation | None:
    if draft.book(unit.id).reconciling is not None:
        return None  # nobody knows yet what is free there
    need = reservation.need
    arrivals = arrivals_of(draft, unit, need, now)
    try:
        claim = find_claim(draft, unit, need, arrivals, now, required=need.required, keep_free=keep_free)
    except Refusal:
        return None
    ttl = hold_ttl(unit, reservation.ttl_wished)
    return hold(draft, reservation, unit, claim, ttl, now, automatic=True)


def waiting_list(view: View, unit_id: str) -> list[Reservation]:
    """The waiting list of a unit, in its order."""
    waiting = [r for r in view.book(unit_id).demands.values() if r.waiting is not None]
    return sorted(waiting, key=lambda r: r.waiting or 0)


def waiting_rank(view: View, reservation: Reservation) -> int:
    """Rank of a reservation in its unit's waiting list, from 1; 0 when it does not wait."""
    if reservation.waiting is None:
        return 0
    line = view.book(reservation.unit).demands.values()
    return sum(r.waiting is not None and r.waiting <= reservation.waiting for r in line)


def proposals(view: View, unit_id: str, now: datetime) -> tuple[str, ...]:
    """Keys of those on the waiting list for whom a bed is free now, in list order: what is proposed to staff."""
    unit = view.unit(unit_id)
    if unit is None:
        return ()
    return tuple(r.key for r in waiting_list(view, unit_id) if _could_hold(view, unit, r, now))


def _could_hold(view: View, unit: Unit, reservation: Reservation, now: datetime) -> bool:
    need = reservation.need
    try:
        find_claim(view, unit, need, arrivals_of(view, unit, need, now), now, required=need.required)
    except Refusal:
        return False
    return True


def grant_waiting_list(draft: Draft, unit_id: str, now: datetime) -> None:
    """Grants what is free to the waiting list, in its order, where the unit's policy says so.

    Permanent places never.
    """
    unit = draft.unit(unit_id)
    if unit is None or not unit.policy.grant_waiting_list:
        return
    for reservation in waiting_list(draft, unit_id):
        if may_grant_alone(unit, reservation.need):
            _hold_alone(draft, reservation, unit, now, 0)
