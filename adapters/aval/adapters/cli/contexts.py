"""Contexts: who one is, and where the hub and one's node are, under a name.

A small TOML file:

    current = "regulatrice"

    [contexts.regulatrice]
    identity = "people/regulatrice"    # a bundle, relative to this file
    hub = "127.0.0.1:50051"
    node = "127.0.0.1:50052"           # the node of the identity's establishment, or of `finess`

The file is that of `AVAL_CONTEXTS`; else that of a demonstration running in this folder; else the user's own.
"""

import os
from collections.abc import Mapping
from pathlib import Path

import msgspec

from aval.adapters.cli.exits import Exit, Failure
from aval.adapters.cli.words import nearest, say, why
from aval.adapters.pki import write_atomically
from aval.kernel.declared import declared

DEMONSTRATION = Path(".aval/demo/contexts.toml")
"""Where a demonstration leaves its contexts, relative to the folder in which it was started."""


DEMONSTRATION_RECORD = "demo.json"
"""What lies beside the contexts of a demonstration, and of nothing else."""


class Context(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One context. `finess` is needed only for an identity that belongs to no establishment; `authority` is the DNS
    name that a server's certificate must bear, computed from the identity's territory if absent; `ror` names the
    settings of the publisher that runs on this machine (`aval ror push`), relative to this file, so that `units show`
    can say what the ROR knows."""

    identity: str
    hub: str = ""
    node: str = ""
    finess: str = ""
    authority: str = ""
    ror: str = ""


class Contexts(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A file of contexts."""

    current: str = ""
    contexts: dict[str, Context] = {}


def contexts_path(environment: Mapping[str, str] = os.environ) -> Path:
    """The file that is read and written."""
    if given := environment.get("AVAL_CONTEXTS"):
        return Path(given)
    if DEMONSTRATION.exists():
        return DEMONSTRATION
    base = environment.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    return Path(base) / "aval" / "contexts.toml"


def is_demonstration(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether the contexts are those of a demonstration: then all that is read is invented, and must say so."""
    return (contexts_path(environment).parent / DEMONSTRATION_RECORD).is_file()


def read_contexts(path: Path) -> Contexts:
    """The contexts in a file; none if it does not exist. Raises `Failure`."""
    try:
        return declared(path, path.read_bytes(), Contexts)
    except FileNotFoundError:
        return Contexts()
    except (OSError, ValueError) as error:
        raise Failure(say("context.unreadable", path=path), why(error), code=Exit.USAGE) from error


def write_contexts(path: Path, contexts: Contexts) -> None:
    """Replaces the file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, contexts_text(contexts).encode(), mode=0o600)


def contexts_text(contexts: Contexts) -> str:
    """The contexts as TOML."""
    lines = [f"current = {_quoted(contexts.current)}"]
    for name, context in contexts.contexts.items():
        lines += ["", f"[contexts.{_quoted(name)}]"]
        given = msgspec.to_builtins(context)
        lines += [f"{key} = {_quoted(value)}" for key, value in given.items() if value]
    return "\n".join(lines) + "\n"


def chosen(name: str | None, environment: Mapping[str, str] = os.environ) -> tuple[str, Context, Path]:
    """The context asked for by name, by `AVAL_CONTEXT`, or the current one; and its bundle. Raises `Failure`."""
    path = contexts_path(environment)
    known = read_contexts(path)
    wanted = name or environment.get("AVAL_CONTEXT") or known.current
    if not wanted:
        raise Failure(
            say("context.none"),
            say("context.none.why", path=path),
            "aval demo up",
            reason="NO_CONTEXT",
            code=Exit.USAGE,
        )
    context = known.contexts.get(wanted)
    if context is None:
        raise Failure(
            say("context.unknown", name=wanted),
            nearest(wanted, known.contexts) or say("context.known", names=", ".join(known.contexts) or "—"),
            "aval context list",
            code=Exit.NOT_FOUND,
        )
    return wanted, context, path.parent / context.identity


def _quoted(text: str) -> str:
    return msgspec.json.encode(text).decode()
