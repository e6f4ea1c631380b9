"""The thin path over real processes: a regulator asks, a node holds, the regulator confirms, the node confirms."""

from __future__ import annotations

from pathlib import Path
from uuid import uuid4

from aval.v1 import request_pb2 as requests
from aval.v1 import reservation_pb2 as reservation
from tests.hub.shell.houses import (
    LUNEVILLE,
    REGULATOR,
    creation,
    declare_unit,
    running,
    sees_unit,
    until_request,
)
from tests.waiting import PATIENCE_SECONDS, until

HELD, CONFIRMED = reservation.Reservation.STATE_HELD, reservation.Reservation.STATE_CONFIRMED


async def test_a_bed_is_asked_held_and_confirmed(tmp_path: Path) -> None:
    async with running(tmp_path, LUNEVILLE) as small:
        unit = await declare_unit(small, LUNEVILLE)
        regulator = small.to_hub(REGULATOR)
        await until(lambda: sees_unit(regulator, unit), "the unit is seen at the hub")
        asked = await regulator.requests.CreateRequest(creation(unit), timeout=PATIENCE_SECONDS)
        # The watch may tell of the hold before the answer is here: only that strikes the command.
        held = await until_request(
            regulator, asked.name, lambda one: one.asks[0].known.state == HELD and not one.asks[0].pending
        )
        confirming = await regulator.requests.ConfirmRequest(
            requests.ConfirmRequestRequest(
                command_id=str(uuid4()),
                name=asked.name,
                reservation=held.asks[0].reservation,
                offer_tag=held.asks[0].known.offer.offer_tag,
            ),
            timeout=PATIENCE_SECONDS,
        )
        assert confirming.state == requests.Request.STATE_CONFIRMING
        confirmed = await until_request(
            regulator, asked.name, lambda one: one.state == requests.Request.STATE_CONFIRMED
        )
        assert confirmed.subject == held.asks[0].reservation
        assert confirmed.asks[0].known.state == CONFIRMED
