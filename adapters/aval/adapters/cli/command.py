"""What all commands share: examples first in their help, options of every verb, suggestions for a mistyped word.

Groups load their commands when they are used, so that `aval` starts quickly and `aval version` imports neither gRPC
nor the databases. Texts are keys of the catalogue; the help of `request create` is `help.request.create`.
"""

import importlib
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem

from aval.adapters.cli.exits import Exit, Failure
from aval.adapters.cli.terminal import Terminal, chosen_fields, colour_wanted
from aval.adapters.cli.words import nearest, say, told
from aval.adapters.french import parse_duration

Chosen = TypeVar("Chosen")

TIMEOUT_SECONDS = 10
"""How long a command waits for an answer, unless told otherwise; a call of the contract may wait 60 s at most."""


class Duration(click.ParamType[timedelta]):
    """`30m`, `2h`, `90s`."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        """The duration that a person wrote."""
        if isinstance(value, timedelta):
            return value
        try:
            return parse_duration(str(value))
        except (ValueError, KeyError):
            raise Failure(say("duration.unknown", word=value), say("duration.known"), code=Exit.USAGE) from None


class Word(click.ParamType[Any]):
    """One word of a closed list; `-` and `_` are the same, case does not matter, a typo is answered by the nearest."""

    name = "word"

    def __init__(self, words: Mapping[str, Any], name: str = "word") -> None:
        self.words = words
        self.name = name

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """What the word stands for."""
        if not isinstance(value, str):
            return value
        slug = value.strip().lower().replace("_", "-")
        if slug in self.words:
            return self.words[slug]
        why = nearest(slug, self.words) or say("choice.known", names=", ".join(self.words))
        raise Failure(say("choice.unknown", word=value), why, code=Exit.USAGE)

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str | None:
        """The name of the list, in the help."""
        return self.name.upper()

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """The words that begin so."""
        return [CompletionItem(word) for word in self.words if word.startswith(incomplete)]


class Verb(click.Command):
    """A command that does something. `reads`: the fields of its `--json`; `writes` adds `--yes`, `--dry-run`.

    `internal`: one that a program of ours starts; neither helps nor completions name it.
    """

    def __init__(
        self,
        name: str,
        callback: Callable[..., None],
        key: str,
        examples: Sequence[str],
        params: Sequence[click.Parameter],
        reads: Sequence[str] = (),
        writes: bool = False,
        internal: bool = False,
    ) -> None:
        every = [*params, *_options_of_all(bool(reads), writes)]
        super().__init__(name, callback=callback, params=every, hidden=internal)
        self.key = key
        self.examples = tuple(examples)
        self.reads = tuple(reads)
        self.writes = writes

    def get_short_help_str(self, limit: int = 45) -> str:
        """The first sentence of the help."""
        return say(self.key).splitlines()[0]

    def invoke(self, ctx: click.Context) -> Any:
        """Takes the options that all verbs share out of the way, as `ctx.obj`."""
        given = ctx.params
        fields = given.pop("json", None)
        if fields == "":
            click.echo(say("json.fields"), err=True)
            for name in self.reads:
                click.echo(name)
            return None
        ctx.obj = Terminal(
            timeout=given.pop("timeout"),
            context=given.pop("context"),
            quiet=given.pop("quiet"),
            verbose=given.pop("verbose"),
            colour=colour_wanted(given.pop("no_color")),
            json_fields=None if fields is None else chosen_fields(fields, self.reads),
            dry_run=given.pop("dry_run", False),
            agreed=given.pop("yes", False),
        )
        return super().invoke(ctx)

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Examples first, then what it does, then its options."""
        with formatter.section(say("examples").removesuffix(":")):
            for example in self.examples:
                formatter.write(f"  {example}\n")
        formatter.write_paragraph()
        formatter.write_text(say(self.key))
        formatter.write_paragraph()
        formatter.write_usage(ctx.command_path, " ".join(self.collect_usage_pieces(ctx)), say("usage") + " ")
        records = [(record[0], told(record[1])) for one in self.get_params(ctx) if (record := one.get_help_record(ctx))]
        with formatter.section(say("options").removesuffix(":")):
            formatter.write_dl(records)

    def get_help_option(self, ctx: click.Context) -> click.Option | None:
        """`--help`, in the language spoken."""
        option = super().get_help_option(ctx)
        if option is not None:
            option.help = "opt.help"
        return option


class Group(click.Group):
    """Commands by name, each in its module: `{"find": "aval.adapters.cli.search:find"}`."""

    def __init__(self, name: str, key: str, places: Mapping[str, str] | None = None) -> None:
        super().__init__(name, no_args_is_help=True)
        self.key = key
        self.places = dict(places or {})

    def verb(
        self,
        name: str,
        *,
        examples: Sequence[str],
        reads: Sequence[str] = (),
        writes: bool = False,
        internal: bool = False,
    ) -> Callable[[Callable[..., None]], Verb]:
        """Makes the decorated function a command of this group."""
        key = f"{self.key}.{name}"
        made = verb(name, key=key, examples=examples, reads=reads, writes=writes, internal=internal)

        def decorate(callback: Callable[..., None]) -> Verb:
            command = made(callback)
            self.add_command(command)
            return command

        return decorate

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order in which they were declared."""
        return [*self.places, *self.commands]

    def shown_commands(self, ctx: click.Context) -> list[str]:
        """Those that people are told of."""
        return [*self.places, *(name for name, command in self.commands.items() if not command.hidden)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, its module imported now."""
        if place := self.places.get(cmd_name):
            module, _, attribute = place.partition(":")
            found: click.Command = getattr(importlib.import_module(module), attribute)
            return found
        return super().get_command(ctx, cmd_name)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command of the first argument. Raises `Failure` with the nearest one."""
        word = args[0]
        if not word.startswith("-") and self.get_command(ctx, word) is None:
            known = self.shown_commands(ctx)
            why = nearest(word, known) or say("choice.known", names=", ".join(known))
            raise Failure(say("command.unknown", word=word), why, f"{ctx.command_path} --help", code=Exit.USAGE)
        return super().resolve_command(ctx, args)

    def get_short_help_str(self, limit: int = 45) -> str:
        """The first sentence of the help."""
        return say(self.key).splitlines()[0]

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """What the group is for, and its commands, without importing them."""
        with formatter.section(say("examples").removesuffix(":")):
            for example in say(f"{self.key}.examples").splitlines():
                formatter.write_text(example)
        formatter.write_paragraph()
        formatter.write_text(say(self.key))
        formatter.write_paragraph()
        formatter.write_usage(ctx.command_path, "COMMAND …", say("usage") + " ")
        with formatter.section(say("commands").removesuffix(":")):
            formatter.write_dl([(name, say(f"{self.key}.{name}")) for name in self.shown_commands(ctx)])


def verb(
    name: str,
    *,
    key: str,
    examples: Sequence[str],
    reads: Sequence[str] = (),
    writes: bool = False,
    internal: bool = False,
) -> Callable[[Callable[..., None]], Verb]:
    """Makes a function that takes a `Terminal` first, then its options by name, a command."""

    def decorate(callback: Callable[..., None]) -> Verb:
        params = list(reversed(getattr(callback, "__click_params__", [])))
        return Verb(name, click.pass_obj(callback), key, examples, params, reads, writes, internal)

    return decorate


def _options_of_all(reads: bool, writes: bool) -> list[click.Parameter]:
    options: list[click.Parameter] = []
    if reads:
        options.append(
            click.Option(["--json"], metavar="[FIELDS]", is_flag=False, flag_value="", default=None, help="opt.json")
        )
    if writes:
        options += [
            click.Option(["--dry-run"], is_flag=True, help="opt.dry-run"),
            click.Option(["--yes", "-y"], is_flag=True, help="opt.yes"),
        ]
    return [
        *options,
        click.Option(["--context"], metavar="NAME", default=None, help="opt.context"),
        click.Option(["--timeout"], type=Duration(), default=f"{TIMEOUT_SECONDS}s", help="opt.timeout"),
        click.Option(["--quiet", "-q"], is_flag=True, help="opt.quiet"),
        click.Option(["--verbose", "-v"], is_flag=True, help="opt.verbose"),
        click.Option(["--no-color"], is_flag=True, help="opt.no-color"),
    ]
