"""What a command writes, and where: data on the standard output, everything else on the standard error.

At a terminal data is an aligned table, with colour beside the word. In a pipe it is tab-separated, without colour and
without truncation. With `--json` it is JSON with the contract's names, one object a line for streams.
"""

import json
import os
import sys
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TextIO

import click
from google.protobuf.descriptor import Descriptor
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

from aval.adapters.cli.exits import Exit, Failure
from aval.adapters.cli.words import nearest, say

ALL_FIELDS = "all"
"""`--json all`: every field."""

_COLOURS = {
    "FRESH": "green", "CONFIRMED": "green", "ADMITTED": "green", "CONNECTED": "green", "good": "green",
    "AGEING": "yellow", "HELD": "magenta", "ASKED": "yellow", "WAITLISTED": "yellow", "STALE": "yellow",
    "UNREACHABLE": "red", "DECLINED": "red", "bad": "red",
}  # fmt: skip
"""Colour by a name of the contract: it repeats what the word says, and says nothing by itself."""


def fields_of(descriptor: Descriptor, *more: str) -> tuple[str, ...]:
    """The fields of a message as JSON names them, and those that a command adds."""
    return (*(field.json_name for field in descriptor.fields), *more)


def plain(message: Message, **more: object) -> dict[str, object]:
    """A message as JSON has it: names of the contract, instants in ISO 8601 UTC, with zeros."""
    return {**MessageToDict(message, always_print_fields_with_no_presence=True), **more}


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell of a table: its text, and the name of the contract that colours it."""

    text: str
    name: str = ""
    right: bool = False


def number(text: str) -> Cell:
    """A cell that is aligned on the right."""
    return Cell(text, right=True)


@dataclass(frozen=True, slots=True)
class Terminal:
    """How this run of the command reads and writes. `json_fields` is None without `--json`."""

    timeout: timedelta
    context: str | None = None
    quiet: bool = False
    verbose: bool = False
    colour: bool = False
    json_fields: tuple[str, ...] | None = None
    dry_run: bool = False
    agreed: bool = False

    @property
    def is_json(self) -> bool:
        """Whether JSON was asked for."""
        return self.json_fields is not None

    def tell(self, text: str) -> None:
        """A sentence for a person, on the standard error; not with `--quiet`."""
        if not self.quiet:
            click.echo(text, err=True)

    def detail(self, text: str) -> None:
        """A sentence for who asked for `--verbose`."""
        if self.verbose:
            click.echo(text, err=True)

    def line(self, text: str = "") -> None:
        """A line of data."""
        click.echo(text)

    def table(self, heads: Sequence[str], rows: Iterable[Sequence[Cell | str]]) -> None:
        """Rows: aligned under their heads at a terminal, tab-separated in a pipe."""
        cells = [[cell if isinstance(cell, Cell) else Cell(cell) for cell in row] for row in rows]
        if not sys.stdout.isatty():
            for row in cells:
                click.echo("\t".join(cell.text.replace("\t", " ").replace("\n", " ") for cell in row))
            return
        if not cells:
            self.tell(say("nothing"))
            return
        widths = [max(width(text) for text in (head, *(row[i].text for row in cells))) for i, head in enumerate(heads)]
        click.echo("  ".join(_bold(padded(head, widths[i]), self.colour) for i, head in enumerate(heads)).rstrip())
        for row in cells:
            click.echo("  ".join(self._shown(cell, widths[i]) for i, cell in enumerate(row)).rstrip())

    def objects(self, found: Sequence[Mapping[str, object]]) -> None:
        """Objects, as one JSON array."""
        click.echo(json.dumps([self._chosen(one) for one in found], ensure_ascii=False, indent=2))

    def one_object(self, found: Mapping[str, object]) -> None:
        """One object, as JSON."""
        click.echo(json.dumps(self._chosen(found), ensure_ascii=False, indent=2))

    def next_object(self, found: Mapping[str, object]) -> None:
        """One object of a stream, as one line of JSON, at once."""
        click.echo(json.dumps(self._chosen(found), ensure_ascii=False))
        sys.stdout.flush()

    def agree(self, question: str) -> None:
        """Asks a person to agree, unless `--yes`. Raises `Failure`."""
        if self.agreed:
            return
        if sys.stdin.isatty() and sys.stderr.isatty():
            click.echo(say("confirm", question=question), err=True, nl=False)
            if sys.stdin.readline().strip().lower() in ("o", "oui", "y", "yes"):
                return
        raise Failure(say("not.confirmed"), say("not.confirmed.why"), code=Exit.USAGE)

    def _shown(self, cell: Cell, columns: int) -> str:
        text = padded(cell.text, columns, right=cell.right)
        return click.style(text, fg=_COLOURS.get(cell.name)) if self.colour and cell.name in _COLOURS else text

    def _chosen(self, found: Mapping[str, object]) -> dict[str, object]:
        if not self.json_fields:
            return dict(found)
        return {name: found.get(name) for name in self.json_fields}


def chosen_fields(given: str, known: Sequence[str]) -> tuple[str, ...]:
    """The fields that `--json` names; empty for all. Raises `Failure`."""
    if given == ALL_FIELDS:
        return ()
    names = tuple(name.strip() for name in given.split(",") if name.strip())
    for name in names:
        if name not in known:
            why = nearest(name, known) or say("json.known", names=", ".join(known))
            raise Failure(say("json.unknown", name=name), why, code=Exit.USAGE)
    return names


def colour_wanted(refused: bool, stream: TextIO | None = None) -> bool:
    """Whether colour is shown: at a terminal that has some, unless refused by `--no-color` or NO_COLOR."""
    stream = stream if stream is not None else sys.stdout
    return not refused and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb" and stream.isatty()


def width(text: str) -> int:
    """The columns that a text takes at a terminal."""
    return sum(
        0 if unicodedata.combining(one) else 2 if unicodedata.east_asian_width(one) in "WF" else 1 for one in text
    )


def padded(text: str, columns: int, *, right: bool = False) -> str:
    """A text made as wide as that."""
    gap = " " * max(columns - width(text), 0)
    return gap + text if right else text + gap


def _bold(text: str, colour: bool) -> str:
    return click.style(text, bold=True) if colour else text
