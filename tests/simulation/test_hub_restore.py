"""Directed traces of a hub that is put back to an older state, by command or as a machine is, over the real code.

Nothing silently freed, nothing silently invented: no house loses or wins a reservation by it.
"""

from __future__ import annotations

import pytest

from aval.v1 import request_pb2 as rq
from aval.v1 import reservation_pb2 as rs
from aval.v1 import terms_pb2 as tm
from tests.simulation.compose import REVISIONS_RETAINED
from tests.simulation.stage import A, B, Stage, stage

BOTH = pytest.mark.parametrize("by_command", [True, False])


def held_in(on: Stage) -> tuple[str, str]:
    """A request with a hold."""
    name, (held,) = on.request((A, "ger", tm.MODE_HOLD))
    on.go(5)
    assert on.known(held)["state"] == "HELD"
    return name, held


def states(on: Stage, name: str, reservation: str) -> tuple[str, str, str]:
    """(of the request, of the reservation at the hub, at its node)."""
    return on.state(name), str(on.known(reservation)["state"]), str(on.at_node(reservation)["state"])


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
        assert states(on, name, held) == ("OPEN", "RELEASED", "RELEASED")


def test_a_request_made_since_the_backup_is_made_again_from_its_reservation() -> None:
    with stage() as on:
        on.request((A, "ger", tm.MODE_ASK))
        on.go(5)
        backup = on.back_up("hub")
        name, held = held_in(on)
        on.confirm(name, held)
        on.go(5)
        on.put_hub_back(backup, by_command=True)
        assert states(on, name, held) == ("CONFIRMED",) * 3


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


def test_what_lapsed_before_anybody_looked_at_it_lets_go_what_a_restored_node_brings_back() -> None:
    """Met in a run: nobody can look at a request that is over, and a bed of it was never let go."""
    with stage() as on:
        name, (asked,) = on.request((A, "ger", tm.MODE_ASK))
        on.go(5)
        at_house = on.back_up(A)
        on.staff("DeclineReservation", asked, rs.DeclineReservationRequest, reason=rs.DECLINE_REASON_OTHER)
        on.go(5)
        backup = on.back_up("hub")
        on.regulator("NotifyWhenFree", name, rq.NotifyWhenFreeRequest)
        on.put_hub_back(backup, by_command=True)
        assert on.file(name)["request"]["set_back"]
        on.go(20 * 3600)
        assert on.state(name) == "EXPIRED"
        with on.put_back(A, at_house):
            assert on.at_node(asked)["state"] == "ASKED"
        on.go(120)
        assert on.at_node(asked)["state"] == "RELEASED"


@BOTH
@pytest.mark.parametrize("moves", [0, 8])
def test_a_house_and_a_hub_that_are_both_put_back_find_each_other(by_command: bool, moves: int) -> None:
    """Met in a run: a hub that asked for all at once never showed what it had heard, so its node never knew."""
    with stage() as on:
        name, held = held_in(on)
        at_house = on.back_up(A)
        on.confirm(name, held)
        on.go(5)
        backup = on.back_up("hub")
        on.request((A, "ger", tm.MODE_ASK))
        with on.put_back(A, at_house):
            for hours in range(moves):
                on.reoffer(held, 2.0 + hours)
            on.put_hub_back(backup, by_command=by_command)
            assert on.at_node(held)["state"] == "HELD"
        on.go(300)
        assert states(on, name, held) == ("CONFIRMED",) * 3


@BOTH
def test_an_admission_that_ended_since_the_backup_is_asked_after(by_command: bool) -> None:
    """Met in a run: what ended so long ago that no snapshot names it was taken for an admission still."""
    with stage() as on:
        name, held = held_in(on)
        on.admit(held)
        on.go(5)
        backup = on.back_up("hub")
        on.cancel_admission(held)
        on.go(5)
        on.regulator("ReleaseConfirmed", name, rq.ReleaseConfirmedRequest, reason=rs.RELEASE_REASON_OTHER)
        on.go(5)
        _, other = held_in(on)
        for minutes in range(2 * REVISIONS_RETAINED):
            on.reoffer(other, 1.0 + minutes / 60)
        on.go(30 * 3600)
        on.put_hub_back(backup, by_command=by_command)
        assert states(on, name, held) == ("EXPIRED", "RELEASED", "RELEASED")


def test_a_request_that_is_said_again_holds_what_was_an_orphan() -> None:
    with stage() as on:
        on.request((A, "ger", tm.MODE_ASK))
        on.go(5)
        backup = on.back_up("hub")
        name, held = held_in(on)
        on.put_hub_back(backup, by_command=False)
        assert name not in on.checker.files
        on.again([one for one in on.network.carried if one.method.endswith("/CreateRequest")][-1])
        on.go(30)
        assert states(on, name, held) == ("OPEN", "HELD", "HELD")


def test_a_request_that_comes_back_holds_all_that_were_its_orphans() -> None:
    """Met in a run (two hubs, seed 12): what another house had told of it before stayed an orphan beside it."""
    with stage() as on:
        on.request((A, "ger", tm.MODE_ASK))
        on.go(5)
        backup = on.back_up("hub")
        name, held = held_in(on)
        asked = on.ask(name, B, "ger")
        on.go(5)
        on.put_hub_back(backup, by_command=False)
        assert name not in on.checker.files
        on.again([one for one in on.network.carried if one.method.endswith("/CreateRequest")][-1])
        on.go(30)
        assert on.file(name)["request"]["set_back"]
        assert states(on, name, held) == ("OPEN", "HELD", "HELD")
        assert states(on, name, asked) == ("OPEN", "ASKED", "ASKED")


def test_a_house_counts_as_listed_once_what_it_told_is_stored() -> None:
    with stage() as on:
        with on.cut_off(A):
            name, (asked,) = on.request((A, "ger", tm.MODE_HOLD))
            on.go(5)
            backup = on.back_up("hub")
            on.regulator("TakeOver", name, rq.TakeOverRequest)
            on.put_hub_back(backup, by_command=True)
            on.simulation.sites["hub"].faults.fail = 1.0
            sent = len(on.commands("create"))
        on.go(60)
        assert on.network.counts["hub commit failed"] > 0
        assert len(on.commands("create")) == sent
        on.simulation.sites["hub"].faults.fail = 0.0
        on.go(60)
        assert states(on, name, asked) == ("OPEN", "HELD", "HELD")
