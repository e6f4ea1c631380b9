"""`aval context …`: who one is, and where the servers are."""

import os
from pathlib import Path

import click
import msgspec

from aval.adapters.cli.command import Group
from aval.adapters.cli.contexts import Context, Contexts, chosen, contexts_path, read_contexts, write_contexts
from aval.adapters.cli.exits import Exit, Failure
from aval.adapters.cli.session import certificate_of
from aval.adapters.cli.terminal import Terminal
from aval.adapters.cli.words import nearest, say

FIELDS = ("name", "current", "identity", "hub", "node", "finess", "authority")

context = Group("context", "help.context")


@context.verb("list", examples=("aval context list", "aval context list --json name,hub"), reads=FIELDS)
def list_contexts(terminal: Terminal) -> None:
    """The contexts of the file in use."""
    path = contexts_path()
    known = read_contexts(path)
    terminal.detail(str(path))
    current = terminal.context or known.current
    if terminal.is_json:
        terminal.objects(
            [
                {"name": name, "current": name == current, **msgspec.to_builtins(one)}
                for name, one in known.contexts.items()
            ]
        )
        return
    heads = ["", say("col.name"), say("col.hub"), say("col.node"), say("col.identity")]
    rows = [
        ["*" if name == current else " ", name, one.hub or "—", one.node or "—", one.identity]
        for name, one in known.contexts.items()
    ]
    terminal.table(heads, rows)


@context.verb("use", examples=("aval context use regulatrice", "aval context use cellule --dry-run"), writes=True)
@click.argument("name")
def use(terminal: Terminal, name: str) -> None:
    """Makes a context the current one."""
    path = contexts_path()
    known = read_contexts(path)
    if name not in known.contexts:
        why = nearest(name, known.contexts) or say("context.known", names=", ".join(known.contexts) or "—")
        raise Failure(say("context.unknown", name=name), why, "aval context list", code=Exit.NOT_FOUND)
    if terminal.dry_run:
        terminal.tell(say("dry.run"))
        return
    write_contexts(path, msgspec.structs.replace(known, current=name))
    terminal.tell(say("context.used", name=name))


@context.verb(
    "add",
    examples=(
        "aval context add durand --identity durand --hub hub.ght.example:7400",
        "aval context add cadre --identity cadre --hub 10.0.0.1:7400 --node 10.0.0.2:7401",
    ),
    writes=True,
)
@click.argument("name")
@click.option("--identity", type=click.Path(path_type=Path), required=True, help="opt.own-identity")
@click.option("--hub", default="", metavar="HOST:PORT", help="opt.hub-address")
@click.option("--node", default="", metavar="HOST:PORT", help="opt.node-address")
@click.option("--force", is_flag=True, help="opt.force")
def add(terminal: Terminal, name: str, identity: Path, hub: str, node: str, force: bool) -> None:
    """Adds a context and makes it the current one: whose certificate one shows, and to whom."""
    path = contexts_path()
    known = read_contexts(path)
    if name in known.contexts and not force:
        raise Failure(say("context.exists", name=name), say("file.exists.why"), code=Exit.CONFLICT)
    if not (hub or node):
        raise Failure(say("context.no.hub", name=name), say("context.no.server.why"), code=Exit.USAGE)
    if certificate_of(identity) is None:
        raise Failure(say("file.absent", path=identity / "cert.pem"), following="aval pki issue …", code=Exit.NOT_FOUND)
    if terminal.dry_run:
        terminal.tell(say("dry.run"))
        return
    made = Context(identity=os.path.relpath(identity, path.parent), hub=hub, node=node)
    write_contexts(path, Contexts(current=name, contexts={**known.contexts, name: made}))
    terminal.tell(say("context.used", name=name))


@context.verb("show", examples=("aval context show", "aval context show --json identity,hub"), reads=FIELDS)
def show(terminal: Terminal) -> None:
    """The current context, and the identity in its certificate."""
    from aval.adapters.wire.credentials import identity_of

    name, one, bundle = chosen(terminal.context)
    certificate = certificate_of(bundle)
    identity = str(identity_of(certificate)) if certificate is not None else str(bundle)
    if terminal.is_json:
        terminal.one_object({"name": name, "current": True, **msgspec.to_builtins(one), "identity": identity})
        return
    terminal.line(f"{name}\n  {identity}\n  {say('col.hub')} {one.hub or '—'}\n  {say('col.node')} {one.node or '—'}")
