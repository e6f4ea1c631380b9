"""Scenarios 6 to 10: processes die and stop at the worst moments, and the truth stays one."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

from aval.adapters.cli.exits import Exit
from aval.adapters.demo.building import HUB
from aval.adapters.demo.cast import finess_of, heard, in_state, settled_after
from aval.adapters.demo.outages import stored
from aval.v1 import availability_pb2, request_pb2
from tests.scenarios.inquest import inquest
from tests.scenarios.line import Flow, Way
from tests.scenarios.outage import Fault, Party, outage
from tests.scenarios.town import KILLED, PARTNER, SMR, Play, Town
from tests.waiting import PATIENCE_SECONDS, until


@outage(
    6, Fault.KILL, "after the commit of a hold, its answer on the way", Party.NODE,
    "« envoyé », not yet answered; then « retenu », by the answer that was written before the death",
)  # fmt: skip
async def test_6_a_node_killed_between_its_commit_and_its_answer_gives_that_answer(play: Play, town: Town) -> None:
    """The network keeps the answer; the row is on the disk; kill -9; the node comes back and says it."""
    unit = await play.declare(SMR, beds=2)
    await until(lambda: play.known_at_hub(unit), "the hub has heard of the unit")
    line = town.lines[SMR]
    carried = line.carried_bytes[Way.BACK]
    await play.held(unit)
    assert line.carried_bytes[Way.BACK] > carried, "commands and answers pass by the line"
    line.set(Way.BACK, Flow.SWALLOWED)
    try:
        request = await play.asked([unit], hold=unit)
        name = request.asks[0].reservation
        database = town.database(SMR)
        await until(lambda: stored(database, name) is not None, "the reservation is committed")
        await until(lambda: line.swallowed_bytes[Way.BACK] > 0, "something is said, to nobody")
        assert not heard((await play.shown(request.name)).asks[0])
        assert await town.kill(SMR) == KILLED
    finally:
        line.mend()
    written = stored(database, name)
    assert written is not None
    await town.start([SMR])
    known = await play.answered(request)
    assert in_state(known.asks[0], "HELD")
    assert [one.name for one in await play.reservations_of(SMR, request.name)] == [name]
    assert stored(database, name) == written
    assert [bed.claim for bed in await play.beds(unit)].count(name) == 1
    await inquest(play, town, [unit])


@outage(
    7, Fault.KILL, "the ask waiting in the outbox for a stopped node", Party.HUB,
    "no answer while the hub is away; « envoyé », then « retenu »",
)  # fmt: skip
async def test_7_a_hub_killed_in_the_middle_of_a_request_goes_on_with_it(play: Play, town: Town) -> None:
    """The ask waits in the outbox of a hub that dies; the one that comes back sends it, and the bed is confirmed."""
    unit = await play.declare(PARTNER, beds=1)
    await until(lambda: play.known_at_hub(unit), "the hub has heard of the unit")
    town.pause(PARTNER)
    try:
        request = await play.asked([unit], hold=unit)
        assert await town.kill(HUB) == KILLED
        await town.start([HUB])
    finally:
        town.wake(PARTNER)
    known = await play.answered(request)
    assert in_state(known.asks[0], "HELD")
    told = await play.confirm(known, known.asks[0])
    done = await play.screen.until(known.name, settled_after(told), PATIENCE_SECONDS)
    assert done.state == request_pb2.Request.STATE_CONFIRMED
    assert len(await play.reservations_of(PARTNER, request.name)) == 1
    await inquest(play, town, [unit], [done.subject])


@outage(
    8, Fault.KILL, "after a confirmation was answered", Party.BOTH,
    "« réservé » before, and again as soon as the hub is back",
)  # fmt: skip
async def test_8_a_confirmation_survives_the_death_of_both_sides(play: Play, town: Town) -> None:
    """What a node answered CONFIRMED is CONFIRMED after hub and node were killed together."""
    unit = await play.declare(SMR, beds=1)
    await until(lambda: play.known_at_hub(unit), "the hub has heard of the unit")
    known = await play.held(unit)
    told = await play.confirm(known, known.asks[0])
    await play.screen.until(known.name, settled_after(told), PATIENCE_SECONDS)
    assert await town.kill(SMR) == KILLED
    assert await town.kill(HUB) == KILLED
    await town.start([HUB])
    await town.start([SMR])
    again = await play.screen.until(known.name, settled_after(told), PATIENCE_SECONDS)
    assert again.state == request_pb2.Request.STATE_CONFIRMED
    assert [bed.claim for bed in await play.beds(unit)] == [known.asks[0].reservation]
    await inquest(play, town, [unit], [known.asks[0].reservation])


@outage(
    9, Fault.END, "nothing under way", Party.NODE,
    "its beds stale after their age, ranked last and not counted; then the house unreachable and named",
)  # fmt: skip
async def test_9_a_stopped_node_s_beds_become_stale_then_unreachable(play: Play, town: Town) -> None:
    """Nobody counts on a bed whose house has fallen silent; when it is back, its beds count again."""
    unit = await play.declare(PARTNER, beds=1, fresh=timedelta(seconds=1), stale=timedelta(seconds=2))

    async def freshness() -> availability_pb2.Freshness.ValueType:
        units = {one.name: one for one in await play.units(PARTNER)}
        return units[unit].freshness if unit in units else availability_pb2.FRESHNESS_UNSPECIFIED

    async def is_(wanted: availability_pb2.Freshness.ValueType) -> bool:
        return await freshness() == wanted

    async def sure() -> bool:
        await play.alive(PARTNER)
        return await freshness() in (availability_pb2.FRESHNESS_FRESH, availability_pb2.FRESHNESS_AGEING)

    await until(sure, "the unit counts")
    assert await town.stop(PARTNER) == 0
    await until(lambda: is_(availability_pb2.FRESHNESS_STALE), "its figures are stale")
    found = await play.search(play.need())
    shown = [one for one in found.ranked if finess_of(one.unit.name) == PARTNER]
    assert all(one.unit.freshness == availability_pb2.FRESHNESS_STALE for one in shown if one.unit.name == unit)
    ranks = [one.unit.freshness == availability_pb2.FRESHNESS_STALE for one in found.ranked]
    assert ranks == sorted(ranks), "stale units come after the others"
    await until(lambda: _away(play, PARTNER), "the house is unreachable")
    found = await play.search(play.need())
    reasons = {one.unit: one.reason for one in found.excluded}
    assert reasons[unit] == request_pb2.EXCLUSION_REASON_UNREACHABLE
    assert f"establishments/{PARTNER}" in found.unreachable
    await town.start([PARTNER])
    await until(sure, "the unit counts again")
    await inquest(play, town, [unit])


@outage(
    10, Fault.TWO_NODES, "a second process started on the database of one that runs", Party.NODE,
    "nothing; who started it reads which file is in use, and by which process",
)  # fmt: skip
async def test_10_a_second_process_on_one_database_is_refused_in_clear_words(play: Play, town: Town) -> None:
    """Somebody starts the node a second time, with another port: two writers would promise the same bed twice."""
    unit = await play.ready(SMR, beds=1)
    twin = settings_like(town, SMR, "twin.toml", "127.0.0.1:0")
    words = [sys.executable, "-m", "aval.adapters.cli", "node", "serve", "--config", str(twin)]
    done = await asyncio.to_thread(
        subprocess.run, words, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False
    )
    assert done.returncode == Exit.FAILED
    assert "node.db" in done.stderr
    await play.held(unit)
    await inquest(play, town, [unit])


def settings_like(town: Town, finess: str, name: str, address: str) -> Path:
    """The settings of a node written beside it, with another address."""
    settings = Path(town.node(finess).config)
    text = settings.read_text(encoding="utf-8").replace(town.node(finess).address, address)
    settings.with_name(name).write_text(text, encoding="utf-8")
    return settings.with_name(name)


async def _away(play: Play, finess: str) -> bool:
    return finess in await play.unreachable()
