"""The story of the demonstration: one patient, one evening, everything over the wire and every claim checked.

Nothing is written down beforehand: houses, units and beds are looked for in what the territory says when it is asked,
so that the story holds with any seed and without any one establishment. Where it must bend (a bed more to fill, a house
that answers in person), it says so.
"""

import operator
from collections import Counter
from collections.abc import Iterable
from datetime import timedelta
from functools import partial
from itertools import product

from aval.adapters.demo.building import MANAGEMENT
from aval.adapters.demo.cast import (
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
from aval.adapters.demo.outages import Outages
from aval.adapters.demo.processes import Territory
from aval.adapters.demo.rivalry import Rivalry
from aval.adapters.demo.telling import (
    discipline_of_number,
    instant,
    is_bed,
    places,
    soon,
    unit_age,
    working_days,
)
from aval.adapters.demo.voice import ClaimFalse, Voice
from aval.adapters.demo.ways import Way
from aval.adapters.dial import ask
from aval.adapters.explained import exclusion_said, rank_said
from aval.adapters.figures import is_sure
from aval.kernel.disciplines import DISCIPLINES, Discipline, discipline_of
from aval.v1 import availability_pb2, request_pb2, reservation_pb2, terms_pb2, territory_pb2

WAYS_SAID = {
    Way.HL7: "messages HL7 v2 (PAM.FR) vers son interface, en MLLP sur TLS",
    Way.SHEET: "une feuille CSV déposée dans un dossier",
}
SOURCES_SAID = {Way.HL7: "le système d’information", Way.SHEET: "un fichier"}

HEARD_SECONDS = 15.0
"""How long an answer may take to reach the regulator's screen; it takes hundredths."""

MINUTES_MAX = 30
"""How far the patient's family would drive, at first."""

DAYS_AHEAD_MAX = 6
"""SMR houses admit on working days: the first day from tomorrow on which three of them can is looked for."""

LOOKED_FOR = (
    Discipline.SMR_GERIATRIC,
    Discipline.SMR_POLYVALENT,
    Discipline.MEDICINE,
)
"""What the patient needs; and what would do, should a territory without some of its houses have no geriatric bed."""


class Story:
    """The episodes, in order."""

    def __init__(self, territory: Territory, voice: Voice) -> None:
        self._territory = territory
        self._voice = voice
        self._cast = Cast(territory)
        self._origin = territory.record.requester

    async def open(self) -> None:
        """The regulators open their screens."""
        await self._cast.open()

    async def close(self) -> None:
        """Everyone leaves."""
        await self._cast.close()

    async def tell(self) -> None:
        """All episodes. Raises `ClaimFalse` when one cannot go on, `Refusal`."""
        await self._voices()
        await self._capacity()
        need, found, day = await self._search()
        await self._three_houses(need, found)
        rivalry = Rivalry(self._cast, self._voice, self._origin)
        await rivalry.announced_bed(day)
        await rivalry.last_bed(day)
        outages = Outages(self._cast, self._voice, self._origin)
        await outages.killed_before_its_answer(day)
        await rivalry.measure(day)
        await outages.stopped(day)

    # ------------------------------------------------------------------------------------- 0. by which way it comes

    async def _voices(self) -> None:
        """Which house speaks how; the figures at the hub say by which source they come."""
        voice, territory = self._voice, self._territory
        plans = {finess: territory.plan(finess) for finess in territory.houses}
        ways = territory.record.ways
        for finess, way in ways.items():
            name = self._cast.name_of(finess)
            voice.line(f"   {name} : {WAYS_SAID[way]}.")
            wanted = availability_pb2.SourceKind.Value(f"SOURCE_KIND_{plans[finess].source.name}")
            heard_by = await soon(partial(self._sources, finess), partial(operator.eq, {wanted}), HEARD_SECONDS)
            claim = f"au hub ses chiffres sont à jour, et de cette source : {SOURCES_SAID[way]}"
            voice.check(heard_by == {wanted}, claim)
        typed = sum(not plan.source.is_automatic and plan.finess not in ways for plan in plans.values())
        by_hand, told = voice.speech.count(typed, "maison", "maisons"), len(plans) - typed - len(ways)
        voice.line(f"   À la main : {by_hand}. Les {told} autres : un flux de mouvements de leur système (gRPC).")

    async def _sources(self, finess: str) -> set[availability_pb2.SourceKind.ValueType]:
        """The winning sources of a house's sure units, as the hub says them."""
        return {unit.sources[0].kind for unit in await self._cast.units(finess) if is_sure(unit)}

    # ------------------------------------------------------------------------------------------- 1. what there is

    async def _capacity(self) -> None:
        voice, speech = self._voice, self._voice.speech
        voice.chapter("La direction lit la capacité du territoire")
        found = await ask(self._cast.hub(MANAGEMENT).territory.GetCapacity, territory_pb2.GetCapacityRequest())
        heads = ("discipline", "installés", "occupés", "disponibles", "réservés", "fermés", "âge au plus")
        voice.table(
            heads,
            (
                _capacity_row(voice, voice.speech.discipline(discipline_of_number(line.discipline)), line)
                for line in found.totals
            ),
            frozenset(range(1, 6)),
        )
        voice.line()
        by_house: dict[str, list[territory_pb2.CapacityLine]] = {}
        for line in found.lines:
            by_house.setdefault(line.establishment, []).append(line)
        sums = [_summed(lines) for lines in by_house.values()]
        heads = ("établissement", *heads[1:])
        rows = (_capacity_row(voice, one.establishment_display_name, one) for one in sums)
        voice.table(heads, rows, frozenset(range(1, 6)))
        voice.check(found.establishment_count == len(self._territory.houses), "aucun établissement ne manque au compte")
        voice.check(not found.unreachable, "aucun n’est hors liaison")
        per_discipline: Counter[int] = Counter()
        for line in found.lines:
            per_discipline[line.discipline] += line.available_sure
        totals = {line.discipline: line.available_sure for line in found.totals}
        voice.check(dict(per_discipline) == totals, "les totaux sont la somme des établissements")
        installed = sum(line.installed for line in found.totals if is_bed(line.discipline))
        planned = sum(
            unit.capacity
            for house in self._territory.file.assumptions.houses.values()
            for unit in house.units
            if DISCIPLINES[discipline_of(unit.discipline)].is_bed
        )
        claim = f"{speech.number(installed)} lits et places installés : le compte du fichier, l’accueil de jour à part"
        voice.check(installed == planned, claim)
        await self._own_word()

    async def _own_word(self) -> None:
        """The house keeps the last word: the hub's figures are those that its node answers."""
        finess = self._origin

        async def same() -> tuple[int, int]:
            shown = sum(available(unit) for unit in await self._cast.units(finess))
            return shown, sum(available(unit) for unit in await self._cast.own_units(finess))

        pair = await soon(same, lambda two: two[0] == two[1], HEARD_SECONDS)
        name = self._cast.name_of(finess)
        self._voice.check(pair[0] == pair[1], f"{name} : {pair[0]} lits disponibles au hub, {pair[1]} à son nœud")

    # ---------------------------------------------------------------------------------------- 2. what fits, and why

    async def _search(self) -> tuple[terms_pb2.Need, request_pb2.SearchBedsResponse, int]:
        voice = self._voice
        voice.chapter("Une patiente attend un lit de SMR gériatrique pour demain")
        name = self._cast.name_of(self._origin)
        if self._origin != "540001138":
            voice.line(f"   Nancy – Hôpital Central n’est pas de ce territoire : la patiente est à {name}.")
        voice.line(f"   {name} : femme de 84 ans, médicalement prête depuis deux jours, sous oxygène.")
        voice.line(f"   Ses proches demandent moins de {MINUTES_MAX} minutes de route.")
        need, found, day, discipline = await self._day_with(3)
        speech = voice.speech
        if not need.minutes_max:
            voice.line("   Trop peu de maisons à cette distance : on cherche plus loin.")
        if discipline is not Discipline.SMR_GERIATRIC:
            voice.line(f"   Trop peu de lits gériatriques ici : on cherche en {speech.discipline(discipline)}.")
        date = speech.date(instant(need.arrival_earliest))
        if day > 1:
            voice.line(f"   Demain trop peu de maisons admettent : on cherche pour le {date}.")
        counted = (
            speech.count(found.sure_places, "place sûre", "places sûres"),
            speech.count(found.stale_units, "unité à confirmer", "unités à confirmer"),
            speech.count(len(found.excluded), "unité écartée", "unités écartées"),
        )
        voice.line(f"   Pour le {date} : {', '.join(counted)}.")
        for one in found.ranked[:6]:
            where = f"{one.establishment_display_name} – {one.unit.display_name}"
            mode = "⚡ retenue immédiate" if one.immediate else "sur réponse"
            voice.line(f"   {one.rank}. {where} : {places(one)}, {mode}, {unit_age(voice, one.unit)}")
            voice.line(f"      pourquoi ce rang : {rank_said(one, speech, now())}")
        if any(one.on_announced_departure for one in found.ranked[:6]):
            voice.line("   ↗ : une sortie annoncée doit d’abord avoir lieu.")
        for excluded in found.excluded[:8]:
            where = f"{excluded.establishment_display_name} – {excluded.display_name}"
            voice.line(f"   écartée : {where}, {exclusion_said(excluded, speech, now())}")
        ranked = {one.unit.name for one in found.ranked}
        voice.check(
            not ranked & {one.unit for one in found.excluded}, "aucune unité n’est à la fois classée et écartée"
        )
        sure = sum(one.places for one in found.ranked if is_sure(one.unit))
        voice.check(sure == found.sure_places, "les places sûres sont celles des unités à jour, et elles seules")
        order = [is_sure(one.unit) for one in found.ranked]
        voice.check(order == sorted(order, reverse=True), "les chiffres sûrs passent devant les chiffres à confirmer")
        reasons = {one.reason for one in found.excluded}
        voice.check(request_pb2.EXCLUSION_REASON_UNSPECIFIED not in reasons, "chaque exclusion a sa raison")
        return need, found, day

    async def _day_with(self, houses: int) -> tuple[terms_pb2.Need, request_pb2.SearchBedsResponse, int, Discipline]:
        """The first day, from tomorrow, on which so many houses have a place. Raises `ClaimFalse`."""
        for discipline, minutes in product(LOOKED_FOR, (MINUTES_MAX, 0)):
            for day in working_days(DAYS_AHEAD_MAX):
                need = need_of(discipline, day, self._origin)
                need.required.append(terms_pb2.FEATURE_OXYGEN)
                need.minutes_max = minutes
                found = await self._cast.search(need)
                if len({finess_of(one.unit.name) for one in found.ranked}) >= houses:
                    return need, found, day, discipline
        claim = f"{houses} maisons ont une place dans les {DAYS_AHEAD_MAX} jours"
        self._voice.check(False, claim)
        raise ClaimFalse(claim)

    # --------------------------------------------------------------------- 3. three asked, one holds, one confirmed

    async def _three_houses(self, need: terms_pb2.Need, found: request_pb2.SearchBedsResponse) -> None:
        voice, cast = self._voice, self._cast
        voice.chapter("Trois maisons sollicitées, une retient, les autres demandes sont retirées")
        chosen = _three(found.ranked)
        holder = next((one for one in chosen if one.immediate), chosen[0])
        targets = [target(one.unit.name, hold=one is holder and one.immediate) for one in chosen]
        request = await cast.create(need, targets)
        voice.line(f"   Demande {request.reference} : {' ; '.join(one.establishment_display_name for one in chosen)}.")
        answered = await cast.screen.until(request.name, lambda r: all(heard(one) for one in r.asks), HEARD_SECONDS)
        voice.need(all(heard(one) for one in answered.asks), "les trois nœuds ont répondu")
        if not any(in_state(one, "HELD") for one in answered.asks):
            await self._someone_accepts(answered)
        held = await cast.screen.until(request.name, lambda r: any(in_state(o, "HELD") for o in r.asks), HEARD_SECONDS)
        kept = voice.found(
            next((one for one in held.asks if in_state(one, "HELD")), None),
            "une maison retient un lit",
        )
        house, until = cast.name_of(finess_of(kept.unit)), instant(kept.known.expire.expire_time)
        voice.line(f"   {house} : un lit retenu jusqu’à {voice.speech.moment(until, now())}, pour elle seule.")
        told = await cast.confirm(held, kept)
        done = await cast.screen.until(request.name, settled_after(told), HEARD_SECONDS)
        voice.check(
            done.state == request_pb2.Request.STATE_CONFIRMED, "la demande est confirmée, sur la parole du nœud"
        )
        for one in done.asks:
            own = await cast.reservation(one.reservation)
            house = cast.name_of(finess_of(one.reservation))
            if one.reservation == kept.reservation:
                confirmed = own.state == reservation_pb2.Reservation.STATE_CONFIRMED
                voice.check(confirmed, f"{house} : réservé, dit son nœud")
            else:
                released = own.state == reservation_pb2.Reservation.STATE_RELEASED
                why = own.ending.release == reservation_pb2.RELEASE_REASON_PLACED_AT_ANOTHER_MEMBER
                voice.check(released and why, f"{house} : retiré (pourvu ailleurs), dit son nœud")

    async def _someone_accepts(self, request: request_pb2.Request) -> None:
        """Where no policy holds by itself, people answer: the first house that has a bed accepts."""
        for one in request.asks:
            house = self._cast.name_of(finess_of(one.unit))
            if in_state(one, "ASKED") and await self._cast.accept(one.reservation):
                self._voice.line(f"   Ici on répond en personne : la cadre de {house} accepte.")
                return
            self._voice.line(f"   {house} : aucun lit, chambre par chambre.")


def _capacity_row(voice: Voice, label: str, line: territory_pb2.CapacityLine) -> list[str]:
    number = voice.speech.number
    sure = number(line.available_sure) + (f" + ≈ {line.available_stale}" if line.available_stale else "")
    age = voice.speech.age(line.age_max.ToTimedelta(), now()) if line.HasField("age_max") else "—"
    return [label, number(line.installed), number(line.occupied), sure, number(line.reserved), number(line.closed), age]


def _summed(lines: list[territory_pb2.CapacityLine]) -> territory_pb2.CapacityLine:
    summed = territory_pb2.CapacityLine(
        establishment=lines[0].establishment, establishment_display_name=lines[0].establishment_display_name
    )
    oldest = timedelta(0)
    for line in lines:
        for field in ("installed", "occupied", "available_sure", "available_stale", "reserved", "closed"):
            setattr(summed, field, getattr(summed, field) + getattr(line, field))
        oldest = max(oldest, line.age_max.ToTimedelta())
    summed.age_max.FromTimedelta(oldest)
    return summed


def _three(ranked: Iterable[request_pb2.RankedUnit]) -> list[request_pb2.RankedUnit]:
    """The best units of three houses, one of them with an immediate hold if there is one."""
    best: dict[str, request_pb2.RankedUnit] = {}
    for one in ranked:
        best.setdefault(finess_of(one.unit.name), one)
    chosen = list(best.values())[:3]
    immediate = next((one for one in best.values() if one.immediate), None)
    if immediate is not None and immediate not in chosen:
        chosen[-1] = immediate
    return chosen
