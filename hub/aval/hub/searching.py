"""Gathers what a search looks at: units as the searcher sees them, with distance, telephones and recent demand.

`matching` decides; this only brings the facts together. The demand of the last day (for fairness) is read from the
store at each search.
"""

from datetime import timedelta

from aval.hub import matching
from aval.hub.matching import Candidate, Found
from aval.hub.picture import LinkState, Viewpoint, link_state, seen
from aval.hub.pictures import Pictures
from aval.hub.ports import Store
from aval.hub.registry import Registry
from aval.kernel.clock import Clock
from aval.kernel.hours import TIME_ZONE_DEFAULT
from aval.kernel.need import Need, Urgency

FAIRNESS_SPAN = timedelta(hours=24)
"""Requests received in this span are compared, so that one house is not always asked first."""


class Searching:
    """Searches over the present pictures."""

    def __init__(self, pictures: Pictures, registry: Registry, store: Store, clock: Clock) -> None:
        self._pictures = pictures
        self._registry = registry
        self._store = store
        self._clock = clock

    def unreachable(self) -> list[str]:
        """FINESS of the houses whose figures are not of now."""
        now = self._clock.monotonic()
        return [
            finess
            for finess, picture in self._pictures.all().items()
            if link_state(picture, now, self._pictures.lost_after) is not LinkState.CONNECTED
        ]

    async def search(
        self,
        need: Need,
        urgency: Urgency,
        viewpoint: Viewpoint,
        *,
        limit: int = 0,
        establishments: frozenset[str] = frozenset(),
    ) -> Found:
        """What fits that need, as that viewpoint sees it; only in these houses (FINESS), if given."""
        since = self._clock.now() - FAIRNESS_SPAN
        demand = await self._store.read(lambda transaction: transaction.asks_since(since))
        now = self._clock.monotonic()
        disciplines = matching.disciplines_searched(need)
        candidates: list[Candidate] = []
        for finess, picture in self._pictures.all().items():
            if establishments and finess not in establishments:
                continue
            member, said = self._registry.members[finess], picture.description
            distance = self._registry.distances.get((need.origin or "", finess))
            candidates.extend(
                Candidate(
                    seen=one,
                    establishment_display_name=(said.display_name if said else "") or member.display_name,
                    phones=said.phones if said else (),
                    distance_km=distance.km if distance else None,
                    minutes=distance.minutes if distance else None,
                    requests_day=demand.get(finess, 0),
                    time_zone=said.time_zone if said else TIME_ZONE_DEFAULT,
                )
                for one in seen(picture, viewpoint, now, lost_after=self._pictures.lost_after, disciplines=disciplines)
            )
        return matching.search(need, urgency, candidates, self._clock.now(), limit=limit)
