"""Episodes about one bed: promised while it is occupied, wanted by two at once; and how long a reservation takes."""

import asyncio
import statistics
import time
from collections.abc import AsyncIterator, Callable, Iterable
from datetime import UTC, datetime
from functools import partial
from uuid import uuid4

from aval.adapters.demo.building import REGULATOR, SECOND_REGULATOR
from aval.adapters.demo.cast import (
    DAY_BEGINS,
    ZONE,
    Cast,
    available,
    finess_of,
    heard,
    in_state,
    need_of,
    now,
    settled_after,
    target,
)
from aval.adapters.demo.telling import instant, soon
from aval.adapters.demo.voice import ClaimFalse, Voice
from aval.adapters.figures import is_sure
from aval.kernel.disciplines import DISCIPLINES, Discipline, Field
from aval.v1 import availability_pb2, census_pb2, request_pb2, reservation_pb2, terms_pb2

HEARD_SECONDS = 15.0
"""How long an answer may take to reach a screen; it takes hundredths."""

FILLED_MAX = 12
"""So many arrivals at most make a unit full for the story: an afternoon of a busy ward."""

FILLED_SECONDS = 3.0
"""How long the hub may take to hear of an arrival; where it changes no figure of that need, another is admitted."""

PROMISES_TRIED_MAX = 10
"""Houses asked for a bed that is not free yet before the story gives up."""

SEARCHES = 100
RESERVATIONS = 20
"""How many are measured: enough for a percentile to mean something, few enough not to be waited for."""

WARDS = [
    Discipline.SMR_GERIATRIC,
    Discipline.SMR_POLYVALENT,
    Discipline.MEDICINE,
    Discipline.SURGERY,
    *(one for one, row in DISCIPLINES.items() if row.field is Field.SMR and "enfant" not in one.value),
]
"""Where an adult may be placed, the likeliest first."""


class Rivalry:
    """See the module."""

    def __init__(self, cast: Cast, voice: Voice, origin: str) -> None:
        self._cast = cast
        self._voice = voice
        self._origin = origin

    # --------------------------------------------------------------------------------- occupied now, announced free

    async def announced_bed(self, day: int) -> None:
        """A bed that is occupied now and announced free is promised for an arrival."""
        voice, cast = self._voice, self._cast
        voice.chapter("Un lit occupé aujourd’hui, annoncé libre, est promis pour l’arrivée")
        held, bed = await self._promised(day)
        house = cast.name_of(finess_of(bed.name))
        voice.check(in_state(held.asks[0], "HELD"), f"{house} retient le lit {bed.name.rsplit('/', 1)[-1]}")
        voice.check(bool(bed.stay_key), "quelqu’un y est en ce moment")
        leaves, comes = instant(bed.departure_time), instant(held.asks[0].known.offer.arrival)
        said = f"sortie annoncée {voice.speech.moment(leaves, now())}, arrivée {voice.speech.moment(comes, now())}"
        voice.check(bed.HasField("departure_time") and leaves <= comes, said)
        told = await cast.confirm(held, held.asks[0])
        done = await cast.screen.until(held.name, settled_after(told), HEARD_SECONDS)
        voice.check(_is_confirmed(done), "la réservation est confirmée")

    async def _promised(self, day: int) -> tuple[request_pb2.Request, census_pb2.Bed]:
        """A held request for a bed that somebody must leave first. The published steps are an upper bound: only the
        node knows which bed suits, so that several houses may have to be asked. Raises `ClaimFalse`."""
        async for need, one in self._announced(day):
            self._voice.line(f"   {_where(one)} : complet en ce moment, une sortie annoncée d’ici là.")
            request = await self._cast.create(need, [target(one.unit.name, hold=one.immediate)])
            request = await self._cast.screen.until(request.name, lambda r: heard(r.asks[0]), HEARD_SECONDS)
            if not one.immediate and await self._cast.accept(request.asks[0].reservation):
                self._voice.line("   Ici on répond en personne : la cadre accepte.")
                request = await self._cast.screen.until(
                    request.name, lambda r: in_state(r.asks[0], "HELD"), HEARD_SECONDS
                )
            beds = await self._cast.beds(request.asks[0].known.offer.unit or one.unit.name)
            claimed = [bed for bed in beds if bed.claim == request.asks[0].reservation and bed.stay_key]
            if in_state(request.asks[0], "HELD") and claimed:
                return request, claimed[0]
            self._voice.line("   Son nœud a le dernier mot, chambre par chambre : pas ici. On demande ailleurs.")
            await self._cast.cancel(request)
        raise self._false("une maison promet un lit dont la sortie est annoncée")

    async def _announced(self, day: int) -> AsyncIterator[tuple[terms_pb2.Need, request_pb2.RankedUnit]]:
        """Units without a free bed now, where an announced departure makes one for that day."""
        candidates = await self._candidates(day)
        full = [(n, one) for n, one in candidates if one.on_announced_departure and available(one.unit) == 0]
        for need, one in full[:PROMISES_TRIED_MAX]:
            yield need, one
        self._voice.line("   Aucune unité n’est ainsi : une se remplit, puis annonce une sortie.")
        for need, one in candidates:
            if await self._fill(need, one) and await self._announce(one.unit.name, need):
                again = await soon(partial(self._again, need, one), _promises, HEARD_SECONDS)
                if again is not None and _promises(again):
                    yield need, again

    async def _announce(self, unit: str, need: terms_pb2.Need) -> bool:
        """A house announces that the woman in one of its beds leaves on the morning of the arrival."""
        morning = datetime.combine(instant(need.arrival_earliest).astimezone(ZONE).date(), DAY_BEGINS, ZONE)
        for bed in await self._cast.beds(unit):
            if bed.stay_key and not bed.claim and not bed.closed:
                movement = census_pb2.Movement(stay_key=bed.stay_key)
                movement.departure_announced.departure_time.FromDatetime(morning.astimezone(UTC))
                answer = await self._cast.move(finess_of(unit), movement)
                if answer.fate == census_pb2.ApplyMovementsResponse.FATE_APPLIED:
                    return True
        return False

    # -------------------------------------------------------------------------------------------------- one bed, two

    async def last_bed(self, day: int) -> None:
        """Two regulators ask for the last bed at once; the node decides, and one wins. Raises `ClaimFalse`."""
        voice, cast = self._voice, self._cast
        voice.chapter("Le dernier lit, demandé par deux régulateurs en même temps")
        async for need, one in self._one_bed_left(day):
            voice.line(f"   {_where(one)} : une seule place reste pour ce besoin.")
            rival = cast.name_of(cast.territory.record.second)
            voice.line(f"   {cast.name_of(self._origin)} et {rival} la demandent au même instant.")
            known = await self._both_ask(need, one)
            winners = [request for request in known if in_state(request.asks[0], "HELD")]
            if len(winners) != 1:
                await self._not_the_last(one, winners)
            else:
                loser = next(request for request in known if request is not winners[0])
                state = voice.speech.state(_state_of(loser.asks[0]))
                voice.check(True, f"un seul des deux obtient la retenue : {winners[0].reference}")
                voice.line(f"   {loser.reference} reste « {state} ».")
                claims = [bed for bed in await cast.beds(one.unit.name) if bed.claim == winners[0].asks[0].reservation]
                voice.check(len(claims) == 1, "au nœud, un lit et un seul porte la promesse")
                again = await soon(partial(self._again, need, one), lambda unit: unit is None, HEARD_SECONDS)
                voice.check(again is None, "la recherche ne propose plus cette unité")
            await cast.cancel(known[0], REGULATOR)
            await cast.cancel(known[1], SECOND_REGULATOR)
            if len(winners) == 1:
                freed = await soon(partial(self._again, need, one), lambda unit: unit is not None, HEARD_SECONDS)
                voice.check(freed is not None, "les deux demandes annulées, la place est de nouveau offerte")
                return
        raise self._false("une unité à retenue immédiate n’a plus qu’une place")

    async def _not_the_last(self, one: request_pb2.RankedUnit, winners: list[request_pb2.Request]) -> None:
        """Published steps are no exact count where rooms are shared; what must hold: no bed is given twice."""
        held = {request.asks[0].reservation for request in winners}
        beds = [bed.name for bed in await self._cast.beds(one.unit.name) if bed.claim in held]
        self._voice.check(len(beds) == len(set(beds)) == len(held), "aucun lit n’est promis deux fois")
        count = "aucun lit n’y convenait" if not winners else "chambre par chambre, il y en avait un pour chacun"
        self._voice.line(f"   Son nœud a le dernier mot : {count}. On cherche ailleurs.")

    async def _both_ask(
        self, need: terms_pb2.Need, one: request_pb2.RankedUnit
    ) -> tuple[request_pb2.Request, request_pb2.Request]:
        """Both regulators' requests for a hold of one unit, sent together, once its node has answered both."""
        first, second = await asyncio.gather(
            self._cast.create(need, [target(one.unit.name, hold=True)], REGULATOR),
            self._cast.create(need, [target(one.unit.name, hold=True)], SECOND_REGULATOR),
        )
        return await asyncio.gather(
            self._cast.screen.until(first.name, lambda r: heard(r.asks[0]), HEARD_SECONDS),
            self._cast.rival_screen.until(second.name, lambda r: heard(r.asks[0]), HEARD_SECONDS),
        )

    async def _one_bed_left(self, day: int) -> AsyncIterator[tuple[terms_pb2.Need, request_pb2.RankedUnit]]:
        for need, one in await self._candidates(day):
            if one.immediate:
                left = one if one.places == 1 else await self._fill_but_one(need, one)
                if left is not None and _grantable(left.unit, need) == 1:
                    yield need, left

    # ------------------------------------------------------------------------------------------------------ measured

    async def measure(self, day: int) -> None:
        """How long a search and a whole reservation take, over the wire and to the disk."""
        voice, cast = self._voice, self._cast
        voice.chapter("Combien de temps prennent une recherche et une réservation entière")
        need = need_of(Discipline.SMR_GERIATRIC, day, self._origin)
        searches = []
        for _ in range(SEARCHES):
            began = time.perf_counter()
            await cast.search(need, limit=50)
            searches.append(time.perf_counter() - began)
        self._say_percentiles(f"recherche (× {SEARCHES})", searches)
        chosen, one = await self._roomy(day)
        whole = []
        for _ in range(RESERVATIONS):
            began = time.perf_counter()
            request = await cast.create(chosen, [target(one.unit.name, hold=True)])
            held = await cast.screen.until(request.name, lambda r: in_state(r.asks[0], "HELD"), HEARD_SECONDS)
            if not in_state(held.asks[0], "HELD"):
                raise self._false("une retenue mesurée est accordée")
            await cast.confirm(held, held.asks[0])
            done = await cast.screen.until(request.name, _is_confirmed, HEARD_SECONDS)
            whole.append(time.perf_counter() - began)
            if not _is_confirmed(done):
                raise self._false("une réservation mesurée aboutit")
            await cast.cancel(request)
            await cast.screen.until(request.name, lambda r: in_state(r.asks[0], "RELEASED"), HEARD_SECONDS)
        self._say_percentiles(f"de la demande au lit réservé (× {RESERVATIONS}, {_where(one)})", whole)
        voice.check(statistics.median(whole) < 1.0, "une réservation entière prend moins d’une seconde")

    def _say_percentiles(self, what: str, seconds: list[float]) -> None:
        shown = self._voice.speech.milliseconds
        half, tail = percentile(seconds, 0.50), percentile(seconds, 0.99)
        self._voice.line(f"   {what} : p50 {shown(half)}, p99 {shown(tail)}")

    # ------------------------------------------------------------------------------------------------- finding a unit

    async def _roomy(self, day: int) -> tuple[terms_pb2.Need, request_pb2.RankedUnit]:
        """The unit with an immediate hold that has most places. Raises `ClaimFalse`."""
        found = [(need, one) for need, one in await self._candidates(day) if one.immediate]
        if not found:
            raise self._false("une unité retient d’elle-même")
        return max(found, key=lambda pair: pair[1].places)

    async def _candidates(self, day: int) -> list[tuple[terms_pb2.Need, request_pb2.RankedUnit]]:
        """Sure units with beds of other houses that have a system, fewest places first: what an evening can fill."""
        found: list[tuple[terms_pb2.Need, request_pb2.RankedUnit]] = []
        for discipline in WARDS:
            need = need_of(discipline, day, self._origin)
            units = (await self._cast.search(need)).ranked
            found += [(need, one) for one in units if self._can_be_filled(one)]
        return sorted(found, key=lambda pair: pair[1].places)

    def _can_be_filled(self, one: request_pb2.RankedUnit) -> bool:
        finess = finess_of(one.unit.name)
        return _has_beds(one) and is_sure(one.unit) and self._cast.has_system(finess) and finess != self._origin

    async def _again(self, need: terms_pb2.Need, one: request_pb2.RankedUnit) -> request_pb2.RankedUnit | None:
        """The same unit as the hub ranks it now; None if it is excluded."""
        house = one.unit.name.rpartition("/units/")[0]
        found = await self._cast.search(need, [house])
        return next((unit for unit in found.ranked if unit.unit.name == one.unit.name), None)

    async def _fill(self, need: terms_pb2.Need, one: request_pb2.RankedUnit) -> bool:
        """Admits a patient into each free bed of a unit. False where that would be a whole ward."""
        free = _free(await self._cast.beds(one.unit.name))
        if len(free) > FILLED_MAX:
            return False
        admitted = sum([await self._admit(bed, need) for bed in free])
        self._say_admitted(admitted, one)
        return True

    async def _fill_but_one(self, need: terms_pb2.Need, one: request_pb2.RankedUnit) -> request_pb2.RankedUnit | None:
        """Admits patients until one place fits the need; None when that does not come out."""
        if one.places > FILLED_MAX:
            return None
        known: request_pb2.RankedUnit | None = one
        admitted = 0
        for bed in _free(await self._cast.beds(one.unit.name)):
            if known is None or known.places == 1:
                break
            if await self._admit(bed, need):
                admitted += 1
                known = await soon(partial(self._again, need, one), _fewer_than(known.places), FILLED_SECONDS)
        self._say_admitted(admitted, one)
        return known if known is not None and known.places == 1 else None

    async def _admit(self, bed: census_pb2.Bed, need: terms_pb2.Need) -> bool:
        """A patient whom nobody announced is put into a bed; whether the house's node has taken it."""
        movement = census_pb2.Movement(stay_key=f"demo-{uuid4().hex}")
        movement.admission.unit, movement.admission.bed = bed.name.partition("/beds/")[0], bed.name
        male = bed.gender == terms_pb2.GENDER_MALE
        movement.admission.gender = terms_pb2.GENDER_MALE if male else need.gender
        answer = await self._cast.move(finess_of(bed.name), movement)
        return answer.fate == census_pb2.ApplyMovementsResponse.FATE_APPLIED

    def _say_admitted(self, count: int, one: request_pb2.RankedUnit) -> None:
        if count:
            patients = "un patient arrive" if count == 1 else f"{count} patients arrivent"
            self._voice.line(f"   Pour cela, {patients} à {_where(one)}.")

    def _false(self, claim: str) -> ClaimFalse:
        """Says that a claim without which the story cannot go on is false; to be raised."""
        self._voice.check(False, claim)
        return ClaimFalse(claim)


def percentile(values: list[float], share: float) -> float:
    """The smallest value that at least that share of them does not exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[min(max(-(-round(share * 1000) * len(ordered) // 1000) - 1, 0), len(ordered) - 1)]


def _where(one: request_pb2.RankedUnit) -> str:
    return f"{one.establishment_display_name} – {one.unit.display_name}"


def _has_beds(one: request_pb2.RankedUnit) -> bool:
    return one.unit.counting == availability_pb2.COUNTING_BEDS


def _grantable(unit: availability_pb2.Unit, need: terms_pb2.Need) -> int:
    """How many of that gender the node says it would grant on one of the coming days."""
    days = (availability_pb2.HORIZON_ONE_DAY, availability_pb2.HORIZON_TWO_DAYS)
    return max((one.count for one in unit.grantable if one.gender == need.gender and one.horizon in days), default=0)


def _promises(one: request_pb2.RankedUnit | None) -> bool:
    return one is not None and one.on_announced_departure


def _free(beds: Iterable[census_pb2.Bed]) -> list[census_pb2.Bed]:
    return [bed for bed in beds if not (bed.stay_key or bed.claim or bed.closed or bed.to_clean)]


def _fewer_than(places: int) -> Callable[[request_pb2.RankedUnit | None], bool]:
    return lambda one: one is None or one.places < places


def _is_confirmed(request: request_pb2.Request) -> bool:
    return request.state == request_pb2.Request.STATE_CONFIRMED


def _state_of(ask: request_pb2.Ask) -> str:
    return reservation_pb2.Reservation.State.Name(ask.known.state).removeprefix("STATE_")
