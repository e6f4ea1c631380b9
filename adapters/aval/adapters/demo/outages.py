"""Episodes about failure: a node killed between its commit and its answer, and a node that stops for good."""

import sqlite3
import time
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import msgspec

from aval.adapters.demo.building import DESK_OF_A_HOUSE, LOOPBACK, free_ports
from aval.adapters.demo.cast import Cast, finess_of, heard, in_state, need_of, target
from aval.adapters.demo.declaring import Thresholds, install
from aval.adapters.demo.telling import soon
from aval.adapters.demo.voice import ClaimFalse, Voice
from aval.adapters.demo.withholding import Relay
from aval.adapters.figures import SURE, is_sure
from aval.kernel.disciplines import Discipline
from aval.v1 import availability_pb2, request_pb2, terms_pb2

HEARD_SECONDS = 20.0
"""How long a word may take after an outage: a node is back in some seconds."""

SHORT = Thresholds(fresh_max=timedelta(seconds=3), stale_min=timedelta(seconds=6))
"""Instead of 15 and 60 minutes, for one house, while it is looked at."""


USUAL = Thresholds(fresh_max=timedelta(minutes=15), stale_min=timedelta(minutes=60))
"""A system's own (DESIGN §4), said outright: the first day's words, said again, would change nothing."""


class Outages:
    """See the module."""

    def __init__(self, cast: Cast, voice: Voice, origin: str) -> None:
        self._cast = cast
        self._voice = voice
        self._origin = origin

    # ------------------------------------------------------------------------------------ after the commit, kill -9

    async def killed_before_its_answer(self, day: int) -> None:
        """The node commits, cannot answer, dies, comes back, and gives the very answer that it had written."""
        voice, cast, territory = self._voice, self._cast, self._cast.territory
        voice.chapter("Un nœud est tué (kill -9) entre son écriture et sa réponse")
        need, one = await self._immediate(day)
        finess = finess_of(one.unit.name)
        house = cast.name_of(finess)
        home, aside = territory.node(finess).address, f"{LOOPBACK}:{free_ports(1)[0]}"
        relay = Relay(aside)
        await relay.start()
        try:
            await self._behind(finess, aside, relay, house)
            await self._answers_through(relay, need, one.unit.name)
            relay.withhold()
            voice.line("   Le réseau garde désormais pour lui ce que dit ce nœud.")
            request = await cast.create(need, [target(one.unit.name, hold=True)])
            name = request.asks[0].reservation
            database = Path(territory.folder / "nodes" / finess / "node.db")

            async def committed() -> bytes | None:
                return stored(database, name)

            row = voice.found(
                await soon(committed, lambda found: found is not None, HEARD_SECONDS),
                "la réservation est dans la base du nœud",
            )
            known = cast.screen.now(request.name) or request
            voice.check(not heard(known.asks[0]), f"le hub n’a pas la réponse ({relay.withheld_bytes} octets retenus)")
            status = await territory.kill(finess)
            voice.check(status == -9, f"le processus du nœud est mort de kill -9 (statut {status})")
        finally:
            await relay.close()
        voice.check(stored(database, name) == row, "sa base garde la réservation écrite")
        territory.move_node(finess, home)
        began = time.monotonic()
        await territory.start([finess])
        held = await cast.screen.until(request.name, lambda r: in_state(r.asks[0], "HELD"), HEARD_SECONDS)
        took = voice.speech.number(time.monotonic() - began, 1)
        voice.need(in_state(held.asks[0], "HELD"), f"relancé, il donne sa réponse au hub : retenu ({took} s après)")
        voice.check(_offer_in(row, held.asks[0].known.offer.offer_tag), "c’est la réponse écrite avant sa mort")
        there = await cast.reservations_of(finess, request.name)
        voice.check([one.name for one in there] == [name], "le nœud ne tient qu’une réservation pour cette demande")
        claims = [bed for bed in await cast.beds(held.asks[0].known.offer.unit) if bed.claim == name]
        voice.check(len(claims) == 1, "un seul lit est pris")
        await cast.cancel(request)
        await cast.screen.until(request.name, lambda r: in_state(r.asks[0], "RELEASED"), HEARD_SECONDS)

    async def _behind(self, finess: str, aside: str, relay: Relay, house: str) -> None:
        """Restarts a node so that it announces the relay's address; what it says of its beds stays the same."""
        voice, cast, territory = self._voice, self._cast, self._cast.territory
        before = figures(await cast.own_units(finess))
        status = await territory.stop(finess)
        voice.line(f"   {house} redémarre derrière un relais que le hub traverse.")
        voice.check(status == 0, "le nœud s’est arrêté proprement")
        territory.move_node(finess, aside, relay.address)
        await territory.start([finess])
        after = figures(await cast.own_units(finess))
        voice.check(before == after, "redémarré, il dit les mêmes chiffres")

        async def linked() -> bool:
            return relay.carried_bytes > 0 and finess not in await cast.unreachable()

        voice.need(await soon(linked, bool, HEARD_SECONDS), "le hub le suit de nouveau, à travers le relais")

    async def _answers_through(self, relay: Relay, need: terms_pb2.Need, unit: str) -> None:
        """One whole request first: from then on it is sure that commands and answers pass by the relay."""
        cast, carried = self._cast, relay.carried_bytes
        request = await cast.create(need, [target(unit, hold=True)])
        known = await cast.screen.until(request.name, lambda r: heard(r.asks[0]), HEARD_SECONDS)
        await cast.cancel(request)
        await cast.screen.until(request.name, lambda r: not in_state(r.asks[0], "HELD"), HEARD_SECONDS)
        passed = heard(known.asks[0]) and relay.carried_bytes > carried
        self._voice.need(passed, "une première demande y passe, aller et retour")

    async def _immediate(self, day: int) -> tuple[terms_pb2.Need, request_pb2.RankedUnit]:
        """A unit with an immediate hold, of a house that is not the requester's own. Raises `ClaimFalse`."""
        for discipline in (
            Discipline.SMR_GERIATRIC,
            Discipline.SMR_POLYVALENT,
            Discipline.MEDICINE,
            Discipline.SURGERY,
        ):
            need = need_of(discipline, day, self._origin)
            for one in (await self._cast.search(need)).ranked:
                beds = one.unit.counting == availability_pb2.COUNTING_BEDS
                if one.immediate and beds and is_sure(one.unit) and finess_of(one.unit.name) != self._origin:
                    return need, one
        claim = "une autre maison retient d’elle-même"
        self._voice.check(False, claim)
        raise ClaimFalse(claim)

    # ------------------------------------------------------------------------------------------------- out of the count

    async def stopped(self, day: int) -> None:
        """A node stops: its beds become unconfirmed, then offline, and nobody counts on them any more."""
        voice, cast, territory = self._voice, self._cast, self._cast.territory
        voice.chapter("Un nœud s’arrête : ses lits cessent d’être sûrs")
        lost = territory.record.link_lost_seconds
        voice.line(
            f"   Délais raccourcis pour ne pas attendre : à confirmer après 6 s (60 min en service),"
            f" hors liaison après {lost:.0f} s (2 min)."
        )
        need, finess = await self._with_sure_beds(day)
        house = cast.name_of(finess)
        plan = territory.plan(finess)
        await install(cast.node(finess, DESK_OF_A_HOUSE).channel, plan, SHORT)
        await cast.alive(finess)

        async def counted() -> tuple[int, int, int]:
            found = await cast.search(need)
            own = [one for one in found.ranked if finess_of(one.unit.name) == finess]
            return found.sure_places, sum(one.places for one in own if is_sure(one.unit)), len(own)

        total, own, _ = await soon(counted, lambda three: three[1] > 0, HEARD_SECONDS)
        voice.need(own > 0, f"{house} : {own} des {total} places sûres du territoire")
        await cast.alive(finess)
        began = time.monotonic()
        status = await territory.stop(finess)
        voice.line(f"   {house} : son nœud est arrêté (statut {status}).")
        stale = await soon(
            lambda: self._freshness(finess), lambda found: found == {availability_pb2.FRESHNESS_STALE}, HEARD_SECONDS
        )
        voice.check(
            stale == {availability_pb2.FRESHNESS_STALE},
            f"{_seconds(voice, began)} plus tard, ses unités sont « à confirmer »",
        )
        less, none, listed = await counted()
        voice.check(none == 0 and listed > 0, "la recherche les montre encore, après les autres, sans les compter")
        voice.check(less <= total - own, f"places sûres : {total} → {less}")

        async def away() -> bool:
            return finess in await cast.unreachable()

        voice.check(
            await soon(away, bool, lost + HEARD_SECONDS),
            f"{_seconds(voice, began)} plus tard, la maison est hors liaison",
        )
        found = await cast.search(need)
        reasons = {one.reason for one in found.excluded if finess_of(one.unit) == finess}
        voice.check(reasons == {request_pb2.EXCLUSION_REASON_UNREACHABLE}, "la recherche l’écarte : hors liaison")
        voice.check(f"establishments/{finess}" in found.unreachable, "et la nomme parmi celles qui manquent")
        await self._back(finess, house, need)

    async def _back(self, finess: str, house: str, need: terms_pb2.Need) -> None:
        voice, cast, territory = self._voice, self._cast, self._cast.territory
        await territory.start([finess])
        await install(cast.node(finess).channel, territory.plan(finess), USUAL)
        await cast.alive(finess)
        back = await soon(lambda: self._freshness(finess), lambda found: bool(found) and found <= SURE, HEARD_SECONDS)
        voice.check(bool(back) and back <= SURE, f"{house} relancé : ses lits comptent de nouveau")

    async def _freshness(self, finess: str) -> set[availability_pb2.Freshness.ValueType]:
        return {unit.freshness for unit in await self._cast.units(finess)}

    async def _with_sure_beds(self, day: int) -> tuple[terms_pb2.Need, str]:
        """A house with a system and sure places, not the requester's own. Raises `ClaimFalse`."""
        for discipline in (
            Discipline.SMR_GERIATRIC,
            Discipline.SMR_POLYVALENT,
            Discipline.MEDICINE,
            Discipline.SURGERY,
        ):
            need = need_of(discipline, day, self._origin)
            for one in (await self._cast.search(need)).ranked:
                finess = finess_of(one.unit.name)
                beds = one.unit.counting == availability_pb2.COUNTING_BEDS
                if is_sure(one.unit) and beds and self._cast.has_system(finess) and finess != self._origin:
                    return need, finess
        claim = "une autre maison a des places sûres"
        self._voice.check(False, claim)
        raise ClaimFalse(claim)


def stored(database: Path, reservation: str) -> bytes | None:
    """A reservation's row in a node's database, read beside the node; None if it is not committed."""
    uuid = reservation.rsplit("/", 1)[-1]
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=5.0)) as connection:
        row = connection.execute("SELECT body FROM reservation WHERE key LIKE ?", (f"%{uuid}%",)).fetchone()
    return None if row is None else str(row[0]).encode()


def figures(units: list[availability_pb2.Unit]) -> dict[str, list[bytes]]:
    """What units say of their beds now, without what only time moves (ages, instants)."""
    return {
        unit.name: sorted(one.SerializeToString(deterministic=True) for one in (*unit.counts, *unit.grantable))
        for unit in units
    }


def _offer_in(row: bytes, tag: bytes) -> bool:
    """Whether a stored reservation bears that offer tag, however its body writes bytes."""
    written = {msgspec.json.encode(tag).strip(b'"'), tag.hex().encode()}
    return bool(tag) and any(one in row for one in written)


def _seconds(voice: Voice, began: float) -> str:
    return f"{voice.speech.number(time.monotonic() - began, 1)} s"
