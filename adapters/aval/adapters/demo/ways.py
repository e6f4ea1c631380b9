"""By which way each house's figures come: most by the generator, one by each way that real houses have.

One house speaks HL7 v2 to its own interface (`aval hl7 serve`), one drops a sheet in a folder that is looked at (`aval
node import folder`); in others people type, and for the rest an adapter tells movements by gRPC.
"""

from enum import StrEnum

from aval.adapters.territory import TerritoryFile, house_plan
from aval.kernel.disciplines import DISCIPLINES
from aval.kernel.statuses import Counting

HL7_PLACES_MIN = 50
"""A hospital worth an interface; of those the smallest, so that its day is caught up with in seconds."""


class Way(StrEnum):
    """A way that is not the generator's own."""

    HL7 = "hl7"
    SHEET = "sheet"


def chosen_ways(file: TerritoryFile, spared: tuple[str, ...]) -> dict[str, Way]:
    """One house for each way, where the territory has a fitting one. `spared`: houses that the story is about."""
    assumed = file.assumptions.houses  # a territory of facts alone has no house to feed
    plans = [house_plan(file, finess) for finess in assumed if finess not in spared]
    sizes = {plan.finess: sum(unit.capacity for unit in plan.units) for plan in plans}
    hospitals = [plan for plan in plans if plan.source.is_automatic and sizes[plan.finess] >= HL7_PLACES_MIN]
    counting = [
        plan
        for plan in plans
        if not plan.source.is_automatic
        and all(unit.counting is Counting.PLACES and DISCIPLINES[unit.discipline].is_bed for unit in plan.units)
    ]
    found: dict[str, Way] = {}
    for way, fitting in ((Way.HL7, hospitals), (Way.SHEET, counting)):
        if fitting:
            found[min(fitting, key=lambda plan: (sizes[plan.finess], plan.finess)).finess] = way
    return found
