"""`aval hl7 …`: the HL7 v2 interface of an establishment: tries messages, serves, replays, reconciles."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from ipaddress import ip_address
from pathlib import Path

import click

from aval.adapters.cli.command import Group
from aval.adapters.cli.exits import Exit, Failure
from aval.adapters.cli.terminal import Terminal, number
from aval.adapters.cli.words import now, say, why
from aval.adapters.clock import SystemClock
from aval.adapters.dial import Caller
from aval.adapters.hl7v2.census import CensusStream, NodeAway, NodeDenies
from aval.adapters.hl7v2.checking import Checked, Findings, Outcome, practice
from aval.adapters.hl7v2.checking import check as check_files
from aval.adapters.hl7v2.faults import Fault
from aval.adapters.hl7v2.mapping import Mapping, read_mapping
from aval.adapters.hl7v2.meaning import Customs, Said
from aval.adapters.hl7v2.querying import ask
from aval.adapters.hl7v2.reconciling import Finding, census_of, compare, correction, said_in
from aval.adapters.hl7v2.replaying import messages_in
from aval.adapters.hl7v2.replaying import replay as replay_files
from aval.adapters.hl7v2.running import customs_of
from aval.adapters.hl7v2.sending import Sender, Unanswered, code_of
from aval.adapters.hl7v2.settings import Settings, read_settings
from aval.adapters.hl7v2.stays import Phase
from aval.kernel.declared import DeclaredFault
from aval.v1 import census_pb2

hl7 = Group("hl7", "help.hl7")

CHECK_FIELDS = ("file", "number", "event", "patient", "outcome", "phase", "place", "unit", "bed", "fault", "code")

_paths = click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE|DIR…")
_config = click.option("--config", type=click.Path(path_type=Path), required=True, metavar="FILE", help="opt.config")


@hl7.verb("serve", examples=("aval hl7 serve --config hl7.toml", "aval hl7 serve --config ch-toul/hl7.toml -q"))
@_config
def serve(terminal: Terminal, config: Path) -> None:
    """Serves the HL7 v2 interface until it is told to stop (SIGTERM)."""
    terminal.detail(str(config))
    from aval.adapters.hl7v2.running import serve as run

    try:
        run(config)
    except (ValueError, OSError, RuntimeError) as error:
        raise Failure(say("serve.refused"), why(error), "aval hl7 check messages/") from error


@hl7.verb(
    "check",
    examples=(
        "aval hl7 check messages/",
        "aval hl7 check messages/ --config hl7.toml",
        "aval hl7 check A01.hl7 --map hl7-map.toml --json file,event,outcome,unit",
    ),
    reads=CHECK_FIELDS,
)
@_paths
@click.option("--map", "mapping", type=click.Path(path_type=Path), metavar="FILE", help="opt.hl7-map")
@click.option("--config", type=click.Path(path_type=Path), metavar="FILE", help="opt.hl7-config")
def check(terminal: Terminal, paths: Sequence[Path], mapping: Path | None, config: Path | None) -> None:
    """What messages would do, and what of them is not mapped. Nothing is sent."""
    try:
        settings = None if config is None else read_settings(config)
    except DeclaredFault as fault:
        raise Failure(say("hl7.settings"), why(fault), code=Exit.USAGE) from fault
    if mapping is None and settings is not None:
        mapping = settings.mapping
    codes = None if mapping is None else _mapping(mapping)
    try:
        findings = check_files(paths, codes, practice(settings))
    except OSError as error:
        raise Failure(say("file.unreadable", path=error.filename or ""), str(error), code=Exit.NOT_FOUND) from error
    if terminal.is_json:
        terminal.objects([_plain(one) for one in findings.checked])
    else:
        heads = [say(f"col.{head}") for head in ("file", "event", "hl7-what", "hl7-after")]
        terminal.table(heads, ([one.file, _event(one), _said(one), _after(one)] for one in findings.checked))
    _sum_up(terminal, findings)


@hl7.verb(
    "replay",
    examples=(
        "aval hl7 replay journee/ --to 127.0.0.1:2575 --dry-run",
        "aval hl7 replay journee/ --to 127.0.0.1:2575 --speed 60",
    ),
    writes=True,
)
@_paths
@click.option("--to", "address", required=True, metavar="HOST:PORT", help="opt.hl7-to")
@click.option("--tls", type=click.Path(path_type=Path), metavar="DIR", help="opt.hl7-tls")
@click.option("--speed", type=click.FloatRange(min=0.0), default=0.0, metavar="N", help="opt.hl7-speed")
def replay(terminal: Terminal, paths: Sequence[Path], address: str, tls: Path | None, speed: float) -> None:
    """Sends messages of files again, at their own pace times `--speed`; 0: as fast as they are answered."""
    host, port = _address(address, tls)
    try:
        if terminal.dry_run:
            terminal.line(say("hl7.replay.dry", count=sum(1 for _ in messages_in(paths))))
            return
        codes = asyncio.run(
            replay_files(
                paths,
                lambda: Sender(host, port, tls),
                speed,
                SystemClock(),
                lambda file, code: terminal.detail(f"{code} {file}"),
            )
        )
    except Fault as fault:
        raise Failure(say("hl7.unreadable"), _fault(fault), "aval hl7 check") from fault
    except (Unanswered, OSError) as error:
        raise Failure(say("hl7.no.answer", address=address), str(error), code=Exit.UNREACHABLE) from error
    for code, count in sorted(codes.items()):
        terminal.line(f"{code or '?'}\t{count}")
    if set(codes) - {"AA"}:
        click.get_current_context().exit(Exit.CONFLICT)


@hl7.verb(
    "reconcile",
    examples=(
        "aval hl7 reconcile --config hl7.toml --dry-run",
        "aval hl7 reconcile recensement.hl7 --config hl7.toml --yes",
    ),
    writes=True,
)
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path), metavar="[FILE|DIR…]")
@_config
@click.option("--tls", type=click.Path(path_type=Path), metavar="DIR", help="opt.hl7-tls")
def reconcile(terminal: Terminal, paths: Sequence[Path], config: Path, tls: Path | None) -> None:
    """Compares the hospital's complete census with the node's; a person's word applies the differences."""
    try:
        settings = read_settings(config)
        codes = _mapping(settings.mapping)
        customs = customs_of(settings)
        said = said_in(paths, customs) if paths else asyncio.run(_asked(settings, codes, customs))
        hospital = census_of(said, codes)
    except (DeclaredFault, RuntimeError) as error:
        raise Failure(say("hl7.settings"), why(error), code=Exit.USAGE) from error
    except Fault as fault:
        raise Failure(say("hl7.unreadable"), _fault(fault), "aval hl7 check") from fault
    except OSError as error:
        raise Failure(say("file.unreadable", path=error.filename or ""), str(error), code=Exit.NOT_FOUND) from error
    if not hospital:
        raise Failure(say("hl7.census.empty"), say("hl7.census.empty.why"), "aval hl7 check", code=Exit.NOT_FOUND)
    stays = asyncio.run(_stays(settings))
    if not paths:  # of other units nothing was asked
        stays = [stay for stay in stays if stay.unit.rpartition("/")[2] in codes.units]
    findings = compare(hospital, stays, settings.source)
    heads = [say(f"col.{head}") for head in ("hl7-difference", "hl7-stay", "hl7-hospital", "hl7-node")]
    terminal.table(heads, (_row(one) for one in findings))
    terminal.tell(say("hl7.differences", count=len(findings), stays=len(hospital)))
    if not findings or terminal.dry_run:
        return
    terminal.agree(say("hl7.apply", count=len(findings)))
    host = "127.0.0.1" if ip_address(settings.host).is_unspecified else settings.host
    codes_told = asyncio.run(_correct(findings, Sender(host, settings.port, tls)))
    terminal.tell(say("hl7.applied", count=codes_told.count("AA"), all=len(findings)))
    if set(codes_told) != {"AA"}:
        click.get_current_context().exit(Exit.CONFLICT)


async def _asked(settings: Settings, codes: Mapping, customs: Customs) -> list[Said]:
    """What the hospital's system answers for the units of the mapping."""
    if settings.supplier is None:
        raise Failure(say("hl7.nobody.asked"), say("hl7.nobody.asked.why"), code=Exit.USAGE)
    if beginnings := [code for code in codes.codes if code.endswith("*")]:
        raise Failure(say("hl7.beginnings", codes=", ".join(beginnings)), code=Exit.USAGE)
    asked = settings.supplier
    try:
        async with Sender(asked.host, asked.port, settings.tls) as line:
            return await ask(line, asked, codes.codes, customs, now())
    except (Unanswered, OSError, TimeoutError) as error:
        address = f"{asked.host}:{asked.port}"
        raise Failure(say("hl7.no.answer", address=address), str(error), code=Exit.UNREACHABLE) from error


async def _stays(settings: Settings) -> list[census_pb2.Stay]:
    async with Caller(settings.identity) as caller:
        channel = caller.node(settings.node, settings.finess).channel
        try:
            return await CensusStream(channel, settings.house, settings.source).stays()
        except (NodeAway, NodeDenies) as error:
            raise Failure(say("hl7.no.answer", address=settings.node), str(error), code=Exit.UNREACHABLE) from error


async def _correct(findings: Sequence[Finding], sender: Sender) -> list[str]:
    try:
        async with sender as line:
            return [code_of(await line.send(correction(one, now(), n))) for n, one in enumerate(findings)]
    except (Unanswered, OSError) as error:
        raise Failure(say("hl7.no.answer", address="aval hl7 serve"), str(error), code=Exit.UNREACHABLE) from error


def _row(finding: Finding) -> list[str]:
    return [
        say(f"hl7.difference.{finding.kind}"),
        finding.stay[:10],
        " ".join((finding.unit, finding.bed)).strip() or "—",
        " ".join((finding.node_unit, finding.node_bed)).strip() or "—",
    ]


def _mapping(path: Path) -> Mapping:
    try:
        return read_mapping(path)
    except DeclaredFault as fault:
        raise Failure(say("map.bad"), why(fault), code=Exit.USAGE) from fault


def _address(text: str, tls: Path | None) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not (host and colon and port.isdecimal()):
        raise Failure(say("hl7.address", word=text), code=Exit.USAGE)
    try:
        loopback = ip_address(host.strip("[]")).is_loopback
    except ValueError:
        loopback = host == "localhost"
    if tls is None and not loopback:
        raise Failure(say("hl7.clear"), say("hl7.clear.why"), code=Exit.USAGE)
    return host.strip("[]"), int(port)


def _plain(one: Checked) -> dict[str, object]:
    return {
        "file": one.file,
        "number": one.number,
        "event": one.event,
        "patient": one.patient,
        "outcome": one.outcome.value,
        "phase": one.phase.value,
        "place": _codes(one),
        "unit": one.unit,
        "bed": one.bed,
        "fault": ",".join(fault.place for fault in (one.fault, *one.passed_over) if fault),
        "code": "" if one.outcome is Outcome.NO_MESSAGE else one.fault.severity.value if one.fault else "AA",
    }


def _event(one: Checked) -> str:
    return one.event if one.patient == 1 else f"{one.event}[{one.patient}]"


def _codes(one: Checked) -> str:
    place = one.place
    return "^".join((place.unit, place.room, place.bed, place.facility)).rstrip("^") if place else ""


def _said(one: Checked) -> str:
    if one.fault is not None:
        return f"{one.fault.severity.value} {_fault(one.fault)}"
    told = say(f"hl7.outcome.{one.outcome}")
    without = ", ".join(_fault(fault) for fault in one.passed_over)
    return say("hl7.passed-over", told=told, faults=without) if without else told


def _after(one: Checked) -> str:
    if one.outcome in (Outcome.REFUSED, Outcome.NO_EFFECT, Outcome.NO_MESSAGE):
        return ""
    where = f"{one.unit} {one.bed}".strip()
    if not where and one.phase in (Phase.PRESENT, Phase.EXPECTED):
        where = _codes(one)
    return f"{say(f'hl7.phase.{one.phase}')} {where}".strip()


def _fault(fault: Fault) -> str:
    return say(f"hl7.fault.{fault.code}", place=fault.place)


_HINTS = {("ZBE", 0): "hl7.hint.zbe", ("PV1", 3): "hl7.hint.unit", ("PV1", 19): "hl7.hint.visit"}
"""What a house can do about what its own system always leaves out."""


def _hint(fault: Fault) -> str:
    return _HINTS.get((fault.segment, fault.number), "")


def _sum_up(terminal: Terminal, findings: Findings) -> None:
    terminal.tell(say("hl7.total", count=findings.messages))
    for outcome, count in sorted(findings.outcomes.items()):
        terminal.tell(f"  {number(str(count)).text:>6}  {say(f'hl7.outcome.{outcome}')}")
    for key, found in (("hl7.units", findings.unmapped_units), ("hl7.beds", findings.unmapped_beds)):
        if found:
            terminal.tell(say(key, names=", ".join(f"{name} ({count})" for name, count in found.most_common(40))))
    refused = Counter(_hint(one.fault) for one in findings.checked if one.fault is not None)
    for hint, count in sorted((hint, count) for hint, count in refused.items() if hint):
        terminal.tell(say(hint, count=count))
    for file, cut in findings.cut_off:
        terminal.tell(say("hl7.cut-off", file=file, place=cut.place))
    habits = ", ".join(f"{name} {count}" for name, count in findings.habits.endings.most_common())
    charsets = ", ".join(f"{name} {count}" for name, count in findings.habits.charsets.most_common())
    terminal.tell(say("hl7.habits", endings=habits or "—", charsets=charsets or "—"))
