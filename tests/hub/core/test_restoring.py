"""A node put back to an earlier state, as its hub meets it: what is reinstated, what waits, what is released."""

from __future__ import annotations

from datetime import timedelta

import msgspec
import pytest
from msgspec.structs import replace

from aval.hub import brokerage, restoring
from aval.hub.model import Answer, Confirm, KnownReservation, Refused, Reinstate, Release, RequestFile, Told
from aval.kernel.lifecycle import ReleaseReason, RequestState, ReservationState
from aval.kernel.need import Mode, Urgency
from aval.kernel.reasons import Reason
from tests.hub.core.lossy import REQUEST, Territory, name_of, target
from tests.hub.core.test_brokerage import confirmed, held
from tests.hub.core.worlds import HOUSES, MANDATE, NOW, any_need

R = RequestState
S = ReservationState
A, B = name_of(0), name_of(1)
AGAIN = 77
"""The incarnation of a node after its restore."""


def met(file: RequestFile, incarnation: int = AGAIN, over: frozenset[int] = frozenset()) -> RequestFile:
    """The house of A tells its history as another one."""
    return restoring.met(file, HOUSES[0], incarnation, over, NOW)


def known_of(file: RequestFile, reservation: str = A) -> KnownReservation:
    """What the hub believes of a reservation."""
    ask = file.ask(reservation)
    assert ask is not None
    assert ask.known is not None
    return ask.known


def told(file: RequestFile, state: S, revision: int = 1, incarnation: int = AGAIN) -> KnownReservation:
    """What the restored node tells of A."""
    return replace(known_of(file), state=state, incarnation=incarnation, revision=revision, unverified=True)


def reinstated(file: RequestFile, known: KnownReservation | None, refused: Refused | None = None) -> RequestFile:
    """The file once its reinstatement is answered."""
    row = next(row for row in file.rows if isinstance(row.body, Reinstate))
    return brokerage.answered(file, Answer(row.id, known, refused), NOW)


@pytest.mark.parametrize("state", [state for state in S if state.is_live])
def test_whatever_is_live_is_reinstated(state: S) -> None:
    file = held(0).file
    ask = file.asks[0]
    before = replace(known_of(file), state=state, last_command_number=3)
    file = replace(file, asks=(replace(ask, known=before),))
    after = met(file)
    row = after.rows[0]
    assert isinstance(row.body, Reinstate)
    assert (row.reservation, row.number, row.body.known) == (A, 3, before)
    assert (row.body.create.request, row.body.requester) == (REQUEST, file.request.requester)
    assert known_of(after) == replace(before, unverified=True)
    assert met(after) is after, "once is enough"
    assert msgspec.json.decode(msgspec.json.encode(after), type=RequestFile) == after


def test_what_is_over_and_what_is_of_another_house_is_not() -> None:
    file = confirmed().file
    over = replace(known_of(file), state=S.RELEASED)
    file = replace(file, asks=tuple(replace(a, known=over) if a.reservation == A else a for a in file.asks))
    assert not [row for row in met(file).rows if isinstance(row.body, Reinstate)]


def test_it_goes_before_the_rows_of_its_reservation() -> None:
    world = held(0)
    world.confirm(A)
    after = met(world.file)
    assert [type(row.body) for row in after.rows] == [Reinstate, Confirm]
    (first,) = brokerage.due(after)
    assert isinstance(first.body, Reinstate)
    assert first.number < after.rows[1].number, "the confirmation is decided after it"


def test_an_answer_from_before_the_restore_is_not_taken_and_its_command_is_sent_again() -> None:
    world = held(0)
    world.confirm(A)
    row = world.file.rows[0]
    after = met(world.file)
    late = replace(known_of(after), state=S.CONFIRMED, revision=99, unverified=False)
    file = brokerage.answered(after, Answer(row.id, late), NOW)
    assert known_of(file).state is S.HELD
    assert [type(one.body) for one in file.rows] == [Reinstate, Confirm]
    file = reinstated(file, told(file, S.HELD, revision=5))
    file = brokerage.answered(file, Answer(row.id, late), NOW)
    assert known_of(file).state is S.HELD, "nor once the node has taken the reinstatement"
    assert [type(one.body) for one in file.rows] == [Confirm]
    file = brokerage.answered(file, Answer(row.id, told(file, S.CONFIRMED, revision=6)), NOW)
    assert (file.request.state, file.rows) == (R.CONFIRMED, ())


def test_a_word_of_another_history_waits_for_the_snapshot_that_brings_it() -> None:
    world = held(0)
    world.confirm(A)
    row = world.file.rows[0]
    ahead = told(world.file, S.ASKED)
    assert brokerage.heard(world.file, ahead, NOW) is world.file
    busy = Answer(row.id, ahead, Refused(Reason.TOO_MANY_CALLS.value, retryable=True))
    assert known_of(brokerage.answered(world.file, busy, NOW)).state is S.HELD


def test_no_promise_looks_withdrawn_while_it_is_reinstated() -> None:
    file = met(confirmed().file)
    file = brokerage.heard(file, told(file, S.EXPIRED), NOW)
    assert (file.request.state, file.request.subject) == (R.CONFIRMED, A)
    assert file.unverified
    file = reinstated(file, told(file, S.CONFIRMED, revision=5))
    assert file.request.state is R.CONFIRMED
    assert file.unverified, "until a person of the house has compared"
    file = brokerage.heard(file, replace(told(file, S.CONFIRMED, revision=6), unverified=False), NOW)
    assert not file.unverified


def test_what_the_house_has_ended_since_is_over() -> None:
    file = met(confirmed().file)
    refused = Refused(Reason.ALREADY_RELEASED.value, retryable=False)
    file = reinstated(file, told(file, S.RELEASED, revision=5), refused)
    assert file.request.state is R.OPEN
    assert known_of(file).state is S.RELEASED


@pytest.mark.parametrize(("aside", "stands"), [(4, S.CONFIRMED), (6, S.ADMITTED)])
def test_of_the_answer_and_of_what_was_heard_meanwhile_the_newer_counts(aside: int, stands: S) -> None:
    file = met(confirmed().file)
    file = brokerage.heard(file, told(file, S.ADMITTED, revision=aside), NOW)
    file = brokerage.heard(file, told(file, S.ASKED, revision=2), NOW)
    file = reinstated(file, told(file, S.CONFIRMED, revision=5))
    assert known_of(file).state is stands
    ask = file.ask(A)
    assert ask is not None
    assert ask.deferred is None


def test_one_that_nobody_answers_in_a_week_is_given_up_for_what_the_node_tells() -> None:
    file = met(confirmed().file)
    file = brokerage.heard(file, told(file, S.ASKED, revision=2), NOW)
    file = brokerage.tick(file, NOW + timedelta(days=8))
    assert not [row for row in file.rows if isinstance(row.body, Reinstate)]
    assert known_of(file).state is S.ASKED


def test_a_reinstatement_refused_for_now_waits() -> None:
    file = met(confirmed().file)
    file = reinstated(file, None, Refused(Reason.STORAGE_UNAVAILABLE.value, retryable=True))
    assert isinstance(file.rows[0].body, Reinstate)
    assert file.rows[0].attempts == 1


def test_a_second_restore_while_it_is_on_its_way_changes_nothing_of_it() -> None:
    file = met(confirmed().file)
    file = brokerage.heard(file, told(file, S.ASKED, revision=2), NOW)
    again = met(file, 78, frozenset({AGAIN}))
    assert again.rows == file.rows
    ask = again.ask(A)
    assert ask is not None
    assert ask.deferred is None
    assert AGAIN in ask.past_incarnations


# --- what the hub knows final ----------------------------------------------------------------------------------------


def released() -> Territory:
    """A request that is open again: its people have let go of the first house."""
    world = held(0)
    world.file = brokerage.release_ask(world.file, A, ReleaseReason.OFFER_NOT_SUITABLE, MANDATE, NOW)
    world.drain()
    assert world.houses.state(A) is S.RELEASED
    return world


@pytest.mark.parametrize("state", [S.ASKED, S.WAITLISTED, S.HELD, S.CONFIRMED])
def test_what_is_known_final_and_told_live_is_released_and_moves_no_request(state: S) -> None:
    file = met(released().file)
    file = brokerage.heard(file, told(file, state), NOW)
    assert file.request.state is R.OPEN
    (row,) = file.rows
    assert isinstance(row.body, Release)
    assert brokerage.heard(file, told(file, state, revision=2), NOW).rows == file.rows, "once is enough"
    file = brokerage.answered(file, Answer(row.id, told(file, S.RELEASED, revision=3)), NOW)
    assert file.rows == ()


def test_an_admission_that_only_a_restored_node_tells_moves_nothing_until_it_is_compared() -> None:
    file = met(released().file)
    file = brokerage.heard(file, told(file, S.ADMITTED), NOW)
    assert (file.request.state, file.rows) == (R.OPEN, ())
    sure = replace(told(file, S.ADMITTED, revision=2), unverified=False)
    assert brokerage.heard(file, sure, NOW).request.state is R.ADMITTED


def test_words_of_a_history_that_is_over_are_dropped() -> None:
    world = held(0)
    file = met(world.file)
    file = reinstated(file, told(file, S.HELD, revision=3))
    assert brokerage.heard(file, replace(known_of(world.file), revision=99), NOW) is file


def test_a_creation_of_which_nothing_was_heard_is_simply_sent_again() -> None:
    world = Territory(target(0))
    file = met(world.file, over=frozenset({1}))
    assert [row.body for row in file.rows] == [row.body for row in world.file.rows]
    late = told(held(0).file, S.HELD, revision=9, incarnation=1)
    file = brokerage.answered(file, Answer(file.rows[0].id, late), NOW)
    assert file.asks[0].known is None
    assert file.rows, "it is asked of the restored node"


# --- a hub that was put back -----------------------------------------------------------------------------------------


def stranger(file: RequestFile, state: S = S.HELD, number: int = 3, house: int = 1) -> KnownReservation:
    """A reservation of that request at another house, of which this hub knows nothing."""
    known = known_of(file)
    told = Told("K7-3F9", file.request.need, Mode.ASK, Urgency.PLANNED, MANDATE, asked_count=2)
    return replace(
        known, name=name_of(house), state=state, unit=target(house).unit, last_command_number=number, told=told
    )


def test_a_command_that_was_never_given_here_shows_that_this_hub_has_forgotten() -> None:
    file = held(0, 1).file
    known = replace(known_of(file), state=S.CONFIRMED, revision=50, last_command_number=9)
    file = brokerage.heard(file, known, NOW)
    assert file.request.set_back
    assert (file.request.state, file.request.subject) == (R.CONFIRMED, A), "what is, is shown"
    assert file.rows == (), "and nothing is released by itself"
    due = brokerage.next_tick(file, NOW)
    assert due is None or due > NOW, "nor looked for again and again"
    looked = restoring.looked_at(file)
    settled = brokerage.take_over(looked, replace(MANDATE, actor="someone else"), NOW)
    (row,) = settled.rows
    assert (row.reservation, type(row.body)) == (B, Release)
    assert row.number == 2


def used_elsewhere(file: RequestFile, reservation: str) -> RequestFile:
    """The file once a node has answered that the number of that reservation's command was a confirmation's."""
    (row,) = (row for row in file.rows if row.reservation == reservation)
    known = known_of(file, reservation)
    known = replace(known, state=S.CONFIRMED, revision=known.revision + 1, last_command_number=row.number)
    return brokerage.answered(file, Answer(row.id, known, Refused(Reason.ID_REUSED, False)), NOW)


def test_a_release_whose_number_another_hub_gave_takes_the_next_at_once() -> None:
    world = held(0)
    world.cancel()
    (row,) = world.file.rows
    (again,) = used_elsewhere(world.file, A).rows
    assert (again.verb, again.number) == ("release", row.number + 1)
    assert again.id != row.id


def test_a_number_that_another_hub_gave_shows_that_this_hub_has_forgotten() -> None:
    """Nothing more is let go by itself; once a person has looked, it is."""
    world = confirmed()
    assert [row.reservation for row in world.file.rows] == [B]
    file = used_elsewhere(world.file, B)
    assert file.request.set_back
    assert not file.rows
    seen = brokerage.tick(restoring.looked_at(file), NOW)
    assert [(row.reservation, row.verb) for row in seen.rows] == [(B, "release")]


def test_a_hub_with_a_whole_memory_never_thinks_so() -> None:
    world = confirmed()
    world.drain()
    assert not world.file.request.set_back


def test_a_reservation_nobody_here_asked_for_is_placed_with_its_request_and_nothing_is_let_go() -> None:
    file = confirmed().file
    file = replace(file, rows=(), asks=file.asks[:1])
    found = restoring.placed(file, stranger(file, S.CONFIRMED), NOW)
    assert found is not None
    assert [ask.reservation for ask in found.asks] == [A, B]
    assert found.request.set_back
    assert (found.request.state, found.rows) == (R.CONFIRMED, ())
    assert known_of(found, B).told is None
    assert found.asks[1].last_number == 3


def test_what_was_an_orphan_of_a_request_that_comes_back_is_asked_after_and_not_taken_as_it_was() -> None:
    """Its word may be old by now: until the node answers nothing is known of it, and nothing is let go."""
    file = held(0).file
    orphan = stranger(file, S.CONFIRMED)
    found = restoring.recalled(file, orphan, NOW)
    assert [(ask.reservation, ask.state) for ask in found.asks] == [(A, S.HELD), (B, None)]
    assert [(row.reservation, row.number, row.verb) for row in found.rows] == [(B, 1, "create")]
    assert (found.request.state, found.request.set_back) == (R.OPEN, True)
    elsewhere = replace(orphan, told=Told("K7-3F9", any_need(gir=2), Mode.ASK, Urgency.PLANNED, MANDATE))
    assert restoring.recalled(file, elsewhere, NOW) is file


def test_a_house_that_is_found_to_be_asked_is_not_proposed() -> None:
    """Met in a run: whoever asked it was refused."""
    file = held(0).file
    for proposed, stays in ((target(1).unit, ""), (target(2).unit, target(2).unit)):
        shown = replace(file, request=replace(file.request, proposed_next=proposed))
        found = restoring.placed(shown, stranger(file), NOW)
        assert found is not None
        assert found.request.proposed_next == stays


def test_what_is_asked_by_itself_bears_no_id_of_what_was_forgotten() -> None:
    """Met in a run: its house answered for the need that the request had before the hub was put back."""
    world = Territory(target(0), ask_next=(target(1).unit,))
    world.run(2)
    declined = replace(known_of(world.file), state=S.DECLINED, revision=50)
    once, again = (brokerage.heard(world.file, declined, NOW + timedelta(hours=hours)).asks for hours in (1, 2))
    assert once[1].unit == again[1].unit == target(1).unit
    assert once[1].reservation != again[1].reservation


def test_what_cannot_be_of_that_request_has_no_place_in_it() -> None:
    world = held(0)
    file = world.file
    other_need = replace(stranger(file), told=Told("K7-3F9", any_need(gir=2), Mode.ASK, Urgency.PLANNED, MANDATE))
    assert restoring.placed(file, other_need, NOW) is None
    assert restoring.placed(file, replace(stranger(file), told=None), NOW) is None
    assert restoring.placed(file, stranger(file, house=0), NOW) is None, "that house has a live one of it already"
    world.cancel()
    assert restoring.placed(world.file, stranger(file), NOW) is None


@pytest.mark.parametrize(
    ("state", "stands"), [(S.ASKED, R.OPEN), (S.HELD, R.OPEN), (S.CONFIRMED, R.CONFIRMED), (S.ADMITTED, R.ADMITTED)]
)
def test_a_request_is_made_again_from_what_its_reservation_bears(state: S, stands: R) -> None:
    known = stranger(held(0).file, state)
    file = restoring.rebuilt(known, NOW)
    assert file is not None
    request = file.request
    assert (request.name, request.reference, request.need) == (known.request, "K7-3F9", any_need())
    assert (request.requester, request.set_back, request.state) == (MANDATE, True, stands)
    again = restoring.placed(file, stranger(held(0).file, S.HELD, house=2), NOW)
    assert again is not None
    assert (len(again.asks), again.rows) == (2, ())


def test_a_request_that_may_be_forgotten_does_not_lapse_over_what_is_live() -> None:
    file = restoring.set_back(held(0).file, NOW)
    assert brokerage.tick(file, NOW + timedelta(days=31)).request.state is R.OPEN
    assert restoring.set_back(file, NOW) is file
