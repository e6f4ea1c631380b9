"""The node's services without a wire: what each refuses by name, what a stream bears, how lists are cut."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import timedelta

import pytest

from aval.kernel.identity import Adapter
from aval.kernel.reasons import Reason, Refusal
from aval.node.pages import TOKEN_SECONDS_MAX
from aval.node.server import UNANSWERED_MAX, UNREAD_MAX
from aval.v1 import availability_pb2 as pb
from aval.v1 import census_pb2, link_pb2, reservation_pb2, terms_pb2
from tests.node.shell.fakes import DESK, HERE, HOUSE, HUB, MARIE, NO_CONTEXT, START, House, house
from tests.node.shell.words import command, confirm, create, declare_places, header, new_id, release, unit_name
from tests.waiting import until

TOMORROW = START + timedelta(days=1)
HL7 = Adapter(HERE, HOUSE, "hl7")
OTHER = Adapter(HERE, HOUSE, "gam")
STATES = reservation_pb2.Reservation


@pytest.fixture
async def at() -> AsyncIterator[House]:
    async with house() as opened:
        await opened.declare(declare_places("smr", installed=5, occupied=4))
        yield opened


# --- commands of the hub ---------------------------------------------------------------------------------------------


async def test_a_verb_of_a_newer_contract_is_final(at: House) -> None:
    async def send() -> AsyncIterator[link_pb2.ExchangeRequest]:
        yield link_pb2.ExchangeRequest()

    (response,) = [one async for one in at.link.Exchange(send(), NO_CONTEXT)]
    assert response.answer.refusal.reason == "COMMAND_UNKNOWN"
    assert not response.answer.refusal.retryable
    assert response.answer.refusal.code == 12


@pytest.mark.parametrize(
    ("age", "refused"), [(timedelta(days=7), ""), (timedelta(days=7, seconds=1), "COMMAND_TOO_OLD")]
)
async def test_a_command_is_at_most_seven_days_old(at: House, age: timedelta, refused: str) -> None:
    request = create("smr", TOMORROW)
    request.header.age.FromTimedelta(age)
    answer = await at.command(request)
    assert answer.refusal.reason == refused
    assert answer.command_id == request.header.command_id


async def test_age_and_cursor_are_no_content(at: House) -> None:
    request = create("smr", TOMORROW)
    first = await at.command(request)
    request.header.age.FromTimedelta(timedelta(minutes=5))
    request.header.cursor.CopyFrom(at.cursor)
    again = await at.command(request)
    assert not again.HasField("refusal")
    assert again.reservation == first.reservation


async def test_a_command_with_a_cursor_of_another_history_is_not_decided(at: House) -> None:
    request = create("smr", TOMORROW)
    request.header.cursor.CopyFrom(at.cursor)
    request.header.cursor.revision += 1
    answer = await at.command(request)
    assert answer.refusal.reason == "NODE_RESTORED"
    assert not answer.HasField("cursor")
    assert not at.node.writer.published.reservations
    assert at.cursor.incarnation != request.header.cursor.incarnation, "another history begins"
    request.header.cursor.revision -= 1
    assert (await at.command(request)).refusal.reason == "NODE_RESTORED", "what was before is over"
    request.header.cursor.CopyFrom(at.cursor)
    assert (await at.command(request)).reservation.state == STATES.STATE_ASKED, "nothing is granted alone now"


async def test_a_command_that_is_not_decided_is_answered_with_the_present_state(at: House) -> None:
    held = await at.command(create("smr", TOMORROW))
    late = confirm(held.reservation, 2)
    late.header.age.FromTimedelta(timedelta(days=8))
    answer = await at.command(late)
    assert answer.refusal.reason == "COMMAND_TOO_OLD"
    assert answer.cursor == held.cursor
    assert answer.reservation == held.reservation


async def test_what_the_hub_knew_is_reinstated_and_waits_for_a_person(at: House) -> None:
    held = await at.command(create("smr", TOMORROW))
    confirmed = await at.command(confirm(held.reservation, 2))
    foreign = terms_pb2.Cursor(establishment=at.cursor.establishment, incarnation=1, revision=9, tag=b"another1")
    late = confirm(held.reservation, 3)
    late.header.cursor.CopyFrom(foreign)
    assert (await at.command(late)).refusal.reason == "NODE_RESTORED"
    told = reservation_pb2.Reservation()
    told.CopyFrom(confirmed.reservation)
    told.name = told.name[:-12] + "00000000beef"
    request = reservation_pb2.ReinstateReservationRequest(header=header(new_id(), 2), known=told, heard=foreign)
    answer = await at.command(request)
    assert not answer.HasField("refusal")
    assert answer.reservation.state == STATES.STATE_CONFIRMED
    assert answer.reservation.unverified
    assert answer.reservation.offer.offer_tag == told.offer.offer_tag
    assert (answer.reservation.need, answer.reservation.requester) == (told.need, told.requester)
    at.calls_as(MARIE)
    listing = census_pb2.ListUnverifiedUnitsRequest(parent="establishments/540000023")
    (unit,) = (await at.census.ListUnverifiedUnits(listing, NO_CONTEXT)).units
    assert unit.unit == told.unit
    assert [(one.reservation, one.found, one.taken) for one in unit.reservations] == [(told.name, 0, True)]
    assert unit.unheard == [confirmed.reservation.name]
    assert (await at.census.ListBeds(census_pb2.ListBedsRequest(parent=told.unit), NO_CONTEXT)) is not None
    verified = await at.census.VerifyUnit(census_pb2.VerifyUnitRequest(command_id=new_id(), name=told.unit), NO_CONTEXT)
    assert not verified.unverified
    assert not (await at.census.ListUnverifiedUnits(listing, NO_CONTEXT)).units
    at.calls_as(HUB)
    of = reservation_pb2.GetReservationRequest(name=told.name)
    assert not (await at.reservations.GetReservation(of, NO_CONTEXT)).unverified


async def test_what_is_final_is_not_reinstated(at: House) -> None:
    held = await at.command(create("smr", TOMORROW))
    gone = await at.command(release(held.reservation, 2))
    request = reservation_pb2.ReinstateReservationRequest(
        header=header(new_id(), 2), known=gone.reservation, heard=at.cursor
    )
    with pytest.raises(Refusal) as refused:
        await at.reservations.ReinstateReservation(request, NO_CONTEXT)
    assert refused.value.reason is Reason.FIELD_INVALID


async def test_one_stream_bears_a_whole_life(at: House) -> None:
    held = await at.command(create("smr", TOMORROW))
    confirmed = await at.command(confirm(held.reservation, 2))
    assert confirmed.reservation.state == STATES.STATE_CONFIRMED
    assert confirmed.cursor.revision == confirmed.reservation.revision > held.cursor.revision
    released = await at.command(release(held.reservation, 3))
    assert released.reservation.state == STATES.STATE_RELEASED
    assert released.reservation.ending.release == reservation_pb2.RELEASE_REASON_PATIENT_REFUSED
    late = await at.command(confirm(held.reservation, 4))
    assert late.refusal.reason == "ALREADY_RELEASED"
    assert late.reservation.state == STATES.STATE_RELEASED
    assert late.reservation.last_command_number == 4


async def test_a_release_before_its_creation_is_remembered(at: House) -> None:
    request = create("smr", TOMORROW)
    early = reservation_pb2.ReleaseReservationRequest(
        header=header(new_id(), 2),
        name=f"establishments/{HOUSE}/reservations/{request.header.command_id}",
        reason=reservation_pb2.RELEASE_REASON_REQUEST_CANCELLED,
    )
    answer = await at.command(early)
    assert answer.reservation.state == STATES.STATE_RELEASED
    assert answer.reservation.revision == answer.cursor.revision
    assert (await at.command(request)).reservation.state == STATES.STATE_RELEASED


async def test_more_than_64_unanswered_commands_are_told_to_wait(at: House) -> None:
    at.store.gate = asyncio.Event()
    sent = asyncio.Event()

    async def send() -> AsyncIterator[link_pb2.ExchangeRequest]:
        for _ in range(UNANSWERED_MAX + 1):
            yield link_pb2.ExchangeRequest(command=command(create("smr", TOMORROW)))
        sent.set()

    answers = at.link.Exchange(send(), NO_CONTEXT)
    first = await anext(answers)
    assert first.answer.refusal.reason == "TOO_MANY_CALLS"
    assert first.answer.refusal.retryable
    at.store.gate.set()
    rest = [response.answer async for response in answers]
    assert len(rest) == UNANSWERED_MAX
    assert not any(answer.refusal.reason == "TOO_MANY_CALLS" for answer in rest)


async def test_a_client_that_reads_no_answer_is_cut_off(at: House) -> None:
    at.store.gate = asyncio.Event()
    read_before = 1
    one_too_many = UNREAD_MAX + read_before + 1
    sent = 0

    async def send() -> AsyncIterator[link_pb2.ExchangeRequest]:
        nonlocal sent
        for _ in range(10 * UNREAD_MAX):
            sent += 1
            yield link_pb2.ExchangeRequest(command=command(create("smr", TOMORROW)))
            await asyncio.get_running_loop().run_in_executor(None, lambda: None)

    answers = at.link.Exchange(send(), NO_CONTEXT)
    assert (await anext(answers)).answer.refusal.reason == "TOO_MANY_CALLS"
    at.clock.advance(timedelta(seconds=1))
    await until(lambda: sent >= one_too_many, "the answers to pile up")
    with pytest.raises(Refusal) as refused:
        async for _ in answers:
            pass
    assert refused.value.reason is Reason.TOO_MANY_CALLS
    assert sent == one_too_many, "no more is read of it"
    at.store.gate.set()


async def test_a_unary_refusal_bears_the_state_found(at: House) -> None:
    held = await at.command(create("smr", TOMORROW))
    wrong = confirm(held.reservation, 2)
    wrong.offer_tag = b"another"
    with pytest.raises(Refusal) as refused:
        await at.reservations.ConfirmReservation(wrong, NO_CONTEXT)
    assert refused.value.reason is Reason.OFFER_CHANGED
    assert isinstance(refused.value.subject, reservation_pb2.Reservation)
    assert refused.value.subject.state == STATES.STATE_HELD


# --- what cannot be meant --------------------------------------------------------------------------------------------


def _change(
    change: Callable[[reservation_pb2.CreateReservationRequest], None],
) -> reservation_pb2.CreateReservationRequest:
    request = create("smr", TOMORROW)
    change(request)
    return request


def _set(path: str, value: object) -> Callable[[reservation_pb2.CreateReservationRequest], None]:
    def change(request: reservation_pb2.CreateReservationRequest) -> None:
        *way, last = path.split(".")
        target: object = request
        for step in way:
            target = getattr(target, step)
        setattr(target, last, value)

    return change


BAD = [
    ("header.command_id", "not-a-uuid", "FIELD_INVALID"),
    ("header.command_id", "7A0F6A2E-0000-4000-8000-000000000001", "FIELD_INVALID"),
    ("header.number", 0, "FIELD_INVALID"),
    ("header.age.seconds", -1, "TIME_OUT_OF_RANGE"),
    ("header.age.seconds", 315_576_000_001, "TIME_OUT_OF_RANGE"),
    ("parent", "", "MALFORMED_NAME"),
    ("parent", "establishments/540000024", "MALFORMED_FINESS"),
    ("parent", "establishments/54000002", "MALFORMED_FINESS"),
    ("parent", "establishments/540000080", "ESTABLISHMENT_NOT_FOUND"),
    ("request", "requests/", "FIELD_INVALID"),
    ("request", "demands/7a0f6a2e-0000-4000-8000-000000000001", "MALFORMED_NAME"),
    ("reference", "", "FIELD_INVALID"),
    ("unit", "establishments/540000023/units/", "MALFORMED_NAME"),
    ("unit", "establishments/540000023/units/a b", "MALFORMED_NAME"),
    ("unit", "establishments/540000023/units/" + "a" * 33, "MALFORMED_NAME"),
    ("unit", "establishments/540000023/units/smr/beds/1", "MALFORMED_NAME"),
    ("unit", "establishments/540000023/units/nowhere", "UNIT_NOT_FOUND"),
    ("mode", 0, "FIELD_INVALID"),
    ("mode", 77, "FIELD_INVALID"),
    ("urgency", 0, "FIELD_INVALID"),
    ("asked_count", 0, "FIELD_INVALID"),
    ("asked_count", -3, "FIELD_INVALID"),
    ("ttl.seconds", -5, "TIME_OUT_OF_RANGE"),
    ("ttl.seconds", 0, "FIELD_INVALID"),
    ("valid_until.seconds", 253_402_300_800, "TIME_OUT_OF_RANGE"),
    ("need.discipline", 0, "FIELD_INVALID"),
    ("need.gender", 0, "FIELD_INVALID"),
    ("need.gender", terms_pb2.GENDER_UNDETERMINED, "FIELD_INVALID"),
    ("need.age_years", 131, "FIELD_INVALID"),
    ("need.age_years", -1, "FIELD_INVALID"),
    ("need.age_months", 24, "FIELD_INVALID"),
    ("need.arrival_earliest.seconds", -62_135_596_801, "TIME_OUT_OF_RANGE"),
    ("need.arrival_earliest.nanos", -1, "TIME_OUT_OF_RANGE"),
    ("need.arrival_latest.seconds", 1, "TIME_OUT_OF_RANGE"),
    ("need.stay_max.seconds", 401 * 86_400, "FIELD_INVALID"),
    ("need.gir", 7, "FIELD_INVALID"),
    ("need.origin", "54 rue des Lilas", "MALFORMED_NAME"),
    ("need.distance_km_max", float("nan"), "FIELD_INVALID"),
    ("need.minutes_max", -1.0, "FIELD_INVALID"),
    ("need.distance_km_max", 20.0, "FIELD_INVALID"),
]


@pytest.mark.parametrize(("path", "value", "reason"), BAD, ids=lambda value: str(value)[:40])
async def test_what_cannot_be_meant_is_refused_by_name(at: House, path: str, value: object, reason: str) -> None:
    before = at.revision
    answer = await at.command(_change(_set(path, value)))
    assert answer.refusal.reason == reason, answer.refusal
    assert at.counts.refusals[reason] == 1
    if reason != "UNIT_NOT_FOUND":
        assert at.revision == before
        assert {"field", "finess"} & set(answer.refusal.metadata), answer.refusal


def _unit(change: Callable[[census_pb2.DeclareUnitRequest], object]) -> census_pb2.DeclareUnitRequest:
    request = declare_places("had", installed=5, occupied=0)
    change(request)
    return request


BAD_UNITS: list[tuple[str, Callable[[census_pb2.DeclareUnitRequest], object], str]] = [
    ("negative", lambda unit: setattr(unit.places[0], "occupied", -1), "COUNT_OUT_OF_RANGE"),
    ("absurd", lambda unit: setattr(unit.places[0], "installed", 10_001), "COUNT_OUT_OF_RANGE"),
    ("a gender twice", lambda unit: unit.places.append(unit.places[0]), "FIELD_INVALID"),
    ("no counting", lambda unit: unit.ClearField("counting"), "FIELD_INVALID"),
    (
        "rooms of places",
        lambda unit: unit.rooms.append(census_pb2.Room(id="1", rule=census_pb2.ROOM_RULE_MIXED)),
        "FIELD_INVALID",
    ),
    ("a source twice", lambda unit: unit.sources.append(unit.sources[0]), "FIELD_INVALID"),
    ("a source with a slash", lambda unit: setattr(unit.sources[0], "id", "a/b"), "MALFORMED_NAME"),
    ("never stale", lambda unit: unit.sources[0].fresh_max.FromTimedelta(timedelta(days=3)), "FIELD_INVALID"),
    ("a name of two lines", lambda unit: setattr(unit, "display_name", "SMR\n2"), "FIELD_INVALID"),
    ("a name too long", lambda unit: setattr(unit, "display_name", "x" * 201), "FIELD_INVALID"),
    ("an eighth day", lambda unit: unit.policy.answer_hours.add(day=8, start_minute=0, end_minute=1), "FIELD_INVALID"),
    (
        "hours backwards",
        lambda unit: unit.policy.answer_hours.add(day=1, start_minute=9, end_minute=8),
        "FIELD_INVALID",
    ),
    ("no such day", lambda unit: unit.policy.closed_days.append("2026-02-30"), "FIELD_INVALID"),
    ("another unit's policy", lambda unit: setattr(unit.policy, "unit", unit_name("smr")), "FIELD_INVALID"),
]


@pytest.mark.parametrize(("what", "change", "reason"), BAD_UNITS, ids=[what for what, _, _ in BAD_UNITS])
async def test_what_no_unit_can_be_is_refused(
    at: House, what: str, change: Callable[[census_pb2.DeclareUnitRequest], object], reason: str
) -> None:
    before = at.revision
    with pytest.raises(Refusal) as refused:
        await at.declare(_unit(change))
    assert refused.value.reason.value == reason, what
    assert at.revision == before


# --- movements -------------------------------------------------------------------------------------------------------


def admission(movement_id: str, unit: str = "smr", source: str = "sih") -> census_pb2.Movement:
    """A woman arrives."""
    movement = census_pb2.Movement(movement_id=movement_id, source_id=source, stay_key=f"stay-{movement_id}")
    movement.admission.unit = unit_name(unit)
    movement.admission.gender = terms_pb2.GENDER_FEMALE
    return movement


async def tell(at: House, *movements: census_pb2.Movement) -> list[census_pb2.ApplyMovementsResponse]:
    """Movements on one stream, and their acknowledgements."""

    async def send() -> AsyncIterator[census_pb2.ApplyMovementsRequest]:
        for movement in movements:
            yield census_pb2.ApplyMovementsRequest(movement=movement)

    return [answer async for answer in at.census.ApplyMovements(send(), NO_CONTEXT)]


@pytest.fixture
async def fed() -> AsyncIterator[House]:
    """A house whose unit an adapter feeds."""
    async with house() as opened:
        request = declare_places("smr", installed=300, occupied=0)
        request.sources.insert(
            0, census_pb2.SourceDeclaration(id="sih", kind=pb.SOURCE_KIND_BED_MANAGEMENT, adapter="hl7")
        )
        await opened.declare(request)
        yield opened


FATE = census_pb2.ApplyMovementsResponse


async def test_movements_are_acknowledged_in_their_order_after_few_commits(fed: House) -> None:
    fed.calls_as(HL7)
    before = len(fed.counts.commits)
    told = await tell(fed, *(admission(f"m{number}") for number in range(250)))
    assert [one.movement_id for one in told] == [f"m{number}" for number in range(250)]
    assert {one.fate for one in told} == {FATE.FATE_APPLIED}
    assert len(fed.counts.commits) - before < 50
    assert (await tell(fed, admission("m7")))[0].fate == FATE.FATE_ALREADY


async def test_a_bad_movement_is_refused_by_name_and_the_next_is_heard(fed: House) -> None:
    fed.calls_as(HL7)
    unset = census_pb2.Movement(movement_id="m2", source_id="sih", stay_key="s")
    elsewhere = admission("m3")
    elsewhere.admission.unit = "establishments/540000080/units/smr"
    told = await tell(fed, admission("m 1"), unset, elsewhere, admission("m4", unit="nowhere"), admission("m5"))
    assert [(one.fate, one.reason) for one in told] == [
        (FATE.FATE_REFUSED, "FIELD_INVALID"),
        (FATE.FATE_REFUSED, "FIELD_INVALID"),
        (FATE.FATE_REFUSED, "ESTABLISHMENT_NOT_FOUND"),
        (FATE.FATE_PARKED, "UNIT_UNKNOWN"),
        (FATE.FATE_APPLIED, ""),
    ]
    assert not told[0].HasField("cursor")
    assert fed.counts.refusals["FIELD_INVALID"] == 2
    fed.calls_as(MARIE)
    parent = f"establishments/{HOUSE}"
    parked = await fed.census.ListParkedMovements(census_pb2.ListParkedMovementsRequest(parent=parent), NO_CONTEXT)
    (one,) = parked.movements
    assert one.movement == admission("m4", unit="nowhere")
    assert one.reason == census_pb2.PARK_REASON_UNIT_UNKNOWN
    assert one.by.role == "adapter"


async def test_an_adapter_speaks_for_its_declared_units_only(fed: House) -> None:
    fed.calls_as(OTHER)
    (told,) = await tell(fed, admission("m1"))
    assert (told.fate, told.reason) == (FATE.FATE_REFUSED, "NOT_YOUR_UNIT")
    with pytest.raises(Refusal):
        await fed.census.ReportAlive(census_pb2.ReportAliveRequest(source_id="sih"), NO_CONTEXT)
    fed.calls_as(HL7)
    assert (await tell(fed, admission("m1")))[0].fate == FATE.FATE_APPLIED


async def test_a_disk_that_refuses_ends_the_stream_so_that_movements_come_again(fed: House) -> None:
    fed.calls_as(HL7)
    fed.store.full = True
    with pytest.raises(Refusal) as refused:
        await tell(fed, admission("m1"), admission("m2"))
    assert refused.value.reason is Reason.STORAGE_UNAVAILABLE
    fed.store.full = False
    told = await tell(fed, admission("m1"), admission("m2"))
    assert [one.fate for one in told] == [FATE.FATE_APPLIED] * 2


async def test_beds_show_who_is_in_them(at: House) -> None:
    request = declare_places("med", installed=0, occupied=0)
    request.counting = pb.COUNTING_BEDS
    del request.places[:]
    room = census_pb2.Room(id="112", rule=census_pb2.ROOM_RULE_MIXED)
    for bed in ("112-1", "112-2"):
        room.beds.add(name=f"{unit_name('med')}/beds/{bed}", gender=terms_pb2.GENDER_ANY)
    request.rooms.append(room)
    await at.declare(request)
    at.calls_as(MARIE)
    arrival = admission("m1", unit="med", source="cadre")
    arrival.admission.bed = f"{unit_name('med')}/beds/112-2"
    assert (await tell(at, arrival))[0].fate == FATE.FATE_APPLIED
    at.calls_as(HUB)
    held = await at.command(create("med", TOMORROW))
    at.calls_as(MARIE)
    listed = await at.census.ListBeds(census_pb2.ListBedsRequest(parent=unit_name("med")), NO_CONTEXT)
    first, second = listed.beds
    assert (first.stay_key, first.claim) == ("", held.reservation.name)
    assert (second.stay_key, second.claim) == ("stay-m1", "")
    with pytest.raises(Refusal) as refused:
        await at.census.ListBeds(census_pb2.ListBedsRequest(parent=unit_name("nowhere")), NO_CONTEXT)
    assert refused.value.reason is Reason.UNIT_NOT_FOUND


async def beds_of_one_room(at: House, *beds: str) -> None:
    """The unit `med`, with a mixed room of so many beds, fed by people."""
    request = declare_places("med", installed=0, occupied=0)
    request.counting = pb.COUNTING_BEDS
    del request.places[:]
    room = census_pb2.Room(id="112", rule=census_pb2.ROOM_RULE_MIXED)
    for bed in beds:
        room.beds.add(name=f"{unit_name('med')}/beds/{bed}", gender=terms_pb2.GENDER_ANY)
    request.rooms.append(room)
    await at.declare(request)


def into_bed(movement_id: str, bed: str) -> census_pb2.Movement:
    """A woman arrives in a bed of `med`."""
    arrival = admission(movement_id, unit="med", source="cadre")
    arrival.admission.bed = f"{unit_name('med')}/beds/{bed}"
    return arrival


async def test_a_conflict_is_named_to_both_sides_and_settled(at: House) -> None:
    await beds_of_one_room(at, "1", "2")
    held = [(await at.command(create("med", TOMORROW))).reservation for _ in range(2)]
    at.calls_as(MARIE)
    (told,) = await tell(at, into_bed("m1", "1"))
    assert told.fate == FATE.FATE_APPLIED_WITH_CONFLICT
    (conflict,) = told.conflicts
    unit = at.node.edge.moment().unit("med")
    assert [(one.name, one.cause) for one in unit.conflicts] == [(conflict, pb.Conflict.CAUSE_ADMISSION)]
    loser = next(one for one in held if one.name == unit.conflicts[0].reservation)
    get = reservation_pb2.GetReservationRequest(name=loser.name)
    at.calls_as(HUB)
    assert (await at.reservations.GetReservation(get, NO_CONTEXT)).marks.conflicts == [conflict]
    at.calls_as(MARIE)
    with pytest.raises(Refusal) as refused:
        await at.census.SettleConflict(census_pb2.SettleConflictRequest(command_id=new_id(), name=conflict), NO_CONTEXT)
    assert refused.value.reason is Reason.FIELD_INVALID
    settling = census_pb2.SettleConflictRequest(
        command_id=new_id(), name=conflict, withdraw=reservation_pb2.WITHDRAW_REASON_BED_TAKEN_BY_EMERGENCY
    )
    settled = await at.census.SettleConflict(settling, NO_CONTEXT)
    assert settled.cursor == at.cursor
    ended = await at.reservations.GetReservation(get, NO_CONTEXT)
    assert ended.state == STATES.STATE_RELEASED
    assert ended.ending.withdraw == reservation_pb2.WITHDRAW_REASON_BED_TAKEN_BY_EMERGENCY


async def test_a_claim_is_moved_by_staff(at: House) -> None:
    await beds_of_one_room(at, "1", "2")
    held = (await at.command(create("med", START))).reservation
    at.calls_as(MARIE)
    beds = (await at.census.ListBeds(census_pb2.ListBedsRequest(parent=unit_name("med")), NO_CONTEXT)).beds
    free = next(bed for bed in beds if not bed.claim)
    elsewhere = free.name.replace(unit_name("med"), unit_name("ger"))
    with pytest.raises(Refusal) as refused:
        await at.census.MoveClaim(
            census_pb2.MoveClaimRequest(command_id=new_id(), reservation=held.name, bed=elsewhere), NO_CONTEXT
        )
    assert refused.value.reason is Reason.BED_NOT_FOUND
    moved = await at.census.MoveClaim(
        census_pb2.MoveClaimRequest(command_id=new_id(), reservation=held.name, bed=free.name), NO_CONTEXT
    )
    assert moved.cursor == at.cursor
    beds = (await at.census.ListBeds(census_pb2.ListBedsRequest(parent=unit_name("med")), NO_CONTEXT)).beds
    assert [bed.name for bed in beds if bed.claim == held.name] == [free.name]


async def test_an_arrival_that_may_be_the_one_expected_is_asked_about(at: House) -> None:
    await beds_of_one_room(at, "1", "2")
    held = (await at.command(create("med", START))).reservation
    await at.command(confirm(held, 2))
    at.calls_as(MARIE)
    (told,) = await tell(at, admission("m1", unit="med", source="cadre"))
    parent = f"establishments/{HOUSE}"
    asked = await at.census.ListArrivalDoubts(census_pb2.ListArrivalDoubtsRequest(parent=parent), NO_CONTEXT)
    (doubt,) = asked.doubts
    assert doubt.name == told.doubt
    assert (list(doubt.candidates), list(doubt.references)) == ([held.name], ["K7-3F9"])
    answered = await at.census.AnswerArrivalDoubt(
        census_pb2.AnswerArrivalDoubtRequest(command_id=new_id(), name=doubt.name, reservation=held.name), NO_CONTEXT
    )
    assert (answered.answered, answered.answer) == (True, held.name)
    get = reservation_pb2.GetReservationRequest(name=held.name)
    assert (await at.reservations.GetReservation(get, NO_CONTEXT)).state == STATES.STATE_ADMITTED
    again = await at.census.ListArrivalDoubts(census_pb2.ListArrivalDoubtsRequest(parent=parent), NO_CONTEXT)
    assert not again.doubts


async def test_a_parked_movement_is_corrected_or_discarded(at: House) -> None:
    await beds_of_one_room(at, "1")
    at.calls_as(MARIE)
    told = await tell(at, *(admission(f"m{number}", unit="nowhere", source="cadre") for number in range(2)))
    assert {one.fate for one in told} == {FATE.FATE_PARKED}
    parent = f"establishments/{HOUSE}"
    listing = census_pb2.ListParkedMovementsRequest(parent=parent)
    first, second = (await at.census.ListParkedMovements(listing, NO_CONTEXT)).movements
    corrected = census_pb2.SettleMovementRequest(
        command_id=new_id(), name=first.name, corrected=into_bed(first.movement.movement_id, "1")
    )
    applied = await at.census.SettleMovement(corrected, NO_CONTEXT)
    assert (applied.fate, applied.movement_id) == (FATE.FATE_APPLIED, first.movement.movement_id)
    with pytest.raises(Refusal) as refused:
        await at.census.SettleMovement(
            census_pb2.SettleMovementRequest(command_id=new_id(), name=second.name), NO_CONTEXT
        )
    assert refused.value.reason is Reason.REASON_REQUIRED
    discarding = census_pb2.SettleMovementRequest(command_id=new_id(), name=second.name, reason="doublon du GAM")
    discarded = await at.census.SettleMovement(discarding, NO_CONTEXT)
    assert discarded.movement_id == second.movement.movement_id
    assert not (await at.census.ListParkedMovements(listing, NO_CONTEXT)).movements


async def test_a_bed_is_described_anew(at: House) -> None:
    await beds_of_one_room(at, "1")
    at.calls_as(MARIE)
    bed = census_pb2.Bed(name=f"{unit_name('med')}/beds/1", room="112", gender=terms_pb2.GENDER_FEMALE)
    bed.features.append(terms_pb2.FEATURE_OXYGEN)
    told = await at.census.UpdateBed(census_pb2.UpdateBedRequest(command_id=new_id(), bed=bed), NO_CONTEXT)
    assert (told.gender, list(told.features)) == (terms_pb2.GENDER_FEMALE, [terms_pb2.FEATURE_OXYGEN])
    bed.name = f"{unit_name('med')}/beds/9"
    with pytest.raises(Refusal) as refused:
        await at.census.UpdateBed(census_pb2.UpdateBedRequest(command_id=new_id(), bed=bed), NO_CONTEXT)
    assert refused.value.reason is Reason.BED_NOT_FOUND


async def test_a_correction_by_hand_is_shown_beside_what_it_corrects(fed: House) -> None:
    fed.calls_as(MARIE)
    correcting = census_pb2.CorrectFiguresRequest(
        command_id=new_id(), unit=unit_name("smr"), free=7, reason="lits fermés ce matin", seen=fed.cursor
    )
    correcting.ttl.FromTimedelta(timedelta(hours=4))
    unit = await fed.census.CorrectFigures(correcting, NO_CONTEXT)
    (one,) = unit.disagreements
    assert (one.source, one.free, one.winning_free) == ("sih", 300, 7)
    assert one.reason == "marie (lits fermés ce matin)"
    correcting.command_id = new_id()
    with pytest.raises(Refusal) as refused:
        await fed.census.CorrectFigures(correcting, NO_CONTEXT)
    assert refused.value.reason is Reason.FIGURES_MOVED
    fed.calls_as(HL7)
    assert not fed.node.edge.moment().unit("smr").disagreements


async def test_visibility_is_told_to_the_hub_which_applies_it(at: House) -> None:
    at.calls_as(MARIE)
    rule = pb.VisibilityRule(ght=pb.SHOWN_YES_OR_NO, partner=pb.SHOWN_NOTHING, everyone=pb.SHOWN_NOTHING)
    await at.census.SetVisibility(
        census_pb2.SetVisibilityRequest(command_id=new_id(), units=[unit_name("smr")], visibility=rule), NO_CONTEXT
    )
    at.calls_as(HUB)
    unit = at.node.edge.moment().unit("smr")
    assert (unit.visibility, unit.shown) == (rule, pb.SHOWN_EXACT)


# --- who acts --------------------------------------------------------------------------------------------------------


async def test_staff_act_under_their_own_name_and_a_desks_person_under_theirs(at: House) -> None:
    asked = await at.command(create("smr", TOMORROW, terms_pb2.MODE_ASK))
    assert asked.reservation.state == STATES.STATE_ASKED
    actor = terms_pb2.Actor(subject="rpps:10001234567", display_name="Dr Claire Petit", role="operator")
    at.calls_as(DESK, actor.SerializeToString())
    seen = await at.reservations.MarkReservationSeen(
        reservation_pb2.MarkReservationSeenRequest(command_id=new_id(), name=asked.reservation.name), NO_CONTEXT
    )
    assert seen.marks.seen_by.actor == "rpps:10001234567"
    assert seen.marks.seen_by.display_name == "Dr Claire Petit"
    at.calls_as(MARIE)
    declined = await at.reservations.DeclineReservation(
        reservation_pb2.DeclineReservationRequest(
            command_id=new_id(), name=asked.reservation.name, reason=reservation_pb2.DECLINE_REASON_CANNOT_ISOLATE
        ),
        NO_CONTEXT,
    )
    assert declined.state == STATES.STATE_DECLINED
    assert declined.ending.by.actor == str(MARIE)
    assert declined.ending.by.on_behalf_of == f"establishments/{HOUSE}"
    assert declined.requester.display_name == "Cellule de coordination"


async def test_an_actor_that_cannot_be_read_is_refused(at: House) -> None:
    for raw in (b"\xff\xff", b"", terms_pb2.Actor(subject="a\nb").SerializeToString()):
        at.calls_as(DESK, raw)
        with pytest.raises(Refusal) as refused:
            await at.census.DeclareUnit(declare_places("had", installed=1, occupied=0), NO_CONTEXT)
        assert refused.value.reason is Reason.FIELD_INVALID


async def test_an_act_needs_its_reason(at: House) -> None:
    asked = await at.command(create("smr", TOMORROW, terms_pb2.MODE_ASK))
    at.calls_as(MARIE)
    with pytest.raises(Refusal) as refused:
        await at.reservations.DeclineReservation(
            reservation_pb2.DeclineReservationRequest(command_id=new_id(), name=asked.reservation.name), NO_CONTEXT
        )
    assert refused.value.reason is Reason.REASON_REQUIRED


# --- lists -----------------------------------------------------------------------------------------------------------


async def test_lists_come_in_pages_in_the_order_of_names(at: House) -> None:
    await at.declare(declare_places("smr", installed=50, occupied=0))
    await at.commands(*(create("smr", TOMORROW) for _ in range(25)))
    request = reservation_pb2.ListReservationsRequest(parent=f"establishments/{HOUSE}", page_size=10)
    names: list[str] = []
    sizes = []
    while True:
        page = await at.reservations.ListReservations(request, NO_CONTEXT)
        names += [one.name for one in page.reservations]
        sizes.append(len(page.reservations))
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token
    assert sizes == [10, 10, 5]
    assert names == sorted(set(names))
    assert page.cursor == at.cursor


async def test_a_page_token_is_bound_to_caller_and_filter_and_an_hour(at: House) -> None:
    await at.declare(declare_places("smr", installed=50, occupied=0))
    await at.commands(*(create("smr", TOMORROW) for _ in range(3)))
    parent = f"establishments/{HOUSE}"

    async def listed(token: str, unit: str = "") -> reservation_pb2.ListReservationsResponse:
        return await at.reservations.ListReservations(
            reservation_pb2.ListReservationsRequest(parent=parent, page_size=1, page_token=token, unit=unit), NO_CONTEXT
        )

    token = (await listed("")).next_page_token
    assert (await listed(token)).reservations
    for wrong, unit, caller in (
        (token, unit_name("smr"), HUB),
        (token, "", MARIE),
        (token[:-2] + ("00" if token[-2:] != "00" else "01"), "", HUB),
        ("zz", "", HUB),
        ("ab", "", HUB),
    ):
        at.calls_as(caller)
        with pytest.raises(Refusal) as refused:
            await listed(wrong, unit)
        assert refused.value.reason is Reason.PAGE_TOKEN_INVALID
    at.calls_as(HUB)
    at.clock.advance(timedelta(seconds=TOKEN_SECONDS_MAX + 1))
    with pytest.raises(Refusal):
        await listed(token)


async def test_units_can_be_asked_by_discipline_and_staleness(at: House) -> None:
    had = declare_places("had", installed=5, occupied=0)
    had.discipline = terms_pb2.DISCIPLINE_HAD
    had.sources[0].id = "had-cadre"
    await at.declare(had)

    async def names(**chosen: object) -> list[str]:
        request = pb.ListUnitsRequest(parent="establishments/-")
        for field, value in chosen.items():
            setattr(request, field, value)
        return [unit.name for unit in (await at.availability.ListUnits(request, NO_CONTEXT)).units]

    assert await names() == [unit_name("had"), unit_name("smr")]
    assert await names(discipline=terms_pb2.DISCIPLINE_HAD) == [unit_name("had")]
    assert await names(stale_only=True) == []
    at.clock.advance(timedelta(hours=20))
    at.calls_as(MARIE)
    await at.census.ConfirmUnit(
        census_pb2.ConfirmUnitRequest(command_id=new_id(), units=[unit_name("had")]), NO_CONTEXT
    )
    at.clock.advance(timedelta(hours=5))
    assert await names(stale_only=True) == [unit_name("smr")]


async def test_a_policy_comes_back_as_it_was_given(at: House) -> None:
    at.calls_as(MARIE)
    given = census_pb2.UnitPolicy(
        unit=unit_name("smr"),
        answering=pb.PolicySummary.ANSWERING_PERSON,
        automatic=census_pb2.AutomaticHold(per_day_max=2, genders=[terms_pb2.GENDER_FEMALE], keep_free=1),
        renewals_max=3,
        answer_hours=[pb.WeekHours(day=1, start_minute=540, end_minute=1020)],
        closed_on_public_holidays=True,
        alsace_moselle=True,
        closed_days=["2026-12-24"],
        promise_on_announced=True,
        turnover_minutes=90,
        notes=census_pb2.NotePolicy(apply_no=True, apply_yes=True),
        grant_waiting_list=True,
    )
    given.ttl.FromTimedelta(timedelta(hours=6))
    given.ttl_max.FromTimedelta(timedelta(hours=12))
    told = await at.census.SetUnitPolicy(census_pb2.SetUnitPolicyRequest(command_id=new_id(), policy=given), NO_CONTEXT)
    assert told == given
    assert await at.census.GetUnitPolicy(census_pb2.GetUnitPolicyRequest(unit=unit_name("smr")), NO_CONTEXT) == given


# --- what files and systems tell, and what is read back --------------------------------------------------------------


def counts(open_: int, occupied: int, name: str = "c1", unit: str = "smr") -> census_pb2.Movement:
    """Counts of a unit, as the information system states them."""
    movement = census_pb2.Movement(movement_id=name, source_id="sih")
    movement.counts_reported.unit = unit_name(unit)
    movement.counts_reported.places.add(gender=terms_pb2.GENDER_ANY, open=open_, occupied=occupied)
    return movement


async def test_the_source_whose_word_stands_comes_first(at: House) -> None:
    """A sheet that was never heard, or not for too long, is no source of the figures that a person confirms."""
    declared = declare_places("smr", installed=5, occupied=4)
    declared.sources.insert(0, census_pb2.SourceDeclaration(id="sih", kind=pb.SOURCE_KIND_FILE, adapter=str(HL7.name)))
    await at.declare(declared)

    async def sources() -> tuple[list[str], pb.Freshness.ValueType]:
        at.calls_as(MARIE)
        request = pb.ListUnitsRequest(parent=f"establishments/{HOUSE}")
        (unit,) = (await at.availability.ListUnits(request, NO_CONTEXT)).units
        assert unit.age == unit.sources[0].age
        return [one.id for one in unit.sources], unit.freshness

    async def confirmed() -> None:
        at.calls_as(MARIE)
        await at.census.ConfirmUnit(census_pb2.ConfirmUnitRequest(command_id=new_id()), NO_CONTEXT)

    await confirmed()
    assert await sources() == (["cadre", "sih"], pb.FRESHNESS_FRESH)
    at.calls_as(HL7)
    assert (await tell(at, counts(5, 2)))[0].fate == FATE.FATE_APPLIED
    assert await sources() == (["sih", "cadre"], pb.FRESHNESS_FRESH)
    at.clock.advance(timedelta(hours=30))
    assert await sources() == (["sih", "cadre"], pb.FRESHNESS_STALE), "nobody speaks: as declared"
    await confirmed()
    assert await sources() == (["cadre", "sih"], pb.FRESHNESS_FRESH)


async def test_counts_of_a_system_are_as_old_as_it_says(fed: House) -> None:
    """The figures are new, and their source was seen three hours ago."""
    fed.calls_as(HL7)
    told = counts(300, 20)
    told.event_time.FromDatetime(START)
    told.counts_reported.age.FromTimedelta(timedelta(hours=3))
    assert (await tell(fed, told))[0].fate == FATE.FATE_APPLIED
    fed.calls_as(MARIE)
    (unit,) = (
        await fed.availability.ListUnits(pb.ListUnitsRequest(parent=f"establishments/{HOUSE}"), NO_CONTEXT)
    ).units
    (source,) = (one for one in unit.sources if one.id == "sih")
    assert source.age.ToTimedelta() == timedelta(hours=3)
    older = counts(300, 0, "c2")
    older.event_time.FromDatetime(START - timedelta(hours=1))
    fed.calls_as(HL7)
    (late,) = await tell(fed, older)
    assert (late.fate, dict(late.metadata)) == (FATE.FATE_ALREADY, {"newer": START.isoformat()})


def spoilt(name: str) -> census_pb2.Movement:
    """A movement that cannot be meant."""
    if name == "age":
        movement = counts(1, 0)
        movement.counts_reported.age.FromTimedelta(timedelta(days=8))
    elif name == "negative age":
        movement = counts(1, 0)
        movement.counts_reported.age.seconds = -1
    elif name == "bed and no bed":
        movement = census_pb2.Movement(movement_id="m", source_id="sih", stay_key="s")
        movement.transfer.unit, movement.transfer.bed = unit_name("smr"), f"{unit_name('smr')}/beds/1"
        movement.transfer.bed_unknown = True
    elif name == "merged with itself":
        movement = census_pb2.Movement(movement_id="m", source_id="sih", stay_key="s")
        movement.stay_merged.absorbed_stay_key = "s"
    elif name == "corrects itself":
        movement = admission("m")
        movement.corrects_movement_id = "m"
    else:
        movement = counts(1, 0)
        movement.corrects_movement_id = "c0"
    return movement


SPOILT = ("age", "negative age", "bed and no bed", "merged with itself", "corrects itself", "corrects counts")


@pytest.mark.parametrize("name", SPOILT)
async def test_a_movement_that_cannot_be_meant_is_refused_and_ends_no_stream(fed: House, name: str) -> None:
    """By the field's name; what comes after it is taken."""
    fed.calls_as(HL7)
    refused, taken = await tell(fed, spoilt(name), admission("after"))
    assert (refused.fate, refused.reason) == (FATE.FATE_REFUSED, "FIELD_INVALID")
    assert "field" in refused.metadata
    assert taken.fate == FATE.FATE_APPLIED


async def test_who_is_here_is_listed_under_opaque_keys(fed: House) -> None:
    """To the house's own, adapters too: a unit's, or all; by pages in the order of keys."""
    fed.calls_as(HL7)
    expected = census_pb2.Movement(movement_id="e", source_id="sih", stay_key="z-expected")
    expected.arrival_expected.unit = unit_name("smr")
    expected.arrival_expected.arrival_time.FromDatetime(TOMORROW)
    await tell(fed, admission("m1"), admission("m2"), expected)
    keys = []
    request = census_pb2.ListStaysRequest(parent=f"establishments/{HOUSE}", page_size=2)
    while True:
        page = await fed.census.ListStays(request, NO_CONTEXT)
        keys += [(stay.stay_key, stay.expected) for stay in page.stays]
        request.page_token = page.next_page_token
        if not request.page_token:
            break
    assert keys == sorted(keys)
    assert len(keys) == 3
    assert keys[-1] == ("z-expected", True)
    of_unit = await fed.census.ListStays(census_pb2.ListStaysRequest(parent=unit_name("smr")), NO_CONTEXT)
    assert {stay.source_id for stay in of_unit.stays} == {"sih"}
    with pytest.raises(Refusal) as refused:
        await fed.census.ListStays(census_pb2.ListStaysRequest(parent=unit_name("nowhere")), NO_CONTEXT)
    assert refused.value.reason is Reason.UNIT_NOT_FOUND
