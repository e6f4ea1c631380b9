"""`aval find`: looks for a bed, with the reason of each rank and of each exclusion."""

from datetime import timedelta
from typing import Any

import click

from aval.adapters.cli.command import verb
from aval.adapters.cli.exits import Exit
from aval.adapters.cli.needs import (
    enum_name,
    establishment_name,
    finess_of,
    need_message,
    need_options,
    short_unit,
)
from aval.adapters.cli.session import Session, connected
from aval.adapters.cli.terminal import Cell, Terminal, fields_of, number, plain
from aval.adapters.cli.words import now, say, speech
from aval.adapters.explained import exclusion_said, rank_said
from aval.adapters.figures import is_sure, known_discipline
from aval.kernel.need import Feature
from aval.v1 import availability_pb2, request_pb2, terms_pb2

FRESHNESS_PREFIX = "FRESHNESS_"


@verb(
    "find",
    key="help.find",
    examples=(
        "aval find --discipline smr-geriatrie --sex F --age 84 --date demain",
        "aval find --discipline ehpad-htsh --date 2026-11-25 --max-minutes 45 --json all",
    ),
    reads=fields_of(request_pb2.SearchBedsResponse.DESCRIPTOR),
)
@need_options
@click.option("--limit", type=click.IntRange(1, 200), default=50, help="opt.limit")
@click.option("--site", "sites", multiple=True, metavar="FINESS", help="opt.site")
@click.option("--why", is_flag=True, help="opt.why")
def find(terminal: Terminal, limit: int, sites: tuple[str, ...], why: bool, **given: Any) -> None:
    """Searches, and shows what was found; exit 8 when some establishments do not answer."""

    async def search(session: Session) -> request_pb2.SearchBedsResponse:
        own = session.caller.identity.establishment
        request = request_pb2.SearchBedsRequest(
            need=need_message(given, str(own) if own else ""),
            urgency=terms_pb2.Urgency.Value(f"URGENCY_{given['urgency'].name}"),
            limit=limit,
            establishments=[establishment_name(site) for site in sites],
        )
        return await session.ask(session.hub().requests.SearchBeds, request)

    found = connected(terminal, search)
    if terminal.is_json:
        terminal.one_object(plain(found))
    else:
        show(terminal, found, why)
    if found.unreachable:
        known = {finess_of(one.unit): one.establishment_display_name for one in found.excluded}
        names = [f"{finess} {known.get(finess, '')}".strip() for finess in map(finess_of, found.unreachable)]
        terminal.tell(say("partial", names=", ".join(names)))
        click.get_current_context().exit(Exit.PARTIAL)


def show(terminal: Terminal, found: request_pb2.SearchBedsResponse, why: bool) -> None:
    """The ranked units as a table; then what was left out, and what would find more."""
    speaking = speech()
    stale = speaking.count(found.stale_units, say("unit"), say("units"))
    sure = speaking.count(found.sure_places, say("place"), say("places"))
    terminal.tell(say("find.head", places=sure, stale=stale))
    if found.ranked:
        terminal.tell(say("find.sort"))
        heads = ("#", *(say(f"col.{name}") for name in ("unit", "name", "places", "distance", "answer", "age")))
        terminal.table(heads, (ranked_row(one) for one in found.ranked))
    else:
        terminal.tell(say("find.none"))
    if why:
        for one in found.ranked:
            terminal.tell(f"  {one.rank}. {rank_said(one, speaking, now())}")
    if found.excluded:
        terminal.tell(say("find.excluded"))
        for excluded in found.excluded:
            where = f"{excluded.establishment_display_name} – {excluded.display_name}"
            terminal.tell(f"  {short_unit(excluded.unit)}  {where}, {exclusion_said(excluded, speaking, now())}")
    for relaxation in found.relaxations:
        what = say(f"relax.{relaxation.kind}", value=relaxation.value)
        count = speaking.count(relaxation.sure_places, say("place"), say("places"))
        terminal.tell(say("find.relax", what=what, count=count))


def ranked_row(one: request_pb2.RankedUnit) -> list[Cell | str]:
    """A found unit, as a row."""
    freshness = enum_name(availability_pb2.Freshness, one.unit.freshness, FRESHNESS_PREFIX)
    return [
        number(str(one.rank)),
        short_unit(one.unit.name),
        f"{one.establishment_display_name} – {one.unit.display_name}",
        number(places_said(one)),
        number(distance_said(one)),
        say("find.immediate") if one.immediate else say("find.person"),
        Cell(age_said(one.unit), freshness),
    ]


def places_said(one: request_pb2.RankedUnit) -> str:
    """How many places fit: `≈` when the figure is not sure, `↗` when a departure must come true first."""
    return ("" if is_sure(one.unit) else "≈ ") + str(one.places) + ("↗" if one.on_announced_departure else "")


def distance_said(one: request_pb2.RankedUnit) -> str:
    """By road if that is known, else as the crow flies."""
    speaking = speech()
    if one.minutes:
        return speaking.duration(timedelta(minutes=round(one.minutes))) if one.minutes >= 0.5 else "0\u00a0min"
    return f"{speaking.number(one.distance_km)} km" if one.distance_km else "—"


def age_said(unit: availability_pb2.Unit) -> str:
    """How old a unit's figures are, and who gave them."""
    age = speech().age(unit.age.ToTimedelta() if unit.HasField("age") else None, now())
    source = unit.sources[0] if unit.sources else None
    if source is None:
        return age
    return f"{age} ({speech().state(enum_name(availability_pb2.SourceKind, source.kind, 'SOURCE_KIND_'))})"


def discipline_label(number: terms_pb2.Discipline.ValueType) -> str:
    """The label of a discipline of the wire."""
    discipline = known_discipline(number)
    return speech().discipline(discipline) if discipline is not None else str(number)


def feature_label(number: terms_pb2.Feature.ValueType) -> str:
    """The slug of a feature of the wire."""
    name = enum_name(terms_pb2.Feature, number, "FEATURE_")
    return Feature[name].value if name in Feature.__members__ else name
