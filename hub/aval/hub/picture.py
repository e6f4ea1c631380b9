"""The territory's picture: what each establishment last published, how old it is, and what others may see of it.

A `Picture` is one establishment's. It is fed by what its node's watch brings (snapshots and changes, maybe in parts,
and progress), never goes back within an incarnation, and never returns to an incarnation that another has replaced.
Figures are kept as the node computed them; nothing is recomputed here. **Ages, not clocks** (DESIGN §4): the wire says
how long ago a source gave its last proof of life; the picture keeps the instant of this process's monotonic clock that
it corresponds to, and adds what has elapsed since. So after a restart of the hub every age is unknown until the node
speaks.

What another establishment sees is decided here and nowhere else (CONTRACT 12): `shown` turns a unit into what one
audience may see of it, or into nothing, and search, lists, orders, sums and watches work on that. A figure that was
filtered out can leak by none of them, because none of them ever holds it.
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from hashlib import sha256
from typing import NamedTuple

from msgspec import Struct
from msgspec.structs import replace

from aval.hub.model import (
    ChangePart,
    Closure,
    Count,
    Cursor,
    Description,
    FreeStep,
    Grantable,
    KnownReservation,
    PlaceClass,
    Progress,
    SnapshotPart,
    Source,
    Unit,
    VisibilityRule,
    establishment_of,
)
from aval.kernel.disciplines import DISCIPLINES, Discipline
from aval.kernel.statuses import (
    LINK_LOST_MAX,
    Audience,
    Freshness,
    Horizon,
    Shown,
    SourceKind,
    Status,
    freshness_of,
)

PARTS_MAX = 64
"""Parts of one snapshot or change: at 512 kB each, far beyond what 1,000 units take; more is a sender gone wrong."""

VIEW_BYTES = 8
"""Length of a view's hash in a served cursor: it tells views apart, it protects nothing."""


class LinkState(StrEnum):
    """How the link to a node stands."""

    CONNECTED = "connected"
    UNREACHABLE = "unreachable"
    UNHEARD = "unheard"


class Picture(Struct, frozen=True):
    """One establishment as its node published it; see the module. `heard_at` and `proofs` are monotonic seconds.

    `proofs` holds, by (source, unit), when the source last proved to be alive; unit "" is for all that list the source.
    `parts` are those of a message not whole yet. `epoch` is the node's wall clock at our monotonic zero, as its units
    last told it: by it a source's instant moves on with its proofs, which progress brings as ages alone.
    """

    establishment: str
    cursor: Cursor | None = None
    description: Description | None = None
    units: Mapping[str, Unit] = {}
    heard_at: float | None = None
    proofs: Mapping[tuple[str, str], float] = {}
    parts: tuple[SnapshotPart | ChangePart, ...] = ()
    past_incarnations: frozenset[int] = frozenset()
    epoch: datetime | None = None


class Applied(NamedTuple):
    """What a message did: the new picture, names of units replaced or removed, and words about reservations.

    `whole`: the units are all that there are, those that the picture had beside them are gone (and named in `units`).
    Nothing changed, and there is nothing to store, when `units` is empty and the picture's cursor is as before.
    """

    picture: Picture
    units: frozenset[str] = frozenset()
    reservations: tuple[KnownReservation, ...] = ()
    whole: bool = False


# --- following a node ------------------------------------------------------------------------------------------------


def apply(picture: Picture, event: SnapshotPart | ChangePart | Progress, monotonic: float) -> Applied:
    """What the picture becomes by one message of its node's watch, received at that instant.

    Messages of a history that another has replaced are dropped, and so is what is not newer than the cursor; parts wait
    for the last one. Whatever is of the present history says that the node is alive. A node speaks of its own house
    only: units and reservations of another are passed over.
    """
    cursor = event.cursor
    if cursor.establishment != picture.establishment or cursor.incarnation in picture.past_incarnations:
        return Applied(picture)
    if isinstance(event, Progress):
        if picture.cursor is None or cursor.incarnation != picture.cursor.incarnation:
            return Applied(picture)
        heard = replace(picture, heard_at=monotonic, proofs=_proofs(picture, event, monotonic))
        return Applied(heard)
    parts = _parts(picture.parts, _own(event, picture.establishment))
    picture = replace(picture, parts=parts, heard_at=monotonic)
    if not parts or not event.last_part:
        return Applied(picture)
    picture = replace(picture, parts=())
    if isinstance(event, SnapshotPart):
        return _with_snapshot(picture, [part for part in parts if isinstance(part, SnapshotPart)], monotonic)
    return _with_change(picture, [part for part in parts if isinstance(part, ChangePart)], monotonic)


def is_behind(
    picture: Picture, heard: Cursor | None, event: SnapshotPart | ChangePart | Progress, *, refused: bool
) -> bool:
    """Whether a snapshot is of a past that another has replaced, or does not hold what was `heard`: its node was put
    back. Shown what was heard it finds that out by itself, and tells another history.

    `refused`: it has said already that it does not hold it, so this history cannot be its own any more.
    """
    if not isinstance(event, SnapshotPart) or heard is None:
        return False
    at = event.cursor
    if at.incarnation in picture.past_incarnations:
        return True
    lacks = at.revision < heard.revision or (at.revision == heard.revision and at.tag != heard.tag)
    return at.incarnation == heard.incarnation and (refused or lacks)


def _own(part: SnapshotPart | ChangePart, establishment: str) -> SnapshotPart | ChangePart:
    """What the part says of that establishment."""
    units = tuple(one for one in part.units if one.establishment == establishment)
    told = tuple(one for one in part.reservations if establishment_of(one.name) == establishment)
    return replace(part, units=units, reservations=told)


def _parts(
    waiting: tuple[SnapshotPart | ChangePart, ...], part: SnapshotPart | ChangePart
) -> tuple[SnapshotPart | ChangePart, ...]:
    """The parts gathered with this one; none when it does not continue them, or they are too many."""
    if part.part == 1:
        return (part,)
    continues = (
        len(waiting) == part.part - 1 < PARTS_MAX
        and type(waiting[-1]) is type(part)
        and waiting[-1].cursor == part.cursor
    )
    return (*waiting, part) if continues else ()


def _with_snapshot(picture: Picture, parts: list[SnapshotPart], monotonic: float) -> Applied:
    cursor, past = parts[-1].cursor, picture.past_incarnations
    if picture.cursor is not None:
        if picture.cursor.incarnation != cursor.incarnation:
            past |= {picture.cursor.incarnation}
        elif cursor.revision < picture.cursor.revision:
            return Applied(picture)
    units = {unit.name: unit for part in parts for unit in part.units}
    after = replace(
        picture,
        cursor=cursor,
        description=parts[-1].description,
        units=units,
        proofs=dict(_proofs_of(units.values(), monotonic)),
        past_incarnations=past,
        epoch=_epoch_of(units.values(), monotonic),
    )
    return Applied(
        after,
        frozenset(units) | frozenset(picture.units),
        tuple(one for part in parts for one in part.reservations),
        True,
    )


def _with_change(picture: Picture, parts: list[ChangePart], monotonic: float) -> Applied:
    cursor = parts[-1].cursor
    if (
        picture.cursor is None
        or cursor.incarnation != picture.cursor.incarnation
        or cursor.revision <= picture.cursor.revision
    ):
        return Applied(picture)
    changed = {unit.name: unit for part in parts for unit in part.units}
    removed = {name for part in parts for name in part.removed_units}
    units = {name: unit for name, unit in picture.units.items() if name not in removed} | changed
    description = next((part.description for part in reversed(parts) if part.description), picture.description)
    proofs = dict(picture.proofs) | dict(_proofs_of(changed.values(), monotonic))
    epoch = _epoch_of(changed.values(), monotonic) or picture.epoch
    after = replace(picture, cursor=cursor, units=units, description=description, proofs=proofs, epoch=epoch)
    return Applied(after, frozenset(changed) | removed, tuple(one for part in parts for one in part.reservations))


def _proofs_of(units: Iterable[Unit], monotonic: float) -> Iterable[tuple[tuple[str, str], float]]:
    """The proofs of life that units bear with their sources."""
    for unit in units:
        for source in unit.sources:
            if source.age is not None:
                yield (source.id, unit.name), monotonic - source.age.total_seconds()


def _epoch_of(units: Iterable[Unit], monotonic: float) -> datetime | None:
    """The node's wall clock at our monotonic zero, by a source whose instant and age are both told."""
    for unit in units:
        for source in unit.sources:
            if source.age is not None and source.observe_time is not None:
                return source.observe_time + source.age - timedelta(seconds=monotonic)
    return None


def _proofs(picture: Picture, progress: Progress, monotonic: float) -> Mapping[tuple[str, str], float]:
    """The proofs after a progress: one for all units of a source takes the place of those for single units."""
    if not progress.ages:
        return picture.proofs
    for_all = {age.source for age in progress.ages if not age.units}
    proofs = {key: at for key, at in picture.proofs.items() if key[0] not in for_all}
    for age in progress.ages:
        for unit in age.units or ("",):
            proofs[age.source, unit] = monotonic - age.age.total_seconds()
    return proofs


# --- ages and freshness ----------------------------------------------------------------------------------------------


def link_state(picture: Picture, monotonic: float, lost_after: timedelta = LINK_LOST_MAX) -> LinkState:
    """How the link to its node stands."""
    if picture.heard_at is None:
        return LinkState.UNHEARD
    lost = monotonic - picture.heard_at > lost_after.total_seconds()
    return LinkState.UNREACHABLE if lost else LinkState.CONNECTED


def silence(picture: Picture, monotonic: float) -> timedelta | None:
    """Time since the node was last heard; None if never since this process started."""
    return None if picture.heard_at is None else timedelta(seconds=max(0.0, monotonic - picture.heard_at))


def source_age(picture: Picture, unit: Unit, source: Source, monotonic: float) -> timedelta | None:
    """Age of a source's last proof of life for that unit; None if unknown."""
    at = picture.proofs.get((source.id, unit.name))
    if at is None:
        at = picture.proofs.get((source.id, ""))
    return None if at is None else timedelta(seconds=max(0.0, monotonic - at))


def unit_age(picture: Picture, unit: Unit, monotonic: float) -> timedelta | None:
    """A unit's age: that of its winning source, the first one (CONTRACT 11)."""
    return source_age(picture, unit, unit.sources[0], monotonic) if unit.sources else None


def freshness(picture: Picture, unit: Unit, monotonic: float, lost_after: timedelta = LINK_LOST_MAX) -> Freshness:
    """How fresh a unit's figures are now: by the link's silence first, then by the age of the winning source."""
    if link_state(picture, monotonic, lost_after) is not LinkState.CONNECTED:
        return Freshness.UNREACHABLE
    if unit.unverified or not unit.sources:
        return Freshness.STALE
    source = unit.sources[0]
    return freshness_of(source_age(picture, unit, source, monotonic), source.fresh_max, source.stale_min)


# --- what others see -------------------------------------------------------------------------------------------------


class Viewpoint(Struct, frozen=True):
    """Who looks: an audience, and the FINESS of its own house, of which it sees everything ("" for none)."""

    audience: Audience
    establishment: str = ""


def view_of(viewpoint: Viewpoint, registry_version: str) -> bytes:
    """The hash that a served cursor bears: another audience, house or registry is another view (CONTRACT 12)."""
    words = f"{viewpoint.audience.value}|{viewpoint.establishment}|{registry_version}"
    return sha256(words.encode()).digest()[:VIEW_BYTES]


def shown(unit: Unit, viewpoint: Viewpoint) -> Unit | None:
    """The unit as that viewpoint may see it; None where the rule shows nothing: as if it were not there."""
    if viewpoint.establishment == unit.establishment:
        return unit
    match (unit.visibility or VisibilityRule()).for_audience(viewpoint.audience):
        case Shown.NOTHING:
            return None
        case Shown.EXACT:
            return replace(
                unit,
                shown=Shown.EXACT,
                closures=tuple(map(_closure_told, unit.closures)),
                conflicts=(),
                disagreements=(),
                visibility=None,
                sources=_sources_told(unit.sources),
            )
        case Shown.YES_OR_NO:
            return _yes_or_no(unit)


def _yes_or_no(unit: Unit) -> Unit:
    """Each count and step is none or some, in the same field; no closures, no conflicts (CONTRACT 12)."""
    return replace(
        unit,
        shown=Shown.YES_OR_NO,
        counts=tuple(Count(one.status, one.horizon, one.gender, 1) for one in unit.counts if one.count > 0),
        grantable=tuple(Grantable(one.horizon, one.gender, 1) for one in unit.grantable if one.count > 0),
        classes=tuple(PlaceClass(one.gender, one.features, _some_or_none(one.steps)) for one in unit.classes),
        closures=(),
        conflicts=(),
        disagreements=(),
        visibility=None,
        sources=_sources_told(unit.sources),
    )


def _some_or_none(steps: tuple[FreeStep, ...]) -> tuple[FreeStep, ...]:
    """The steps between none and some; one from three to two is not told, nor when it is."""
    told: list[FreeStep] = []
    for step in steps:
        free = 1 if step.free > 0 else 0
        if not told or told[-1].free != free:
            told.append(FreeStep(step.time, free))
    return tuple(told)


def _closure_told(closure: Closure) -> Closure:
    return replace(closure, reason=None, by=None)


def _sources_told(sources: tuple[Source, ...]) -> tuple[Source, ...]:
    return tuple(replace(one, by="") if one.by else one for one in sources)


def tells_more(before: Unit | None, after: Unit) -> bool:
    """Whether a unit, as shown, says more than that it was told again: the instant and the ages are no news.

    A follower that is shown less than the figures would otherwise be told that they moved, and when.
    """
    return before is None or _without_times(before) != _without_times(after)


def _without_times(unit: Unit) -> Unit:
    sources = tuple(replace(one, age=None, observe_time=None) for one in unit.sources)
    return replace(unit, as_of=_NO_TIME, sources=sources)


_NO_TIME = datetime.min.replace(tzinfo=UTC)


class Seen(Struct, frozen=True):
    """A unit as one viewpoint sees it now, with its freshness and age. Lists, searches and sums are made of these."""

    unit: Unit
    freshness: Freshness
    age: timedelta | None = None


def seen(
    picture: Picture,
    viewpoint: Viewpoint,
    monotonic: float,
    *,
    lost_after: timedelta = LINK_LOST_MAX,
    disciplines: frozenset[Discipline] | None = None,
) -> tuple[Seen, ...]:
    """The establishment's units as that viewpoint sees them now, in the order of names; of these disciplines, if given.

    Ages of sources are those of now.
    """
    found: list[Seen] = []
    for name in sorted(picture.units):
        unit = picture.units[name]
        if disciplines is not None and unit.discipline not in disciplines:
            continue
        told = shown(unit, viewpoint)
        if told is not None:
            aged = replace(told, sources=_aged(picture, told, monotonic))
            fresh = freshness(picture, unit, monotonic, lost_after)
            found.append(Seen(aged, fresh, unit_age(picture, unit, monotonic)))
    return tuple(found)


def _aged(picture: Picture, unit: Unit, monotonic: float) -> tuple[Source, ...]:
    return tuple(
        _aged_source(picture, one, source_age(picture, unit, one, monotonic), monotonic) for one in unit.sources
    )


def _aged_source(picture: Picture, source: Source, age: timedelta | None, monotonic: float) -> Source:
    if age is None or picture.epoch is None or source.observe_time is None:
        return replace(source, age=age)
    return replace(source, age=age, observe_time=picture.epoch + timedelta(seconds=monotonic) - age)


# --- consolidated capacity -------------------------------------------------------------------------------------------


class CapacityLine(Struct, frozen=True):
    """Sums over units of one discipline; `establishment` "" for the whole territory. See `capacity`."""

    discipline: Discipline
    establishment: str = ""
    installed: int = 0
    available_sure: int = 0
    available_stale: int = 0
    occupied: int = 0
    reserved: int = 0
    closed: int = 0
    supplementary: int = 0
    units: int = 0
    stale_units: int = 0
    not_reported_units: int = 0
    age_max: timedelta | None = None
    sources: tuple[SourceKind, ...] = ()


class Capacity(NamedTuple):
    """Lines by (establishment, discipline), then totals by discipline, in the order of the disciplines' table."""

    lines: tuple[CapacityLine, ...]
    totals: tuple[CapacityLine, ...]


def figure(unit: Unit, status: Status, horizon: Horizon = Horizon.NOW) -> int | None:
    """A unit's R330 figure over all genders; None where it does not declare it; 0 or 1 if it says yes or no."""
    if not any(one.status is status and horizon in one.horizons for one in unit.declared):
        return None
    total = sum(one.count for one in unit.counts if one.status is status and one.horizon is horizon)
    return min(total, 1) if unit.shown is Shown.YES_OR_NO else total


def capacity(units: Iterable[Seen]) -> Capacity:
    """Sums of the present figures. Unreachable units are in no line; what a unit does not declare adds nothing.

    Available beds of stale units stand apart, and day care has none: a place for the day is never taken for a bed.
    """
    order = {discipline: place for place, discipline in enumerate(DISCIPLINES)}
    lines: dict[tuple[str, int], CapacityLine] = {}
    totals: dict[int, CapacityLine] = {}
    for one in units:
        if one.freshness is Freshness.UNREACHABLE:
            continue
        line, place = _line_of(one), order[one.unit.discipline]
        key = (one.unit.establishment, place)
        lines[key] = _sum(lines[key], line) if key in lines else line
        total = replace(line, establishment="")
        totals[place] = _sum(totals[place], total) if place in totals else total
    return Capacity(tuple(lines[key] for key in sorted(lines)), tuple(totals[key] for key in sorted(totals)))


def _line_of(one: Seen) -> CapacityLine:
    unit, sure = one.unit, one.freshness.is_sure
    available = figure(unit, Status.AVAILABLE)
    beds = (available or 0) if DISCIPLINES[unit.discipline].is_bed else 0
    return CapacityLine(
        discipline=unit.discipline,
        establishment=unit.establishment,
        installed=figure(unit, Status.INSTALLED) or 0,
        available_sure=beds if sure else 0,
        available_stale=0 if sure else beds,
        occupied=figure(unit, Status.OCCUPIED) or 0,
        reserved=figure(unit, Status.RESERVED) or 0,
        closed=figure(unit, Status.CLOSED) or 0,
        supplementary=figure(unit, Status.SUPPLEMENTARY) or 0,
        units=1,
        stale_units=0 if sure else 1,
        not_reported_units=1 if available is None else 0,
        age_max=one.age,
        sources=tuple(dict.fromkeys(source.kind for source in unit.sources[:1])),
    )


_COUNTS = (
    "installed", "available_sure", "available_stale", "occupied", "reserved", "closed", "supplementary", "units",
    "stale_units", "not_reported_units",
)  # fmt: skip


def _sum(one: CapacityLine, other: CapacityLine) -> CapacityLine:
    ages = [line.age_max for line in (one, other) if line.age_max is not None]
    kinds = set(one.sources) | set(other.sources)
    return replace(
        one,
        **{name: getattr(one, name) + getattr(other, name) for name in _COUNTS},
        age_max=max(ages, default=None),
        sources=tuple(kind for kind in SourceKind if kind in kinds),
    )
