"""A command that was not written as it can be: what click names by its exceptions, said in the reader's language."""

import re
from typing import Any

import click

from aval.adapters.cli.exits import Exit, Failure
from aval.adapters.cli.words import nearest, say

_EXTRA = re.compile(r"unexpected extra arguments? \((.*)\)")
"""The one fault that click only words."""

_WANTED: tuple[tuple[type[click.ParamType[Any]], str], ...] = (
    (click.types.IntParamType, "usage.whole"),
    (click.types.FloatParamType, "usage.number"),
    (click.Path, "usage.path"),
)


def usage_failure(error: click.UsageError) -> Failure:
    """What is wrong with how a command was written, and what to try."""
    path = error.ctx.command_path if error.ctx is not None else "aval"
    what, why = _said(error)
    return Failure(what, why, f"{path} --help", code=Exit.USAGE)


def _said(error: click.UsageError) -> tuple[str, str]:
    match error:
        case click.MissingParameter():
            return say("usage.missing", name=_name(error)), ""
        case click.NoSuchOption():
            return say("usage.unknown", name=error.option_name), nearest(error.option_name, error.possibilities or ())
        case click.BadOptionUsage():
            wants = "requires" in error.message
            return say("usage.wants" if wants else "usage.wants-none", name=error.option_name), ""
        case click.BadParameter():
            return say("usage.bad", name=_name(error)), _wanted(error.param)
        case _ if extra := _EXTRA.search(error.message):
            return say("usage.extra", words=extra[1]), ""
        case _:
            return error.format_message(), ""


def _name(error: click.BadParameter) -> str:
    if isinstance(error.param, click.Option):
        return error.param.opts[0]
    return error.param.human_readable_name if error.param is not None else str(error.param_hint or "?")


def _wanted(parameter: click.Parameter | None) -> str:
    """What a parameter takes, as far as its type tells."""
    kind = parameter.type if parameter is not None else None
    if isinstance(kind, click.Choice):
        return say("choice.known", names=", ".join(map(str, kind.choices)))
    wanted = next((key for one, key in _WANTED if isinstance(kind, one)), "")
    least, most = getattr(kind, "min", None), getattr(kind, "max", None)
    said = [say("usage.least", bound=f"{least:g}")] if least is not None else []
    said += [say("usage.most", bound=f"{most:g}")] if most is not None else []
    return ", ".join([say(wanted), *said]) if wanted else ""
