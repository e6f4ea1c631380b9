"""A node put back to an earlier state: what stands, what is put back, what waits for a person (MODELCHECK §3, T8)."""

from __future__ import annotations

from dataclasses import replace as with_values
from typing import Any

import pytest
from msgspec.structs import replace

from aval.kernel.lifecycle import (
    DeclineReason,
    NoteVerdict,
    ReleaseReason,
    ReservationState,
    WaitlistReason,
    WithdrawReason,
)
from aval.kernel.need import Mode
from aval.kernel.reasons import Reason
from aval.kernel.statuses import Answering, ConflictCause
from aval.node import commands as c
from aval.node.ledger import Ledger
from aval.node.model import SELF, Admission, Change, Kind, NotePolicy, Policy, Reservation, Restore
from tests.node.core.house import AUTOMATIC, BEDS, DAY, HOUR, PLACES, STAFF, TERRITORY, House, house

S = ReservationState
BEFORE, AFTER = 7, 8
"""The incarnations of a house before and after its restore."""
R = "r1"
LIVE = tuple(state for state in S if state.is_live)


def reach(at: House, state: S | None, reservation: str = R, unit: str = BEDS) -> None:
    """Brings a reservation of the house to that state; None leaves it unknown."""
    if state is None:
        return
    mode = Mode.HOLD if state in (S.HELD, S.CONFIRMED, S.EXPIRED) else Mode.ASK
    at.create(reservation, unit, mode=mode, stay_max=3 * DAY)
    offer = at.reservation(reservation).offer
    match state:
        case S.WAITLISTED:
            at.say(c.WaitlistReservation, reservation=reservation, reason=WaitlistReason.NO_BED_YET)
        case S.CONFIRMED:
            assert offer is not None
            at.say(c.ConfirmReservation, reservation=reservation, offer_tag=offer.tag)
        case S.ADMITTED:
            at.say(c.AdmitReservation, reservation=reservation)
        case S.DECLINED:
            at.say(c.DeclineReservation, reservation=reservation, reason=DeclineReason.OTHER)
        case S.RELEASED:
            at.say(c.ReleaseReservation, reservation=reservation, reason=ReleaseReason.PATIENT_REFUSED)
        case S.EXPIRED:
            at.later(2 * HOUR)
    assert at.state(reservation) == state.value


def restored(at: House, heard: int = BEFORE, incarnation: int | None = AFTER) -> c.Decision:
    """The hub's cursor showed that this house was put back."""
    decision = at.decide(c.Reconcile(heard, incarnation))
    if decision.incarnation is not None:
        at.ledger.incarnation = decision.incarnation
    return decision


def known(state: S, unit: str = BEDS, reservation: str = R) -> Reservation:
    """What the hub knows of a reservation in that state, as another house has lived it."""
    elsewhere = house()
    reach(elsewhere, state, reservation, unit)
    fact = elsewhere.reservation(reservation)
    claim = fact.claim
    if claim is not None:
        claim = replace(claim, bed=None, place=None)
    return replace(fact, content=b"", claim=claim, stay="", granted=None, waiting=None, last_number=4)


def reinstate(at: House, told: Reservation, heard: int = BEFORE, **fields: Any) -> c.Verdict:
    """What the hub knew, said to the house."""
    return at.say(c.Reinstate, reservation=told.id, known=told, heard=heard, number=told.last_number, **fields)


# Every pair of (what the restored node has, what the hub knows): which of the two stands.
HUB, NODE = "the hub's", "the node's"
TABLE = {
    (found, told): (
        HUB
        if found is None
        or (found.is_live and LIVE.index(found) <= LIVE.index(told))
        or (found is S.EXPIRED and told in (S.CONFIRMED, S.ADMITTED))
        else NODE
    )
    for found in (None, *S)
    for told in LIVE
}
NAMED = {
    (None, S.CONFIRMED): HUB, (None, S.ADMITTED): HUB, (None, S.HELD): HUB, (None, S.ASKED): HUB,
    (S.HELD, S.CONFIRMED): HUB, (S.ASKED, S.HELD): HUB, (S.CONFIRMED, S.ADMITTED): HUB,
    (S.ADMITTED, S.CONFIRMED): NODE, (S.CONFIRMED, S.HELD): NODE, (S.HELD, S.ASKED): NODE,
    (S.EXPIRED, S.CONFIRMED): HUB, (S.EXPIRED, S.ADMITTED): HUB, (S.EXPIRED, S.HELD): NODE,
    (S.RELEASED, S.CONFIRMED): NODE, (S.DECLINED, S.ASKED): NODE,
}  # fmt: skip
"""The rows of T8a, written out: the table above must agree with them."""


def test_the_table_says_what_t8a_says() -> None:
    assert NAMED.items() <= TABLE.items()


@pytest.mark.parametrize(("found", "told"), TABLE)
def test_what_stands_after_a_reinstatement(found: S | None, told: S) -> None:
    at = house()
    reach(at, found)
    restored(at)
    verdict = reinstate(at, known(told))
    stands = at.state(R)
    if TABLE[found, told] == HUB:
        assert verdict.refusal is None
        assert stands == told.value
    else:
        assert found is not None
        assert verdict.refusal is not None
        assert verdict.refusal.reason is Reason[f"ALREADY_{found.value}"]
        assert stands == found.value
    written = at.book().reinstated[f"{TERRITORY}/{R}"]
    assert (written.found, written.known, written.taken) == (found, told, TABLE[found, told] == HUB)


def fill(at: House, unit: str = BEDS) -> None:
    """Somebody in every bed of the unit."""
    if unit == BEDS:
        for bed in ("b1", "b2", "b3", "b4", "b5"):
            at.move(Admission(BEDS, bed), f"stay-{bed}")
    else:
        at.say(
            c.DeclareCounts,
            unit=PLACES,
            stale_sources=frozenset({"his"}),
            places=tuple(
                c.DeclaredPlaces(places.gender, places.open, places.open) for places in at.book(PLACES).places.values()
            ),
        )


@pytest.mark.parametrize("told", [S.HELD, S.CONFIRMED, S.ADMITTED])
@pytest.mark.parametrize("unit", [BEDS, PLACES])
def test_without_a_free_bed_it_is_in_conflict(told: S, unit: str) -> None:
    at = house()
    restored(at)
    fill(at, unit)
    assert reinstate(at, known(told, unit)).refusal is None
    assert at.state(R) == told.value
    (conflict,) = at.book(unit).conflicts.values()
    assert conflict.cause is ConflictCause.REINSTATED
    assert conflict.reservation == f"{TERRITORY}/{R}"
    assert at.book(unit).reinstated[conflict.reservation].conflict


def test_in_a_unit_that_the_backup_lacks_it_is_in_conflict_until_the_unit_is_declared() -> None:
    at = House()
    restored(at)
    reinstate(at, known(S.CONFIRMED))
    assert at.book().conflicts
    assert at.book().reconciling is not None
    at.ledger.apply(house().ledger.decide(c.Tick(), at.now).changes)
    declared = next(one for one in house().log if isinstance(one, c.DeclareUnit) and one.unit.id == BEDS)
    at.decide(with_values(declared, command_id="again"))
    assert not at.book().conflicts
    assert at.bed_of(R) is not None


def test_the_bed_that_it_had_is_taken_again_if_it_is_free() -> None:
    at = house()
    reach(at, S.HELD)
    bed = at.bed_of(R)
    restored(at)
    reinstate(at, known(S.CONFIRMED))
    assert at.bed_of(R) == bed


def test_a_patient_who_came_into_another_unit_stays_one_patient() -> None:
    """Met in a run: the admission was put back into a second stay, in the unit that had been asked."""
    at = house()
    reach(at, S.CONFIRMED, unit=PLACES)
    at.move(Admission(BEDS, "b2"), "s1")
    at.say(c.AdmitReservation, reservation=R, stay="s1")
    restored(at)
    assert reinstate(at, known(S.ADMITTED, PLACES)).refusal is None
    stays = at.ledger.all(Kind.STAY)
    assert list(stays) == ["s1"]
    assert at.reservation(R).stay == "s1"


def test_a_hold_is_confirmed_by_the_tag_that_the_hub_knows() -> None:
    at = house()
    restored(at)
    told = known(S.HELD)
    reinstate(at, told)
    assert told.offer is not None
    at.numbers[R] = told.last_number
    assert at.say(c.ConfirmReservation, reservation=R, offer_tag=told.offer.tag).refusal is None
    assert at.state(R) == S.CONFIRMED.value


def test_commands_are_counted_on_from_where_the_hub_stood() -> None:
    at = house()
    reach(at, S.HELD)
    restored(at)
    told = known(S.CONFIRMED)
    reinstate(at, told)
    late = at.say(c.ReleaseReservation, reservation=R, reason=ReleaseReason.OTHER, number=told.last_number)
    assert late.replayed
    assert at.state(R) == S.CONFIRMED.value
    at.say(c.ReleaseReservation, reservation=R, reason=ReleaseReason.OTHER, number=told.last_number + 1)
    assert at.state(R) == S.RELEASED.value


def test_what_the_node_counts_farther_stays_counted() -> None:
    at = house()
    reach(at, S.HELD)
    held = at.reservation(R)
    at.ledger.apply([Change(Kind.RESERVATION, held.key, replace(held, last_number=9))])
    restored(at)
    reinstate(at, known(S.CONFIRMED))
    assert at.reservation(R).last_number == 9


def test_a_withdrawal_since_the_restore_stays() -> None:
    at = house()
    reach(at, S.CONFIRMED)
    restored(at)
    at.say(c.WithdrawReservation, reservation=R, reason=WithdrawReason.STAFF_MISSING)
    refusal = reinstate(at, known(S.CONFIRMED)).refusal
    assert refusal is not None
    assert refusal.reason is Reason.ALREADY_RELEASED
    assert at.state(R) == S.RELEASED.value


def test_what_people_offered_anew_since_the_restore_stays() -> None:
    at = house()
    reach(at, S.HELD)
    restored(at)
    at.later(HOUR / 4)
    at.say(c.ReofferReservation, reservation=R, bed="b4")
    offer = at.reservation(R).offer
    assert reinstate(at, known(S.HELD)).refusal is None
    assert at.reservation(R).offer == offer


def test_the_same_reinstatement_again_is_answered_and_changes_nothing() -> None:
    at = house()
    restored(at)
    told = known(S.CONFIRMED)
    first = reinstate(at, told, command_id="x", content=b"x")
    at.say(c.WithdrawReservation, reservation=R, reason=WithdrawReason.OTHER)
    again = reinstate(at, told, command_id="x", content=b"x")
    assert first.refusal is None
    assert again.replayed
    assert at.state(R) == S.RELEASED.value


def test_what_was_heard_in_the_present_history_is_never_put_back() -> None:
    at = house()
    reach(at, S.EXPIRED)
    refusal = reinstate(at, known(S.CONFIRMED)).refusal
    assert refusal is not None
    assert refusal.reason is Reason.NOT_RESTORED
    assert at.state(R) == S.EXPIRED.value


def test_its_creation_said_again_is_known() -> None:
    at = house()
    restored(at)
    reinstate(at, known(S.CONFIRMED))
    at.numbers[R] = 0
    assert at.create(R).refusal is None
    assert at.state(R) == S.CONFIRMED.value
    at.numbers[R] = 0
    refusal = at.create(R, content=b"something else").refusal
    assert refusal is not None
    assert refusal.reason is Reason.ID_REUSED


# --- entering and leaving --------------------------------------------------------------------------------------------


def test_a_restore_is_a_committed_fact_of_the_house_and_of_each_unit() -> None:
    at = house()
    decision = restored(at)
    assert decision.incarnation == AFTER
    assert decision.units == {BEDS, PLACES}
    assert at.ledger.find(Kind.RESTORE, SELF) == Restore(AFTER, at.now, (BEFORE,))
    read_again = Ledger(at.ledger.facts, AFTER)
    assert read_again.book(BEDS).reconciling is not None


@pytest.mark.parametrize("heard", [BEFORE, 99])
def test_a_history_known_to_be_over_is_no_news(heard: int) -> None:
    at = house()
    restored(at, heard)
    again = restored(at, heard, 9)
    assert again.incarnation is None
    assert not again.changes


def test_a_second_restore_is_another_history() -> None:
    at = house()
    restored(at)
    assert restored(at, AFTER, 9).incarnation == 9
    restore = at.ledger.restore
    assert restore is not None
    assert set(restore.past) == {BEFORE, AFTER}


def test_nothing_is_granted_alone_until_a_person_has_compared_the_unit() -> None:
    at = house(with_notes(AUTOMATIC))
    restored(at)
    at.create("w", mode=Mode.ASK)
    at.say(c.WaitlistReservation, reservation="w", reason=WaitlistReason.NO_BED_YET)
    at.move(Admission(BEDS, "b4"), "stay")
    assert at.state("w") == S.WAITLISTED.value
    assert at.create("n").reservation is not None
    assert at.state("n") == S.ASKED.value
    at.say(c.NoteAnswer, reservation="n", verdict=NoteVerdict.YES)
    assert at.state("n") == S.ASKED.value
    assert at.figures().policy.answering is Answering.PERSON
    at.say(c.AcceptReservation, reservation="n")
    assert at.state("n") == S.HELD.value
    at.say(c.VerifyUnit, unit=BEDS)
    assert at.state("w") == S.HELD.value, "what is free is granted to who waits"
    assert at.figures().policy.answering is Answering.AUTOMATIC
    at.create("m")
    assert at.state("m") == S.HELD.value
    at.create("p", PLACES)
    assert at.state("p") == S.ASKED.value, "unit by unit"


def with_notes(policy: Policy) -> Policy:
    """That policy, granting by itself whatever it can."""
    return replace(policy, notes=NotePolicy(apply_yes=True), grant_waiting_list=True)


def test_verifying_a_unit_says_so_of_its_live_reservations_and_forgets_the_list() -> None:
    at = house()
    reach(at, S.CONFIRMED)
    restored(at)
    fill(at)
    reinstate(at, known(S.ADMITTED, reservation="r2"))
    assert at.book().conflicts
    decision = at.decide(c.VerifyUnit(caller=STAFF, command_id="v", content=b"v", unit=BEDS))
    assert f"{TERRITORY}/{R}" in decision.reservations
    assert at.book().reconciling is None
    assert not at.book().reinstated
    assert not [one for one in at.book().conflicts.values() if one.reservation.endswith("r2")]


def test_a_late_word_of_the_hub_makes_its_unit_unverified_again() -> None:
    at = house()
    restored(at)
    at.say(c.VerifyUnit, unit=BEDS)
    reinstate(at, known(S.CONFIRMED))
    assert at.book().reconciling is not None


def test_verifying_a_unit_that_nobody_doubts_changes_nothing() -> None:
    at = house()
    assert at.say(c.VerifyUnit, unit=BEDS).refusal is None
    refusal = at.say(c.VerifyUnit, unit="none").refusal
    assert refusal is not None
    assert refusal.reason is Reason.UNIT_NOT_FOUND
