"""Scenarios 52 and 53: somebody starts a second hub. On the same file it is refused; on a copy of it, nodes decide."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

from msgspec.structs import replace

from aval.adapters.cli.exits import Exit
from aval.adapters.demo.building import CELL, HUB, LOOPBACK, free_ports
from aval.adapters.demo.cast import in_state, target
from aval.adapters.dial import Line, ask, every_unit
from aval.v1 import request_pb2, reservation_pb2
from tests.scenarios.inquest import inquest
from tests.scenarios.outage import Fault, Party, outage
from tests.scenarios.town import PARTNER, Play, Town, insisted
from tests.waiting import PATIENCE_SECONDS, until

SECOND = "second hub"
Request = request_pb2.Request


@outage(
    52, Fault.TWO_HUBS, "on the database of the one that runs", Party.HUB,
    "nothing; who started it reads which file is in use, and by which process",
)  # fmt: skip
async def test_52_a_second_hub_on_the_same_file_is_refused_and_the_first_goes_on(play: Play, town: Town) -> None:
    """Another port, the same settings else: two writers would tell two stories."""
    unit = await play.ready(PARTNER, beds=1)
    twin = settings_like(town, Path(town.hub.config).with_name("twin.toml"), f"{LOOPBACK}:0", "identity")
    words = [*town.command(town.hub)[:-1], str(twin)]
    done = await asyncio.to_thread(
        subprocess.run, words, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False
    )
    assert done.returncode == Exit.FAILED
    assert "hub.db" in done.stderr
    assert str(town.hub.pid) in done.stderr
    await play.held(unit)
    await inquest(play, town, [unit])


def settings_like(town: Town, path: Path, address: str, identity: str) -> Path:
    """The hub's settings written anew, with another address and folder of the certificate."""
    text = Path(town.hub.config).read_text(encoding="utf-8").replace(town.hub.address, address)
    path.parent.mkdir(exist_ok=True)
    path.write_text(text.replace('identity = "identity"', f'identity = "{identity}"'), encoding="utf-8")
    return path


@asynccontextmanager
async def second_hub(town: Town) -> AsyncIterator[Line]:
    """A hub with the first one's certificate, on a copy of its file as it is now; the cell's line to it."""
    address = f"{LOOPBACK}:{free_ports(1)[0]}"
    settings = settings_like(town, town.folder / "hub2" / "hub.toml", address, "../hub/identity")
    with (
        closing(sqlite3.connect(town.database(HUB))) as there,
        closing(sqlite3.connect(settings.with_name("hub.db"))) as here,
    ):
        there.backup(here)
    town.record.servers[SECOND] = replace(town.hub, key=SECOND, config=str(settings), address=address, pid=0)
    await town.start([SECOND])
    caller = town.caller(CELL)
    try:
        yield caller.hub(address)
    finally:
        await caller.close()
        assert await town.stop(SECOND) == 0
        del town.record.servers[SECOND]
        town.save()


@outage(
    53, Fault.TWO_HUBS, "on a copy of its database, one confirming what the other cancels", Party.HUB,
    "« libéré » at both within seconds, whichever word came first; one of two is given the last bed",
)  # fmt: skip
async def test_53_two_hubs_on_two_copies_make_no_second_winner(play: Play, town: Town) -> None:
    """The cell works at one, a regulator at the other, over the same request and then for the same last bed. Both give
    their command the same number; nodes decide every time, and both hubs end with the node's word."""
    unit = await play.ready(PARTNER, beds=1)
    held = await play.held(unit)
    one = held.asks[0]
    async with second_hub(town) as other:
        cancel = request_pb2.CancelRequestRequest(
            command_id=play.id(), name=held.name, reason=reservation_pb2.RELEASE_REASON_OTHER
        )
        town.pause(PARTNER)  # so that both are said before either hub hears what came of the other's
        try:
            await asyncio.gather(
                insisted(lambda: play.confirm(held, one)), insisted(lambda: ask(other.requests.CancelRequest, cancel))
            )
        finally:
            town.wake(PARTNER)
        get = request_pb2.GetRequestRequest(name=held.name)

        async def over() -> bool:
            there = await ask(other.requests.GetRequest, get)
            here = play.screen.now(held.name)
            return here is not None and all(in_state(each.asks[0], "RELEASED") for each in (here, there))

        await until(over, "both hubs know that it is released")
        here, there = play.screen.now(held.name), await ask(other.requests.GetRequest, get)
        assert here is not None
        assert here.state == Request.STATE_OPEN
        assert there.state == Request.STATE_CANCELLED
        assert [bed.claim for bed in await play.beds(unit)] == [""]
        last = await play.ready(PARTNER, beds=1)

        async def known_there() -> bool:
            return last in {shown.name for shown in await every_unit(other, f"establishments/{PARTNER}")}

        await until(known_there, "the other hub has heard of the unit too")
        wishes = [play.wish(target(last, hold=True)) for _ in range(2)]
        wishes[1].on_behalf_of = here.requester.on_behalf_of
        await asyncio.gather(play.insist(wishes[0]), insisted(lambda: ask(other.requests.CreateRequest, wishes[1])))
        reservations = [f"establishments/{PARTNER}/reservations/{wish.asks[0].reservation_id}" for wish in wishes]
        asked = {reservation_pb2.Reservation.STATE_ASKED, reservation_pb2.Reservation.STATE_HELD}

        async def decided() -> bool:
            names = {f"requests/{wish.request_id}" for wish in wishes}
            found = [one for name in names for one in await play.reservations_of(PARTNER, name)]
            return len(found) == 2 and {each.state for each in found} == asked

        await until(decided, "one of the two is held, the other asked")
    await inquest(play, town, [unit, last], strangers=[reservations[1]])
