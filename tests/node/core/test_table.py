"""The whole product state × input of a reservation's life, through the ledger: the kernel's table and nothing else."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from msgspec.structs import replace

from aval.kernel.lifecycle import (
    RESERVATION_TABLE,
    DeclineReason,
    ReleaseReason,
    ReservationInput,
    ReservationState,
    WaitlistReason,
    WithdrawReason,
    refusal_of,
)
from aval.kernel.need import Mode
from aval.kernel.reasons import Reason
from aval.node import commands as c
from aval.node import model as m
from tests.node.core import oracle
from tests.node.core.house import DAY, HOUR, House, house

S, V = ReservationState, ReservationInput
NAME = "r"


def _tag(house: House) -> bytes:
    offer = house.reservation(NAME).offer
    return b"none yet" if offer is None else offer.tag


INPUTS: dict[ReservationInput, Callable[[House], c.Verdict]] = {
    V.ACCEPT: lambda h: h.say(c.AcceptReservation, reservation=NAME),
    V.WAITLIST: lambda h: h.say(c.WaitlistReservation, reservation=NAME, reason=WaitlistReason.NO_BED_YET),
    V.DECLINE: lambda h: h.say(c.DeclineReservation, reservation=NAME, reason=DeclineReason.OTHER),
    V.CONFIRM: lambda h: h.say(c.ConfirmReservation, reservation=NAME, offer_tag=_tag(h)),
    V.REOFFER: lambda h: h.say(c.ReofferReservation, reservation=NAME),
    V.RENEW: lambda h: h.say(c.RenewReservation, reservation=NAME),
    V.RESCHEDULE: lambda h: h.say(c.RescheduleReservation, reservation=NAME, arrival=h.now + 2 * DAY),
    V.WITHDRAW: lambda h: h.say(c.WithdrawReservation, reservation=NAME, reason=WithdrawReason.NO_SHOW),
    V.RELEASE: lambda h: h.say(c.ReleaseReservation, reservation=NAME, reason=ReleaseReason.OTHER),
    V.ADMIT: lambda h: h.say(c.AdmitReservation, reservation=NAME),
    V.CANCEL_ADMISSION: lambda h: h.say(c.CancelAdmission, reservation=NAME),
}
"""Every input but LAPSE, which is time's."""


def _asked(h: House) -> None:
    h.create(NAME, mode=Mode.ASK)


def _held(h: House) -> None:
    h.create(NAME)


def _after(given: ReservationInput, start: Callable[[House], None]) -> Callable[[House], None]:
    def build(h: House) -> None:
        start(h)
        INPUTS[given](h)

    return build


def _expired(h: House) -> None:
    _held(h)
    h.later(2 * HOUR)


STATES: dict[ReservationState, Callable[[House], None]] = {
    S.ASKED: _asked,
    S.WAITLISTED: _after(V.WAITLIST, _asked),
    S.HELD: _held,
    S.CONFIRMED: _after(V.CONFIRM, _held),
    S.ADMITTED: _after(V.ADMIT, _held),
    S.DECLINED: _after(V.DECLINE, _asked),
    S.RELEASED: _after(V.RELEASE, _held),
    S.EXPIRED: _expired,
}

SAME_EFFECT = {(S.CONFIRMED, V.CONFIRM), (S.ADMITTED, V.ADMIT), (S.DECLINED, V.DECLINE), (S.RELEASED, V.RELEASE)}
SAME_EFFECT |= {(S.RELEASED, V.WITHDRAW)}
"""What is there already is no refusal (CONTRACT 20)."""


def _in(state: ReservationState) -> House:
    made = house()
    STATES[state](made)
    assert made.state(NAME) == state.value
    return made


@pytest.mark.parametrize("given", list(INPUTS))
@pytest.mark.parametrize("state", list(S))
def test_the_table_and_nothing_else(state: ReservationState, given: ReservationInput) -> None:
    """A listed pair moves as listed; any other changes nothing and is refused by the name of the state found."""
    made = _in(state)
    before = made.reservation(NAME)
    facts = {kind: dict(table) for kind, table in made.ledger.facts.items()}
    verdict = INPUTS[given](made)
    after = made.reservation(NAME)
    oracle.check(made.ledger, made.now)
    expected = RESERVATION_TABLE.get((state, given))
    if expected is not None:
        assert verdict.refusal is None
        assert after.state is expected
        assert verdict.reservation == after
        return
    assert after.state is state
    if (state, given) in SAME_EFFECT:
        assert verdict.refusal is None
    else:
        assert verdict.refusal is not None
        assert verdict.refusal.reason is Reason[refusal_of(state, given)]
        assert verdict.refusal.metadata["state"] == state.value
        assert verdict.refusal.subject == after
    # Nothing but what remembers the command.
    remembered = replace(after, last_number=before.last_number, last_verdict=before.last_verdict)
    assert remembered == before
    for kind, table in made.ledger.facts.items():
        if kind not in (m.Kind.RESERVATION, m.Kind.COMMAND):
            assert dict(table) == facts[kind], kind


@pytest.mark.parametrize("state", list(S))
def test_what_time_does(state: ReservationState) -> None:
    """LAPSE is listed for the states that wait; CONFIRMED is never taken by time, ADMITTED closes."""
    made = _in(state)
    lapses = (state, V.LAPSE) in RESERVATION_TABLE
    made.later(3 * DAY + HOUR)
    assert made.state(NAME) == (S.EXPIRED.value if lapses else state.value)
    if state is S.CONFIRMED:
        assert made.reservation(NAME).overdue
    if state is S.ADMITTED:
        assert made.reservation(NAME).closed is not None
        verdict = made.say(c.CancelAdmission, reservation=NAME)
        assert verdict.refusal is not None
        assert verdict.refusal.reason is Reason.CANCEL_TOO_LATE


@pytest.mark.parametrize("given", list(INPUTS))
def test_a_tombstone_answers_as_the_state_it_keeps(given: ReservationInput) -> None:
    """30 days after its end the rest is dropped, and what is late is answered by name all the same."""
    made = _in(S.DECLINED)
    made.later(31 * DAY)
    assert made.ledger.reservation(f"t.test/{NAME}") is None
    assert made.tombstone(NAME).state is S.DECLINED
    lookup = dict(INPUTS)
    lookup[V.CONFIRM] = lambda h: h.say(c.ConfirmReservation, reservation=NAME, offer_tag=b"x")
    verdict = lookup[given](made)
    assert verdict.refusal is not None
    assert verdict.refusal.reason is Reason.ALREADY_DECLINED


def test_memory_ends_after_400_days() -> None:
    """Of a reservation nothing stays in the end, nor of the commands about it."""
    made = _in(S.RELEASED)
    made.later(31 * DAY)
    made.later(370 * DAY)
    made.later(timedelta(seconds=1))
    assert not made.ledger.all(m.Kind.TOMBSTONE)
    assert not made.ledger.all(m.Kind.COMMAND)
    assert made.ledger.next_timer() is None


def test_an_unknown_id() -> None:
    """Nothing is known of it: each verb says so, but release, which leaves a tombstone for the late creation."""
    for given in INPUTS:
        if given in (V.RELEASE, V.CONFIRM):
            continue
        verdict = INPUTS[given](house())
        assert verdict.refusal is not None
        assert verdict.refusal.reason is Reason.RESERVATION_NOT_FOUND
    made = house()
    verdict = made.say(c.ConfirmReservation, reservation=NAME, offer_tag=b"x")
    assert verdict.refusal is not None
    assert verdict.refusal.reason is Reason.RESERVATION_NOT_FOUND
    made = house()
    verdict = made.say(c.ReleaseReservation, reservation=NAME, reason=ReleaseReason.REQUEST_CANCELLED)
    assert verdict.refusal is None
    assert isinstance(verdict.reservation, m.Tombstone)
    late = made.create(NAME)
    assert isinstance(late.reservation, m.Tombstone)
    assert late.reservation.state is S.RELEASED
    other = made.create(NAME, content=b"another")
    assert other.refusal is not None
    assert other.refusal.reason is Reason.ID_REUSED
    assert made.create(NAME).replayed
