"""What people may ask of a request in which state, what time does, and each way in which an earlier protocol failed."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from aval.hub import brokerage, reactions
from aval.hub.model import (
    Answer,
    AskTarget,
    Confirm,
    Create,
    Detail,
    EventKind,
    Note,
    Refused,
    Release,
    RequestFile,
)
from aval.kernel.lifecycle import (
    REACTION_TABLE,
    REQUEST_TABLE,
    AskState,
    NoteVerdict,
    OutsideReason,
    Question,
    ReleaseReason,
    RequestInput,
    RequestState,
    ReservationInput,
    ReservationState,
)
from aval.kernel.need import Feature, Mode, Urgency
from aval.kernel.reasons import Reason, Refusal
from tests.hub.core.lossy import REQUEST, TAGS, House, Territory, name_of, target
from tests.hub.core.worlds import HOUSES, MANDATE, NOW, any_need, hour

R, P, S, G = RequestState, RequestInput, ReservationState, ReservationInput
A, B, C = name_of(0), name_of(1), name_of(2)
OTHER_UNIT = f"establishments/{HOUSES[2]}/units/V"


def held(*numbers: int) -> Territory:
    """A request whose houses of these numbers hold a bed, known to the hub."""
    world = Territory(*(target(number) for number in numbers))
    world.run(len(numbers))
    for number in numbers:
        assert world.houses.staff(name_of(number), G.ACCEPT)
        world.hear()
    return world


def confirmed() -> Territory:
    """A request confirmed at the first house, asked at two."""
    world = held(0, 1)
    assert world.confirm(A) is None
    world.run()
    return world


def states(world: Territory) -> tuple[RequestState, str]:
    return world.file.request.state, world.file.request.subject


# --- the way of one reservation --------------------------------------------------------------------------------------


def test_from_ask_to_confirmed_the_others_released() -> None:
    world = held(0, 1)
    assert states(world) == (R.OPEN, "")
    assert world.confirm(A) is None
    assert states(world) == (R.CONFIRMING, A)
    assert [row.verb for row in world.file.rows] == ["confirm"]
    world.run()
    assert states(world) == (R.CONFIRMED, A)
    (row,) = world.file.rows
    assert (row.reservation, row.body) == (B, Release(ReleaseReason.PLACED_AT_ANOTHER_MEMBER))
    world.drain()
    assert (world.houses.state(A), world.houses.state(B)) == (S.CONFIRMED, S.RELEASED)
    assert [event.kind for event in world.file.request.events] == [EventKind.CONFIRMED]


def test_a_creation_stores_intentions_and_rows_that_bear_all_they_need() -> None:
    world = Territory(target(0, mode=Mode.HOLD), target(1))
    assert [row.id for row in world.file.rows] == [ask.reservation.rsplit("/", 1)[1] for ask in world.file.asks]
    for row in world.file.rows:
        assert isinstance(row.body, Create)
        assert (row.number, row.body.asked_count, row.body.request) == (1, 2, REQUEST)
        assert row.body.valid_until == any_need().arrival_latest + timedelta(hours=24)
    assert [world.file.delivery(ask) for ask in world.file.asks] == [AskState.QUEUED] * 2
    sent = brokerage.attempted(world.file, world.file.rows[0].id, NOW)
    assert sent.delivery(sent.asks[0]) is AskState.SENT


def test_a_decision_made_again_is_the_same_decision() -> None:
    world = held(0, 1)
    once, again = (brokerage.confirm(world.file, A, TAGS[0], MANDATE, NOW) for _ in range(2))
    assert once == again
    assert len({row.id for row in confirmed().file.rows}) == 1


def test_one_command_of_a_reservation_is_on_its_way_at_a_time_in_order() -> None:
    world = Territory(target(0), target(1))
    world.cancel()
    assert [row.verb for row in world.file.rows] == ["create", "create", "release", "release"]
    assert [row.verb for row in brokerage.due(world.file)] == ["create", "create"]
    world.run()
    assert [row.verb for row in brokerage.due(world.file)] == ["create", "release"]
    assert [row.number for row in world.file.pending(A)] == [2]


def test_what_is_held_survives_the_store() -> None:
    for world in (Territory(target(0)), held(0, 1), confirmed()):
        assert msgspec.json.decode(msgspec.json.encode(world.file), type=RequestFile) == world.file


# --- the whole product of state and input ----------------------------------------------------------------------------


def in_state(state: RequestState) -> Territory:
    """A request in that state, by a way that leads there."""
    if state is R.OPEN:
        return held(0)
    if state is R.CONFIRMING:
        world = held(0, 1)
        world.confirm(A)
        return world
    if state is R.EXPIRED:
        world = held(0)
        world.wait(timedelta(days=31))
        return world
    world = confirmed()
    if state is R.RELEASING:
        world.release()
    elif state is R.ADMITTED:
        world.houses.staff(A, G.ADMIT)
        world.hear()
    elif state is R.CANCELLED:
        world.cancel()
    elif state is R.CLOSED_ELSEWHERE:
        world.file = brokerage.place_outside(world.file, OutsideReason.HOME, MANDATE, NOW)
    return world


NOTE = Note("n", NoteVerdict.NO, "cadre de nuit", None, NOW)
DETAILS = (Detail(Question.WEIGHT, amount=70),)

ACTS: dict[RequestInput, Callable[[RequestFile], RequestFile]] = {
    P.ASK: lambda file: brokerage.ask(file, (target(2),), MANDATE, NOW),
    P.EDIT: lambda file: brokerage.edit(file, any_need(), MANDATE, NOW),
    P.CONFIRM: lambda file: brokerage.confirm(file, A, TAGS[0], MANDATE, NOW),
    P.TAKE_BACK: lambda file: brokerage.take_back(file, MANDATE, NOW),
    P.RESCHEDULE: lambda file: brokerage.reschedule(file, hour(50), MANDATE, NOW),
    P.RELEASE: lambda file: brokerage.release(file, ReleaseReason.OTHER, MANDATE, NOW),
    P.RELEASE_ASK: lambda file: brokerage.release_ask(
        file, file.asks[-1].reservation, ReleaseReason.OTHER, MANDATE, NOW
    ),
    P.RENEW: lambda file: brokerage.renew(file, A, None, MANDATE, NOW),
    P.SUPPLY_DETAILS: lambda file: brokerage.supply_details(file, A, DETAILS, MANDATE, NOW),
    P.NOTE_ANSWER: lambda file: brokerage.note_answer(file, A, NOTE, MANDATE, NOW),
    P.PLACE_OUTSIDE: lambda file: brokerage.place_outside(file, OutsideReason.HOME, MANDATE, NOW),
    P.CANCEL: lambda file: brokerage.cancel(file, ReleaseReason.REQUEST_CANCELLED, MANDATE, NOW),
    P.LAPSE: lambda file: brokerage.tick(file, NOW + timedelta(days=40)),
}


@pytest.mark.parametrize("state", RequestState)
@pytest.mark.parametrize("given", RequestInput)
def test_each_input_in_each_state(state: RequestState, given: RequestInput) -> None:
    """What the table holds leads where it says; all else is refused by name, and changes nothing."""
    world = in_state(state)
    assert world.file.request.state is state
    after = REQUEST_TABLE.get((state, given))
    if given is P.LAPSE:
        assert (ACTS[given](world.file).request.state is R.EXPIRED) == (state in (R.OPEN, R.EXPIRED))
        return
    refusal = world.try_(ACTS[given])
    if after is not None:
        if (state, given) == (R.OPEN, P.EDIT):
            assert refusal is not None
            assert refusal.reason is Reason.LIVE_RESERVATION
        else:
            assert refusal is None
            assert world.file.request.state is after
        return
    assert refusal is not None
    assert world.file.request.state is state
    wanted = brokerage.request_refusal(state, given)
    assert refusal.reason is wanted
    if state.is_final or state is R.ADMITTED:
        assert wanted.value == f"ALREADY_{state.value}"
    if (state, given) == (R.CONFIRMING, P.CONFIRM):
        assert wanted is Reason.CONFIRM_IN_PROGRESS


def test_every_reaction_of_the_rules_is_in_the_kernels_table_and_the_other_way_round() -> None:
    ruled = {(state, rule.then) for rule in reactions.REACTIONS for state in rule.present}
    assert ruled == set(REACTION_TABLE)


# --- limits and refusals ---------------------------------------------------------------------------------------------


def refused(act: Callable[[], object]) -> Reason:
    with pytest.raises(Refusal) as caught:
        act()
    return caught.value.reason


def test_three_asks_at_once_of_which_one_may_hold() -> None:
    fourth = AskTarget("00000000-0000-4000-8000-000000000099", "establishments/540000064/units/U", Mode.ASK)
    world = Territory(target(0, mode=Mode.HOLD), target(1), target(2))
    assert refused(lambda: brokerage.ask(world.file, (fourth,), MANDATE, NOW)) is Reason.TOO_MANY_ASKS
    assert refused(lambda: Territory(target(0, mode=Mode.HOLD), target(1, mode=Mode.HOLD))) is Reason.TOO_MANY_HOLDS
    assert refused(lambda: Territory(target(0), target(0, again=1))) is Reason.ALREADY_ASKED_THERE
    assert refused(lambda: brokerage.ask(held(0).file, (target(0),), MANDATE, NOW)) is Reason.ID_REUSED


def test_a_refused_ask_and_one_let_go_do_not_count() -> None:
    world = Territory(target(0, mode=Mode.HOLD), target(1), target(2))
    row = world.file.rows[0]
    file = brokerage.answered(world.file, Answer(row.id, None, Refused("UNIT_NOT_FOUND", False)), NOW)
    assert file.delivery(file.asks[0]) is AskState.REFUSED
    file = brokerage.ask(file, (target(0, mode=Mode.HOLD, again=1),), MANDATE, NOW)
    file = brokerage.release_ask(file, B, ReleaseReason.OTHER, MANDATE, NOW)
    fourth = AskTarget("00000000-0000-4000-8000-000000000099", "establishments/540000064/units/U", Mode.ASK)
    file = brokerage.ask(file, (fourth,), MANDATE, NOW)
    assert refused(lambda: brokerage.ask(file, (target(1, again=1),), MANDATE, NOW)) is Reason.ALREADY_ASKED_THERE


def test_a_confirmation_is_of_the_offer_that_was_read() -> None:
    world = held(0)
    refusal = world.confirm(A, b"older")
    assert refusal is not None
    assert refusal.reason is Reason.OFFER_CHANGED
    unknown = world.confirm(name_of(2))
    assert unknown is not None
    assert unknown.reason is Reason.RESERVATION_NOT_FOUND
    asked = Territory(target(0))
    for expected in (Reason.NOT_IN_THIS_STATE, Reason.NOT_IN_THIS_STATE):
        refusal = asked.confirm(A)
        assert refusal is not None
        assert refusal.reason is expected
        asked.run()


def test_needs_and_arrivals_outside_what_can_be_meant_are_refused() -> None:
    def create(**changes: object) -> Reason:
        need = any_need(**changes)
        return refused(lambda: brokerage.create(REQUEST, "K7-3F9", need, Urgency.TODAY, NOW, MANDATE, NOW))

    assert create(arrival_earliest=hour(-9), arrival_latest=hour(-1)) is Reason.TIME_OUT_OF_RANGE
    assert create(arrival_earliest=hour(24 * 401), arrival_latest=hour(24 * 402)) is Reason.TIME_OUT_OF_RANGE
    assert create(arrival_latest=hour(1)) is Reason.FIELD_INVALID
    assert create(required=frozenset(Feature), wished=frozenset(Feature)) is Reason.FIELD_INVALID
    file = confirmed().file
    assert refused(lambda: brokerage.reschedule(file, hour(-1), MANDATE, NOW)) is Reason.TIME_OUT_OF_RANGE
    assert refused(lambda: brokerage.ask(held(0).file, (), MANDATE, NOW)) is Reason.FIELD_INVALID


def test_an_edit_needs_the_revision_that_was_read_and_nothing_live() -> None:
    world = Territory()
    revision = world.file.request.revision
    file = brokerage.edit(world.file, any_need(age_months=900), MANDATE, NOW, revision=revision)
    assert (file.request.revision, file.request.need.age_months) == (revision + 1, 900)
    stale = refused(lambda: brokerage.edit(file, any_need(), MANDATE, NOW, revision=revision))
    assert stale is Reason.REQUEST_CHANGED
    assert refused(lambda: brokerage.take_over(file, MANDATE, NOW, revision=revision)) is Reason.REQUEST_CHANGED


def test_what_waits_for_a_silent_node_is_bounded_and_a_release_always_goes() -> None:
    file = held(0).file
    for _ in range(brokerage.PENDING_MAX):
        file = ACTS[P.NOTE_ANSWER](file)
    assert refused(lambda: ACTS[P.NOTE_ANSWER](file)) is Reason.QUEUE_FULL
    assert refused(lambda: ACTS[P.RENEW](file)) is Reason.QUEUE_FULL
    assert ACTS[P.CANCEL](file).release_behind(A)


def test_a_request_is_not_asked_for_ever() -> None:
    world = Territory()
    for again in range(reactions.ASKS_EVER_MAX):
        world.file = brokerage.ask(world.file, (target(0, again=again),), MANDATE, NOW)
        world.run()
        world.houses.staff(world.file.asks[-1].reservation, G.DECLINE)
        world.hear()
    assert len(world.file.asks) == reactions.ASKS_EVER_MAX
    assert refused(lambda: brokerage.ask(world.file, (target(0, again=99),), MANDATE, NOW)) is Reason.TOO_MANY_ASKS


def test_what_changes_nothing_spends_no_revision() -> None:
    world = confirmed()
    assert reactions.settled(world.file, world.file, NOW) is world.file
    assert brokerage.tick(world.file, NOW) is world.file
    for known in world.houses.said:
        assert brokerage.heard(world.file, known, NOW) is world.file


# --- time ------------------------------------------------------------------------------------------------------------


def test_a_confirmation_unanswered_for_a_minute_is_shown_so_and_stays() -> None:
    world = held(0)
    world.confirm(A)
    assert brokerage.next_tick(world.file, world.now) == NOW + reactions.UNANSWERED_AFTER
    world.wait(reactions.UNANSWERED_AFTER)
    assert (world.file.request.state, world.file.request.unanswered) == (R.CONFIRMING, True)
    world.run()
    assert (world.file.request.state, world.file.request.unanswered) == (R.CONFIRMED, False)


def test_an_open_request_lapses_when_its_arrival_has_passed_with_nothing_live_or_after_thirty_days() -> None:
    idle, asked = Territory(), Territory(target(0))
    asked.run()
    for world in (idle, asked):
        world.wait(timedelta(hours=34))
    assert (idle.file.request.state, asked.file.request.state) == (R.EXPIRED, R.OPEN)
    asked.wait(timedelta(days=29))
    assert asked.file.request.state is R.EXPIRED
    assert asked.file.release_behind(A)


def test_a_row_older_than_seven_days_is_given_up_and_what_must_be_released_gets_another() -> None:
    world = Territory(target(0))
    world.run()
    world.cancel()
    first = world.file.rows[0]
    world.wait(timedelta(days=7))
    (second,) = world.file.rows
    assert second.id != first.id
    assert (second.number, second.verb, second.stored_at) == (first.number + 1, "release", world.now)
    assert not world.file.request.archived, "what is on its way is looked after"
    world.drain()
    assert world.houses.state(A) is S.RELEASED


def test_a_creation_never_sent_in_seven_days_is_refused_by_name() -> None:
    world = Territory(target(0))
    world.wait(timedelta(days=7, hours=1))
    assert world.file.asks[0].refused_reason == "COMMAND_TOO_OLD"
    assert world.file.request.state is R.EXPIRED


def test_what_is_over_is_looked_after_as_long_as_a_house_may_forget_its_patient() -> None:
    """Cancelled while the patient arrived unheard: a house put back to before must be told of the admission again."""
    world = Territory(target(0))
    world.run()
    world.cancel()
    world.houses.staff(A, G.ADMIT)
    world.hear()
    world.drain()
    assert (world.file.request.state, world.houses.state(A)) == (R.CANCELLED, S.ADMITTED)
    world.wait(timedelta(hours=71))
    assert not world.file.request.archived
    world.wait(timedelta(hours=2))
    assert world.file.request.archived


def test_what_is_over_leaves_the_lists_and_comes_back_if_it_is_not() -> None:
    world = confirmed()
    world.houses.staff(A, G.ADMIT)
    world.hear()
    world.drain()
    world.wait(timedelta(hours=72))
    assert world.file.request.archived
    world.houses.staff(A, G.CANCEL_ADMISSION)
    world.hear()
    assert (world.file.request.state, world.file.request.archived) == (R.CONFIRMED, False)
    world.cancel()
    world.drain()
    world.wait(timedelta(hours=24))
    assert world.file.request.archived
    assert brokerage.next_tick(world.file, world.now) is None


@given(st.binary(min_size=5, max_size=5))
def test_a_spoken_reference_has_five_symbols_that_are_not_misheard(random: bytes) -> None:
    reference = brokerage.reference_of(random)
    assert len(reference) == 6
    assert reference[2] == "-"
    assert not set(reference) & set("O0I1")
    assert set(reference) <= {*brokerage.REFERENCE_ALPHABET, "-"}


# --- next best -------------------------------------------------------------------------------------------------------


def test_an_ask_refused_asks_the_next_one_if_told_so_beforehand() -> None:
    world = Territory(target(0, mode=Mode.HOLD), ask_next=(f"establishments/{HOUSES[0]}/units/X", OTHER_UNIT))
    world.run()
    world.houses.staff(A, G.LAPSE)
    world.hear()
    assert brokerage.unproposed(world.file) == (A,), "an expired hold asks nobody by itself"
    world = Territory(target(0), ask_next=(OTHER_UNIT,))
    world.run()
    world.houses.staff(A, G.DECLINE)
    world.hear()
    assert [ask.unit for ask in world.file.asks] == [target(0).unit, OTHER_UNIT]
    assert world.file.request.ask_next == ()
    assert brokerage.unproposed(world.file) == ()
    assert [row.verb for row in world.file.rows] == ["create"]


def test_an_ask_refused_otherwise_proposes_the_next_best() -> None:
    world = Territory(target(0), target(1))
    world.run(2)
    world.houses.staff(A, G.DECLINE)
    world.hear()
    assert brokerage.unproposed(world.file) == (A,)
    units = (target(0).unit, target(1).unit, OTHER_UNIT)
    file = brokerage.propose(world.file, A, units, NOW)
    assert file.request.proposed_next == OTHER_UNIT
    assert file.asks[0].alternatives == (OTHER_UNIT,)
    assert brokerage.unproposed(file) == ()
    asked = brokerage.ask(file, (target(2),), MANDATE, NOW)
    assert asked.request.proposed_next == ""


def test_a_hold_that_found_no_bed_is_told_where_one_is_left_and_asks_nobody_by_itself() -> None:
    """Its house will answer in person; until then it is live, and if it loses after all it is followed up as any."""
    world = Territory(target(0, mode=Mode.HOLD), ask_next=(OTHER_UNIT,))
    world.houses.full = True
    world.run()
    assert world.file.asks[0].state is S.ASKED
    assert brokerage.unproposed(world.file) == (A,)
    file = brokerage.propose(world.file, A, (target(0).unit, OTHER_UNIT), NOW)
    assert (file.asks[0].alternatives, file.request.proposed_next) == ((OTHER_UNIT,), OTHER_UNIT)
    assert len(file.asks) == 1
    assert brokerage.unproposed(file) == ()
    assert brokerage.propose(file, A, (OTHER_UNIT,), NOW) is file
    world.file = file
    world.houses.staff(A, G.DECLINE)
    world.hear()
    assert [ask.unit for ask in world.file.asks] == [target(0).unit, OTHER_UNIT], "declined, the next one is asked"


def test_a_place_found_is_told_to_whom_asked_for_it() -> None:
    file = Territory().file
    assert brokerage.place_found(file, OTHER_UNIT, NOW) is file
    file = brokerage.notify_when_free(file, MANDATE, NOW)
    assert brokerage.place_found(file, OTHER_UNIT, NOW).request.place_found == OTHER_UNIT
    cancelled = in_state(R.CANCELLED).file
    assert refused(lambda: brokerage.notify_when_free(cancelled, MANDATE, NOW)) is Reason.ALREADY_CANCELLED


# --- promises kept, lost, doubled ------------------------------------------------------------------------------------


def test_a_promise_withdrawn_is_said_at_once() -> None:
    world = confirmed()
    world.houses.staff(A, G.WITHDRAW)
    world.hear()
    assert states(world) == (R.OPEN, "")
    event = world.file.request.last_event
    assert event is not None
    assert (event.kind, event.reservation, event.reason) == (EventKind.PROMISE_WITHDRAWN, A, "other")


def test_a_released_reservation_reopens_the_request_when_it_is_over() -> None:
    world = confirmed()
    world.release()
    assert states(world) == (R.RELEASING, A)
    assert [row.body for row in world.file.pending(A)] == [Release(ReleaseReason.PATIENT_NOT_READY)]
    world.drain()
    assert states(world) == (R.OPEN, "")
    assert world.file.request.release_reason is None


def test_an_admission_cancelled_gives_the_promise_back() -> None:
    world = confirmed()
    world.houses.staff(A, G.ADMIT)
    world.hear()
    assert states(world) == (R.ADMITTED, A)
    world.houses.staff(A, G.CANCEL_ADMISSION)
    world.hear()
    assert states(world) == (R.CONFIRMED, A)


def test_two_admissions_are_marked_until_one_is_cancelled() -> None:
    world = held(0, 1)
    for name in (A, B):
        world.houses.staff(name, G.ADMIT)
        world.hear()
    marked = [world.file.request.double_admission]
    assert states(world) == (R.ADMITTED, A)
    world.houses.staff(A, G.CANCEL_ADMISSION)
    world.hear()
    assert states(world) == (R.ADMITTED, B)
    assert [*marked, world.file.request.double_admission] == [True, False]
    world.drain()
    assert (world.houses.state(A), world.houses.state(B)) == (S.RELEASED, S.ADMITTED)


def test_a_release_refused_for_good_is_tried_again_later_and_not_in_a_loop() -> None:
    world = held(0)
    world.cancel()
    (row,) = world.file.rows
    world.file = brokerage.answered(world.file, Answer(row.id, None, Refused("METHOD_NOT_ALLOWED", False)), world.now)
    assert not world.file.rows
    again = world.now + reactions.RELEASE_AGAIN_AFTER
    assert brokerage.next_tick(world.file, world.now) == again
    assert [row.verb for row in brokerage.tick(world.file, again).rows] == ["release"]
    world.houses.staff(A, G.REOFFER, 1)
    world.hear()
    assert [row.verb for row in world.file.rows] == ["release"], "at once if its node has said something new"


def test_a_refusal_for_now_keeps_the_row() -> None:
    world = held(0)
    world.confirm(A)
    (row,) = world.file.rows
    file = brokerage.answered(world.file, Answer(row.id, None, Refused("STORAGE_UNAVAILABLE", True)), NOW)
    assert file.request.state is R.CONFIRMING
    assert (file.rows[0].attempts, file.rows[0].last_reason) == (1, "STORAGE_UNAVAILABLE")


# --- the ways in which an earlier form of the protocol failed (model check, V1 to V7) --------------------------------


@pytest.mark.parametrize("end", [P.CANCEL, P.PLACE_OUTSIDE])
@pytest.mark.parametrize("stand", [S.ASKED, S.HELD, S.CONFIRMED, None])
def test_v1_ending_a_request_releases_what_is_live_in_the_same_transaction(
    end: RequestInput, stand: ReservationState | None
) -> None:
    world = {S.ASKED: lambda: Territory(target(0)), S.HELD: lambda: held(0), S.CONFIRMED: confirmed, None: Territory}[
        stand
    ]()
    if stand is S.ASKED:
        world.run()
    world.file = ACTS[end](world.file)
    if stand is not None:
        assert world.file.release_behind(A)
    world.drain()
    assert not any(one.state.is_live for one in world.houses.known.values())


def test_v2_a_late_answer_does_not_overwrite_what_was_heard() -> None:
    world = Territory(target(0))
    world.send()
    world.arrive()
    world.houses.staff(A, G.ACCEPT)
    world.hear()
    world.answer()
    assert not world.file.rows
    assert world.file.asks[0].state is S.HELD


def test_v3_confirming_is_left_by_its_confirms_own_answer_only() -> None:
    world = held(0, 1)
    world.confirm(A)
    world.send()
    world.houses.staff(A, G.REOFFER, 1)
    world.hear()
    assert states(world) == (R.CONFIRMING, A)
    other = world.confirm(B)
    assert other is not None
    assert other.reason is Reason.CONFIRM_IN_PROGRESS
    world.houses.staff(A, G.REOFFER, 0)
    world.arrive()
    world.answer()
    assert states(world) == (R.CONFIRMED, A)
    world.drain()
    assert (world.houses.state(A), world.houses.state(B)) == (S.CONFIRMED, S.RELEASED)


def test_v4_a_command_repeated_decides_nothing_even_if_it_was_refused() -> None:
    world = held(0)
    world.confirm(A)
    world.houses.staff(A, G.REOFFER, 1)
    world.run()
    assert states(world) == (R.OPEN, "")
    assert [event.kind for event in world.file.request.events] == [EventKind.OFFER_CHANGED]
    world.houses.staff(A, G.REOFFER, 0)
    world.arrive()
    world.answer()
    world.hear()
    assert world.houses.state(A) is S.HELD
    assert states(world) == (R.OPEN, "")
    numbers = [command.number for command in world.commands if command.reservation == A]
    assert numbers == sorted(set(numbers))


@pytest.mark.parametrize("end", [P.CANCEL, P.PLACE_OUTSIDE, P.RELEASE])
def test_v5_an_admission_that_eats_a_release_leaks_no_bed(end: RequestInput) -> None:
    world = confirmed()
    world.drain()
    world.houses.staff(A, G.ADMIT)
    world.file = ACTS[end](world.file)
    world.send()
    world.arrive()
    world.houses.staff(A, G.CANCEL_ADMISSION)
    world.hear()
    assert world.file.asks[0].state is S.CONFIRMED
    assert world.file.release_behind(A)
    world.answer()
    assert world.file.release_behind(A), "its older answer has struck the first release: there is another"
    world.drain()
    assert world.houses.state(A) is S.RELEASED
    assert world.file.request.state not in (R.RELEASING, R.CONFIRMED)


def test_v5_a_promise_that_nobody_asked_for_is_taken_up() -> None:
    world = held(0)
    world.houses.staff(A, G.ADMIT)
    world.houses.staff(A, G.CANCEL_ADMISSION)
    world.hear()
    assert states(world) == (R.CONFIRMED, A)


def test_v6_another_house_admits_while_one_is_being_confirmed() -> None:
    world = held(0, 1)
    world.confirm(A)
    world.houses.staff(B, G.ADMIT)
    world.hear()
    assert states(world) == (R.ADMITTED, B)
    assert [row.verb for row in world.file.pending(A)] == ["confirm", "release"]
    world.drain()
    assert (world.houses.state(A), world.houses.state(B)) == (S.RELEASED, S.ADMITTED)


def test_v7_what_was_taken_back_is_not_confirmed_again_before_its_release_is_heard() -> None:
    world = held(0, 1)
    world.confirm(A)
    assert world.take_back() is None
    assert states(world) == (R.OPEN, "")
    assert [row.verb for row in world.file.pending(A)] == ["confirm", "release"]
    again = world.confirm(A)
    assert again is not None
    assert again.reason is Reason.RELEASE_PENDING
    assert world.confirm(B) is None
    world.drain()
    assert states(world) == (R.CONFIRMED, B)
    assert world.houses.state(A) is S.RELEASED


@pytest.mark.parametrize("end", [P.CANCEL, P.PLACE_OUTSIDE])
def test_ending_a_request_being_confirmed_takes_the_confirmation_back(end: RequestInput) -> None:
    world = held(0, 1)
    world.confirm(A)
    world.file = ACTS[end](world.file)
    assert [row.verb for row in world.file.pending(A)] == ["confirm", "release"]
    world.run()
    assert world.houses.state(A) is S.CONFIRMED
    world.drain()
    assert not any(one.state.is_live for one in world.houses.known.values())


def test_a_release_that_comes_first_leaves_a_tombstone() -> None:
    world = Territory(target(0))
    create, houses = world.file.rows[0], House()
    world.cancel()
    release = world.file.rows[1]
    houses.decide(release, NOW)
    assert houses.decide(create, NOW).known is houses.known[A]
    assert houses.state(A) is S.RELEASED


def test_a_reservation_that_a_snapshot_leaves_out_is_asked_after() -> None:
    world = Territory(target(0, mode=Mode.HOLD), target(1))
    first = world.file.rows[0]
    world.run(2)
    world.houses.staff(A, G.LAPSE)
    file = brokerage.enquire(world.file, HOUSES[0], frozenset({B}), world.now + timedelta(days=3))
    assert [replace(row, stored_at=first.stored_at) for row in file.rows] == [first]
    assert brokerage.enquire(file, HOUSES[0], frozenset(), NOW) is file, "once is enough"
    assert brokerage.enquire(world.file, HOUSES[1], frozenset({B}), NOW) is world.file
    world.file = file
    world.run()
    assert (world.file.asks[0].state, world.file.rows) == (S.EXPIRED, ())


def test_an_admission_that_a_snapshot_leaves_out_is_asked_after() -> None:
    """What is admitted is named for as long as its request is listed: this one was undone, and ended a day ago."""
    world = Territory(target(0, mode=Mode.HOLD))
    create = world.file.rows[0]
    world.run(2)
    world.houses.staff(A, G.ADMIT)
    world.hear()
    assert world.file.request.state is R.ADMITTED
    file = brokerage.enquire(world.file, HOUSES[0], frozenset(), world.now + timedelta(days=2))
    assert [replace(row, stored_at=create.stored_at) for row in file.rows] == [create]


def test_confirm_rows_are_the_only_road_to_confirmed() -> None:
    """Without its row the request stays CONFIRMING for ever, in sight: nothing is sent beside the outbox."""
    world = held(0)
    world.confirm(A)
    assert isinstance(world.file.rows[0].body, Confirm)
    world.wait(timedelta(hours=1))
    assert states(world) == (R.CONFIRMING, A)
    assert world.file.request.unanswered
    assert world.houses.state(A) is S.HELD
