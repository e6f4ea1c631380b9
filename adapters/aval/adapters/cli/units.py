"""`aval units …`: the figures of the territory's units, and those of one's own house."""

from collections.abc import Sequence
from datetime import timedelta
from uuid import uuid4

import click

from aval.adapters.cli.command import Duration, Group
from aval.adapters.cli.exits import Exit, Failure
from aval.adapters.cli.needs import (
    DisciplineWord,
    discipline_number,
    enum_name,
    establishment_name,
    finess_of,
    short_unit,
    unit_name,
)
from aval.adapters.cli.search import FRESHNESS_PREFIX, age_said, discipline_label, feature_label
from aval.adapters.cli.session import Session, connected
from aval.adapters.cli.terminal import Cell, Terminal, fields_of, number, plain
from aval.adapters.cli.words import now, say, speech
from aval.adapters.dial import Line
from aval.adapters.french import UNKNOWN
from aval.kernel.disciplines import Discipline
from aval.kernel.reasons import Reason, Refusal
from aval.v1 import availability_pb2, census_pb2, reservation_pb2, terms_pb2

FIELDS = fields_of(availability_pb2.Unit.DESCRIPTOR, "site", "ageMinutes")
HAND_CORRECTION = timedelta(hours=4)
"""A correction by hand of what a system says holds 4 h at most (UX §2.6)."""

_GENDERS = {"any": terms_pb2.GENDER_ANY, "female": terms_pb2.GENDER_FEMALE, "male": terms_pb2.GENDER_MALE}

units = Group("units", "help.units")


@units.verb(
    "list",
    examples=(
        "aval units list --discipline smr-geriatrie",
        "aval units list --stale --json name,site,ageMinutes | jq -r '.[].site'",
    ),
    reads=FIELDS,
)
@click.option("--site", metavar="FINESS", help="opt.site")
@click.option("--discipline", type=DisciplineWord(), help="opt.discipline")
@click.option("--stale", is_flag=True, help="opt.stale")
def list_units(terminal: Terminal, site: str | None, discipline: Discipline | None, stale: bool) -> None:
    """Units with their figures; exit 8 when some establishments do not answer."""

    async def work(session: Session) -> tuple[list[availability_pb2.Unit], list[str], dict[str, str]]:
        line = session.hub_or_node()
        request = availability_pb2.ListUnitsRequest(
            parent=establishment_name(site) if site else "establishments/-", stale_only=stale, page_size=1000
        )
        if discipline is not None:
            request.discipline = discipline_number(discipline)
        found, unreachable = await every_unit(session, line, request)
        return found, unreachable, await names_of(session, line)

    found, unreachable, names = connected(terminal, work)
    if terminal.is_json:
        terminal.objects([_plain(unit, names) for unit in found])
    else:
        heads = ("unit", "establishment", "name", "discipline", "available", "tomorrow", "installed", "age")
        terminal.table([say(f"col.{head}") for head in heads], (row(unit, names) for unit in found))
    if unreachable:
        sites = ", ".join(f"{finess_of(name)} {names.get(name, '')}".strip() for name in unreachable)
        terminal.tell(say("partial", names=sites))
        click.get_current_context().exit(Exit.PARTIAL)


@units.verb(
    "show", examples=("aval units show 540000023/U107", "aval units show U107 --json counts,classes"), reads=FIELDS
)
@click.argument("unit")
def show_unit(terminal: Terminal, unit: str) -> None:
    """One unit: figures, steps to come, source and age."""

    async def work(session: Session) -> tuple[availability_pb2.Unit, dict[str, str]]:
        own = str(session.caller.identity.establishment or "")
        line = session.hub_or_node()
        return await one_unit(session, line, unit_name(unit, own)), await names_of(session, line)

    found, names = connected(terminal, work)
    if terminal.is_json:
        terminal.one_object(_plain(found, names))
        return
    heads = ("unit", "establishment", "name", "discipline", "available", "tomorrow", "installed", "age")
    terminal.table([say(f"col.{head}") for head in heads], [row(found, names)])
    for status, horizon, gender, count in counts_said(found):
        terminal.tell(f"  {status} {horizon} {gender} : {count}")
    for one in found.classes:
        features = ", ".join(feature_label(feature) for feature in one.features) or UNKNOWN
        steps = "  ".join(
            f"{speech().moment(step.time.ToDatetime(tzinfo=now().tzinfo), now())} → {step.free}" for step in one.steps
        )
        gender = speech().state(enum_name(terms_pb2.Gender, one.gender, "GENDER_"))
        terminal.tell(f"  {gender} ({features}) : {steps}")


@units.verb(
    "set",
    examples=("aval units set U201 --free 2", "aval units set U103 --free 1 --reason 'lit en travaux' --for 2h"),
    reads=FIELDS,
    writes=True,
)
@click.argument("unit")
@click.option("--free", type=click.IntRange(min=0), help="opt.free")
@click.option("--female", type=click.IntRange(min=0), help="opt.female")
@click.option("--male", type=click.IntRange(min=0), help="opt.male")
@click.option("--open", "opened", type=click.IntRange(min=0), help="opt.open")
@click.option("--reason", metavar="TEXT", help="opt.correction-reason")
@click.option("--for", "ttl", type=Duration(), default=None, help="opt.correction-for")
def set_unit(
    terminal: Terminal,
    unit: str,
    free: int | None,
    female: int | None,
    male: int | None,
    opened: int | None,
    reason: str | None,
    ttl: timedelta | None,
) -> None:
    """Says how many places are free, without those that the house holds or has promised."""
    said = {name: value for name, value in (("any", free), ("female", female), ("male", male)) if value is not None}
    if not said:
        raise Failure(say("unit.nothing.given"), say("unit.nothing.given.why"), code=Exit.USAGE)

    async def work(session: Session) -> availability_pb2.Unit:
        name = unit_name(unit, session.finess)
        known = await one_unit(session, session.node(), name)
        seen = await session.ask(
            session.node().availability.GetEstablishment,
            availability_pb2.GetEstablishmentRequest(name=f"establishments/{session.finess}"),
        )
        if known.counting == availability_pb2.COUNTING_BEDS:
            return await correct(session, known, seen.cursor, sum(said.values()), reason, ttl)
        claims = await claims_begun(session, name)
        places = [declared_places(known, gender, value, opened, claims) for gender, value in said.items()]
        message = census_pb2.DeclareCountsRequest(command_id=str(uuid4()), unit=name, places=places, seen=seen.cursor)
        if terminal.dry_run:
            terminal.tell(say("dry.run"))
            return known
        return await session.ask(session.node().census.DeclareCounts, message)

    changed = connected(terminal, work)
    if terminal.is_json:
        terminal.one_object(_plain(changed, {}))
    else:
        shown = " + ".join(str(value) for value in said.values())
        terminal.line(say("unit.declared", unit=short_unit(changed.name), free=shown))


@units.verb(
    "confirm",
    examples=("aval units confirm --all", "aval units confirm U201 U202"),
    reads=fields_of(census_pb2.ConfirmUnitResponse.DESCRIPTOR),
    writes=True,
)
@click.argument("unit", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="opt.all")
def confirm(terminal: Terminal, unit: Sequence[str], everything: bool) -> None:
    """« Rien n’a changé »: a person's word that the figures still hold."""
    if not unit and not everything:
        raise Failure(say("unit.nothing.given"), say("unit.form"), "aval units confirm --all", code=Exit.USAGE)

    async def work(session: Session) -> census_pb2.ConfirmUnitResponse:
        names = [unit_name(word, session.finess) for word in unit]
        if terminal.dry_run:
            terminal.tell(say("dry.run"))
            return census_pb2.ConfirmUnitResponse(units=names)
        message = census_pb2.ConfirmUnitRequest(command_id=str(uuid4()), units=names)
        return await session.ask(session.node().census.ConfirmUnit, message)

    done = connected(terminal, work)
    if terminal.is_json:
        terminal.one_object(plain(done))
    else:
        terminal.line(say("unit.confirmed", names=", ".join(short_unit(name) for name in done.units) or UNKNOWN))


async def every_unit(
    session: Session, line: Line, request: availability_pb2.ListUnitsRequest
) -> tuple[list[availability_pb2.Unit], list[str]]:
    """All pages of a list of units, and the establishments that do not answer."""
    found: list[availability_pb2.Unit] = []
    unreachable: dict[str, None] = {}
    while True:
        page = await session.ask(line.availability.ListUnits, request)
        found += page.units
        unreachable |= dict.fromkeys(page.unreachable)
        if not page.next_page_token:
            return found, list(unreachable)
        request.page_token = page.next_page_token


async def one_unit(session: Session, line: Line, name: str) -> availability_pb2.Unit:
    """A unit by its name. Raises `Refusal(UNIT_NOT_FOUND)`."""
    request = availability_pb2.ListUnitsRequest(parent=f"establishments/{finess_of(name)}", page_size=1000)
    for unit in (await every_unit(session, line, request))[0]:
        if unit.name == name:
            return unit
    raise Refusal(Reason.UNIT_NOT_FOUND, {"unit": name})


async def names_of(session: Session, line: Line) -> dict[str, str]:
    """The names for people of the establishments served there."""
    names: dict[str, str] = {}
    request = availability_pb2.ListEstablishmentsRequest(page_size=1000)
    while True:
        page = await session.ask(line.availability.ListEstablishments, request)
        names |= {one.name: one.display_name for one in page.establishments}
        if not page.next_page_token:
            return names
        request.page_token = page.next_page_token


async def claims_begun(session: Session, unit: str) -> dict[int, int]:
    """How many held or confirmed reservations have begun in a unit, by gender: they count as taken (CONTRACT 10)."""
    states = reservation_pb2.Reservation
    page = await session.ask(
        session.node().reservations.ListReservations,
        reservation_pb2.ListReservationsRequest(
            parent=f"establishments/{finess_of(unit)}",
            unit=unit,
            states=[states.STATE_HELD, states.STATE_CONFIRMED],
            page_size=1000,
        ),
    )
    begun: dict[int, int] = {}
    for one in page.reservations:
        if one.arrival.ToDatetime(tzinfo=now().tzinfo) <= now():
            begun[one.offer.gender] = begun.get(one.offer.gender, 0) + 1
    return begun


def declared_places(
    unit: availability_pb2.Unit, gender: str, free: int, opened: int | None, claims: dict[int, int]
) -> census_pb2.PlaceCapacity:
    """Open and occupied places of a gender, from how many are free. Raises `Failure` when that cannot be."""
    which = _GENDERS[gender]
    here = {
        count.status: count.count
        for count in unit.counts
        if count.gender == which and count.horizon == availability_pb2.HORIZON_NOW
    }
    installed = here.get(availability_pb2.CAPACITY_STATUS_INSTALLED, 0)
    extra = here.get(availability_pb2.CAPACITY_STATUS_SUPPLEMENTARY, 0)
    closed = here.get(availability_pb2.CAPACITY_STATUS_CLOSED, 0)
    opening = opened if opened is not None else installed + extra - closed
    taken = claims.get(which, 0)
    if free + taken > opening:
        what = say("unit.too.many", free=free, open=opening)
        why = say("unit.too.many.why", claims=taken)
        raise Failure(what, why, "aval units show", reason=Reason.COUNT_OUT_OF_RANGE, code=Exit.USAGE)
    return census_pb2.PlaceCapacity(gender=which, open=opening, occupied=opening - free - taken)


async def correct(
    session: Session,
    unit: availability_pb2.Unit,
    seen: terms_pb2.Cursor,
    free: int,
    reason: str | None,
    ttl: timedelta | None,
) -> availability_pb2.Unit:
    """Corrects for a while what the information system says of a unit with beds."""
    if not reason:
        raise Failure(
            say("unit.reason.needed"), say("unit.reason.needed.why"), reason=Reason.REASON_REQUIRED, code=Exit.USAGE
        )
    message = census_pb2.CorrectFiguresRequest(
        command_id=str(uuid4()), unit=unit.name, free=free, reason=reason, seen=seen
    )
    message.ttl.FromTimedelta(ttl or HAND_CORRECTION)
    if session.terminal.dry_run:
        session.terminal.tell(say("dry.run"))
        return unit
    return await session.ask(session.node().census.CorrectFigures, message)


def row(unit: availability_pb2.Unit, names: dict[str, str]) -> list[Cell | str]:
    """A unit, as a row."""
    freshness = enum_name(availability_pb2.Freshness, unit.freshness, FRESHNESS_PREFIX)
    return [
        short_unit(unit.name),
        names.get(f"establishments/{finess_of(unit.name)}", ""),
        unit.display_name,
        discipline_label(unit.discipline),
        number(figure(unit, availability_pb2.CAPACITY_STATUS_AVAILABLE, availability_pb2.HORIZON_NOW)),
        number(grantable(unit, availability_pb2.HORIZON_ONE_DAY)),
        number(figure(unit, availability_pb2.CAPACITY_STATUS_INSTALLED, availability_pb2.HORIZON_NOW)),
        Cell(f"{age_said(unit)} · {speech().state(freshness)}", freshness),
    ]


def figure(
    unit: availability_pb2.Unit,
    status: availability_pb2.CapacityStatus.ValueType,
    horizon: availability_pb2.Horizon.ValueType,
) -> str:
    """A count summed over genders; `—` when the unit does not declare it: absent is not zero."""
    if not any(one.status == status and horizon in one.horizons for one in unit.declared):
        return UNKNOWN
    total = sum(one.count for one in unit.counts if one.status == status and one.horizon == horizon)
    sure = unit.freshness in (availability_pb2.FRESHNESS_FRESH, availability_pb2.FRESHNESS_AGEING)
    return ("" if sure else "≈ ") + speech().number(total)


def grantable(unit: availability_pb2.Unit, horizon: availability_pb2.Horizon.ValueType) -> str:
    """How many would be granted at a horizon: the best gender's figure, since those of two genders do not add up."""
    return str(max((one.count for one in unit.grantable if one.horizon == horizon), default=0))


def counts_said(unit: availability_pb2.Unit) -> list[tuple[str, str, str, int]]:
    """Each R330 figure in words."""
    return [
        (
            speech().state(enum_name(availability_pb2.CapacityStatus, one.status, "CAPACITY_STATUS_")),
            speech().state(enum_name(availability_pb2.Horizon, one.horizon, "HORIZON_")),
            speech().state(enum_name(terms_pb2.Gender, one.gender, "GENDER_")),
            one.count,
        )
        for one in unit.counts
    ]


def _plain(unit: availability_pb2.Unit, names: dict[str, str]) -> dict[str, object]:
    minutes = round(unit.age.ToTimedelta().total_seconds() / 60, 1) if unit.HasField("age") else None
    site = names.get(f"establishments/{finess_of(unit.name)}", "")
    return plain(unit, site=site, ageMinutes=minutes)
