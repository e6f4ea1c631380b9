"""A patient's need, as one types it; and the short names of units, requests and reservations."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, time, timedelta
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

import click
from click.shell_completion import CompletionItem

from aval.adapters.cli.command import Duration, Word
from aval.adapters.cli.exits import Exit, Failure
from aval.adapters.cli.words import nearest, now, say
from aval.adapters.french import PARIS
from aval.kernel.disciplines import Discipline, discipline_of
from aval.kernel.finess import FinessET
from aval.kernel.need import Feature, Urgency
from aval.kernel.statuses import Gender
from aval.v1 import terms_pb2

DAY_BEGINS = time(8)
"""A date means arrivals from 8 h to 18 h of the receiving house (CONTRACT 15)."""

DAY_ENDS = time(18)

GENDERS = {
    "f": Gender.FEMALE, "femme": Gender.FEMALE, "female": Gender.FEMALE,
    "m": Gender.MALE, "h": Gender.MALE, "homme": Gender.MALE, "male": Gender.MALE,
    "any": Gender.ANY, "indifferent": Gender.ANY,
}  # fmt: skip
FEATURES = {feature.value: feature for feature in Feature}
URGENCIES = {
    "today": Urgency.TODAY, "aujourdhui": Urgency.TODAY,
    "48h": Urgency.WITHIN_48_HOURS, "within-48-hours": Urgency.WITHIN_48_HOURS,
    "planned": Urgency.PLANNED, "programme": Urgency.PLANNED,
}  # fmt: skip
_REFERENCE = re.compile(r"[A-Z2-9]{2}-?[A-Z2-9]{3}", re.IGNORECASE)
_UNIT = re.compile(r"(?:establishments/)?([0-9AB]{9})/(?:units/)?([A-Za-z0-9-]{1,32})")
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")

_Callback = TypeVar("_Callback", bound=Callable[..., Any])


class DisciplineWord(click.ParamType[Discipline]):
    """A discipline by its slug; the former name of SMR is understood."""

    name = "discipline"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Discipline:
        """The discipline of a slug."""
        if isinstance(value, Discipline):
            return value
        try:
            return discipline_of(str(value))
        except ValueError:
            known = [one.value for one in Discipline]
            slug = str(value).lower()
            why = nearest(slug, known) or say("choice.known", names=", ".join(known))
            raise Failure(say("choice.unknown", word=value), why, code=Exit.USAGE) from None

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """The slugs that begin so."""
        found = [one.value for one in Discipline if one.value.startswith(incomplete)]
        return [CompletionItem(slug) for slug in found]


def need_options(callback: _Callback) -> _Callback:
    """The options that say a need."""
    options = (
        click.option("--discipline", type=DisciplineWord(), required=True, help="opt.discipline"),
        click.option("--sex", type=Word(GENDERS, "sex"), default="any", help="opt.sex"),
        click.option("--age", type=click.IntRange(0, 130), help="opt.age"),
        click.option("--date", "date", default="today", metavar="DATE", help="opt.date"),
        click.option("--need", "required", type=Word(FEATURES, "feature"), multiple=True, help="opt.need"),
        click.option("--wish", "wished", type=Word(FEATURES, "feature"), multiple=True, help="opt.wish"),
        click.option("--stay", type=Duration(), help="opt.stay"),
        click.option("--gir", type=click.IntRange(1, 6), help="opt.gir"),
        click.option("--from", "origin", metavar="FINESS", help="opt.from"),
        click.option("--max-minutes", type=click.FloatRange(min=1), help="opt.max-minutes"),
        click.option("--max-km", type=click.FloatRange(min=1), help="opt.max-km"),
        click.option("--urgency", type=Word(URGENCIES, "urgency"), default="planned", help="opt.urgency"),
    )
    for option in reversed(options):
        callback = option(callback)
    return callback


def need_message(given: dict[str, Any], own_finess: str = "", zone: ZoneInfo = PARIS) -> terms_pb2.Need:
    """The need that the options say; distances count from `--from`, else from one's own establishment."""
    earliest, latest = arrival_window(given["date"], now(), zone)
    need = terms_pb2.Need(
        discipline=discipline_number(given["discipline"]),
        gender=terms_pb2.Gender.Value(f"GENDER_{given['sex'].name}"),
        required=[feature_number(one) for one in given["required"]],
        wished=[feature_number(one) for one in given["wished"]],
        gir=given["gir"] or 0,
        minutes_max=given["max_minutes"] or 0,
        distance_km_max=given["max_km"] or 0,
    )
    need.arrival_earliest.FromDatetime(earliest)
    need.arrival_latest.FromDatetime(latest)
    if given["age"] is not None:
        need.age_years = given["age"]
    if given["stay"] is not None:
        need.stay_max.FromTimedelta(given["stay"])
    if given["origin"] or own_finess:
        need.origin = establishment_name(given["origin"] or own_finess)
    return need


def arrival_window(date: str, instant: datetime, zone: ZoneInfo) -> tuple[datetime, datetime]:
    """From when until when the patient can arrive: a day means 8 h to 18 h there, today what is left of it."""
    word = date.strip().lower().replace("’", "").replace("'", "")
    local = instant.astimezone(zone)
    days = {"today": 0, "aujourdhui": 0, "tomorrow": 1, "demain": 1}
    if word in days:
        day = local.date() + timedelta(days=days[word])
    else:
        try:
            said = datetime.fromisoformat(date)
        except ValueError:
            raise Failure(say("date.unknown", word=date), say("date.known"), code=Exit.USAGE) from None
        if "T" in date.upper():
            exact = said if said.tzinfo is not None else said.replace(tzinfo=zone)
            return exact.astimezone(UTC), exact.astimezone(UTC)
        day = said.date()
    first = datetime.combine(day, DAY_BEGINS, zone).astimezone(UTC)
    last = datetime.combine(day, DAY_ENDS, zone).astimezone(UTC)
    if day == local.date():
        # Late in the day « today » still means until midnight.
        first, last = instant, max(last, datetime.combine(day, time(23, 59), zone).astimezone(UTC))
    return first, last


def discipline_number(discipline: Discipline) -> terms_pb2.Discipline.ValueType:
    """A discipline, as the wire numbers it."""
    return terms_pb2.Discipline.Value(f"DISCIPLINE_{discipline.name}")


def feature_number(feature: Feature) -> terms_pb2.Feature.ValueType:
    """A feature, as the wire numbers it."""
    return terms_pb2.Feature.Value(f"FEATURE_{feature.name}")


def enum_name(enum: Any, number: int, prefix: str) -> str:
    """The name of a value of an enumeration of the wire, without its prefix; its number if it is not known."""
    try:
        return str(enum.Name(number)).removeprefix(prefix)
    except ValueError:
        return str(number)


def establishment_name(finess: str) -> str:
    """`establishments/{finess}`, from a FINESS or the name itself. Raises `Refusal(MALFORMED_FINESS)`."""
    return f"establishments/{FinessET(finess.removeprefix('establishments/'))}"


def finess_of(name: str) -> str:
    """The FINESS in a resource name."""
    parts = name.split("/")
    return parts[1] if len(parts) > 1 and parts[0] == "establishments" else ""


def unit_name(word: str, own_finess: str = "") -> str:
    """The name of a unit, from `540000023/U107`, its full name, or its code alone in one's own house."""
    if match := _UNIT.fullmatch(word.strip()):
        return f"establishments/{FinessET(match[1])}/units/{match[2]}"
    if own_finess and re.fullmatch(r"[A-Za-z0-9-]{1,32}", word):
        return f"establishments/{own_finess}/units/{word}"
    raise Failure(say("choice.unknown", word=word), say("unit.form"), "aval units list", code=Exit.USAGE)


def short_unit(name: str) -> str:
    """`540000023/U107`, from a unit's name."""
    return name.removeprefix("establishments/").replace("/units/", "/")


def reference_of(word: str) -> str | None:
    """The spoken reference that a word is, written `K7-3F9`; None if it is none."""
    if not _REFERENCE.fullmatch(word):
        return None
    symbols = word.upper().replace("-", "")
    return f"{symbols[:2]}-{symbols[2:]}"


def uuid_of(word: str) -> str | None:
    """The UUID in a word or at the end of a name; None if there is none."""
    last = word.rsplit("/", 1)[-1].lower()
    return last if _UUID.fullmatch(last) else None
