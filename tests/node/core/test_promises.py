"""Promises and reality, one story a test: grants, conflicts, arrivals, notes, waiting lists, and words said twice."""

from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from aval.kernel.lifecycle import (
    DeclineReason,
    NoteFate,
    NoteVerdict,
    Question,
    ReleaseReason,
    WaitlistReason,
    WithdrawReason,
)
from aval.kernel.need import Feature, Mode
from aval.kernel.reasons import Reason
from aval.kernel.statuses import Answering, ClosureKind, ClosureReason, ConflictCause, Gender
from aval.node import commands as c
from aval.node import model as m
from aval.node.grants import proposals, waiting_rank
from tests.node.core import oracle
from tests.node.core.house import ADAPTER, AUTOMATIC, BEDS, DAY, HOUR, OTHER_REPLICA, PLACES, STAFF, House, house

LONG = replace(AUTOMATIC, ttl=5 * DAY, ttl_max=5 * DAY)


def refused(verdict: c.Verdict) -> Reason | None:
    """Why a command was refused; None if it was not."""
    return None if verdict.refusal is None else verdict.refusal.reason


def confirm(made: House, name: str) -> c.Verdict:
    """Confirms a reservation's present offer."""
    offer = made.reservation(name).offer
    return made.say(c.ConfirmReservation, reservation=name, offer_tag=b"" if offer is None else offer.tag)


def full_but(made: House, *free: str) -> None:
    """Fills the beds of the house, but those."""
    for bed in ("b1", "b2", "b3", "b4", "b5"):
        if bed not in free:
            verdict = made.move(m.Admission(BEDS, bed, Gender.FEMALE), f"in-{bed}")
            assert verdict.fate is m.Fate.APPLIED


def conflicts(made: House) -> list[m.Conflict]:
    """The open conflicts of the house."""
    return list(made.book(BEDS).conflicts.values()) + list(made.book(PLACES).conflicts.values())


# --- one winner ------------------------------------------------------------------------------------------------------


def test_the_last_bed_has_one_winner() -> None:
    """Two demands for it: one is held, a person answers the other; released, it goes to the next."""
    made = house(LONG)
    full_but(made, "b4")
    made.create("r1")
    made.create("r2")
    assert (made.state("r1"), made.state("r2")) == ("HELD", "ASKED")
    assert refused(made.say(c.AcceptReservation, reservation="r2")) is Reason.NO_BED
    assert made.state("r2") == "ASKED"
    made.say(c.ReleaseReservation, reservation="r1", reason=ReleaseReason.OTHER)
    assert refused(made.say(c.AcceptReservation, reservation="r2")) is None
    assert made.bed_of("r2") == "b4"


def test_a_grant_between_two_others() -> None:
    """Intervals: a bed is granted before and after a stay, and not across it."""
    made = house(replace(LONG, turnover_minutes=0))
    full_but(made, "b4")
    made.create("r1", arrival_earliest=made.now + 10 * DAY, stay_max=5 * DAY)
    made.create("r2", arrival_earliest=made.now + DAY, stay_max=9 * DAY)
    made.create("r3", arrival_earliest=made.now + 15 * DAY, stay_max=5 * DAY)
    made.create("r4", arrival_earliest=made.now + 2 * DAY, stay_max=8 * DAY)
    made.create("r5", arrival_earliest=made.now + DAY)
    states = [made.state(name) for name in ("r1", "r2", "r3", "r4", "r5")]
    assert states == ["HELD", "HELD", "HELD", "ASKED", "ASKED"]
    oracle.check(made.ledger, made.now)


def test_an_announced_departure_counts_only_if_the_policy_promises() -> None:
    """Today full, free tomorrow: held for tomorrow evening, or not at all."""
    for promise, state in ((True, "HELD"), (False, "ASKED")):
        made = house(replace(LONG, promise_on_announced=promise))
        full_but(made)
        made.move(m.DepartureAnnounced(made.now + 20 * HOUR), "in-b3")
        made.create("r", arrival_earliest=made.now + 22 * HOUR)
        assert made.state("r") == state


def test_who_was_to_leave_before_the_day_of_the_arrival_takes_the_bed_for_good() -> None:
    """Told in two words: the bed is neither taken for less than no time, nor free before the patient comes."""
    made = house(LONG)
    full_but(made)
    made.move(m.Discharge(), "in-b3")
    made.move(m.ArrivalExpected(BEDS, made.now + 4 * DAY, "b3", Gender.FEMALE), "late")
    made.move(m.DepartureAnnounced(made.now + DAY), "late")
    made.create("r", arrival_earliest=made.now + 2 * DAY)
    assert made.state("r") == "ASKED"
    oracle.check(made.ledger, made.now)


def test_features_and_gender_choose_the_bed() -> None:
    """What is required is there; what nobody asked for is kept for those who will; a man never takes a woman's bed."""
    made = house(LONG)
    made.create("r1", required=frozenset({Feature.OXYGEN}))
    made.create("r2", gender=Gender.MALE)
    made.create("r3", gender=Gender.MALE)
    assert made.bed_of("r1") == "b1"
    assert {made.bed_of("r2"), made.bed_of("r3")} <= {"b2", "b3", "b4"}
    made.create("r4", required=frozenset({Feature.DIALYSIS}))
    assert made.state("r4") == "ASKED"
    verdict = made.say(c.AcceptReservation, reservation="r4", bed="b5")
    assert refused(verdict) is None
    offer = made.reservation("r4").offer
    assert offer is not None
    assert offer.counter_offer


# --- offers ----------------------------------------------------------------------------------------------------------


def test_a_replayed_confirm_never_meets_a_new_offer() -> None:
    """MODELCHECK V4: confirm refused, the very same offer put back, the network says the confirm again: nothing."""
    made = house(LONG)
    made.create("r")
    tag = made.reservation("r").offer
    assert tag is not None
    made.say(c.ReofferReservation, reservation="r", bed="b4")
    number = made.number("r")
    late = c.ConfirmReservation(
        caller=OTHER_REPLICA, command_id="late", content=b"late", number=number, reservation="r", offer_tag=tag.tag
    )
    assert refused(made.decide(late).verdict) is Reason.OFFER_CHANGED
    made.say(c.ReofferReservation, reservation="r", bed=tag.room and made.book().beds["b1"].id)
    again = made.decide(late)
    assert refused(again.verdict) is Reason.OFFER_CHANGED
    assert again.verdict.replayed
    assert not again.changes
    assert made.state("r") == "HELD"


def test_a_number_not_above_the_last_decides_nothing() -> None:
    """Reschedule 1 then 2, then 1 again under another id: the arrival stays where 2 put it."""
    made = house(LONG)
    made.create("r")
    confirm(made, "r")
    first = made.number("r")
    for number, days in ((first, 3), (first + 1, 4), (first, 5)):
        verdict = made.say(c.RescheduleReservation, reservation="r", number=number, arrival=made.now + days * DAY)
        assert refused(verdict) is None
    claim = made.reservation("r").claim
    assert claim is not None
    assert claim.start == made.now + 4 * DAY


def test_the_same_id_with_other_content_is_refused() -> None:
    """For a creation, a command, and a movement; each by its own name, and nothing changes."""
    made = house(LONG)
    made.create("r")
    assert refused(made.create("r", content=b"else")) is Reason.ID_REUSED
    made.say(c.MarkSeen, reservation="r", command_id="x", content=b"1")
    assert refused(made.say(c.MarkSeen, reservation="r", command_id="x", content=b"2")) is Reason.ID_REUSED
    made.move(m.Admission(BEDS, "b1"), "s", name="m")
    verdict = made.move(m.Admission(BEDS, "b2"), "s", name="m")
    assert verdict.fate is m.Fate.REFUSED
    assert verdict.reason == "ID_REUSED"


def test_renewals_are_limited() -> None:
    """As often as the policy says, never shortening."""
    made = house(replace(AUTOMATIC, renewals_max=1))
    made.create("r")
    before = made.reservation("r").expire_time
    made.now += timedelta(minutes=30)
    made.say(c.RenewReservation, reservation="r")
    after = made.reservation("r").expire_time
    assert before is not None
    assert after is not None
    assert after == made.now + HOUR > before
    assert refused(made.say(c.RenewReservation, reservation="r")) is Reason.HOLD_NOT_RENEWABLE


def test_a_hold_that_is_due_is_over_before_anything_is_heard() -> None:
    """A confirmation at the very second of expiry, before any tick, comes too late and is told so."""
    made = house()
    made.create("r")
    made.now += HOUR
    assert refused(confirm(made, "r")) is Reason.ALREADY_EXPIRED


# --- reality wins ----------------------------------------------------------------------------------------------------


def test_an_emergency_in_a_claimed_bed_moves_the_claim() -> None:
    """To another fitting bed if there is one; the offer's tag stays good."""
    made = house(LONG)
    made.create("r", arrival_earliest=made.now + 3 * DAY)
    bed = made.bed_of("r")
    verdict = made.move(m.Admission(BEDS, bed, Gender.FEMALE), "emergency")
    assert verdict.fate is m.Fate.APPLIED
    assert made.bed_of("r") not in (None, bed)
    assert refused(confirm(made, "r")) is None


def test_a_conflict_blocks_and_is_settled() -> None:
    """No other bed: a conflict, named; nothing more is granted over its interval; a discharge elsewhere ends it."""
    made = house(LONG)
    full_but(made, "b4")
    made.create("r", arrival_earliest=made.now + 3 * DAY)
    made.create("asked", mode=Mode.ASK, arrival_earliest=made.now + 3 * DAY)
    verdict = made.move(m.Admission(BEDS, "b4", Gender.FEMALE), "emergency")
    assert verdict.fate is m.Fate.APPLIED_WITH_CONFLICT
    assert [conflict.key for conflict in conflicts(made)] == list(verdict.names)
    assert conflicts(made)[0].cause is ConflictCause.ADMISSION
    assert refused(confirm(made, "r")) is Reason.CONFLICT_OPEN
    assert refused(made.say(c.AcceptReservation, reservation="asked")) is Reason.CONFLICT_OPEN
    assert not made.figures().grantable
    made.move(m.Discharge(), "in-b2")
    assert not conflicts(made)
    assert made.bed_of("r") == "b2"
    oracle.check(made.ledger, made.now)


@pytest.mark.parametrize("way", ["bed", "withdraw", "supplementary"])
def test_the_house_settles_a_conflict(way: str) -> None:
    """By another bed of the house, by a withdrawal, or by a supplementary bed."""
    made = house(LONG)
    full_but(made, "b4")
    made.create("r", arrival_earliest=made.now + 3 * DAY)
    made.move(m.Admission(BEDS, "b4", Gender.FEMALE), "emergency")
    conflict = conflicts(made)[0]
    ways: dict[str, dict[str, Any]] = {
        "bed": {"bed": "b2"},
        "withdraw": {"withdraw": WithdrawReason.BED_TAKEN_BY_EMERGENCY},
        "supplementary": {"supplementary": True},
    }
    verdict = made.say(c.SettleConflict, unit=BEDS, conflict=conflict.id, **ways[way])
    if way == "bed":
        assert refused(verdict) is Reason.NO_BED  # it is occupied: the conflict stays
        assert conflicts(made)
        return
    assert refused(verdict) is None
    assert not conflicts(made)
    if way == "supplementary":
        assert made.bed_of("r") == "b6"
    else:
        assert made.state("r") == "RELEASED"


def test_a_departure_that_slips() -> None:
    """Announced and passed without a discharge: the bed is taken until it happens, and who relied on it is told."""
    made = house(LONG)
    full_but(made)
    made.move(m.DepartureAnnounced(made.now + 20 * HOUR), "in-b3")
    made.create("r", arrival_earliest=made.now + 22 * HOUR)
    assert made.bed_of("r") == "b3"
    made.later(20 * HOUR + timedelta(minutes=59))
    assert not conflicts(made)
    made.later(timedelta(minutes=1))
    assert [conflict.cause for conflict in conflicts(made)] == [ConflictCause.DEPARTURE_SLIPPED]
    made.move(m.Discharge(), "in-b3")
    assert not conflicts(made)


def test_a_closure_under_a_claim_and_its_end() -> None:
    """The claim goes elsewhere; at the planned end nothing reopens: the house is asked."""
    made = house(LONG)
    made.create("r", required=frozenset({Feature.OXYGEN}))
    closed = m.BedClosed(BEDS, made.now, made.now + 2 * DAY, ClosureKind.REOPENABLE, ClosureReason.WORKS, beds=("b1",))
    verdict = made.move(closed, source="hand")
    assert verdict.fate is m.Fate.APPLIED_WITH_CONFLICT
    assert conflicts(made)[0].cause is ConflictCause.CLOSURE
    made.later(2 * DAY)
    closure = next(iter(made.book().closures.values()))
    assert closure.reopening_asked
    assert conflicts(made)
    made.move(m.BedOpened(BEDS, ("b1",)), source="hand")
    assert not made.book().closures
    assert made.bed_of("r") == "b1"


def test_counts_below_what_is_promised() -> None:
    """Places are claimed by gender, own first; a count by hand that leaves too few makes a conflict of the latest."""
    made = house(LONG)
    made.create("r1", PLACES)
    made.create("r2", PLACES)
    claims = [made.reservation(name).claim for name in ("r1", "r2")]
    assert [claim.place for claim in claims if claim] == [Gender.FEMALE, Gender.ANY]
    made.say(
        c.DeclareCounts, unit=PLACES, places=(c.DeclaredPlaces(Gender.ANY, 2, 2),), stale_sources=frozenset({"his"})
    )
    assert [conflict.cause for conflict in conflicts(made)] == [ConflictCause.COUNTS]
    assert conflicts(made)[0].reservation.endswith("r2")


def test_a_bed_of_another_unit_is_another_offer() -> None:
    """A conflict settled elsewhere in the house: the requester confirms the unit that it reads, not the former one."""
    made = house(LONG)
    for name in ("r1", "r2"):
        made.create(name, PLACES)
    full = (c.DeclaredPlaces(Gender.ANY, 2, 2),)
    made.say(c.DeclareCounts, unit=PLACES, places=full, stale_sources=frozenset({"his"}))
    former = made.reservation("r2").offer
    settled = made.say(c.SettleConflict, unit=PLACES, conflict=conflicts(made)[0].id, to_unit=BEDS, bed="b2")
    assert refused(settled) is None
    offer, claim = made.reservation("r2").offer, made.reservation("r2").claim
    assert former is not None
    assert offer is not None
    assert claim is not None
    assert (offer.unit, offer.arrival, offer.end) == (claim.unit, claim.start, claim.end) == (BEDS, claim.start, None)
    assert offer.counter_offer
    late = made.say(c.ConfirmReservation, reservation="r2", offer_tag=former.tag)
    assert refused(late) is Reason.OFFER_CHANGED
    assert refused(confirm(made, "r2")) is None


# --- arrivals --------------------------------------------------------------------------------------------------------


def expecting(made: House) -> None:
    """A confirmed reservation for this very day."""
    made.create("k7", arrival_earliest=made.now + HOUR)
    confirm(made, "k7")


def test_an_arrival_counts_once_until_somebody_says_whose_it_is() -> None:
    """« Est-ce K7 ? »: one place for both; yes makes it ADMITTED, no gives the claim its own place again."""
    for answer, state, free in (("k7", "ADMITTED", 4), ("", "CONFIRMED", 3)):
        made = house(LONG)
        expecting(made)
        verdict = made.move(m.Admission(BEDS, "b3", Gender.FEMALE), "s1")
        assert verdict.doubt is not None
        assert verdict.doubt.presumed.endswith("/k7")
        assert sum(x.count for x in made.figures().counts if x.horizon.value == "01" and x.status.value == "02") == 4
        made.say(c.AnswerArrivalDoubt, doubt=verdict.doubt.id, reservation=answer)
        assert made.state("k7") == state
        assert sum(x.count for x in made.figures().counts if x.horizon.value == "01" and x.status.value == "02") == free
        again = made.say(c.AnswerArrivalDoubt, doubt=verdict.doubt.id)
        assert refused(again) is Reason.DOUBT_NOT_FOUND


def test_nobody_is_asked_whether_somebody_has_come_who_is_expected_elsewhere() -> None:
    """A claim that is offered anew in another unit leaves the question; it stayed open for ever, about nobody."""
    made = house(LONG)
    made.create("k7", arrival_earliest=made.now + HOUR)
    doubt = made.move(m.Admission(BEDS, "b3", Gender.FEMALE), "s1").doubt
    assert doubt is not None
    assert refused(made.say(c.ReofferReservation, reservation="k7", unit=PLACES)) is None
    answered = made.ledger.doubt(doubt.id)
    assert answered is not None
    assert answered.answered == made.now


def test_an_arrival_in_the_bed_that_was_kept_displaces_nobody() -> None:
    """The likeliest of all doubts: the patient arrives in the bed that was kept for her."""
    made = house(LONG)
    expecting(made)
    bed = made.bed_of("k7")
    verdict = made.move(m.Admission(BEDS, bed, Gender.FEMALE), "s1")
    assert verdict.fate is m.Fate.APPLIED
    assert made.bed_of("k7") == bed


def test_a_reference_links_without_a_question() -> None:
    """The site put the reservation's reference in its message."""
    made = house(LONG)
    expecting(made)
    verdict = made.move(m.Admission(BEDS, "b3", Gender.FEMALE, reservation="K7"), "s1")
    assert verdict.doubt is None
    assert made.state("k7") == "ADMITTED"
    made.move(m.Admission(BEDS, "b4", Gender.FEMALE, reservation="K7"), "s2")
    assert made.reservation("k7").stay == "s1"  # a second patient under one reference is simply another patient


def test_admitted_by_hand_then_told_by_the_system() -> None:
    """A person said it first: the system's word on the same bed is the same patient, counted once."""
    made = house(LONG)
    expecting(made)
    made.say(c.AdmitReservation, reservation="k7")
    bed = made.book().stays["reservation-k7"].bed
    verdict = made.move(m.Admission(BEDS, bed, Gender.FEMALE), "s1")
    assert verdict.fate is m.Fate.APPLIED
    assert list(made.book().stays) == ["s1"]
    assert made.reservation("k7").stay == "s1"


def test_an_admission_cancelled_after_its_bed_was_taken() -> None:
    """CONFIRMED again, with a conflict, since the bed is gone."""
    made = house(LONG)
    full_but(made, "b4")
    expecting(made)
    made.move(m.Admission(BEDS, "b4", Gender.FEMALE, reservation="k7"), "s1")
    made.move(m.Transfer(BEDS, None), "s1")
    made.move(m.Admission(BEDS, "b4", Gender.FEMALE), "other")
    made.say(c.CancelAdmission, reservation="k7")
    assert made.state("k7") == "CONFIRMED"
    assert [conflict.cause for conflict in conflicts(made)] == [ConflictCause.ADMISSION_CANCELLED]


# --- people ----------------------------------------------------------------------------------------------------------


def test_a_patient_who_never_came_is_not_brought_back_by_what_is_told_of_the_stay() -> None:
    """Met in a run: a movement that had named the stay of a cancelled admission put its patient back into the unit."""
    made = house(LONG)
    expecting(made)
    made.say(c.AdmitReservation, reservation="k7")
    stay = made.reservation("k7").stay
    assert made.move(m.LeaveReturn(None), stay).fate is m.Fate.PARKED
    made.say(c.CancelAdmission, reservation="k7")
    assert made.move(m.LeaveReturn(None), stay).fate is m.Fate.PARKED
    assert made.state("k7") == "CONFIRMED"
    assert made.ledger.stay(stay) is None


@pytest.mark.parametrize("told", [False, True])
def test_a_patient_who_never_came_is_not_brought_back_by_a_discharge_that_was_a_mistake(told: bool) -> None:
    """Met in a run: discharged, then not admitted after all; cancelling the discharge put the patient back.

    `told`: the site's system had told the admission too. Then the patient is there, of no reservation.
    """
    made = house(LONG)
    expecting(made)
    made.say(c.AdmitReservation, reservation="k7")
    stay = made.reservation("k7").stay
    if told:
        made.move(m.Admission(BEDS, "b4", Gender.FEMALE), stay)
    assert made.move(m.Discharge(), stay, name="mistake").fate is m.Fate.APPLIED
    made.say(c.CancelAdmission, reservation="k7")
    assert made.move(m.Cancellation("mistake"), stay).fate is m.Fate.APPLIED
    assert made.state("k7") == "CONFIRMED"
    here = made.ledger.stay(stay)
    assert here is None if not told else here is not None and not here.reservation


def test_telephone_notes() -> None:
    """A no applies by itself, a yes is proposed and applied by a person, as the policy says."""
    made = house(replace(LONG, answering=Answering.PERSON))
    made.create("no")
    made.create("yes")
    made.say(c.NoteAnswer, reservation="no", verdict=NoteVerdict.NO, answered_by="cadre de nuit")
    assert made.state("no") == "DECLINED"
    made.say(c.NoteAnswer, reservation="yes", verdict=NoteVerdict.YES, answered_by="cadre de nuit")
    assert made.state("yes") == "ASKED"
    note = made.reservation("yes").notes[0]
    assert note.fate is NoteFate.PROPOSED
    made.say(c.SettleNote, reservation="yes", note=note.id, apply=True)
    assert made.state("yes") == "HELD"
    assert refused(made.say(c.SettleNote, reservation="yes", note=note.id, apply=True)) is Reason.NOTE_NOT_FOUND


def test_the_waiting_list() -> None:
    """In its order: proposed to staff; granted by policy where the unit says so."""
    for by_policy in (False, True):
        made = house(replace(LONG, grant_waiting_list=by_policy))
        full_but(made)
        for name in ("first", "second"):
            made.create(name, arrival_earliest=made.now + HOUR, arrival_latest=made.now + 5 * DAY)
            made.say(c.WaitlistReservation, reservation=name, reason=WaitlistReason.NO_BED_YET)
        assert [waiting_rank(made.ledger, made.reservation(name)) for name in ("first", "second")] == [1, 2]
        decline = c.DeclineReservation(
            caller=STAFF, command_id="z", content=b"z", reservation="first", reason=DeclineReason.OTHER
        )
        decision = made.ledger.decide(decline, made.now)
        assert {key.partition("/")[2] for key in decision.reservations} == {"first", "second"}  # its rank moved too
        made.move(m.Discharge(), "in-b4")
        assert made.state("first") == ("HELD" if by_policy else "WAITLISTED")
        assert made.state("second") == "WAITLISTED"
        if not by_policy:
            assert proposals(made.ledger, BEDS, made.now) == ("t.test/first", "t.test/second")


def test_marks() -> None:
    """Seen once, questions open and closed, late past its time and still answerable, overdue past its arrival."""
    made = house(replace(LONG, answering=Answering.PERSON))
    made.create("r", mode=Mode.ASK)
    made.say(c.MarkSeen, reservation="r")
    first = made.reservation("r").seen_time
    made.say(c.AskDetails, reservation="r", questions=(Question.WEIGHT, Question.AUTONOMY))
    made.say(c.SupplyDetails, reservation="r", details=(m.Detail(Question.WEIGHT, amount=80),))
    assert made.reservation("r").questions == (Question.AUTONOMY,)
    made.later(4 * HOUR)
    made.say(c.MarkSeen, reservation="r")
    assert made.reservation("r").seen_time == first
    assert made.reservation("r").late
    made.say(c.AcceptReservation, reservation="r")
    assert not made.reservation("r").late
    confirm(made, "r")
    made.later(2 * DAY)
    assert made.reservation("r").overdue
    assert made.state("r") == "CONFIRMED"


# --- sources ---------------------------------------------------------------------------------------------------------


def test_an_adapter_feeds_its_own_units_only() -> None:
    """Another's source, or a unit that does not list it, is refused by name and nothing is kept."""
    made = house()
    movement = m.Movement("hand", "m1", m.Admission(BEDS, "b1"), "s1")
    verdict = made.say(c.ApplyMovement, caller=ADAPTER, movement=movement, command_id="")
    assert verdict.fate is m.Fate.REFUSED
    assert refused(verdict) is Reason.NOT_YOUR_UNIT
    assert not made.ledger.all(m.Kind.PARKED)


def test_precedence_of_sources() -> None:
    """A lower source is parked while one above is heard, and heard once that one is stale; counts stand beside."""
    made = house()
    admission = m.Movement("hand", "m1", m.Admission(BEDS, "b1"), "s1")
    verdict = made.say(c.ApplyMovement, movement=admission, command_id="")
    assert (verdict.fate, verdict.reason) == (m.Fate.PARKED, "SOURCE_OUTRANKED")
    other = m.Movement("hand", "m2", m.Admission(BEDS, "b1"), "s1")
    verdict = made.say(c.ApplyMovement, movement=other, command_id="", stale_sources=frozenset({"his"}))
    assert verdict.fate is m.Fate.APPLIED
    made.say(c.DeclareCounts, unit=PLACES, places=(c.DeclaredPlaces(Gender.FEMALE, 2, 2),))
    assert [(d.source, d.free) for d in made.figures(PLACES).disagreements] == [("hand", 0)]


def test_a_correction_by_hand() -> None:
    """Four hours at most, with a reason; it is shown, and ends by itself."""
    made = house(LONG)
    too_long = made.say(c.CorrectFigures, unit=BEDS, free=1, reason="vu", ttl=5 * HOUR)
    assert refused(too_long) is Reason.CORRECTION_TOO_LONG
    assert refused(made.say(c.CorrectFigures, unit=BEDS, free=1, reason=" ", ttl=HOUR)) is Reason.REASON_REQUIRED
    moved = made.say(c.CorrectFigures, unit=BEDS, free=1, reason="vu", ttl=HOUR, figures_moved=True)
    assert refused(moved) is Reason.FIGURES_MOVED
    made.say(c.CorrectFigures, unit=BEDS, free=1, reason="vu", ttl=HOUR)
    shown = made.figures()
    assert (shown.disagreements[0].free, shown.disagreements[0].winning_free) == (5, 1)
    assert max(grantable.count for grantable in shown.grantable if grantable.horizon.value == "01") == 1
    made.later(HOUR)
    assert not made.figures().disagreements


def test_absurd_counts_are_refused() -> None:
    """Negative, or more patients than places: by name, and nothing changes."""
    made = house()
    for places in ((Gender.FEMALE, -1, 0), (Gender.FEMALE, 2, 99), (Gender.FEMALE, 10**6, 0)):
        verdict = made.say(
            c.DeclareCounts, unit=PLACES, places=(c.DeclaredPlaces(*places),), stale_sources=frozenset({"his"})
        )
        assert refused(verdict) is Reason.COUNT_OUT_OF_RANGE
