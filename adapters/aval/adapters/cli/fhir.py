"""`aval fhir …`: the ROR's form, served read only to other systems, and checked in a file."""

from pathlib import Path

import click

from aval.adapters.cli.command import Group
from aval.adapters.cli.exits import Exit, Failure
from aval.adapters.cli.terminal import Cell, Terminal
from aval.adapters.cli.words import say, speech, why

fhir = Group("fhir", "help.fhir")

CHECK_FIELDS = ("severity", "path", "text")


@fhir.verb("serve", examples=("aval fhir serve --config fhir.toml", "aval fhir serve --config hub/fhir.toml -q"))
@click.option("--config", type=click.Path(path_type=Path), required=True, metavar="FILE", help="opt.config")
def serve(terminal: Terminal, config: Path) -> None:
    """Serves Organization, HealthcareService, Location and MeasureReport over mutual TLS, until stopped (SIGTERM)."""
    from aval.adapters.fhir.serving import serve_endpoint
    from aval.adapters.fhir.settings import read_endpoint

    terminal.detail(str(config))
    try:
        serve_endpoint(read_endpoint(config), config)
    except (ValueError, OSError, RuntimeError) as error:
        raise Failure(say("serve.refused"), why(error), "aval fhir serve --help") from error


@fhir.verb(
    "check",
    examples=("aval fhir check lits.json", "aval fhir check lits.json --json path,text | grep nbCapacity"),
    reads=CHECK_FIELDS,
)
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--all", "everything", is_flag=True, help="opt.fhir-all")
def check(terminal: Terminal, file: Path, everything: bool) -> None:
    """Says what an instance, or each of a Bundle, lacks of the ROR's profiles; exit 10 with an error."""
    from aval.adapters.counts.rows import LineProblem
    from aval.adapters.counts.sentences import problem_said, said
    from aval.adapters.fhir.profile import Problem, Severity, problems_of
    from aval.adapters.fhir.reading import FILE_BYTES_MAX, Unreadable, resource_of

    language = speech().language
    try:
        with file.open("rb") as opened:
            resource = resource_of(opened.read(FILE_BYTES_MAX + 1))
    except FileNotFoundError as error:
        raise Failure(say("file.absent", path=file), code=Exit.NOT_FOUND) from error
    except OSError as error:
        raise Failure(say("file.unreadable", path=file), str(error), code=Exit.USAGE) from error
    except Unreadable as error:
        wrong = LineProblem(error.line, "", error.what, error.details)
        raise Failure(say("file.unreadable", path=file), problem_said(wrong, language), code=Exit.USAGE) from error

    def text(one: Problem) -> str:
        return said(one.what, language, **one.details)

    found = problems_of(resource)
    errors = [one for one in found if one.severity is Severity.ERROR]
    shown = found if everything else errors
    if terminal.is_json:
        terminal.objects([{"severity": str(one.severity), "path": one.path, "text": text(one)} for one in shown])
    else:
        heads = [say(f"col.{head}") for head in ("severity", "place", "problem")]
        colours = {Severity.ERROR: "bad"}
        terminal.table(
            heads,
            [[Cell(say(f"fhir.{one.severity}"), colours.get(one.severity, "")), one.path, text(one)] for one in shown],
        )
    terminal.tell(say("fhir.checked", errors=len(errors), others=len(found) - len(errors)))
    if errors:
        click.get_current_context().exit(Exit.PROBLEM_FOUND)
