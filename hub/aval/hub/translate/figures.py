"""What establishments publish, in both directions: from nodes as they tell it, to the territory as it may be shown."""

from collections.abc import Iterable
from datetime import date, timedelta

from aval.hub import model
from aval.hub.model import ChangePart, Cursor, Description, Member, Progress, SnapshotCause, SnapshotPart, Unit
from aval.hub.ports import NodeEvent
from aval.hub.translate import reservations
from aval.hub.translate.terms import (
    DISCIPLINES,
    FEATURES,
    GENDERS,
    MODES,
    Words,
    cursor,
    duration,
    establishment_name,
    instant,
    interval,
    maybe_duration,
    maybe_instant,
    maybe_mandate,
    timestamp,
    wire_cursor,
    wire_interval,
    wire_mandate,
)
from aval.kernel.hours import WeekHours
from aval.kernel.statuses import (
    Answering,
    Audience,
    ClosureKind,
    ClosureReason,
    ConflictCause,
    Counting,
    Freshness,
    Gender,
    Horizon,
    Shown,
    SourceKind,
    Status,
)
from aval.v1 import availability_pb2 as pb

STATUSES = Words(pb.CapacityStatus, "CAPACITY_STATUS", Status)
HORIZONS = Words(pb.Horizon, "HORIZON", Horizon)
SHOWN = Words(pb.Shown, "SHOWN", Shown)
COUNTINGS = Words(pb.Counting, "COUNTING", Counting)
FRESHNESS = Words(pb.Freshness, "FRESHNESS", Freshness)
SOURCE_KINDS = Words(pb.SourceKind, "SOURCE_KIND", SourceKind)
CLOSURE_KINDS = Words(pb.ClosureKind, "CLOSURE_KIND", ClosureKind)
CLOSURE_REASONS = Words(pb.ClosureReason, "CLOSURE_REASON", ClosureReason)
CONFLICT_CAUSES = Words(pb.Conflict.Cause, "CAUSE", ConflictCause)
ANSWERING = Words(pb.PolicySummary.Answering, "ANSWERING", Answering)
SNAPSHOT_CAUSES = Words(pb.Snapshot.Cause, "CAUSE", SnapshotCause)
VIEWS = Words(pb.ViewAs, "VIEW_AS", Audience)
MEMBERSHIPS = {Audience.GHT: pb.MEMBERSHIP_GHT, Audience.PARTNER: pb.MEMBERSHIP_PARTNER}

MINUTES_A_DAY = 24 * 60
WEEK_HOURS_MAX = 7 * 24
"""Hours of the week that a unit may have, as the contract says."""

# --- from nodes ------------------------------------------------------------------------------------------------------


def node_event(message: pb.WatchAvailabilityResponse, here: reservations.Here) -> NodeEvent | None:
    """What a node's watch brings; None for a kind of a newer contract."""
    match message.WhichOneof("event"):
        case "snapshot":
            return _snapshot(message.snapshot, here)
        case "change":
            return _change(message.change, here)
        case "progress":
            ages = tuple(
                model.SourceAge(one.source, one.age.ToTimedelta(), tuple(one.units)) for one in message.progress.ages
            )
            return Progress(cursor(message.progress.cursor), ages)
    return None


def _snapshot(message: pb.Snapshot, here: reservations.Here) -> SnapshotPart:
    at = cursor(message.establishment.cursor)
    return SnapshotPart(
        at,
        description(message.establishment),
        _units(message.units),
        reservations.known_of(message.reservations, at.incarnation, here),
        SNAPSHOT_CAUSES.read(message.cause) or SnapshotCause.FIRST,
        max(message.part, 1),
        message.last_part,
    )


def _change(message: pb.Change, here: reservations.Here) -> ChangePart:
    at = cursor(message.cursor)
    return ChangePart(
        at,
        _units(message.units),
        tuple(message.removed_units),
        reservations.known_of(message.reservations, at.incarnation, here),
        description(message.establishment) if message.HasField("establishment") else None,
        max(message.part, 1),
        message.last_part,
    )


def description(message: pb.Establishment) -> Description:
    """What a node says of its establishment."""
    return Description(
        display_name=message.display_name,
        time_zone=message.time_zone,
        legal_entity=message.legal_entity,
        phones=tuple(model.Phone(one.hours, one.number) for one in message.phones),
    )


def _units(messages: Iterable[pb.Unit]) -> tuple[Unit, ...]:
    """Units of disciplines that we know: one that we cannot name could be neither shown nor searched."""
    return tuple(unit(one) for one in messages if DISCIPLINES.read(one.discipline) is not None)


def unit(message: pb.Unit) -> Unit:
    """A unit as its node publishes it."""
    return Unit(
        name=message.name,
        display_name=message.display_name,
        discipline=DISCIPLINES.required(message.discipline, "discipline"),
        counting=COUNTINGS.read(message.counting) or Counting.PLACES,
        as_of=instant(message.as_of),
        declared=tuple(
            model.Declared(status, tuple(HORIZONS.known(one.horizons)))
            for one in message.declared
            if (status := STATUSES.read(one.status)) is not None
        ),
        counts=tuple(
            model.Count(status, horizon, GENDERS.read(one.gender) or Gender.ANY, one.count)
            for one in message.counts
            if (status := STATUSES.read(one.status)) is not None and (horizon := HORIZONS.read(one.horizon)) is not None
        ),
        grantable=tuple(
            model.Grantable(horizon, GENDERS.read(one.gender) or Gender.ANY, one.count)
            for one in message.grantable
            if (horizon := HORIZONS.read(one.horizon)) is not None
        ),
        classes=tuple(
            model.PlaceClass(
                GENDERS.read(one.gender) or Gender.ANY,
                frozenset(FEATURES.known(one.features)),
                tuple(model.FreeStep(instant(step.time), step.free) for step in one.steps),
            )
            for one in message.classes
        ),
        closures=tuple(_closure(one) for one in message.closures),
        conflicts=tuple(
            model.Conflict(one.name, one.reservation, cause, interval(one.interval), instant(one.create_time))
            for one in message.conflicts
            if (cause := CONFLICT_CAUSES.read(one.cause)) is not None
        ),
        policy=_policy(message.policy),
        sources=tuple(_source(one) for one in message.sources),
        disagreements=tuple(
            model.Disagreement(
                one.source,
                one.free,
                one.winning_free,
                maybe_instant(one, "until"),
                one.reason,
                maybe_instant(one, "correct_time"),
            )
            for one in message.disagreements
        ),
        visibility=_visibility(message.visibility) if message.HasField("visibility") else None,
        ages=model.AgeRange(message.ages.min_years, message.ages.max_years or None)
        if message.HasField("ages")
        else None,
        features=frozenset(FEATURES.known(message.features)),
        unverified=message.unverified,
    )


def _closure(message: pb.Closure) -> model.Closure:
    return model.Closure(
        message.id,
        interval(message.interval),
        CLOSURE_KINDS.read(message.kind) or ClosureKind.UNDETERMINED,
        tuple(message.beds),
        message.places,
        CLOSURE_REASONS.read(message.reason),
        maybe_mandate(message, "by"),
        message.reopening_asked,
    )


def _policy(message: pb.PolicySummary) -> model.Policy:
    return model.Policy(
        answering=ANSWERING.read(message.answering) or Answering.PERSON,
        modes=tuple(MODES.known(message.modes)),
        ttl=maybe_duration(message, "ttl"),
        next_answer_time=maybe_instant(message, "next_answer_time"),
        next_admission_time=maybe_instant(message, "next_admission_time"),
        admission_hours=_admission_hours(message.admission_hours) if message.HasField("admission_hours") else None,
    )


def _admission_hours(message: pb.AdmissionHours) -> model.AdmissionHours | None:
    """None if they cannot be read, which is as good as unsaid."""
    hours = tuple(WeekHours(one.day, one.start_minute, one.end_minute) for one in message.hours)
    if len(hours) > WEEK_HOURS_MAX or not all(
        1 <= one.day <= 7 and 0 <= one.start_minute < one.end_minute <= MINUTES_A_DAY for one in hours
    ):
        return None
    try:
        return model.AdmissionHours(hours, frozenset(map(date.fromisoformat, message.closed_days)))
    except ValueError:
        return None


def _wire_admission_hours(value: model.AdmissionHours) -> pb.AdmissionHours:
    return pb.AdmissionHours(
        hours=[pb.WeekHours(day=h.day, start_minute=h.start_minute, end_minute=h.end_minute) for h in value.hours],
        closed_days=[day.isoformat() for day in sorted(value.closed_days)],
    )


def _source(message: pb.Source) -> model.Source:
    kind = SOURCE_KINDS.read(message.kind) or SourceKind.PERSON
    return model.Source(
        message.id,
        kind,
        maybe_duration(message, "fresh_max") or kind.fresh_max,
        maybe_duration(message, "stale_min") or kind.stale_min,
        maybe_duration(message, "age"),
        maybe_instant(message, "observe_time"),
        message.by,
    )


def _visibility(message: pb.VisibilityRule) -> model.VisibilityRule:
    """A house's rule. A word of it that we do not know shows nothing: it may have meant less than we think."""
    return model.VisibilityRule(
        SHOWN.read(message.ght) or Shown.NOTHING,
        SHOWN.read(message.partner) or Shown.NOTHING,
        SHOWN.read(message.everyone) or Shown.NOTHING,
    )


# --- to the territory ------------------------------------------------------------------------------------------------


def wire_unit(value: Unit, freshness: Freshness, age: timedelta | None) -> pb.Unit:
    """A unit as shown to a caller, with its freshness as this hub reckons it now."""
    return pb.Unit(
        name=value.name,
        display_name=value.display_name,
        discipline=DISCIPLINES.to_wire[value.discipline],
        counting=COUNTINGS.to_wire[value.counting],
        shown=SHOWN.to_wire[value.shown],
        as_of=timestamp(value.as_of),
        declared=[
            pb.DeclaredFigures(
                status=STATUSES.to_wire[one.status], horizons=[HORIZONS.to_wire[horizon] for horizon in one.horizons]
            )
            for one in value.declared
        ],
        counts=[
            pb.Count(
                status=STATUSES.to_wire[one.status],
                horizon=HORIZONS.to_wire[one.horizon],
                gender=GENDERS.to_wire[one.gender],
                count=one.count,
            )
            for one in value.counts
        ],
        grantable=[
            pb.Grantable(horizon=HORIZONS.to_wire[one.horizon], gender=GENDERS.to_wire[one.gender], count=one.count)
            for one in value.grantable
        ],
        classes=[
            pb.PlaceClass(
                gender=GENDERS.to_wire[one.gender],
                features=FEATURES.wire(one.features),
                steps=[pb.Step(time=timestamp(step.time), free=step.free) for step in one.steps],
            )
            for one in value.classes
        ],
        closures=[_wire_closure(one) for one in value.closures],
        conflicts=[
            pb.Conflict(
                name=one.name,
                reservation=one.reservation,
                cause=CONFLICT_CAUSES.to_wire[one.cause],
                interval=wire_interval(one.interval),
                create_time=timestamp(one.create_time),
            )
            for one in value.conflicts
        ],
        policy=pb.PolicySummary(
            answering=ANSWERING.to_wire[value.policy.answering],
            modes=[MODES.to_wire[mode] for mode in value.policy.modes],
            ttl=duration(value.policy.ttl),
            next_answer_time=timestamp(value.policy.next_answer_time),
            next_admission_time=timestamp(value.policy.next_admission_time),
            admission_hours=_wire_admission_hours(value.policy.admission_hours)
            if value.policy.admission_hours is not None
            else None,
        ),
        sources=[_wire_source(one) for one in value.sources],
        disagreements=[
            pb.Disagreement(
                source=one.source,
                free=one.free,
                winning_free=one.winning_free,
                until=timestamp(one.until),
                reason=one.reason,
                correct_time=timestamp(one.correct_time),
            )
            for one in value.disagreements
        ],
        visibility=_wire_visibility(value.visibility),
        ages=pb.AgeRange(min_years=value.ages.min_years, max_years=value.ages.max_years or 0) if value.ages else None,
        freshness=FRESHNESS.to_wire[freshness],
        age=duration(age),
        features=FEATURES.wire(value.features),
        unverified=value.unverified,
    )


def _wire_closure(value: model.Closure) -> pb.Closure:
    return pb.Closure(
        id=value.id,
        beds=value.beds,
        places=value.places,
        interval=wire_interval(value.interval),
        kind=CLOSURE_KINDS.to_wire[value.kind],
        reason=CLOSURE_REASONS.to_wire[value.reason] if value.reason else pb.CLOSURE_REASON_UNSPECIFIED,
        by=wire_mandate(value.by),
        reopening_asked=value.reopening_asked,
    )


def _wire_source(value: model.Source) -> pb.Source:
    return pb.Source(
        id=value.id,
        kind=SOURCE_KINDS.to_wire[value.kind],
        age=duration(value.age),
        fresh_max=duration(value.fresh_max),
        stale_min=duration(value.stale_min),
        observe_time=timestamp(value.observe_time),
        by=value.by,
    )


def _wire_visibility(value: model.VisibilityRule | None) -> pb.VisibilityRule | None:
    if value is None:
        return None
    return pb.VisibilityRule(
        ght=SHOWN.to_wire[value.ght], partner=SHOWN.to_wire[value.partner], everyone=SHOWN.to_wire[value.everyone]
    )


def wire_link(silence: timedelta | None, *, lost: bool) -> pb.Link:
    """How the link to a node stands: `silence` since it was last heard, None if never since the hub started."""
    if silence is None:
        return pb.Link(state=pb.Link.STATE_UNHEARD)
    return pb.Link(state=pb.Link.STATE_UNREACHABLE if lost else pb.Link.STATE_CONNECTED, silence=duration(silence))


def wire_establishment(
    member: Member, said: Description | None, at: Cursor | None, link: pb.Link | None, unit_count: int
) -> pb.Establishment:
    """An establishment: identity from the registry; name, telephones and time zone from its node once it has spoken."""
    return pb.Establishment(
        name=establishment_name(member.finess),
        display_name=(said.display_name if said else "") or member.display_name,
        legal_entity=member.legal_entity,
        membership=MEMBERSHIPS.get(member.audience, pb.MEMBERSHIP_UNSPECIFIED),
        latitude=member.latitude or 0.0,
        longitude=member.longitude or 0.0,
        hosted=member.hosted,
        time_zone=said.time_zone if said else "",
        phones=[pb.Phone(hours=one.hours, number=one.number) for one in said.phones] if said else [],
        cursor=wire_cursor(at),
        link=link,
        unit_count=unit_count,
    )


PART_BYTES_MAX = 512_000
"""A snapshot or change is sent in parts of about this size (CONTRACT 26)."""


def wire_snapshot(
    establishment: pb.Establishment, units: Iterable[pb.Unit], cause: SnapshotCause
) -> list[pb.WatchAvailabilityResponse]:
    """An establishment whole, in parts."""
    word = SNAPSHOT_CAUSES.to_wire[cause]
    parts = [
        pb.Snapshot(establishment=establishment, units=some, cause=word, part=number)
        for number, some in enumerate(_groups(units), 1)
    ]
    parts[-1].last_part = True
    return [pb.WatchAvailabilityResponse(snapshot=one) for one in parts]


def wire_change(
    at: Cursor, units: Iterable[pb.Unit], removed: Iterable[str], establishment: pb.Establishment | None
) -> list[pb.WatchAvailabilityResponse]:
    """What changed of an establishment, in parts."""
    cursor_ = wire_cursor(at)
    parts = [pb.Change(cursor=cursor_, units=some, part=number) for number, some in enumerate(_groups(units), 1)]
    parts[0].removed_units.extend(removed)
    if establishment is not None:
        parts[0].establishment.CopyFrom(establishment)
    parts[-1].last_part = True
    return [pb.WatchAvailabilityResponse(change=one) for one in parts]


def wire_progress(at: Cursor, ages: Iterable[model.SourceAge], link: pb.Link) -> pb.WatchAvailabilityResponse:
    """Where a follower stands, how old the sources are, how the link stands."""
    told = [pb.SourceAge(source=one.source, units=one.units, age=duration(one.age)) for one in ages]
    return pb.WatchAvailabilityResponse(progress=pb.Progress(cursor=wire_cursor(at), ages=told, link=link))


def _groups(units: Iterable[pb.Unit]) -> list[list[pb.Unit]]:
    """The units in groups, each as large as a part may be; one empty group if there are none."""
    groups: list[list[pb.Unit]] = [[]]
    size = 0
    for one in units:
        length = one.ByteSize()
        if size and size + length > PART_BYTES_MAX:
            groups.append([])
            size = 0
        groups[-1].append(one)
        size += length
    return groups
