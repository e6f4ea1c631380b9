"""Real processes: a hub killed with -9 goes on where it was; a node away and back; one client for both.

Each test starts its own territory: a hub and its nodes, each with its certificate, its database and its port.
"""

from __future__ import annotations

import signal
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from uuid import uuid4

import grpc

from aval.kernel.finess import FinessET
from aval.kernel.identity import Staff
from aval.kernel.reasons import Reason
from aval.v1 import availability_pb2 as availability
from aval.v1 import request_pb2 as requests
from aval.v1 import reservation_pb2 as reservation
from aval.v1 import terms_pb2
from tests.hub.shell.houses import (
    LUNEVILLE,
    PARTNER,
    REGULATOR,
    TERRITORY,
    HubClient,
    Small,
    creation,
    declare_unit,
    refused,
    running,
    sees_unit,
    until_request,
)
from tests.waiting import PATIENCE_SECONDS, until

HELD, CONFIRMED, RELEASED = (
    reservation.Reservation.STATE_HELD,
    reservation.Reservation.STATE_CONFIRMED,
    reservation.Reservation.STATE_RELEASED,
)


async def kill_and_restart(small: Small) -> HubClient:
    """kill -9 of the hub, another process on the same database."""
    assert await small.hub.kill() == -signal.SIGKILL
    await small.hub.start()
    return small.to_hub(REGULATOR)


def confirmation(held: requests.Request) -> requests.ConfirmRequestRequest:
    """Confirms the first ask of a request as offered."""
    return requests.ConfirmRequestRequest(
        command_id=str(uuid4()),
        name=held.name,
        reservation=held.asks[0].reservation,
        offer_tag=held.asks[0].known.offer.offer_tag,
    )


async def told_by_node(small: Small, finess: FinessET) -> Sequence[reservation.Reservation]:
    """What a node says of all its reservations, to its staff."""
    staff = small.to_node(Staff(TERRITORY, finess, "lea"), finess)
    states = list(reservation.Reservation.State.values())[1:]
    listed = await staff.reservations.ListReservations(
        reservation.ListReservationsRequest(parent=f"establishments/{finess}", states=states), timeout=PATIENCE_SECONDS
    )
    return listed.reservations


async def test_a_hub_killed_at_any_moment_finishes_what_it_began_and_nothing_is_done_twice(tmp_path: Path) -> None:
    async with running(tmp_path, LUNEVILLE, PARTNER) as small:
        first, second = await declare_unit(small, LUNEVILLE), await declare_unit(small, PARTNER)
        client = small.to_hub(REGULATOR)
        for unit in (first, second):
            await until(partial(sees_unit, client, unit), f"{unit} is seen at the hub")
        message = creation(first)
        message.asks.append(requests.AskTarget(reservation_id=str(uuid4()), unit=second, mode=terms_pb2.MODE_ASK))

        # While the creation is on its way: it may be stored or not, and the same again gets one request.
        sending = client.requests.CreateRequest(message, timeout=5)
        client = await kill_and_restart(small)
        with suppress(grpc.aio.AioRpcError):
            await sending
        created = await client.requests.CreateRequest(message, timeout=PATIENCE_SECONDS)

        # At once after the answer: the rows are the only thing that is left of it.
        client = await kill_and_restart(small)
        held = await until_request(client, created.name, lambda one: one.asks[0].known.state == HELD)
        assert await client.requests.CreateRequest(message, timeout=PATIENCE_SECONDS) == created

        # At once after a confirmation, and again once it is restarted.
        confirm = confirmation(held)
        confirming = await client.requests.ConfirmRequest(confirm, timeout=PATIENCE_SECONDS)
        client = await kill_and_restart(small)
        assert await client.requests.ConfirmRequest(confirm, timeout=PATIENCE_SECONDS) == confirming
        client = await kill_and_restart(small)
        confirmed = await until_request(
            client,
            created.name,
            lambda one: one.state == requests.Request.STATE_CONFIRMED and not any(ask.pending for ask in one.asks),
        )
        assert confirmed.subject == held.asks[0].reservation

        # Each node was told each thing once: one reservation, its commands numbered without a gap.
        (kept,) = await told_by_node(small, LUNEVILLE)
        assert (kept.state, kept.last_command_number) == (CONFIRMED, 2)
        (let_go,) = await told_by_node(small, PARTNER)
        assert (let_go.state, let_go.last_command_number) == (RELEASED, 2)


async def test_a_node_that_is_away_leaves_a_request_waiting_in_sight_until_it_is_back(tmp_path: Path) -> None:
    async with running(tmp_path, LUNEVILLE, hub_settings="link_lost_seconds = 2.0\nprogress_seconds = 0.5") as small:
        unit = await declare_unit(small, LUNEVILLE)
        client = small.to_hub(REGULATOR)
        await until(lambda: sees_unit(client, unit), "the unit is seen at the hub")
        assert await small.nodes[LUNEVILLE].kill() == -signal.SIGKILL
        created = await client.requests.CreateRequest(creation(unit), timeout=PATIENCE_SECONDS)

        async def unreachable() -> bool:
            listed = await client.availability.ListUnits(
                availability.ListUnitsRequest(parent=f"establishments/{LUNEVILLE}"), timeout=PATIENCE_SECONDS
            )
            return [one.freshness for one in listed.units] == [availability.FRESHNESS_UNREACHABLE]

        await until(unreachable, "its beds are unreachable")
        waiting = await client.get(created.name)
        assert waiting.asks[0].delivery in (requests.Ask.DELIVERY_QUEUED, requests.Ask.DELIVERY_SENT)
        assert [one.verb for one in waiting.asks[0].pending] == ["create"]
        await small.nodes[LUNEVILLE].start()
        await until_request(client, created.name, lambda one: one.asks[0].known.state == HELD)

        async def reachable() -> bool:
            return not await unreachable()

        await until(reachable, "its beds are reachable again")


async def test_one_client_reads_a_node_or_a_hub_alike(tmp_path: Path) -> None:
    async with running(tmp_path, LUNEVILLE, hub_settings="progress_seconds = 0.5") as small:
        unit = await declare_unit(small, LUNEVILLE)
        hub = small.to_hub(REGULATOR)
        await until(lambda: sees_unit(hub, unit), "the unit is seen at the hub")
        node = small.to_node(Staff(TERRITORY, LUNEVILLE, "lea"), LUNEVILLE)
        own_eyes = small.to_hub(Staff(TERRITORY, LUNEVILLE, "lea"))
        house = f"establishments/{LUNEVILLE}"
        of_house = availability.GetEstablishmentRequest(name=house)

        async def level() -> bool:
            """A unit that is seen may lack the figures that were told after it."""
            there, here = [
                (await service.GetEstablishment(of_house, timeout=PATIENCE_SECONDS)).cursor.revision
                for service in (node.availability, hub.availability)
            ]
            return there == here

        await until(level, "the hub has heard all that the node has said")
        read = []
        for service in (node.availability, own_eyes.availability):
            got = await service.GetEstablishment(of_house, timeout=PATIENCE_SECONDS)
            listed = await service.ListUnits(availability.ListUnitsRequest(parent=house), timeout=PATIENCE_SECONDS)
            every = await service.ListUnits(
                availability.ListUnitsRequest(parent="establishments/-"), timeout=PATIENCE_SECONDS
            )
            assert [one.name for one in every.units] == [unit]
            watch = service.WatchAvailability(availability.WatchAvailabilityRequest(establishments=[house]))
            message = await watch.read()
            watch.cancel()
            assert isinstance(message, availability.WatchAvailabilityResponse)
            seen = message.snapshot.units[0]
            assert message.snapshot.last_part
            assert got.cursor.revision == message.snapshot.establishment.cursor.revision
            read.append([_figures(one) for one in (*listed.units, seen)])
        for by_node, by_hub in zip(*read, strict=True):
            assert by_node == by_hub
        for client in (node.availability, hub.availability):
            bad = availability.GetEstablishmentRequest(name="establishments/540000024")
            call = client.GetEstablishment(bad, timeout=PATIENCE_SECONDS)
            assert (await refused(call)).reason is Reason.MALFORMED_FINESS


def _figures(unit: availability.Unit) -> dict[str, str]:
    """All that a unit says of its beds; ages and freshness are each server's own."""
    return {
        field.name: str(value)
        for field, value in unit.ListFields()
        if field.name not in ("sources", "freshness", "age")
    }


async def test_sigterm_drains_and_leaves_nothing_behind(tmp_path: Path) -> None:
    async with running(tmp_path) as small:
        client = small.to_hub(REGULATOR)
        watch = client.requests.WatchRequests(requests.WatchRequestsRequest())
        messages = aiter(watch)
        assert (await anext(messages)).caught_up
        ready = small.hub.ready
        assert set(ready) == {"pid", "port", "metrics_port", "certificate_serial", "database"}
        assert await small.hub.stop() == 0
        assert all([message.heartbeat async for message in messages])
        assert await watch.code() is grpc.StatusCode.OK
        assert not small.hub.ready_path.exists()
