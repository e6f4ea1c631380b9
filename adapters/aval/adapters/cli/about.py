"""`aval version`, `aval help exit-codes`, `aval completion`."""

import platform
from importlib.metadata import version as version_of

import click

from aval.adapters.cli.command import Group, Word, verb
from aval.adapters.cli.exits import Exit
from aval.adapters.cli.terminal import Terminal, number
from aval.adapters.cli.words import say

DISTRIBUTION = "aval-federation"
SHELLS = ("bash", "zsh", "fish")

help_group = Group("help", "help.help")


@help_group.verb(
    "exit-codes", examples=("aval help exit-codes", "aval help exit-codes --json all"), reads=("code", "meaning")
)
def exit_codes(terminal: Terminal) -> None:
    """The table of exit codes, for scripts."""
    if terminal.is_json:
        terminal.objects([{"code": int(one), "meaning": say(f"exit.{one.value}")} for one in Exit])
        return
    terminal.table(
        [say("col.code"), say("col.meaning")], ([number(str(one.value)), say(f"exit.{one.value}")] for one in Exit)
    )


@verb(
    "version",
    key="help.version",
    examples=("aval version", "aval version --json version,contract"),
    reads=("version", "contract", "python"),
)
def version(terminal: Terminal) -> None:
    """The version of Aval, of its contract and of Python."""
    found = {"version": version_of(DISTRIBUTION), "contract": "aval.v1", "python": platform.python_version()}
    if terminal.is_json:
        terminal.one_object(found)
    else:
        terminal.line(f"aval {found['version']} ({found['contract']}, Python {found['python']})")


@verb(
    "completion", key="help.completion", examples=("aval completion bash >> ~/.bashrc", "aval completion fish | source")
)
@click.argument("shell", type=Word({shell: shell for shell in SHELLS}, "shell"))
def completion(terminal: Terminal, shell: str) -> None:
    """A shell's completion of commands, options and words."""
    from click.shell_completion import get_completion_class

    from aval.adapters.cli.root import root

    kind = get_completion_class(shell)
    if kind is not None:
        made = kind(root, {}, "aval", "_AVAL_COMPLETE")
        terminal.line(made.source_template % made.source_vars())
