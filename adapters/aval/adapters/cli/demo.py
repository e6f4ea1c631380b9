"""`aval demo …`: a real territory on this machine, its simulated day, and the story of a patient."""

import asyncio
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import click

from aval.adapters.cli.command import Group
from aval.adapters.cli.exits import Exit, Failure
from aval.adapters.cli.session import quiet_logs
from aval.adapters.cli.terminal import Cell, Terminal, number
from aval.adapters.cli.words import nearest, say, speech

FOLDER = Path(".aval/demo")
SEED = 7
"""Any will do: this one is the README's."""

SITES_MIN = 5
"""Fewer houses cannot play the story: one asks, three are asked, one is the rival."""

STATUS_FIELDS = ("key", "name", "pid", "alive", "address", "certificateSerial", "database")

demo = Group("demo", "help.demo")

_folder = click.option(
    "--dir", "folder", type=click.Path(path_type=Path), default=FOLDER, show_default=True, help="opt.demo-dir"
)


@demo.verb("up", examples=("aval demo up", "aval demo up --sites 8 --seed 3 --once"))
@click.option("--territory", type=click.Path(path_type=Path), metavar="FILE", help="opt.demo-territory")
@click.option("--sites", type=click.IntRange(min=SITES_MIN), default=None, help="opt.sites")
@click.option("--without", multiple=True, metavar="FINESS", help="opt.without")
@click.option("--seed", type=int, default=SEED, show_default=True, help="opt.seed")
@click.option("--once", is_flag=True, envvar="ONCE", help="opt.once")
@click.option("--no-story", is_flag=True, help="opt.no-story")
@_folder
def up(
    terminal: Terminal,
    territory: Path | None,
    sites: int | None,
    without: tuple[str, ...],
    seed: int,
    once: bool,
    no_story: bool,
    folder: Path,
) -> None:
    """Builds and starts everything, then plays the story. Exit 1 if one of its claims is false."""
    from aval.adapters.demo import GE_10
    from aval.adapters.demo.staging import Staging, UnknownHouse, play
    from aval.adapters.territory import TerritoryFault

    if territory is not None and not territory.is_file():
        raise Failure(say("file.absent", path=territory), following="aval territory check --help", code=Exit.NOT_FOUND)
    quiet_logs(terminal)
    if (folder / "demo.json").exists():
        raise Failure(say("demo.running", folder=folder), say("demo.running.why"), "aval demo down", code=Exit.CONFLICT)
    stays = sys.stdout.isatty() and not once
    staging = Staging(folder.absolute(), territory or GE_10, sites, without, seed, stays, not no_story)
    try:
        failures = _run(lambda: play(staging))
    except UnknownHouse as unknown:
        what, why = say("demo.site.unknown", finess=unknown.finess), nearest(unknown.finess, unknown.known)
        raise Failure(what, why, "aval territory check", code=Exit.NOT_FOUND) from unknown
    except TerritoryFault as fault:
        what = say(
            "territory.bad", path=staging.file, errors=speech().count(len(fault.problems), say("fault"), say("faults"))
        )
        raise Failure(what, str(fault.problems[0]), f"aval territory check {staging.file}") from fault
    if failures:
        raise Failure(say("demo.failed"), failures[0], "aval demo down")


@demo.verb("status", examples=("aval demo status", "aval demo status --json key,pid,alive"), reads=STATUS_FIELDS)
@_folder
def status(terminal: Terminal, folder: Path) -> None:
    """The processes of the demonstration; exit 8 when one of them is gone."""
    territory = _open(folder)
    rows = []
    for key, server in territory.record.servers.items():
        ready = territory.ready(key)
        rows.append(
            {
                "key": key,
                "name": server.name,
                "pid": server.pid,
                "alive": territory.is_alive(key),
                "address": server.address,
                "certificateSerial": ready.certificate_serial if ready is not None else "",
                "database": ready.database if ready is not None else "",
            }
        )
    if terminal.is_json:
        terminal.objects(rows)
    else:
        terminal.tell("SIMULATION")
        words = {True: ("CONNECTED", "✓"), False: ("UNREACHABLE", "✗")}
        heads = ["", "finess", say("col.name"), "pid", say("col.address"), "certificat"]
        shown: list[list[Cell | str]] = [
            [
                Cell(words[bool(row["alive"])][1], words[bool(row["alive"])][0]),
                str(row["key"]),
                str(row["name"]),
                number(str(row["pid"])),
                str(row["address"]),
                str(row["certificateSerial"])[:16],
            ]
            for row in rows
        ]
        terminal.table(heads, shown)
    if not all(row["alive"] for row in rows):
        click.get_current_context().exit(Exit.PARTIAL)


@demo.verb(
    "kill-site",
    examples=("aval demo kill-site 540000270", "aval demo kill-site 540000023 --dry-run"),
    writes=True,
)
@click.argument("finess")
@_folder
def kill_site(terminal: Terminal, finess: str, folder: Path) -> None:
    """Kills a node as a power cut would."""
    territory = _open(folder)
    if finess not in territory.houses:
        what = say("demo.site.unknown", finess=finess)
        raise Failure(what, nearest(finess, territory.houses), "aval demo status", code=Exit.NOT_FOUND)
    if terminal.dry_run:
        terminal.tell(say("dry.run"))
        return
    server = territory.node(finess)
    asyncio.run(territory.kill(finess))
    seconds = round(territory.record.link_lost_seconds)
    terminal.line(say("demo.killed", name=server.name, pid=server.pid, seconds=seconds))


@demo.verb("down", examples=("aval demo down", "aval demo down --dir .aval/demo"))
@_folder
def down(terminal: Terminal, folder: Path) -> None:
    """Stops every process, and removes the folder."""
    territory = _open(folder)
    asyncio.run(territory.down())
    terminal.tell(say("demo.down", folder=folder))


@demo.verb("feed", examples=("aval demo feed --dir .aval/demo", "aval demo feed"), internal=True)
@_folder
def feed(terminal: Terminal, folder: Path) -> None:
    """Feeds the houses; `up` starts it."""
    from aval.adapters.demo.feeding import feed_all

    quiet_logs(terminal)
    _run(lambda: feed_all(folder))


def _open(folder: Path) -> Any:
    from aval.adapters.demo.processes import Territory

    try:
        return Territory.open(folder)
    except FileNotFoundError:
        raise Failure(
            say("demo.none", folder=folder), say("demo.none.why"), "aval demo up", code=Exit.NOT_FOUND
        ) from None


def _run(work: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    """Runs it on the event loop; what cannot be done is told in three lines."""
    from aval.adapters.demo.processes import StartFailed

    try:
        return asyncio.run(work())
    except StartFailed as error:
        raise Failure(say("serve.refused"), str(error), "aval demo down") from error
