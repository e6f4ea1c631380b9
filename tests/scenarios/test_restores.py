"""Scenarios 60 to 65: a node, then the hub, comes back from an earlier state of its database, noticed or told."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from aval.adapters.cli.exits import Exit
from aval.adapters.demo.building import CELL, HUB
from aval.adapters.demo.cast import in_state, settled_after, target
from aval.adapters.demo.outages import stored
from aval.adapters.dial import ask
from aval.v1 import availability_pb2, census_pb2, membership_pb2, request_pb2, reservation_pb2
from tests.scenarios.inquest import inquest
from tests.scenarios.outage import Fault, Party, outage
from tests.scenarios.town import KILLED, PARTNER, SMR, Play, Town, insisted, raise_town, start_town
from tests.waiting import PATIENCE_SECONDS, until

R = request_pb2.Request
JOURNALS = ("", "-wal", "-shm")


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    """A town of its own: what a restored hub has forgotten stays at the nodes, and would trouble other scenarios."""
    built = raise_town(tmp_path_factory.mktemp("restores") / "territory")
    try:
        asyncio.run(start_town(built))
        yield built
    finally:
        asyncio.run(built.down())


def aval(*words: str, exit_code: Exit = Exit.DONE) -> str:
    """The command line, held to an exit code; what it said."""
    done = subprocess.run(
        [sys.executable, "-m", "aval.adapters.cli", *words],
        capture_output=True, text=True, timeout=2 * PATIENCE_SECONDS, check=False,
    )  # fmt: skip
    assert done.returncode == exit_code, (words, done.stdout, done.stderr)
    return done.stdout + done.stderr


def copied(database: Path, target: Path) -> None:
    """A stopped server's file and its journal, as a person copies them."""
    for journal in JOURNALS:
        source = database.with_name(database.name + journal)
        put = target.with_name(target.name + journal)
        put.unlink(missing_ok=True)
        if source.exists():
            shutil.copy2(source, put)


async def unverified(play: Play, finess: str) -> list[census_pb2.UnverifiedUnit]:
    """What the house is asked to compare."""
    request = census_pb2.ListUnverifiedUnitsRequest(parent=f"establishments/{finess}", page_size=1000)
    return list((await ask(play.node(finess).census.ListUnverifiedUnits, request)).units)


async def verify_all(play: Play, finess: str) -> None:
    """A person has been through every unit."""
    for one in await unverified(play, finess):
        message = census_pb2.VerifyUnitRequest(command_id=str(uuid4()), name=one.unit)
        await ask(play.node(finess).census.VerifyUnit, message)
    assert not await unverified(play, finess)


def reconciling(play: Play, finess: str) -> Callable[[], Awaitable[bool]]:
    """Whether the node knows that it was put back."""

    async def known() -> bool:
        return bool(await unverified(play, finess))

    return known


def stands(play: Play, name: str, state: str) -> Callable[[], Awaitable[bool]]:
    """Whether a reservation stands so at its node."""

    async def so() -> bool:
        found = await play.reservation(name)
        return reservation_pb2.Reservation.State.Name(found.state) == f"STATE_{state}"

    return so


def fresh(play: Play, unit: str, wanted: availability_pb2.Freshness.ValueType) -> Callable[[], Awaitable[bool]]:
    """Whether the hub shows a unit so."""

    async def so() -> bool:
        units = {one.name: one for one in await play.units()}
        return unit in units and units[unit].freshness == wanted

    return so


async def released(play: Play, request: request_pb2.Request) -> None:
    """A request confirmed, then let go by its people, to the node's word."""
    await play.cancel(request)
    name = request.asks[0].reservation
    await until(stands(play, name, "RELEASED"), "the node has let it go")


@outage(
    60, Fault.RESTORED, "under live CONFIRMED and HELD reservations, from last night's backup, by command", Party.NODE,
    "« réservé », marked unverified, until the house has compared; its beds stale, and nothing granted alone",
)  # fmt: skip
async def test_60_a_node_restored_from_last_night_s_backup_keeps_every_promise(
    play: Play, town: Town, tmp_path: Path
) -> None:
    """The backup knows one promise of three, and one that was let go since; all stand as people were told."""
    settings, copy = town.node(SMR).config, tmp_path / "night.db"
    unit = await play.ready(SMR, 4)
    before = await play.confirmed(await play.held(unit))
    gone = await play.held(unit)
    told = aval("node", "backup", "--config", settings, "--to", str(copy))
    assert str(copy) in told
    later_request = await play.held(unit)
    later = await play.confirmed(later_request)
    held = (await play.held(unit)).asks[0].reservation
    await released(play, gone)
    aval("node", "restore", "--config", settings, "--from", str(copy), "--yes", exit_code=Exit.CONFLICT)
    assert await town.kill(SMR) == KILLED
    said = aval("node", "restore", "--config", settings, "--from", str(copy), "--yes", exit_code=Exit.CONFLICT)
    assert "--discard-newer" in said
    aval("node", "restore", "--config", settings, "--from", str(copy), "--discard-newer", "--yes")
    await town.start([SMR])
    await until(stands_somewhere(play, later, "CONFIRMED"), "the hub has said what it knows")
    await until(stands_somewhere(play, held, "HELD"), "the hold too")
    await until(stands(play, gone.asks[0].reservation, "RELEASED"), "what was let go is let go again")
    assert await stands(play, before, "CONFIRMED")()
    known = await play.heard(later_request.name, lambda r: r.state == R.STATE_CONFIRMED and r.unverified, "unverified")
    assert known.subject == later
    await until(fresh(play, unit, availability_pb2.FRESHNESS_STALE), "its beds are stale")
    (seen,) = [one for one in await unverified(play, SMR) if one.unit == unit]
    assert {one.reservation for one in seen.reservations} == {before, later, held}
    assert all(one.taken and not one.conflict for one in seen.reservations)
    asked = await play.answered(await play.asked([unit], hold=unit))
    assert in_state(asked.asks[0], "ASKED"), "nothing is granted alone"
    await play.cancel(asked)
    await verify_all(play, SMR)
    await play.alive(SMR)
    await until(lambda: play.known_at_hub(unit), "its beds count again")
    await play.heard(later_request.name, lambda r: not r.unverified, "verified")
    await inquest(play, town, [unit], [before, later])


def stands_somewhere(play: Play, name: str, state: str) -> Callable[[], Awaitable[bool]]:
    """As `stands`, where the node may not know it yet."""

    async def so() -> bool:
        finess = name.split("/")[1]
        message = reservation_pb2.ListReservationsRequest(parent=f"establishments/{finess}", page_size=1000)
        page = await ask(play.node(finess).reservations.ListReservations, message)
        found = {one.name: reservation_pb2.Reservation.State.Name(one.state) for one in page.reservations}
        return found.get(name) == f"STATE_{state}"

    return so


@outage(
    61, Fault.RESTORED, "a file put back by hand, nobody told", Party.NODE,
    "« réservé », marked unverified; found out by the hub's first cursor",
)  # fmt: skip
async def test_61_a_file_put_back_by_hand_is_noticed(play: Play, town: Town, tmp_path: Path) -> None:
    """A rolled-back machine says nothing: the hub's cursor does, and the promise made since is put back."""
    unit = await play.ready(PARTNER, 2)
    assert await town.stop(PARTNER) == 0
    copied(town.database(PARTNER), tmp_path / "node.db")
    await town.start([PARTNER])
    await play.alive(PARTNER)
    await until(lambda: play.known_at_hub(unit), "the unit counts")
    request = await play.held(unit)
    name = await play.confirmed(request)
    assert await town.stop(PARTNER) == 0
    copied(tmp_path / "node.db", town.database(PARTNER))
    await town.start([PARTNER])
    await until(reconciling(play, PARTNER), "the node was told that it is not what it was")
    await until(stands_somewhere(play, name, "CONFIRMED"), "the promise is put back")
    await play.heard(request.name, lambda r: r.state == R.STATE_CONFIRMED and r.unverified, "unverified")
    await verify_all(play, PARTNER)
    await play.heard(request.name, lambda r: not r.unverified, "verified")
    await inquest(play, town, [unit], [name])


@outage(
    62, Fault.TWO_NODES, "a copy of the file served elsewhere, with the same certificate", Party.NODE,
    "both are unverified; nothing is granted alone; what the copy was asked is asked at the original",
)  # fmt: skip
async def test_62_two_nodes_from_one_file_are_found_out(play: Play, town: Town) -> None:
    """The copy announces itself, takes a demand and goes; the original, which went on alone, is told."""
    unit = await play.ready(PARTNER, 3)
    assert await town.stop(PARTNER) == 0
    settings = Path(town.node(PARTNER).config)
    folder = settings.parent / "copy"
    folder.mkdir()
    copied(town.database(PARTNER), folder / "node.db")
    await town.start([PARTNER])
    twin = folder / "node.toml"
    process = copy_served(settings, twin)
    try:
        await until(lambda: served(folder), "the copy serves")

        async def announced() -> bool:
            page = await ask(play.hub(CELL).membership.ListMembers, membership_pb2.ListMembersRequest(page_size=100))
            return town.lines[PARTNER].address not in {one.address for one in page.members}

        await until(announced, "the hub knows the address of the copy, and no other")
        town.lines[PARTNER].cut()  # the hub dials anew, where the node last said that it is
        request = await play.answered(await play.asked([unit], hold=unit))
        name = request.asks[0].reservation
        assert in_state(request.asks[0], "ASKED"), "a copy that was found out grants nothing alone"
        assert await at_copy(folder, name), "the hub speaks with the copy"
        await play.declare(PARTNER, 1)  # the original goes on by itself
    finally:
        process.terminate()
        process.wait(PATIENCE_SECONDS)
    assert await town.stop(PARTNER) == 0
    await town.start([PARTNER])
    await until(reconciling(play, PARTNER), "the original was told")
    await until(stands_somewhere(play, name, "ASKED"), "what the copy was asked is asked here")
    await verify_all(play, PARTNER)
    await play.accept(name)
    known = await play.heard(request.name, lambda r: in_state(r.asks[0], "HELD"), "the house answers")
    await inquest(play, town, [unit], [await play.confirmed(known)])


def copy_served(settings: Path, twin: Path) -> subprocess.Popen[bytes]:
    """A second process with the node's own certificate, on the copy, at an address of its own."""
    text = settings.read_text(encoding="utf-8").replace('identity = "', f'identity = "{settings.parent}/')
    lines = [line for line in text.splitlines() if not line.startswith(("listen", "announce_address", "deny_list"))]
    twin.write_text("\n".join(['listen = "127.0.0.1:0"', *lines]) + "\n")
    return subprocess.Popen(
        [sys.executable, "-m", "aval.adapters.cli", "node", "serve", "--config", str(twin)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip


async def served(folder: Path) -> bool:
    """Whether the copy is ready."""
    return (folder / "node.ready.json").exists()


async def at_copy(folder: Path, name: str) -> bool:
    """Whether the copy's file has the reservation."""
    return stored(folder / "node.db", name) is not None


@outage(
    64, Fault.RESTORED, "a file put back by hand, nobody told", Party.HUB,
    "the confirmation that the hub forgot, « à revoir »; the other bed kept until somebody looks",
)  # fmt: skip
async def test_64_a_hub_s_file_put_back_by_hand_is_noticed_by_the_nodes_words(
    play: Play, town: Town, tmp_path: Path
) -> None:
    """Nodes tell numbers of commands that this hub never gave: it releases nothing of that request by itself."""
    unit, other = await play.ready(SMR, 2), await play.ready(PARTNER, 2)
    request = await play.answered(await play.asked([unit, other], hold=unit))
    assert await town.stop(HUB) == 0
    copied(town.database(HUB), tmp_path / "hub.db")
    await town.start([HUB])
    first = next(one for one in request.asks if in_state(one, "HELD"))
    known = await play.heard(request.name, lambda r: len(r.asks) == 2, "on the screen again")
    chosen = next(one for one in known.asks if one.reservation == first.reservation)
    told = await insisted(lambda: play.confirm(known, chosen))
    await play.screen.until(request.name, settled_after(told), PATIENCE_SECONDS)
    assert await town.stop(HUB) == 0
    copied(tmp_path / "hub.db", town.database(HUB))
    await town.start([HUB])
    again = await play.heard(
        request.name, lambda r: r.state == R.STATE_CONFIRMED and r.set_back, "confirmed, though forgotten"
    )
    assert again.subject == first.reservation
    taken = request_pb2.TakeOverRequest(command_id=play.id(), name=request.name)
    await insisted(lambda: ask(play.hub(CELL).requests.TakeOver, taken))
    await play.heard(request.name, lambda r: not r.set_back, "somebody has looked at it")
    await inquest(play, town, [unit], [first.reservation])


async def states_of(play: Play, town: Town) -> dict[str, str]:
    """Every live reservation of every node."""
    found: dict[str, str] = {}
    for finess in town.houses:
        message = reservation_pb2.ListReservationsRequest(parent=f"establishments/{finess}", page_size=1000)
        page = await ask(play.node(finess).reservations.ListReservations, message)
        found |= {one.name: reservation_pb2.Reservation.State.Name(one.state) for one in page.reservations}
    return found


async def orphans(play: Play) -> set[str]:
    """What the cell is shown. Its line to the hub may still wait before it dials one that was started anew."""
    message = request_pb2.ListOrphansRequest(page_size=1000)
    page = await insisted(lambda: ask(play.hub(CELL).requests.ListOrphans, message))
    return {one.name for one in page.reservations}


@outage(
    63, Fault.RESTORED, "with requests made, confirmed and changed since, by command", Party.HUB,
    "requests of the lost hours again on the screens, « à revoir »; what has no place, in a list; nothing released",
)  # fmt: skip
async def test_63_a_hub_restored_from_backup_lists_all_nodes_and_releases_nothing(
    play: Play, town: Town, tmp_path: Path
) -> None:
    """It makes requests again from what nodes tell, shows what it cannot place, and lets go of nothing by itself."""
    settings, copy = town.hub.config, tmp_path / "night.db"
    unit = await play.ready(SMR, 4)
    other = await play.ready(PARTNER, 3)
    changed = await play.held(unit)
    edited = await play.create(play.need(), [])
    aval("hub", "backup", "--config", settings, "--to", str(copy))
    await play.confirmed(changed)
    new = await play.held(unit)
    await play.confirmed(new)
    need = play.need()
    need.gir = 3
    update = request_pb2.UpdateNeedRequest(command_id=play.id(), name=edited.name, need=need)
    await ask(play.hub(CELL).requests.UpdateNeed, update)
    message = request_pb2.AskEstablishmentsRequest(
        command_id=play.id(), name=edited.name,
        asks=[target(other, hold=False)],
    )  # fmt: skip
    orphan = (await ask(play.hub(CELL).requests.AskEstablishments, message)).asks[0].reservation
    await until(stands_somewhere(play, orphan, "ASKED"), "the other house is asked")
    before = await states_of(play, town)
    assert await town.kill(HUB) == KILLED
    aval("hub", "restore", "--config", settings, "--from", str(copy), "--discard-newer", "--yes")
    await town.start([HUB])
    again = await play.heard(
        new.name, lambda r: r.state == R.STATE_CONFIRMED and r.set_back, "made again from its reservation"
    )
    assert (again.reference, again.subject) == (new.reference, new.asks[0].reservation)
    known = await play.heard(
        changed.name, lambda r: r.state == R.STATE_CONFIRMED and r.set_back, "confirmed, though forgotten"
    )

    async def shown() -> bool:
        return orphan in await orphans(play)

    await until(shown, "what has no place is shown")
    assert await states_of(play, town) == before, "nothing is released"
    told = await insisted(lambda: play.cancel(again))
    assert told.state == R.STATE_CANCELLED
    await until(stands(play, again.subject, "RELEASED"), "what a person lets go is let go")
    await released(play, known)
    decline = reservation_pb2.DeclineReservationRequest(
        command_id=play.id(), name=orphan, reason=reservation_pb2.DECLINE_REASON_OTHER
    )
    await ask(play.node(PARTNER).reservations.DeclineReservation, decline)

    async def none() -> bool:
        return orphan not in await orphans(play)

    await until(none, "its house has ended it")
