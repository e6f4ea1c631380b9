"""`aval report`: the territory's capacity, for the morning meeting and, as EDXL-HAVE, for crisis systems."""

import csv
import io
import sys

import click

from aval.adapters.cli.command import Word, verb
from aval.adapters.cli.exits import Exit
from aval.adapters.cli.needs import finess_of
from aval.adapters.cli.search import discipline_label
from aval.adapters.cli.session import Session, connected
from aval.adapters.cli.terminal import Cell, Terminal, fields_of, number, plain
from aval.adapters.cli.units import every_establishment, every_unit
from aval.adapters.cli.words import now, say, speech
from aval.adapters.edxl import Hospital, write_have
from aval.adapters.figures import known_discipline
from aval.v1 import availability_pb2, territory_pb2

FORMATS = ("table", "csv", "json", "have")

CSV_HEADS = (
    "date", "finess", "etablissement", "discipline", "installes", "disponibles_surs", "disponibles_a_confirmer",
    "occupes", "reserves", "fermes", "supplementaires", "taux_occupation", "fraicheur_min",
)  # fmt: skip


@verb(
    "report",
    key="help.report",
    examples=(
        "aval report",
        "aval report --format csv > point-capacitaire.csv",
        "aval report --format have > lits.xml",
    ),
    reads=fields_of(territory_pb2.GetCapacityResponse.DESCRIPTOR),
)
@click.option(
    "--format", "form", type=Word({word: word for word in FORMATS}, "format"), default="table",
    help="opt.format",
)  # fmt: skip
def report(terminal: Terminal, form: str) -> None:
    """Reads the capacity from the hub (the cell and management may); exit 8 when establishments do not answer."""

    if form == "have":
        _have(terminal)
        return

    async def work(session: Session) -> territory_pb2.GetCapacityResponse:
        return await session.ask(session.hub().territory.GetCapacity, territory_pb2.GetCapacityRequest())

    found = connected(terminal, work)
    if terminal.is_json or form == "json":
        terminal.one_object(plain(found))
    elif form == "csv":
        sys.stdout.buffer.write(spreadsheet(found).encode())  # UTF-8 whatever the terminal's own
    else:
        terminal.table(table_heads(), [table_row(line) for line in (*found.totals, *found.lines)])
    if found.unreachable:
        names = ", ".join(finess_of(name) for name in found.unreachable)
        answered = found.establishment_count - len(found.unreachable)
        terminal.tell(say("partial.count", answered=answered, all=found.establishment_count, names=names))
        click.get_current_context().exit(Exit.PARTIAL)


def _have(terminal: Terminal) -> None:
    """Writes EDXL-HAVE 1.0 of what this caller may see, at the hub or at one's own node."""

    async def work(session: Session) -> tuple[list[Hospital], list[str]]:
        line = session.hub_or_node()
        request = availability_pb2.ListUnitsRequest(parent="establishments/-")
        units, unreachable = await every_unit(session, line, request)
        houses = await every_establishment(session, line)
        by_house: dict[str, list[availability_pb2.Unit]] = {house.name: [] for house in houses}
        for unit in units:
            by_house[f"establishments/{finess_of(unit.name)}"].append(unit)
        return [Hospital(house, by_house[house.name]) for house in houses], unreachable

    hospitals, unreachable = connected(terminal, work)
    document, left_out = write_have(hospitals, now())
    sys.stdout.buffer.write(document + b"\n")
    if left_out:
        terminal.tell(say("partial", names=", ".join(left_out)))
    if left_out or unreachable:
        click.get_current_context().exit(Exit.PARTIAL)


def table_heads() -> list[str]:
    """The heads of the table."""
    names = ("discipline", "establishment", "available", "stale", "occupied", "reserved", "closed", "installed", "age")
    return [say(f"col.{name}") for name in names]


def table_row(line: territory_pb2.CapacityLine) -> list[Cell | str]:
    """A line of capacity, as a row; a total has no establishment."""
    figures = (line.available_sure, line.available_stale, line.occupied, line.reserved, line.closed, line.installed)
    age = speech().age(line.age_max.ToTimedelta() if line.HasField("age_max") else None, now())
    where = line.establishment_display_name or finess_of(line.establishment) or "—"
    return [discipline_label(line.discipline), where, *(number(speech().number(one)) for one in figures), age]


def spreadsheet(found: territory_pb2.GetCapacityResponse) -> str:
    """CSV as a French spreadsheet opens it: UTF-8 with BOM, `;`, decimal comma, ISO dates."""
    text = io.StringIO()
    rows = csv.writer(text, delimiter=";", lineterminator="\r\n")
    rows.writerow(CSV_HEADS)
    stamp = now().isoformat(timespec="seconds")
    for line in found.lines:
        discipline = known_discipline(line.discipline)
        opened = line.installed - line.closed + line.supplementary
        minutes = line.age_max.ToTimedelta().total_seconds() / 60 if line.HasField("age_max") else None
        rows.writerow(
            [
                stamp,
                finess_of(line.establishment),
                _inert(line.establishment_display_name),
                discipline.value if discipline is not None else line.discipline,
                line.installed,
                line.available_sure,
                line.available_stale,
                line.occupied,
                line.reserved,
                line.closed,
                line.supplementary,
                f"{line.occupied / opened:.3f}".replace(".", ",") if opened > 0 else "",
                f"{minutes:.1f}".replace(".", ",") if minutes is not None else "",
            ]
        )
    return "\ufeff" + text.getvalue()


def _inert(text: str) -> str:
    """A text that a spreadsheet shows and does not reckon: names are other houses' own, and `=…` is a formula."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text
