"""`aval territory check`: reads a territory file and says all that is wrong with it."""

from pathlib import Path

import click

from aval.adapters.cli.command import Group
from aval.adapters.cli.exits import Exit, Failure
from aval.adapters.cli.terminal import Terminal
from aval.adapters.cli.words import say, speech
from aval.adapters.territory import Problem, Severity, assumed, read_file

FIELDS = ("line", "severity", "where", "what", "remedy")

territory = Group("territory", "help.territory")


@territory.verb(
    "check",
    examples=("aval territory check ge-10.toml", "aval territory check mon-ght.toml --json line,what,remedy"),
    reads=FIELDS,
)
@click.argument("file", type=click.Path(path_type=Path))
def check(terminal: Terminal, file: Path) -> None:
    """Bad FINESS, swapped coordinates, duplicates, sums that do not add up. Exit 1 if the file cannot be used."""
    if not file.is_file():
        raise Failure(say("file.absent", path=file), following="aval territory check --help", code=Exit.NOT_FOUND)
    reading = read_file(file)
    errors = sum(one.severity is Severity.ERROR for one in reading.problems)
    if terminal.is_json:
        terminal.objects([_plain(one) for one in reading.problems])
    else:
        for problem in reading.problems:
            terminal.line(str(problem))
    if reading.file is not None and not errors:
        members = speech().count(len(reading.file.establishments), say("establishment"), say("establishments"))
        count = sum(len(house.units) for house in reading.file.assumptions.houses.values())
        found = speech().count(count, say("unit"), say("units"))
        terminal.tell(say("territory.sound", path=file, establishments=members, units=found))
        if phrases := assumed(reading.file):
            terminal.tell(say("territory.assumed"))
            for phrase in phrases:
                terminal.tell(f"  – {phrase}")
        return
    raise Failure(say("territory.bad", path=file, errors=speech().count(errors, say("fault"), say("faults"))))


def _plain(problem: Problem) -> dict[str, object]:
    return {
        "line": problem.line,
        "severity": problem.severity.name,
        "where": problem.where,
        "what": problem.what,
        "remedy": problem.remedy,
    }
