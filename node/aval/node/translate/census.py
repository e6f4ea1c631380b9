"""What a house says of its own beds, turned into commands: units, counts, policies, movements. Refused by field."""

from collections.abc import Iterable, Sequence
from datetime import date, datetime, timedelta
from typing import TypeVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from google.protobuf.timestamp_pb2 import Timestamp

from aval.kernel.hours import WeekHours
from aval.kernel.reasons import Reason, Refusal, field_invalid
from aval.kernel.statuses import Counting, Gender
from aval.node import commands as c
from aval.node import model as m
from aval.node.translate.inward import NAMES_MAX, Staff, content, features
from aval.node.translate.words import (
    ANSWERING,
    CLOSURE_KINDS,
    CLOSURE_REASONS,
    COUNTINGS,
    DISCIPLINES,
    GENDERS,
    HORIZONS,
    ROOM_RULES,
    SHOWN,
    SOURCE_KINDS,
    STATUSES,
    SUPPLEMENTARY,
    WITHDRAW_REASONS,
    Names,
    code,
    count,
    instant,
    opaque,
    span,
    text,
    uuid,
)
from aval.v1 import availability_pb2, census_pb2

BEDS_MAX = 1_000
"""Beds of one unit: the contract's greatest establishment has that many units."""

SOURCES_MAX = 16
"""Sources of one unit."""

AGE_YEARS_MAX = 130

RENEWALS_MAX = 100
"""Renewals of one hold: more is a hold without an end."""

PER_DAY_MAX = 1_000
"""Automatic holds a day."""

WEEK_HOURS_MAX = 7 * 24
"""Windows of a week: one an hour."""

CLOSED_DAYS_MAX = 1_000
"""Closed days: some years ahead."""

TURNOVER_MINUTES_MAX = 7 * 24 * 60
"""Time between a departure and the next arrival: a week, for works between two residents."""

MINUTES_A_DAY = 24 * 60

COUNTS_AGE_MAX = timedelta(days=7)
"""How old counts may be when they are sent: older ones say nothing of today."""

PHONES_MAX = 16

_Many = TypeVar("_Many")

_Identified = (
    census_pb2.DeclareUnitRequest
    | census_pb2.ConfirmUnitRequest
    | census_pb2.DeclareCountsRequest
    | census_pb2.CorrectFiguresRequest
    | census_pb2.SetUnitPolicyRequest
    | census_pb2.SetVisibilityRequest
    | census_pb2.UpdateEstablishmentRequest
    | census_pb2.UpdateBedRequest
    | census_pb2.SettleMovementRequest
    | census_pb2.AnswerArrivalDoubtRequest
    | census_pb2.SettleConflictRequest
    | census_pb2.MoveClaimRequest
)


def staff(request: _Identified, caller: c.Caller) -> Staff:
    """What all commands of the house share, of a request that bears its id."""
    return Staff(caller=caller, command_id=uuid(request.command_id, "command_id"), content=content(request))


def declare_unit(request: census_pb2.DeclareUnitRequest, caller: c.Caller, names: Names) -> c.DeclareUnit:
    """A unit, as its house declares it."""
    unit = names.read_unit(request.name, "name")
    counting = COUNTINGS.word(request.counting, "counting")
    if counting is Counting.BEDS and request.places:
        raise field_invalid("places", "a unit of beds has rooms, not places")
    if counting is Counting.PLACES and request.rooms:
        raise field_invalid("rooms", "a unit of places has no rooms; say counting beds, or give places")
    rooms = tuple(
        m.Room(unit, code(room.id, f"rooms[{at}].id"), ROOM_RULES.word(room.rule, f"rooms[{at}].rule"))
        for at, room in enumerate(_few(request.rooms, BEDS_MAX, "rooms"))
    )
    beds = tuple(
        _bed(bed, unit, room.id, f"rooms[{at}].beds", names)
        for at, room in enumerate(request.rooms)
        for bed in room.beds
    )
    _distinct((room.id for room in rooms), "rooms", "a room's code comes twice")
    _distinct((bed.id for bed in beds), "rooms", "a bed comes twice")
    _few(beds, BEDS_MAX, "rooms")
    return c.DeclareUnit(
        **staff(request, caller),
        unit=m.Unit(
            id=unit,
            display_name=text(request.display_name, "display_name"),
            discipline=DISCIPLINES.word(request.discipline, "discipline"),
            counting=counting,
            sources=_sources(request.sources),
            ages=_ages(request.ages) if request.HasField("ages") else None,
            features=features(request.features, "features"),
            declared=tuple(
                (
                    STATUSES.word(one.status, "declared.status"),
                    tuple(HORIZONS.word(horizon, "declared.horizons") for horizon in one.horizons),
                )
                for one in request.declared
            ),
        ),
        rooms=rooms,
        beds=beds,
        places=_places(request.places, "places", with_installed=True),
        policy=policy(request.policy, "policy", names, unit) if request.HasField("policy") else None,
        visibility=visibility(request.visibility, "visibility") if request.HasField("visibility") else None,
    )


def _few(items: Sequence[_Many], most: int, field: str) -> Sequence[_Many]:
    if len(items) > most:
        raise field_invalid(field, f"more than {most}")
    return items


def _distinct(items: Iterable[object], field: str, problem: str) -> None:
    seen: set[object] = set()
    for item in items:
        if item in seen:
            raise field_invalid(field, f"{problem}: {item}")
        seen.add(item)


def _bed(message: census_pb2.Bed, unit: str, room: str, field: str, names: Names) -> m.Bed:
    kind = message.supplementary
    return m.Bed(
        unit=unit,
        id=names.read_bed(message.name, f"{field}.name", unit)[1],
        room=room,
        gender=GENDERS.word_or_none(message.gender, f"{field}.gender") or Gender.ANY,
        features=features(message.features, f"{field}.features"),
        supplementary=SUPPLEMENTARY.word_or_none(kind, f"{field}.supplementary"),
    )


def _sources(messages: Sequence[census_pb2.SourceDeclaration]) -> tuple[m.Source, ...]:
    sources = []
    for at, message in enumerate(_few(messages, SOURCES_MAX, "sources")):
        field = f"sources[{at}]"
        kind = SOURCE_KINDS.word(message.kind, f"{field}.kind")
        fresh = span(message.fresh_max, f"{field}.fresh_max") if message.HasField("fresh_max") else kind.fresh_max
        stale = span(message.stale_min, f"{field}.stale_min") if message.HasField("stale_min") else kind.stale_min
        if not timedelta(0) < fresh <= stale:
            raise field_invalid(f"{field}.stale_min", "must not be shorter than fresh_max, nor either be 0")
        adapter = text(message.adapter, f"{field}.adapter")
        sources.append(m.Source(code(message.id, f"{field}.id"), kind, fresh, stale, adapter))
    _distinct((source.id for source in sources), "sources", "a source comes twice")
    return tuple(sources)


def _ages(message: availability_pb2.AgeRange) -> m.Ages | None:
    low, high = message.min_years, message.max_years
    if not 0 <= low <= AGE_YEARS_MAX or not (high == 0 or low <= high <= AGE_YEARS_MAX):
        raise field_invalid("ages", f"0 to {AGE_YEARS_MAX} years, the lowest first; max_years 0 for no limit")
    return m.Ages(low, high) if low or high else None


def _places(
    messages: Sequence[census_pb2.PlaceCapacity], field: str, *, with_installed: bool
) -> tuple[c.DeclaredPlaces, ...]:
    places = tuple(
        c.DeclaredPlaces(
            gender=GENDERS.word(message.gender, f"{field}[{at}].gender"),
            open=count(message.open, f"{field}[{at}].open"),
            occupied=count(message.occupied, f"{field}[{at}].occupied"),
            installed=count(message.installed, f"{field}[{at}].installed") if with_installed else None,
        )
        for at, message in enumerate(messages)
    )
    _distinct((one.gender for one in places), field, "a gender comes twice")
    return places


def visibility(message: availability_pb2.VisibilityRule, field: str) -> m.Visibility:
    """A rule of visibility; what is left out is the default."""
    usual = m.Visibility()
    return m.Visibility(
        ght=SHOWN.word_or_none(message.ght, f"{field}.ght") or usual.ght,
        partner=SHOWN.word_or_none(message.partner, f"{field}.partner") or usual.partner,
        everyone=SHOWN.word_or_none(message.everyone, f"{field}.everyone") or usual.everyone,
    )


def policy(message: census_pb2.UnitPolicy, field: str, names: Names, of_unit: str | None = None) -> m.Policy:
    """A unit's policy, whole. `of_unit`: the unit that it must name, if it names one."""
    if message.unit and of_unit is not None and names.read_unit(message.unit, f"{field}.unit") != of_unit:
        raise field_invalid(f"{field}.unit", "is another unit than the one declared")
    if not 0 <= message.renewals_max <= RENEWALS_MAX:
        raise field_invalid(f"{field}.renewals_max", f"must be 0 to {RENEWALS_MAX}")
    if not 0 <= message.turnover_minutes <= TURNOVER_MINUTES_MAX:
        raise field_invalid(f"{field}.turnover_minutes", f"must be 0 to {TURNOVER_MINUTES_MAX}")
    return m.Policy(
        answering=ANSWERING.word(message.answering, f"{field}.answering"),
        automatic=_automatic(message.automatic, f"{field}.automatic"),
        ttl=(span(message.ttl, f"{field}.ttl") or None) if message.HasField("ttl") else None,
        ttl_max=(span(message.ttl_max, f"{field}.ttl_max") or None) if message.HasField("ttl_max") else None,
        renewals_max=message.renewals_max,
        answer_hours=_hours(message.answer_hours, f"{field}.answer_hours"),
        admission_hours=_hours(message.admission_hours, f"{field}.admission_hours"),
        closed_on_public_holidays=message.closed_on_public_holidays,
        alsace_moselle=message.alsace_moselle,
        closed_days=frozenset(
            _day(day, f"{field}.closed_days")
            for day in _few(message.closed_days, CLOSED_DAYS_MAX, f"{field}.closed_days")
        ),
        promise_on_announced=message.promise_on_announced,
        turnover_minutes=message.turnover_minutes,
        notes=m.NotePolicy(message.notes.apply_no, message.notes.apply_yes)
        if message.HasField("notes")
        else m.NotePolicy(),
        grant_waiting_list=message.grant_waiting_list,
    )


def _automatic(message: census_pb2.AutomaticHold, field: str) -> m.AutomaticHold:
    if not 0 <= message.per_day_max <= PER_DAY_MAX:
        raise field_invalid(f"{field}.per_day_max", f"must be 0 (no limit) to {PER_DAY_MAX}")
    return m.AutomaticHold(
        per_day_max=message.per_day_max,
        genders=frozenset(GENDERS.word(number, f"{field}.genders") for number in message.genders),
        hours=_hours(message.hours, f"{field}.hours"),
        keep_free=count(message.keep_free, f"{field}.keep_free"),
    )


def _hours(messages: Sequence[availability_pb2.WeekHours], field: str) -> tuple[WeekHours, ...]:
    hours = []
    for at, message in enumerate(_few(messages, WEEK_HOURS_MAX, field)):
        if not 1 <= message.day <= 7:
            raise field_invalid(f"{field}[{at}].day", "1 is Monday, 7 is Sunday")
        if not 0 <= message.start_minute < message.end_minute <= MINUTES_A_DAY:
            raise field_invalid(f"{field}[{at}]", f"minutes from midnight, start before end, at most {MINUTES_A_DAY}")
        hours.append(WeekHours(message.day, message.start_minute, message.end_minute))
    return tuple(hours)


def _day(words: str, field: str) -> str:
    try:
        if date.fromisoformat(words).isoformat() == words:
            return words
    except ValueError:
        pass
    raise field_invalid(field, "a date is written YYYY-MM-DD")


def confirm_unit(request: census_pb2.ConfirmUnitRequest, caller: c.Caller, names: Names) -> c.ConfirmUnit:
    """« Rien n'a changé »."""
    units = _few(request.units, NAMES_MAX, "units")
    return c.ConfirmUnit(**staff(request, caller), units=tuple(names.read_unit(unit, "units") for unit in units))


def declare_counts(
    request: census_pb2.DeclareCountsRequest, caller: c.Caller, names: Names, stale: frozenset[str]
) -> c.DeclareCounts:
    """Counts by hand. `stale`: the sources that are, as ages now stand."""
    if not request.places:
        raise field_invalid("places", "is empty: nothing would be declared")
    return c.DeclareCounts(
        **staff(request, caller),
        unit=names.read_unit(request.unit, "unit"),
        places=_places(request.places, "places", with_installed=False),
        source=code(request.source_id, "source_id") if request.source_id else "",
        stale_sources=stale,
    )


def correct_figures(request: census_pb2.CorrectFiguresRequest, caller: c.Caller, names: Names) -> c.CorrectFigures:
    """A correction of another source."""
    reason = text(request.reason, "reason")
    if not reason:
        raise Refusal(Reason.REASON_REQUIRED, {"field": "reason"})
    return c.CorrectFigures(
        **staff(request, caller),
        unit=names.read_unit(request.unit, "unit"),
        free=count(request.free, "free"),
        reason=reason,
        ttl=span(request.ttl, "ttl"),
    )


def set_policy(request: census_pb2.SetUnitPolicyRequest, caller: c.Caller, names: Names) -> c.SetUnitPolicy:
    """A change of policy."""
    unit = names.read_unit(request.policy.unit, "policy.unit")
    return c.SetUnitPolicy(**staff(request, caller), unit=unit, policy=policy(request.policy, "policy", names))


def set_visibility(request: census_pb2.SetVisibilityRequest, caller: c.Caller, names: Names) -> c.SetVisibility:
    """A change of what others see."""
    units = _few(request.units, NAMES_MAX, "units")
    if not units:
        raise field_invalid("units", "is empty: name the units")
    return c.SetVisibility(
        **staff(request, caller),
        units=tuple(names.read_unit(unit, "units") for unit in units),
        visibility=visibility(request.visibility, "visibility"),
    )


def update_establishment(
    request: census_pb2.UpdateEstablishmentRequest, caller: c.Caller, names: Names
) -> c.UpdateEstablishment:
    """A change of the house's description."""
    names.check_establishment(request.name, "name")
    zone = text(request.time_zone, "time_zone") or m.Establishment().time_zone
    try:
        ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise field_invalid("time_zone", "is no IANA time zone, such as Europe/Paris") from None
    return c.UpdateEstablishment(
        **staff(request, caller),
        display_name=text(request.display_name, "display_name"),
        phones=tuple(
            m.Phone(text(phone.hours, "phones.hours"), text(phone.number, "phones.number"))
            for phone in _few(request.phones, PHONES_MAX, "phones")
        ),
        time_zone=zone,
    )


def update_bed(request: census_pb2.UpdateBedRequest, caller: c.Caller, names: Names) -> c.UpdateBed:
    """A change of a bed."""
    unit, bed = names.read_bed(request.bed.name, "bed.name")
    return c.UpdateBed(
        **staff(request, caller),
        unit=unit,
        bed=bed,
        room=code(request.bed.room, "bed.room"),
        gender=GENDERS.word(request.bed.gender, "bed.gender"),
        features=features(request.bed.features, "bed.features"),
    )


def settle_movement(request: census_pb2.SettleMovementRequest, caller: c.Caller, names: Names) -> c.SettleMovement:
    """The end of a parked movement."""
    corrected = movement(request.corrected, names) if request.HasField("corrected") else None
    reason = text(request.reason, "reason")
    if corrected is None and not reason:
        raise Refusal(Reason.REASON_REQUIRED, {"field": "reason"})
    parked = names.read_parked(request.name, "name")
    return c.SettleMovement(**staff(request, caller), parked=parked, corrected=corrected, reason=reason)


def answer_doubt(request: census_pb2.AnswerArrivalDoubtRequest, caller: c.Caller, names: Names) -> c.AnswerArrivalDoubt:
    """The answer to « est-ce K7-3F9 ? »."""
    return c.AnswerArrivalDoubt(
        **staff(request, caller),
        doubt=names.read_doubt(request.name, "name"),
        reservation=names.read_reservation(request.reservation, "reservation") if request.reservation else "",
    )


def settle_conflict(request: census_pb2.SettleConflictRequest, caller: c.Caller, names: Names) -> c.SettleConflict:
    """The settlement of a conflict."""
    unit, conflict = names.read_conflict(request.name, "name")
    shared = staff(request, caller)
    match request.WhichOneof("settlement"):
        case "bed":
            to_unit, bed = names.read_bed(request.bed, "bed")
            return c.SettleConflict(**shared, unit=unit, conflict=conflict, to_unit=to_unit, bed=bed)
        case "withdraw":
            reason = WITHDRAW_REASONS.word(request.withdraw, "withdraw")
            return c.SettleConflict(**shared, unit=unit, conflict=conflict, withdraw=reason)
        case "supplementary" if request.supplementary:
            return c.SettleConflict(**shared, unit=unit, conflict=conflict, supplementary=True)
        case _:
            raise field_invalid("settlement", "say a bed, a withdrawal, or a supplementary bed")


def move_claim(request: census_pb2.MoveClaimRequest, caller: c.Caller, names: Names) -> c.MoveClaim:
    """A claim's move to another bed of its unit."""
    unit, bed = names.read_bed(request.bed, "bed")
    reservation = names.read_reservation(request.reservation, "reservation")
    return c.MoveClaim(**staff(request, caller), reservation=reservation, unit=unit, bed=bed)


def report_alive(request: census_pb2.ReportAliveRequest, caller: c.Caller) -> c.ReportAlive:
    """A proof of life."""
    return c.ReportAlive(caller=caller, command_id="", content=b"", source=code(request.source_id, "source_id"))


# --- movements -------------------------------------------------------------------------------------------------------


def apply_movement(
    message: census_pb2.Movement, caller: c.Caller, names: Names, stale: frozenset[str]
) -> c.ApplyMovement:
    """A movement to apply. `stale`: the sources that are, as ages now stand."""
    read = movement(message, names)
    return c.ApplyMovement(
        caller=caller, command_id=read.key, content=content(message), movement=read, stale_sources=stale
    )


_OF_NO_STAY = ("bed_opened", "bed_closed", "bed_cleaned", "counts_reported", "cancellation")
"""Changes that need no stay key; a cancellation is known by what it cancels."""


def movement(message: census_pb2.Movement, names: Names) -> m.Movement:
    """A change of the census, as told."""
    of_beds = message.WhichOneof("change") in _OF_NO_STAY
    return m.Movement(
        source=code(message.source_id, "source_id"),
        id=opaque(message.movement_id, "movement_id"),
        change=_change(message, names),
        stay=opaque(message.stay_key, "stay_key") if message.stay_key or not of_beds else "",
        sequence=message.source_sequence,
        event_time=instant(message.event_time, "event_time") if message.HasField("event_time") else None,
        corrects=opaque(message.corrects_movement_id, "corrects_movement_id") if message.corrects_movement_id else "",
    )


def _change(message: census_pb2.Movement, names: Names) -> m.MovementChange:
    match message.WhichOneof("change"):
        case "admission":
            return _admission(message.admission, names)
        case "transfer":
            unit, bed = _unit_and_bed(message.transfer, "transfer", names)
            if bed is not None and message.transfer.bed_unknown:
                raise field_invalid("transfer.bed_unknown", "a bed is said: leave one of the two out")
            return m.Transfer(unit, bed, message.transfer.bed_unknown)
        case "discharge":
            return m.Discharge(message.discharge.to_clean)
        case "leave":
            leave = message.leave
            return m.Leave(
                leave.keep_bed, _maybe(leave.return_time, leave.HasField("return_time"), "leave.return_time")
            )
        case "leave_return":
            bed_name = message.leave_return.bed
            return m.LeaveReturn(names.read_bed(bed_name, "leave_return.bed")[1] if bed_name else None)
        case "cancellation":
            return m.Cancellation(
                opaque(message.cancellation.cancelled_movement_id, "cancellation.cancelled_movement_id")
            )
        case "departure_announced":
            announced = message.departure_announced
            return m.DepartureAnnounced(
                _maybe(
                    announced.departure_time, announced.HasField("departure_time"), "departure_announced.departure_time"
                )
            )
        case "arrival_expected":
            return _expected(message.arrival_expected, names)
        case "stay_merged":
            field = "stay_merged.absorbed_stay_key"
            return m.StayMerged(opaque(message.stay_merged.absorbed_stay_key, field))
        case _:
            return _change_of_beds(message, names)


def _change_of_beds(message: census_pb2.Movement, names: Names) -> m.MovementChange:
    match message.WhichOneof("change"):
        case "bed_opened":
            return _opened(message.bed_opened, names)
        case "bed_closed":
            return _closed(message.bed_closed, names)
        case "bed_cleaned":
            return m.BedCleaned(*names.read_bed(message.bed_cleaned.bed, "bed_cleaned.bed"))
        case "counts_reported":
            return _counts(message.counts_reported, names)
        case _:
            raise field_invalid("change", "is missing, or is of a newer version of the contract")


def _maybe(message: Timestamp, said: bool, field: str) -> datetime | None:
    return instant(message, field) if said else None


def _unit_and_bed(
    message: census_pb2.Admission | census_pb2.Transfer | census_pb2.ArrivalExpected, field: str, names: Names
) -> tuple[str, str | None]:
    unit = names.read_unit(message.unit, f"{field}.unit")
    return unit, names.read_bed(message.bed, f"{field}.bed", unit)[1] if message.bed else None


def _admission(message: census_pb2.Admission, names: Names) -> m.Admission:
    unit, bed = _unit_and_bed(message, "admission", names)
    named = message.reservation.startswith("establishments/")
    return m.Admission(
        unit=unit,
        bed=bed,
        gender=GENDERS.word_or_none(message.gender, "admission.gender") or Gender.UNDETERMINED,
        reservation=names.read_reservation(message.reservation, "admission.reservation")
        if named
        else text(message.reservation, "admission.reservation"),
        departure=_maybe(message.departure_time, message.HasField("departure_time"), "admission.departure_time"),
        to_clean_after=message.to_clean_after,
    )


def _expected(message: census_pb2.ArrivalExpected, names: Names) -> m.ArrivalExpected:
    unit, bed = _unit_and_bed(message, "arrival_expected", names)
    return m.ArrivalExpected(
        unit=unit,
        arrival=instant(message.arrival_time, "arrival_expected.arrival_time"),
        bed=bed,
        gender=GENDERS.word_or_none(message.gender, "arrival_expected.gender") or Gender.UNDETERMINED,
        departure=_maybe(message.departure_time, message.HasField("departure_time"), "arrival_expected.departure_time"),
    )


def _beds_of(
    message: census_pb2.BedOpened | census_pb2.BedClosed, field: str, names: Names
) -> tuple[str, tuple[str, ...]]:
    """The unit and its beds; a unit left out is the beds' own."""
    if not message.unit and not message.beds:
        raise field_invalid(f"{field}.unit", "is missing: name the unit, or beds of it")
    unit = (
        names.read_unit(message.unit, f"{field}.unit")
        if message.unit
        else names.read_bed(message.beds[0], f"{field}.beds")[0]
    )
    beds = _few(message.beds, BEDS_MAX, f"{field}.beds")
    return unit, tuple(names.read_bed(bed, f"{field}.beds", unit)[1] for bed in beds)


def _opened(message: census_pb2.BedOpened, names: Names) -> m.BedOpened:
    unit, beds = _beds_of(message, "bed_opened", names)
    closure = opaque(message.closure_id, "bed_opened.closure_id") if message.closure_id else ""
    return m.BedOpened(unit, beds, count(message.places, "bed_opened.places"), closure)


def _counts(message: census_pb2.CountsReported, names: Names) -> m.CountsReported:
    told = _places(message.places, "counts_reported.places", with_installed=False)
    places = tuple(m.CountedPlaces(one.gender, one.open, one.occupied) for one in told)
    age = timedelta(seconds=message.age.seconds, microseconds=message.age.nanos // 1_000)
    if not timedelta(0) <= age <= COUNTS_AGE_MAX:
        raise field_invalid("counts_reported.age", f"must be 0 to {COUNTS_AGE_MAX.days} days")
    return m.CountsReported(names.read_unit(message.unit, "counts_reported.unit"), places, age)


def _closed(message: census_pb2.BedClosed, names: Names) -> m.BedClosed:
    unit, beds = _beds_of(message, "bed_closed", names)
    places = count(message.places, "bed_closed.places")
    if not beds and not places:
        raise field_invalid("bed_closed.beds", "say which beds close, or how many places")
    interval = message.interval
    if not interval.HasField("start") or not interval.HasField("end"):
        raise field_invalid("bed_closed.interval", "a closure has a start and a planned end, both mandatory")
    start = instant(interval.start, "bed_closed.interval.start")
    end = instant(interval.end, "bed_closed.interval.end")
    if end <= start:
        raise field_invalid("bed_closed.interval.end", "must be after the start")
    kind = CLOSURE_KINDS.word(message.kind, "bed_closed.kind")
    return m.BedClosed(unit, start, end, kind, CLOSURE_REASONS.word(message.reason, "bed_closed.reason"), beds, places)
