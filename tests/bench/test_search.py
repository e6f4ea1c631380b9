"""How long a search of a whole territory takes, against reading the same steps once."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta

from msgspec.structs import replace

from aval.hub.matching import Candidate, search
from aval.hub.model import FreeStep, PlaceClass
from aval.hub.picture import Seen
from aval.kernel.need import Urgency
from aval.kernel.statuses import Freshness, Gender
from tests.hub.core.test_matching import free_unit
from tests.hub.core.worlds import NOW, any_need, hour

UNITS = 500
RUNS = 7


def best(work: Callable[[], object]) -> float:
    """Seconds of processor time of the quickest of some runs."""
    taken = []
    for _ in range(RUNS):
        began = time.process_time()
        work()
        taken.append(time.process_time() - began)
    return min(taken)


def territory() -> list[Candidate]:
    """The worst of what the contract allows: 500 units, three classes of 64 steps each, never free for long."""
    many = tuple(FreeStep(hour(3 * number), number % 2) for number in range(64))
    classes = tuple(PlaceClass(gender, frozenset(), many) for gender in (Gender.FEMALE, Gender.MALE, Gender.ANY))
    found = [
        free_unit(f"establishments/{number // 9:09d}/units/U{number}", minutes=float(number % 97))
        for number in range(UNITS)
    ]
    return [replace(one, seen=Seen(replace(one.seen.unit, classes=classes), Freshness.FRESH)) for one in found]


def test_a_search_of_five_hundred_units(figure: Callable[[str], None]) -> None:
    houses = territory()
    need = any_need(stay_max=timedelta(days=20), minutes_max=60.0)
    floor = best(lambda: sum(step.free for one in houses for kind in one.seen.unit.classes for step in kind.steps))
    whole = best(lambda: search(need, Urgency.PLANNED, houses, NOW))
    figure(
        f"search of {UNITS} units with 192 steps each: {whole * 1000:.0f} ms of processor time, "
        f"{whole / floor:.0f} times reading each step once ({floor * 1000:.1f} ms)"
    )
    assert search(need, Urgency.PLANNED, houses, NOW).ranked_count == 0
