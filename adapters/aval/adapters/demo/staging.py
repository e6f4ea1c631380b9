"""Sets the stage of the demonstration, plays the story on it, and clears it: what `aval demo up` does."""

import asyncio
import os
import shutil
import sys
import time
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from aval.adapters.cli.reason_words import REASON_WORDS
from aval.adapters.clock import SystemClock
from aval.adapters.demo.building import FEED, HUB, WAY, Server, Tempo, build, keep_only
from aval.adapters.demo.processes import Ready, Territory
from aval.adapters.demo.story import Story
from aval.adapters.demo.voice import ClaimFalse, Voice
from aval.adapters.territory import TerritoryFile, assumed, load
from aval.adapters.wire import stop_on_signals
from aval.kernel.disciplines import Discipline, discipline_of
from aval.kernel.reasons import Refusal
from aval.kernel.statuses import Audience

REQUESTER = "540001138"
"""Nancy, Hôpital Central: whose patient it is, as long as it is in the file."""

TEMPO = Tempo(progress_seconds=2.0, link_lost_seconds=12.0)
"""Instead of 15 s and 2 min, so that nobody waits: the story says so where it matters."""


MEGABYTE = 1_000_000


class UnknownHouse(ValueError):
    """An establishment that the territory does not have."""

    def __init__(self, finess: str, known: list[str]) -> None:
        super().__init__(finess)
        self.finess = finess
        self.known = known


@dataclass(frozen=True, slots=True)
class Staging:
    """What was asked for. `file`: the territory's. `sites` None: all. `stays`: it is left running at the end."""

    folder: Path
    file: Path
    sites: int | None
    without: tuple[str, ...]
    seed: int
    stays: bool
    story: bool


async def play(staging: Staging) -> list[str]:
    """Builds, starts, tells; the claims found false. Whatever happens, nothing is left running unless it `stays`."""
    voice = Voice()
    began = time.monotonic()
    territory = _build(staging, voice)
    stop = stop_on_signals()
    played = asyncio.ensure_future(_play(territory, voice, staging))
    stopped = asyncio.ensure_future(stop.wait())
    done = False
    try:
        await asyncio.wait((played, stopped), return_when=asyncio.FIRST_COMPLETED)
        if not played.done():
            raise KeyboardInterrupt
        await played
        done = True
    except ClaimFalse:
        voice.line("   L’histoire s’arrête là.")
    except Refusal as refusal:
        voice.check(False, f"un appel a été refusé : {REASON_WORDS[f'reason.{refusal.reason.value}'][0]}")
    finally:
        for task in (played, stopped):
            task.cancel()
        await asyncio.gather(played, stopped, return_exceptions=True)
        if not (staging.stays and done):
            await territory.down()
    _conclude(voice, territory, timedelta(seconds=time.monotonic() - began))
    return voice.failures


def territory_text(path: Path, without: tuple[str, ...], sites: int | None) -> tuple[str, TerritoryFile]:
    """A territory file without some houses, with so many of the others. Raises `TerritoryFault`, `UnknownHouse`."""
    whole = load(path)
    known = [one.finess for one in whole.establishments]
    for finess in without:
        if finess not in known:
            raise UnknownHouse(finess, known)
    kept = chosen_houses(whole.without(*without), sites)
    return keep_only(path.read_text(encoding="utf-8"), kept), whole.without(*(set(known) - set(kept)))


def _build(staging: Staging, voice: Voice) -> Territory:
    text, file = territory_text(staging.file, staging.without, staging.sites)
    build(staging.folder, text, staging.seed, SystemClock().now(), TEMPO, chosen_requesters(file))
    territory = Territory.open(staging.folder)
    voice.line(f"SIMULATION — {file.title} : vrais établissements, journée inventée (graine {staging.seed}).")
    voice.line(f"Données : {file.credit}, {file.licence}. Aucun patient n’existe.")
    voice.line("Supposé, faute de données :")
    for phrase in assumed(file):
        voice.line(f" – {phrase}")
    return territory


def chosen_houses(file: TerritoryFile, count: int | None) -> list[str]:
    """The establishments that are played: all, or those that the story needs first."""
    every = [one.finess for one in file.establishments]
    if count is None or count >= len(every):
        return every

    def rank(finess: str) -> tuple[int, int]:
        units = file.assumptions.houses[finess].units if finess in file.assumptions.houses else ()
        geriatric = [one for one in units if discipline_of(one.discipline) is Discipline.SMR_GERIATRIC]
        if finess == REQUESTER:
            return 0, 0
        if any(one.own.get("answering") == "automatic" for one in geriatric):
            return 1, -sum(one.capacity for one in geriatric)
        return (2 if geriatric else 3), -sum(one.capacity for one in geriatric)

    order = sorted(every, key=lambda finess: (*rank(finess), every.index(finess)))
    kept = order[: count - 1]
    # One house where people type, and of another owner if possible: the territory is not made of hospitals only.
    typed = [f for f in order[count - 1 :] if not file.assumptions.houses[f].source.is_automatic]
    partner = [f for f in typed if file.establishment(f).membership is Audience.PARTNER]
    kept.append((partner or typed or order[count - 1 :])[0])
    return [finess for finess in every if finess in kept]


def chosen_requesters(file: TerritoryFile) -> list[str]:
    """Whose patient it is, and who wants the same bed: hospitals with the most acute beds, Hôpital Central first."""

    def acute(finess: str) -> int:
        installed = file.establishment(finess).installed
        return installed.mco if installed is not None else 0

    order = sorted((one.finess for one in file.establishments), key=lambda f: (f != REQUESTER, -acute(f)))
    return order[:2]


async def _play(territory: Territory, voice: Voice, staging: Staging) -> None:
    await _start(territory, voice)
    story = Story(territory, voice)
    try:
        await story.open()
        if staging.story:
            await story.tell()
    finally:
        await story.close()


async def _start(territory: Territory, voice: Voice) -> None:
    count = len(territory.houses)
    voice.chapter(f"Le territoire : un hub et {count} nœuds, chacun son processus")
    ready: dict[str, Ready] = {}
    began = time.monotonic()

    def told(server: Server, one: Ready) -> None:
        ready[server.key] = one
        if server.key != HUB:
            serial, database = one.certificate_serial[:12], Path(one.database).relative_to(territory.folder)
            where = f"pid {one.pid:<7} port {one.port:<6} cert. {serial}… {database}"
            voice.line(f"   {len(ready) - 1:>2}/{count}  {server.key}  {where}  {server.name}")

    await territory.start([HUB], told)
    hub = ready[HUB]
    voice.line(f"   hub : pid {hub.pid}, port {hub.port}, certificat {hub.certificate_serial[:12]}…")
    await territory.start(territory.houses, told)
    seconds = voice.speech.number(time.monotonic() - began, 1)
    voice.line(f"   Démarrés en {seconds} s, quatre à la fois.")
    nodes = [one for key, one in ready.items() if key != HUB]
    for what, seen in (
        ("processus distincts", {one.pid for one in nodes}),
        ("ports distincts", {one.port for one in nodes}),
        ("certificats distincts", {one.certificate_serial for one in nodes}),
        ("bases de données distinctes", {one.database for one in nodes}),
    ):
        voice.need(len(seen) == count, f"{len(seen)} {what} pour {count} nœuds")
    began = time.monotonic()
    for finess in territory.record.ways:
        territory.launch(f"{WAY}{finess}")
    await territory.start([FEED])
    seconds = voice.speech.number(time.monotonic() - began, 1)
    voice.line(f"   Chaque maison a déclaré ses unités et raconté sa journée, en {seconds} s.")
    held = {key: territory.memory_bytes(key) for key in (HUB, *territory.houses)}
    sizes = sorted(size for key, size in held.items() if size is not None and key != HUB)
    if sizes and (at_hub := held[HUB]) is not None:
        shown = [f"{size / MEGABYTE:.0f} Mo" for size in (at_hub, sizes[len(sizes) // 2], sizes[-1])]
        voice.line(f"   Mémoire résidente : hub {shown[0]}, nœud médian {shown[1]}, le plus gros {shown[2]}.")


def _conclude(voice: Voice, territory: Territory, length: timedelta) -> None:
    voice.line()
    took = f"{length.total_seconds():.0f} s"
    true = voice.checked - len(voice.failures)
    voice.line(f"SIMULATION terminée en {took} : {true} affirmations vérifiées sur {voice.checked}.")
    for claim in voice.failures:
        voice.line(f"   ✗ {claim}")
    if not territory.folder.exists():
        voice.line("Tout est arrêté et effacé.")
        return
    voice.line("Le territoire tourne toujours. Essayez, depuis ce dossier :")
    aval = command_here()
    voice.line(f"   {aval} find --discipline smr-geriatrie --sex F --age 84 --date demain")
    voice.line(f"   {aval} context list")
    voice.line(f"   {aval} --help")
    voice.line(f"Pour tout arrêter et tout effacer : {aval} demo down")


def command_here() -> str:
    """What to type for `aval` in this folder: it may lie in an environment that the shell does not look into."""
    if shutil.which("aval") is not None:
        return "aval"
    return os.path.relpath(Path(sys.executable).with_name("aval"))
