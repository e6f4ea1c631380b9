"""Every command of `aval` helps, by the same form: two examples first, JSON on what reads, a dry run on what writes."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner

from aval.adapters.cli.command import Group, Verb
from aval.adapters.cli.root import root

EXAMPLES_MIN = 2

WRITING_BY_NATURE = {"up", "down", "feed", "serve", "folder"}
"""What starts and stops processes has nothing to show beforehand."""


def commands(group: Group, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Each command of the tree, with the words that lead to it."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None, name
        yield (*path, name), command
        if isinstance(command, Group):
            yield from commands(command, (*path, name))


EVERY = list(commands(root))
VERBS = [(path, command) for path, command in EVERY if isinstance(command, Verb)]


def test_the_commands_that_people_were_promised_are_there() -> None:
    promised = {
        ("find",), ("doctor",), ("report",), ("version",), ("completion",), ("help", "exit-codes"),
        *(("context", verb) for verb in ("list", "use", "show")),
        *(("demo", verb) for verb in ("up", "status", "kill-site", "down")),
        *(("pki", verb) for verb in ("init", "issue")),
        *(("node", verb) for verb in ("serve", "status", "init", "backup", "restore")),
        *(("hub", verb) for verb in ("serve", "status", "nodes", "init", "backup", "restore", "orphans")),
        *(("units", verb) for verb in ("list", "show", "set", "confirm", "correct", "unverified", "verify")),
        *(("policy", verb) for verb in ("check", "explain")),
        ("territory", "check"), ("cert", "show"),
        *(("request", verb) for verb in ("create", "list", "show", "ask", "confirm", "cancel", "release", "watch")),
        *(("request", verb) for verb in ("note", "details", "reschedule", "take-over", "notify", "update", "renew")),
        *(("reservation", verb) for verb in ("list", "show", "accept", "decline", "waitlist", "withdraw", "admit")),
        *(("reservation", verb) for verb in ("reoffer", "ask-details", "settle-note", "seen", "tick")),
    }  # fmt: skip
    assert promised <= {path for path, _ in EVERY}


@pytest.mark.parametrize("path", [path for path, _ in EVERY], ids=" ".join)
def test_each_command_helps_with_two_examples_before_all(path: tuple[str, ...]) -> None:
    shown = CliRunner().invoke(root, [*path, "--help"], prog_name="aval")
    assert shown.exit_code == 0, shown.output
    lines = [line.strip() for line in shown.output.splitlines()]
    assert lines[0] in ("Exemples\u00a0:", "Examples:")
    examples = [line for line in lines if line.startswith("aval ")]
    assert len(examples) >= EXAMPLES_MIN
    assert lines[1] == examples[0]
    assert not any(line.startswith(("opt.", "help.")) for line in lines), "a key without words"


@pytest.mark.parametrize(("path", "command"), VERBS, ids=[" ".join(path) for path, _ in VERBS])
def test_each_example_is_one_that_the_command_would_take(path: tuple[str, ...], command: Verb) -> None:
    for example in command.examples:
        words = shlex.split(example.partition("|")[0].partition(">")[0])
        assert tuple(words[1 : 1 + len(path)]) == path, example
        # Parsing runs every option's type; it raises for a word that is not known.
        command.make_context("aval", words[1 + len(path) :], resilient_parsing=False)


@pytest.mark.parametrize(("path", "command"), VERBS, ids=[" ".join(path) for path, _ in VERBS])
def test_what_reads_gives_json_and_what_writes_has_a_dry_run(path: tuple[str, ...], command: Verb) -> None:
    options = {option for parameter in command.params for option in parameter.opts}
    assert {"--context", "--timeout", "--quiet", "--verbose", "--no-color"} <= options
    reads = path[-1] in {"list", "show", "status", "find", "report", "doctor", "nodes", "version", "explain", "check",
                           "orphans", "unverified"}  # fmt: skip
    if reads:
        assert "--json" in options
        assert command.reads
    if command.writes:
        assert {"--dry-run", "--yes"} <= options
    else:
        assert reads or path[-1] in WRITING_BY_NATURE | {"watch", "completion", "exit-codes"}


def test_what_our_own_programs_start_is_named_nowhere() -> None:
    for words in (["demo", "--help"], ["demo", "fed"]):
        assert "feed" not in CliRunner().invoke(root, words, prog_name="aval").output
    demo = root.get_command(click.Context(root), "demo")
    assert demo is not None
    shown = [item.value for item in demo.shell_complete(click.Context(demo), "")]
    assert "up" in shown
    assert "feed" not in shown


def test_json_without_fields_lists_them() -> None:
    shown = CliRunner().invoke(root, ["find", "--discipline", "usld", "--json"])
    assert shown.exit_code == 0
    assert {"ranked", "excluded", "unreachable", "surePlaces"} <= set(shown.stdout.split())
