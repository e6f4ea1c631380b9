"""What must be true when an outage is over, whatever it was: DESIGN §8, asked over the wire and read in the files.

The hub's word and each node's are compared request by request until they agree, which is itself one of the claims; then
beds are counted, on the wire and in the rows, by this code and none of the product's.
"""

from __future__ import annotations

import itertools
import json
import sqlite3
from collections import Counter
from collections.abc import Collection, Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

from aval.adapters.demo.building import CELL, HUB
from aval.adapters.demo.cast import PAGE, finess_of
from aval.adapters.dial import ask
from aval.v1 import request_pb2, reservation_pb2
from tests.scenarios.town import Play, Town
from tests.waiting import until

LIVE = frozenset({"ASKED", "WAITLISTED", "HELD", "CONFIRMED", "ADMITTED"})
CLAIMS = frozenset({"HELD", "CONFIRMED"})
PROMISED = frozenset({"CONFIRMED", "ADMITTED"})
OVER = frozenset({"CANCELLED", "CLOSED_ELSEWHERE", "EXPIRED"})
FOR_EVER = "9999"
"""Sorts after every instant as stored."""

_strangers: set[str] = set()
_STATES = [state for state in reservation_pb2.Reservation.State.values() if state]


def rows(database: Path, statement: str) -> list[Any]:
    """What a server's file holds now, read beside the server."""
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=5.0)) as connection:
        return connection.execute(statement).fetchall()


async def inquest(
    play: Play, town: Town, units: Collection[str], confirmed: Iterable[str] = (), strangers: Collection[str] = ()
) -> None:
    """Holds the town to the invariants. `units`: whose beds are counted on the wire too; `confirmed`: reservations that
    somebody was told CONFIRMED, and nobody has ended since; `strangers`: reservations that another hub made, which the
    town's own need never know."""
    _strangers.update(strangers)
    await until(lambda: _agree(play, town), "hub and nodes agree on every reservation")
    requests = await _requests(play)
    for request in requests:
        states = {one.reservation: _state(one.known) for one in request.asks if one.HasField("known")}
        winners = [name for name, state in states.items() if state in PROMISED]
        state = request_pb2.Request.State.Name(request.state).removeprefix("STATE_")
        assert len(winners) <= 1, f"one winner a request: {winners}"
        assert not (state in OVER and LIVE & set(states.values())), f"{request.name} is {state} and holds {states}"
        assert state != "CONFIRMED" or states[request.subject] == "CONFIRMED"
    for name in confirmed:
        assert _state(await play.reservation(name)) == "CONFIRMED", f"{name} was answered CONFIRMED, and is lost"
    for unit in units:
        beds = await play.beds(unit)
        claims = Counter(bed.claim for bed in beds if bed.claim)
        assert all(count == 1 for count in claims.values()), f"one bed a reservation: {claims}"
        for name in claims:
            assert _state(await play.reservation(name)) in CLAIMS, f"{name} has a bed and no claim"
    for finess in town.houses:
        _inspect_node(town.database(finess))
    _inspect_hub(town, requests)


async def _agree(play: Play, town: Town) -> bool:
    """Whether nothing is on its way, and each node's list is the hub's."""
    by_hub: dict[str, str] = {}
    for request in await _requests(play):
        for one in request.asks:
            if one.pending:
                return False
            if one.HasField("known"):
                by_hub[one.reservation] = _state(one.known)
    by_node: dict[str, str] = {}
    for finess in town.houses:
        message = reservation_pb2.ListReservationsRequest(
            parent=f"establishments/{finess}", page_size=PAGE, states=_STATES
        )
        page = await ask(play.node(finess).reservations.ListReservations, message)
        assert not page.next_page_token, "the scenarios of one town fit a page"
        by_node |= {one.name: _state(one) for one in page.reservations if one.name not in _strangers}
    return by_hub == by_node


async def _requests(play: Play) -> list[request_pb2.Request]:
    page = await ask(play.hub(CELL).requests.ListRequests, request_pb2.ListRequestsRequest(page_size=PAGE))
    assert not page.next_page_token, "the scenarios of one town fit a page"
    return list(page.requests)


def _state(known: reservation_pb2.Reservation) -> str:
    return reservation_pb2.Reservation.State.Name(known.state).removeprefix("STATE_")


def _inspect_node(database: Path) -> None:
    """The file is sound, its history has no gap, and no two claims share a bed at any time."""
    assert rows(database, "PRAGMA integrity_check") == [("ok",)]
    numbers = [number for (number,) in rows(database, "SELECT number FROM revision ORDER BY number")]
    assert numbers == list(range(1, len(numbers) + 1))
    taken: dict[tuple[str, str], list[tuple[str, str, str]]] = {}
    for (body,) in rows(database, "SELECT body FROM reservation"):
        one = json.loads(body)
        claim = one["claim"]
        if one["state"] not in CLAIMS:
            continue  # what it once claimed is kept for people
        assert claim is not None, f"{one['id']} is {one['state']} without a claim"
        if claim["bed"] is not None:
            span = (claim["start"], claim["end"] or FOR_EVER, one["id"])
            taken.setdefault((claim["unit"], claim["bed"]), []).append(span)
    for bed, spans in taken.items():
        spans.sort()
        for (_, end, earlier), (start, _, later) in itertools.pairwise(spans):
            assert end <= start, f"bed {bed} is promised to {earlier} and to {later}"


def _inspect_hub(town: Town, requests: list[request_pb2.Request]) -> None:
    """The file is sound, nothing waits in it, and it says what the hub says."""
    database = town.database(HUB)
    assert rows(database, "PRAGMA integrity_check") == [("ok",)]
    assert rows(database, "SELECT id FROM outbox") == []
    stored = dict(rows(database, "SELECT name, state FROM request WHERE archived = 0"))
    told = {one.name: request_pb2.Request.State.Name(one.state).removeprefix("STATE_") for one in requests}
    assert {name.removeprefix("requests/"): state for name, state in stored.items()} == {
        name.removeprefix("requests/"): state for name, state in told.items()
    }
    assert {finess_of(one.reservation) for request in requests for one in request.asks} <= set(town.houses)
