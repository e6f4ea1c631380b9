"""`aval node …` and `aval hub …`: starts the servers, and says how they are.

The only module of the adapters that reaches the composition roots of node and hub, and only when it starts one.
"""

import os
from datetime import timedelta
from functools import partial
from pathlib import Path

import click
import msgspec
from grpc_health.v1 import health_pb2

from aval.adapters.cli.command import Group
from aval.adapters.cli.exits import Exit, Failure
from aval.adapters.cli.needs import enum_name, finess_of
from aval.adapters.cli.session import Session, connected
from aval.adapters.cli.terminal import Cell, Terminal, fields_of, number, plain
from aval.adapters.cli.words import now, say, speech, why
from aval.adapters.dial import Line, pages
from aval.adapters.pki import write_atomically
from aval.v1 import availability_pb2, membership_pb2

node = Group(
    "node",
    "help.node",
    {
        "import": "aval.adapters.cli.imports:imports",
        "backup": "aval.adapters.cli.backups:backup_node",
        "restore": "aval.adapters.cli.backups:restore_node",
    },
)
hub = Group(
    "hub",
    "help.hub",
    {
        "backup": "aval.adapters.cli.backups:backup_hub",
        "restore": "aval.adapters.cli.backups:restore_hub",
        "orphans": "aval.adapters.cli.restored:orphans",
    },
)

STATUS_FIELDS = ("pid", "port", "metricsPort", "certificateSerial", "database", "health")
EVERY_ADDRESS = ("0.0.0.0:", "[::]:")
"""Listening there says nothing of where one can be dialled."""

SETTINGS_MODE = 0o600
"""A server's settings are its operator's own business."""


class Ready(msgspec.Struct, frozen=True):
    """What a server writes beside its settings once it serves, and removes when it stops."""

    pid: int
    port: int
    metrics_port: int
    certificate_serial: str
    database: str


def ready_path(settings: Path) -> Path:
    """Where a server says that it is ready."""
    return settings.with_name(f"{settings.stem}.ready.json")


def read_ready(settings: Path) -> Ready | None:
    """What a running server said of itself; None if it is not ready, or has died."""
    try:
        ready = msgspec.json.decode(ready_path(settings).read_bytes(), type=Ready)
        os.kill(ready.pid, 0)
    except (OSError, msgspec.DecodeError):
        return None
    return ready


_config = click.option("--config", type=click.Path(path_type=Path), required=True, metavar="FILE", help="opt.config")


@node.verb("serve", examples=("aval node serve --config node.toml", "aval node serve --config ch-toul/node.toml -q"))
@_config
def serve_node(terminal: Terminal, config: Path) -> None:
    """Serves an establishment's node until it is told to stop (SIGTERM)."""
    _present(config)
    terminal.detail(str(config))
    from aval.node.bootstrap import serve

    try:
        serve(config)
    except (ValueError, OSError, RuntimeError) as error:
        raise Failure(say("serve.refused"), why(error), f"aval doctor --config {config}") from error


@hub.verb("serve", examples=("aval hub serve --config hub.toml", "aval hub serve --config ge-10/hub.toml -q"))
@_config
def serve_hub(terminal: Terminal, config: Path) -> None:
    """Serves a territory's hub until it is told to stop (SIGTERM)."""
    _present(config)
    terminal.detail(str(config))
    from aval.hub.bootstrap import serve

    try:
        serve(config)
    except (ValueError, OSError, RuntimeError) as error:
        raise Failure(say("serve.refused"), why(error), f"aval doctor --config {config}") from error


@node.verb(
    "status", examples=("aval node status", "aval node status --config node.toml --json pid,port"), reads=STATUS_FIELDS
)
@click.option("--config", type=click.Path(path_type=Path), metavar="FILE", help="opt.config")
def node_status(terminal: Terminal, config: Path | None) -> None:
    """Whether a node runs: by its settings on this machine, else through the network."""
    _status(terminal, config, "node")


@hub.verb(
    "status", examples=("aval hub status", "aval hub status --config hub.toml --json pid,port"), reads=STATUS_FIELDS
)
@click.option("--config", type=click.Path(path_type=Path), metavar="FILE", help="opt.config")
def hub_status(terminal: Terminal, config: Path | None) -> None:
    """Whether the hub runs: by its settings on this machine, else through the network."""
    _status(terminal, config, "hub")


@hub.verb(
    "nodes",
    examples=("aval hub nodes", "aval hub nodes --json establishment,pendingCommands"),
    reads=fields_of(membership_pb2.Member.DESCRIPTOR),
)
def nodes(terminal: Terminal) -> None:
    """The members of the territory and how their links stand; exit 8 when some do not answer."""

    async def work(session: Session) -> list[membership_pb2.Member]:
        call = partial(session.ask, session.hub().membership.ListMembers)
        return [one async for page in pages(call, membership_pb2.ListMembersRequest()) for one in page.members]

    members = connected(terminal, work)
    if terminal.is_json:
        terminal.objects([plain(one) for one in members])
    else:
        heads = ("establishment", "name", "state", "silence", "address", "pending", "version")
        terminal.table([say(f"col.{head}") for head in heads], (_member_row(one) for one in members))
    away = [one for one in members if one.establishment.link.state != availability_pb2.Link.STATE_CONNECTED]
    connected_count = len(members) - len(away)
    terminal.tell(say("hub.members", connected=connected_count, all=len(members)))
    if away:
        terminal.tell(say("partial", names=", ".join(one.establishment.display_name for one in away)))
        click.get_current_context().exit(Exit.PARTIAL)


@node.verb(
    "init",
    examples=(
        "aval node init 540000023 --identity identite --hub hub.ght.example:7400 --announce 10.0.0.2:7401",
        "aval node init 540000023 --identity identite --hub 127.0.0.1:7400 --listen 127.0.0.1:7401",
    ),
    writes=True,
)
@click.argument("finess")
@click.option("--identity", type=click.Path(path_type=Path), required=True, help="opt.identity")
@click.option("--hub", "hub_address", metavar="HOST:PORT", help="opt.hub-address")
@click.option("--listen", metavar="HOST:PORT", default="0.0.0.0:7401", help="opt.listen")
@click.option("--announce", metavar="HOST:PORT", help="opt.announce")
@click.option("--config", type=click.Path(path_type=Path), default=Path("node.toml"), metavar="FILE", help="opt.config")
@click.option("--force", is_flag=True, help="opt.force")
def init_node(
    terminal: Terminal,
    finess: str,
    identity: Path,
    hub_address: str | None,
    listen: str,
    announce: str | None,
    config: Path,
    force: bool,
) -> None:
    """Writes the settings of a node. The identity comes from `aval pki issue`."""
    from aval.adapters.cli.session import certificate_of
    from aval.adapters.wire.credentials import identity_of
    from aval.kernel.finess import FinessET
    from aval.kernel.reasons import Reason, Refusal

    number_of_house = FinessET(finess)
    certificate = certificate_of(identity)
    if certificate is None:
        raise Failure(say("file.absent", path=identity / "cert.pem"), following="aval pki issue …", code=Exit.NOT_FOUND)
    who = identity_of(certificate)
    if who.establishment != number_of_house:
        raise Refusal(Reason.NOT_YOUR_ESTABLISHMENT, {"identity": str(who), "finess": finess})
    lines = [
        f'territory = "{who.territory}"',
        f'finess = "{number_of_house}"',
        f'identity = "{os.path.relpath(identity, config.parent)}"',
        f'listen = "{listen}"',
        'database = "node.db"',
    ]
    if hub_address and announce is None and listen.startswith(EVERY_ADDRESS):
        raise Failure(say("announce.needed", listen=listen), say("announce.needed.why"), code=Exit.USAGE)
    if announce is not None:
        lines.append(f'announce_address = "{announce}"')
    if hub_address:
        lines += ["", "[hub]", f'address = "{hub_address}"']
    _write_settings(terminal, config, lines, force)


@hub.verb(
    "init",
    examples=(
        "aval hub init --territory ge-10.toml --identity identite-hub",
        "aval hub init --territory ge-10.toml --identity identite-hub --cell cellule --management direction",
    ),
    writes=True,
)
@click.option("--territory", type=click.Path(path_type=Path), required=True, help="opt.territory")
@click.option("--identity", type=click.Path(path_type=Path), required=True, help="opt.identity")
@click.option("--listen", metavar="HOST:PORT", default="0.0.0.0:7400", help="opt.listen")
@click.option("--cell", multiple=True, metavar="NAME", help="opt.cell")
@click.option("--management", multiple=True, metavar="NAME", help="opt.management")
@click.option("--config", type=click.Path(path_type=Path), default=Path("hub.toml"), metavar="FILE", help="opt.config")
@click.option("--force", is_flag=True, help="opt.force")
def init_hub(
    terminal: Terminal,
    territory: Path,
    identity: Path,
    listen: str,
    cell: tuple[str, ...],
    management: tuple[str, ...],
    config: Path,
    force: bool,
) -> None:
    """Writes the settings of a hub. The territory file is checked first."""
    from aval.adapters.territory import TerritoryFault, load

    _present(territory)
    try:
        load(territory)
    except TerritoryFault as fault:
        raise Failure(
            say("territory.bad", path=territory, errors=len(fault.problems)),
            str(fault.problems[0]),
            f"aval territory check {territory}",
        ) from fault
    lines = [
        f'territory_file = "{os.path.relpath(territory, config.parent)}"',
        f'identity = "{os.path.relpath(identity, config.parent)}"',
        f'listen = "{listen}"',
        'database = "hub.db"',
        "",
        "[roles]",
        *(f'"{name}" = "cell"' for name in cell),
        *(f'"{name}" = "management"' for name in management),
    ]
    _write_settings(terminal, config, lines, force)


def _present(path: Path) -> None:
    if not path.is_file():
        raise Failure(say("file.absent", path=path), code=Exit.NOT_FOUND)


def _write_settings(terminal: Terminal, config: Path, lines: list[str], force: bool) -> None:
    if config.exists() and not force:
        raise Failure(say("file.exists", path=config), say("file.exists.why"), code=Exit.CONFLICT)
    text = "\n".join(lines) + "\n"
    if terminal.dry_run:
        terminal.tell(say("dry.run"))
        terminal.line(text)
        return
    config.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(config, text.encode(), mode=SETTINGS_MODE)
    terminal.line(say("file.written", path=config))


def _status(terminal: Terminal, config: Path | None, kind: str) -> None:
    found: dict[str, object] = {}
    if config is not None:
        _present(config)
        ready = read_ready(config)
        if ready is None:
            raise Failure(
                say("server.stopped", path=config), say("server.stopped.why"), f"aval {kind} serve --config {config}",
                code=Exit.UNREACHABLE,
            )  # fmt: skip
        found = {
            "pid": ready.pid,
            "port": ready.port,
            "metricsPort": ready.metrics_port,
            "certificateSerial": ready.certificate_serial,
            "database": ready.database,
        }
        if not terminal.is_json:
            values = {"pid": ready.pid, "port": ready.port, "database": ready.database}
            terminal.line(say("server.running", serial=ready.certificate_serial, **values))
    else:

        async def work(session: Session) -> tuple[str, str]:
            line: Line = session.hub() if kind == "hub" else session.node()
            answer = await session.ask(line.health.Check, health_pb2.HealthCheckRequest())
            address = session.context.hub if kind == "hub" else session.context.node
            return address, enum_name(health_pb2.HealthCheckResponse.ServingStatus, answer.status, "")

        address, status = connected(terminal, work)
        found = {"health": status, "port": int(address.rpartition(":")[2])}
        if not terminal.is_json:
            terminal.line(say("server.health", address=address, status=status))
    if terminal.is_json:
        terminal.one_object(found)


def _member_row(one: membership_pb2.Member) -> list[Cell | str]:
    link = one.establishment.link
    name = enum_name(availability_pb2.Link.State, link.state, "STATE_")
    silence: timedelta | None = link.silence.ToTimedelta() if link.HasField("silence") else None
    return [
        finess_of(one.establishment.name),
        one.establishment.display_name,
        Cell(speech().state(name), name),
        speech().age(silence, now()),
        one.address or "—",
        number(str(one.pending_commands)),
        one.version or "—",
    ]
