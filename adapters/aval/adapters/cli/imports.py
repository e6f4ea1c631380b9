"""`aval node import …`: figures from a file, told to one's own node."""

import hashlib
from pathlib import Path
from uuid import uuid4

import click
import structlog

from aval.adapters.cli.command import Group
from aval.adapters.cli.exits import Exit, Failure
from aval.adapters.cli.session import Session, connected
from aval.adapters.cli.terminal import Terminal, number
from aval.adapters.cli.words import now, say, speech
from aval.adapters.clock import SystemClock
from aval.adapters.csv import DropFolder, MappingFault, Verdict, give, load_mapping, prepare
from aval.adapters.csv.mapping import Mapping
from aval.adapters.csv.sentences import outcome_said, problem_said, report_of
from aval.adapters.csv.table import BYTES_MAX
from aval.kernel.reasons import Refusal

IMPORT_FIELDS = ("line", "unit", "source", "open", "occupied", "fate", "reason", "problem")

imports = Group("import", "help.node.import")


@imports.verb(
    "csv",
    examples=("aval node import csv lits.csv --dry-run", "aval node import csv lits.csv --map lits.toml --partial"),
    reads=IMPORT_FIELDS,
    writes=True,
)
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--map", "mapping", type=click.Path(path_type=Path), metavar="FILE", help="opt.map")
@click.option("--partial", is_flag=True, help="opt.partial")
def import_csv(terminal: Terminal, file: Path, mapping: Path | None, partial: bool) -> None:
    """Tells the node the counts of a sheet: all its lines, or none of them unless `--partial`."""
    meaning = _meaning(mapping)
    content = _content(file)
    found: list[dict[str, object]] = []

    async def work(session: Session) -> bool:
        sheet = await prepare(content, meaning, session.node(), session.finess, now())
        for problem in sheet.problems:
            terminal.tell(problem_said(problem, speech().language))
            found.append({"line": problem.line, "problem": problem.what})
        good = not sheet.problems or (partial and bool(sheet.rows))
        outcomes = {}
        if good and not terminal.dry_run:
            key = f"csv-{uuid4()}"  # absolute figures: a person who runs it again means it again
            outcomes = {one.line: one for one in await give(sheet, session.node(), key)}
        for row in sheet.rows:
            outcome = outcomes.get(row.line)
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
        return good and all(outcome.is_good for outcome in outcomes.values())

    complete = connected(terminal, work)
    if terminal.is_json:
        terminal.objects(found)
    else:
        terminal.table(
            [say(f"col.{head}") for head in ("line", "unit", "open", "occupied")],
            [
                [str(one["line"]), str(one["unit"]), number(str(one["open"])), number(str(one["occupied"]))]
                for one in found
                if "unit" in one
            ],
        )
    problems = sum("problem" in one for one in found)
    terminal.tell(say("import.dry" if terminal.dry_run else "import.done" if complete else "import.none"))
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
@click.option("--map", "mapping", type=click.Path(path_type=Path), metavar="FILE", help="opt.map")
def import_folder(terminal: Terminal, folder: Path, mapping: Path | None) -> None:
    """Tells the node each sheet dropped in a folder, until stopped (SIGTERM, Ctrl-C)."""
    meaning = _meaning(mapping)
    if not folder.is_dir():
        raise Failure(say("file.absent", path=folder), code=Exit.NOT_FOUND)
    connected(terminal, lambda session: _watch(session, folder, meaning))


async def _watch(session: Session, folder: Path, meaning: Mapping) -> None:
    log = structlog.get_logger()
    terminal = session.terminal

    async def handle(content: bytes, name: str) -> Verdict:
        # The name that the file was taken under holds its instant: the same sheet tomorrow is told anew, the same
        # file after a crash is not.
        key = f"csv-{hashlib.sha256(name.encode() + content).hexdigest()[:32]}"
        try:
            sheet = await prepare(content, meaning, session.node(), session.finess, now())
            outcomes = [] if sheet.problems else await give(sheet, session.node(), key)
        except Refusal as refusal:
            return Verdict(None, refusal.reason.value)
        good = not sheet.problems and all(one.is_good for one in outcomes)
        return Verdict(good, report_of(sheet.problems, outcomes, speech().language))

    def notice(what: str, detail: str) -> None:
        log.info(what, file=detail)
        terminal.tell(say(f"folder.{what}", detail=detail))

    terminal.tell(say("folder.looking", path=folder))
    await DropFolder(folder, handle, notice, SystemClock()).run()


def _meaning(mapping: Path | None) -> Mapping:
    try:
        return load_mapping(mapping)
    except FileNotFoundError as error:
        raise Failure(say("file.absent", path=mapping), code=Exit.NOT_FOUND) from error
    except (MappingFault, OSError) as error:
        raise Failure(say("map.bad"), str(error), code=Exit.USAGE) from error


def _content(file: Path) -> bytes:
    try:
        with file.open("rb") as opened:
            return opened.read(BYTES_MAX + 1)
    except FileNotFoundError as error:
        raise Failure(say("file.absent", path=file), code=Exit.NOT_FOUND) from error
    except OSError as error:
        raise Failure(say("file.unreadable", path=file), str(error), code=Exit.FAILED) from error
