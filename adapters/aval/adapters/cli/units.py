"""`aval units …`: the figures of the territory's units, and those of one's own house."""

from collections.abc import Sequence
from datetime import timedelta
from functools import partial
from uuid import uuid4

import click

from aval.adapters import figures
from aval.adapters.cli.command import Duration, Group, Word
from aval.adapters.cli.contexts import chosen, contexts_path
from aval.adapters.cli.exits import Exit, Failure
from aval.adapters.cli.needs import (
    FEATURES,
    DisciplineWord,
    discipline_number,
    enum_name,
    establishment_name,
    feature_number,
    finess_of,
    short_unit,
    unit_name,
)
from aval.adapters.cli.search import FRESHNESS_PREFIX, age_said, discipline_label, feature_label
from aval.adapters.cli.session import Session, connected
from aval.adapters.cli.terminal import Cell, Terminal, fields_of, number, plain
from aval.adapters.cli.words import now, say, speech
from aval.adapters.dial import Line, pages
from aval.adapters.french import UNKNOWN
from aval.kernel.disciplines import Discipline
from aval.kernel.need import Feature
from aval.kernel.reasons import Reason, Refusal
from aval.kernel.statuses import SourceKind
from aval.v1 import availability_pb2, census_pb2, reservation_pb2, terms_pb2

FIELDS = fields_of(availability_pb2.Unit.DESCRIPTOR, "site", "ageMinutes", "r335")
PERSON_SOURCE = "equipe"
"""The source of those who type, in a unit that is declared here."""

HAND_CORRECTION = timedelta(hours=4)
"""A correction by hand of what a system says holds 4 h at most (UX §2.6)."""

_GENDERS = {"any": terms_pb2.GENDER_ANY, "female": terms_pb2.GENDER_FEMALE, "male": terms_pb2.GENDER_MALE}

units = Group(
    "units",
    "help.units",
    {"unverified": "aval.adapters.cli.restored:unverified", "verify": "aval.adapters.cli.restored:verify"},
)


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
            parent=establishment_name(site) if site else "establishments/-", stale_only=stale
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
    for line in (*sources_said(found), *disagreements_said(found), *counts_said(found), *classes_said(found)):
        terminal.line(line)
    _, context, _ = chosen(terminal.context)
    if context.ror:
        from aval.adapters.cli.ror import told_of

        for line in told_of(contexts_path().parent / context.ror, found.name):
            terminal.line(f"  {line}")


@units.verb(
    "set",
    examples=("aval units set U201 --free 2", "aval units set U201 --female 1 --male 0 --open 24"),
    reads=FIELDS,
    writes=True,
)
@click.argument("unit")
@click.option("--free", type=click.IntRange(min=0), help="opt.free")
@click.option("--female", type=click.IntRange(min=0), help="opt.female")
@click.option("--male", type=click.IntRange(min=0), help="opt.male")
@click.option("--open", "opened", type=click.IntRange(min=0), help="opt.open")
def set_unit(
    terminal: Terminal, unit: str, free: int | None, female: int | None, male: int | None, opened: int | None
) -> None:
    """Says how many places are free, without those that the house holds or has promised."""
    said = {name: value for name, value in (("any", free), ("female", female), ("male", male)) if value is not None}
    if not said:
        raise Failure(say("unit.nothing.given"), say("unit.nothing.given.why"), code=Exit.USAGE)

    async def work(session: Session) -> availability_pb2.Unit:
        name = unit_name(unit, session.finess)
        seen = await cursor_of(session)
        known = await one_unit(session, session.node(), name)
        if known.counting == availability_pb2.COUNTING_BEDS:
            following = f"aval units correct {unit} --free {sum(said.values())} --reason …"
            raise Failure(
                say("reason.UNIT_COUNTS_BEDS"),
                say("unit.beds.why"),
                following,
                reason=Reason.UNIT_COUNTS_BEDS,
                code=Exit.CONFLICT,
            )
        claims = await claims_begun(session, name)
        places = [declared_places(known, gender, value, opened, claims) for gender, value in said.items()]
        message = census_pb2.DeclareCountsRequest(command_id=str(uuid4()), unit=name, places=places, seen=seen)
        if terminal.dry_run:
            terminal.tell(say("dry.run"))
            return known
        return await session.ask(session.node().census.DeclareCounts, message)

    changed = connected(terminal, work)
    if terminal.is_json:
        terminal.one_object(_plain(changed, {}))
        return
    shown = " + ".join(free_said(value, gender) for gender, value in said.items())
    done = "unit.would.be.declared" if terminal.dry_run else "unit.declared"
    terminal.line(say(done, unit=short_unit(changed.name), free=shown))
    for line in (*sources_said(changed), *disagreements_said(changed)):
        terminal.line(line)
    winning = changed.sources[0]
    if winning.kind != availability_pb2.SOURCE_KIND_PERSON:
        terminal.tell(say("unit.outranked", source=source_said(winning), unit=unit, free=sum(said.values())))


@units.verb(
    "declare",
    examples=(
        "aval units declare U201 --name 'EHPAD permanent' --discipline ehpad-permanent --places 80",
        "aval units declare U202 --name 'SMR' --discipline smr-geriatrie --places 20 --features chambre-seule",
    ),
    reads=FIELDS,
    writes=True,
)
@click.argument("unit")
@click.option("--name", required=True, metavar="TEXT", help="opt.unit-name")
@click.option("--discipline", type=DisciplineWord(), required=True, help="opt.discipline")
@click.option("--places", type=click.IntRange(1, 2000), required=True, help="opt.places")
@click.option("--features", type=Word(FEATURES, "feature"), multiple=True, help="opt.features")
def declare(
    terminal: Terminal, unit: str, name: str, discipline: Discipline, places: int, features: tuple[Feature, ...]
) -> None:
    """Declares a unit whose places people count; who has beds or a system declares them through its adapter."""

    async def work(session: Session) -> availability_pb2.Unit | None:
        message = census_pb2.DeclareUnitRequest(
            command_id=str(uuid4()),
            name=unit_name(unit, session.finess),
            display_name=name,
            discipline=discipline_number(discipline),
            counting=availability_pb2.COUNTING_PLACES,
            features=[feature_number(one) for one in features],
        )
        message.places.add(gender=terms_pb2.GENDER_ANY, installed=places, open=places, occupied=places)
        message.sources.add(id=PERSON_SOURCE, kind=availability_pb2.SOURCE_KIND_PERSON)
        if terminal.dry_run:
            terminal.tell(say("dry.run"))
            terminal.next_object(plain(message))
            return None
        return await session.ask(session.node().census.DeclareUnit, message)

    made = connected(terminal, work)
    if made is not None and terminal.is_json:
        terminal.one_object(_plain(made, {}))
    elif made is not None:
        terminal.line(say("unit.made", unit=short_unit(made.name), name=made.display_name))


@units.verb(
    "correct",
    examples=(
        "aval units correct U103 --free 0 --reason 'lit en travaux'",
        "aval units correct U103 --free 1 --reason 'sortie non saisie' --for 2h",
    ),
    reads=FIELDS,
    writes=True,
)
@click.argument("unit")
@click.option("--free", type=click.IntRange(min=0), required=True, help="opt.correct-free")
@click.option("--reason", metavar="TEXT", required=True, help="opt.correction-reason")
@click.option("--for", "ttl", type=Duration(), default=HAND_CORRECTION, help="opt.correction-for")
def correct(terminal: Terminal, unit: str, free: int, reason: str, ttl: timedelta) -> None:
    """Says for a while, against what a system says, how many places are free; everyone inside sees both figures."""
    if ttl > HAND_CORRECTION:
        why = say("unit.correction.long.why")
        raise Failure(say("unit.correction.long"), why, reason=Reason.CORRECTION_TOO_LONG, code=Exit.USAGE)

    async def work(session: Session) -> availability_pb2.Unit:
        name = unit_name(unit, session.finess)
        seen = await cursor_of(session)
        if terminal.dry_run:
            terminal.tell(say("dry.run"))
            return await one_unit(session, session.node(), name)
        message = census_pb2.CorrectFiguresRequest(
            command_id=str(uuid4()), unit=name, free=free, reason=reason, seen=seen
        )
        message.ttl.FromTimedelta(ttl)
        return await session.ask(session.node().census.CorrectFigures, message)

    changed = connected(terminal, work)
    if terminal.is_json:
        terminal.one_object(_plain(changed, {}))
        return
    until = speech().moment(now() + ttl, now())
    done = "unit.would.be.corrected" if terminal.dry_run else "unit.correction"
    terminal.line(say(done, unit=short_unit(changed.name), free=free_said(free), until=until))
    for line in disagreements_said(changed):
        terminal.line(line)


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
        raise Failure(say("unit.none.given"), say("unit.form"), "aval units confirm --all", code=Exit.USAGE)

    async def work(session: Session) -> tuple[census_pb2.ConfirmUnitResponse, list[availability_pb2.Unit]]:
        names = [unit_name(word, session.finess) for word in unit]
        own = availability_pb2.ListUnitsRequest(parent=f"establishments/{session.finess}")
        if terminal.dry_run:
            terminal.tell(say("dry.run"))
            found, _ = await every_unit(session, session.node(), own)
            return census_pb2.ConfirmUnitResponse(units=confirmable(found, names)), []
        message = census_pb2.ConfirmUnitRequest(command_id=str(uuid4()), units=names)
        done = await session.ask(session.node().census.ConfirmUnit, message)
        found, _ = await every_unit(session, session.node(), own)
        return done, [one for one in found if one.name in done.units]

    done, confirmed = connected(terminal, work)
    if terminal.is_json:
        terminal.one_object(plain(done))
        return
    said = "unit.would.be.confirmed" if terminal.dry_run else "unit.confirmed"
    terminal.line(say(said, names=", ".join(short_unit(name) for name in done.units) or UNKNOWN))
    for line in dict.fromkeys(line for one in confirmed for line in sources_said(one)[:1]):
        terminal.line(line)


def confirmable(units: Sequence[availability_pb2.Unit], names: Sequence[str]) -> list[str]:
    """The units that a person would confirm: those named, or all that a person feeds. Raises `Refusal`, as the node."""
    fed = {one.name: any(source.kind == availability_pb2.SOURCE_KIND_PERSON for source in one.sources) for one in units}
    for name in names:
        if not fed.get(name, False):
            raise Refusal(Reason.SOURCE_NOT_FOUND if name in fed else Reason.UNIT_NOT_FOUND, {"unit": name})
    return [name for name, by_a_person in fed.items() if by_a_person and (not names or name in names)]


async def every_unit(
    session: Session, line: Line, request: availability_pb2.ListUnitsRequest
) -> tuple[list[availability_pb2.Unit], list[str]]:
    """All pages of a list of units, and the establishments that do not answer."""
    found: list[availability_pb2.Unit] = []
    unreachable: dict[str, None] = {}
    async for page in pages(partial(session.ask, line.availability.ListUnits), request):
        found += page.units
        unreachable |= dict.fromkeys(page.unreachable)
    return found, list(unreachable)


async def cursor_of(session: Session) -> terms_pb2.Cursor:
    """Where one's own node stands: what is read next is at least as new."""
    request = availability_pb2.GetEstablishmentRequest(name=f"establishments/{session.finess}")
    return (await session.ask(session.node().availability.GetEstablishment, request)).cursor


async def one_unit(session: Session, line: Line, name: str) -> availability_pb2.Unit:
    """A unit by its name. Raises `Refusal(UNIT_NOT_FOUND)`."""
    request = availability_pb2.ListUnitsRequest(parent=f"establishments/{finess_of(name)}")
    for unit in (await every_unit(session, line, request))[0]:
        if unit.name == name:
            return unit
    raise Refusal(Reason.UNIT_NOT_FOUND, {"unit": name})


async def names_of(session: Session, line: Line) -> dict[str, str]:
    """The names for people of the establishments served there."""
    return {one.name: one.display_name for one in await every_establishment(session, line)}


async def every_establishment(session: Session, line: Line) -> list[availability_pb2.Establishment]:
    """All pages of the establishments served there."""
    call = partial(session.ask, line.availability.ListEstablishments)
    request = availability_pb2.ListEstablishmentsRequest()
    return [one async for page in pages(call, request) for one in page.establishments]


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
    counted = figures.genders_counted(unit)
    if opened is None and which not in counted:
        words = (speech().state(enum_name(terms_pb2.Gender, one, "GENDER_")) for one in sorted(counted))
        why = say("unit.other.genders", genders=", ".join(words))
        raise Failure(say("unit.gender.not.counted"), why, reason=Reason.COUNT_OUT_OF_RANGE, code=Exit.USAGE)
    opening = opened if opened is not None else figures.open_places(unit, which)
    taken = claims.get(which, 0)
    if free + taken > opening:
        what = say("unit.too.many", free=free_said(free), open=opening)
        why = say("unit.too.many.why", claims=taken) if taken else say("unit.too.many.open")
        raise Failure(what, why, "aval units show", reason=Reason.COUNT_OUT_OF_RANGE, code=Exit.USAGE)
    return census_pb2.PlaceCapacity(gender=which, open=opening, occupied=opening - free - taken)


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
    if not figures.declares(unit, status, horizon):
        return UNKNOWN
    return ("" if figures.is_sure(unit) else "≈ ") + speech().number(figures.count(unit, status, horizon))


def grantable(unit: availability_pb2.Unit, horizon: availability_pb2.Horizon.ValueType) -> str:
    """How many would be granted at a horizon: the best gender's figure, since those of two genders do not add up."""
    return str(max((one.count for one in unit.grantable if one.horizon == horizon), default=0))


def sources_said(unit: availability_pb2.Unit) -> list[str]:
    """Each source, the winning one first: what it is with its R335 code, who spoke, when, how fresh that is."""
    said = []
    for one in unit.sources:
        parts = [f"{source_said(one)}{f' (R335 {code})' if (code := r335(one.kind)) else ''}"]
        if one.by:
            parts.append(one.by)
        parts.append(speech().age(one.age.ToTimedelta() if one.HasField("age") else None, now()))
        if one.HasField("observe_time"):
            parts.append(speech().moment(one.observe_time.ToDatetime(tzinfo=now().tzinfo), now()))
        if one is unit.sources[0]:
            parts.append(speech().state(enum_name(availability_pb2.Freshness, unit.freshness, FRESHNESS_PREFIX)))
        said.append(say("unit.source", source=", ".join(parts)))
    return said


def disagreements_said(unit: availability_pb2.Unit) -> list[str]:
    """Each source that says something else than what is published, and by whom it was corrected until when."""
    kinds = {one.id: source_said(one) for one in unit.sources}
    said = []
    for one in unit.disagreements:
        figures = {"source": kinds.get(one.source, one.source), "free": one.free, "winning": one.winning_free}
        if not one.HasField("until"):
            said.append(say("unit.disagreement", **figures))
            continue
        until = speech().moment(one.until.ToDatetime(tzinfo=now().tzinfo), now())
        if one.HasField("correct_time"):
            moment = speech().moment(one.correct_time.ToDatetime(tzinfo=now().tzinfo), now())
            said.append(say("unit.corrected.at", **figures, reason=one.reason, until=until, moment=moment))
        else:
            said.append(say("unit.corrected.until", **figures, reason=one.reason, until=until))
    return said


def source_said(source: availability_pb2.Source) -> str:
    """What a source is, in a word."""
    return speech().state(enum_name(availability_pb2.SourceKind, source.kind, "SOURCE_KIND_"))


def r335(kind: availability_pb2.SourceKind.ValueType) -> str:
    """The ROR's code of a kind of source; empty for one that this version does not know."""
    name = enum_name(availability_pb2.SourceKind, kind, "SOURCE_KIND_")
    return SourceKind[name].r335 if name in SourceKind.__members__ else ""


def counts_said(unit: availability_pb2.Unit) -> list[str]:
    """R330 figures, a line for each status: what is declared and not counted is zero."""
    lines = []
    for declared in unit.declared:
        told = []
        for horizon in declared.horizons:
            total = figures.count(unit, declared.status, horizon)
            when = speech().state(enum_name(availability_pb2.Horizon, horizon, "HORIZON_"))
            told.append(f"{speech().number(total)} {when}")
        status = speech().state(enum_name(availability_pb2.CapacityStatus, declared.status, "CAPACITY_STATUS_"))
        lines.append(say("unit.counts", status=status, figures=", ".join(told)))
    return lines


def classes_said(unit: availability_pb2.Unit) -> list[str]:
    """Free places to come, a line for each kind of place."""
    lines = []
    for one in unit.classes:
        features = ", ".join(feature_label(feature) for feature in one.features) or UNKNOWN
        steps = ", ".join(
            f"{speech().moment(step.time.ToDatetime(tzinfo=now().tzinfo), now())} → {step.free}" for step in one.steps
        )
        gender = speech().state(enum_name(terms_pb2.Gender, one.gender, "GENDER_"))
        lines.append(say("unit.class", gender=gender, features=features, steps=steps))
    return lines


def free_said(count: int, gender: str = "any") -> str:
    """`2 places libres`; `1 place libre (femme)`."""
    free = speech().count(count, say("free.place"), say("free.places"))
    return free if gender == "any" else f"{free} ({speech().state(gender.upper())})"


def _plain(unit: availability_pb2.Unit, names: dict[str, str]) -> dict[str, object]:
    minutes = round(unit.age.ToTimedelta().total_seconds() / 60, 1) if unit.HasField("age") else None
    site = names.get(f"establishments/{finess_of(unit.name)}", "")
    code = r335(unit.sources[0].kind) if unit.sources else ""
    return plain(unit, site=site, ageMinutes=minutes, r335=code)
