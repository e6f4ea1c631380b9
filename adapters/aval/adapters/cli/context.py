"""`aval context …`: who one is, and where the servers are."""

import click
import msgspec

from aval.adapters.cli.command import Group
from aval.adapters.cli.contexts import chosen, contexts_path, read_contexts, write_contexts
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
