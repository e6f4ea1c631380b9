"""Those who act at random in a simulation: regulators, staff, adapters, through the RPCs that they would really call.

They know what a person at a screen could know, which may be old: targets are drawn from what is stored, a little at
random, so that wrong states, stale offers and late answers are all met. Every write bears its id; who gets no answer
may send the same again, as a good client does, or give up.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import grpc
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from aval.adapters.wire.errors import refusal_of
from aval.kernel.finess import FinessET
from aval.kernel.identity import Adapter, HubOperator, Identity, Staff, Territory
from aval.v1 import availability_pb2 as av
from aval.v1 import availability_pb2_grpc, census_pb2_grpc, request_pb2_grpc, reservation_pb2_grpc
from aval.v1 import census_pb2 as cs
from aval.v1 import request_pb2 as rq
from aval.v1 import reservation_pb2 as rs
from aval.v1 import terms_pb2 as tm
from tests.simulation.books import Fact
from tests.simulation.checker import Checker
from tests.simulation.checker import T as TERRITORY
from tests.simulation.coverage import REGULATOR
from tests.simulation.lifecycles import FINAL
from tests.simulation.wire import Channel, Network
from tests.simulation.world import Process, World

T = Territory(TERRITORY)
HOUSES = ("540000015", "540000023", "540000031")
HUB = "hub:5000"
HUB_NAME = "hub"
CELL = HubOperator(T, "cellule")


def address_of(finess: str) -> str:
    """Where a house's node listens."""
    return f"node-{finess}:5001"


def stamp(instant: datetime) -> Timestamp:
    """An instant on the wire."""
    at = Timestamp()
    at.FromDatetime(instant)
    return at


def length(seconds: float) -> Duration:
    """A duration on the wire."""
    span = Duration()
    span.FromTimedelta(timedelta(seconds=seconds))
    return span


TROUBLED_SHARE = 0.3
"""How often who acts looks first at what is in conflict or in doubt."""

Deed = Coroutine[Any, Any, None]
"""What somebody does, not begun yet."""

Act = Callable[["People", random.Random], Deed | None]


class People:
    """All of them, in one process that never dies."""

    def __init__(self, world: World, network: Network, checker: Checker) -> None:
        self.process: Process = world.process("people")
        self.world = world
        self.checker = checker
        self.outcomes: Counter[tuple[str, str]] = Counter()
        self.tried: Counter[tuple[str, str, str]] = Counter()
        """How often each pair of the tables was aimed at."""
        self.offers: dict[str, list[bytes]] = {}
        self.waiting = 0
        self._network = network
        self._stubs: dict[tuple[type, str, str], Any] = {}
        self.movements = 0

    # Calling

    def now(self) -> datetime:
        """By their watch."""
        return self.process.clock.now()

    def uuid(self, chance: random.Random) -> str:
        """An id of an act."""
        return str(UUID(int=chance.getrandbits(128), version=4))

    def stub(self, kind: Any, identity: Identity, address: str) -> Any:
        """A stub of a service, for somebody, towards an address."""
        key = (kind, str(identity), address)
        if key not in self._stubs:
            self._stubs[key] = kind(self.channel(identity, address))
        return self._stubs[key]

    def channel(self, identity: Identity, address: str) -> Channel:
        """A channel for somebody, towards an address."""
        return Channel(self._network, self.process, identity, address)

    def at_hub(self, who: Identity = CELL) -> Any:
        """The hub's request service."""
        return self.stub(request_pb2_grpc.RequestServiceStub, who, HUB)

    def staff(self, finess: str) -> Identity:
        """A person of a house."""
        return Staff(T, FinessET(finess), "cadre")

    def answers(self, finess: str) -> Any:
        """A house's reservation service, for its staff."""
        return self.stub(reservation_pb2_grpc.ReservationServiceStub, self.staff(finess), address_of(finess))

    def census(self, finess: str) -> Any:
        """A house's census service, for its staff."""
        return self.stub(census_pb2_grpc.CensusServiceStub, self.staff(finess), address_of(finess))

    async def call(self, stub: Any, method: str, request: Any, chance: random.Random, about: str = "") -> Any:
        """Makes a call; the same again a few times if nobody answers. None if it was refused or never answered."""
        self.checker.coverage.said(getattr(request, "command_id", ""), method)
        for attempt in range(chance.choice((1, 1, 2, 4))):
            if attempt:
                await self.process.clock.sleep_until(self.process.monotonic() + chance.uniform(0.1, 20.0))
            outcome = "OK"
            try:
                answer = await getattr(stub, method)(request, timeout=chance.choice((2.0, 10.0, 50.0)))
            except grpc.aio.AioRpcError as error:
                refusal = refusal_of(error)
                outcome, answer = refusal.reason_text or refusal.code, None
                final = refusal.final
                kind = "request" if method in REGULATOR else "reservation"
                self.checker.coverage.refused(kind, getattr(request, "command_id", ""), outcome, refusal.metadata)
            else:
                final = True
            self.outcomes[method, outcome] += 1
            self.world.note("people", f"{method} {about} → {outcome}{_state(answer)}")
            if outcome in ("INTERNAL", "UNKNOWN"):
                self.world.problems.append(f"{method} {about}: {outcome}")
            if final:
                return answer
        return None

    # Choosing

    def troubled(self, chance: random.Random) -> set[str]:
        """Now and then the ids of reservations in conflict or in doubt: what people have most to say about."""
        if chance.random() >= TROUBLED_SHARE:
            return set()
        houses = [self.checker.house(finess) for finess in HOUSES]
        keys = {one["reservation"] for house in houses for one in house.of("conflict").values()}
        keys |= {key for house in houses for one in house.of("doubt").values() for key in one["candidates"]}
        return {key.rsplit("/", 1)[1] for key in keys}

    def a_file(self, chance: random.Random, *states: str, known: str = "") -> Fact | None:
        """A request, one not over by preference; `known`: one with a reservation known in that state."""
        files = list(self.checker.files.values())
        if known:
            files = [f for f in files if any((a.get("known") or {}).get("state") == known for a in f["asks"])] or files
        if states:
            files = [f for f in files if f["request"].get("state", "OPEN") in states] or files
        elif chance.random() < 0.9:
            files = [f for f in files if not f["request"].get("archived")] or files
        troubled = self.troubled(chance)
        files = [f for f in files if any(a["reservation"].rsplit("/", 1)[1] in troubled for a in f["asks"])] or files
        return chance.choice(files[-12:]) if files else None

    def a_reservation(self, chance: random.Random, *states: str) -> tuple[str, str, Fact] | None:
        """(house, name, fact) of a reservation, in one of these states by preference."""
        houses = [self.checker.house(finess) for finess in HOUSES]
        found = [(h.finess, k, f) for h in houses for k, f in h.of("reservation").items()]
        wanted = [one for one in found if one[2]["state"] in states] if chance.random() < 0.93 else []
        if not wanted:
            wanted = [one for one in found if one[2]["state"] not in FINAL] or found
        if not wanted:
            return None
        troubled = self.troubled(chance)
        wanted = [one for one in wanted if one[2]["id"] in troubled] or wanted
        finess, _, fact = chance.choice(wanted)
        return finess, f"establishments/{finess}/reservations/{fact['id']}", fact

    def a_unit(self, chance: random.Random) -> tuple[str, str]:
        """(house, unit)."""
        finess = chance.choice(HOUSES)
        return finess, chance.choice(UNITS[finess])

    def some_time(self, chance: random.Random) -> datetime:
        """Somewhere around now, mostly ahead."""
        return self.now() + timedelta(hours=chance.choice((0, 0, 1, 2, 6, 24, 48, 120)))


def _state(answer: Any) -> str:
    if isinstance(answer, rs.Reservation):
        return " " + rs.Reservation.State.Name(answer.state).removeprefix("STATE_")
    if isinstance(answer, rq.Request):
        return " " + rq.Request.State.Name(answer.state).removeprefix("STATE_")
    return ""


UNITS: Mapping[str, tuple[str, ...]] = {
    HOUSES[0]: ("ger",),
    HOUSES[1]: ("ger",),
    HOUSES[2]: ("ger", "annexe"),
}
BEDS: Mapping[tuple[str, str], tuple[str, ...]] = {
    (HOUSES[0], "ger"): ("1", "2", "3"),
    (HOUSES[2], "ger"): ("1", "2"),
}
GENDERS = (tm.GENDER_FEMALE, tm.GENDER_MALE, tm.GENDER_ANY)
RELEASES = (rs.RELEASE_REASON_OTHER, rs.RELEASE_REASON_PATIENT_NOT_READY, rs.RELEASE_REASON_OFFER_NOT_SUITABLE)


def unit_name(finess: str, unit: str) -> str:
    """A unit's name."""
    return f"establishments/{finess}/units/{unit}"


def bed_name(finess: str, unit: str, bed: str) -> str:
    """A bed's name."""
    return f"{unit_name(finess, unit)}/beds/{bed}"


def a_policy(chance: random.Random) -> cs.UnitPolicy:
    """A policy, any."""
    policy = cs.UnitPolicy(
        answering=chance.choice((
            *[av.PolicySummary.ANSWERING_AUTOMATIC] * 5, *[av.PolicySummary.ANSWERING_PERSON] * 2,
            av.PolicySummary.ANSWERING_CLOSED,
        )),
        automatic=cs.AutomaticHold(per_day_max=chance.choice((0, 0, 3)), keep_free=chance.choice((0, 0, 0, 1))),
        renewals_max=chance.choice((0, 1, 3)),
        promise_on_announced=chance.random() < 0.7,
        turnover_minutes=chance.choice((0, 30, 60)),
        notes=cs.NotePolicy(apply_no=chance.random() < 0.7, apply_yes=chance.random() < 0.4),
        grant_waiting_list=chance.random() < 0.5,
    )  # fmt: skip
    if chance.random() < 0.5:
        policy.ttl.CopyFrom(length(chance.choice((300, 3600, 86_400))))
    if chance.random() < 0.2:
        for day in range(1, 6):
            policy.answer_hours.add(day=day, start_minute=480, end_minute=1080)
    return policy


# --- the requester's side --------------------------------------------------------------------------------------------


FAR, FAR_SHARE = timedelta(days=100), 0.08
"""How far ahead some plan, and how many: such a demand could still be granted after its details are forgotten."""


def _need(people: People, chance: random.Random) -> tm.Need:
    earliest = people.some_time(chance)
    if chance.random() < FAR_SHARE:
        earliest += FAR
    need = tm.Need(
        discipline=tm.DISCIPLINE_SMR_GERIATRIC,
        gender=chance.choice(GENDERS),
        age_years=chance.randint(60, 95),
        arrival_earliest=stamp(earliest),
        arrival_latest=stamp(earliest + timedelta(hours=chance.choice((2, 12, 24, 72)))),
    )
    if chance.random() < 0.6:
        need.stay_max.CopyFrom(length(86_400 * chance.choice((1, 3, 20))))
    if chance.random() < 0.1:
        need.required.append(tm.FEATURE_SINGLE_ROOM)
    return need


def _targets(people: People, chance: random.Random, most: int) -> list[rq.AskTarget]:
    houses = chance.sample(HOUSES, chance.randint(1, most)) if most else []
    hold = chance.randrange(len(houses) + 1) if houses else 0
    return [
        rq.AskTarget(
            reservation_id=people.uuid(chance),
            unit=unit_name(finess, chance.choice(UNITS[finess])),
            mode=tm.MODE_HOLD if number == hold else tm.MODE_ASK,
            ttl=length(chance.choice((60, 1800, 20_000))) if chance.random() < 0.3 else None,
        )
        for number, finess in enumerate(houses)
    ]


def _ask_next(people: People, chance: random.Random) -> list[str]:
    """Units to ask by itself when an ask comes to nothing, houses asked already among them."""
    return [unit_name(*people.a_unit(chance)) for _ in range(chance.choice((0, 0, 1, 2)))]


async def create(people: People, chance: random.Random) -> None:
    """A new request, with asks or without."""
    await people.call(
        people.at_hub(),
        "CreateRequest",
        rq.CreateRequestRequest(
            request_id=people.uuid(chance),
            need=_need(people, chance),
            urgency=chance.choice((tm.URGENCY_TODAY, tm.URGENCY_WITHIN_48_HOURS, tm.URGENCY_PLANNED)),
            ready_since=stamp(people.now() - timedelta(hours=3)),
            on_behalf_of=f"establishments/{HOUSES[0]}",
            asks=_targets(people, chance, chance.choice((0, 1, 2, 3, 3))),
            ask_next=_ask_next(people, chance),
        ),
        chance,
    )


def on_file(people: People, chance: random.Random, method: str, file: Fact) -> Deed | None:
    """An act on that request, or None if there is nothing to say."""
    message = REQUESTER[method](people, chance, file)
    if message is None:
        return None
    message.command_id = people.uuid(chance)
    message.name = file["request"]["name"]

    async def done() -> None:
        await people.call(people.at_hub(), method, message, chance, file["request"]["reference"])

    return done()


def _of_request(method: str, *states: str, known: str = "") -> Act:
    """An act on a request, in one of these states by preference."""

    def act(people: People, chance: random.Random) -> Deed | None:
        file = people.a_file(chance, *states, known=known)
        return None if file is None else on_file(people, chance, method, file)

    return act


def _an_ask(chance: random.Random, file: Fact, *states: str) -> Fact | None:
    asks = file["asks"]
    wanted = [ask for ask in asks if (ask.get("known") or {}).get("state") in states] or asks
    return chance.choice(wanted) if wanted else None


def _confirm(people: People, chance: random.Random, file: Fact) -> Any:
    ask = _an_ask(chance, file, "HELD")
    if ask is None:
        return None
    tag = ((ask.get("known") or {}).get("offer") or {}).get("tag", b"none")
    seen = people.offers.setdefault(ask["reservation"], [])
    if tag not in seen:
        seen.append(tag)
    return rq.ConfirmRequestRequest(
        reservation=ask["reservation"], offer_tag=tag if chance.random() < 0.9 else chance.choice(seen)
    )


async def confirm_and_think_again(people: People, chance: random.Random) -> None:
    """A confirmation, and at once something else, while it is on its way."""
    file = people.a_file(chance, "OPEN", known="HELD")
    message = None if file is None else _confirm(people, chance, file)
    if file is None or message is None:
        return
    message.command_id, message.name = people.uuid(chance), file["request"]["name"]
    await people.call(people.at_hub(), "ConfirmRequest", message, chance, file["request"]["reference"])
    method, kind, fields = chance.choice((
        ("TakeBackConfirm", rq.TakeBackConfirmRequest, {}),
        ("TakeBackConfirm", rq.TakeBackConfirmRequest, {}),
        ("CancelRequest", rq.CancelRequestRequest, {"reason": chance.choice(RELEASES)}),
        ("PlaceOutside", rq.PlaceOutsideRequest, {"reason": rq.OUTSIDE_REASON_HOME}),
        ("ReleaseConfirmed", rq.ReleaseConfirmedRequest, {"reason": chance.choice(RELEASES)}),
    ))  # fmt: skip
    make: Any = kind
    after = make(command_id=people.uuid(chance), name=message.name, **fields)
    await people.call(people.at_hub(), method, after, chance, file["request"]["reference"])


def _note(people: People, chance: random.Random, file: Fact) -> Any:
    ask = _an_ask(chance, file, "ASKED", "WAITLISTED")
    verdict = chance.choice((rs.Note.VERDICT_YES, rs.Note.VERDICT_NO, rs.Note.VERDICT_WAIT))
    note = rs.Note(verdict=verdict, answered_by="cadre de nuit", say_time=stamp(people.now()))
    if verdict == rs.Note.VERDICT_NO:
        note.decline_reason = rs.DECLINE_REASON_OTHER
    return ask and rq.NoteAnswerRequest(reservation=ask["reservation"], note=note)


def _details(_: People, chance: random.Random, file: Fact) -> Any:
    ask = _an_ask(chance, file, "ASKED", "WAITLISTED", "HELD")
    details = [rs.Detail(question=rs.QUESTION_WEIGHT, amount=70)]
    return ask and rq.SupplyDetailsRequest(reservation=ask["reservation"], details=details)


def _renew(_: People, chance: random.Random, file: Fact) -> Any:
    ask = _an_ask(chance, file, "HELD")
    return ask and rq.RenewHoldRequest(reservation=ask["reservation"], ttl=length(chance.choice((60, 7200))))


def _release_ask(_: People, chance: random.Random, file: Fact) -> Any:
    others = {**file, "asks": [a for a in file["asks"] if a["reservation"] != file["request"].get("subject")]}
    ask = _an_ask(chance, others if others["asks"] else file, "ASKED", "WAITLISTED", "HELD")
    return ask and rq.ReleaseAskRequest(reservation=ask["reservation"], reason=chance.choice(RELEASES))


def _more_asks(people: People, chance: random.Random, _: Fact) -> Any:
    return rq.AskEstablishmentsRequest(asks=_targets(people, chance, 2), ask_next=_ask_next(people, chance))


def _edit(people: People, chance: random.Random, _: Fact) -> Any:
    return rq.UpdateNeedRequest(need=_need(people, chance))


def _reschedule(people: People, chance: random.Random, _: Fact) -> Any:
    return rq.RescheduleRequestRequest(arrival=stamp(people.some_time(chance) + timedelta(minutes=30)))


# --- the house's side ------------------------------------------------------------------------------------------------


def on_reservation(people: People, chance: random.Random, method: str, finess: str, fact: Fact) -> Deed | None:
    """An answer of a house to that reservation, or None if there is nothing to say."""
    message = ANSWERS[method](people, chance, finess, fact)
    if message is None:
        return None
    message.command_id = people.uuid(chance)
    message.name = f"establishments/{finess}/reservations/{fact['id']}"

    async def done() -> None:
        await people.call(people.answers(finess), method, message, chance, f"{finess} {fact['reference']}")

    return done()


def _of_reservation(method: str, *states: str) -> Act:
    """An answer of a house to a reservation, in one of these states by preference."""

    def act(people: People, chance: random.Random) -> Deed | None:
        found = people.a_reservation(chance, *states)
        return None if found is None else on_reservation(people, chance, method, found[0], found[2])

    return act


RUSH_ACTS = 4
"""What is said in a rush: enough for several acts to share a commit."""


async def rush(people: People, chance: random.Random) -> None:
    """Several people act on one reservation in the same instant."""
    found = people.a_reservation(chance, "ASKED", "WAITLISTED", "HELD", "CONFIRMED")
    if found is None:
        return
    for method in chance.sample(sorted(ANSWERS), RUSH_ACTS):
        deed = on_reservation(people, chance, method, found[0], found[2])
        if deed is not None:
            people.process.spawn(deed)


def _accept(people: People, chance: random.Random, finess: str, fact: Fact) -> Any:
    message = rs.AcceptReservationRequest()
    if chance.random() < 0.2:
        message.unit = unit_name(finess, chance.choice(UNITS[finess]))
    elif chance.random() < 0.2 and (finess, fact["unit"]) in BEDS:
        message.bed = bed_name(finess, fact["unit"], chance.choice(BEDS[finess, fact["unit"]]))
    if chance.random() < 0.2:
        message.arrival.CopyFrom(stamp(people.some_time(chance)))
    if chance.random() < 0.4:
        message.ttl.CopyFrom(length(chance.choice((30, 600, 40_000))))
    return message


def _reoffer(people: People, chance: random.Random, finess: str, _: Fact) -> Any:
    message = rs.ReofferReservationRequest()
    if chance.random() < 0.6:
        message.arrival.CopyFrom(stamp(people.some_time(chance)))
    if chance.random() < 0.3:
        message.unit = unit_name(finess, chance.choice(UNITS[finess]))
    return message


def _admit(_: People, chance: random.Random, finess: str, fact: Fact) -> Any:
    message = rs.AdmitReservationRequest()
    beds = BEDS.get((finess, fact["unit"]))
    if beds and chance.random() < 0.3:
        message.bed = bed_name(finess, fact["unit"], chance.choice(beds))
    return message


def _settle_note(_: People, chance: random.Random, _finess: str, fact: Fact) -> Any:
    notes = [note["id"] for note in fact["notes"]]
    if not notes:
        return None
    return rs.SettleReservationNoteRequest(note_id=chance.choice(notes), apply=chance.random() < 0.6)


def _of_house(method: str, make: Callable[[People, random.Random, str, str], Any], about: str = "") -> Act:
    """An act of staff on their census; `about`: in a house that has facts of that kind."""

    def act(people: People, chance: random.Random) -> Deed | None:
        finess, unit = people.a_unit(chance)
        if about:
            finess = chance.choice([h for h in HOUSES if people.checker.house(h).of(about)] or [finess])
        message = make(people, chance, finess, unit)
        if message is None:
            return None
        message.command_id = people.uuid(chance)

        async def done() -> None:
            await people.call(people.census(finess), method, message, chance, f"{finess}/{unit}")

        return done()

    return act


def _set_policy(_: People, chance: random.Random, finess: str, unit: str) -> Any:
    policy = a_policy(chance)
    policy.unit = unit_name(finess, unit)
    return cs.SetUnitPolicyRequest(policy=policy)


def _counts(people: People, chance: random.Random, finess: str, unit: str) -> Any:
    """Counts by hand: at times all is taken, and where several promises have lost their place, one is free again."""
    lost = [one["unit"] for one in people.checker.house(finess).of("conflict").values()]
    occupied = chance.choice((0, 0, 1, 2, 2)) if lost.count(unit) < 2 else 1
    if (finess, unit) in BEDS and chance.random() < 0.95:
        return None
    places = [cs.PlaceCapacity(gender=tm.GENDER_ANY, open=chance.choice((1, 2, 2, 2)), occupied=occupied)]
    return cs.DeclareCountsRequest(unit=unit_name(finess, unit), places=places)


def _correct(_: People, chance: random.Random, finess: str, unit: str) -> Any:
    return cs.CorrectFiguresRequest(
        unit=unit_name(finess, unit), free=chance.randint(0, 2), reason="vu sur place", ttl=length(3600)
    )


def _visibility(_: People, chance: random.Random, finess: str, unit: str) -> Any:
    shown = (av.SHOWN_EXACT, av.SHOWN_YES_OR_NO, av.SHOWN_NOTHING)
    rule = av.VisibilityRule(ght=av.SHOWN_EXACT, partner=chance.choice(shown), everyone=chance.choice(shown))
    return cs.SetVisibilityRequest(units=[unit_name(finess, unit)], visibility=rule)


def _update_bed(_: People, chance: random.Random, finess: str, unit: str) -> Any:
    beds = BEDS.get((finess, unit))
    if not beds:
        return None
    bed = chance.choice(beds)
    return cs.UpdateBedRequest(
        bed=cs.Bed(
            name=bed_name(finess, unit, bed), room=f"r{bed}" if bed == "1" else "r2", gender=chance.choice(GENDERS)
        )
    )


def _settle_conflict(people: People, chance: random.Random, finess: str, _: str) -> Any:
    conflicts = list(people.checker.house(finess).of("conflict").values())
    if not conflicts:
        return None
    one = chance.choice(conflicts)
    message = cs.SettleConflictRequest(name=f"{unit_name(finess, one['unit'])}/conflicts/{one['id']}")
    draw = chance.random()
    beds = [bed_name(finess, unit, bed) for unit in UNITS[finess] for bed in BEDS.get((finess, unit), ())]
    if draw < 0.4 and beds:
        message.bed = chance.choice(beds)
    elif draw < 0.7:
        message.withdraw = rs.WITHDRAW_REASON_BED_TAKEN_BY_EMERGENCY
    else:
        message.supplementary = True
    return message


def _answer_doubt(people: People, chance: random.Random, finess: str, _: str) -> Any:
    doubts = [d for d in people.checker.house(finess).of("doubt").values() if d["answered"] is None]
    if not doubts:
        return None
    doubt = chance.choice(doubts)
    yes = [f"establishments/{finess}/reservations/{one.rsplit('/', 1)[1]}" for one in doubt["candidates"]]
    return cs.AnswerArrivalDoubtRequest(
        name=f"establishments/{finess}/arrivalDoubts/{doubt['id']}", reservation=chance.choice([*yes, ""])
    )


def _settle_movement(people: People, chance: random.Random, finess: str, _: str) -> Any:
    parked = list(people.checker.house(finess).of("parked").values())
    if not parked:
        return None
    return cs.SettleMovementRequest(
        name=f"establishments/{finess}/parkedMovements/{chance.choice(parked)['id']}", reason="erreur de saisie"
    )


def _verify(people: People, chance: random.Random, finess: str, _: str) -> Any:
    units = list(people.checker.house(finess).of("reconciling"))
    return cs.VerifyUnitRequest(name=unit_name(finess, chance.choice(units))) if units else None


async def move_claim(people: People, chance: random.Random) -> None:
    """Staff moves a claim to another bed."""
    found = people.a_reservation(chance, "HELD", "CONFIRMED")
    if found is None or (found[0], found[2]["unit"]) not in BEDS:
        return
    finess, name, fact = found
    bed = chance.choice(BEDS[finess, fact["unit"]])
    message = cs.MoveClaimRequest(
        command_id=people.uuid(chance), reservation=name, bed=bed_name(finess, fact["unit"], bed)
    )
    await people.call(people.census(finess), "MoveClaim", message, chance, f"{finess} {fact['reference']}")


# --- movements -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Told:
    """What a movement is made from."""

    people: People
    chance: random.Random
    finess: str
    unit: str
    number: int

    @property
    def where(self) -> str:
        return unit_name(self.finess, self.unit)

    @property
    def counts_beds(self) -> bool:
        return (self.finess, self.unit) in BEDS

    def bed(self) -> str:
        """A bed of the unit, or none said."""
        beds = BEDS.get((self.finess, self.unit), ())
        said = beds and self.chance.random() < 0.8
        return bed_name(self.finess, self.unit, self.chance.choice(beds)) if said else ""

    def at(self, days: int = 0) -> Timestamp:
        return stamp(self.people.some_time(self.chance) + timedelta(days=days))


def _admission(movement: cs.Movement, told: _Told) -> None:
    chance = told.chance
    movement.stay_key = f"s{told.number}"
    movement.admission.unit, movement.admission.bed = told.where, told.bed()
    movement.admission.gender = chance.choice(GENDERS)
    if chance.random() < 0.7:
        movement.admission.departure_time.CopyFrom(told.at())
    found = told.people.a_reservation(chance, "CONFIRMED", "HELD")
    if found and found[0] == told.finess and chance.random() < 0.3:
        movement.admission.reservation = found[2]["reference"]


def _discharge(movement: cs.Movement, told: _Told) -> None:
    movement.discharge.to_clean = told.chance.random() < 0.3


def _departure(movement: cs.Movement, told: _Told) -> None:
    movement.departure_announced.departure_time.CopyFrom(told.at())


def _transfer(movement: cs.Movement, told: _Told) -> None:
    movement.transfer.unit, movement.transfer.bed = told.where, told.bed()


def _leave(movement: cs.Movement, told: _Told) -> None:
    movement.leave.keep_bed = told.chance.random() < 0.5
    movement.leave.return_time.CopyFrom(told.at())


def _leave_return(movement: cs.Movement, told: _Told) -> None:
    movement.leave_return.bed = told.bed()


def _cancellation(movement: cs.Movement, told: _Told) -> None:
    movement.cancellation.cancelled_movement_id = f"m{max(1, told.number - told.chance.randint(1, 6))}"


def _expected(movement: cs.Movement, told: _Told) -> None:
    movement.stay_key = f"s{told.number}"
    movement.arrival_expected.unit, movement.arrival_expected.bed = told.where, told.bed()
    movement.arrival_expected.arrival_time.CopyFrom(told.at())
    movement.arrival_expected.gender = told.chance.choice(GENDERS)
    movement.arrival_expected.departure_time.CopyFrom(told.at(days=6))


def _closed(movement: cs.Movement, told: _Told) -> None:
    start = told.people.some_time(told.chance)
    end = start + timedelta(hours=told.chance.choice((1, 30)))
    bed = told.bed()
    movement.bed_closed.CopyFrom(
        cs.BedClosed(
            unit=told.where,
            beds=[bed] if bed else [],
            places=0 if told.counts_beds else 1,
            interval=tm.Interval(start=stamp(start), end=stamp(end)),
            kind=av.CLOSURE_KIND_REOPENABLE,
            reason=av.CLOSURE_REASON_STAFF,
        )
    )


def _opened(movement: cs.Movement, told: _Told) -> None:
    bed = told.bed()
    movement.bed_opened.CopyFrom(
        cs.BedOpened(unit=told.where, beds=[bed] if bed else [], places=0 if told.counts_beds else 1)
    )


def _cleaned(movement: cs.Movement, told: _Told) -> None:
    movement.bed_cleaned.bed = told.bed()


CHANGES: tuple[tuple[float, Callable[[cs.Movement, _Told], None]], ...] = (
    (18, _admission), (34, _discharge), (12, _departure), (5, _transfer), (5, _leave), (4, _leave_return),
    (5, _cancellation), (4, _expected), (4, _closed), (5, _opened), (3, _cleaned),
)  # fmt: skip
"""Movements, with how often of all."""


def _movement(people: People, chance: random.Random, finess: str, unit: str) -> cs.Movement:
    stays = list(people.checker.house(finess).of("stay").values())
    people.movements += 1
    told = _Told(people, chance, finess, unit, people.movements)
    movement = cs.Movement(
        movement_id=f"m{told.number}",
        source_id="sih" if chance.random() < 0.8 else "main",
        event_time=stamp(people.now()),
        stay_key=chance.choice(stays)["key"] if stays else "nobody",
    )
    change = chance.choices([one for _, one in CHANGES], [weight for weight, _ in CHANGES])[0]
    change(movement, told)
    return movement


async def movements(people: People, chance: random.Random) -> None:
    """An adapter, or a person, tells movements."""
    finess, unit = people.a_unit(chance)
    who: Identity = Adapter(T, FinessET(finess), "sih")
    told = [_movement(people, chance, finess, unit) for _ in range(chance.choice((1, 1, 3)))]
    if told[0].source_id == "main":
        who = people.staff(finess)
    told = [one for one in told if one.source_id == told[0].source_id]
    stub = people.stub(census_pb2_grpc.CensusServiceStub, who, address_of(finess))
    for _ in range(chance.choice((1, 2))):
        call = stub.ApplyMovements()
        try:
            for one in told:
                await call.write(cs.ApplyMovementsRequest(movement=one))
            await call.done_writing()
            async for answer in call:
                fate = cs.ApplyMovementsResponse.Fate.Name(answer.fate).removeprefix("FATE_")
                people.outcomes["ApplyMovements", fate] += 1
                people.world.note(
                    "people", f"movement {answer.movement_id} at {finess}/{unit} → {fate} {answer.reason}"
                )
            return
        except grpc.aio.AioRpcError as error:
            people.world.note("people", f"movements at {finess}/{unit} → {refusal_of(error).reason}")


async def alive(people: People, chance: random.Random) -> None:
    """A source says that it lives."""
    finess = chance.choice(HOUSES)
    stub = people.stub(census_pb2_grpc.CensusServiceStub, Adapter(T, FinessET(finess), "sih"), address_of(finess))
    await people.call(stub, "ReportAlive", cs.ReportAliveRequest(source_id="sih"), chance, finess)


# --- reading ---------------------------------------------------------------------------------------------------------


async def read_units(people: People, chance: random.Random) -> None:
    """The cell looks at a house's figures, at the hub."""
    stub = people.stub(availability_pb2_grpc.AvailabilityServiceStub, CELL, HUB)
    finess = chance.choice(HOUSES)
    await people.call(stub, "ListUnits", av.ListUnitsRequest(parent=f"establishments/{finess}"), chance, finess)


async def read_own_units(people: People, chance: random.Random) -> None:
    """Staff looks at its own figures, at its node."""
    finess = chance.choice(HOUSES)
    stub = people.stub(availability_pb2_grpc.AvailabilityServiceStub, people.staff(finess), address_of(finess))
    await people.call(stub, "ListUnits", av.ListUnitsRequest(parent=f"establishments/{finess}"), chance, finess)


async def read_requests(people: People, chance: random.Random) -> None:
    """The cell reads its list."""
    await people.call(people.at_hub(), "ListRequests", rq.ListRequestsRequest(), chance)


async def read_orphans(people: People, chance: random.Random) -> None:
    """The cell looks at the reservations that no request holds."""
    await people.call(people.at_hub(), "ListOrphans", rq.ListOrphansRequest(), chance)


async def search(people: People, chance: random.Random) -> None:
    """The cell searches."""
    message = rq.SearchBedsRequest(need=_need(people, chance), urgency=tm.URGENCY_TODAY)
    await people.call(people.at_hub(), "SearchBeds", message, chance)


async def read_house(people: People, chance: random.Random) -> None:
    """Staff reads its reservations."""
    finess = chance.choice(HOUSES)
    message = rs.ListReservationsRequest(parent=f"establishments/{finess}")
    await people.call(people.answers(finess), "ListReservations", message, chance, finess)


# --- who does what, how often ----------------------------------------------------------------------------------------

REQUESTER: Mapping[str, Callable[[People, random.Random, Fact], Any]] = {
    "AskEstablishments": _more_asks,
    "ConfirmRequest": _confirm,
    "TakeBackConfirm": lambda *_: rq.TakeBackConfirmRequest(),
    "CancelRequest": lambda _, chance, __: rq.CancelRequestRequest(reason=chance.choice(RELEASES)),
    "PlaceOutside": lambda *_: rq.PlaceOutsideRequest(reason=rq.OUTSIDE_REASON_HOME),
    "ReleaseConfirmed": lambda _, chance, __: rq.ReleaseConfirmedRequest(reason=chance.choice(RELEASES)),
    "ReleaseAsk": _release_ask,
    "RenewHold": _renew,
    "RescheduleRequest": _reschedule,
    "SupplyDetails": _details,
    "NoteAnswer": _note,
    "UpdateNeed": _edit,
    "NotifyWhenFree": lambda *_: rq.NotifyWhenFreeRequest(),
    "TakeOver": lambda *_: rq.TakeOverRequest(),
}
"""What a regulator says to a request: method of the hub → how the message is made."""

ANSWERS: Mapping[str, Callable[[People, random.Random, str, Fact], Any]] = {
    "AcceptReservation": _accept,
    "WaitlistReservation": lambda *_: rs.WaitlistReservationRequest(reason=rs.WAITLIST_REASON_NO_BED_YET),
    "DeclineReservation": lambda *_: rs.DeclineReservationRequest(reason=rs.DECLINE_REASON_OTHER),
    "ReofferReservation": _reoffer,
    "WithdrawReservation": lambda *_: rs.WithdrawReservationRequest(reason=rs.WITHDRAW_REASON_OTHER),
    "AdmitReservation": _admit,
    "CancelReservationAdmission": lambda *_: rs.CancelReservationAdmissionRequest(),
    "AskReservationDetails": lambda *_: rs.AskReservationDetailsRequest(questions=[rs.QUESTION_WEIGHT]),
    "MarkReservationSeen": lambda *_: rs.MarkReservationSeenRequest(),
    "TickReservationStep": lambda *_: rs.TickReservationStepRequest(step=rs.ADMISSION_STEP_FILE),
    "SettleReservationNote": _settle_note,
}
"""What a house's staff says to a reservation: method of its node → how the message is made."""

ACTS: tuple[tuple[float, Act], ...] = (
    (14, create),
    (3, _of_request("AskEstablishments", "OPEN")),
    (8, _of_request("ConfirmRequest", "OPEN", known="HELD")),
    (5, confirm_and_think_again),
    (2, _of_request("TakeBackConfirm", "CONFIRMING")),
    (2, _of_request("CancelRequest")),
    (1, _of_request("PlaceOutside")),
    (2, _of_request("ReleaseConfirmed", "CONFIRMED")),
    (2, _of_request("ReleaseAsk", "OPEN")),
    (3, _of_request("RenewHold", "OPEN", known="HELD")),
    (2, _of_request("RescheduleRequest", "CONFIRMED")),
    (1, _of_request("SupplyDetails", "OPEN")),
    (3, _of_request("NoteAnswer", "OPEN")),
    (1, _of_request("UpdateNeed", "OPEN")),
    (0.5, _of_request("NotifyWhenFree", "OPEN")),
    (0.5, _of_request("TakeOver")),
    (8, _of_reservation("AcceptReservation", "ASKED", "WAITLISTED")),
    (3, _of_reservation("WaitlistReservation", "ASKED", "WAITLISTED")),
    (2, _of_reservation("DeclineReservation", "ASKED", "WAITLISTED")),
    (3, _of_reservation("ReofferReservation", "HELD")),
    (2, _of_reservation("WithdrawReservation", "HELD", "CONFIRMED")),
    (5, _of_reservation("AdmitReservation", "CONFIRMED", "CONFIRMED", "HELD", "ASKED", "WAITLISTED")),
    (3, _of_reservation("CancelReservationAdmission", "ADMITTED")),
    (1, _of_reservation("AskReservationDetails", "ASKED", "HELD")),
    (1, _of_reservation("MarkReservationSeen", "ASKED")),
    (1, _of_reservation("TickReservationStep", "ASKED", "HELD")),
    (2, _of_reservation("SettleReservationNote", "ASKED", "WAITLISTED")),
    (4, rush),
    (3, _of_house("SetUnitPolicy", _set_policy)),
    (3, _of_house("DeclareCounts", _counts)),
    (0.5, _of_house("CorrectFigures", _correct)),
    (0.5, _of_house("SetVisibility", _visibility)),
    (0.5, _of_house("UpdateBed", _update_bed)),
    (6, _of_house("SettleConflict", _settle_conflict, "conflict")),
    (4, _of_house("AnswerArrivalDoubt", _answer_doubt, "doubt")),
    (2, _of_house("SettleMovement", _settle_movement, "parked")),
    (1, _of_house("VerifyUnit", _verify, "reconciling")),
    (1, move_claim),
    (12, movements),
    (1, alive),
    (4, read_units),
    (3, read_own_units),
    (1, read_requests),
    (0.5, read_orphans),
    (1, search),
    (1, read_house),
)  # fmt: skip
"""What they do, with how often of all."""

WEIGHTS = [weight for weight, _ in ACTS]
