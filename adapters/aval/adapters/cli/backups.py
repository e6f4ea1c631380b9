"""`aval node backup|restore` and `aval hub backup|restore`: copies of a server's database, on the machine that has it.

A backup is taken of a server that runs. A restore is of one that is stopped; it never deletes what it replaces.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import click

from aval.adapters.cli.command import verb
from aval.adapters.cli.exits import Exit, Failure
from aval.adapters.cli.terminal import Terminal
from aval.adapters.cli.words import say, why

_config = click.option("--config", type=click.Path(path_type=Path), required=True, metavar="FILE", help="opt.config")
_to = click.option("--to", "target", type=click.Path(path_type=Path), required=True, metavar="FILE", help="opt.to")
_from = click.option(
    "--from", "backup", type=click.Path(path_type=Path), required=True, metavar="FILE", help="opt.from"
)
_force = click.option("--force", is_flag=True, help="opt.force")
_discard = click.option("--discard-newer", is_flag=True, help="opt.discard-newer")


class Kept(Protocol):
    """A copy, as its server's composition root tells of it."""

    @property
    def size_bytes(self) -> int:
        """Its bytes."""
        ...

    @property
    def aside(self) -> Path | None:
        """Where what it replaced was moved."""
        ...


def _done(work: Callable[[], Kept], refused: str, following: str) -> Kept:
    """What the work gives; its refusal in three lines."""
    try:
        return work()
    except (ValueError, OSError, RuntimeError) as error:
        raise Failure(say(refused), why(error), following, code=Exit.CONFLICT) from error


def _present(path: Path) -> None:
    if not path.is_file():
        raise Failure(say("file.absent", path=path), code=Exit.NOT_FOUND)


def _back_up(terminal: Terminal, server: str, config: Path, target: Path, work: Callable[[], Kept]) -> None:
    _present(config)
    if terminal.dry_run:
        terminal.tell(say("dry.run.local"))
        return
    kept = _done(work, "backup.refused", f"aval {server} status --config {config}")
    terminal.line(say("backup.taken", path=target, kilobytes=max(kept.size_bytes // 1024, 1)))


def _restore(terminal: Terminal, server: str, config: Path, backup: Path, work: Callable[[], Kept]) -> None:
    _present(config)
    _present(backup)
    if terminal.dry_run:
        terminal.tell(say("dry.run.local"))
        return
    terminal.agree(say("backup.ask", path=backup))
    kept = _done(work, "restore.refused", f"aval {server} status --config {config}")
    terminal.line(say("backup.restored", path=backup))
    if kept.aside is not None:
        terminal.tell(say("backup.aside", path=kept.aside))
    terminal.tell(say(f"backup.then.{server}"))


@verb(
    "backup",
    key="help.node.backup",
    examples=(
        "aval node backup --config node.toml --to sauvegardes/lundi.db",
        "aval node backup --config node.toml --to sauvegardes/nuit.db --force",
    ),
    writes=True,
)
@_config
@_to
@_force
def backup_node(terminal: Terminal, config: Path, target: Path, force: bool) -> None:
    """Copies a node's database, while it runs."""

    def work() -> Kept:
        from aval.node.bootstrap import back_up

        return back_up(config, target, replace=force)

    _back_up(terminal, "node", config, target, work)


@verb(
    "backup",
    key="help.hub.backup",
    examples=(
        "aval hub backup --config hub.toml --to sauvegardes/lundi.db",
        "aval hub backup --config hub.toml --to sauvegardes/nuit.dump --force",
    ),
    writes=True,
)
@_config
@_to
@_force
def backup_hub(terminal: Terminal, config: Path, target: Path, force: bool) -> None:
    """Copies a hub's database, while it runs; by pg_dump where it is PostgreSQL."""

    def work() -> Kept:
        from aval.hub.bootstrap import back_up

        return back_up(config, target, replace=force)

    _back_up(terminal, "hub", config, target, work)


@verb(
    "restore",
    key="help.node.restore",
    examples=(
        "aval node restore --config node.toml --from sauvegardes/lundi.db",
        "aval node restore --config node.toml --from sauvegardes/lundi.db --discard-newer --yes",
    ),
    writes=True,
)
@_config
@_from
@_discard
def restore_node(terminal: Terminal, config: Path, backup: Path, discard_newer: bool) -> None:
    """Puts a copy in the place of a stopped node's database."""

    def work() -> Kept:
        from aval.node.bootstrap import restore

        return restore(config, backup, discard_newer=discard_newer)

    _restore(terminal, "node", config, backup, work)


@verb(
    "restore",
    key="help.hub.restore",
    examples=(
        "aval hub restore --config hub.toml --from sauvegardes/lundi.db",
        "aval hub restore --config hub.toml --from sauvegardes/lundi.db --discard-newer --yes",
    ),
    writes=True,
)
@_config
@_from
@_discard
def restore_hub(terminal: Terminal, config: Path, backup: Path, discard_newer: bool) -> None:
    """Puts a copy in the place of a stopped hub's database."""

    def work() -> Kept:
        from aval.hub.bootstrap import restore

        return restore(config, backup, discard_newer=discard_newer)

    _restore(terminal, "hub", config, backup, work)
