"""What people declare in TOML files, settings and mappings: read whole, or refused by the name of what is wrong.

A fault is a name with its details and its place in the file, never a text: who shows it says it in the language of the
reader (`aval.adapters.declared`). What the decoder says is English, and is taken apart here, once.
"""

import re
import tomllib
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

Form = TypeVar("Form")


class DeclaredFault(ValueError):
    """A file that cannot be used: its `path`, `where` in it (`hub.address`; empty for the whole), and `what` is wrong,
    the name of a sentence with its `details`."""

    def __init__(self, path: object, where: str, what: str, **details: object) -> None:
        self.path = str(path or "")
        self.where = where
        self.what = what
        self.details = {name: str(value) for name, value in details.items()}
        super().__init__(": ".join(filter(None, (self.path, where, f"{what} {self.details or ''}".rstrip()))))


_AT = re.compile(r" - at `(?:key in )?\$\.?([^`]*)`")
_PLACE = re.compile(r"\(at line (\d+), column (\d+)\)")
_SAID = (
    ("field", re.compile(r"unknown field `(?P<field>[^`]*)`")),
    ("absent", re.compile(r"missing required field `(?P<field>[^`]*)`")),
    ("word", re.compile(r"Invalid enum value '?(?P<word>.*?)'?(?: - at |$)")),
    ("type-{kind}", re.compile(r"Expected `(?P<kind>str|int|float|bool|array|object)(?: \| null)?`")),
)
"""What the decoder says of a fault: which field, which word, what it wanted; where in the table; where in the text."""


def declared(path: object, content: bytes, form: type[Form], hook: Callable[[type, Any], Any] | None = None) -> Form:
    """What a file holds, in its form; `hook` makes what TOML has not (msgspec's `dec_hook`). Raises `DeclaredFault`."""
    try:
        return msgspec.convert(tomllib.loads(content.decode()), form, dec_hook=hook)
    except UnicodeDecodeError as error:
        raise DeclaredFault(path, "", "utf-8", byte=error.start) from error
    except tomllib.TOMLDecodeError as error:
        place, ends = _PLACE.search(str(error)), content.decode().split("\n")
        line, column = place.groups() if place else (len(ends), len(ends[-1]) + 1)
        raise DeclaredFault(path, "", "toml", line=line, column=column) from error
    except msgspec.ValidationError as error:
        raise _unfit(path, str(error)) from error


def _unfit(path: object, text: str) -> DeclaredFault:
    at = _AT.search(text)
    what, found = next(((what, found) for what, one in _SAID if (found := one.search(text))), ("type", None))
    details = found.groupdict() if found else {}
    parts = [at[1].replace("[...]", "") if at else "", details.pop("field", "")]
    return DeclaredFault(path, ".".join(filter(None, parts)), what.format(kind=details.pop("kind", "")), **details)
