"""Every step of both life cycles as the call that says it, and things brought into each state, over the wire.

A reservation is spoken to at its node, by its house's staff and by the hub's certificate; a request at the hub. What a
table does not hold must be refused by name, and the rule for that name is written here a second time (CONTRACT 20).
"""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable
from datetime import timedelta
from uuid import uuid4

from aval.adapters.demo.building import REGULATOR
from aval.adapters.demo.cast import finess_of, in_state, now, target
from aval.adapters.dial import Line, ask
from aval.kernel.lifecycle import RequestInput, RequestState, ReservationInput, ReservationState
from aval.v1 import request_pb2 as q
from aval.v1 import reservation_pb2 as r
from aval.v1 import terms_pb2
from tests.scenarios.town import Play
from tests.waiting import until

S, G, R, P = ReservationState, ReservationInput, RequestState, RequestInput

SOON = timedelta(seconds=5)
"""When what is made to expire does: not before it is made, on a slow machine either."""

BECOMES = {
    G.ACCEPT: S.HELD, G.WAITLIST: S.WAITLISTED, G.DECLINE: S.DECLINED, G.CONFIRM: S.CONFIRMED, G.REOFFER: S.HELD,
    G.RENEW: S.HELD, G.RESCHEDULE: S.CONFIRMED, G.WITHDRAW: S.RELEASED, G.RELEASE: S.RELEASED, G.ADMIT: S.ADMITTED,
    G.CANCEL_ADMISSION: S.CONFIRMED,
}  # fmt: skip
"""What each input is for. `lapse` is time's: nobody can say it."""

SAID_AGAIN = {
    (S.CONFIRMED, G.CONFIRM), (S.ADMITTED, G.ADMIT), (S.DECLINED, G.DECLINE), (S.RELEASED, G.RELEASE),
    (S.RELEASED, G.WITHDRAW),
}  # fmt: skip
"""What is so already is no error and no step: it is answered by what is."""

PAST = {S.ADMITTED, S.DECLINED, S.RELEASED, S.EXPIRED}
OVER = {R.ADMITTED, R.CANCELLED, R.CLOSED_ELSEWHERE, R.EXPIRED}


def reason_at_node(state: ReservationState, given: ReservationInput) -> str:
    """Why a reservation in that state does not take that input."""
    return f"ALREADY_{state}" if state in PAST or BECOMES[given] is state else "NOT_IN_THIS_STATE"


def reason_at_hub(state: RequestState, given: RequestInput) -> str:
    """Why a request in that state does not take that input."""
    if state in OVER:
        return f"ALREADY_{state}"
    if (state, given) == (R.CONFIRMING, P.CONFIRM):
        return "CONFIRM_IN_PROGRESS"
    if state is R.CONFIRMED and given in (P.CONFIRM, P.TAKE_BACK):
        return "ALREADY_CONFIRMED"
    return "NOT_IN_THIS_STATE"


def act() -> str:
    """An id for an act."""
    return str(uuid4())


class AtNode:
    """Reservations of one unit, made and spoken to at their node."""

    def __init__(self, play: Play, unit: str, hub: Line) -> None:
        """`hub`: a line to the node with the hub's certificate."""
        self._play, self._unit = play, unit
        self._staff = play.node(finess_of(unit)).reservations
        self._hub = hub.reservations
        self._numbers = itertools.count(1)

    def _header(self, command_id: str | None = None) -> r.CommandHeader:
        mandate = terms_pb2.Mandate(caller="spiffe://essai/hub", actor="essai", display_name="Essai", role="cell")
        mandate.on_behalf_of = "establishments/540001138"
        return r.CommandHeader(command_id=command_id or act(), number=next(self._numbers), mandate=mandate)

    async def bring(self, state: ReservationState) -> r.Reservation:
        """A new reservation in that state."""
        uuid = act()
        message = r.CreateReservationRequest(
            header=self._header(uuid), parent=self._unit.partition("/units/")[0], request=f"requests/{act()}",
            reference="K7-3F9", unit=self._unit, need=self._play.need(), mode=terms_pb2.MODE_ASK,
            urgency=terms_pb2.URGENCY_PLANNED, asked_count=1,
        )  # fmt: skip
        if state is S.EXPIRED:
            message.valid_until.FromDatetime(now() + SOON)
        one = await ask(self._hub.CreateReservation, message)
        way = {
            S.WAITLISTED: (G.WAITLIST,), S.DECLINED: (G.DECLINE,), S.RELEASED: (G.RELEASE,), S.HELD: (G.ACCEPT,),
            S.CONFIRMED: (G.ACCEPT, G.CONFIRM), S.ADMITTED: (G.ACCEPT, G.CONFIRM, G.ADMIT),
        }.get(state, ())  # fmt: skip
        for given in way:
            one = await self.say(one, given)

        async def there() -> bool:
            return self.state_of(await self._play.reservation(one.name)) is state

        await until(there, f"a reservation is {state}")
        return await self._play.reservation(one.name)

    @staticmethod
    def state_of(one: r.Reservation) -> ReservationState:
        """Its state."""
        return S(r.Reservation.State.Name(one.state).removeprefix("STATE_"))

    async def say(self, one: r.Reservation, given: ReservationInput) -> r.Reservation:
        """An input. Raises its refusal."""
        name, staff, hub = one.name, self._staff, self._hub
        calls: dict[ReservationInput, Callable[[], Awaitable[r.Reservation]]] = {
            G.ACCEPT: lambda: ask(staff.AcceptReservation, r.AcceptReservationRequest(command_id=act(), name=name)),
            G.WAITLIST: lambda: ask(
                staff.WaitlistReservation,
                r.WaitlistReservationRequest(command_id=act(), name=name, reason=r.WAITLIST_REASON_NO_BED_YET),
            ),
            G.DECLINE: lambda: ask(
                staff.DeclineReservation,
                r.DeclineReservationRequest(command_id=act(), name=name, reason=r.DECLINE_REASON_OTHER),
            ),
            G.REOFFER: lambda: ask(staff.ReofferReservation, r.ReofferReservationRequest(command_id=act(), name=name)),
            G.WITHDRAW: lambda: ask(
                staff.WithdrawReservation,
                r.WithdrawReservationRequest(command_id=act(), name=name, reason=r.WITHDRAW_REASON_STAFF_MISSING),
            ),
            G.ADMIT: lambda: ask(staff.AdmitReservation, r.AdmitReservationRequest(command_id=act(), name=name)),
            G.CANCEL_ADMISSION: lambda: ask(
                staff.CancelReservationAdmission, r.CancelReservationAdmissionRequest(command_id=act(), name=name)
            ),
            G.CONFIRM: lambda: ask(
                hub.ConfirmReservation,
                r.ConfirmReservationRequest(header=self._header(), name=name, offer_tag=one.offer.offer_tag or b"tag"),
            ),
            G.RELEASE: lambda: ask(
                hub.ReleaseReservation,
                r.ReleaseReservationRequest(header=self._header(), name=name, reason=r.RELEASE_REASON_OTHER),
            ),
            G.RENEW: lambda: ask(hub.RenewReservation, r.RenewReservationRequest(header=self._header(), name=name)),
            G.RESCHEDULE: lambda: ask(
                hub.RescheduleReservation,
                r.RescheduleReservationRequest(
                    header=self._header(), name=name, arrival=self._play.need().arrival_latest
                ),
            ),
        }
        return await calls[given]()


class AtHub:
    """Requests for a bed of one unit, made and spoken to at the hub."""

    def __init__(self, play: Play, unit: str, pause: Callable[[], None]) -> None:
        """`pause`: stops the node of the unit, so that what is on its way stays there."""
        self._play, self._unit, self._pause = play, unit, pause
        self._calls = play.hub(REGULATOR).requests

    async def bring(self, states: list[RequestState]) -> dict[RequestState, q.Request]:
        """A new request in each of these states; those that wait for their node come last, and it is stopped then."""
        waiting = (R.CONFIRMING, R.RELEASING)
        found = {state: await self._first(state) for state in states}
        if set(waiting) & set(states):
            self._pause()
        for state in set(waiting) & set(states):
            given = P.CONFIRM if state is R.CONFIRMING else P.RELEASE
            found[state] = await self.say(found[state], given)
        return found

    async def _first(self, state: RequestState) -> q.Request:
        play = self._play
        if state is R.EXPIRED:
            wish = play.wish()
            wish.need.arrival_earliest.FromDatetime(now())
            wish.need.arrival_latest.FromDatetime(now() + SOON)
            made = await play.insist(wish)
            return await play.heard(made.name, lambda one: self.state_of(one) is state, "expired")
        one = await play.held(self._unit)
        if state in (R.CONFIRMED, R.RELEASING, R.ADMITTED):
            await play.confirmed(one)
        if state is R.ADMITTED:
            message = r.AdmitReservationRequest(command_id=act(), name=one.asks[0].reservation)
            await ask(play.node(finess_of(self._unit)).reservations.AdmitReservation, message)
            return await play.heard(one.name, lambda known: self.state_of(known) is state, "admitted")
        if state in (R.CANCELLED, R.CLOSED_ELSEWHERE):
            await self.say(one, P.CANCEL if state is R.CANCELLED else P.PLACE_OUTSIDE)
            return await play.heard(one.name, lambda known: in_state(known.asks[0], "RELEASED"), "released")
        return await ask(self._calls.GetRequest, q.GetRequestRequest(name=one.name))

    @staticmethod
    def state_of(one: q.Request) -> RequestState:
        """Its state."""
        return R(q.Request.State.Name(one.state).removeprefix("STATE_"))

    async def say(self, one: q.Request, given: RequestInput) -> q.Request:
        """An input. Raises its refusal."""
        calls, name, new = self._calls, one.name, act()
        first = one.asks[0] if one.asks else q.Ask(reservation=f"establishments/540003043/reservations/{act()}")
        ours = first.reservation
        detail = r.Detail(question=r.QUESTION_WEIGHT, amount=70)
        note = r.Note(verdict=r.Note.VERDICT_YES, answered_by="cadre de nuit")
        note.say_time.FromDatetime(now())
        other = r.RELEASE_REASON_OTHER
        arrival = self._play.need().arrival_latest
        tag = first.known.offer.offer_tag or b"tag"
        targets = [target(self._unit, hold=False)]
        said: dict[RequestInput, Callable[[], Awaitable[q.Request]]] = {
            P.ASK: lambda: ask(
                calls.AskEstablishments, q.AskEstablishmentsRequest(command_id=new, name=name, asks=targets)
            ),
            P.EDIT: lambda: ask(
                calls.UpdateNeed, q.UpdateNeedRequest(command_id=new, name=name, need=self._play.need())
            ),
            P.CONFIRM: lambda: ask(
                calls.ConfirmRequest,
                q.ConfirmRequestRequest(command_id=new, name=name, reservation=ours, offer_tag=tag),
            ),
            P.TAKE_BACK: lambda: ask(calls.TakeBackConfirm, q.TakeBackConfirmRequest(command_id=new, name=name)),
            P.RESCHEDULE: lambda: ask(
                calls.RescheduleRequest, q.RescheduleRequestRequest(command_id=new, name=name, arrival=arrival)
            ),
            P.RELEASE: lambda: ask(
                calls.ReleaseConfirmed, q.ReleaseConfirmedRequest(command_id=new, name=name, reason=other)
            ),
            P.RELEASE_ASK: lambda: ask(
                calls.ReleaseAsk, q.ReleaseAskRequest(command_id=new, name=name, reservation=ours, reason=other)
            ),
            P.RENEW: lambda: ask(calls.RenewHold, q.RenewHoldRequest(command_id=new, name=name, reservation=ours)),
            P.SUPPLY_DETAILS: lambda: ask(
                calls.SupplyDetails,
                q.SupplyDetailsRequest(command_id=new, name=name, reservation=ours, details=[detail]),
            ),
            P.NOTE_ANSWER: lambda: ask(
                calls.NoteAnswer, q.NoteAnswerRequest(command_id=new, name=name, reservation=ours, note=note)
            ),
            P.PLACE_OUTSIDE: lambda: ask(
                calls.PlaceOutside,
                q.PlaceOutsideRequest(command_id=new, name=name, reason=q.OUTSIDE_REASON_OTHER),
            ),
            P.CANCEL: lambda: ask(calls.CancelRequest, q.CancelRequestRequest(command_id=new, name=name, reason=other)),
        }
        return await said[given]()
