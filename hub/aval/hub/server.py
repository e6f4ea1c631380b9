"""The hub's servicers: thin. Each method reads who speaks, translates, asks the hub's parts, and translates back.

Who may call a method at all is decided before, by the wire's one table. What depends on more than the kind of caller is
here, by name: roles, own establishment, visibility of a request. Figures go out through `picture.shown` only.
"""

from collections.abc import AsyncIterator, Callable, Iterable
from datetime import datetime
from typing import Any, TypeAlias

import grpc

from aval.hub import brokerage, picture
from aval.hub.files import REFERENCES_TRIED, Act
from aval.hub.model import AskTarget, Cursor, Mandate, RequestFile
from aval.hub.pages import Page
from aval.hub.parts import Hub
from aval.hub.picture import LinkState, Viewpoint
from aval.hub.ports import Announcement, RequestFilter
from aval.hub.registry import Speaker
from aval.hub.settings import Role
from aval.hub.translate import figures, requests, reservations, terms
from aval.hub.watches import Alive, Changed, TerritoryWatch, Whole
from aval.kernel.need import PatientChoice
from aval.kernel.reasons import Reason, Refusal, field_invalid
from aval.v1 import availability_pb2 as availability
from aval.v1 import (
    availability_pb2_grpc,
    link_pb2,
    link_pb2_grpc,
    membership_pb2_grpc,
    request_pb2_grpc,
    territory_pb2_grpc,
)
from aval.v1 import membership_pb2 as membership
from aval.v1 import request_pb2 as pb
from aval.v1 import territory_pb2 as territory

CONTRACT_VERSION = "1"
"""Version of the contract served, said to nodes that announce themselves."""

CURSORS_MAX = 2000
"""Cursors read of one watch, as the contract says."""

WATCHED_NAMES_MAX = 2000
"""Requests that one watch may name: all that can be live."""

ANY = "-"
"""In place of a FINESS: every establishment served here (AIP-159)."""

SERVICES = (
    "aval.v1.AvailabilityService",
    "aval.v1.RequestService",
    "aval.v1.MembershipService",
    "aval.v1.TerritoryService",
    "aval.v1.AttachService",
)
"""Full names of what a hub serves, for health and reflection."""

# The methods take nothing from it: the gate has read who calls.
_Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"

Decide: TypeAlias = Callable[[RequestFile, Mandate, datetime], RequestFile]
"""An act: from a file to the file after it, in whose name, when."""


def _wire_establishment(hub: Hub, finess: str, viewpoint: Viewpoint) -> availability.Establishment:
    """An establishment as a viewpoint sees it. Raises ESTABLISHMENT_NOT_FOUND."""
    found = hub.picture(finess)
    at = None if found.cursor is None else _served(hub, found.cursor, viewpoint)
    unit_count = len(hub.seen(finess, viewpoint))
    member = hub.registry.members[finess]
    return figures.wire_establishment(member, found.description, at, _wire_link(hub, finess), unit_count)


def _served(hub: Hub, at: Cursor, viewpoint: Viewpoint) -> Cursor:
    return Cursor(at.establishment, at.incarnation, at.revision, at.tag, hub.view(viewpoint))


def _wire_link(hub: Hub, finess: str) -> availability.Link:
    silence = picture.silence(hub.picture(finess), hub.clock.monotonic())
    return figures.wire_link(silence, lost=hub.link_state(finess) is not LinkState.CONNECTED)


def _unreachable(hub: Hub) -> list[str]:
    return [terms.establishment_name(finess) for finess in hub.searching.unreachable()]


def _houses(hub: Hub, names: Iterable[str], field: str) -> frozenset[str]:
    """FINESS of establishments named in a filter. Raises ESTABLISHMENT_NOT_FOUND, MALFORMED_NAME, MALFORMED_FINESS."""
    return frozenset(hub.picture(str(terms.finess_of(name, field))).establishment for name in names)


class AvailabilityServicer(availability_pb2_grpc.AvailabilityServiceServicer):
    """The territory's figures, as each caller may see them: the messages that a node serves for itself."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    async def GetEstablishment(
        self, request: availability.GetEstablishmentRequest, context: _Context
    ) -> availability.Establishment:
        return _wire_establishment(self._hub, terms.finess_of(request.name, "name"), self._hub.viewpoint())

    async def ListEstablishments(
        self, request: availability.ListEstablishmentsRequest, context: _Context
    ) -> availability.ListEstablishmentsResponse:
        hub, viewpoint = self._hub, self._hub.viewpoint()
        page = Page(request.page_size, request.page_token, hub.caller_uri(), ("establishments",), hub.clock.now())
        houses, token = page.cut(hub.pictures.all(), str)
        return availability.ListEstablishmentsResponse(
            establishments=[_wire_establishment(hub, finess, viewpoint) for finess in houses],
            next_page_token=token,
            unreachable=_unreachable(hub),
        )

    async def ListUnits(
        self, request: availability.ListUnitsRequest, context: _Context
    ) -> availability.ListUnitsResponse:
        hub = self._hub
        finess = "" if request.parent == f"establishments/{ANY}" else str(terms.finess_of(request.parent, "parent"))
        viewpoint = self._viewpoint_as(request.view_as, finess)
        discipline = terms.DISCIPLINES.read(request.discipline)
        words = ("units", request.parent, request.discipline, request.stale_only, request.view_as)
        page = Page(request.page_size, request.page_token, hub.caller_uri(), words, hub.clock.now())
        houses = [hub.picture(finess).establishment] if finess else list(hub.pictures.all())
        units, token = page.cut(
            (
                one
                for house in houses
                for one in hub.seen(house, viewpoint)
                if discipline in (None, one.unit.discipline) and not (request.stale_only and one.freshness.is_sure)
            ),
            lambda one: one.unit.name,
        )
        met = dict.fromkeys(one.unit.establishment for one in units)
        at = [(house, hub.picture(house).cursor) for house in met]
        return availability.ListUnitsResponse(
            units=[requests.wire_seen(one) for one in units],
            next_page_token=token,
            unreachable=_unreachable(hub),
            cursors=[terms.wire_cursor(_served(hub, one, viewpoint)) for _, one in at if one is not None],
        )

    def _viewpoint_as(self, view_as: availability.ViewAs.ValueType, finess: str) -> Viewpoint:
        """The caller's viewpoint, or the one that it asks to look from: at its own house only."""
        viewpoint = self._hub.viewpoint()
        audience = figures.VIEWS.read(view_as)
        if audience is None:
            return viewpoint
        if not finess or finess != viewpoint.establishment:
            raise Refusal(Reason.NOT_YOUR_ESTABLISHMENT, {"establishment": finess or ANY})
        return Viewpoint(audience)

    async def WatchAvailability(
        self, request: availability.WatchAvailabilityRequest, context: _Context
    ) -> AsyncIterator[availability.WatchAvailabilityResponse]:
        hub, viewpoint = self._hub, self._hub.viewpoint()
        if request.include_reservations:
            problem = {"problem": "reservations are told by nodes, to their own hub and staff"}
            raise Refusal(Reason.METHOD_NOT_ALLOWED, problem)
        if len(request.cursors) > CURSORS_MAX:
            raise field_invalid("cursors", f"at most {CURSORS_MAX}")
        houses = _houses(hub, request.establishments, "establishments") or frozenset(hub.pictures.all())
        watch = TerritoryWatch(hub.pictures, hub.clock, viewpoint, hub.view(viewpoint), houses, hub.progress_seconds)
        given = [terms.cursor(one) for one in request.cursors]
        events = watch.events({one.establishment: one for one in given})
        try:
            async for event in events:
                for message in self._messages(event, viewpoint):
                    yield message
        finally:
            await events.aclose()

    def _messages(
        self, event: Whole | Changed | Alive, viewpoint: Viewpoint
    ) -> list[availability.WatchAvailabilityResponse]:
        hub = self._hub
        if isinstance(event, Alive):
            at = event.cursor or Cursor(event.establishment, 0, 0, b"")
            return [figures.wire_progress(at, event.ages, _wire_link(hub, event.establishment))]
        finess = event.cursor.establishment
        units = [requests.wire_seen(one) for one in event.units]
        member, link = hub.registry.members[finess], _wire_link(hub, finess)
        said = event.description
        if isinstance(event, Whole):
            house = figures.wire_establishment(member, said, event.cursor, link, len(units))
            return figures.wire_snapshot(house, units, event.cause)
        house_changed = None
        if said is not None:
            count = len(hub.seen(finess, viewpoint))
            house_changed = figures.wire_establishment(member, said, event.cursor, link, count)
        return figures.wire_change(event.cursor, units, event.removed, house_changed)


class RequestServicer(request_pb2_grpc.RequestServiceServicer):
    """Requests of regulators: what each says becomes an act on a file, answered with the request as it then stands."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    async def SearchBeds(self, request: pb.SearchBedsRequest, context: _Context) -> pb.SearchBedsResponse:
        hub = self._hub
        hub.regulator()
        need = terms.need(request.need)
        self._check_origin(need.origin)
        urgency = terms.URGENCIES.required(request.urgency, "urgency")
        if request.limit < 0:
            raise field_invalid("limit", "0 or more")
        houses = _houses(hub, request.establishments, "establishments")
        found = await hub.searching.search(need, urgency, hub.viewpoint(), limit=request.limit, establishments=houses)
        return requests.wire_found(found, hub.searching.unreachable())

    async def CreateRequest(self, request: pb.CreateRequestRequest, context: _Context) -> pb.Request:
        hub = self._hub
        speaker = hub.regulator()
        request_id = terms.given_uuid(request.request_id, "request_id")
        given = str(terms.finess_of(request.on_behalf_of, "on_behalf_of")) if request.on_behalf_of else ""
        now = hub.clock.now()
        mandate = speaker.mandate(hub.registry.acts_for(speaker, given), now)
        need = terms.need(request.need)
        self._check_origin(need.origin)
        urgency = terms.URGENCIES.required(request.urgency, "urgency")
        ready_since = terms.given_instant(request, "ready_since") if request.HasField("ready_since") else now
        targets = self._targets(request.asks)
        ask_next = self._ask_next(request.ask_next)
        external_reference = requests.external_reference(request)

        def make(reference: str) -> RequestFile:
            return brokerage.create(
                f"requests/{request_id}",
                reference,
                need,
                urgency,
                ready_since,
                mandate,
                now,
                targets=targets,
                ask_next=ask_next,
                choice=requests.CHOICES.read(request.choice) or PatientChoice.NOT_ASKED,
                external_reference=external_reference,
            )

        act = Act(speaker.caller, request_id, requests.content_hash(request))
        drawn = [brokerage.reference_of(hub.rng.token(brokerage.REFERENCE_LENGTH)) for _ in range(REFERENCES_TRIED)]
        return pb.Request.FromString(await hub.files.create(act, make, self._encode, drawn))

    async def AskEstablishments(self, request: pb.AskEstablishmentsRequest, context: _Context) -> pb.Request:
        targets = self._targets(request.asks)
        ask_next = self._ask_next(request.ask_next) or None
        return await self._act(
            request, lambda file, mandate, now: brokerage.ask(file, targets, mandate, now, ask_next=ask_next)
        )

    async def UpdateNeed(self, request: pb.UpdateNeedRequest, context: _Context) -> pb.Request:
        need, urgency = terms.need(request.need), terms.URGENCIES.read(request.urgency)
        self._check_origin(need.origin)
        revision = request.revision
        return await self._act(
            request,
            lambda file, mandate, now: brokerage.edit(file, need, mandate, now, urgency=urgency, revision=revision),
        )

    async def ConfirmRequest(self, request: pb.ConfirmRequestRequest, context: _Context) -> pb.Request:
        name = terms.reservation_name(request.reservation)
        return await self._act(
            request, lambda file, mandate, now: brokerage.confirm(file, name, request.offer_tag, mandate, now)
        )

    async def TakeBackConfirm(self, request: pb.TakeBackConfirmRequest, context: _Context) -> pb.Request:
        return await self._act(request, brokerage.take_back)

    async def RescheduleRequest(self, request: pb.RescheduleRequestRequest, context: _Context) -> pb.Request:
        arrival = terms.given_instant(request, "arrival")
        return await self._act(request, lambda file, mandate, now: brokerage.reschedule(file, arrival, mandate, now))

    async def ReleaseConfirmed(self, request: pb.ReleaseConfirmedRequest, context: _Context) -> pb.Request:
        reason = requests.release_reason(request.reason)
        return await self._act(request, lambda file, mandate, now: brokerage.release(file, reason, mandate, now))

    async def ReleaseAsk(self, request: pb.ReleaseAskRequest, context: _Context) -> pb.Request:
        name, reason = terms.reservation_name(request.reservation), requests.release_reason(request.reason)
        return await self._act(
            request, lambda file, mandate, now: brokerage.release_ask(file, name, reason, mandate, now)
        )

    async def RenewHold(self, request: pb.RenewHoldRequest, context: _Context) -> pb.Request:
        name, ttl = terms.reservation_name(request.reservation), terms.given_duration(request, "ttl")
        return await self._act(request, lambda file, mandate, now: brokerage.renew(file, name, ttl, mandate, now))

    async def SupplyDetails(self, request: pb.SupplyDetailsRequest, context: _Context) -> pb.Request:
        name, details = terms.reservation_name(request.reservation), reservations.details(request.details)
        return await self._act(
            request, lambda file, mandate, now: brokerage.supply_details(file, name, details, mandate, now)
        )

    async def NoteAnswer(self, request: pb.NoteAnswerRequest, context: _Context) -> pb.Request:
        name = terms.reservation_name(request.reservation)

        def decide(file: RequestFile, mandate: Mandate, now: datetime) -> RequestFile:
            note = requests.given_note(request.note, request.command_id, mandate)
            return brokerage.note_answer(file, name, note, mandate, now)

        return await self._act(request, decide)

    async def PlaceOutside(self, request: pb.PlaceOutsideRequest, context: _Context) -> pb.Request:
        reason = requests.outside_reason(request.reason)
        return await self._act(request, lambda file, mandate, now: brokerage.place_outside(file, reason, mandate, now))

    async def CancelRequest(self, request: pb.CancelRequestRequest, context: _Context) -> pb.Request:
        reason = requests.release_reason(request.reason)
        return await self._act(request, lambda file, mandate, now: brokerage.cancel(file, reason, mandate, now))

    async def NotifyWhenFree(self, request: pb.NotifyWhenFreeRequest, context: _Context) -> pb.Request:
        return await self._act(
            request, lambda file, mandate, now: brokerage.notify_when_free(file, mandate, now, stop=request.stop)
        )

    async def TakeOver(self, request: pb.TakeOverRequest, context: _Context) -> pb.Request:
        return await self._act(
            request, lambda file, mandate, now: brokerage.take_over(file, mandate, now, revision=request.revision)
        )

    async def GetRequest(self, request: pb.GetRequestRequest, context: _Context) -> pb.Request:
        speaker, name = self._hub.regulator(), terms.request_name(request.name)
        file = await self._hub.files.read(name)
        if file is None or not speaker.may_see(file.request.on_behalf_of):
            raise Refusal(Reason.REQUEST_NOT_FOUND, {"request": name})
        return self._wire(file)

    async def ListRequests(self, request: pb.ListRequestsRequest, context: _Context) -> pb.ListRequestsResponse:
        hub, speaker = self._hub, self._hub.regulator()
        given = str(terms.finess_of(request.on_behalf_of, "on_behalf_of")) if request.on_behalf_of else ""
        own = hub.registry.acts_for(speaker, given) if speaker.role is None else given
        states = frozenset(requests.STATES.known(request.states))
        words = ("requests", own, sorted(states), request.reference)
        page = Page(request.page_size, request.page_token, speaker.caller, words, hub.clock.now())
        found = await hub.files.find(
            RequestFilter(
                on_behalf_of=own,
                states=states,
                reference=request.reference,
                archived=bool(states or request.reference),
                after=page.after,
                limit=page.size + 1,
            )
        )
        files, token = page.cut(found, lambda file: file.request.name)
        return pb.ListRequestsResponse(requests=[self._wire(file) for file in files], next_page_token=token)

    async def WatchRequests(
        self, request: pb.WatchRequestsRequest, context: _Context
    ) -> AsyncIterator[pb.WatchRequestsResponse]:
        hub, speaker = self._hub, self._hub.regulator()
        if len(request.names) > WATCHED_NAMES_MAX:
            raise field_invalid("names", f"at most {WATCHED_NAMES_MAX}")
        names = frozenset(terms.request_name(name, "names") for name in request.names)
        with hub.files.bell.listen() as listener:
            revisions: dict[str, int] = {}
            for file in await self._present(speaker, names):
                revisions[file.request.name] = file.request.revision
                yield pb.WatchRequestsResponse(request=self._wire(file))
            yield pb.WatchRequestsResponse(caught_up=True)
            while True:
                changed = await listener.wait(hub.clock, hub.clock.monotonic() + hub.progress_seconds)
                if not changed:
                    yield pb.WatchRequestsResponse(heartbeat=True)
                for name, file in changed.items():
                    is_news = file.request.revision > revisions.get(name, 0)
                    if is_news and (not names or name in names) and speaker.may_see(file.request.on_behalf_of):
                        revisions[name] = file.request.revision
                        yield pb.WatchRequestsResponse(request=self._wire(file))

    async def ListOrphans(self, request: pb.ListOrphansRequest, context: _Context) -> pb.ListOrphansResponse:
        hub, speaker = self._hub, self._hub.regulator()
        page = Page(request.page_size, request.page_token, speaker.caller, ("orphans",), hub.clock.now())
        found = await hub.store.read(lambda transaction: transaction.orphans(page.after, page.size + 1))
        orphans, token = page.cut(found, lambda one: one.name)
        now = hub.clock.now()
        return pb.ListOrphansResponse(
            reservations=[reservations.wire_orphan(one, hub.territory, now) for one in orphans], next_page_token=token
        )

    async def _present(self, speaker: Speaker, names: frozenset[str]) -> list[RequestFile]:
        """What a watch begins with: the requests named, or all live ones, that the speaker may see."""
        files = self._hub.files
        if names:
            found = [await files.read(name) for name in sorted(names)]
            return [file for file in found if file is not None and speaker.may_see(file.request.on_behalf_of)]
        return await files.find(RequestFilter(on_behalf_of=speaker.establishment, live=True, limit=WATCHED_NAMES_MAX))

    async def _act(self, message: "_ActMessage", decide: Decide) -> pb.Request:
        """An act on an existing request. Raises REQUEST_NOT_FOUND, ID_REUSED, and what `decide` raises."""
        hub, speaker = self._hub, self._hub.regulator()
        act = Act(speaker.caller, terms.given_uuid(message.command_id, "command_id"), requests.content_hash(message))
        now = hub.clock.now()
        try:
            answer = await hub.files.act(
                act,
                terms.request_name(message.name),
                lambda file: speaker.may_see(file.request.on_behalf_of),
                lambda file: decide(file, speaker.mandate(file.request.on_behalf_of, now), now),
                self._encode,
            )
        except Refusal as refusal:
            if isinstance(refusal.subject, RequestFile):
                raise Refusal(refusal.reason, refusal.metadata, self._wire(refusal.subject)) from None
            raise
        return pb.Request.FromString(answer)

    def _wire(self, file: RequestFile) -> pb.Request:
        return requests.wire_request(file, self._hub.territory, self._hub.clock.now())

    def _encode(self, file: RequestFile) -> bytes:
        return self._wire(file).SerializeToString()

    def _targets(self, messages: Iterable[pb.AskTarget]) -> tuple[AskTarget, ...]:
        targets = requests.targets(messages)
        for target in targets:
            self._hub.check_unit(target.unit, self._hub.viewpoint())
        return targets

    def _ask_next(self, names: Iterable[str]) -> tuple[str, ...]:
        units = tuple(terms.unit_name(name, "ask_next") for name in names)
        for unit in units[: brokerage.ASK_NEXT_MAX]:
            self._hub.check_unit(unit, self._hub.viewpoint())
        return units

    def _check_origin(self, origin: str | None) -> None:
        """Distances are known from members only: another origin would limit nothing, in silence."""
        if origin is not None:
            self._hub.picture(origin)


_ActMessage: TypeAlias = (
    pb.AskEstablishmentsRequest
    | pb.UpdateNeedRequest
    | pb.ConfirmRequestRequest
    | pb.TakeBackConfirmRequest
    | pb.RescheduleRequestRequest
    | pb.ReleaseConfirmedRequest
    | pb.ReleaseAskRequest
    | pb.RenewHoldRequest
    | pb.SupplyDetailsRequest
    | pb.NoteAnswerRequest
    | pb.PlaceOutsideRequest
    | pb.CancelRequestRequest
    | pb.NotifyWhenFreeRequest
    | pb.TakeOverRequest
)


class MembershipServicer(membership_pb2_grpc.MembershipServiceServicer):
    """Who belongs to the territory; nodes announce themselves here."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    async def Announce(self, request: membership.AnnounceRequest, context: _Context) -> membership.AnnounceResponse:
        hub, caller = self._hub, self._hub.current_caller()
        finess = str(terms.finess_of(request.cursor.establishment, "cursor.establishment"))
        await hub.registry.announce(
            caller,
            Announcement(
                establishment=finess,
                address=request.address,
                version=request.version[:64],
                contract_version=request.contract_version[:64],
                verbs=tuple(sorted(set(request.verbs)))[:64],
            ),
        )
        hub.routes[finess].announced()
        at = hub.pictures.cursor_heard(finess)
        return membership.AnnounceResponse(contract_version=CONTRACT_VERSION, cursor=terms.wire_cursor(at))

    async def ListMembers(
        self, request: membership.ListMembersRequest, context: _Context
    ) -> membership.ListMembersResponse:
        hub, viewpoint = self._hub, self._hub.viewpoint()
        page = Page(request.page_size, request.page_token, hub.caller_uri(), ("members",), hub.clock.now())
        houses, token = page.cut(hub.registry.members, str)
        waiting = await hub.store.read(lambda transaction: transaction.waiting())
        members = [self._member(finess, viewpoint, waiting.get(finess, 0)) for finess in houses]
        return membership.ListMembersResponse(members=members, next_page_token=token)

    def _member(self, finess: str, viewpoint: Viewpoint, pending: int) -> membership.Member:
        hub, said = self._hub, self._hub.registry.announcement(finess)
        age = hub.registry.announce_age(finess)
        return membership.Member(
            establishment=_wire_establishment(hub, finess, viewpoint),
            address=hub.registry.address(finess),
            version=said.version if said else "",
            contract_version=said.contract_version if said else "",
            announce_age=terms.duration(age),
            pending_commands=pending,
            errors_last_hour=hub.routes[finess].errors_last_hour,
            certificate_end_time=terms.timestamp(hub.registry.certificate_end(finess)),
        )

    async def Enrol(self, request: membership.EnrolRequest, context: _Context) -> membership.EnrolResponse:
        raise Refusal(Reason.NOT_SERVED)

    async def Renew(self, request: membership.RenewRequest, context: _Context) -> membership.RenewResponse:
        raise Refusal(Reason.NOT_SERVED)

    async def Revoke(self, request: membership.RevokeRequest, context: _Context) -> membership.RevokeResponse:
        raise Refusal(Reason.NOT_SERVED)


class TerritoryServicer(territory_pb2_grpc.TerritoryServiceServicer):
    """Sums over the territory, for the cell and management."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    async def GetCapacity(
        self, request: territory.GetCapacityRequest, context: _Context
    ) -> territory.GetCapacityResponse:
        hub = self._hub
        if hub.speaker().role not in (Role.CELL, Role.MANAGEMENT):
            raise Refusal(Reason.ROLE_NOT_ALLOWED)
        viewpoint, names = hub.viewpoint(), hub.registry.members
        disciplines = frozenset(terms.DISCIPLINES.required(one, "disciplines") for one in request.disciplines)
        houses = _houses(hub, request.establishments, "establishments") or frozenset(names)
        found = picture.capacity(
            one
            for finess in sorted(houses)
            for one in hub.seen(finess, viewpoint)
            if not disciplines or one.unit.discipline in disciplines
        )
        return territory.GetCapacityResponse(
            lines=[requests.wire_capacity_line(one, names[one.establishment].display_name) for one in found.lines],
            totals=[requests.wire_capacity_line(one, "") for one in found.totals],
            unreachable=_unreachable(hub),
            establishment_count=len(names),
        )


class AttachServicer(link_pb2_grpc.AttachServiceServicer):
    """Reserved: the stream that a node which cannot be dialled will open."""

    def Attach(
        self, request_iterator: AsyncIterator[link_pb2.AttachRequest], context: _Context
    ) -> AsyncIterator[link_pb2.AttachResponse]:
        raise Refusal(Reason.NOT_SERVED)


def add_servicers(hub: Hub, server: grpc.aio.Server) -> None:
    """Serves the hub there."""
    availability_pb2_grpc.add_AvailabilityServiceServicer_to_server(AvailabilityServicer(hub), server)
    request_pb2_grpc.add_RequestServiceServicer_to_server(RequestServicer(hub), server)
    membership_pb2_grpc.add_MembershipServiceServicer_to_server(MembershipServicer(hub), server)
    territory_pb2_grpc.add_TerritoryServiceServicer_to_server(TerritoryServicer(hub), server)
    link_pb2_grpc.add_AttachServiceServicer_to_server(AttachServicer(), server)
