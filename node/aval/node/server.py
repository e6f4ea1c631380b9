"""The node's services, thin over the writer: a request becomes a command, its verdict becomes the answer.

Who may call what was decided before any of these runs (the gate and `aval.kernel.access`); what depends on more than
the kind of caller is refused here or by the ledger, by name.
"""

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Sequence
from contextlib import aclosing, suppress
from datetime import datetime
from typing import Any, TypeAlias

import grpc.aio
import structlog

from aval.kernel.identity import CallerKind
from aval.kernel.reasons import Reason, Refusal, field_invalid
from aval.node.commands import Verdict
from aval.node.edge import Edge
from aval.node.faults import Fault
from aval.node.model import Unit
from aval.node.translate import census, house, inward, outward, reinstating
from aval.node.translate.words import DISCIPLINES, STATES, Names
from aval.node.watch import Watch
from aval.v1 import (
    availability_pb2,
    availability_pb2_grpc,
    census_pb2,
    census_pb2_grpc,
    link_pb2,
    link_pb2_grpc,
    reservation_pb2,
    reservation_pb2_grpc,
    terms_pb2,
)

UNANSWERED_MAX = 64
"""Commands of one stream that may wait for their answer (CONTRACT 23)."""

REQUEST_ID_LENGTH_MAX = 64
"""Longest id of a call that is logged; the contract's own bound."""

UNREAD_MAX = 2 * UNANSWERED_MAX
"""Beyond it a stream is ended: its client sends, and reads no answer, not even that it must wait."""

UNACKNOWLEDGED_MAX = 256
"""Movements of one stream that may wait for theirs: a feed that was cut sends its backlog in a few batches."""

CURSORS_MAX = 2_000
"""Cursors in one watch: one an establishment of a country's hub; a node reads its own among them."""

SERVICES = (
    "aval.v1.AvailabilityService",
    "aval.v1.CensusService",
    "aval.v1.LinkService",
    "aval.v1.ReservationService",
)
"""What a node serves, for health and reflection."""

_Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"


def add_services(edge: Edge, server: grpc.aio.Server) -> None:
    """Adds all services of a node to a server."""
    availability_pb2_grpc.add_AvailabilityServiceServicer_to_server(AvailabilityService(edge), server)
    census_pb2_grpc.add_CensusServiceServicer_to_server(CensusService(edge), server)
    link_pb2_grpc.add_LinkServiceServicer_to_server(LinkService(edge), server)
    reservation_pb2_grpc.add_ReservationServiceServicer_to_server(ReservationService(edge), server)


class AvailabilityService(availability_pb2_grpc.AvailabilityServiceServicer):
    """Figures, and the stream of their changes."""

    def __init__(self, edge: Edge) -> None:
        self._edge = edge

    async def GetEstablishment(
        self, request: availability_pb2.GetEstablishmentRequest, context: _Context
    ) -> availability_pb2.Establishment:
        self._edge.names.check_establishment(request.name, "name")
        return self._edge.moment().establishment()

    async def ListEstablishments(
        self, request: availability_pb2.ListEstablishmentsRequest, context: _Context
    ) -> availability_pb2.ListEstablishmentsResponse:
        page, token = self._edge.page(
            [self._edge.moment().establishment()],
            lambda one: (one.name,),
            request.page_size,
            request.page_token,
            "ListEstablishments",
        )
        return availability_pb2.ListEstablishmentsResponse(establishments=page, next_page_token=token)

    async def ListUnits(
        self, request: availability_pb2.ListUnitsRequest, context: _Context
    ) -> availability_pb2.ListUnitsResponse:
        if request.parent != "establishments/-":
            self._edge.names.check_establishment(request.parent, "parent")
        if request.view_as:
            raise field_invalid("view_as", "a node shows exact figures; ask the hub what others see")
        moment = self._edge.moment()
        wanted = DISCIPLINES.word_or_none(request.discipline, "discipline")
        units = [
            unit
            for unit in moment.units()
            if wanted in (None, DISCIPLINES.word(unit.discipline, "discipline"))
            and (not request.stale_only or unit.freshness == availability_pb2.FRESHNESS_STALE)
        ]
        page, token = self._edge.page(
            units,
            lambda unit: (unit.name,),
            request.page_size,
            request.page_token,
            "ListUnits",
            str(request.discipline),
            str(request.stale_only),
        )
        return availability_pb2.ListUnitsResponse(units=page, next_page_token=token, cursors=[moment.cursor()])

    async def WatchAvailability(
        self, request: availability_pb2.WatchAvailabilityRequest, context: _Context
    ) -> AsyncIterator[availability_pb2.WatchAvailabilityResponse]:
        edge = self._edge
        reader = edge.reader()
        caller = edge.caller()
        if request.include_reservations and not reader.inside:
            raise Refusal(Reason.METHOD_NOT_ALLOWED, {"field": "include_reservations"})
        for name in request.establishments:
            edge.names.check_establishment(name, "establishments")
        revision, standing = 0, None
        own = [inward.cursor(one, "cursors", edge.names) for one in _own_cursors(request.cursors, edge.names)]
        if own:
            for cursor in own:
                if caller.kind is CallerKind.HUB_REPLICA and request.include_reservations:
                    await edge.check_hub_cursor(cursor)
            # The lowest is how far the follower's watch came; its hub may have heard of later ones by answers.
            cursor = min(own, key=lambda one: one.revision)
            revision, standing = cursor.revision, await edge.writer.standing(cursor)
        watch = Watch(
            edge.writer,
            edge.clock,
            edge.names,
            reader,
            reservations=request.include_reservations,
            progress_seconds=edge.progress_seconds,
        )
        async with aclosing(watch.messages(revision, standing)) as messages:
            async for message in messages:
                yield message


def _heed(work: "asyncio.Task[census_pb2.ApplyMovementsResponse]") -> None:
    """Takes note of how a task ended whose stream is gone: what it refused, its sender hears when it says it again."""
    if not work.cancelled():
        work.exception()


def _oldest_first(moment: datetime) -> str:
    """An instant as text that sorts as it does."""
    return f"{moment.timestamp():020.6f}"


def _own_cursors(cursors: Sequence[terms_pb2.Cursor], names: Names) -> list[terms_pb2.Cursor]:
    """The cursors of this house among those of a follower, who may follow others elsewhere by the same list."""
    if len(cursors) > CURSORS_MAX:
        raise field_invalid("cursors", f"more than {CURSORS_MAX}")
    return [cursor for cursor in cursors if cursor.establishment == names.establishment][:2]


class LinkService(link_pb2_grpc.LinkServiceServicer):
    """The hub's commands, in one stream."""

    def __init__(self, edge: Edge) -> None:
        self._edge = edge
        self._commands = HubCommands(edge)

    async def Exchange(
        self, requests: AsyncIterable[link_pb2.ExchangeRequest], context: _Context
    ) -> AsyncIterator[link_pb2.ExchangeResponse]:
        done: asyncio.Queue[asyncio.Task[link_pb2.Answer] | None] = asyncio.Queue()
        reading = asyncio.create_task(self._read(requests, done))
        try:
            while (work := await done.get()) is not None:
                yield link_pb2.ExchangeResponse(answer=work.result())
            await reading
        finally:
            reading.cancel()

    async def _read(
        self,
        requests: AsyncIterable[link_pb2.ExchangeRequest],
        done: asyncio.Queue[asyncio.Task[link_pb2.Answer] | None],
    ) -> None:
        """Takes commands up as they come, each on its own; ends the answers once the last is answered."""
        working: set[asyncio.Task[link_pb2.Answer]] = set()

        def finished(work: asyncio.Task[link_pb2.Answer]) -> None:
            working.discard(work)
            done.put_nowait(work)

        try:
            async for request in requests:
                unanswered = len(working) + done.qsize()
                if unanswered >= UNREAD_MAX:
                    raise Refusal(Reason.TOO_MANY_CALLS, {"unanswered_max": str(UNANSWERED_MAX)})
                busy = unanswered >= UNANSWERED_MAX
                work = asyncio.create_task(self._commands.answer(request.command, busy=busy))
                working.add(work)
                work.add_done_callback(finished)
            if working:
                await asyncio.wait(working)
        finally:
            for work in working:
                work.cancel()
            done.put_nowait(None)


class HubCommands:
    """Commands of the hub, whichever way they come."""

    def __init__(self, edge: Edge) -> None:
        self._edge = edge

    async def answer(self, command: link_pb2.Command, *, busy: bool) -> link_pb2.Answer:
        """The answer to a command of the stream; a refusal is one. `busy`: too many wait already.

        A fault of ours is a refusal too: it must not end the stream, and with it all that the hub has to say here.
        """
        try:
            answer = await self._answer_or_fail(command, busy=busy)
        except Fault as fault:
            structlog.get_logger().error("answer-failed", exception=fault.name)
            named = command.WhichOneof("verb")
            header = getattr(command, named).header if named is not None else None
            refusal = outward.refusal(Refusal(Reason.INTERNAL))
            answer = link_pb2.Answer(command_id=header.command_id if header is not None else "", refusal=refusal)
        self._tell(command, answer)
        return answer

    def _tell(self, command: link_pb2.Command, answer: link_pb2.Answer) -> None:
        """One line for each command, under the id of the call that caused it at the hub."""
        verb = command.WhichOneof("verb")
        if verb is None:
            return
        structlog.get_logger().info(
            "command",
            command=verb,
            reservation=answer.reservation.name or None,
            reason=answer.refusal.reason or None,
            request_id=getattr(command, verb).header.request_id[:REQUEST_ID_LENGTH_MAX] or None,
        )

    async def _answer_or_fail(self, command: link_pb2.Command, *, busy: bool) -> link_pb2.Answer:
        try:
            return await self._answer(command, busy=busy)
        except Exception as cause:
            raise Fault from cause

    async def _answer(self, command: link_pb2.Command, *, busy: bool) -> link_pb2.Answer:
        try:
            if busy:
                raise Refusal(Reason.TOO_MANY_CALLS, {"unanswered_max": str(UNANSWERED_MAX)})
            request = inward.verb_of(command)
            verdict = await self.decide(request)
        except Refusal as refusal:
            return self._refused(command, refusal)
        moment = self._edge.moment()
        answer = link_pb2.Answer(command_id=request.header.command_id, cursor=moment.cursor())
        present = moment.present(verdict.reservation)
        if present is not None:
            answer.reservation.CopyFrom(present)
        if verdict.refusal is not None:
            self._edge.meter.refused(verdict.refusal.reason.value)
            answer.refusal.CopyFrom(outward.refusal(verdict.refusal))
        return answer

    def _refused(self, command: link_pb2.Command, refusal: Refusal) -> link_pb2.Answer:
        """The answer to a command that was not decided, with the present state of what it is about."""
        self._edge.meter.refused(refusal.reason.value)
        answer = link_pb2.Answer(refusal=outward.refusal(refusal))
        with suppress(Refusal):
            request = inward.verb_of(command)
            answer.command_id = request.header.command_id
            if refusal.reason is not Reason.NODE_RESTORED:
                moment = self._edge.moment()
                answer.cursor.CopyFrom(moment.cursor())
                present = moment.reservation(inward.reservation_of(request, self._edge.names))
                if present is not None:
                    answer.reservation.CopyFrom(present)
        return answer

    async def decide(self, request: inward.HubRequest) -> Verdict:
        """The ledger's verdict, a refusal included. Raises `Refusal` where it was not asked."""
        edge = self._edge
        header = request.header
        if header.HasField("cursor"):
            await edge.check_hub_cursor(inward.cursor(header.cursor, "header.cursor", edge.names))
        inward.check_age(header)
        return await edge.writer.submit(reinstating.hub_command(request, edge.caller(), edge.names))


class ReservationService(reservation_pb2_grpc.ReservationServiceServicer):
    """Acts on reservations, one a call."""

    def __init__(self, edge: Edge) -> None:
        self._edge = edge
        self._commands = HubCommands(edge)

    async def _of_hub(self, request: inward.HubRequest) -> reservation_pb2.Reservation:
        return self._told(await self._commands.decide(request))

    async def _of_staff(self, request: inward.StaffRequest) -> reservation_pb2.Reservation:
        edge = self._edge
        command = inward.staff_reservation_command(request, edge.caller(), edge.names)
        return self._told(await edge.writer.submit(command))

    def _told(self, verdict: Verdict) -> reservation_pb2.Reservation:
        present = self._edge.moment().present(verdict.reservation)
        if verdict.refusal is not None:
            raise Refusal(verdict.refusal.reason, verdict.refusal.metadata, present)
        if present is None:
            raise Refusal(Reason.RESERVATION_NOT_FOUND)
        return present

    async def GetReservation(
        self, request: reservation_pb2.GetReservationRequest, context: _Context
    ) -> reservation_pb2.Reservation:
        moment = self._edge.moment()
        found = moment.reservation(self._edge.names.read_reservation(request.name, "name"))
        if found is None:
            raise Refusal(Reason.RESERVATION_NOT_FOUND)
        return found

    async def ListReservations(
        self, request: reservation_pb2.ListReservationsRequest, context: _Context
    ) -> reservation_pb2.ListReservationsResponse:
        edge = self._edge
        edge.names.check_establishment(request.parent, "parent")
        states = {STATES.word(state, "states") for state in request.states}
        unit = edge.names.read_unit(request.unit, "unit") if request.unit else None
        of_request = inward.request_id(request.request, "request") if request.request else None
        moment = edge.moment()
        chosen = [
            fact
            for fact in moment.reservations_shown()
            if (fact.state in states if states else fact.state.is_live)
            and (unit is None or fact.unit == unit)
            and (of_request is None or fact.request == of_request)
        ]
        page, token = edge.page(
            chosen,
            lambda fact: (fact.id, fact.territory),
            request.page_size,
            request.page_token,
            "ListReservations",
            ",".join(sorted(states)),
            request.unit,
            request.request,
        )
        return reservation_pb2.ListReservationsResponse(
            reservations=[moment.write(fact) for fact in page], next_page_token=token, cursor=moment.cursor()
        )

    async def CreateReservation(
        self, request: reservation_pb2.CreateReservationRequest, context: _Context
    ) -> reservation_pb2.Reservation:
        return await self._of_hub(request)

    async def ConfirmReservation(
        self, request: reservation_pb2.ConfirmReservationRequest, context: _Context
    ) -> reservation_pb2.Reservation:
        return await self._of_hub(request)

    async def ReleaseReservation(
        self, request: reservation_pb2.ReleaseReservationRequest, context: _Context
    ) -> reservation_pb2.Reservation:
        return await self._of_hub(request)

    async def RenewReservation(
        self, request: reservation_pb2.RenewReservationRequest, context: _Context
    ) -> reservation_pb2.Reservation:
        return await self._of_hub(request)

    async def RescheduleReservation(
        self, request: reservation_pb2.RescheduleReservationRequest, context: _Context
    ) -> reservation_pb2.Reservation:
        return await self._of_hub(request)

    async def SupplyReservationDetails(
        self, request: reservation_pb2.SupplyReservationDetailsRequest, context: _Context
    ) -> reservation_pb2.Reservation:
        return await self._of_hub(request)

    async def NoteReservationAnswer(
        self, request: reservation_pb2.NoteReservationAnswerRequest, context: _Context
    ) -> reservation_pb2.Reservation:
        return await self._of_hub(request)

    async def ReinstateReservation(
        self, request: reservation_pb2.ReinstateReservationRequest, context: _Context
    ) -> reservation_pb2.Reservation:
        return await self._of_hub(request)

    async def AcceptReservation(
        self, request: reservation_pb2.AcceptReservationRequest, context: _Context
    ) -> reservation_pb2.Reservation:
        return await self._of_staff(request)

    async def WaitlistReservation(
        self, request: reservation_pb2.WaitlistReservationRequest, context: _Context
    ) -> reservation_pb2.Reservation:
        return await self._of_staff(request)

    async def DeclineReservation(
        self, request: reservation_pb2.DeclineReservationRequest, context: _Context
    ) -> reservation_pb2.Reservation:
        return await self._of_staff(request)

    async def AskReservationDetails(
        self, request: reservation_pb2.AskReservationDetailsRequest, context: _Context
    ) -> reservation_pb2.Reservation:
        return await self._of_staff(request)

    async def ReofferReservation(
        self, request: reservation_pb2.ReofferReservationRequest, context: _Context
    ) -> reservation_pb2.Reservation:
        return await self._of_staff(request)

    async def WithdrawReservation(
        self, request: reservation_pb2.WithdrawReservationRequest, context: _Context
    ) -> reservation_pb2.Reservation:
        return await self._of_staff(request)

    async def TickReservationStep(
        self, request: reservation_pb2.TickReservationStepRequest, context: _Context
    ) -> reservation_pb2.Reservation:
        return await self._of_staff(request)

    async def MarkReservationSeen(
        self, request: reservation_pb2.MarkReservationSeenRequest, context: _Context
    ) -> reservation_pb2.Reservation:
        return await self._of_staff(request)

    async def AdmitReservation(
        self, request: reservation_pb2.AdmitReservationRequest, context: _Context
    ) -> reservation_pb2.Reservation:
        return await self._of_staff(request)

    async def CancelReservationAdmission(
        self, request: reservation_pb2.CancelReservationAdmissionRequest, context: _Context
    ) -> reservation_pb2.Reservation:
        return await self._of_staff(request)

    async def SettleReservationNote(
        self, request: reservation_pb2.SettleReservationNoteRequest, context: _Context
    ) -> reservation_pb2.Reservation:
        return await self._of_staff(request)


class CensusService(census_pb2_grpc.CensusServiceServicer):
    """What happens in the house's beds, told by its own systems and people."""

    def __init__(self, edge: Edge) -> None:
        self._edge = edge

    async def ApplyMovements(
        self, requests: AsyncIterable[census_pb2.ApplyMovementsRequest], context: _Context
    ) -> AsyncIterator[census_pb2.ApplyMovementsResponse]:
        # The queue's bound is the limit of what is unacknowledged: beyond it nothing more is read from the wire.
        taken: asyncio.Queue[asyncio.Task[census_pb2.ApplyMovementsResponse] | None]
        taken = asyncio.Queue(UNACKNOWLEDGED_MAX)
        reading = asyncio.create_task(self._read(requests, taken))
        try:
            while (work := await taken.get()) is not None:
                yield await work
            await reading
        finally:
            reading.cancel()
            while not taken.empty():
                if (left := taken.get_nowait()) is not None:
                    left.cancel()
                    left.add_done_callback(_heed)

    async def _read(
        self,
        requests: AsyncIterable[census_pb2.ApplyMovementsRequest],
        taken: asyncio.Queue[asyncio.Task[census_pb2.ApplyMovementsResponse] | None],
    ) -> None:
        try:
            async for request in requests:
                await taken.put(asyncio.create_task(self._apply(request.movement)))
        finally:
            await taken.put(None)

    async def _apply(self, movement: census_pb2.Movement) -> census_pb2.ApplyMovementsResponse:
        """Acknowledges one movement. A refusal that may pass ends the stream: what is unacknowledged comes again."""
        edge = self._edge
        try:
            stale = edge.published.stale_sources(edge.now())
            verdict = await edge.submit(census.apply_movement(movement, edge.caller(), edge.names, stale))
        except Refusal as refusal:
            # A fault of ours in one movement is no reason to hold up all that come after it.
            if refusal.reason.row.retryable and refusal.reason is not Reason.INTERNAL:
                raise
            edge.meter.refused(refusal.reason.value)
            return house.movement_refused(movement.source_id, movement.movement_id, refusal)
        return self._fate(movement.source_id, movement.movement_id, verdict)

    def _fate(self, source: str, movement: str, verdict: Verdict) -> census_pb2.ApplyMovementsResponse:
        return house.movement_fate(source, movement, verdict, self._edge.names, self._edge.moment().cursor())

    async def ReportAlive(
        self, request: census_pb2.ReportAliveRequest, context: _Context
    ) -> census_pb2.ReportAliveResponse:
        await self._edge.submit(census.report_alive(request, self._edge.caller()))
        return census_pb2.ReportAliveResponse()

    async def DeclareUnit(self, request: census_pb2.DeclareUnitRequest, context: _Context) -> availability_pb2.Unit:
        command = census.declare_unit(request, self._edge.caller(), self._edge.names)
        await self._edge.submit(command)
        return self._unit(command.unit.id)

    def _unit(self, unit: str) -> availability_pb2.Unit:
        self._known(unit)
        return self._edge.moment().unit(unit)

    def _known(self, unit: str) -> Unit:
        found = self._edge.published.ledger.unit(unit)
        if found is None:
            raise Refusal(Reason.UNIT_NOT_FOUND, {"unit": unit})
        return found

    async def ConfirmUnit(
        self, request: census_pb2.ConfirmUnitRequest, context: _Context
    ) -> census_pb2.ConfirmUnitResponse:
        edge = self._edge
        verdict = await edge.submit(census.confirm_unit(request, edge.caller(), edge.names))
        units = [edge.names.unit(unit) for unit in verdict.units]
        return census_pb2.ConfirmUnitResponse(units=units, cursor=edge.moment().cursor())

    async def DeclareCounts(self, request: census_pb2.DeclareCountsRequest, context: _Context) -> availability_pb2.Unit:
        edge = self._edge
        seen = await self._seen(request)
        stale = edge.published.stale_sources(edge.now())
        command = census.declare_counts(request, edge.caller(), edge.names, stale)
        await edge.submit(command, seen)
        return self._unit(command.unit)

    async def _seen(self, request: census_pb2.DeclareCountsRequest | census_pb2.CorrectFiguresRequest) -> int | None:
        if not request.HasField("seen"):
            return None
        return await self._edge.check_seen(inward.cursor(request.seen, "seen", self._edge.names))

    async def CorrectFigures(
        self, request: census_pb2.CorrectFiguresRequest, context: _Context
    ) -> availability_pb2.Unit:
        edge = self._edge
        seen = await self._seen(request)
        command = census.correct_figures(request, edge.caller(), edge.names)
        await edge.submit(command, seen)
        return self._unit(command.unit)

    async def SetUnitPolicy(self, request: census_pb2.SetUnitPolicyRequest, context: _Context) -> census_pb2.UnitPolicy:
        command = census.set_policy(request, self._edge.caller(), self._edge.names)
        await self._edge.submit(command)
        return house.policy(self._known(command.unit), self._edge.names)

    async def GetUnitPolicy(self, request: census_pb2.GetUnitPolicyRequest, context: _Context) -> census_pb2.UnitPolicy:
        return house.policy(self._known(self._edge.names.read_unit(request.unit, "unit")), self._edge.names)

    async def SetVisibility(
        self, request: census_pb2.SetVisibilityRequest, context: _Context
    ) -> census_pb2.SetVisibilityResponse:
        await self._edge.submit(census.set_visibility(request, self._edge.caller(), self._edge.names))
        return census_pb2.SetVisibilityResponse(cursor=self._edge.moment().cursor())

    async def UpdateEstablishment(
        self, request: census_pb2.UpdateEstablishmentRequest, context: _Context
    ) -> availability_pb2.Establishment:
        await self._edge.submit(census.update_establishment(request, self._edge.caller(), self._edge.names))
        return self._edge.moment().establishment()

    async def ListBeds(self, request: census_pb2.ListBedsRequest, context: _Context) -> census_pb2.ListBedsResponse:
        unit = self._edge.names.read_unit(request.parent, "parent")
        beds = self._beds(unit)
        page, token = self._edge.page(
            beds, lambda bed: (bed.name,), request.page_size, request.page_token, "ListBeds", unit
        )
        return census_pb2.ListBedsResponse(beds=page, next_page_token=token)

    async def ListStays(self, request: census_pb2.ListStaysRequest, context: _Context) -> census_pb2.ListStaysResponse:
        edge = self._edge
        unit = None
        if request.parent != edge.names.establishment:
            unit = edge.names.read_unit(request.parent, "parent")
            self._known(unit)
        page, token = edge.page(
            house.stays(edge.published, unit, edge.names),
            lambda stay: (stay.stay_key, str(stay.expected)),
            request.page_size,
            request.page_token,
            "ListStays",
            unit or "",
        )
        return census_pb2.ListStaysResponse(stays=page, next_page_token=token)

    async def UpdateBed(self, request: census_pb2.UpdateBedRequest, context: _Context) -> census_pb2.Bed:
        command = census.update_bed(request, self._edge.caller(), self._edge.names)
        await self._edge.submit(command)
        name = self._edge.names.bed(command.unit, command.bed)
        return next(bed for bed in self._beds(command.unit) if bed.name == name)

    def _beds(self, unit: str) -> list[census_pb2.Bed]:
        self._known(unit)
        return house.beds(self._edge.published, unit, self._edge.names, self._edge.now())

    async def ListParkedMovements(
        self, request: census_pb2.ListParkedMovementsRequest, context: _Context
    ) -> census_pb2.ListParkedMovementsResponse:
        edge = self._edge
        edge.names.check_establishment(request.parent, "parent")
        page, token = edge.page(
            list(edge.published.parked.values()),
            lambda parked: (_oldest_first(parked.parked), parked.id),
            request.page_size,
            request.page_token,
            "ListParkedMovements",
        )
        movements = [house.parked_movement(parked, edge.published, edge.names) for parked in page]
        return census_pb2.ListParkedMovementsResponse(movements=movements, next_page_token=token)

    async def SettleMovement(
        self, request: census_pb2.SettleMovementRequest, context: _Context
    ) -> census_pb2.ApplyMovementsResponse:
        edge = self._edge
        verdict = await edge.submit(census.settle_movement(request, edge.caller(), edge.names))
        told = verdict.parked.movement if verdict.parked is not None else None
        source = told.source if told is not None else request.corrected.source_id
        return self._fate(source, told.id if told is not None else request.corrected.movement_id, verdict)

    async def AnswerArrivalDoubt(
        self, request: census_pb2.AnswerArrivalDoubtRequest, context: _Context
    ) -> census_pb2.ArrivalDoubt:
        edge = self._edge
        command = census.answer_doubt(request, edge.caller(), edge.names)
        await edge.submit(command)
        doubt = edge.published.ledger.doubt(command.doubt)
        if doubt is None:
            raise Refusal(Reason.DOUBT_NOT_FOUND)
        return house.doubt(doubt, edge.published, edge.names)

    async def ListArrivalDoubts(
        self, request: census_pb2.ListArrivalDoubtsRequest, context: _Context
    ) -> census_pb2.ListArrivalDoubtsResponse:
        edge = self._edge
        edge.names.check_establishment(request.parent, "parent")
        page, token = edge.page(
            [doubt for doubt in edge.published.doubts.values() if doubt.answered is None],
            lambda doubt: (_oldest_first(doubt.raised), doubt.id),
            request.page_size,
            request.page_token,
            "ListArrivalDoubts",
        )
        doubts = [house.doubt(doubt, edge.published, edge.names) for doubt in page]
        return census_pb2.ListArrivalDoubtsResponse(doubts=doubts, next_page_token=token)

    async def SettleConflict(
        self, request: census_pb2.SettleConflictRequest, context: _Context
    ) -> census_pb2.SettleConflictResponse:
        await self._edge.submit(census.settle_conflict(request, self._edge.caller(), self._edge.names))
        return census_pb2.SettleConflictResponse(cursor=self._edge.moment().cursor())

    async def MoveClaim(self, request: census_pb2.MoveClaimRequest, context: _Context) -> census_pb2.MoveClaimResponse:
        await self._edge.submit(census.move_claim(request, self._edge.caller(), self._edge.names))
        return census_pb2.MoveClaimResponse(cursor=self._edge.moment().cursor())

    async def ListUnverifiedUnits(
        self, request: census_pb2.ListUnverifiedUnitsRequest, context: _Context
    ) -> census_pb2.ListUnverifiedUnitsResponse:
        edge = self._edge
        edge.names.check_establishment(request.parent, "parent")
        page, token = edge.page(
            edge.published.reconciling,
            lambda unit: (unit.unit,),
            request.page_size,
            request.page_token,
            "ListUnverifiedUnits",
        )
        units = [reinstating.unverified_unit(unit, edge.published, edge.names) for unit in page]
        return census_pb2.ListUnverifiedUnitsResponse(units=units, next_page_token=token)

    async def VerifyUnit(self, request: census_pb2.VerifyUnitRequest, context: _Context) -> availability_pb2.Unit:
        command = reinstating.verify_unit(request, self._edge.caller(), self._edge.names)
        await self._edge.submit(command)
        if self._edge.published.ledger.unit(command.unit) is None:
            # A unit that the restored node does not know, and where the hub knew reservations.
            return availability_pb2.Unit(name=request.name)
        return self._unit(command.unit)
