"""Directed traces of a hub that is put back to an older state, by command or as a machine is, over the real code.

Nothing silently freed, nothing silently invented: no house loses or wins a reservation by it.
"""

from __future__ import annotations

import pytest

from aval.v1 import request_pb2 as rq
from aval.v1 import reservation_pb2 as rs
from aval.v1 import terms_pb2 as tm
from tests.simulation.stage import A, Stage, stage

BOTH = pytest.mark.parametrize("by_command", [True, False])


def held_in(on: Stage) -> tuple[str, str]:
    """A request with a hold."""
    name, (held,) = on.request((A, "ger", tm.MODE_HOLD))
    on.go(5)
    assert on.known(held)["state"] == "HELD"
    return name, held


@BOTH
def test_what_was_confirmed_since_the_backup_stays_so(by_command: bool) -> None:
    with stage() as on:
        name, held = held_in(on)
        backup = on.back_up("hub")
        on.confirm(name, held)
        on.go(5)
        on.put_hub_back(backup, by_command=by_command)
        assert (on.known(held)["state"], on.at_node(held)["state"]) == ("CONFIRMED", "CONFIRMED")
        assert on.state(name) == "CONFIRMED"


@BOTH
def test_what_was_released_since_the_backup_stays_so(by_command: bool) -> None:
    with stage() as on:
        name, held = held_in(on)
        backup = on.back_up("hub")
        on.regulator("CancelRequest", name, rq.CancelRequestRequest, reason=rs.RELEASE_REASON_OTHER)
        on.go(5)
        on.put_hub_back(backup, by_command=by_command)
        assert (on.state(name), on.known(held)["state"], on.at_node(held)["state"]) == ("OPEN", "RELEASED", "RELEASED")


def test_a_request_made_since_the_backup_is_made_again_from_its_reservation() -> None:
    with stage() as on:
        on.request((A, "ger", tm.MODE_ASK))
        on.go(5)
        backup = on.back_up("hub")
        name, held = held_in(on)
        on.confirm(name, held)
        on.go(5)
        on.put_hub_back(backup, by_command=True)
        assert (on.state(name), on.known(held)["state"], on.at_node(held)["state"]) == ("CONFIRMED",) * 3


def test_a_rolled_back_hub_releases_nothing_that_it_does_not_know() -> None:
    with stage() as on:
        on.request((A, "ger", tm.MODE_ASK))
        on.go(5)
        backup = on.back_up("hub")
        name, held = held_in(on)
        on.confirm(name, held)
        on.go(5)
        on.put_hub_back(backup, by_command=False)
        assert name not in on.checker.files
        assert on.at_node(held)["state"] == "CONFIRMED"
