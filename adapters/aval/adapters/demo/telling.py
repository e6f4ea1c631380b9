"""Words of the story: what the messages of the contract say, in French; and waiting for what is about to be true."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from google.protobuf.timestamp_pb2 import Timestamp

from aval.adapters.demo.cast import ZONE, now
from aval.adapters.demo.voice import Voice
from aval.adapters.figures import is_sure
from aval.kernel.disciplines import DISCIPLINES, Discipline
from aval.v1 import availability_pb2, request_pb2, terms_pb2

LOOK_SECONDS = 0.1
"""Between two reads of what is about to be true."""

SATURDAY = 5
"""As Python counts the days of a week."""

_Read = TypeVar("_Read")


async def soon(read: Callable[[], Awaitable[_Read]], enough: Callable[[_Read], bool], within_seconds: float) -> _Read:
    """What is read once it is enough, or when the time is over: the hub hears of a change some milliseconds later."""
    end = time.monotonic() + within_seconds
    while True:
        found = await read()
        if enough(found) or time.monotonic() >= end:
            return found
        await asyncio.sleep(LOOK_SECONDS)


def instant(stamp: Timestamp) -> datetime:
    """An instant of the wire."""
    return stamp.ToDatetime(tzinfo=UTC)


def working_days(ahead_max: int) -> list[int]:
    """Days from tomorrow on, counted from today, that are no Saturday or Sunday: SMR houses admit on the others."""
    today = now().astimezone(ZONE).date()
    return [day for day in range(1, ahead_max + 1) if (today + timedelta(days=day)).weekday() < SATURDAY]


def short(enum: Any, number: int, prefix: str) -> str:
    """The name of a value, without its prefix."""
    return str(enum.Name(number)).removeprefix(prefix)


def discipline_of_number(number: terms_pb2.Discipline.ValueType) -> Discipline:
    """The discipline of a number of the wire."""
    return Discipline[short(terms_pb2.Discipline, number, "DISCIPLINE_")]


def is_bed(number: terms_pb2.Discipline.ValueType) -> bool:
    """Whether its places are beds: day care's are not."""
    return DISCIPLINES[discipline_of_number(number)].is_bed


def age_said(voice: Voice, age: timedelta | None) -> str:
    """How old a figure is."""
    return voice.speech.age(age, now())


def unit_age(voice: Voice, unit: availability_pb2.Unit) -> str:
    """How old a unit's figures are, and who gave them."""
    age = age_said(voice, unit.age.ToTimedelta() if unit.HasField("age") else None)
    if not unit.sources:
        return age
    source = voice.speech.state(short(availability_pb2.SourceKind, unit.sources[0].kind, "SOURCE_KIND_"))
    return f"{source}, {age}"


def places(one: request_pb2.RankedUnit) -> str:
    """How many places fit; `≈` when that is not sure, `↗` when a departure must come true first."""
    mark = "" if is_sure(one.unit) else "≈ "
    return f"{mark}{one.places} {'place' if one.places < 2 else 'places'}{' ↗' if one.on_announced_departure else ''}"
