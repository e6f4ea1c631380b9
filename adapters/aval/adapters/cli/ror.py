"""`aval ror …`: the house's figures, told once to the national register of resources (ROR)."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import click

from aval.adapters.cli.command import Group
from aval.adapters.cli.exits import Exit, Failure
from aval.adapters.cli.needs import short_unit
from aval.adapters.cli.session import quiet_logs
from aval.adapters.cli.terminal import Cell, Terminal, number
from aval.adapters.cli.words import now, say, speech, why
from aval.kernel.declared import DeclaredFault

if TYPE_CHECKING:
    from aval.adapters.fhir.outbox import Outbox, UnitTold
    from aval.adapters.fhir.settings import PublisherSettings

Result = TypeVar("Result")

ror = Group("ror", "help.ror")

PUSH_FIELDS = ("unit", "place", "operation", "indicator", "count")
STATUS_FIELDS = ("unit", "sentTime", "waiting", "since", "trouble", "words", "withheld", "disputed", "wins")

DRY_RUN_ROWS_MAX = 100_000
"""A dry run shows everything: 1,000 units with all their indicators are fewer."""

_config = click.option("--config", type=click.Path(path_type=Path), required=True, metavar="FILE", help="opt.config")


class _Round(NamedTuple):
    """What one reading and sending came to: the rows that a dry run would send, or the units as they then stand."""

    rows: list[dict[str, object]]
    told: "list[UnitTold]"


@ror.verb(
    "push",
    examples=("aval ror push --config ror.toml", "aval ror push --config ror.toml --dry-run"),
    reads=PUSH_FIELDS,
    writes=True,
)
@_config
@click.option("--once", is_flag=True, help="opt.ror-once")
def push(terminal: Terminal, config: Path, once: bool) -> None:
    """Sends the ROR what changed, until stopped (SIGTERM); exit 8 with `--once` when some figures were not taken."""
    settings = _settings(config)
    if not once and not terminal.dry_run:
        from aval.adapters.fhir.serving import publish

        _run(lambda: publish(settings, config))
        return
    quiet_logs(terminal)
    done = _run(lambda: asyncio.run(_round(settings, config, dry_run=terminal.dry_run)))
    if terminal.dry_run:
        _show_rows(terminal, done.rows)
        terminal.tell(say("dry.run"))
        return
    for one in done.told:
        for line in told_said(one):
            terminal.line(f"{short_unit(one.unit)}  {line}")
    if any(one.waiting for one in done.told):
        click.get_current_context().exit(Exit.PARTIAL)


@ror.verb(
    "status",
    examples=("aval ror status --config ror.toml", "aval ror status --config ror.toml --json unit,waiting,trouble"),
    reads=STATUS_FIELDS,
)
@_config
def status(terminal: Terminal, config: Path) -> None:
    """What the ROR has of each unit, or why not; exit 10 when something waits for a person."""
    settings = _settings(config)
    outbox = _outbox(settings, config)
    try:
        told = outbox.all_told()
    finally:
        outbox.close()
    if terminal.is_json:
        terminal.objects([_plain(one, settings) for one in told])
    else:
        heads = [say(f"col.{head}") for head in ("unit", "ror")]
        terminal.table(
            heads,
            [
                [short_unit(one.unit), Cell(line, "bad" if one.trouble else "")]
                for one in told
                for line in told_said(one)
            ],
        )
        terminal.tell(say(f"ror.wins.{settings.ror.wins}"))
    if any(one.trouble for one in told):
        click.get_current_context().exit(Exit.PROBLEM_FOUND)


@ror.verb(
    "retry",
    examples=("aval ror retry 540000023/U107 --config ror.toml", "aval ror retry --config ror.toml --yes"),
    writes=True,
)
@click.argument("unit", required=False)
@_config
def retry(terminal: Terminal, unit: str | None, config: Path) -> None:
    """Says that what held figures back is mended: they are due now. Without a unit, all of them."""
    from aval.adapters.cli.needs import unit_name

    name = None if unit is None else unit_name(unit, "")
    outbox = _outbox(_settings(config), config, write=not terminal.dry_run)
    try:
        if terminal.dry_run:
            waiting = sum(one.waiting for one in outbox.all_told() if name in (None, one.unit))
            terminal.tell(say("dry.run"))
        else:
            waiting = outbox.retry(name, now())
    finally:
        outbox.close()
    terminal.line(say("ror.retried", count=waiting))


# --- what units show says --------------------------------------------------------------------------------------------


def told_said(one: "UnitTold") -> Iterator[str]:
    """« envoyé au ROR il y a 6 min », or why not; then each figure that the ROR gives otherwise."""
    from aval.adapters.fhir.ror import Trouble

    age = speech().age(now() - one.sent_time if one.sent_time else None, now())
    if one.withheld:
        yield say("ror.withheld", why=say(f"ror.{one.withheld}"))
    elif one.waiting:
        since = speech().age(now() - one.since if one.since else None, now())
        why = say(f"ror.{one.trouble.value}") if one.trouble is not Trouble.NONE else say("ror.soon")
        yield say("ror.waiting", count=one.waiting, why=why, since=since)
        if one.words:
            yield say("ror.words", words=one.words)
        if one.sent_time:
            yield say("ror.last", age=age)
    elif one.sent_time:
        yield say("ror.sent", age=age)
    for indicator, ours, theirs, until in one.disputed:
        figures = {"indicator": indicator.label, "theirs": theirs, "ours": "—" if ours is None else ours}
        if until is None:
            yield say("ror.disputed.aval", **figures)
        else:
            yield say("ror.disputed.ror", until=speech().moment(until, now()), **figures)


def told_of(config: Path, unit: str) -> list[str]:
    """What is said of one unit where the context names a publisher's settings; its trouble reading them is said too."""
    from aval.adapters.fhir.outbox import Outbox, OutboxUnusable
    from aval.adapters.fhir.settings import read_publisher

    try:
        path = config.parent / read_publisher(config).database
    except DeclaredFault:
        return [say("ror.unknown", why=say("ror.bad.settings"))]
    try:
        outbox = Outbox.readable(path)
    except OutboxUnusable:
        return [say("ror.unknown", why=say("ror.bad.outbox" if path.exists() else "ror.no.outbox"))]
    try:
        told = outbox.told(unit)
    finally:
        outbox.close()
    return [say("ror.never")] if told is None else list(told_said(told))


# --- inside ----------------------------------------------------------------------------------------------------------


def _settings(config: Path) -> "PublisherSettings":
    from aval.adapters.fhir.settings import read_publisher

    if not config.is_file():
        raise Failure(say("file.absent", path=config), code=Exit.NOT_FOUND)
    try:
        return read_publisher(config)
    except DeclaredFault as error:
        raise Failure(say("ror.bad.settings"), why(error), code=Exit.USAGE) from error


def _run(work: Callable[[], Result]) -> Result:
    from aval.adapters.fhir.outbox import OutboxUnusable
    from aval.adapters.wire import BundleUnusable

    try:
        return work()
    except (DeclaredFault, OutboxUnusable, BundleUnusable) as error:
        raise Failure(say("serve.refused"), why(error), code=Exit.USAGE) from error


async def _round(settings: "PublisherSettings", config: Path, *, dry_run: bool) -> _Round:
    from aval.adapters.clock import SystemClock
    from aval.adapters.fhir.serving import publisher_of
    from aval.adapters.telemetry import Telemetry
    from aval.adapters.wire import Credentials

    clock = SystemClock()
    credentials = Credentials(config.parent / settings.identity, clock, Telemetry(clock))
    async with AsyncExitStack() as closing:
        publisher, register = await publisher_of(settings, config, credentials, clock, closing, dry_run=dry_run)
        await publisher.read()
        if dry_run:
            due = publisher.outbox.due(clock.now(), DRY_RUN_ROWS_MAX)
            rows: list[dict[str, object]] = [
                {
                    "unit": one.unit,
                    "place": publisher.external(one.unit),
                    "operation": "delete" if one.capacity is None else "replace",
                    "indicator": one.indicator.label,
                    "count": None if one.capacity is None else one.capacity.count,
                }
                for one in due
            ]
            return _Round(rows, [])
        await publisher.push(register)
        return _Round([], publisher.outbox.all_told())


def _outbox(settings: "PublisherSettings", config: Path, *, write: bool = False) -> "Outbox":
    from aval.adapters.fhir.outbox import Outbox, OutboxUnusable

    try:
        path = config.parent / settings.database
        return Outbox.open(path, make=False) if write else Outbox.readable(path)
    except OutboxUnusable as error:
        following = f"aval ror push --config {config}"
        raise Failure(say("ror.no.outbox"), str(error), following, code=Exit.NOT_FOUND) from error


def _show_rows(terminal: Terminal, rows: list[dict[str, object]]) -> None:
    if terminal.is_json:
        terminal.objects(rows)
        return
    heads = [say(f"col.{head}") for head in ("unit", "place", "operation", "indicator", "count")]
    terminal.table(
        heads,
        [
            [
                short_unit(str(one["unit"])),
                str(one["place"]),
                str(one["operation"]),
                str(one["indicator"]),
                number("—" if one["count"] is None else str(one["count"])),
            ]
            for one in rows
        ],
    )


def _plain(one: "UnitTold", settings: "PublisherSettings") -> dict[str, object]:
    return {
        "unit": one.unit,
        "sentTime": one.sent_time.isoformat() if one.sent_time else None,
        "waiting": one.waiting,
        "since": one.since.isoformat() if one.since else None,
        "trouble": one.trouble.value,
        "words": one.words,
        "withheld": one.withheld,
        "disputed": [
            {"indicator": indicator.key, "ours": ours, "ror": theirs, "until": until.isoformat() if until else None}
            for indicator, ours, theirs, until in one.disputed
        ],
        "wins": settings.ror.wins.value,
    }
