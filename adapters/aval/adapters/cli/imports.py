"""`aval node import …`: figures from a file, told to one's own node."""

import hashlib
import os
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import NamedTuple, Protocol, TypeVar
from uuid import uuid4

import click
import structlog

from aval.adapters import csv, edxl
from aval.adapters.cli.command import Group
from aval.adapters.cli.exits import Exit, Failure
from aval.adapters.cli.needs import enum_name, short_unit
from aval.adapters.cli.session import Session, connected
from aval.adapters.cli.terminal import Cell, Terminal, number
from aval.adapters.cli.words import now, say, speech, why
from aval.adapters.clock import SystemClock
from aval.adapters.counts import DropFolder, LineProblem, Outcome, Reader, UnitCounts, Verdict, give, prepare
from aval.adapters.counts.sentences import outcome_said, problem_said, report_of
from aval.adapters.fhir import counting
from aval.kernel.declared import DeclaredFault
from aval.kernel.reasons import Refusal
from aval.v1 import terms_pb2


class _Mapping(Protocol):
    @property
    def source(self) -> str: ...


Mapped = TypeVar("Mapped", bound=_Mapping)
Rows = tuple[list[UnitCounts], list[LineProblem]]

FILE_BYTES_MAX = 16 * 1024 * 1024
"""Bytes of a file that is read whole; each format has its own bound within it, and says so."""

IMPORT_FIELDS = ("line", "unit", "source", "open", "occupied", "fate", "reason", "problem")

imports = Group("import", "help.node.import")


class _Form(NamedTuple):
    """How a file is read, the source that it is (empty: each unit's own), and what of it is numbered."""

    read: Reader
    source: str
    place_word: str = "line"


_map_option = click.option("--map", "mapping", type=click.Path(path_type=Path), metavar="FILE", help="opt.map")
_partial_option = click.option("--partial", is_flag=True, help="opt.partial")
_file = click.argument("file", type=click.Path(path_type=Path))


@imports.verb(
    "csv",
    examples=("aval node import csv lits.csv --dry-run", "aval node import csv lits.csv --map lits.toml --partial"),
    reads=IMPORT_FIELDS,
    writes=True,
)
@_file
@_map_option
@_partial_option
def import_csv(terminal: Terminal, file: Path, mapping: Path | None, partial: bool) -> None:
    """Tells the node the counts of a sheet: all its lines, or none of them unless `--partial`."""
    _import(terminal, _content(file), _form(csv.load_mapping, csv.read_sheet, mapping), partial)


@imports.verb(
    "have",
    examples=(
        "aval node import have lits.xml --map have.toml --dry-run",
        "aval node import have lits.xml --map h.toml",
    ),
    reads=IMPORT_FIELDS,
    writes=True,
)
@_file
@_map_option
@_partial_option
def import_have(terminal: Terminal, file: Path, mapping: Path | None, partial: bool) -> None:
    """Tells the node the counts of an EDXL-HAVE 1.0 document: all of them, or none unless `--partial`."""
    _import(terminal, _content(file), _form(edxl.load_mapping, edxl.read_have, mapping), partial)


@imports.verb(
    "fhir",
    examples=("aval node import fhir lits.json --dry-run", "aval node import fhir lits.json --map ror-lits.toml"),
    reads=IMPORT_FIELDS,
    writes=True,
)
@_file
@_map_option
@_partial_option
def import_fhir(terminal: Terminal, file: Path, mapping: Path | None, partial: bool) -> None:
    """Tells the node the counts of FHIR Locations in the ROR's form: all of them, or none unless `--partial`."""
    form = _form(counting.load_mapping, counting.read_fhir, mapping)._replace(place_word="location")
    _import(terminal, _content(file), form, partial)


def _import(terminal: Terminal, content: bytes, form: _Form, partial: bool) -> None:
    found: list[dict[str, object]] = []
    shown: list[list[Cell | str]] = []

    async def work(session: Session) -> bool:
        node = session.node()
        reading = await prepare(content, form.read, form.source, node, session.finess, now())
        for problem in reading.problems:
            terminal.tell(problem_said(problem, speech().language, form.place_word))
            found.append({"line": problem.line, "problem": problem.what})
        good = bool(reading.rows) and (partial or not reading.problems)
        outcomes: list[Outcome | None] = [None] * len(reading.rows)
        if good and not terminal.dry_run:
            # Absolute figures, and a person who runs it again means it again: a key of its own each time.
            outcomes = [*await give(reading, node, f"import-{uuid4()}", now())]
        for row, outcome in zip(reading.rows, outcomes, strict=True):
            if outcome is not None and (sentence := outcome_said(outcome, speech().language)):
                terminal.tell(sentence)
            found.append(
                {
                    "line": row.line,
                    "unit": row.unit,
                    "source": row.source,
                    "open": row.places.open,
                    "occupied": row.places.occupied,
                    "fate": outcome.fate if outcome else "",
                    "reason": outcome.reason if outcome else "",
                }
            )
            places = row.places
            gender = speech().state(enum_name(terms_pb2.Gender, places.gender, "GENDER_"))
            figures = (places.open, places.occupied, places.open - places.occupied)
            shown.append([str(row.line), short_unit(row.unit), gender, *(number(str(one)) for one in figures)])
        return good and all(outcome.is_good for outcome in outcomes if outcome is not None)

    complete = connected(terminal, work)
    if terminal.is_json:
        terminal.objects(found)
    else:
        terminal.table(
            [say(f"col.{head}") for head in ("line", "unit", "gender", "open", "occupied", "free")],
            shown,
        )
    problems = sum("problem" in one for one in found)
    said = {"good": len(shown), "problems": problems}
    refused = "import.none" if any(one.get("fate") for one in found) else "import.refused"
    terminal.tell(say("import.dry" if terminal.dry_run else "import.done" if complete else refused, **said))
    if problems or not complete:
        click.get_current_context().exit(Exit.PARTIAL if complete else Exit.USAGE)


@imports.verb(
    "folder",
    examples=(
        "aval node import folder /srv/aval/depot --map lits.toml",
        "aval node import folder depot --context ehpad-tilleuls",
    ),
)
@click.argument("folder", type=click.Path(path_type=Path))
@_map_option
def import_folder(terminal: Terminal, folder: Path, mapping: Path | None) -> None:
    """Tells the node each sheet dropped in a folder, until stopped (SIGTERM, Ctrl-C)."""
    form = _form(csv.load_mapping, csv.read_sheet, mapping)
    if not folder.is_dir():
        raise Failure(say("file.absent", path=folder), code=Exit.NOT_FOUND)
    connected(terminal, lambda session: _watch(session, folder, form))


async def _watch(session: Session, folder: Path, form: _Form) -> None:
    log = structlog.get_logger()
    terminal = session.terminal
    node, finess = session.node(), session.finess

    async def handle(content: bytes | None, name: str) -> Verdict:
        if content is None:
            return Verdict(False, report_of([LineProblem(0, "", "unreadable")], [], speech().language))
        # The name that the file was taken under holds its instant: the same sheet tomorrow is told anew, the same
        # file after a crash is not.
        key = f"import-{hashlib.sha256(os.fsencode(name) + content).hexdigest()[:32]}"
        try:
            reading = await prepare(content, form.read, form.source, node, finess, now())
            outcomes = [] if reading.problems else await give(reading, node, key, now())
        except Refusal as refusal:
            return Verdict(None, refusal.reason.value)
        good = not reading.problems and all(one.is_good for one in outcomes)
        return Verdict(good, report_of(reading.problems, outcomes, speech().language))

    def notice(what: str, detail: str) -> None:
        log.info(what, file=detail)
        terminal.tell(say(f"folder.{what}", detail=detail))

    terminal.tell(say("folder.looking", path=folder))
    await DropFolder(folder, handle, notice, SystemClock()).run()


def _form(
    load: Callable[[Path | None], Mapped], read: Callable[[bytes, Mapped, datetime], Rows], path: Path | None
) -> _Form:
    """A format with the mapping in a file, or its own. Raises `Failure`."""
    try:
        mapping = load(path)
    except FileNotFoundError as error:
        raise Failure(say("file.absent", path=path), code=Exit.NOT_FOUND) from error
    except DeclaredFault as fault:
        raise Failure(say("map.bad"), why(fault), code=Exit.USAGE) from fault
    except OSError as error:
        raise Failure(say("map.bad"), say("file.unreadable", path=path), code=Exit.USAGE) from error
    return _Form(lambda content, at: read(content, mapping, at), mapping.source)


def _content(file: Path) -> bytes:
    try:
        with file.open("rb") as opened:
            return opened.read(FILE_BYTES_MAX + 1)
    except FileNotFoundError as error:
        raise Failure(say("file.absent", path=file), code=Exit.NOT_FOUND) from error
    except OSError as error:
        raise Failure(say("file.unreadable", path=file), str(error), code=Exit.FAILED) from error
