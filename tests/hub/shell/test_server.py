"""The servicers, called without a wire: roles, mandates, ids, pages, and what each caller is shown."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from typing import Any, cast
from uuid import uuid4

import pytest
from msgspec.structs import replace

from aval.hub.model import ChangePart, Ending, VisibilityRule
from aval.hub.server import (
    AttachServicer,
    AvailabilityServicer,
    MembershipServicer,
    RequestServicer,
    TerritoryServicer,
)
from aval.kernel.finess import FinessET
from aval.kernel.identity import EstablishmentDesk, HubDesk, HubOperator, HubReplica, Identity, Node, Staff, Territory
from aval.kernel.lifecycle import ReservationState, WithdrawReason
from aval.kernel.reasons import Reason, Refusal
from aval.kernel.statuses import Shown
from aval.v1 import availability_pb2 as availability
from aval.v1 import membership_pb2 as membership
from aval.v1 import request_pb2 as pb
from aval.v1 import reservation_pb2 as reservation
from aval.v1 import terms_pb2
from aval.v1 import territory_pb2 as territory
from tests.hub.shell.fakes import (
    LUNEVILLE,
    OTHER_PARTNER,
    PARTNER,
    START,
    TERRITORY,
    TOUL,
    FakeCaller,
    FakeHub,
    fake_hub,
)

ANNE, MARC = HubOperator(TERRITORY, "anne"), HubOperator(TERRITORY, "marc")
LEA = Staff(TERRITORY, FinessET(TOUL), "lea")
PAUL = Staff(TERRITORY, FinessET(LUNEVILLE), "paul")
RIVAL = Staff(TERRITORY, FinessET(OTHER_PARTNER), "rival")
FOREIGNER = HubReplica(Territory("autre.aval.internal"), 0)
CONTEXT: Any = None
"""What gRPC gives: the servicers take nothing from it."""


class Served:
    """A hub over fakes with its servicers."""

    def __init__(self, hub: FakeHub) -> None:
        self.fakes = hub
        self.requests = RequestServicer(hub.running.hub)
        self.availability = AvailabilityServicer(hub.running.hub)
        self.members = MembershipServicer(hub.running.hub)
        self.territory = TerritoryServicer(hub.running.hub)

    def calls(self, identity: Identity, actor: bytes | None = None) -> None:
        """That caller makes the next calls."""
        self.fakes.caller.append(FakeCaller(identity, actor))

    def unit(self, finess: str) -> str:
        """The unit of a house."""
        return self.fakes.nodes[finess].unit_name

    async def create(self, *units: str, on_behalf_of: str = "", mode: Any = terms_pb2.MODE_HOLD) -> pb.Request:
        """A new request."""
        return await self.requests.CreateRequest(creation(*units, on_behalf_of=on_behalf_of, mode=mode), CONTEXT)

    async def until(self, name: str, condition: Callable[[pb.Request], bool]) -> pb.Request:
        """The request, once the condition holds of it."""
        last = pb.Request()

        async def holds() -> bool:
            nonlocal last
            last = await self.requests.GetRequest(pb.GetRequestRequest(name=name), CONTEXT)
            return condition(last)

        await self.fakes.clock.run_until(holds, 60, name)
        return last


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    """A hub that has heard all its nodes."""
    hub = await fake_hub()
    hub.nodes[PARTNER].visibility = VisibilityRule(ght=Shown.EXACT, partner=Shown.YES_OR_NO, everyone=Shown.NOTHING)
    hub.start()
    await hub.clock.advance(1)
    yield Served(hub)
    await hub.stop()


def need() -> terms_pb2.Need:
    message = terms_pb2.Need(
        discipline=terms_pb2.DISCIPLINE_SMR_GERIATRIC,
        gender=terms_pb2.GENDER_FEMALE,
        age_years=82,
        origin=f"establishments/{TOUL}",
    )
    message.arrival_earliest.FromDatetime(START)
    message.arrival_latest.FromDatetime(START.replace(day=26))
    return message


def creation(*units: str, on_behalf_of: str = "", mode: Any = terms_pb2.MODE_HOLD) -> pb.CreateRequestRequest:
    return pb.CreateRequestRequest(
        request_id=str(uuid4()),
        need=need(),
        urgency=terms_pb2.URGENCY_PLANNED,
        on_behalf_of=on_behalf_of,
        asks=[pb.AskTarget(reservation_id=str(uuid4()), unit=unit, mode=mode) for unit in units],
    )


async def refused(call: Awaitable[object]) -> Refusal:
    with pytest.raises(Refusal) as refusal:
        await call
    return refusal.value


def is_held(request: pb.Request) -> bool:
    return request.asks[0].known.state == reservation.Reservation.STATE_HELD


# --- requests: a whole life, mandates, ids ---------------------------------------------------------------------------


async def test_a_request_is_asked_held_confirmed_rescheduled_and_released(served: Served) -> None:
    served.calls(LEA)
    created = await served.create(served.unit(LUNEVILLE))
    assert created.state == pb.Request.STATE_OPEN
    assert created.asks[0].delivery == pb.Ask.DELIVERY_QUEUED
    assert created.requester.role == "operator"
    assert created.requester.on_behalf_of == f"establishments/{TOUL}"
    assert created.requester.caller == str(LEA)
    held = await served.until(created.name, is_held)
    confirm = pb.ConfirmRequestRequest(
        command_id=str(uuid4()),
        name=created.name,
        reservation=held.asks[0].reservation,
        offer_tag=held.asks[0].known.offer.offer_tag,
    )
    confirming = await served.requests.ConfirmRequest(confirm, CONTEXT)
    assert confirming.state == pb.Request.STATE_CONFIRMING
    confirmed = await served.until(created.name, lambda one: one.state == pb.Request.STATE_CONFIRMED)
    assert confirmed.subject == held.asks[0].reservation
    assert await served.requests.ConfirmRequest(confirm, CONTEXT) == confirming
    released = await served.requests.ReleaseConfirmed(
        pb.ReleaseConfirmedRequest(
            command_id=str(uuid4()), name=created.name, reason=reservation.RELEASE_REASON_PATIENT_REFUSED
        ),
        CONTEXT,
    )
    assert released.state == pb.Request.STATE_RELEASING
    assert released.asks[0].release_pending
    opened = await served.until(created.name, lambda one: one.state == pb.Request.STATE_OPEN)
    assert opened.asks[0].known.state == reservation.Reservation.STATE_RELEASED


async def test_the_same_act_gets_the_first_answer_and_another_content_its_own_error(served: Served) -> None:
    served.calls(LEA)
    message = creation(served.unit(LUNEVILLE))
    first = await served.requests.CreateRequest(message, CONTEXT)
    await served.until(first.name, is_held)
    assert await served.requests.CreateRequest(message, CONTEXT) == first
    message.urgency = terms_pb2.URGENCY_TODAY
    assert (await refused(served.requests.CreateRequest(message, CONTEXT))).reason is Reason.ID_REUSED
    cancel = pb.CancelRequestRequest(
        command_id=str(uuid4()), name=first.name, reason=reservation.RELEASE_REASON_PATIENT_DIED
    )
    cancelled = await served.requests.CancelRequest(cancel, CONTEXT)
    assert await served.requests.CancelRequest(cancel, CONTEXT) == cancelled
    cancel.reason = reservation.RELEASE_REASON_OTHER
    assert (await refused(served.requests.CancelRequest(cancel, CONTEXT))).reason is Reason.ID_REUSED


async def test_a_late_copy_of_a_refused_act_is_refused_again_though_it_could_be_done_now(served: Served) -> None:
    served.calls(LEA)
    created = await served.create(served.unit(LUNEVILLE))
    take_back = pb.TakeBackConfirmRequest(command_id=str(uuid4()), name=created.name)
    assert (await refused(served.requests.TakeBackConfirm(take_back, CONTEXT))).reason is Reason.NOT_IN_THIS_STATE
    held = await served.until(created.name, is_held)
    await served.requests.ConfirmRequest(
        pb.ConfirmRequestRequest(
            command_id=str(uuid4()),
            name=created.name,
            reservation=held.asks[0].reservation,
            offer_tag=held.asks[0].known.offer.offer_tag,
        ),
        CONTEXT,
    )
    again = await refused(served.requests.TakeBackConfirm(take_back, CONTEXT))
    assert again.reason is Reason.NOT_IN_THIS_STATE


async def test_ids_of_requests_and_reservations_are_taken_once_in_the_territory(served: Served) -> None:
    served.calls(LEA)
    first = creation(served.unit(LUNEVILLE))
    await served.requests.CreateRequest(first, CONTEXT)
    served.calls(PAUL)
    assert (await refused(served.requests.CreateRequest(first, CONTEXT))).reason is Reason.ID_REUSED
    other = creation(served.unit(LUNEVILLE))
    other.asks[0].reservation_id = first.asks[0].reservation_id
    assert (await refused(served.requests.CreateRequest(other, CONTEXT))).reason is Reason.ID_REUSED


async def test_a_refusal_by_state_bears_the_request_as_it_is(served: Served) -> None:
    served.calls(LEA)
    created = await served.create(served.unit(LUNEVILLE))
    take_back = pb.TakeBackConfirmRequest(command_id=str(uuid4()), name=created.name)
    subject = (await refused(served.requests.TakeBackConfirm(take_back, CONTEXT))).subject
    assert isinstance(subject, pb.Request)
    assert subject.name == created.name


async def test_each_spoken_reference_is_another(served: Served) -> None:
    served.calls(LEA)
    references = {(await served.create()).reference for _ in range(20)}
    assert len(references) == 20
    assert all(len(one) == 6 and one[2] == "-" for one in references)


# --- who may do what -------------------------------------------------------------------------------------------------


async def test_the_cell_names_the_member_that_it_acts_for(served: Served) -> None:
    served.calls(ANNE)
    assert (await refused(served.create())).reason is Reason.FIELD_INVALID
    assert (await refused(served.create(on_behalf_of="establishments/540000080"))).reason is Reason.NOT_A_MEMBER
    created = await served.create(on_behalf_of=f"establishments/{TOUL}")
    assert created.requester.role == "cell"
    assert created.requester.on_behalf_of == f"establishments/{TOUL}"


async def test_a_member_speaks_for_itself_only(served: Served) -> None:
    served.calls(PAUL)
    answer = await refused(served.create(on_behalf_of=f"establishments/{TOUL}"))
    assert answer.reason is Reason.NOT_YOUR_ESTABLISHMENT


ACTS: dict[str, Callable[[str], Any]] = {
    "GetRequest": lambda name: pb.GetRequestRequest(name=name),
    "AskEstablishments": lambda name: pb.AskEstablishmentsRequest(command_id=str(uuid4()), name=name),
    "UpdateNeed": lambda name: pb.UpdateNeedRequest(command_id=str(uuid4()), name=name, need=need()),
    "TakeBackConfirm": lambda name: pb.TakeBackConfirmRequest(command_id=str(uuid4()), name=name),
    "TakeOver": lambda name: pb.TakeOverRequest(command_id=str(uuid4()), name=name),
    "NotifyWhenFree": lambda name: pb.NotifyWhenFreeRequest(command_id=str(uuid4()), name=name),
    "CancelRequest": lambda name: pb.CancelRequestRequest(
        command_id=str(uuid4()), name=name, reason=reservation.RELEASE_REASON_OTHER
    ),
    "PlaceOutside": lambda name: pb.PlaceOutsideRequest(
        command_id=str(uuid4()), name=name, reason=pb.OUTSIDE_REASON_HOME
    ),
    "ReleaseConfirmed": lambda name: pb.ReleaseConfirmedRequest(
        command_id=str(uuid4()), name=name, reason=reservation.RELEASE_REASON_OTHER
    ),
}


@pytest.mark.parametrize("method", ACTS)
async def test_others_find_no_such_request_and_management_no_need_at_all(served: Served, method: str) -> None:
    served.calls(LEA)
    name = (await served.create(served.unit(LUNEVILLE))).name
    served.calls(PAUL)
    call = getattr(served.requests, method)
    assert (await refused(call(ACTS[method](name), CONTEXT))).reason is Reason.REQUEST_NOT_FOUND
    served.calls(MARC)
    assert (await refused(call(ACTS[method](name), CONTEXT))).reason is Reason.ROLE_NOT_ALLOWED


async def test_management_and_strangers_to_the_table_of_roles(served: Served) -> None:
    served.calls(MARC)
    search = pb.SearchBedsRequest(need=need(), urgency=terms_pb2.URGENCY_PLANNED)
    assert (await refused(served.requests.SearchBeds(search, CONTEXT))).reason is Reason.ROLE_NOT_ALLOWED
    assert (await refused(served.requests.ListRequests(pb.ListRequestsRequest(), CONTEXT))).reason is (
        Reason.ROLE_NOT_ALLOWED
    )
    watch = served.requests.WatchRequests(pb.WatchRequestsRequest(), CONTEXT)
    assert (await refused(anext(watch))).reason is Reason.ROLE_NOT_ALLOWED
    capacity = await served.territory.GetCapacity(territory.GetCapacityRequest(), CONTEXT)
    assert capacity.establishment_count == 4
    served.calls(HubOperator(TERRITORY, "personne"))
    for call in (
        served.territory.GetCapacity(territory.GetCapacityRequest(), CONTEXT),
        served.availability.ListUnits(availability.ListUnitsRequest(parent="establishments/-"), CONTEXT),
        served.create(),
    ):
        assert (await refused(call)).reason is Reason.ROLE_NOT_ALLOWED


async def test_members_may_not_read_the_sums(served: Served) -> None:
    served.calls(LEA)
    answer = await refused(served.territory.GetCapacity(territory.GetCapacityRequest(), CONTEXT))
    assert answer.reason is Reason.ROLE_NOT_ALLOWED


async def test_a_desk_says_who_is_signed_in(served: Served) -> None:
    actor = terms_pb2.Actor(subject="u-17", display_name="Anne L.", role="cell").SerializeToString()
    served.calls(HubDesk(TERRITORY), actor)
    created = await served.create(on_behalf_of=f"establishments/{TOUL}")
    assert (created.requester.actor, created.requester.display_name) == ("u-17", "Anne L.")
    served.calls(EstablishmentDesk(TERRITORY, FinessET(TOUL)), actor)
    assert (await served.create()).requester.role == "operator"
    served.calls(HubDesk(TERRITORY))
    assert (await refused(served.create(on_behalf_of=f"establishments/{TOUL}"))).reason is Reason.ROLE_NOT_ALLOWED
    served.calls(HubDesk(TERRITORY), b"\xff\xff")
    assert (await refused(served.create(on_behalf_of=f"establishments/{TOUL}"))).reason is Reason.FIELD_INVALID


# --- visibility ------------------------------------------------------------------------------------------------------


def exact_figures(unit: availability.Unit) -> list[int]:
    """Every number that says how many."""
    numbers = [one.count for one in unit.counts] + [one.count for one in unit.grantable]
    return numbers + [step.free for place in unit.classes for step in place.steps]


async def everything_told(served: Served, identity: Identity) -> list[availability.Unit]:
    """Every form in which that caller can get the partner's unit, by any RPC, page, order, search or watch."""
    served.calls(identity)
    told: list[availability.Unit] = []
    for parent in (f"establishments/{PARTNER}", "establishments/-"):
        token = ""
        while True:
            page = await served.availability.ListUnits(
                availability.ListUnitsRequest(parent=parent, page_size=1, page_token=token), CONTEXT
            )
            told.extend(page.units)
            token = page.next_page_token
            if not token:
                break
    watch = served.availability.WatchAvailability(availability.WatchAvailabilityRequest(), CONTEXT)
    for _ in range(4):
        told.extend((await anext(watch)).snapshot.units)
    node = served.fakes.nodes[PARTNER]
    node.places = 3
    node.publish()
    following = asyncio.ensure_future(next_change(watch))
    await served.fakes.clock.advance(20)
    told.extend(following.result() if following.done() else [])
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)
    if identity.kind.value in ("staff", "hub-operator"):
        found = await served.requests.SearchBeds(
            pb.SearchBedsRequest(need=need(), urgency=terms_pb2.URGENCY_PLANNED), CONTEXT
        )
        told.extend(one.unit for one in found.ranked)
        assert all(one.places == 1 for one in found.ranked if one.unit.name == served.unit(PARTNER)) or (
            identity in (ANNE, LEA)
        )
    return [unit for unit in told if unit.name == served.unit(PARTNER)]


async def next_change(watch: AsyncIterator[availability.WatchAvailabilityResponse]) -> list[availability.Unit]:
    """The units of the next change of a watch; heartbeats are passed over."""
    async for message in watch:
        if message.WhichOneof("event") == "change":
            return list(message.change.units)
    return []


async def test_a_competitor_cannot_get_the_exact_figure_by_any_way(served: Served) -> None:
    for unit in await everything_told(served, RIVAL):
        assert unit.shown == availability.SHOWN_YES_OR_NO
        assert set(exact_figures(unit)) <= {0, 1}
        assert not unit.closures
        assert not unit.conflicts
        assert not unit.HasField("visibility")
    told = await everything_told(served, Node(TERRITORY, FinessET(OTHER_PARTNER)))
    assert len(told) >= 3
    assert {number for unit in told for number in exact_figures(unit)} <= {0, 1}


async def test_the_same_ways_tell_the_ght_and_the_house_itself_exactly(served: Served) -> None:
    for identity in (LEA, ANNE):
        numbers = {number for unit in await everything_told(served, identity) for number in exact_figures(unit)}
        assert numbers & {3, 4}
        served.fakes.nodes[PARTNER].places = 4
        served.fakes.nodes[PARTNER].publish()
        await served.fakes.clock.advance(1)
    served.calls(Staff(TERRITORY, FinessET(PARTNER), "zoe"))
    own = await served.availability.ListUnits(
        availability.ListUnitsRequest(parent=f"establishments/{PARTNER}"), CONTEXT
    )
    assert own.units[0].HasField("visibility")
    as_seen = await served.availability.ListUnits(
        availability.ListUnitsRequest(parent=f"establishments/{PARTNER}", view_as=availability.VIEW_AS_PARTNER),
        CONTEXT,
    )
    assert as_seen.units[0].shown == availability.SHOWN_YES_OR_NO


async def test_what_is_hidden_is_as_if_it_were_not_there(served: Served) -> None:
    assert await everything_told(served, FOREIGNER) == []
    house = await served.availability.GetEstablishment(
        availability.GetEstablishmentRequest(name=f"establishments/{PARTNER}"), CONTEXT
    )
    assert house.unit_count == 0


async def test_one_looks_through_others_eyes_at_ones_own_house_only(served: Served) -> None:
    served.calls(RIVAL)
    request = availability.ListUnitsRequest(parent=f"establishments/{PARTNER}", view_as=availability.VIEW_AS_GHT)
    answer = await refused(served.availability.ListUnits(request, CONTEXT))
    assert answer.reason is Reason.NOT_YOUR_ESTABLISHMENT


async def test_a_unit_that_is_not_shown_cannot_be_asked(served: Served) -> None:
    hub = served.fakes
    hub.nodes[PARTNER].visibility = VisibilityRule(partner=Shown.NOTHING)
    hub.nodes[PARTNER].publish()
    await hub.clock.advance(1)
    served.calls(RIVAL)
    assert (await refused(served.create(served.unit(PARTNER)))).reason is Reason.UNIT_NOT_FOUND
    served.calls(LEA)
    assert (await served.create(served.unit(PARTNER))).asks


async def test_sums_are_over_exact_figures_and_name_what_is_missing(served: Served) -> None:
    served.calls(MARC)
    served.fakes.faults[LUNEVILLE].down = True
    served.fakes.nodes[LUNEVILLE].publish()
    await served.fakes.clock.advance(10)
    for node in (TOUL, PARTNER, OTHER_PARTNER):
        served.fakes.nodes[node].publish()
    await served.fakes.clock.advance(115)
    for node in (TOUL, PARTNER, OTHER_PARTNER):
        served.fakes.nodes[node].publish()
    await served.fakes.clock.advance(1)
    sums = await served.territory.GetCapacity(territory.GetCapacityRequest(), CONTEXT)
    assert list(sums.unreachable) == [f"establishments/{LUNEVILLE}"]
    assert [(one.installed, one.available_sure, one.units) for one in sums.totals] == [(12, 12, 3)]


# --- lists, pages, watches -------------------------------------------------------------------------------------------


async def test_lists_are_walked_in_pages_bound_to_caller_and_filter(served: Served) -> None:
    served.calls(LEA)
    names = sorted([(await served.create()).name for _ in range(5)])
    found, token = [], ""
    for _ in range(3):
        page = await served.requests.ListRequests(pb.ListRequestsRequest(page_size=2, page_token=token), CONTEXT)
        found += [one.name for one in page.requests]
        token = page.next_page_token
    assert found == names
    assert token == ""
    first = await served.requests.ListRequests(pb.ListRequestsRequest(page_size=2), CONTEXT)
    again = pb.ListRequestsRequest(page_size=2, page_token=first.next_page_token)
    served.calls(ANNE)
    assert (await refused(served.requests.ListRequests(again, CONTEXT))).reason is Reason.PAGE_TOKEN_INVALID
    served.calls(LEA)
    again.reference = "K7-3F9"
    assert (await refused(served.requests.ListRequests(again, CONTEXT))).reason is Reason.PAGE_TOKEN_INVALID
    again.reference = ""
    served.fakes.clock.set_wall(3601)
    assert (await refused(served.requests.ListRequests(again, CONTEXT))).reason is Reason.PAGE_TOKEN_INVALID
    again.page_token = "nonsense"
    assert (await refused(served.requests.ListRequests(again, CONTEXT))).reason is Reason.PAGE_TOKEN_INVALID


async def test_members_are_listed_with_their_links(served: Served) -> None:
    served.calls(LEA)
    listed = await served.members.ListMembers(membership.ListMembersRequest(), CONTEXT)
    assert [one.establishment.name for one in listed.members] == [
        f"establishments/{finess}" for finess in sorted((TOUL, LUNEVILLE, PARTNER, OTHER_PARTNER))
    ]
    assert all(one.establishment.link.state == availability.Link.STATE_CONNECTED for one in listed.members)


async def test_a_watch_of_requests_tells_what_its_caller_may_see_and_each_change_once(served: Served) -> None:
    served.calls(LEA)
    mine = await served.create(served.unit(LUNEVILLE))
    await served.until(mine.name, is_held)
    served.calls(PAUL)
    await served.create()
    served.calls(LEA)
    watch = served.requests.WatchRequests(pb.WatchRequestsRequest(), CONTEXT)
    assert (await anext(watch)).request.name == mine.name
    assert (await anext(watch)).caught_up
    following = asyncio.ensure_future(anext(watch))
    served.calls(PAUL)
    await served.create()
    await served.fakes.clock.settle()
    assert not following.done()
    served.calls(LEA)
    notify = pb.NotifyWhenFreeRequest(command_id=str(uuid4()), name=mine.name)
    await served.requests.NotifyWhenFree(notify, CONTEXT)
    await served.fakes.clock.settle()
    told = following.result().request
    assert told.name == mine.name
    heartbeat = asyncio.ensure_future(until_heartbeat(watch))
    await served.fakes.clock.advance(60)
    assert heartbeat.done()
    heartbeat.cancel()
    await served.fakes.clock.settle()
    assert served.fakes.running.hub.files.bell.listeners == 1


async def until_heartbeat(watch: AsyncIterator[pb.WatchRequestsResponse]) -> None:
    """Reads a watch up to its heartbeat, and leaves it."""
    async for message in watch:
        if message.heartbeat:
            break
    await cast(AsyncGenerator[object, None], watch).aclose()


async def test_a_slow_watcher_holds_no_more_than_what_there_is(served: Served) -> None:
    """A thousand changes while it does not read: it then gets the last state of each, once."""
    served.calls(LEA)
    watch = served.availability.WatchAvailability(availability.WatchAvailabilityRequest(), CONTEXT)
    for _ in range(8):
        await anext(watch)
    node = served.fakes.nodes[LUNEVILLE]
    pictures = served.fakes.running.hub.pictures
    for _ in range(1000):
        node.places = node.places % 7 + 1
        node.revision += 1
        await pictures.hear(LUNEVILLE, ChangePart(node.cursor, (node.unit(),)))
    told = await anext(watch)
    assert told.change.cursor.revision == node.revision
    following = asyncio.ensure_future(anext(watch))
    await served.fakes.clock.settle()
    assert not following.done()
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)


async def test_a_watch_resumes_from_its_cursors_and_another_view_begins_anew(served: Served) -> None:
    served.calls(LEA)
    watch = served.availability.WatchAvailability(availability.WatchAvailabilityRequest(), CONTEXT)
    cursors = [(await anext(watch)).snapshot.establishment.cursor for _ in range(4)]
    assert all(len(one.view) == 8 for one in cursors)
    again = availability.WatchAvailabilityRequest(cursors=cursors)
    first = await anext(served.availability.WatchAvailability(again, CONTEXT))
    assert first.WhichOneof("event") == "progress"
    served.calls(RIVAL)
    told = await anext(served.availability.WatchAvailability(again, CONTEXT))
    assert told.snapshot.cause == availability.Snapshot.CAUSE_OTHER_VIEW
    served.calls(LEA)
    cursors[0].revision -= 1
    told = await anext(served.availability.WatchAvailability(again, CONTEXT))
    assert told.WhichOneof("event") == "progress"
    behind = availability.WatchAvailabilityRequest(cursors=cursors)
    told = await anext(served.availability.WatchAvailability(behind, CONTEXT))
    assert told.snapshot.cause == availability.Snapshot.CAUSE_HISTORY_COMPACTED
    cursors[0].revision += 1000
    ahead = availability.WatchAvailabilityRequest(cursors=cursors)
    told = await anext(served.availability.WatchAvailability(ahead, CONTEXT))
    assert told.WhichOneof("event") == "progress"


async def test_reservations_are_told_by_nodes_only(served: Served) -> None:
    served.calls(ANNE)
    watch = served.availability.WatchAvailability(
        availability.WatchAvailabilityRequest(include_reservations=True), CONTEXT
    )
    assert (await refused(anext(watch))).reason is Reason.METHOD_NOT_ALLOWED


# --- bad input -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda m: m.ClearField("need"), Reason.FIELD_INVALID),
        (lambda m: m.ClearField("urgency"), Reason.FIELD_INVALID),
        (lambda m: setattr(m, "request_id", "not-a-uuid"), Reason.FIELD_INVALID),
        (lambda m: setattr(m.need, "age_years", 400), Reason.FIELD_INVALID),
        (lambda m: setattr(m.need, "age_months", -1), Reason.FIELD_INVALID),
        (lambda m: setattr(m.need, "gir", 9), Reason.FIELD_INVALID),
        (lambda m: m.need.required.extend([99]), Reason.FIELD_INVALID),
        (lambda m: setattr(m.need, "origin", "establishments/540000024"), Reason.MALFORMED_FINESS),
        (lambda m: setattr(m.need, "origin", "establishments/540000080"), Reason.ESTABLISHMENT_NOT_FOUND),
        (lambda m: setattr(m.need.arrival_latest, "seconds", 10**15), Reason.TIME_OUT_OF_RANGE),
        (lambda m: setattr(m.need.arrival_latest, "seconds", 0), Reason.TIME_OUT_OF_RANGE),
        (lambda m: setattr(m.need.stay_max, "seconds", -5), Reason.FIELD_INVALID),
        (lambda m: setattr(m.asks[0], "unit", "establishments/540000155/units/"), Reason.MALFORMED_NAME),
        (lambda m: setattr(m.asks[0], "unit", "establishments/540000155/units/NONE"), Reason.UNIT_NOT_FOUND),
        (lambda m: setattr(m.asks[0], "unit", "establishments/540000080/units/A"), Reason.NOT_A_MEMBER),
        (lambda m: setattr(m.asks[0], "reservation_id", "x"), Reason.FIELD_INVALID),
        (lambda m: m.asks[0].ClearField("mode"), Reason.FIELD_INVALID),
        (lambda m: setattr(m.external_reference, "number", "x" * 65), Reason.FIELD_INVALID),
        (lambda m: m.asks.extend([m.asks[0]] * 40), Reason.TOO_MANY_ASKS),
        (lambda m: setattr(m, "on_behalf_of", "establishments/12"), Reason.MALFORMED_FINESS),
    ],
)
async def test_bad_creations_are_refused_by_name_and_leave_nothing(
    served: Served, spoil: Callable[[Any], object], reason: Reason
) -> None:
    served.calls(LEA)
    message = creation(served.unit(LUNEVILLE))
    spoil(message)
    assert (await refused(served.requests.CreateRequest(message, CONTEXT))).reason is reason
    assert not (await served.requests.ListRequests(pb.ListRequestsRequest(), CONTEXT)).requests


async def test_limits_of_asking(served: Served) -> None:
    served.calls(LEA)
    units = [served.unit(house) for house in (LUNEVILLE, PARTNER, OTHER_PARTNER, TOUL)]
    assert (await refused(served.create(*units[:2]))).reason is Reason.TOO_MANY_HOLDS
    assert (await refused(served.create(*units, mode=terms_pb2.MODE_ASK))).reason is Reason.TOO_MANY_ASKS
    twice = await refused(served.create(units[0], units[0], mode=terms_pb2.MODE_ASK))
    assert twice.reason is Reason.ALREADY_ASKED_THERE


async def test_what_comes_later_says_so(served: Served) -> None:
    served.calls(ANNE)
    for call in (
        served.members.Enrol(membership.EnrolRequest(), CONTEXT),
        served.members.Renew(membership.RenewRequest(), CONTEXT),
        served.members.Revoke(membership.RevokeRequest(), CONTEXT),
    ):
        assert (await refused(call)).reason is Reason.NOT_SERVED
    with pytest.raises(Refusal) as not_served:
        AttachServicer().Attach(CONTEXT, CONTEXT)
    assert not_served.value.reason is Reason.NOT_SERVED


# --- what the hub does by itself -------------------------------------------------------------------------------------


async def test_a_promise_withdrawn_opens_the_request_and_proposes_the_next_best(served: Served) -> None:
    served.calls(LEA)
    created = await served.create(served.unit(LUNEVILLE))
    held = await served.until(created.name, is_held)
    node, name = served.fakes.nodes[LUNEVILLE], held.asks[0].reservation
    node.held[name] = replace(node.held[name], ending=Ending(withdraw=WithdrawReason.BED_CLOSED))
    node.change(name, ReservationState.RELEASED)
    opened = await served.until(created.name, lambda one: bool(one.proposed_next))
    assert opened.state == pb.Request.STATE_OPEN
    assert opened.proposed_next in opened.asks[0].alternatives
    assert served.unit(LUNEVILLE) not in opened.asks[0].alternatives
    assert opened.last_event.kind == "promise_withdrawn"
    assert opened.last_event.reason == "bed_closed"


async def test_those_who_asked_are_told_when_a_place_frees_up(served: Served) -> None:
    served.calls(LEA)
    for node in served.fakes.nodes.values():
        node.places = 0
        node.publish()
    await served.fakes.clock.advance(1)
    created = await served.create()
    await served.requests.NotifyWhenFree(pb.NotifyWhenFreeRequest(command_id=str(uuid4()), name=created.name), CONTEXT)
    await served.fakes.clock.advance(30)
    assert not (await served.requests.GetRequest(pb.GetRequestRequest(name=created.name), CONTEXT)).place_found
    served.fakes.nodes[LUNEVILLE].places = 1
    served.fakes.nodes[LUNEVILLE].publish()
    told = await served.until(created.name, lambda one: bool(one.place_found))
    assert told.place_found == served.unit(LUNEVILLE)


async def test_a_confirmation_that_stays_unanswered_says_so_and_a_request_past_its_time_is_over(served: Served) -> None:
    served.calls(LEA)
    created = await served.create(served.unit(LUNEVILLE))
    held = await served.until(created.name, is_held)
    served.fakes.nodes[LUNEVILLE].deaf = True
    await served.requests.ConfirmRequest(
        pb.ConfirmRequestRequest(
            command_id=str(uuid4()),
            name=created.name,
            reservation=held.asks[0].reservation,
            offer_tag=held.asks[0].known.offer.offer_tag,
        ),
        CONTEXT,
    )
    waiting = await served.until(created.name, lambda one: one.unanswered)
    assert waiting.state == pb.Request.STATE_CONFIRMING
    assert waiting.asks[0].pending[0].verb == "confirm"
    lone = await served.create()
    served.fakes.clock.set_wall(3 * 86_400)
    over = await served.until(lone.name, lambda one: one.state == pb.Request.STATE_EXPIRED)
    assert over.last_event.kind == "expired"
