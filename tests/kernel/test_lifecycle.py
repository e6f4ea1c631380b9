"""Both life cycles over the whole product of state and input: what the tables hold, and what they say of the rest."""

import itertools

import pytest

from aval.kernel.lifecycle import (
    REACTION_TABLE,
    REQUEST_TABLE,
    RESERVATION_STARTS,
    RESERVATION_TABLE,
    Reaction,
    RequestInput,
    RequestState,
    ReservationInput,
    ReservationState,
    refusal_of,
    reservation_next,
)
from aval.kernel.reasons import Reason

S, V = ReservationState, ReservationInput
R, P = RequestState, RequestInput


@pytest.mark.parametrize(("state", "given"), list(itertools.product(S, V)))
def test_a_pair_has_a_next_state_or_a_refusal_by_name(state: ReservationState, given: ReservationInput) -> None:
    """Never both, never neither; the refusal is one of the table of reasons."""
    after = reservation_next(state, given)
    if after is not None:
        assert after is RESERVATION_TABLE[state, given]
        return
    reason = Reason[refusal_of(state, given)]
    assert reason in (Reason.NOT_IN_THIS_STATE, Reason[f"ALREADY_{state.value}"])
    if state.is_final:
        assert reason is Reason[f"ALREADY_{state.value}"]


def test_final_states_have_no_way_out() -> None:
    """DECLINED, RELEASED and EXPIRED are final, and no other is."""
    leaving = {state for state, _ in RESERVATION_TABLE}
    assert {state for state in S if state.is_final} == set(S) - leaving
    assert not any(state.is_final and state.is_live for state in S)


def test_time_takes_what_waits_and_never_what_is_confirmed() -> None:
    """LAPSE is listed for exactly ASKED, WAITLISTED and HELD, and leads to EXPIRED."""
    lapsing = {state: after for (state, given), after in RESERVATION_TABLE.items() if given is V.LAPSE}
    assert lapsing == dict.fromkeys((S.ASKED, S.WAITLISTED, S.HELD), S.EXPIRED)


def test_every_state_is_reached_and_only_by_what_names_it() -> None:
    """From the starts every state can be reached; CONFIRMED by a confirmation or a cancelled admission only."""
    reached = set(RESERVATION_STARTS)
    while more := {after for (state, _), after in RESERVATION_TABLE.items() if state in reached} - reached:
        reached |= more
    assert reached == set(S)
    ways = {(state, given) for (state, given), after in RESERVATION_TABLE.items() if after is S.CONFIRMED}
    assert ways == {(S.HELD, V.CONFIRM), (S.CONFIRMED, V.RESCHEDULE), (S.ADMITTED, V.CANCEL_ADMISSION)}


def test_a_claim_is_held_or_confirmed() -> None:
    """ADMITTED is in the census; the others take nothing."""
    assert {state for state in S if state.takes_claim} == {S.HELD, S.CONFIRMED}


@pytest.mark.parametrize(("state", "given"), list(itertools.product(R, P)))
def test_what_people_may_say_to_a_request(state: RequestState, given: RequestInput) -> None:
    """A final request hears nothing more; an admitted one is not cancelled; the rest is as DESIGN §7 lists it."""
    after = REQUEST_TABLE.get((state, given))
    if state.is_final or state is R.ADMITTED:
        assert after is None
    if given is P.CONFIRM:
        assert (after is R.CONFIRMING) is (state is R.OPEN)
    if given is P.TAKE_BACK:
        assert (after is R.OPEN) is (state is R.CONFIRMING)
    if given in (P.CANCEL, P.PLACE_OUTSIDE) and not state.is_final and state is not R.ADMITTED:
        assert after is (R.CANCELLED if given is P.CANCEL else R.CLOSED_ELSEWHERE)
    if given is P.LAPSE:
        assert (after is R.EXPIRED) is (state is R.OPEN)


@pytest.mark.parametrize(("state", "reaction"), list(itertools.product(R, Reaction)))
def test_what_the_hub_does_by_itself(state: RequestState, reaction: Reaction) -> None:
    """An admission is always heard; nothing moves a final request; CONFIRMED comes by a node's word only."""
    after = REACTION_TABLE.get((state, reaction))
    if state.is_final:
        assert after is None
    elif reaction is Reaction.ADMITTED and state is not R.ADMITTED:
        assert after is R.ADMITTED
    if after is R.CONFIRMED:
        assert reaction in (Reaction.CONFIRMED, Reaction.ADMISSION_CANCELLED)


def test_no_person_makes_a_request_confirmed() -> None:
    """« Réservé » is the node's word: no input of people leads to CONFIRMED from another state, nor to ADMITTED."""
    for (state, _), after in REQUEST_TABLE.items():
        assert after is not R.ADMITTED
        if after is R.CONFIRMED:
            assert state is R.CONFIRMED
