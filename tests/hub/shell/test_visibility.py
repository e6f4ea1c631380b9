"""Two territories that differ in a figure that a competitor may not see are the same to it, by every RPC of the hub.

The same calls, with the same ids at the same times, are made in both; every answer, page, order, sum, watch message and
refusal is compared byte by byte. The calls are those of the table of access: an RPC that is not called here fails.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import pytest
from google.protobuf.message import Message

from aval.hub.model import VisibilityRule
from aval.kernel.access import ACCESS, Server
from aval.kernel.finess import FinessET
from aval.kernel.identity import EstablishmentDesk, HubReplica, Identity, Node, Staff, Territory
from aval.kernel.reasons import Refusal
from aval.kernel.statuses import Shown
from aval.v1 import availability_pb2 as availability
from aval.v1 import membership_pb2 as membership
from aval.v1 import request_pb2 as pb
from aval.v1 import reservation_pb2 as reservation
from aval.v1 import terms_pb2
from aval.v1 import territory_pb2 as territory
from tests.hub.shell.fakes import LUNEVILLE, OTHER_PARTNER, PARTNER, START, TERRITORY, FakeCaller, fake_hub
from tests.hub.shell.test_server import CONTEXT, MARC, Served, need

RIVAL = FinessET(OTHER_PARTNER)
COMPETITORS: tuple[Identity, ...] = (
    Staff(TERRITORY, RIVAL, "rival"),
    EstablishmentDesk(TERRITORY, RIVAL),
    Node(TERRITORY, RIVAL),
    HubReplica(Territory("autre.aval.internal"), 0),
)
FEW, MANY = 3, 60
"""Places of the house whose figures are hidden, in the one territory and in the other."""

HOUSE = f"establishments/{PARTNER}"
UNIT = f"{HOUSE}/units/SMR1"
OTHER_UNIT = f"establishments/{LUNEVILLE}/units/SMR1"
OF_NODES = {"Announce", "Enrol", "Renew", "Attach", "Revoke", "ListOrphans"}
"""They tell of the caller's own node or of the cell's affairs, and are asked for nothing that bears a figure."""

REFUSED = {"UpdateNeed", "SupplyDetails", "NoteAnswer", "TakeBackConfirm", "CancelRequest"}
"""Not for the state that this story's request is in when they are called: the refusals are compared too."""


class Competitor:
    """Makes the calls, and keeps what it is told."""

    def __init__(self, served: Served, identity: Identity) -> None:
        self._served = served
        self._identity = identity
        self._ids = 0
        self.told: list[tuple[str, bytes | str]] = []
        self.watches: list[asyncio.Task[None]] = []

    def id(self) -> str:
        """The next id, the same in each territory."""
        self._ids += 1
        return str(UUID(int=self._ids, version=4))

    async def ask(self, method: str, message: Message) -> Any:
        """One call; its answer, or None if it was refused."""
        self._served.calls(self._identity)
        try:
            answer = await getattr(self._servicer(method), method)(message, CONTEXT)
        except Refusal as refusal:
            self.told.append((method, f"{refusal.reason} {sorted(refusal.metadata.items())}"))
            return None
        self.told.append((method, answer.SerializeToString(deterministic=True)))
        return answer

    def watch(self, method: str, message: Message) -> None:
        """Follows; each message is told as it comes."""
        self._served.calls(self._identity)
        stream: AsyncIterator[Message] = getattr(self._servicer(method), method)(message, CONTEXT)

        async def follow() -> None:
            try:
                async for one in stream:
                    self.told.append((method, one.SerializeToString(deterministic=True)))
            except Refusal as refusal:
                self.told.append((method, str(refusal.reason)))

        self.watches.append(asyncio.ensure_future(follow()))

    def _servicer(self, method: str) -> Any:
        served = self._served
        return next(
            one
            for one in (served.requests, served.availability, served.members, served.territory)
            if method in vars(type(one))
        )


async def reads(who: Competitor) -> None:
    """All that tells of units without asking for one."""
    await who.ask("GetEstablishment", availability.GetEstablishmentRequest(name=HOUSE))
    await who.ask("ListEstablishments", availability.ListEstablishmentsRequest())
    for parent in (HOUSE, "establishments/-"):
        token = ""
        while page := await who.ask(
            "ListUnits", availability.ListUnitsRequest(parent=parent, page_size=1, page_token=token)
        ):
            token = page.next_page_token
            if not token:
                break
    for stale_only in (False, True):
        await who.ask("ListUnits", availability.ListUnitsRequest(parent=HOUSE, stale_only=stale_only))
    for view in (availability.VIEW_AS_GHT, availability.VIEW_AS_PARTNER):
        await who.ask("ListUnits", availability.ListUnitsRequest(parent=HOUSE, view_as=view))
    for limit in (0, 1, 2, 3):
        for houses in ((), (HOUSE,)):
            for urgency in (terms_pb2.URGENCY_TODAY, terms_pb2.URGENCY_PLANNED):
                search = pb.SearchBedsRequest(need=need(), urgency=urgency, limit=limit, establishments=houses)
                await who.ask("SearchBeds", search)
    await who.ask("ListMembers", membership.ListMembersRequest())
    await who.ask("GetCapacity", territory.GetCapacityRequest())


async def requests(who: Competitor, served: Served) -> None:
    """Asks the house whose figures are hidden, and says all that can be said of a request."""
    clock = served.fakes.clock
    first, second = who.id(), who.id()
    asked = await who.ask(
        "CreateRequest",
        pb.CreateRequestRequest(
            request_id=who.id(), need=need(), urgency=terms_pb2.URGENCY_PLANNED,
            asks=[pb.AskTarget(reservation_id=first, unit=UNIT, mode=terms_pb2.MODE_HOLD)],
        ),
    )  # fmt: skip
    if asked is None:
        return
    name, held = asked.name, f"{HOUSE}/reservations/{first}"
    await clock.advance(1)
    known = await who.ask("GetRequest", pb.GetRequestRequest(name=name))
    act: dict[str, Any] = {"name": name}
    told = reservation.Note(id=who.id(), verdict=reservation.Note.VERDICT_YES, answered_by="Mme K.")
    for method, message in (
        ("RenewHold", pb.RenewHoldRequest(reservation=held, **act)),
        ("NotifyWhenFree", pb.NotifyWhenFreeRequest(**act)),
        ("SupplyDetails", pb.SupplyDetailsRequest(reservation=held, **act)),
        ("NoteAnswer", pb.NoteAnswerRequest(reservation=held, note=told, **act)),
        ("UpdateNeed", pb.UpdateNeedRequest(need=need(), urgency=terms_pb2.URGENCY_PLANNED, **act)),
        ("AskEstablishments", pb.AskEstablishmentsRequest(
            asks=[pb.AskTarget(reservation_id=second, unit=OTHER_UNIT, mode=terms_pb2.MODE_ASK)], **act)),
        ("ReleaseAsk", pb.ReleaseAskRequest(
            reservation=f"establishments/{LUNEVILLE}/reservations/{second}",
            reason=reservation.RELEASE_REASON_OTHER, **act)),
        ("TakeOver", pb.TakeOverRequest(**act)),
        ("ConfirmRequest", pb.ConfirmRequestRequest(
            reservation=held, offer_tag=known.asks[0].known.offer.offer_tag, **act)),
        ("TakeBackConfirm", pb.TakeBackConfirmRequest(**act)),
        ("RescheduleRequest", pb.RescheduleRequestRequest(arrival=need().arrival_latest, **act)),
        ("ReleaseConfirmed", pb.ReleaseConfirmedRequest(reason=reservation.RELEASE_REASON_OTHER, **act)),
        ("PlaceOutside", pb.PlaceOutsideRequest(reason=pb.OUTSIDE_REASON_AT_A_MEMBER, **act)),
        ("CancelRequest", pb.CancelRequestRequest(reason=reservation.RELEASE_REASON_OTHER, **act)),
    ):  # fmt: skip
        message.command_id = who.id()
        await who.ask(method, message)
        await clock.advance(1)
    await who.ask("ListRequests", pb.ListRequestsRequest())


async def all_told(identity: Identity, places: int) -> list[tuple[str, bytes | str]]:
    """What that caller is told in the territory whose hidden house has so many places."""
    hub = await fake_hub(seed=7)
    rule = VisibilityRule(ght=Shown.EXACT, partner=Shown.YES_OR_NO, everyone=Shown.YES_OR_NO)
    hub.nodes[PARTNER].visibility, hub.nodes[PARTNER].places = rule, places
    hub.start()
    await hub.clock.advance(1)
    assert hub.clock.now() > START
    served = Served(hub)
    who = Competitor(served, identity)
    who.watch("WatchAvailability", availability.WatchAvailabilityRequest())
    who.watch("WatchRequests", pb.WatchRequestsRequest())
    await hub.clock.settle()
    await reads(who)
    await requests(who, served)
    hub.nodes[PARTNER].places = places - 1  # moves in both, and is none's business
    hub.nodes[PARTNER].publish()
    await hub.clock.advance(60)
    await reads(who)
    for watch in who.watches:
        watch.cancel()
    await asyncio.gather(*who.watches, return_exceptions=True)
    await hub.stop()
    return who.told


def short(told: tuple[str, bytes | str]) -> str:
    """What was told, for a failure that can be read."""
    method, what = told
    return f"{method}: {what[:300]!r}"


@pytest.mark.parametrize("identity", COMPETITORS, ids=lambda one: one.kind.value)
async def test_a_hidden_figure_changes_no_byte_of_what_a_competitor_is_told(identity: Identity) -> None:
    few, many = await all_told(identity, FEW), await all_told(identity, MANY)
    assert [short(one) for one in few] == [short(one) for one in many]
    assert few == many
    kind = FakeCaller(identity).kind
    table = ACCESS[Server.HUB].items()
    allowed = {path.rpartition("/")[2] for path, callers in table if kind in callers and path.startswith("/aval.")}
    answered = Counter(method for method, what in few if isinstance(what, bytes))
    assert allowed - OF_NODES <= {method for method, _ in few}
    if kind.value == "staff":  # the others may do less
        missing = allowed - OF_NODES - answered.keys()
        assert missing == REFUSED


async def test_the_same_calls_tell_the_territory_s_management_and_own_people_apart() -> None:
    """The test above can fail: whoever may see the figures is told other things in the two territories."""
    for identity in (MARC, Staff(TERRITORY, FinessET(PARTNER), "zoe"), Staff(TERRITORY, FinessET(LUNEVILLE), "paul")):
        assert await all_told(identity, FEW) != await all_told(identity, MANY)
